"""What a drill may do to a running gateway: keep the uplink away, or close the store, for a while.

Promise: each ends by itself after the seconds that were asked for, at most `LONGEST_S`, whatever becomes of
the command that asked; one at a time. Devices keep their readings meanwhile, as in the real fault.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from coldseal.errors import OperatorError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coldseal.gateway.control import Answer, Handler

LONGEST_S: Final = 600.0
"""Longest time that a drill may last."""

_log = Log("gateway.exercise")


class Exercise:
    """The faults that can be played, one at a time.

    Args:
        faults: by name, what begins a fault (True) or ends it (False).
    """

    def __init__(self, faults: Mapping[str, Callable[[bool], None]]) -> None:
        """Take the table; nothing is played."""
        self._faults = faults
        self._running = ""
        self._end: asyncio.TimerHandle | None = None

    def handlers(self) -> Mapping[str, Handler]:
        """Give what answers the requests `exercise`, with ``fault`` and ``seconds``, and `exercise-end`."""
        return {"exercise": self._begin, "exercise-end": self._stop}

    def stop(self) -> None:
        """End what is played, if anything is."""
        if self._end is not None:
            self._end.cancel()
            self._end = None
            self._faults[self._running](False)
            _log.emit(events.EXERCISE_ENDED, fault=self._running)

    def _begin(self, request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """Begin one; it ends by itself."""
        fault, seconds = request.get("fault"), request.get("seconds")
        if not isinstance(fault, str) or fault not in self._faults:
            known = ", ".join(sorted(self._faults)) or "none: there is no uplink"
            raise OperatorError(f"the gateway cannot play {fault!r}", f"It can play: {known}")
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 < seconds <= LONGEST_S:
            hint = f"Give more than 0 and at most {LONGEST_S:.0f}"
            raise OperatorError(f"the drill cannot last {seconds!r} seconds", hint)
        if self._end is not None:
            raise OperatorError(f"a drill is under way: {self._running}", "Wait until it has ended")
        self._running = fault
        self._faults[fault](True)
        self._end = asyncio.get_running_loop().call_later(seconds, self.stop)
        _log.emit(events.EXERCISE_BEGAN, fault=fault, seconds=float(seconds))
        answer({"fault": fault, "seconds": seconds})

    def _stop(self, _request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """End it before its time."""
        ended = self._running if self._end is not None else ""
        self.stop()
        answer({"ended": ended})
