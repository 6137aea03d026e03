"""The verdict finds every planted fault, and nothing where there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from coldseal.core.log.record import Chain
from coldseal.demo.verdict import Findings, Held, ReadingKey, held_by, judge
from coldseal.errors import InputError

_TQ = b'{"boot":"a1b2c3d4","err":5,"mono":1,"off":0,"s":"synchronised"}'
_TIME = "2026-01-02T03:04:05.678Z"

A1, A2, A3 = (ReadingKey("a", "0badcafe", seq) for seq in (1, 2, 3))
B1, B2 = (ReadingKey("b", "0badcafe", seq) for seq in (1, 2))
LOG = (A1, B1, A2, B2, A3)


def held(*readings: ReadingKey) -> Held:
    """A log of these readings behind a genesis, its leaf hashes made up from the readings."""
    leaves = (b"genesis", *(repr(reading).encode() for reading in readings))
    return Held(leaves, readings)


GOOD = Findings(
    acknowledged={"a": (A1, A2, A3), "b": (B1, B2)},
    unacknowledged=0,
    gateway=held(*LOG),
    service=held(*LOG),
    signatures_verified=6,
    refuted=0,
    evidence=(0, "OK"),
)


def bad_lines(found: Findings) -> set[str]:
    """The names of the lines that a verdict marks."""
    verdict = judge(found)
    marked = {check.name for check in verdict.checks if not check.is_good}
    assert verdict.is_good == (not marked)
    return marked


def both(*readings: ReadingKey) -> Findings:
    """Findings where gateway and service agree on these readings."""
    return replace(
        GOOD, gateway=held(*readings), service=held(*readings), signatures_verified=len(readings) + 1
    )


def test_a_run_without_fault_is_good() -> None:
    """Everything acknowledged, sealed, stored, verified, once and in order."""
    assert bad_lines(GOOD) == set()


def test_the_counts_are_shown() -> None:
    """A person reads how much was compared, not only that it was equal."""
    shown = {check.name: (check.value, check.expected) for check in judge(GOOD).checks}
    assert shown["readings acknowledged"] == ("5", "")
    assert shown["stored by the service"] == ("5", "5")
    assert shown["signatures verified (all entries)"] == ("6", "6")
    assert shown["evidence verify"] == ("OK", "OK")


def test_a_reading_lost_everywhere_turns_the_verdict() -> None:
    """The sensor was told that it is safe, and it stands nowhere."""
    assert bad_lines(both(A1, B1, A2, B2)) == {"sealed by the gateway", "stored by the service", "lost"}


def test_a_reading_lost_on_the_way_turns_the_verdict() -> None:
    """The gateway has it and the service has not."""
    assert bad_lines(replace(GOOD, service=held(A1, B1, A2, B2))) == {
        "stored by the service",
        "entries that differ",
        "lost",
    }


def test_a_doubled_reading_turns_the_verdict() -> None:
    """A re-delivered reading was sealed twice."""
    assert "doubled" in bad_lines(both(A1, B1, A2, A2, B2, A3))


def test_a_doubled_reading_that_hides_a_lost_one_turns_the_verdict() -> None:
    """Equal counts are not enough: one twice and one missing is five of five."""
    assert bad_lines(both(A1, B1, A2, B2, B2)) == {"lost", "doubled"}


def test_a_reordered_reading_turns_the_verdict() -> None:
    """Two readings of one sensor changed places."""
    assert bad_lines(both(A2, B1, A1, B2, A3)) == {"out of order"}


def test_sensors_may_interleave() -> None:
    """Order is promised for each sensor, not between them."""
    assert bad_lines(both(B1, B2, A1, A2, A3)) == set()


def test_a_new_boot_counts_from_one_again() -> None:
    """A sensor that restarted begins again, which is no disorder."""
    again = ReadingKey("a", "feedf00d", 1)
    found = both(*LOG, again)
    assert bad_lines(replace(found, acknowledged={**GOOD.acknowledged, "a": (A1, A2, A3, again)})) == set()


def test_a_reading_under_another_name_is_lost() -> None:
    """The identity belongs to the reading."""
    stranger = ReadingKey("c", "0badcafe", 3)
    assert bad_lines(both(A1, B1, A2, B2, stranger)) == {"lost"}


def test_a_changed_entry_at_the_service_turns_the_verdict() -> None:
    """The same readings, but one entry has another hash."""
    leaves = (*GOOD.service.leaves[:-1], b"changed")
    assert bad_lines(replace(GOOD, service=Held(leaves, GOOD.service.readings))) == {"entries that differ"}


def change(**fields: object) -> Callable[[], Findings]:
    """A fault that is one other field."""
    return lambda: replace(GOOD, **fields)  # type: ignore[arg-type] # each field's type stands in the cases


@pytest.mark.parametrize(
    ("fault", "marked"),
    [
        (change(unacknowledged=1), {"sent without acknowledgement"}),
        (change(signatures_verified=5), {"signatures verified (all entries)"}),
        (change(refuted=1), {"signatures refuted"}),
        (change(evidence=(1, "root-mismatch at 4")), {"evidence verify"}),
        (change(evidence=(2, "")), {"evidence verify"}),
    ],
)
def test_each_other_fault_has_its_own_line(fault: Callable[[], Findings], marked: set[str]) -> None:
    """One fault, one marked line."""
    assert bad_lines(fault()) == marked


def test_a_failed_verification_is_quoted() -> None:
    """The line says what `evidence verify` said, or its exit code where it said nothing."""
    said = [
        next(
            check.value
            for check in judge(replace(GOOD, evidence=found)).checks
            if check.name == "evidence verify"
        )
        for found in ((1, "root-mismatch at 4"), (2, ""))
    ]
    assert said == ["root-mismatch at 4", "exit 2"]


def test_a_run_without_readings_is_not_good() -> None:
    """Nothing acknowledged proves nothing."""
    empty = Findings({}, 0, held(), held(), 1, 0, (0, "OK"))
    assert bad_lines(empty) == {"readings acknowledged"}


def sealed(*sources: bytes) -> list[bytes]:
    """A real log: a genesis, then one unsigned reading for each source."""
    chain = Chain("coldseal.example/demo/gw", "0123456789abcdef")
    entries = [chain.seal("genesis", _TIME, _TQ, b"", b'{"mode":"checkpoint"}', None)]
    entries += [chain.seal("reading", _TIME, _TQ, source, b'{"sensor":"s"}', None) for source in sources]
    return entries


def test_a_log_is_read_into_keys_and_leaf_hashes() -> None:
    """Only readings have keys; every entry has a leaf hash."""
    found = held_by(
        sealed(b'{"boot":"0badcafe","dev":"a","seq":1}', b'{"boot":"0badcafe","dev":"b","seq":1}')
    )
    assert found.readings == (A1, B1)
    assert len(set(found.leaves)) == 3


def test_a_reading_without_a_sequence_of_its_sensor_matches_nothing() -> None:
    """It cannot be told from another one, so it never stands for an acknowledged reading."""
    found = held_by(sealed(b'{"dev":"a","pid":7}'))
    assert found.readings == (ReadingKey("a", "None", -1),)


def test_a_malformed_entry_is_an_error() -> None:
    """The verdict is never made from half a log."""
    with pytest.raises(InputError):
        held_by([b"{}"])
