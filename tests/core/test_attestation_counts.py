"""A certification of the chip's counter holds for one checkpoint, one key, and only above those before."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from coldseal.core.attestation.counts import BadCountError, Rising, parse_count, verify_count
from coldseal.core.log.signature import _ORDER, _encode, _parse
from coldseal.errors import InputError
from coldseal.signing.keys import EcdsaSigner, generate_record_key
from tests.core.statements import statement

TEXT = b"example.com/gw-1\n7\nAAAA\n"
SUM = sha256(TEXT).digest()
SIGNER = EcdsaSigner(generate_record_key())
KEY = SIGNER.verifier_key("example.com/gw-1")
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "attestation.json").read_bytes())


def test_what_a_chip_certified_over_a_checkpoint_holds() -> None:
    """The value is given."""
    attest = statement(2**63, SUM)
    assert verify_count(attest, SIGNER.sign(attest), TEXT, KEY) == 2**63


def test_a_statement_of_an_independent_tool_is_read() -> None:
    """Value and hash as that tool asked for them."""
    value, extra = parse_count(bytes.fromhex(VECTORS["nv"]["attest"]))
    assert value >= 1
    assert extra.hex() == VECTORS["nv"]["extra"]


@pytest.mark.parametrize(
    "attest",
    [
        statement(7, SUM, magic=1),
        statement(7, SUM, tag=0x8018),
        statement(7, SUM, offset=1),
        statement(7, SUM, size=4),
        statement(7, SUM, safe=2),
        statement(7, SUM, behind=b"\0"),
        statement(7, SUM)[:-1],
        bytes.fromhex(VECTORS["ecc"]["attest"]),
        b"",
    ],
    ids=["mark", "kind", "offset", "four bytes", "yes-no", "more", "less", "quote", "nothing"],
)
def test_what_is_no_statement_on_a_counter_is_refused(attest: bytes) -> None:
    """Though the key has signed it."""
    with pytest.raises(InputError):
        parse_count(attest)
    with pytest.raises(BadCountError):
        verify_count(attest, SIGNER.sign(attest), TEXT, KEY)


def test_the_key_of_the_checkpoint_must_have_signed_it() -> None:
    """Not another one, not something else, and not the signature's twin."""
    attest = statement(7, SUM)
    other = EcdsaSigner(generate_record_key())
    r, s = _parse(SIGNER.sign(attest))
    for signature in (other.sign(attest), SIGNER.sign(attest + b"\0"), _encode(r, _ORDER - s), b"no DER"):
        with pytest.raises(BadCountError, match=f"not signed by the checkpoint key {KEY.id.hex()}"):
            verify_count(attest, signature, TEXT, KEY)
    with pytest.raises(BadCountError, match="signature"):
        verify_count(attest, b"", TEXT, KEY)


def test_a_certification_of_another_checkpoint_is_refused() -> None:
    """The hash in it is of another text."""
    attest = statement(7, sha256(TEXT.replace(b"7", b"8")).digest())
    with pytest.raises(BadCountError, match="of another checkpoint"):
        verify_count(attest, SIGNER.sign(attest), TEXT, KEY)


def test_under_one_key_the_counter_only_rises() -> None:
    """Another chip has another key, and begins where it likes."""
    rising, other = Rising(), EcdsaSigner(generate_record_key()).verifier_key("example.com/gw-1")
    rising.take(KEY, 6, 40)
    rising.take(KEY, 12, 44)
    rising.take(other, 18, 3)
    with pytest.raises(BadCountError, match="it falls: 43 at size 24, 44 at size 12"):
        rising.take(KEY, 24, 43)
    with pytest.raises(BadCountError, match="it repeats: 44 at size 24"):
        rising.take(KEY, 24, 44)
    rising.take(KEY, 24, 45)
