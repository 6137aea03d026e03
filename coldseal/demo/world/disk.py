"""The disk of the simulated gateway: it can be struck at any step, and a machine that is off changes nothing.

What a power cut leaves is the model's matter, below. Lies are switched on from outside, and only here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import apsw
from typing_extensions import override

from coldseal.demo.disk import SimulatedDisk

if TYPE_CHECKING:
    from collections.abc import Callable


class WorldDisk(SimulatedDisk):
    """A disk under a process that can be ended in the midst of a step.

    Attributes:
        is_off: nothing is written any more.
    """

    def __init__(self) -> None:
        """Begin with all in order."""
        super().__init__()
        self.is_off = False
        self._fuse = 0
        self._strike: Callable[[], None] | None = None

    def strike(self, step: int, strike: Callable[[], None]) -> None:
        """Do something before one of the next steps; at once for a step below 0."""
        if step < 0:
            strike()
        else:
            self._fuse, self._strike = step, strike

    def disarm(self) -> None:
        """Let nothing strike any more."""
        self._strike = None

    def break_down(self, step: int, count: int, *, is_full: bool) -> None:
        """Let steps fail, the first of them behind some good ones."""
        self.fail_anywhere(apsw.FullError if is_full else apsw.IOError, after=max(0, step), count=count)

    def switch_on(self) -> None:
        """Go on with what is there, for another process."""
        self.heal()
        self.is_off, self._strike = False, None

    @override
    def step(self, name: str) -> None:
        """Take a step, unless it is the one that never comes to be."""
        if self._strike is not None and not self.is_off:
            self._fuse -= 1
            if self._fuse < 0:
                strike, self._strike = self._strike, None
                strike()
        if self.is_off:
            raise apsw.IOError("the machine is off")
        super().step(name)
