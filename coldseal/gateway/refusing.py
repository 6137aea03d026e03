"""A gateway that refuses: it takes nothing in, says why to whoever asks, and waits for a person's decision.

Promise: no entry is sealed and nobody is acknowledged; devices are turned away with the reason and keep what
they have; the log is not even open, so that a decision can be carried out beside this. Ends when it was.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from coldseal.core.topics import Policy
from coldseal.gateway.clock import Clock
from coldseal.gateway.refusal import HINT, read_refusal
from coldseal.gateway.sources.mqtt import MqttListener
from coldseal.observe import events
from coldseal.observe.health import Health, HealthServer, Views
from coldseal.observe.logs import Log
from coldseal.observe.metrics import GatewayMetrics
from coldseal.observe.notify import Supervisor

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.message import Message
    from coldseal.gateway.refusal import Refusal

LOOK_S: Final = 1.0
"""Pause between looks whether a person has decided."""

_log = Log("gateway.refusing")


class _Nothing:
    """The intake of a gateway that takes nothing in."""

    is_full = True

    def submit(self, message: Message) -> None:
        """Never asked: nobody is let in."""
        raise AssertionError(message.topic)


class Refusing:
    """The doors of a gateway that refuses.

    Args:
        config: the gateway's configuration.
        refusal: why.

    Attributes:
        health_address: where health is shown, host:port; empty if nowhere.
        listener: turns devices away.
    """

    def __init__(self, config: GatewayConfig, refusal: Refusal) -> None:
        """Put the parts together; nothing is open yet."""
        self._config, self._refusal = config, refusal
        metrics = GatewayMetrics()
        self.listener = MqttListener(
            config.mqtt,
            policy=Policy(config.gateway.site, []),
            intake=_Nothing(),
            clock=Clock(),
            metrics=metrics,
        )
        self.listener.close_to_all(f"this gateway refuses: {refusal.why}")
        self._health = HealthServer(Views(Health, self.ready, metrics.render, self.status))
        self.health_address = ""

    async def stand(self, stop: asyncio.Event) -> None:
        """Turn everybody away until ``stop`` is set or a person has decided."""
        _log.emit(
            events.LOG_ROLLED_BACK,
            origin=self._refusal.origin,
            held=self._refusal.held,
            known=self._refusal.known,
            source=self._refusal.source,
        )
        await self.listener.start()
        try:
            if self._config.http.listen is not None:
                self.health_address = await self._health.start(self._config.http.listen)
                _log.emit(events.HTTP_LISTENING, address=self.health_address)
            supervisor = Supervisor.of(os.environ)
            supervisor.ready()
            while read_refusal(self._config.gateway.data) is not None and not await _is_set(stop):
                supervisor.beat(is_moving=True, status=f"refusing: {self._refusal.why}")
        finally:
            await self.listener.stop()
            await self._health.stop()

    def ready(self) -> Health:
        """Say why no reading is taken in."""
        return Health((f"{self._refusal.why}. {HINT}",))

    def status(self) -> Mapping[str, object]:
        """Answer what a person wants to know."""
        found = self._refusal
        return {
            "origin": found.origin,
            "refused": f"{found.why}. {HINT}",
            "size": found.held,
            "known": found.known,
            "source": found.source,
        }


async def wait_refused(data: Path, stop: asyncio.Event) -> None:
    """Wait until ``stop`` is set, or the uplink has written down that this gateway refuses."""
    while not await _is_set(stop) and read_refusal(data) is None:
        pass


async def _is_set(stop: asyncio.Event) -> bool:
    """Wait a moment, and say whether the event was set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_S):
            await stop.wait()
    return stop.is_set()
