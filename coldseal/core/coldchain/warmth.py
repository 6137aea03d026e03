"""The mean kinetic temperature held against its limit: an excursion of its own, beside those of values.

Promise: begins and ends by the mean alone and touches no other excursion, nor does any other touch it. A
reading costs two multiplications; a logarithm is taken only where an entry is written. A window that readings
cover to less than one half says nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain import mkt
from coldseal.core.coldchain.excursion import TRANSITIONS, Action, Change, Ending, Event, Run, State
from coldseal.core.coldchain.product import Tier

if TYPE_CHECKING:
    from coldseal.core.coldchain.laws import Law
    from coldseal.core.coldchain.mkt import Kinetic

DIRECTION: Final = "mkt"
"""Stands where an excursion of values has its side."""


def step(law: Law, run: Run | None, kinetic: Kinetic | None, t_ms: int) -> tuple[Run | None, list[Change]]:
    """Take the window as it stands with the next reading.

    Args:
        law: what is asked.
        run: what is under way; its `extreme` is the highest mean, as a weight. None: nothing is.
        kinetic: sums of the window; None: not applicable.
        t_ms: when the reading was taken.

    Returns:
        What is under way now, and what goes on record.
    """
    window = law.window
    if window is None or kinetic is None or not mkt.is_covered(kinetic, window):
        return run, []
    if mkt.is_above(kinetic, window):
        return _above(run, mkt.height(kinetic), t_ms)
    if run is None:
        return None, []
    return _below(law, run, t_ms) if mkt.is_back(kinetic, window) else (_between(run), [])


def _above(run: Run | None, height: int, t_ms: int) -> tuple[Run, list[Change]]:
    """Begin one, or go on with it."""
    after, action = TRANSITIONS[State.NOMINAL if run is None else run.state, Event.OUT]
    if run is None:
        run = Run(after, t_ms, t_ms, height, (), Tier.EXCURSION.weight)
    else:
        run = msgspec.structs.replace(
            run, state=after, inside=0, ending=None, extreme=max(run.extreme, height)
        )
    return run, [] if action is None else [Change(action, run, t_ms)]


def _between(run: Run) -> Run:
    """Go on where the mean is no longer above its limit, and not yet below it by the hysteresis."""
    after, _ = TRANSITIONS[run.state, Event.BAND]
    return msgspec.structs.replace(run, state=after, inside=0, ending=None)


def _below(law: Law, run: Run, t_ms: int) -> tuple[Run | None, list[Change]]:
    """Count the readings with which it is far enough below its limit; enough of them end it by the first."""
    ending, inside = run.ending or Ending(t_ms, run.duration_ms, run.gap_ms), run.inside + 1
    event = Event.ENOUGH if inside >= law.rule.recover_after else Event.INSIDE
    after, action = TRANSITIONS[run.state, event]
    if action is not Action.RECOVERED:
        return msgspec.structs.replace(run, state=after, inside=inside, ending=ending), []
    to_ms, duration_ms, gap_ms = ending
    ended = msgspec.structs.replace(run, state=after, duration_ms=duration_ms, gap_ms=gap_ms)
    return None, [Change(action, ended, to_ms)]


def settle(run: Run, held_ms: int, gap_ms: int) -> Run:
    """Count time that has passed."""
    return msgspec.structs.replace(
        run, duration_ms=run.duration_ms + held_ms + gap_ms, gap_ms=run.gap_ms + gap_ms
    )
