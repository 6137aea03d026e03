"""Writes the files of a hardened Mosquitto broker that takes readings in for this gateway.

Promise: every client shows a certificate over TLS 1.3 and may do what the registry says for its name, topic
by topic; nothing that may be written is a wildcard. Starts no broker, and cannot give it our promise: it
acknowledges before a reading is sealed, and the head of the file says so.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.core.topics import ROOT, SCHEME, Channel, parse_topic
from coldseal.errors import InputError, OperatorError
from coldseal.gateway.brokering import ACCESS, CONFIGURATION, client_id_of, files_of
from coldseal.gateway.sources.broker.report import DROPPED, VERSION

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from coldseal.core.topics import Listing, Policy
    from coldseal.gateway.tables.broker import Broker, Mosquitto

_MADE: Final = "# Written by `coldseal gateway broker-config mosquitto`"
_DAY_S: Final = 86_400
_MIB: Final = 1024 * 1024
_LEAST_IN_FLIGHT: Final = 20  # Mosquitto's own default, for devices


def render_files(broker: Broker, policy: Policy) -> Mapping[str, str]:
    """Give the text of each file by its name.

    Args:
        broker: the ``[broker]`` table.
        policy: who may publish and subscribe where; its registry must name every device.

    Raises:
        OperatorError: a setting is missing, or the registry does not name the devices.
    """
    gateway = client_id_of(broker)
    listing = _require_listed(policy, gateway)
    return {
        CONFIGURATION: _configuration(broker, policy.site, gateway),
        ACCESS: _access(listing, policy.site, gateway, has_receipts=broker.receipts),
        **_units(broker),
    }


def write_files(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Write what differs, each file whole or not at all; give what was written.

    Raises:
        OperatorError: a file of somebody else stands there, or the folder refuses.
    """
    changed = differing(files, folder)
    for path in changed:
        if path.exists() and not _is_ours(path):
            hint = f"Move it away: mv {shlex.quote(str(path))} {shlex.quote(str(path))}.before"
            raise OperatorError(f"{path} was not written by this command", hint)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in changed:
            draft = path.with_name(f"{path.name}.new")
            draft.write_text(files[path.name], encoding="utf-8")
            draft.chmod(0o644)  # no secret is in it, and the broker runs as a user of its own
            draft.replace(path)
    except OSError as error:
        raise OperatorError(f"{folder}: {error.strerror}", "Name a folder that may be written") from error
    return changed


def differing(files: Mapping[str, str], folder: Path) -> list[Path]:
    """Name the files that are not there, or not as they would be written."""
    return [folder / name for name, text in files.items() if _read(folder / name) != text]


def _read(path: Path) -> str | None:
    """Read a file; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _is_ours(path: Path) -> bool:
    """Whether this command wrote a file."""
    return (_read(path) or "").startswith(_MADE)


def _require_listed(policy: Policy, gateway: str) -> list[Listing]:
    """Insist on a registry that names every device and gives none the gateway's name."""
    listing = sorted(policy.listing())
    if not policy.is_strict or not listing:
        raise OperatorError(
            "the registry does not name every device, and an access list can only be written from names",
            "Set topics.registry to a file with a [[devices]] table for each, and topics.strict = true",
        )
    if gateway in policy.devices:
        what = f"the registry has a device {gateway!r}, which is this gateway's own name at the broker"
        raise OperatorError(what, "Rename the device: the broker tells clients apart by name alone")
    return listing


# The configuration


def _configuration(broker: Broker, site: str, gateway: str) -> str:
    """Write mosquitto.conf."""
    return "\n".join([*_head(site, gateway), *_settings(broker), *_listener(broker.mosquitto), ""])


def _head(site: str, gateway: str) -> Iterator[str]:
    """Say who made the file, and what this mode does not promise."""
    yield f"{_MADE}: for gateway {gateway} of site {site}."
    yield from """\
# Change gateway.toml or the registry, and write it anew.
#
# THE WEAKER PROMISE. This broker acknowledges a reading to its device as soon as it has it in memory, before
# the gateway has sealed it. Its database is written after a number of changes (autosave_interval below) and
# when it is asked to end. If it is killed or the power fails, what it has acknowledged since then is lost,
# and no log says so. Devices that need the whole promise either connect to the gateway's own listener, or
# keep each reading until the gateway's receipt for it has come (broker.receipts).
#
# Reload by SIGHUP: certificate, key, revocation list and access list are read again, connections stay. The CA
# bundle (cafile) is NOT: restart for that; with persistence the sessions go on.
# A certificate that is revoked or ends is refused at the next connection; an open one is not cut: restart.
# Runs with Mosquitto 2.0.11 (Debian) and from 2.0.22 on. 2.0.21 drops fresh connections where max_keepalive
# is lowered, as it is here: do not use it.
""".splitlines()


def _settings(broker: Broker) -> Iterator[str]:
    """Write what holds for the whole broker."""
    table = broker.mosquitto
    in_flight = max(broker.receive_maximum, _LEAST_IN_FLIGHT)
    yield from (
        "",
        f"user {_line('broker.mosquitto.user', table.user)}",
        "per_listener_settings false",
        "allow_anonymous false",
        f"acl_file {_path('folder', table.folder / ACCESS)}",
        "",
        "persistence true",
        f"persistence_location {_path('persistence', table.persistence)}",
        "autosave_on_changes true",
        f"autosave_interval {table.autosave_changes}",
        f"persistent_client_expiration {-(-broker.session_expiry_s // _DAY_S)}d",
        "",
        f"max_packet_size {table.max_packet_bytes}",
        f"max_inflight_messages {in_flight}",
        f"max_queued_messages {table.max_queued}",
        "max_queued_bytes 0",
        "queue_qos0_messages false",
        f"memory_limit {table.memory_mb * _MIB}",
        f"max_keepalive {table.max_keepalive_s}",
        "upgrade_outgoing_qos false",
        "check_retain_source true",
        "set_tcp_nodelay true",
        "sys_interval 10",
        "",
        "log_dest stderr",
        *(f"log_type {kind}" for kind in ("error", "warning", "notice", "information")),
        "connection_messages true",
        "log_timestamp true",
        "log_timestamp_format %Y-%m-%dT%H:%M:%S",
    )
    if broker.pid_file is not None:
        yield f"pid_file {_path('pid_file', broker.pid_file)}"
    yield ""


def _listener(table: Mosquitto) -> Iterator[str]:
    """Write the one listener: TLS 1.3, and each client's common name as its user and client id."""
    yield from (
        f"listener {table.listen.port} {table.listen.host}",
        "protocol mqtt",
        f"max_connections {table.max_connections}",
        "tls_version tlsv1.3",
        f"cafile {_needed('client_ca', table.client_ca)}",
        f"certfile {_needed('certificate', table.certificate)}",
        f"keyfile {_needed('key', table.key)}",
    )
    if table.crl is not None:
        yield f"crlfile {_path('crl', table.crl)}"
    yield from (
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
    )


def _needed(name: str, path: Path | None) -> str:
    """Give a path that must be set."""
    if path is None:
        what = f"broker.mosquitto.{name} is missing"
        raise OperatorError(what, f"Set broker.mosquitto.{name} to the file on the broker's machine")
    return _path(name, path)


def _path(name: str, path: Path) -> str:
    """Give a path as a line of the configuration may have it."""
    return _line(f"broker.mosquitto.{name}", str(path))


def _line(where: str, text: str) -> str:
    """Refuse what would not stay within its line, or would be cut."""
    if not text.isprintable() or text != text.strip():
        what = f"{where}: {text!r} cannot stand in a file of Mosquitto"
        raise OperatorError(what, "Use no control characters, and no spaces at its ends")
    return text


# The access list


def _access(listing: Iterable[Listing], site: str, gateway: str, *, has_receipts: bool) -> str:
    """Write the access list: the gateway, then each device by its name."""
    listing = list(listing)
    written = [topic for each in listing for topic in _written(each, has_receipts=has_receipts)]
    lines = [
        f"{_MADE}: from the registry of site {site}.",
        "# Whoever is not named here may do nothing. No topic to write is a wildcard.",
        "# Mosquitto grants every SUBSCRIBE and filters what it delivers; it cannot tell retained messages",
        "# or wills from others. The gateway's own listener can.",
        "",
        f"user {_line('broker.client_id', gateway)}",
        f"topic read {ROOT}/{site}/+/{Channel.READING}/+",
        *(f"topic read {topic}" for topic in (VERSION, DROPPED)),
        *(f"topic write {topic}" for topic in written),
    ]
    for each in listing:
        lines += ["", f"user {each.device}"]
        lines += [f"topic write {_line(each.device, topic)}" for topic in each.publish]
        lines += [f"topic read {_line(each.device, topic)}" for topic in each.subscribe]
    return "\n".join([*lines, ""])


def _written(listing: Listing, *, has_receipts: bool) -> Iterator[str]:
    """Give the whole topics that the gateway writes for one device, as far as the registry names them."""
    for topic in listing.subscribe:
        try:
            address = parse_topic(topic)
        except InputError:  # a wildcard, or outside the scheme
            continue
        is_ours = address.device == listing.device and not SCHEME[address.channel].from_device
        if is_ours and (has_receipts or address.channel is not Channel.RECEIPT):
            yield topic


# What systemd does where this gateway may not signal the broker


def _units(broker: Broker) -> Mapping[str, str]:
    """Write units that reload the broker when files change, and restart it for what a reload leaves out."""
    reloaded, restarted = files_of(broker)
    return {**_unit("reload", "reloads", reloaded), **_unit("restart", "restarts", restarted)}


def _unit(verb: str, does: str, paths: Iterable[Path]) -> Mapping[str, str]:
    """Write a path unit and the service that it starts."""
    name = f"coldseal-mosquitto-{verb}"
    watched = "".join(f"PathChanged={_escape(path)}\n" for path in paths)
    return {
        f"{name}.path": (
            f"{_MADE}: {does} the broker when these change.\n"
            f"[Unit]\nDescription=Files after whose change the MQTT broker {does}\n\n"
            f"[Path]\n{watched}\n[Install]\nWantedBy=multi-user.target\n"
        ),
        f"{name}.service": (
            f"{_MADE}.\n[Unit]\nDescription=The MQTT broker {does}\n\n"
            f"[Service]\nType=oneshot\nExecStart=/bin/systemctl {verb} mosquitto.service\n"
        ),
    }


def _escape(path: Path) -> str:
    """Write a path so that systemd reads it back as it is."""
    return str(path).replace("%", "%%")
