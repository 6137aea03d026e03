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
from coldseal.gateway.endpoints import WayOut
from coldseal.gateway.endpoints import require_sound as require_sound_egress
from coldseal.gateway.retention import require_sound
from coldseal.gateway.routes import require_sound as require_sound_routes
from coldseal.gateway.tables.administration import Administration
from coldseal.gateway.tables.alarms import Alarms
from coldseal.gateway.tables.attestation import Attestation
from coldseal.gateway.tables.broker import Broker
from coldseal.gateway.tables.coldchain import ColdChain
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
from coldseal.gateway.tables.routes import Route
from coldseal.gateway.tables.schemas import Schemas
from coldseal.gateway.tables.time import Time
from coldseal.gateway.tables.topics import Topics
from coldseal.signing.holders import is_held

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_WITNESSES: Final = 8
"""Further witnesses at most: a note carries 16 lines, and the log's own are among them."""

_HERE: Final = ("127.0.0.1:", "[::1]:", "localhost:")
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
    coldchain: ColdChain = field(default_factory=ColdChain)
    schemas: Schemas = field(default_factory=Schemas)
    alarms: Alarms = field(default_factory=Alarms)
    routes: tuple[Route, ...] = ()


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
    _check_hardware(config, path)
    config = _with_hardware(config)
    has_listener = config.mqtt.listen is not None or config.mqtt.plain_listen is not None
    if has_listener or config.broker.address is None:
        _check_mqtt(config.mqtt, path)
    _check_broker(config.broker, path)
    _check_uplink(config.uplink, path)
    _check_witnesses(config, path)
    _check_timestamp(config, path)
    _check_archive(config, path)
    _check_time(config.time, path)
    _check_enrolment(config, path)
    _check_attestation(config, path)
    _check_alarms(config, path)
    require_sound_routes(config.routes, str(path), has_uplink=bool(config.uplink.url))
    require_sound_egress(config.egress, ways_out(config), str(path))
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


def ways_out(config: GatewayConfig) -> list[WayOut]:
    """Give every setting that names an endpoint which this gateway's own programs connect to."""
    named = [
        WayOut("uplink.url", config.uplink.url),
        *(WayOut("uplink.witnesses.url", each.url) for each in config.uplink.witnesses),
        WayOut("timestamp.url", config.timestamp.url),
        WayOut("enrolment.url", config.enrolment.url),
        WayOut("broker.address", f"mqtts://{config.broker.address}" if config.broker.address else ""),
        *(WayOut(f"routes.{each.name}.url", each.url) for each in config.routes),
    ]
    told = (url for each in config.alarms.recipients for url in each.endpoints)
    named += [WayOut("alarms.recipients.endpoints", url) for url in told]
    return [way for way in named if way.url]


def _with_hardware(config: GatewayConfig) -> GatewayConfig:
    """Write out, in each reference to a key or secret, the way to its chip or token."""
    keys, hardware, uplink, full = config.keys, config.hardware, config.uplink, config.hardware.full
    return structs.replace(
        config,
        keys=Keys(record=full(keys.record), checkpoint=full(keys.checkpoint), interop=full(keys.interop)),
        store=structs.replace(config.store, key=full(config.store.key)),
        hardware=structs.replace(hardware, former=tuple(full(each) for each in hardware.former)),
        uplink=structs.replace(uplink, key=uplink.key and full(uplink.key)),
    )


def _check_hardware(config: GatewayConfig, path: Path) -> None:
    """Refuse keys in hardware that a gateway could not live with."""
    keys, hardware = config.keys, config.hardware
    if is_held(keys.checkpoint) and config.gateway.signature != "record":
        what = f"{path}: keys.checkpoint is in hardware, but gateway.signature is not 'record'"
        hint = 'Set signature = "record": a chip signs a few checkpoints a second, not one for each commit'
        raise OperatorError(what, hint)
    if is_held(keys.interop) or is_held(hardware.fallback):
        what = f"{path}: keys.interop and hardware.fallback are software keys"
        raise OperatorError(what, "Write file:…: they sign while chip or token is away")
    if hardware.counter and not keys.checkpoint.startswith("tpm:"):
        what = f"{path}: hardware.counter is set, but keys.checkpoint is not in the TPM"
        raise OperatorError(what, "Set keys.checkpoint to a tpm: key, or empty hardware.counter")


def _check_mqtt(mqtt: Mqtt, path: Path) -> None:
    """Refuse a listener that nobody could use, or that would speak openly to the network."""
    settings.require_loopback(mqtt.plain_listen, f"{path}: mqtt.plain_listen")
    if mqtt.listen is None and mqtt.plain_listen is None:
        hint = "Set mqtt.listen, or broker.address to take readings from an external broker"
        raise OperatorError(f"{path}: mqtt has no listener", hint)
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


def _check_broker(broker: Broker, path: Path) -> None:
    """Refuse a broker that could not be spoken to."""
    if broker.address is None:
        return
    for name in ("certificate", "key", "ca"):
        if getattr(broker, name) is None:
            what = f"{path}: broker.{name} is missing, but broker.address is set"
            raise OperatorError(what, f"Set broker.{name}, or empty broker.address to use the own listener")
    if broker.retry_max_s < broker.retry_initial_s:
        what = f"{path}: broker.retry_max_s is {broker.retry_max_s:g}, expected at least retry_initial_s"
        raise OperatorError(what, "Raise broker.retry_max_s or lower broker.retry_initial_s")


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
    _ = uplink.transport  # a form that is none is said now


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


def _check_attestation(config: GatewayConfig, path: Path) -> None:
    """Refuse to attest to nobody, or by a key outside of a TPM."""
    key = config.attestation.key
    if key is None:
        return
    if not key.startswith("tpm:"):
        what = f"{path}: attestation.key is {key}, expected a key in the TPM"
        raise OperatorError(what, "Write tpm:0x81010a01, or another handle that is free")
    if not config.uplink.url:
        what = f"{path}: attestation.key is set, but uplink.url is not"
        raise OperatorError(what, "Set uplink.url, or empty attestation.key: it is the service that asks")


def _check_alarms(config: GatewayConfig, path: Path) -> None:
    """Refuse recipients that cannot be told apart, or would be told openly over the network."""
    alarms, seen = config.alarms, set[str]()
    for each in alarms.recipients:
        place = f"{path}: alarms.recipients of {each.name}"
        if each.name in seen:
            raise OperatorError(f"{place}: there are two of this name", "Name each recipient by itself")
        seen.add(each.name)
        if each.step and not alarms.escalate_s:
            what = f"{place}: step is {each.step}, but alarms.escalate_s is 0"
            raise OperatorError(what, "Set alarms.escalate_s: no later step would ever be reached")
        for url in each.endpoints:
            is_open = url.startswith(("http://", "smtp://"))
            if is_open and not config.egress.allow and not url.partition("//")[2].startswith(_HERE):
                what = f"{place}: endpoints has {url!r}, which is not on this machine"
                raise OperatorError(what, "Use https or smtps, or list it in egress.allow with tls = false")


def _check_enrolment(config: GatewayConfig, path: Path) -> None:
    """Refuse an enrolment that nobody would see to, or that is set half-way."""
    enrolment = config.enrolment
    if (enrolment.factory_certificate is None) != (enrolment.factory_key is None):
        what = f"{path}: enrolment has factory_certificate or factory_key alone"
        raise OperatorError(what, "Set both, or neither")
    if not enrolment.url:
        return
    if not enrolment.url.startswith("https://"):
        what = f"{path}: enrolment.url is {enrolment.url!r}, expected https://…"
        raise OperatorError(what, "Use its https address")
    if not config.uplink.url:
        what = f"{path}: enrolment.url is set, but uplink.url is not"
        raise OperatorError(what, "Set uplink.url, or empty enrolment.url: the uplink asks for certificates")


def _check_time(time: Time, path: Path) -> None:
    """Refuse demands that nobody could meet, and questions about time over the network."""
    settings.require_loopback(time.ntpsec, f"{path}: time.ntpsec")
    if time.source == "kernel" and time.require_authentication:
        what = f"{path}: time.source is kernel, which cannot say whether time is authenticated"
        hint = "Set time.require_authentication = false, or follow a time service"
        raise OperatorError(what, hint)


def _check_archive(config: GatewayConfig, path: Path) -> None:
    """Refuse an archive that nothing could ever go to, and a retention without an archive."""
    require_sound(config.retention, str(path))
    if config.archive.directory is not None and not config.uplink.witness:
        what = f"{path}: archive.directory is set, but no witness"
        raise OperatorError(what, "Set uplink.url and uplink.witness: only what is witnessed is archived")
    if config.retention and config.archive.directory is None:
        what = f"{path}: there are [[retention]] tables, but archive.directory is not set"
        raise OperatorError(what, "Set archive.directory: nothing is pruned that is not archived")
