"""`coldseal gateway unit` and `coldseal service unit`: units for systemd, as narrow as the programs allow.

What is written follows from the configuration: secrets become credentials, the data folder is the only place
that can be written, and only what is configured can be reached. Starts nothing and installs nothing.
"""

import ipaddress
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from coldseal.errors import OperatorError
from coldseal.gateway.config import GatewayConfig
from coldseal.service.config import ServiceConfig
from coldseal.signing.uris import TpmUri

Resolve = Callable[[str], Sequence[str]]

STATE = Path("/var/lib")
"""Where systemd keeps the folders of units with a user of their own."""

CHRONY = "_chrony"
"""The group of chronyd, as Debian calls it."""

_OPTION = "?passphrase="
_AUTH = re.compile(r"auth=file:([^&]+)")


class Secret(NamedTuple):
    r"""A file that becomes a credential of the unit.

    Args:
        name: of the credential.
        path: the file.
        setting: what names it, ``\0`` standing for the folder of credentials; empty: another one does.
    """

    name: str
    path: Path
    setting: str


class Unit(NamedTuple):
    """What a unit says of one program.

    Args:
        about: what runs, for a person.
        command: what is started, without what names secrets.
        secrets: files that become credentials.
        settings: further settings that hold in this unit alone.
        data: the folder that is written.
        writable: further folders that are written.
        networks: who may be spoken to, beside this machine.
        user: an existing user; empty for one that systemd makes.
        has_tpm: whether the TPM is used.
        reads_clock: whether the program asks the kernel how good its clock is, and who its callers are.
        notes: what a person must know.
        chrony: folder of chronyd's command socket, where that is asked.
        memory_mb: memory that the program means to use, in MiB; 0: it has no budget.
    """

    about: str
    command: tuple[str, ...]
    secrets: tuple[Secret, ...]
    settings: tuple[str, ...]
    data: Path
    writable: tuple[Path, ...]
    networks: tuple[str, ...]
    user: str
    has_tpm: bool
    reads_clock: bool = False
    notes: tuple[str, ...] = ()
    chrony: Path | None = None
    memory_mb: int = 0


def secrets_of(data: Path, named: Sequence[tuple[str, object]]) -> tuple[Secret, ...]:
    """Give the secrets that lie outside the data folder: what lies in it, a program changes by itself.

    Args:
        data: the data folder.
        named: settings with their values: references, paths, or nothing.
    """
    found = []
    for key, value in named:
        text = str(value or "")
        if (
            text.startswith("tpm:")
            and (auth := _AUTH.search(text))
            and not _usual(auth[1]).is_relative_to(data)
        ):
            setting = f"{key}={text[: auth.start(1)]}\0/{key}.auth{text[auth.end(1) :]}"
            found.append(Secret(f"{key}.auth", _usual(auth[1]), setting))
            continue
        scheme = next((each for each in ("file:", "tpm:seal=") if text.startswith(each)), "")
        place, option, inner = text.removeprefix(scheme).partition(_OPTION)
        if not text or not (scheme or isinstance(value, Path)) or _usual(place).is_relative_to(data):
            continue
        if inner.startswith("file:"):
            found.append(Secret(f"{key}.passphrase", _usual(inner.removeprefix("file:")), ""))
            inner = f"file:\0/{key}.passphrase"
        found.append(Secret(key, _usual(place), f"{key}={scheme}\0/{key}{option}{inner}"))
    return tuple(found)


def _usual(text: str) -> Path:
    """Give a path without going up, which systemd takes for a source of credentials."""
    return Path(os.path.normpath(text))


def gateway_unit(config: GatewayConfig, unit: Unit, networks: Sequence[str]) -> Unit:
    """Say what a gateway needs.

    Raises:
        OperatorError: it renews or makes keys where this unit lets it write nothing.
    """
    data, wrapped = config.gateway.data, config.uplink.transport
    named: list[tuple[str, object]] = [
        ("store.key", config.store.key),
        ("keys.record", config.keys.record),
        ("keys.checkpoint", config.keys.checkpoint),
        ("keys.interop", config.keys.interop),
        ("mqtt.key", config.mqtt.key),
        ("mqtt.passwords", config.mqtt.passwords),
        ("uplink.key", wrapped if isinstance(wrapped, Path) else config.uplink.key),
        ("broker.key", config.broker.key),
        ("enrolment.factory_key", config.enrolment.factory_key),
        ("enrolment.token", config.enrolment.token),
    ]
    if config.attestation.key is not None:
        named.append(("attestation.event_log", config.attestation.event_log))
    secrets = secrets_of(data, named)
    renewed = {"mqtt.key", "uplink.key", "broker.key"}.intersection(each.name for each in secrets)
    if isinstance(wrapped, TpmUri) and not _usual(str(wrapped.file)).is_relative_to(data):
        renewed |= {"uplink.key"}
    if config.enrolment.url and renewed:
        what = f"enrolment.url is set, but {', '.join(sorted(renewed))} lies outside {data}"
        raise OperatorError(what, "Move these keys and their certificates there: they are renewed")
    references = (*(str(value) for _, value in named), str(config.attestation.key))
    has_tpm = bool(config.hardware.counter) or any(each.startswith("tpm:") for each in references)
    settings = []
    if any(each.startswith(("tpm:", "pkcs11:")) for each in references):
        settings.append(f"hardware.fallback=file:{data / 'fallback.pem'}")
    notes = []
    if any(each.name.startswith("keys.") for each in secrets):
        notes.append(
            "Signing keys are credentials here. `coldseal gateway roll-over` makes new ones in their"
        )
        notes.append("place: for that they must lie in the data folder.")
    if any(each.certificate_key for each in config.uplink.witnesses):
        notes.append("A key of [[uplink.witnesses]] must be readable for this unit's user by itself.")
    if any(each.key or each.token for each in config.routes):
        notes.append("A key or token of [[routes]] must be readable for this unit's user by itself.")
    writable = [config.archive.directory, config.log.file and config.log.file.parent]
    return unit._replace(
        secrets=secrets,
        settings=tuple(settings),
        data=data,
        writable=tuple(each for each in writable if each is not None),
        networks=tuple(networks),
        has_tpm=has_tpm,
        reads_clock=True,
        notes=tuple(notes),
        chrony=config.time.chrony.parent if config.time.source == "chrony" else None,
        memory_mb=config.budget.memory_mb,
    )


def service_unit(config: ServiceConfig, unit: Unit) -> Unit:
    """Say what a service needs."""
    data, bulk = config.service.data, config.bulk.url
    secrets = secrets_of(
        data,
        [
            ("store.key", config.store.key),
            ("witness.key", config.witness.key),
            ("tls.key", config.tls.key),
            ("bulk.access_key", config.bulk.access_key),
            ("bulk.secret_key", config.bulk.secret_key),
        ],
    )
    writable = [Path(bulk.removeprefix("file://"))] if bulk.startswith("file://") else []
    notes = []
    if config.est.authority is not None:
        writable.append(config.est.authority)
        notes.append(
            "The issuing CA's folder is written: serial numbers, revocation list, renewed certificates."
        )
    return unit._replace(secrets=secrets, data=data, writable=tuple(writable), notes=tuple(notes))


def render(unit: Unit) -> str:
    """Write the unit.

    Raises:
        OperatorError: the data folder is none that systemd could make for a user of its own.
    """
    lines = [
        f"# Written by `coldseal {unit.command[-3]} unit systemd`: write it again when the configuration",
        "# changes. Its user must be able to read that file, and the certificates that it names.",
        *(f"# {note}" for note in unit.notes),
        "[Unit]",
        f"Description={unit.about}",
        "Wants=network-online.target",
        "After=network-online.target"
        if unit.chrony is None
        else "After=network-online.target chrony.service",
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        f"ExecStart={_command(unit)}",
        "ExecReload=/bin/kill -HUP $MAINPID",
        *_LIFE,
        *(_memory(unit.memory_mb) if unit.memory_mb else ()),
        "",
        "# who it is: no user that anybody else is, and secrets that nobody else reads",
        *_holder(unit),
        "UMask=0077",
        *(f"LoadCredential={each.name}:{_quoted(str(each.path))}" for each in unit.secrets),
        f"UnsetEnvironment={' '.join(_ignored())}",
        "",
        "# what it sees and what it may ask of the kernel",
        *_NARROW,
        *(_CLOCK if unit.reads_clock else _NO_CLOCK),
        *([] if unit.chrony is None else _asking(unit.chrony)),
        *_devices(unit),
        "",
        "# whom it may speak to, beside this machine",
        "IPAddressDeny=any",
        "IPAddressAllow=localhost",
        *(f"IPAddressAllow={each}" for each in sorted(set(unit.networks))),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
        "",
    ]
    return "\n".join(lines)


_LIFE = (
    "Type=notify",
    "NotifyAccess=main",
    "# the watchdog is fed while what was taken in is being acknowledged, not by a loop that merely runs",
    "WatchdogSec=60",
    "# a damaged log is mended before a start ends",
    "TimeoutStartSec=infinity",
    "TimeoutStopSec=90",
    "Restart=always",
    "RestartSec=2",
    "LimitNOFILE=65536",
    "# no memory with keys in it goes to a file",
    "LimitCORE=0",
)

_NARROW = (
    "NoNewPrivileges=yes",
    "CapabilityBoundingSet=",
    "AmbientCapabilities=",
    "ProtectSystem=strict",
    "ProtectHome=yes",
    "PrivateTmp=yes",
    "PrivateMounts=yes",
    "ProtectProc=invisible",
    "ProtectKernelTunables=yes",
    "ProtectKernelModules=yes",
    "ProtectKernelLogs=yes",
    "ProtectControlGroups=yes",
    "ProtectHostname=yes",
    "RemoveIPC=yes",
    "RestrictNamespaces=yes",
    "RestrictRealtime=yes",
    "RestrictSUIDSGID=yes",
    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
    "LockPersonality=yes",
    "MemoryDenyWriteExecute=yes",
    "SystemCallArchitectures=native",
    "SystemCallFilter=@system-service",
    "SystemCallFilter=~@privileged",
    "SystemCallErrorNumber=EPERM",
)

_CLOCK = (
    "# to read how far the clock can be trusted: setting it needs a capability that is not there, and",
    "# ProtectClock= would forbid the reading; PrivateUsers= would hide who speaks at the control socket.",
    "# chown gives a further control socket to its group.",
    "SystemCallFilter=adjtimex clock_adjtime clock_adjtime64 chown",
)
_NO_CLOCK = ("ProtectClock=yes", "PrivateUsers=yes")


def _memory(budget: int) -> tuple[str, ...]:
    """Write where memory ends: beyond the budget, because caches and buffers of the kernel count too."""
    return (
        "# above budget.memory_mb nobody new is let in; here caches go, and then the program starts anew",
        f"MemoryHigh={budget + max(budget // 4, 128)}M",
        f"MemoryMax={budget + max(budget // 2, 256)}M",
        "MemorySwapMax=0",
    )


def _command(unit: Unit) -> str:
    """Write what is started, with the secrets where systemd puts them."""
    settings = [*unit.settings, *(each.setting for each in unit.secrets if each.setting)]
    lines = [
        " ".join(_quoted(word) for word in unit.command),
        *(f"--set {_quoted(each)}" for each in settings),
    ]
    return " \\\n    ".join(lines).replace("\0", "%d")


def _quoted(word: str) -> str:
    """Write a word as systemd reads it back."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"' if not escaped or set(escaped) & set(" \t;'\"") else escaped


def _holder(unit: Unit) -> list[str]:
    """Write the user and the folders that it writes.

    Raises:
        OperatorError: the data folder is none that systemd could make for a user of its own.
    """
    writable = [f"ReadWritePaths={_quoted(str(each))}" for each in unit.writable]
    if unit.user:
        return [f"User={unit.user}", f"ReadWritePaths={_quoted(str(unit.data))}", *writable]
    if not unit.data.is_relative_to(STATE) or unit.data == STATE:
        what = f"the data folder is {unit.data}, and a user that systemd makes has its folder below {STATE}"
        raise OperatorError(what, "Move it there, or give --user, an existing user that owns it")
    folder = unit.data.relative_to(STATE)
    return ["DynamicUser=yes", f"StateDirectory={folder}", "StateDirectoryMode=0700", *writable]


def _devices(unit: Unit) -> list[str]:
    """Write what devices are there: none, or the TPM."""
    if not unit.has_tpm:
        return ["PrivateDevices=yes", "DevicePolicy=closed"]
    return [
        "# the TPM, and no other device",
        "DevicePolicy=closed",
        "DeviceAllow=/dev/tpmrm0 rw",
        "SupplementaryGroups=tss",
    ]


def _asking(folder: Path) -> list[str]:
    """Write what lets the program ask chronyd, which answers to a socket in its own folder."""
    try:
        group = folder.group()
    except (OSError, KeyError):  # chronyd does not run here, or this is another machine
        group = CHRONY
    return [
        "# to ask chronyd, whose folder only its own group may enter",
        f"SupplementaryGroups={group}",
        f"ReadWritePaths=-{_quoted(str(folder))}",
    ]


def _ignored() -> Sequence[str]:
    """Give the variables that could lead a program elsewhere."""
    from coldseal.gateway.egress import IGNORED

    return sorted(IGNORED)


def begin(noun: str, about: str, config: Path, *, program: str, user: str) -> Unit:
    """Begin a unit with what is started."""
    command = program or shutil.which("coldseal") or ""
    start = (command,) if command else (sys.executable, "-m", "coldseal.cli.main")
    return Unit(
        about, (*start, noun, "run", str(config.resolve())), (), (), Path(), (), (), user, has_tpm=False
    )


def read_networks(option: str, texts: Sequence[str]) -> list[str]:
    """Read networks.

    Raises:
        OperatorError: one is none.
    """
    try:
        return [str(ipaddress.ip_network(text)) for text in texts]
    except ValueError as fault:
        raise OperatorError(f"{option}: {fault}", "Give a network, such as 10.0.5.0/24") from fault


def reached_by(config: GatewayConfig, resolve: Resolve | None) -> list[str]:
    """Give the addresses of everything that a gateway is configured to reach.

    Raises:
        OperatorError: an address is not known.
        UnavailableError: a name cannot be resolved.
    """
    from coldseal.gateway.firewall import targets_of

    servers = [each.host for each in config.egress.resolver]
    return [*(each.address for each in targets_of(config, resolve)), *servers]
