"""The routes as a part of the running gateway: keeps their process running, shows them, and hears decisions.

Nothing here stands on the way of a reading, and nothing runs where no route is configured.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from coldseal.gateway.egress import EgressWatch
from coldseal.gateway.routing.decisions import DECIDED, decide, parse_decision
from coldseal.gateway.routing.kept import FOLDER
from coldseal.gateway.routing.report import KEPT_EGRESS, RouteWatch
from coldseal.gateway.uplink.companion import Companion

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.store.log import Log
    from coldseal.observe.metrics import GatewayMetrics


class Routing:
    """All routes of this gateway.

    Args:
        config: the gateway's configuration.
        arguments: configuration file and overrides.
        clock: gives the moment.
        metrics: where counts are shown.
        log: the log on disk.
        store_key: the store key.
    """

    def __init__(
        self,
        config: GatewayConfig,
        arguments: Sequence[str],
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
        store_key: bytes,
    ) -> None:
        """Take the parts; nothing runs yet."""
        self._config, self._clock, self._log, self._key = config, clock, log, store_key
        self._process = Companion(arguments, store_key, "routing") if config.routes else None
        self._watch = RouteWatch(config, metrics)
        self._egress = EgressWatch(config.gateway.data / FOLDER / KEPT_EGRESS, metrics)

    def tasks(self) -> Sequence[Coroutine[None, None, None]]:
        """Give what runs beside the main path, until it is cancelled."""
        return () if self._process is None else (self._process.run(),)

    def tick(self) -> None:
        """Say how far the log is, and show what routes have written down."""
        if self._process is None:
            return
        self._process.tell(self._log.size)
        self._watch.tick(self._log.size, self._clock.now().t_ms)
        self._egress.tick()

    def status(self) -> Mapping[str, object]:
        """Say how it stands, for a person."""
        refused = self._egress.status()
        return {"routes": self._watch.status(), **({"routes_refused": refused} if refused else {})}

    async def work(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        """Do what a person has decided about what is put aside.

        Raises:
            OperatorError: it makes no sense, or there is nothing like that.
            UnavailableError: it could not be written.
        """
        decision = parse_decision(request)
        done = await asyncio.to_thread(decide, self._config, self._key, decision, self._log.size)
        if self._process is not None:
            self._process.say(DECIDED)
        return done
