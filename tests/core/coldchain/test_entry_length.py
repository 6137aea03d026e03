"""The disk of a gateway holds tens of millions of readings: one of two quantities stays below 700 bytes."""

from decimal import Decimal
from hashlib import sha256

import pytest

from coldseal.core.coldchain.calibration import Calibration
from coldseal.core.coldchain.normalisation import normalise
from coldseal.core.coldchain.reading import (
    FLAG_IMPLAUSIBLE,
    FLAG_SEQUENCE,
    encode_reading,
    encode_source,
    parse_quantity,
)
from coldseal.core.log import canonical
from coldseal.core.log.merkle import CompactRange
from coldseal.core.log.record import Chain, key_id, parse_entry
from tests.core.log.example_log import RECORD_SPKI, sign

ORIGIN = "coldseal.example/site-12/gw-0001"
SEQ = 10_000_123
FINGERPRINT = sha256(b"certificate of sensor-499").hexdigest()[:16]
DIGEST = canonical.encode_base64(sha256(b"payload").digest())
BARE = encode_source("sensor-499", FINGERPRINT, DIGEST, seq=None, boot="", taken_at="", packet_id=65_535)
NAMED = encode_source(
    "sensor-499",
    FINGERPRINT,
    DIGEST,
    seq=SEQ,
    boot="9f8e7d6c",
    taken_at="2026-03-04T05:06:07.000Z",
    packet_id=65_535,
)
TWO_WEEKS = canonical.encode(
    {"boot": "5f3a9c01", "err": 12, "mono": 1_209_600_123, "off": -3, "s": "synchronised"}
)


OFFSETS = tuple(
    Calibration(id="1a2b3c4d", device="d", sensor="s", quantity=name, unit=unit, offset=Decimal("0.1"))
    for name, unit in (("temperature", "Cel"), ("humidity", "%RH"))
)


def _sealed(
    src: bytes,
    *flags: str,
    is_signed: bool = True,
    calibrations: tuple[Calibration, ...] = (),
    with_dew_point: bool = False,
) -> bytes:
    """Seal a reading of two quantities behind ten million entries."""
    chain = Chain(ORIGIN, key_id(RECORD_SPKI))
    chain.tree = CompactRange.from_hashes(SEQ, [bytes(32)] * SEQ.bit_count())
    quantities = (
        parse_quantity("temperature", "Cel", "4.71", where="test"),
        parse_quantity("humidity", "%RH", "41.2", where="test"),
    )
    found = normalise(quantities, calibrations, with_dew_point=with_dew_point)
    data = encode_reading("cold-room", found, flags)
    raw = chain.seal("reading", "2026-03-04T05:06:07.089Z", TWO_WEEKS, src, data, sign if is_signed else None)
    assert parse_entry(raw).seq == SEQ
    return raw


@pytest.mark.parametrize(
    ("src", "flags"),
    [(NAMED, ()), (BARE, ()), (BARE, (FLAG_SEQUENCE,))],
    ids=["device sequence, run and time", "packet id", "packet id and a flag"],
)
def test_a_reading_of_two_quantities_stays_below_700_bytes(src: bytes, flags: tuple[str, ...]) -> None:
    """With a signature, names as sites have them, and the numbers of a log that is years old."""
    assert len(_sealed(src, *flags)) < 700


def test_the_parts_of_a_reading_are_as_long_as_the_specification_says() -> None:
    """The table in docs/specs/records.md: what to expect of other names, and what each part costs."""
    whole, names = len(_sealed(NAMED)), len(ORIGIN) + len("sensor-499") + len("cold-room")
    assert whole - names == 639
    assert len(_sealed(BARE)) - whole == -52
    assert len(_sealed(NAMED, FLAG_SEQUENCE)) - whole == 21
    assert len(_sealed(NAMED, FLAG_IMPLAUSIBLE)) - whole == 24
    assert len(_sealed(NAMED, is_signed=False)) - whole == -105
    assert len(_sealed(NAMED, calibrations=OFFSETS[:1])) - whole == 26
    assert len(_sealed(NAMED, calibrations=OFFSETS)) - whole == 52
    assert len(_sealed(NAMED, with_dew_point=True)) - whole == 66
