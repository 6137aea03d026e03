"""What guards a gateway's edge, in one place for the program: time, certificates, hardware, administration.

Each part is a line in `tasks`, `handlers`, `tick` or `status`, and has its module. Nothing here stands on
the way from a message to its acknowledgement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.gateway.administration import Administration
from coldseal.gateway.attesting import render_told
from coldseal.gateway.brokering import ExternalBroker
from coldseal.gateway.egress import KEPT, EgressWatch
from coldseal.gateway.governance import Blocks, open_policy
from coldseal.gateway.timekeeping import Timekeeper

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Handler
    from coldseal.gateway.counting import Counting
    from coldseal.gateway.requests import Seal
    from coldseal.gateway.sources.handover import Intake
    from coldseal.gateway.sources.mqtt import MqttListener
    from coldseal.gateway.standby import Standby
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
        intake: takes messages from another source than the listener.
        standby: watches the checkpoint key in hardware.
        counting: counts ended segments in the TPM, where that is configured.

    Attributes:
        administration: the gate of the control channel.
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
        intake: Intake,
        standby: Standby,
        counting: Counting | None,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._config, self._clock, self._metrics = config, clock, metrics
        self._log, self._seal, self._listener = log, seal, listener
        self.administration = Administration(config.administration, clock, seal)
        self._blocks = Blocks(listener.guard.conduct, clock)
        self._standby, self._counting = standby, counting
        self._egress = EgressWatch(config.gateway.data / KEPT, metrics)
        self._broker = self._make_broker(intake)
        self._time = Timekeeper(config.time, clock=clock, metrics=metrics, seal=seal)

    def tasks(self) -> Sequence[Coroutine[None, None, None]]:
        """Give what runs beside the main path, until it is cancelled."""
        broker = () if self._broker is None else self._broker.tasks()
        counting = () if self._counting is None else (self._counting.run(),)
        return (self.administration.watch(), self._standby.run(), self._time.run(), *broker, *counting)

    def handlers(self) -> Mapping[str, Handler]:
        """Give what answers requests of the control channel."""
        return {"unblock": self._blocks.unblock, **self.administration.handlers()}

    def tick(self) -> None:
        """Let time do its work, once a second."""
        self._egress.tick()
        if self._broker is not None:
            self._broker.tick()

    def status(self) -> Mapping[str, object]:
        """Say how it stands, for a person."""
        broker = {} if self._broker is None else {"broker": self._broker.status()}
        is_attesting = self._config.attestation.key is not None
        attested = {"attestation": render_told(self._config.gateway.data)} if is_attesting else {}
        return {
            **attested,
            **broker,
            "checkpoint_key": self._standby.status(),
            **({} if self._counting is None else {"segment_counter": self._counting.status()}),
            "connections_ended": self._listener.ended,
            "devices_blocked": self._blocks.status(),
            "egress_refused": self._egress.status(),
            "time": self._time.status(),
        }

    def ailing(self) -> Mapping[str, str]:
        """Say what is wrong with which part of the chip or token, for an alarm."""
        found = {"checkpoint-key": self._standby.status()}
        if self._counting is not None:
            found["segment-counter"] = self._counting.status()
        return {name: said for name, said in found.items() if said.startswith(("away", "software in"))}

    async def stop(self) -> None:
        """Take nothing more in, while what was taken is still answered."""
        if self._broker is not None:
            await self._broker.stop()

    def _make_broker(self, intake: Intake) -> ExternalBroker | None:
        """Put together what takes readings from an external broker, where one is named."""
        address = self._config.broker.address
        if address is None:
            return None
        return ExternalBroker(
            self._config,
            address,
            policy=open_policy(self._config),
            intake=intake,
            clock=self._clock,
            metrics=self._metrics,
            log=self._log,
        )
