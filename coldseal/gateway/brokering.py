"""Puts together what takes readings from the external broker that a configuration names.

The source, the receipts where they are asked for, and the word to a broker here that its files have
changed. Each is a part of its own; here they only meet.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError
from coldseal.gateway.endpoints import Endpoint, usual_host
from coldseal.gateway.sources.broker.generation import NAME, Generation
from coldseal.gateway.sources.broker.receipts import Receipts
from coldseal.gateway.sources.broker.report import Report
from coldseal.gateway.sources.broker.signalling import Signalling
from coldseal.gateway.sources.broker.source import BrokerSource, Way
from coldseal.gateway.uplink.guarded import tls_class
from coldseal.gateway.uplink.names import guard_of
from coldseal.identity.contexts import client_context
from coldseal.identity.peer import read_peer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from pathlib import Path

    from coldseal.core.topics import Policy
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.sources.handover import Intake
    from coldseal.gateway.store.log import Log
    from coldseal.gateway.tables.broker import Broker
    from coldseal.observe.metrics import GatewayMetrics
    from coldseal.settings import Address

ACCESS: Final = "mosquitto.acl"
CONFIGURATION: Final = "mosquitto.conf"
"""The broker's files, as `broker-config` writes them."""


class ExternalBroker:
    """All of it.

    Args:
        config: the gateway's configuration.
        address: the broker.
        policy: who may publish where.
        intake: takes the messages.
        clock: gives the moment.
        metrics: where counts are shown.
        log: the log on disk.
    """

    def __init__(
        self,
        config: GatewayConfig,
        address: Address,
        *,
        policy: Policy,
        intake: Intake,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
    ) -> None:
        """Put the parts together; nothing is connected yet."""
        broker = config.broker
        self._receipts = _receipts(config, log, self._publish) if broker.receipts else None
        self._signalling = _signalling(broker)
        self._source = BrokerSource(
            broker,
            address,
            site=config.gateway.site,
            client_id=client_id_of(broker),
            policy=policy,
            intake=intake,
            clock=clock,
            report=Report(str(address), metrics),
            generation=Generation(config.gateway.data / NAME),
            way=_way(config, address),
            chance=random.random,
            settled=self._receipts.settled if self._receipts is not None else None,
        )

    def tasks(self) -> Sequence[Coroutine[None, None, None]]:
        """Give what runs until it is cancelled."""
        beside = [] if self._receipts is None else [self._receipts.run()]
        return [self._source.run(), *beside]

    def tick(self) -> None:
        """Let time do its work, once a second."""
        self._source.tick()
        if self._signalling is not None:
            self._signalling.tick()

    async def stop(self) -> None:
        """Take nothing more in; what was taken is acknowledged while the pipeline still runs."""
        await self._source.stop()

    def status(self) -> Mapping[str, object]:
        """Say how it stands, for a person."""
        return self._source.status()

    def _publish(self, topic: str, payload: bytes) -> bool:
        """Publish for the gateway itself."""
        return self._source.publish(topic, payload)


def client_id_of(broker: Broker) -> str:
    """Give the name by which the broker knows this gateway.

    Raises:
        OperatorError: neither is it set, nor is there a certificate.
        InputError: the certificate carries no identity.
    """
    if broker.client_id:
        return broker.client_id
    if broker.certificate is None:
        raise OperatorError("broker.certificate is missing", "Set it, and broker.key and broker.ca")
    return read_peer(broker.certificate).name


def files_of(broker: Broker) -> tuple[list[Path], list[Path]]:
    """Give the broker's files: those that it reads again on a signal, and those that take a restart."""
    table = broker.mosquitto
    reloaded = (table.certificate, table.key, table.crl, table.folder / ACCESS)
    restarted = (table.client_ca, table.folder / CONFIGURATION)
    return [path for path in reloaded if path is not None], [path for path in restarted if path is not None]


def _signalling(broker: Broker) -> Signalling | None:
    """Make what signals the broker, where it may be."""
    return None if broker.pid_file is None else Signalling(broker.pid_file, *files_of(broker))


def _receipts(config: GatewayConfig, log: Log, publish: Callable[[str, bytes], bool]) -> Receipts:
    """Make what answers on the receipt topics."""
    return Receipts(
        config.gateway.site,
        read=lambda first, most: log.reader.read(first, max_entries=most),
        size=lambda: log.size,
        publish=publish,
    )


def _way(config: GatewayConfig, address: Address) -> Way:
    """Make the way to the broker, as the list of ways out has it; the files are read at each connection."""
    broker, guard = config.broker, guard_of(config)
    endpoint = Endpoint(usual_host(address.host), address.port)
    tls = tls_class(guard, endpoint)

    def context() -> ssl.SSLContext:
        """Make the context of one connection."""
        if broker.certificate is None or broker.key is None or broker.ca is None:
            raise OperatorError("broker.certificate, key or ca is missing", "Set all three")
        made = client_context(broker.certificate, broker.key, broker.ca)
        made.sslobject_class = tls
        return made

    def addresses() -> Sequence[str]:
        """Find where the name leads; blocks."""
        found = guard.addresses(endpoint)
        for each in found:
            guard.admit(endpoint, each, endpoint.port)
        return found

    return Way(context, addresses)
