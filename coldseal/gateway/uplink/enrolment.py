"""A gateway's certificates: which there are, whom it asks for new ones, and who is told when one has come.

Promises that files which serve twice are one pair, renewed once. Where no enrolment server is configured,
nothing is asked and nothing is written.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

from coldseal.core.renewal import Terms
from coldseal.errors import OperatorError
from coldseal.gateway.config import GatewayConfig
from coldseal.gateway.egress import Guard
from coldseal.gateway.uplink.keeping import Bundles, Desk, Keeper, Renewer
from coldseal.gateway.uplink.lists import ListFiles
from coldseal.gateway.uplink.renewals import KEPT
from coldseal.identity.pair import Pair
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.uris import TpmUri

ANNOUNCED: Final = "announced.pem"
"""Below the gateway's data folder: the roots that the server showed last."""

_log = Log("uplink.enrolment")


def pairs_of(config: GatewayConfig) -> dict[str, Pair]:
    """Name the pairs of a gateway; files that serve twice are one pair."""
    named: dict[str, tuple[Path | None, Path | TpmUri | None]] = {
        "uplink": (config.uplink.certificate, config.uplink.transport),
        "listener": (config.mqtt.certificate, config.mqtt.key),
        "broker": (config.broker.certificate, config.broker.key),
    }
    if config.broker.pid_file is not None:
        named["mosquitto"] = (config.broker.mosquitto.certificate, config.broker.mosquitto.key)
    found: dict[tuple[Path, Path | TpmUri], tuple[str, Pair]] = {}
    for name, (certificate, key) in named.items():
        if certificate is not None and key is not None:
            found.setdefault((certificate, key), (name, Pair(certificate, key)))
    return dict(found.values())


def desk_of(config: GatewayConfig, *, guard: Guard | None) -> Desk:
    """Give whom a gateway asks.

    Raises:
        OperatorError: it names no CA.
    """
    enrolment = config.enrolment
    ca = enrolment.ca or config.uplink.ca
    if ca is None:
        raise OperatorError("enrolment.ca is missing", "Set it, or uplink.ca")
    factory = None
    if enrolment.factory_certificate is not None and enrolment.factory_key is not None:
        factory = Pair(enrolment.factory_certificate, enrolment.factory_key)
    return Desk(
        enrolment.url,
        ca,
        timeout_s=enrolment.timeout_s,
        new_key=enrolment.new_key,
        factory=factory,
        token=enrolment.token,
        guard=guard,
    )


def renewer_of(
    config: GatewayConfig,
    *,
    guard: Guard | None,
    chance: Callable[[], float],
    now_s: Callable[[], float],
) -> Renewer:
    """Put together what keeps a gateway's certificates alive.

    Raises:
        OperatorError: the configuration names no CA, or a file cannot be moved.
    """
    enrolment, data = config.enrolment, config.gateway.data
    terms = Terms(enrolment.renew_at, enrolment.jitter, enrolment.retry_initial_s, enrolment.retry_max_s)
    named = (
        config.uplink.ca,
        config.mqtt.client_ca,
        enrolment.ca,
        config.broker.ca,
        config.broker.mosquitto.client_ca,
    )
    bundles = Bundles(tuple(dict.fromkeys(path for path in named if path is not None)), data / ANNOUNCED)
    desk = desk_of(config, guard=guard)

    def installed(name: str) -> None:
        if name == "mosquitto" and config.broker.pid_file is not None:
            hang_up(config.broker.pid_file)

    keepers = [
        Keeper(name, pair, desk, bundles, terms, chance, now_s, installed)
        for name, pair in pairs_of(config).items()
    ]
    return Renewer(keepers, data / KEPT, now_s=now_s)


def hang_up(pid_file: Path) -> None:
    """Send SIGHUP to the process that a file names: it reads its certificate again."""
    try:
        os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGHUP)
    except (OSError, ValueError) as error:
        _log.emit(events.RENEWAL_NOT_TOLD, file=str(pid_file), error=str(error))


async def keep_renewed(
    config: GatewayConfig,
    wanted: asyncio.Event,
    *,
    guard: Guard | None,
    chance: Callable[[], float],
    now_s: Callable[[], float],
) -> None:
    """Keep a gateway's certificates alive until cancelled; nothing to do where no server is named.

    Raises:
        OperatorError: the configuration names no CA, or a file cannot be moved.
    """
    if not config.enrolment.url:
        return
    renewing = renewer_of(config, guard=guard, chance=chance, now_s=now_s).run(wanted)
    await asyncio.gather(renewing, lists_of(config, guard=guard, now_s=now_s).run())


def lists_of(config: GatewayConfig, *, guard: Guard | None, now_s: Callable[[], float]) -> ListFiles:
    """Put together what keeps a gateway's revocation lists new.

    Raises:
        OperatorError: the configuration names no CA.
    """
    pid_file, own = config.broker.pid_file, config.broker.mosquitto.crl
    files = [config.mqtt.crl, config.uplink.crl, own if pid_file is not None else None]

    def changed(path: Path) -> None:
        if path == own and pid_file is not None:
            hang_up(pid_file)

    named = tuple(dict.fromkeys(path for path in files if path is not None))
    return ListFiles(named, desk_of(config, guard=guard), now_s=now_s, changed=changed)
