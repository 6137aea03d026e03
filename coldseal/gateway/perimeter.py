"""What guards a gateway's edge, in one place for the program: time, certificates, hardware, administration.

Each part is a line in `tasks`, `handlers`, `tick` or `status`, and has its module. Nothing here stands on
the way from a message to its acknowledgement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Handler
    from coldseal.gateway.requests import Seal
    from coldseal.gateway.sources.mqtt import MqttListener
    from coldseal.gateway.store.log import Log
    from coldseal.observe.metrics import GatewayMetrics


class Perimeter:
    """All of it.

    Args:
        config: the gateway's configuration.
        clock: gives the moment.
        metrics: where counts are shown.
        log: the log on disk.
        seal: seals one entry with a checkpoint over it.
        listener: takes devices in.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
        seal: Seal,
        listener: MqttListener,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._config, self._clock, self._metrics = config, clock, metrics
        self._log, self._seal, self._listener = log, seal, listener

    def tasks(self) -> Sequence[Coroutine[None, None, None]]:
        """Give what runs beside the main path, until it is cancelled."""
        return ()

    def handlers(self) -> Mapping[str, Handler]:
        """Give what answers requests of the control channel."""
        return {}

    def tick(self) -> None:
        """Let time do its work, once a second."""

    def status(self) -> Mapping[str, object]:
        """Say how it stands, for a person."""
        return {}
