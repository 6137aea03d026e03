"""Claims about words, places and doors: what people read, what is passed over, what a missing part says."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.core.coldchain.alarm import Alarm, State
from coldseal.core.coldchain.profile import Tier
from coldseal.errors import OperatorError
from coldseal.gateway.alarming.board import Board
from coldseal.gateway.alarming.handover import Handover, _schemes
from coldseal.gateway.alarming.index import Index, facts, read_index, write_index
from coldseal.gateway.alarming.words import compose
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.pruned import Pruned, PrunedError
from coldseal.gateway.store.reader import Slice

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.reader import LogReader


def alarm(place: int = 0, **fields: object) -> Alarm:
    """Make an alarm that people are told."""
    known: dict[str, Any] = {
        "about": f"x{place}",
        "kind": "silence",
        "tier": Tier.WARNING,
        "device": "dev-1",
        "sensor": "door",
        "text": f"text {place}",
        "state": State.TOLD,
        "number": 1,
    }
    return Alarm(**(known | fields))


def test_the_heaviest_comes_first_and_what_is_too_much_is_counted() -> None:
    """What is over comes last."""
    many = [alarm(n) for n in range(45)] + [alarm(90, tier=Tier.CRITICAL, number=2)]
    title, body, weight = compose([alarm(99, state=State.OVER, tier=Tier.CRITICAL), *many], "site-7")
    assert title == "site-7: CRITICAL (again): silence, dev-1/door (and 46 more)"
    assert body.startswith("critical: text 90\n")
    assert body.count("acknowledge: coldseal gateway alarms") == 40
    assert body.endswith("… and 7 more: coldseal gateway alarms list")
    assert weight == "failure"
    assert compose([alarm()], "site-7")[2] == "warning"


def test_what_is_kept_says_why_it_is_still_there() -> None:
    """Its cause is gone; it is over when somebody has acknowledged."""
    assert "it stays until somebody acknowledges" in compose([alarm(state=State.LATCHED)], "s")[1]
    title, body, weight = compose([alarm(state=State.OVER)], "s")
    assert (title, body.partition(":")[0], weight) == ("s: OVER: silence, dev-1/door", "OVER", "success")


def test_names_that_cannot_stand_in_a_topic_are_not_shown() -> None:
    """They are on record all the same."""
    shown: list[str] = []

    class Publisher:
        """Takes what is published."""

        def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
            """Note the topic."""
            assert payload
            assert retain
            shown.append(topic)
            return 0

    Board("site-7", Publisher()).show([alarm(device="dev/1"), alarm(sensor=""), alarm(sensor="a.b")])
    assert shown == ["coldseal/v1/site-7/dev-1/alarm/a.b"]


class Holes:
    """A log of ten entries without alarms, of which some are pruned and some lost."""

    def __init__(self) -> None:
        """Nothing was asked for yet."""
        self.asked: list[tuple[int, int]] = []

    def read(self, first: int, *, max_entries: int) -> list[bytes]:
        """Read one entry that the index names."""
        assert max_entries == 1
        raise LostError(first, first, first, 9)

    def read_frames(self, first: int, *, max_entries: int) -> Slice:
        """Read as a log does that was pruned up to 2, and lost 5 and 6."""
        self.asked.append((first, max_entries))
        if first <= 2:
            raise PrunedError(first, Pruned(0, 2, "a", "b"))
        for seq in range(first, first + max_entries):
            if seq in {5, 6}:
                raise LostError(seq, 5, 6, 9)
        return Slice(first, max_entries, b"")


def test_what_was_pruned_or_lost_is_passed_over_and_nothing_else() -> None:
    """Also what stands between the holes is looked at."""
    holes = Holes()
    reader: LogReader = holes  # type: ignore[assignment] # as much of one as is asked for
    assert [list(each) for each in facts(reader, Index(0, (1,)), 10)] == [[], []]
    assert holes.asked == [(0, 10), (3, 7), (3, 2), (5, 5), (7, 3)]


def test_a_library_that_is_missing_is_named_with_its_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    """As an error of configuration."""
    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(OperatorError, match=r"needs the package apprise\. Install it with: pip install"):
        Handover("duty", "json://x", ())


def test_schemes_are_read_in_each_form_that_plug_ins_have() -> None:
    """One, several, none."""
    assert (_schemes("a"), _schemes(("a", "b")), _schemes(None)) == ({"a"}, {"a", "b"}, set())


def test_a_folder_that_cannot_be_written_costs_time_alone(tmp_path: Path) -> None:
    """The index is left as it is."""
    write_index(tmp_path / "no" / "alarms.json", Index(3, (1,)))
    assert read_index(tmp_path / "no" / "alarms.json", 5, "") == Index()


def test_an_index_of_another_log_is_not_believed(tmp_path: Path) -> None:
    """A successor begins in the same folder."""
    path, index = tmp_path / "alarms.json", Index(3, (1,), "a/gw-1")
    write_index(path, index)
    assert read_index(path, 3, "a/gw-1") == index
    assert read_index(path, 3, "a/gw-1/2") == Index()
    assert read_index(path, 2, "a/gw-1") == Index()
