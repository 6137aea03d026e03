"""What a log says of time is held against itself, against its promise, and against its witnesses."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import Checkpoint, checkpoint_note
from coldseal.core.log.evidence import Case, Policy, Report, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import Chain, frame
from coldseal.core.log.stretch import MAX_FAULTS
from tests.sealed import ORIGIN, SealedLog, checkpoint_keys, cosigned, log_keys, witness_key

START_MS = 1_795_330_800_000
KEYS = log_keys()
HOUR = 3_600_000


class Diary:
    """A log whose clocks are set by hand."""

    def __init__(self, *, heartbeat: int | None = 60) -> None:
        """Seal the genesis."""
        self.chain = Chain(ORIGIN, KEYS.record.kid)
        self.t, self.mono, self.boot = START_MS, 5_000, "0badcafe"
        self.entries: list[bytes] = []
        data: dict[str, Any] = {
            "checkpoint_keys": [key.encode() for key in checkpoint_keys(KEYS, ORIGIN)],
            "mode": "record",
            "record_key": canonical.encode_base64(KEYS.record.spki),
        }
        self.seal("genesis", data | ({} if heartbeat is None else {"heartbeat": heartbeat}), passed=0)

    def seal(
        self,
        kind: str = "reading",
        data: dict[str, Any] | None = None,
        *,
        passed: int = 1_000,
        stepped: int = 0,
    ) -> None:
        """Let time pass, and the wall clock step, then seal an entry."""
        self.t, self.mono = self.t + passed + stepped, self.mono + passed
        moment = datetime.fromtimestamp(self.t / 1000, UTC).isoformat(timespec="milliseconds")
        tq: dict[str, Any] = {"boot": self.boot, "err": 3, "mono": self.mono, "off": 0, "s": "synchronised"}
        self.entries.append(
            self.chain.seal(
                kind,
                f"{moment[:-6]}Z",
                canonical.encode(tq),
                b"",
                canonical.encode(data or {}),
                KEYS.record.sign,
            )
        )

    def note(self, *, after_ms: int = 1_000) -> bytes:
        """Give the receipt over everything so far, some time after the last entry."""
        found = Checkpoint(ORIGIN, self.chain.size, self.chain.tree.root())
        text = found.text()
        lines = [KEYS.checkpoint.note_signature(ORIGIN, text), KEYS.interop.note_signature(ORIGIN, text)]
        return cosigned(checkpoint_note(found, lines), t=(self.t + after_ms) // 1000)

    def verify(self, *notes: bytes, step: int = 2) -> list[tuple[str, int]]:
        """Verify it in stretches."""
        return [(fault.verdict.value, fault.seq) for fault in self.report(*notes, step=step).faults]

    def report(self, *notes: bytes, step: int = 2) -> Report:
        """Verify it, and give all that was found."""
        policy = Policy(ORIGIN, KEYS.record.spki, checkpoint_keys(KEYS, ORIGIN), (witness_key(),))
        size = len(self.entries)
        settings = [raw for raw in self.entries if re.search(b'"kind":"(genesis|config|prune)"', raw)]
        case = Case(policy, Layout(size, ((0, size),), ()), notes=notes or (self.note(),), settings=settings)
        stretches = (
            examine(case.rules, at, frame(self.entries[at : at + step])) for at in range(0, size, step)
        )
        return judge(case, stretches)


@pytest.mark.parametrize("step", [1, 2, 10])
@pytest.mark.parametrize("stepped", [HOUR, -HOUR, 300, -300])
def test_a_step_of_the_wall_clock_without_a_word_is_found(stepped: int, step: int) -> None:
    """The clock that never steps tells."""
    diary = Diary()
    diary.seal()
    diary.seal(stepped=stepped)
    diary.seal()
    assert diary.verify(diary.note(after_ms=2 * HOUR), step=step) == [("clock-step", 2)]


@pytest.mark.parametrize("stepped", [HOUR, -HOUR])
def test_a_step_that_the_log_itself_tells_is_none(stepped: int) -> None:
    """A `clock` entry stands where it happened."""
    diary = Diary()
    diary.seal()
    diary.seal("clock", {"step": stepped}, stepped=stepped)
    diary.seal()
    assert diary.verify(diary.note(after_ms=2 * HOUR)) == []


def test_a_slow_drift_is_found_where_it_is_faster_than_any_correction() -> None:
    """One per cent; the kernel slews by a twentieth of that at most."""
    diary = Diary()
    for _ in range(5):
        diary.seal(passed=50_000, stepped=500)
    assert diary.verify() == [("clock-step", seq) for seq in (1, 2, 3, 4, 5)]
    steady = Diary()
    for _ in range(5):
        steady.seal(passed=50_000, stepped=25)
    assert steady.verify() == []


def test_a_time_behind_the_witness_s_is_a_drift() -> None:
    """By more than two minutes; the tightest cosignature over the entry counts."""
    diary = Diary()
    diary.seal()
    early = diary.note(after_ms=-130_000)
    diary.seal()
    assert diary.verify(early, diary.note()) == [("clock-drift", 0), ("clock-drift", 1)]
    assert diary.verify(diary.note(after_ms=-110_000)) == []


def test_a_new_start_of_the_machine_must_be_told() -> None:
    """By a `boot` entry; its wall clock may stand anywhere."""
    for kind, expected in (("boot", []), ("reading", [("clock-step", 2)])):
        diary = Diary()
        diary.seal()
        diary.boot, diary.mono = "feedbeef", 100
        diary.seal(kind, stepped=-HOUR)
        assert diary.verify(diary.note(after_ms=2 * HOUR)) == expected


@pytest.mark.parametrize("step", [1, 5])
def test_silence_beyond_the_promised_heartbeat_is_found(step: int) -> None:
    """Unless a `boot` or a `gap` explains it."""
    for kind, expected in (("reading", [("silence", 2)]), ("boot", []), ("gap", [])):
        diary = Diary()
        diary.seal()
        diary.seal(kind, passed=160_000)
        diary.seal(passed=154_000)
        assert diary.verify(step=step) == expected


@pytest.mark.parametrize("step", [1, 5])
def test_the_gap_of_a_sensor_does_not_explain_why_the_log_was_silent(step: int) -> None:
    """A sensor that was not heard is one thing, a gateway that wrote nothing another."""
    for cause, expected in (("silent", [("silence", 2)]), ("stopped", [])):
        diary = Diary()
        diary.seal()
        diary.seal("gap", {"cause": cause}, passed=160_000)
        diary.seal("gap", {"cause": "silent"}, passed=100_000)
        assert diary.verify(step=step) == expected


def test_the_interval_that_holds_is_the_one_last_put_on_record() -> None:
    """A log without any promises nothing."""
    diary = Diary()
    diary.seal(passed=150_000)
    diary.seal("config", {"heartbeat": 600}, passed=150_000)
    diary.seal(passed=1_400_000)
    diary.seal("config", {"heartbeat": 10}, passed=1_400_000)
    diary.seal(passed=31_000)
    assert diary.verify() == [("silence", 5)]
    silent = Diary(heartbeat=None)
    silent.seal(passed=10 * HOUR)
    assert silent.verify() == []


@pytest.mark.parametrize("step", [1, 2, 3, 10])
@pytest.mark.parametrize("begun", [0, 1, 2])
def test_a_start_on_a_clock_that_stepped_explains_the_silence_before_it(step: int, begun: int) -> None:
    """The gateway was down, the machine was not: `clock`, then `boot`; nothing else behind it will do."""
    for kind, expected in (("boot", []), ("reading", ["silence"]), ("gap", ["silence"])):
        diary = Diary()
        for _ in range(begun):
            diary.seal()
        diary.seal("clock", {"step": HOUR}, passed=HOUR, stepped=HOUR)
        diary.seal(kind)
        diary.seal("clock", {"step": 0})
        diary.seal("boot")
        found = diary.verify(diary.note(), step=step)
        assert found == [(verdict, begun + 1) for verdict in expected]


def test_a_start_explains_no_other_silence() -> None:
    """Neither an older one, nor one before the last entry, nor a step of the clock."""
    for step in (1, 2, 10):
        diary = Diary()
        diary.seal(passed=HOUR)
        diary.seal("clock", {"step": 0})
        diary.seal("boot")
        diary.seal(stepped=HOUR)
        diary.seal("clock", passed=HOUR)
        late = diary.note(after_ms=2 * HOUR)
        assert diary.verify(late, step=step) == [("clock-step", 4), ("silence", 1), ("silence", 5)]


def test_a_flood_of_one_fault_hides_no_more_fundamental_one() -> None:
    """What is kept of a stretch is what leads."""
    diary = Diary()
    for _ in range(MAX_FAULTS + 50):
        diary.seal(passed=HOUR)
    diary.seal(stepped=HOUR)
    diary.chain.log = "other.example/log"
    diary.seal()
    report = diary.report(diary.note(), step=1000)
    leading = [(fault.verdict.value, fault.seq) for fault in report.faults[:3]]
    assert leading == [("foreign-log", MAX_FAULTS + 52), ("clock-step", MAX_FAULTS + 51), ("silence", 1)]
    assert len(report.faults) == MAX_FAULTS


def test_the_earliest_cosignature_over_an_entry_is_its_bound() -> None:
    """On the first checkpoint over it or on a later one, whatever other witnesses say."""
    diary = Diary()
    diary.seal()
    ahead = diary.note(after_ms=HOUR)
    diary.seal()
    assert diary.verify(ahead, diary.note(after_ms=-121_500)) == [("clock-drift", seq) for seq in (1, 2)]


def pruned(receipt: object, root: bytes = b"", **changed: object) -> dict[str, Any]:
    """Give what a `prune` entry says."""
    archive = {"name": "a", "receipt": receipt, "sha256": "x"}
    found: dict[str, Any] = {"archive": archive, "first": 0, "last": 1, "root": canonical.encode_base64(root)}
    return found | changed


def test_what_was_pruned_must_be_archived_under_a_receipt() -> None:
    """Cosigned, over more than was pruned; else it is gone for good."""
    log = SealedLog().grow(1)
    log.checkpoint()
    for make, expected in (
        (lambda found: found.note().decode(), []),
        (lambda found: found.note()[: found.note().rindex("— witness".encode())].decode(), ["pruned"]),
        (lambda _: cosigned(log.notes[2]).decode().replace("\n2\n", "\n3\n"), ["pruned"]),
        (lambda _: 7, ["pruned"]),
    ):
        diary = Diary()
        diary.seal()
        data = pruned(make(diary), diary.chain.tree.root())
        diary.seal("prune", data)
        found = diary.verify()
        assert found == [("pruned-unproven", 2)] * len(expected)
    diary = Diary()
    data = pruned(diary.note().decode())
    diary.seal()
    data["root"] = canonical.encode_base64(diary.chain.tree.root())
    diary.seal("prune", data)
    assert diary.verify() == [("pruned-unproven", 2)]
    diary.seal("prune", {"first": 0})
    assert diary.verify() == [("pruned-unproven", 2), ("pruned-unproven", 3)]


@pytest.mark.parametrize(
    "changed",
    [
        {"first": -1},
        {"first": 2},
        {"first": True},
        {"last": 2},
        {"last": "1"},
        {"root": canonical.encode_base64(bytes(32))},
        {"root": None},
    ],
)
def test_what_was_pruned_is_a_range_before_the_entry_and_its_root_is_the_log_s(
    changed: dict[str, Any],
) -> None:
    """Where the entries show the root; else it is for whoever has the archive."""
    diary = Diary()
    diary.seal()
    receipt, root = diary.note().decode(), diary.chain.tree.root()
    diary.seal("prune", pruned(receipt, root) | changed)
    assert diary.verify() == [("pruned-unproven", 2)]


def test_a_promise_that_is_no_number_is_none() -> None:
    """JSON's true is not 1."""
    diary = Diary(heartbeat=True)
    diary.seal(passed=HOUR)
    assert diary.verify() == []
