"""What routes keep is on disk when it is written, and a decision about it is never half-done."""

from __future__ import annotations

from contextlib import closing

import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.routing import kept as module
from coldseal.gateway.routing.decisions import decide, parse_decision
from coldseal.gateway.routing.kept import Aside, Kept, Position
from tests.gateway.routing.rig import Grounds
from tests.trial import STORE_KEY

REFUSED = Aside(5, "reading", 1_800_000_000_000, "422", "no such asset")


def test_what_is_written_is_there_after_a_crash(grounds: Grounds) -> None:
    """Another process sees it at once."""
    with closing(grounds.kept()) as kept:
        assert kept.begin("erp", "an.origin", 3) == Position(3)
        kept.advance("erp", 5, delivered=2)
        kept.put_aside("erp", REFUSED, 6)
        with closing(Kept(grounds.data, STORE_KEY, readonly=True)) as other:
            assert other.position("erp") == Position(6, delivered=2)
            assert other.aside("erp") == [REFUSED]
            assert other.count("erp") == 1
        assert kept.begin("erp", "an.origin", 0) == Position(6, delivered=2)
        assert kept.begin("other", "an.origin", 0) == Position(0)
        assert kept.position("none") is None


def test_what_is_put_aside_again_never_moves_a_route_back(grounds: Grounds) -> None:
    """It may be an old entry, sent again."""
    with closing(grounds.kept()) as kept:
        kept.begin("erp", "an.origin", 9)
        kept.put_aside("erp", REFUSED, 0)
        assert kept.position("erp") == Position(9)


def test_the_wal_is_copied_now_and_then(grounds: Grounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would grow for ever."""
    monkeypatch.setattr(module, "COPY_WAL_EVERY", 50)
    wal = grounds.data / module.FOLDER / f"{module.NAME}-wal"
    with closing(grounds.kept()) as kept:
        kept.begin("erp", "an.origin", 0)
        for place in range(50):
            kept.advance("erp", place)
        reached = wal.stat().st_size
        for place in range(40):
            kept.advance("erp", place)
        assert wal.stat().st_size == reached


def test_a_reader_finds_nothing_before_any_route_ran(grounds: Grounds) -> None:
    """It makes no file."""
    with pytest.raises(UnavailableError):
        Kept(grounds.data, STORE_KEY, readonly=True)


def prepared(grounds: Grounds) -> None:
    """Put two entries aside on a route at 8 of 20."""
    grounds.route("erp", "https://localhost:1/in")
    with closing(grounds.kept()) as kept:
        kept.begin("erp", "an.origin", 8)
        kept.put_aside("erp", REFUSED, 0)
        kept.put_aside("erp", REFUSED._replace(seq=7), 0)


@pytest.mark.parametrize(
    ("asked", "wanted", "left", "passed"),
    [
        ({"action": "retry"}, [5, 7], [5, 7], set()),
        ({"action": "retry", "seqs": [7]}, [7], [5, 7], set()),
        ({"action": "skip", "seqs": [5]}, [], [7], set()),
        ({"action": "skip", "seqs": [7, 8, 19]}, [], [5], {8, 19}),
    ],
    ids=["retry-all", "retry-one", "skip-one", "skip-ahead"],
)
def test_a_decision_does_what_it_says(
    grounds: Grounds, asked: dict[str, object], wanted: list[int], left: list[int], passed: set[int]
) -> None:
    """And tells about which entries."""
    prepared(grounds)
    decision = parse_decision({"route": "erp", "why": "tried", **asked})
    done = decide(grounds.config(), STORE_KEY, decision, 20)
    with closing(grounds.kept()) as kept:
        assert [each.seq for each in kept.wanted("erp")] == wanted
        assert [each.seq for each in kept.aside("erp")] == left
        assert kept.given_up("erp") == passed
    assert done["entries"] == asked.get("seqs", [5, 7])


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"action": "retry", "seqs": [6]}, "entry 6 is not put aside"),
        ({"action": "retry", "seqs": [9]}, "entry 9 is not put aside"),
        ({"action": "skip", "seqs": [5, 20]}, "entry 20 is not put aside"),
        ({"action": "skip"}, "not said which"),
        ({"action": "skip", "route": "crm", "seqs": [1]}, "no route 'crm'"),
        ({"action": "drop"}, "cannot be read"),
        ({"action": "retry", "seqs": [-1]}, "cannot be read"),
        ({"action": "retry", "all": True}, "cannot be read"),
    ],
)
def test_a_decision_that_makes_no_sense_changes_nothing(
    grounds: Grounds, asked: dict[str, object], what: str
) -> None:
    """Not even that part of it which would."""
    prepared(grounds)
    with pytest.raises(OperatorError, match=what):
        decide(grounds.config(), STORE_KEY, parse_decision({"route": "erp", **asked}), 20)
    with closing(grounds.kept()) as kept:
        assert len(kept.aside("erp")) == 2
        assert not kept.wanted("erp")
        assert not kept.given_up("erp")


def test_a_skip_before_the_first_start_passes_over_from_the_begin(grounds: Grounds) -> None:
    """The route has no position yet."""
    grounds.route("erp", "https://localhost:1/in")
    decide(grounds.config(), STORE_KEY, parse_decision({"action": "skip", "route": "erp", "seqs": [0]}), 20)
    with closing(grounds.kept()) as kept:
        assert kept.given_up("erp") == {0}
