"""The gateway's configuration: its tables, read and held against each other.

Parsed once into frozen structs; what is inconsistent, or would open the gateway to the network
without TLS, is refused with the cure. Nothing here opens a file that the configuration names.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct, field, structs

from coldseal import settings
from coldseal.errors import OperatorError
from coldseal.gateway.continued import in_force
from coldseal.gateway.retention import require_sound
from coldseal.gateway.tables.administration import Administration
from coldseal.gateway.tables.attestation import Attestation
from coldseal.gateway.tables.broker import Broker
from coldseal.gateway.tables.egress import Egress
from coldseal.gateway.tables.enrolment import Enrolment
from coldseal.gateway.tables.hardware import Hardware
from coldseal.gateway.tables.identity import Gateway
from coldseal.gateway.tables.intake import Grant, Mqtt, Pipeline
from coldseal.gateway.tables.keeping import (
    Archive,
    Budget,
    Checkpoint,
    Keys,
    LogLines,
    Recovery,
    Retention,
    Store,
)
from coldseal.gateway.tables.outward import Http, Timestamp, Uplink, Witness
from coldseal.gateway.tables.time import Time
from coldseal.gateway.tables.topics import Topics

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WITNESSES: Final = 8
"""Further witnesses at most: a note carries 16 lines, and the log's own are among them."""

_LOOPBACK: Final = ("http://127.0.0.1:", "http://[::1]:", "http://localhost:")


class GatewayConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``gateway.toml``."""

    gateway: Gateway
    mqtt: Mqtt = field(default_factory=Mqtt)
    grants: tuple[Grant, ...] = ()
    pipeline: Pipeline = field(default_factory=Pipeline)
    store: Store = field(default_factory=Store)
    budget: Budget = field(default_factory=Budget)
    log: LogLines = field(default_factory=LogLines)
    keys: Keys = field(default_factory=Keys)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    uplink: Uplink = field(default_factory=Uplink)
    witness: Witness = field(default_factory=Witness)
    timestamp: Timestamp = field(default_factory=Timestamp)
    http: Http = field(default_factory=Http)
    recovery: Recovery = field(default_factory=Recovery)
    archive: Archive = field(default_factory=Archive)
    retention: tuple[Retention, ...] = ()
    topics: Topics = field(default_factory=Topics)
    broker: Broker = field(default_factory=Broker)
    enrolment: Enrolment = field(default_factory=Enrolment)
    attestation: Attestation = field(default_factory=Attestation)
    hardware: Hardware = field(default_factory=Hardware)
    time: Time = field(default_factory=Time)
    egress: Egress = field(default_factory=Egress)
    administration: Administration = field(default_factory=Administration)


def load_gateway(path: Path, overrides: Sequence[str] = ()) -> GatewayConfig:
    """Read ``gateway.toml``.

    Args:
        path: the file; relative paths in it are relative to its folder.
        overrides: ``table.key=value`` each.

    Raises:
        OperatorError: a key or value is wrong, or the settings contradict each other.
    """
    config = settings.load(path, GatewayConfig, overrides)
    config = structs.replace(config, gateway=in_force(config.gateway))
    _check_mqtt(config.mqtt, path)
    _check_uplink(config.uplink, path)
    _check_witnesses(config, path)
    _check_timestamp(config, path)
    _check_archive(config, path)
    settings.require_loopback(config.http.listen, f"{path}: http.listen")
    if config.store.reserve_mb >= config.store.limit_mb:
        raise OperatorError(
            f"{path}: store.reserve_mb is {config.store.reserve_mb}, expected less than store.limit_mb",
            "Raise store.limit_mb or lower store.reserve_mb",
        )
    if config.budget.critical_days > config.budget.warn_days:
        what = f"{path}: budget.critical_days is {config.budget.critical_days:g}, expected at most warn_days"
        raise OperatorError(what, "Lower budget.critical_days or raise budget.warn_days")
    return config


def _check_mqtt(mqtt: Mqtt, path: Path) -> None:
    """Refuse a listener that nobody could use, or that would speak openly to the network."""
    settings.require_loopback(mqtt.plain_listen, f"{path}: mqtt.plain_listen")
    if mqtt.listen is None and mqtt.plain_listen is None:
        raise OperatorError(f"{path}: mqtt has no listener", "Set mqtt.listen")
    if mqtt.listen is not None:
        for name in ("certificate", "key"):
            if getattr(mqtt, name) is None:
                raise OperatorError(
                    f"{path}: mqtt.{name} is missing, but mqtt.listen is set",
                    f"Set mqtt.{name}; `coldseal identity dev-ca` makes certificates for a trial",
                )
    if mqtt.passwords is None and (mqtt.client_ca is None or mqtt.plain_listen is not None):
        raise OperatorError(
            f"{path}: mqtt has a listener that takes neither client certificates nor passwords",
            "Set mqtt.client_ca for the TLS listener, or mqtt.passwords",
        )


def _check_uplink(uplink: Uplink, path: Path) -> None:
    """Refuse an uplink that is set half-way or not over TLS."""
    if not uplink.url:
        return
    if not uplink.url.startswith("https://"):
        raise OperatorError(
            f"{path}: uplink.url is {uplink.url!r}, expected https://…", "Use its https address"
        )
    for name in ("certificate", "key", "ca", "witness"):
        if not getattr(uplink, name):
            what = f"{path}: uplink.{name} is missing, but uplink.url is set"
            raise OperatorError(what, f"Set uplink.{name}, or empty uplink.url to work without a service")


def _check_witnesses(config: GatewayConfig, path: Path) -> None:
    """Refuse witnesses that could not be asked, or a quorum that could never be."""
    uplink, quorum = config.uplink, config.witness.quorum
    if len(uplink.witnesses) > MAX_WITNESSES or (uplink.witnesses and not uplink.url):
        what = f"{path}: uplink.witnesses has {len(uplink.witnesses)} tables"
        raise OperatorError(what, f"Set uplink.url too, and at most {MAX_WITNESSES} further witnesses")
    for each in uplink.witnesses:
        if not each.url.startswith(("https://", *_LOOPBACK)):
            what = f"{path}: uplink.witnesses.url is {each.url!r}, expected https://…"
            raise OperatorError(what, "Use its https address; http:// only reaches 127.0.0.1")
        if (each.certificate is None) != (each.certificate_key is None):
            what = f"{path}: uplink.witnesses of {each.url} has certificate or certificate_key alone"
            raise OperatorError(what, "Set both, or neither to show the certificate of uplink")
    names = [key.partition("+")[0] for key in (uplink.witness, *(each.key for each in uplink.witnesses))]
    if len(set(names)) != len(names):
        raise OperatorError(f"{path}: two witnesses have one name: {names}", "Each has a name of its own")
    if uplink.url and quorum > len(names):
        what = f"{path}: witness.quorum is {quorum}, but there are {len(names)} witnesses"
        raise OperatorError(what, "Lower it, or add [[uplink.witnesses]]")


def _check_timestamp(config: GatewayConfig, path: Path) -> None:
    """Refuse an authority that could not be asked, or whose answers could not be checked."""
    timestamp = config.timestamp
    if not timestamp.url:
        return
    if not timestamp.url.startswith(("http://", "https://")):
        what = f"{path}: timestamp.url is {timestamp.url!r}, expected http://… or https://…"
        raise OperatorError(what, "Use the address that the authority names for RFC 3161 requests")
    if timestamp.ca is None:
        what = f"{path}: timestamp.ca is missing, but timestamp.url is set"
        raise OperatorError(what, "Set timestamp.ca to the authority's root certificate, PEM")
    if not config.uplink.url:
        what = f"{path}: timestamp.url is set, but uplink.url is not"
        raise OperatorError(what, "Set uplink.url, or empty timestamp.url: the uplink asks for timestamps")


def _check_archive(config: GatewayConfig, path: Path) -> None:
    """Refuse an archive that nothing could ever go to, and a retention without an archive."""
    require_sound(config.retention, str(path))
    if config.archive.directory is not None and not config.uplink.witness:
        what = f"{path}: archive.directory is set, but no witness"
        raise OperatorError(what, "Set uplink.url and uplink.witness: only what is witnessed is archived")
    if config.retention and config.archive.directory is None:
        what = f"{path}: there are [[retention]] tables, but archive.directory is not set"
        raise OperatorError(what, "Set archive.directory: nothing is pruned that is not archived")
