"""What a drill may do to a running gateway ends by itself, is bounded, and is one thing at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway.exercise import LONGEST_S, Exercise

if TYPE_CHECKING:
    from coldseal.gateway.control import Answer


class Played:
    """Two faults, and what was done to them."""

    def __init__(self) -> None:
        """Nothing was done yet."""
        self.done: list[tuple[str, bool]] = []
        self.ended = asyncio.Event()
        faults = {name: self._make(name) for name in ("cut", "full")}
        self.exercise = Exercise(faults)
        self.answers: list[Answer] = []

    def _make(self, name: str) -> Any:  # noqa: ANN401 -- a function of a boolean
        """Make what begins or ends a fault."""

        def change(is_on: bool) -> None:
            self.done.append((name, is_on))
            if not is_on:
                self.ended.set()

        return change

    def ask(self, name: str, **request: object) -> None:
        """Ask as the control channel does."""
        self.exercise.handlers()[name](request, self.answers.append)


async def test_a_fault_ends_by_itself() -> None:
    """Whatever becomes of whoever asked."""
    played = Played()
    played.ask("exercise", fault="cut", seconds=0.01)
    assert played.answers == [{"fault": "cut", "seconds": 0.01}]
    await played.ended.wait()
    assert played.done == [("cut", True), ("cut", False)]
    played.exercise.stop()
    assert len(played.done) == 2


async def test_a_fault_can_be_ended_before_its_time() -> None:
    """By the command, or because the gateway stops; twice does no harm."""
    played = Played()
    played.ask("exercise", fault="full", seconds=LONGEST_S)
    played.ask("exercise-end")
    played.ask("exercise-end")
    assert played.answers[1:] == [{"ended": "full"}, {"ended": ""}]
    assert played.done == [("full", True), ("full", False)]


async def test_only_one_fault_is_played_at_a_time() -> None:
    """Two at once would prove nothing."""
    played = Played()
    played.ask("exercise", fault="full", seconds=5)
    with pytest.raises(OperatorError, match="a drill is under way: full"):
        played.ask("exercise", fault="cut", seconds=5)
    played.exercise.stop()


@pytest.mark.parametrize("seconds", [0, -1, LONGEST_S + 1, "5", None, True])
async def test_a_fault_without_a_fair_end_is_not_played(seconds: object) -> None:
    """Its longest time is bounded."""
    played = Played()
    with pytest.raises(OperatorError, match=r"cannot last .* at most 600"):
        played.ask("exercise", fault="cut", seconds=seconds)
    assert played.done == []


@pytest.mark.parametrize("fault", ["flood", "", None, 5])
async def test_an_unknown_fault_is_refused_with_those_that_there_are(fault: object) -> None:
    """So that nobody has to look them up."""
    played = Played()
    with pytest.raises(OperatorError, match="It can play: cut, full"):
        played.ask("exercise", fault=fault, seconds=5)
