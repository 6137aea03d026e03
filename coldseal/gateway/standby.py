"""Watches the checkpoint key in chip or token: says when it is away, and puts a software key in its place.

Promise: readings are acknowledged all the while; checkpoints that software signs are marked by the log's own
`key` entry, with the reason. The way back is an operator's roll-over, never a thing that happens by itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from coldseal.errors import ColdsealError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.rollover import RollOver
    from coldseal.gateway.store.journal import Journal
    from coldseal.observe.metrics import GatewayMetrics

LOOK_S: Final = 1.0
"""Pause between two looks."""

_log = Log("gateway.hardware")


class Standby:
    """The watch over one log's checkpoint key.

    Args:
        change: changes the log's keys.
        journal: notices that the key does not sign.
        clock: gives the moment.
        metrics: where it is shown.
        patience_s: how long the key may be away.
        is_wanted: whether the configured key is one in hardware.
    """

    def __init__(
        self,
        change: RollOver,
        journal: Journal,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        patience_s: float,
        is_wanted: bool,
    ) -> None:
        """Take the parts."""
        self._change, self._journal = change, journal
        self._clock, self._metrics = clock, metrics
        self._patience_ms, self._is_wanted = patience_s * 1000, is_wanted
        self._since_ms: int | None = None
        self._is_stuck = False

    @property
    def is_stand_in(self) -> bool:
        """Whether checkpoints are signed by software though a key in hardware is configured."""
        return self._is_wanted and not self._change.keys.checkpoint.is_held

    async def run(self) -> None:
        """Look once a second, until cancelled; without a key in hardware there is nothing to see."""
        if self.is_stand_in:
            _log.emit(events.HARDWARE_STAND_IN, key=self._change.keys.checkpoint.kid)
        while self._is_wanted:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Notice that the key is away or back; when it has been away too long, put another in its place."""
        fault, now = self._journal.key_fault, self._clock.now().mono_ms
        if fault and self._since_ms is None:
            self._since_ms = now
            _log.emit(events.HARDWARE_KEY_AWAY, error=fault)
        if fault:
            try:
                await self._journal.probe()
            except ColdsealError:
                if now - (self._since_ms or 0) >= self._patience_ms:
                    await self._replace(fault)
        if not self._journal.key_fault and self._since_ms is not None:
            if not self.is_stand_in:
                _log.emit(events.HARDWARE_KEY_BACK, seconds=(now - self._since_ms) / 1000)
            self._since_ms = None
        self._metrics.hardware_key_away.set(bool(self._journal.key_fault))
        self._metrics.hardware_key_stand_in.set(self.is_stand_in)

    async def _replace(self, fault: str) -> None:
        """Put a software key in the place of the one that is away."""
        try:
            changed = await self._change.fall_back(fault)
        except ColdsealError as error:
            if not self._is_stuck:
                _log.emit(events.HARDWARE_STUCK, error=str(error))
            self._is_stuck = True
            return
        self._is_stuck = False
        _log.emit(events.HARDWARE_KEY_REPLACED, seq=changed.seq, error=fault)

    def status(self) -> str:
        """Say who signs checkpoints, for a person."""
        if self._journal.key_fault:
            return f"away: {self._journal.key_fault}"
        if self.is_stand_in:
            return "software in the place of hardware: change back by coldseal identity roll-over"
        return "hardware" if self._change.keys.checkpoint.is_held else "software"
