"""The rule set of the gateway's machine for nftables: what the configuration needs passes, nothing else does.

Promises one text for one configuration and one set of addresses, whatever asks for it: IPv4 and IPv6, in, out
and through. Loads nothing into a kernel; `require_valid` asks nft whether it would.
"""

from __future__ import annotations

import ipaddress
import shutil
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.config import ways_out
from coldseal.gateway.endpoints import endpoint_of, is_address, listed, usual_host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from coldseal.gateway.config import GatewayConfig

    Resolve = Callable[[str], Sequence[str]]

TABLE: Final = "coldseal"
LOG_GROUP: Final = 5
"""nflog group to which a few refused packets a second are copied."""
NTP: Final = 123
NTS_KE: Final = 4460
SSH: Final = 22

_LOOPBACK: Final = "localhost"
_LONGEST_NAME: Final = 15  # of an interface: IFNAMSIZ, with its zero


class Target(NamedTuple):
    """An address and a port that may be reached, and under which name."""

    address: str
    port: int
    name: str


class Plan(NamedTuple):
    """What may pass.

    Args:
        ot: interface at which devices are.
        uplink: interface of everything else.
        intake: ports at which devices are taken in.
        out: what our programs connect to, by TCP.
        brokers: an external broker, at either interface.
        resolvers: name servers.
        time: time servers.
        admin: networks from which a person may log in by SSH.
    """

    ot: str
    uplink: str
    intake: tuple[int, ...]
    out: tuple[Target, ...]
    brokers: tuple[Target, ...] = ()
    resolvers: tuple[Target, ...] = ()
    time: tuple[Target, ...] = ()
    admin: tuple[str, ...] = ()


def make_plan(
    config: GatewayConfig, *, ot: str, uplink: str, admin: Sequence[str] = (), resolve: Resolve | None = None
) -> Plan:
    """Read from a configuration what may pass.

    Args:
        config: the gateway's configuration.
        ot: interface at which devices are.
        uplink: interface of everything else.
        admin: networks from which a person may log in by SSH.
        resolve: gives the addresses of a name; None where names are not to be asked for.

    Raises:
        OperatorError: an address is not known, or an argument is wrong.
        UnavailableError: a name cannot be resolved.
    """
    for option, value in (("--ot", ot), ("--uplink", uplink)):
        if not value or len(value) > _LONGEST_NAME or set(value) & set(' "/*{};\\\n'):
            raise OperatorError(f"{option} is {value!r}, which no interface is called", "See: ip link")
    targets = targets_of(config, resolve)
    return Plan(
        ot,
        uplink,
        _intake(config),
        _sorted(each for each in targets if not _is_broker(config, each)),
        _sorted(each for each in targets if _is_broker(config, each)),
        _sorted(Target(usual_host(each.host), each.port, "resolver") for each in config.egress.resolver),
        _sorted(
            Target(address, NTP, server)
            for server in config.time.servers
            for address in _addresses(server, (), resolve, "time.servers")
        ),
        tuple(sorted(_network(each) for each in admin)),
    )


def targets_of(config: GatewayConfig, resolve: Resolve | None) -> list[Target]:
    """Give what the gateway's programs connect to, each with an address; what is on loopback is left out.

    Raises:
        OperatorError: an address is not known.
        UnavailableError: a name cannot be resolved.
    """
    fixed = {listed(each): each.addresses for each in config.egress.allow}
    return [
        Target(address, endpoint.port, endpoint.host)
        for endpoint in fixed or {endpoint_of(way.url): () for way in ways_out(config)}
        for address in _addresses(endpoint.host, fixed.get(endpoint, ()), resolve, "egress.allow")
    ]


def render(plan: Plan) -> str:
    """Write the rule set, with a comment on each part."""
    sets = [
        *_set("out", "what this gateway's programs connect to", plan.out),
        *_set("broker", "the external broker", plan.brokers),
        *_set("dns", "name servers", plan.resolvers),
        *_set("time", "time servers", plan.time, has_port=False),
    ]
    return "\n".join(
        [
            "#!/usr/sbin/nft -f",
            "# Written by `coldseal gateway firewall nftables`: write it again when the configuration",
            "# changes. What is not allowed here is dropped: in, out and through, IPv4 and IPv6.",
            f"table inet {TABLE}",
            f"delete table inet {TABLE}",
            "",
            f"table inet {TABLE} {{",
            *(f"\tcounter {name} {{ }}" for name in _COUNTERS),
            "",
            *sets,
            *_callers(),
            *_input(plan),
            *_forward(),
            *_output(plan),
            *_refusals(),
            "}",
            "",
        ]
    )


def require_valid(text: str) -> None:
    """Have nft read a rule set without loading it; needs the right to load one.

    Raises:
        UnavailableError: there is no nft here.
        OperatorError: it refuses the rule set.
    """
    nft = shutil.which("nft") or shutil.which("nft", path="/usr/sbin:/sbin")
    if nft is None:
        raise UnavailableError("nft", "it is not installed: apt-get install nftables")
    done = subprocess.run(  # noqa: S603 # nft itself, found above, with arguments of ours
        [nft, "-c", "-f", "-"], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode:
        what = f"nft refuses the rule set: {done.stderr.strip() or done.returncode}"
        raise OperatorError(what, "Run it as root, on the machine where the rules will stand")


_COUNTERS: Final = ("refused_in", "refused_through", "refused_out", "spoofed_in", "spoofed_out", "flooded")


def _intake(config: GatewayConfig) -> tuple[int, ...]:
    """Give the ports at which devices are taken in from the network."""
    doors = [config.mqtt.listen]
    if config.broker.address is not None:
        doors.append(config.broker.mosquitto.listen)
    return tuple(sorted({door.port for door in doors if door is not None and not door.is_loopback}))


def _is_broker(config: GatewayConfig, target: Target) -> bool:
    """Whether it is the external broker, which may be on the devices' side."""
    door = config.broker.address
    return door is not None and (usual_host(door.host), door.port) == (target.name, target.port)


def _addresses(host: str, fixed: Sequence[str], resolve: Resolve | None, key: str) -> list[str]:
    """Give the addresses of a host that are not on loopback.

    Raises:
        OperatorError: they are not known.
    """
    if is_address(host):
        found: Sequence[str] = (host,)
    elif fixed:
        found = fixed
    elif host == _LOOPBACK:
        found = ()
    elif resolve is not None:
        found = resolve(host)
    else:
        what = f"the rules need addresses, and {host} of {key} is a name"
        cure = (
            "Write `addresses` for it in [[egress.allow]]" if key == "egress.allow" else "Write its address"
        )
        raise OperatorError(what, f"{cure}, or give --resolve to ask for them now")
    usual = (usual_host(each) for each in found)
    return [each for each in usual if not ipaddress.ip_address(each).is_loopback]


def _network(text: str) -> str:
    """Read a network.

    Raises:
        OperatorError: it is none.
    """
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as fault:
        raise OperatorError(f"--admin is {text!r}: {fault}", "Give a network, such as 10.0.5.0/24") from fault


def _sorted(targets: Iterable[Target]) -> tuple[Target, ...]:
    """Put targets into one order, each address and port once."""
    found: dict[tuple[str, int], Target] = {}
    for each in sorted(targets):
        found.setdefault((each.address, each.port), each)
    return tuple(found.values())


def _is_v6(address: str) -> bool:
    """Whether it is an IPv6 address or network."""
    return ":" in address


def _set(name: str, about: str, targets: Sequence[Target], *, has_port: bool = True) -> list[str]:
    """Write the two sets of some targets."""
    lines = [f"\t# {about}"]
    for suffix, kind, is_v6 in (("4", "ipv4_addr", False), ("6", "ipv6_addr", True)):
        elements = [
            f'{each.address}{f" . {each.port}" if has_port else ""} comment "{each.name}"'
            for each in targets
            if _is_v6(each.address) is is_v6
        ]
        lines += [f"\tset {name}{suffix} {{", f"\t\ttype {kind}{' . inet_service' if has_port else ''}"]
        if elements:
            lines += ["\t\telements = {", *(f"\t\t\t{each}," for each in elements), "\t\t}"]
        lines.append("\t}")
    return [*lines, ""]


def _callers() -> list[str]:
    """Write the sets that remember how often each address calls."""
    lines = ["\t# how often each device's address opens a connection"]
    for suffix, kind in (("4", "ipv4_addr"), ("6", "ipv6_addr")):
        lines += [
            f"\tset callers{suffix} {{",
            f"\t\ttype {kind}",
            "\t\tsize 65535",
            "\t\tflags dynamic,timeout",
            "\t\ttimeout 1m",
            "\t}",
        ]
    return [*lines, ""]


def _input(plan: Plan) -> list[str]:
    """Write what comes in."""
    ports = ", ".join(map(str, plan.intake))
    devices = [
        "\t\t# devices: MQTT over TLS; each address 20 new connections a second, all together 500",
        f'\t\tiifname "{plan.ot}" tcp dport {{ {ports} }} ct state new jump from_devices',
    ]
    admin = [
        f'\t\tiifname "{plan.uplink}" {"ip6" if _is_v6(each) else "ip"} saddr {each} tcp dport {SSH} '
        "ct state new limit rate 10/minute burst 10 packets accept"
        for each in plan.admin
    ]
    return [
        "\tchain from_devices {",
        *(
            f"\t\tadd @callers{suffix} {{ {family} saddr limit rate over 20/second burst 50 packets }} "
            "counter name flooded drop"
            for suffix, family in (("4", "ip"), ("6", "ip6"))
        ),
        "\t\tlimit rate over 500/second burst 1000 packets counter name flooded drop",
        "\t\taccept",
        "\t}",
        "",
        "\tchain input {",
        "\t\ttype filter hook input priority filter; policy drop;",
        '\t\tiif "lo" accept',
        "\t\t# neighbours on the link: IPv6 does not work without; nothing of it was routed",
        "\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
        f'\t\tiifname "{plan.uplink}" icmpv6 type nd-router-advert ip6 hoplimit 255 accept',
        "\t\t# a source that is not behind the interface where it came in",
        "\t\tfib saddr . iif oif missing counter name spoofed_in drop",
        "\t\tct state invalid counter name refused_in drop",
        "\t\tct state established,related accept",
        *(devices if plan.intake else ["\t\t# mqtt.listen is on loopback: no device is taken in"]),
        *(["\t\t# people"] if admin else []),
        *admin,
        "\t\tgoto refuse_in",
        "\t}",
        "",
    ]


def _forward() -> list[str]:
    """Write what goes through: nothing."""
    return [
        "\tchain forward {",
        "\t\ttype filter hook forward priority filter; policy drop;",
        "\t\t# a gateway is no router: devices reach nothing behind it, and nothing reaches them",
        "\t\tgoto refuse_through",
        "\t}",
        "",
    ]


def _output(plan: Plan) -> list[str]:
    """Write what goes out."""
    up = f'oifname "{plan.uplink}"'
    lines = [
        "\tchain output {",
        "\t\ttype filter hook output priority filter; policy drop;",
        '\t\toif "lo" accept',
        "\t\ticmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255 accept",
        f"\t\t{up} icmpv6 type nd-router-solicit ip6 hoplimit 255 accept",
        "\t\ticmpv6 type mld2-listener-report ip6 hoplimit 1 accept",
        "\t\t# a source that is not this machine",
        "\t\tfib saddr type != local counter name spoofed_out drop",
        "\t\tct state invalid counter name refused_out drop",
        "\t\tct state established,related accept",
    ]
    for suffix, family in (("4", "ip"), ("6", "ip6")):
        new = "ct state new limit rate 50/second burst 100 packets accept"
        lines.append(f"\t\t{up} {family} daddr . tcp dport @out{suffix} {new}")
        lines.append(f"\t\t{family} daddr . tcp dport @broker{suffix} {new}")
        lines.append(f"\t\t{up} {family} daddr . tcp dport @dns{suffix} {new}")
        lines.append(f"\t\t{up} {family} daddr . udp dport @dns{suffix} {new}")
        lines.append(f"\t\t{up} {family} daddr @time{suffix} udp dport {NTP} {new}")
        lines.append(f"\t\t{up} {family} daddr @time{suffix} tcp dport {NTS_KE} {new}")
    return [*lines, "\t\tgoto refuse_out", "\t}", ""]


def _refusals() -> list[str]:
    """Write how what is refused is counted and shown; our own programs are told at once."""
    lines = []
    for way, end in (("in", "drop"), ("through", "drop"), ("out", "reject with icmpx admin-prohibited")):
        lines += [
            f"\tchain refuse_{way} {{",
            f"\t\tcounter name refused_{way}",
            f'\t\tlimit rate 10/second burst 20 packets log prefix "{TABLE} {way} " group {LOG_GROUP}',
            f"\t\t{end}",
            "\t}",
        ]
    return lines
