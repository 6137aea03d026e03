"""Looks for sensors that are silent for too long, and has that sealed.

Promise: each silence is one entry until the sensor is heard again, and one that could not be sealed is found
again later. Silence from before the gateway could hear anybody is nobody's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.gateway.changing import drafts_of

if TYPE_CHECKING:
    from asyncio import Future

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.evaluating import Evaluator
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.store.journal import Journal

LOOK_MS: Final = 5_000
"""Pause between two looks."""

RETRY_MS: Final = 60_000
"""The same after what was found could not be sealed: the disk is full, and will be for a while."""


class Listening:
    """The watch.

    Args:
        evaluator: knows when each sensor was heard, and how long it may be silent.
        journal: stamps drafts.
        pipeline: seals them in their place.
        clock: gives the moment; it begins now.
        look_ms: pause between two looks.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        journal: Journal,
        pipeline: Pipeline,
        clock: Clock,
        *,
        look_ms: int = LOOK_MS,
    ) -> None:
        """Begin to listen."""
        self._evaluator, self._journal, self._pipeline, self._clock = evaluator, journal, pipeline, clock
        now = clock.now()
        self._since_ms, self._look_ms, self._due_ms = now.t_ms, look_ms, now.mono_ms + look_ms
        self._sealing: Future[list[bytes]] | None = None

    def tick(self) -> None:
        """Look, if it is time to; what was found last must be on disk, or have failed."""
        now = self._clock.now()
        if now.mono_ms < self._due_ms or (self._sealing is not None and not self._sealing.done()):
            return
        self._due_ms = now.mono_ms + self._look_ms
        sealing, self._sealing = self._sealing, None
        if sealing is not None and sealing.exception() is not None:
            self._due_ms = now.mono_ms + RETRY_MS
            return
        found = self._evaluator.silent(now.t_ms, listening_ms=self._since_ms)
        if found.effects:
            drafts = drafts_of(self._journal, found.effects, now)
            self._sealing = self._pipeline.enter(drafts, found.before)
