"""The rule set: what it says, and that nothing but what it must let through gets through."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway import firewall
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.firewall import Plan, Target, make_plan, render, require_valid
from tests.gateway.namespaces import (
    GATEWAY_OT,
    GATEWAY_OT_6,
    OT,
    SERVICE,
    SERVICE_6,
    UP,
    inside,
    require_namespaces,
    sniffer,
    taken,
    world,
)
from tests.gateway.tries import SEED, Campaign, call, open_sinks, post, received
from tests.telling import tell

SYN = 0x02
BROKER = ("broker.certificate=b.pem", "broker.key=b.key", "broker.ca=ca.pem")
ENTRIES = (
    f'host = "service.example"\nport = 8443\naddresses = ["{SERVICE}", "{SERVICE_6}"]',
    'host = "tsa.example"\nport = 80\ntls = false\naddresses = ["198.51.100.80"]',
)


def load(tmp_path: Path, *more: str, entries: Sequence[str] = ENTRIES) -> GatewayConfig:
    """Load a configuration with a listener and a service."""
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "example.com/gw"\nsite = "site-7"\n'
        f'[mqtt]\nlisten = "{GATEWAY_OT}:8883"\ncertificate = "l.pem"\nkey = "l.key"\nclient_ca = "ca.pem"\n'
        '[uplink]\nurl = "https://service.example:8443"\ncertificate = "a.pem"\nkey = "a.key"\n'
        'ca = "ca.pem"\nwitness = "one+1+x"\n' + "".join(f"[[egress.allow]]\n{entry}\n" for entry in entries)
    )
    return load_gateway(path, more)


def rules(tmp_path: Path) -> str:
    """Write the rules of that configuration."""
    return render(make_plan(load(tmp_path), ot=OT, uplink=UP))


def test_the_same_configuration_gives_the_same_text(tmp_path: Path) -> None:
    """In whatever order its entries stand; every part says what it is for."""
    config = load(tmp_path, entries=(ENTRIES[1], ENTRIES[0]))

    assert render(make_plan(config, ot=OT, uplink=UP)) == rules(tmp_path)
    assert rules(tmp_path).count("policy drop") == 3
    assert "policy accept" not in rules(tmp_path)
    assert f'{SERVICE} . 8443 comment "service.example"' in rules(tmp_path)


def test_everything_that_is_configured_has_its_rule(tmp_path: Path) -> None:
    """Broker, name servers, time, and people, each with its port."""
    config = load(
        tmp_path,
        *BROKER,
        "broker.address=10.88.1.5:8884",
        'egress.resolver=["10.88.2.53:53", "[fd88:2::53]:853"]',
        'time.servers=["ntp.example"]',
        entries=(*ENTRIES, 'host = "10.88.1.5"\nport = 8884'),
    )
    plan = make_plan(
        config, ot=OT, uplink=UP, admin=["10.88.9.0/24", "fd88:9::/64"], resolve=lambda _: ["10.88.2.123"]
    )

    assert plan == Plan(
        OT,
        UP,
        (8883,),
        (
            Target(SERVICE, 8443, "service.example"),
            Target("198.51.100.80", 80, "tsa.example"),
            Target(SERVICE_6, 8443, "service.example"),
        ),
        (Target("10.88.1.5", 8884, "10.88.1.5"),),
        (Target("10.88.2.53", 53, "resolver"), Target("fd88:2::53", 853, "resolver")),
        (Target("10.88.2.123", 123, "ntp.example"),),
        ("10.88.9.0/24", "fd88:9::/64"),
    )
    text = render(plan)
    assert "ip6 saddr fd88:9::/64 tcp dport 22" in text
    assert '10.88.2.123 comment "ntp.example"' in text


def test_what_is_on_this_machine_needs_no_rule(tmp_path: Path) -> None:
    """A listener, a broker or a service on loopback."""
    config = load(
        tmp_path,
        "mqtt.listen=127.0.0.1:8883",
        "uplink.url=https://localhost:8443",
        *BROKER,
        "broker.address=127.0.0.1:8884",
        entries=(),
    )
    plan = make_plan(config, ot=OT, uplink=UP)

    assert (plan.intake, plan.out, plan.brokers) == ((), (), ())
    assert "no device is taken in" in render(plan)


def test_a_broker_of_this_machine_takes_devices_in(tmp_path: Path) -> None:
    """At the door that is written for it."""
    config = load(
        tmp_path,
        *BROKER,
        "broker.address=127.0.0.1:8884",
        "broker.mosquitto.listen=10.88.1.1:8885",
        entries=(*ENTRIES, 'host = "127.0.0.1"\nport = 8884'),
    )

    assert make_plan(config, ot=OT, uplink=UP).intake == (8883, 8885)


@pytest.mark.parametrize(
    ("options", "more", "named"),
    [
        ({"ot": "a b"}, (), "--ot is 'a b'"),
        ({"uplink": "sixteen-letters-"}, (), "--uplink"),
        ({"admin": ["10.0.0.1/8"]}, (), "--admin is '10.0.0.1/8'"),
        ({}, ('time.servers=["ntp.example"]',), "ntp.example of time.servers is a name"),
    ],
    ids=["space", "long", "admin", "time"],
)
def test_what_the_rules_cannot_be_made_of_is_told(
    tmp_path: Path, options: dict[str, Any], more: Sequence[str], named: str
) -> None:
    """With the cure."""
    with pytest.raises(OperatorError) as caught:
        make_plan(load(tmp_path, *more), **{"ot": OT, "uplink": UP} | options)

    assert named in caught.value.what


def test_a_name_without_addresses_is_asked_for_only_where_somebody_says_so(tmp_path: Path) -> None:
    """Else two runs could give two rule sets."""
    config = load(tmp_path, entries=('host = "service.example"\nport = 8443',))
    with pytest.raises(OperatorError, match="--resolve"):
        make_plan(config, ot=OT, uplink=UP)
    found = make_plan(config, ot=OT, uplink=UP, resolve=lambda _: ["10.0.0.7", "10.0.0.6", "127.0.0.1"])

    assert [each.address for each in found.out] == ["10.0.0.6", "10.0.0.7"]


def test_nft_reads_the_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without loading them; what it refuses, and its absence, are told."""
    require_namespaces()
    require_valid(rules(tmp_path))
    with pytest.raises(OperatorError, match="nft refuses"):
        require_valid(rules(tmp_path).replace("policy drop", "policy maybe"))
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(UnavailableError, match="apt-get install"):
        require_valid("")


def test_no_forbidden_try_passes(tmp_path: Path) -> None:
    """More than a thousand of them, of every kind, from every side; the rules count what they refused."""
    with world() as made:
        made.load(rules(tmp_path))
        campaign = Campaign(made, silence_s=0.3)
        campaign.run()
        refused = {name: made.counter(name) for name in firewall._COUNTERS}
    tell(f"seed {SEED}: {campaign.tried.total()} tries {dict(campaign.tried)}; refused {refused}")

    assert campaign.tried.total() >= 1_000
    assert dict(campaign.passed) == {}
    assert all(refused[name] for name in firewall._COUNTERS if name != "flooded")


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("hook output priority filter; policy drop;", "hook output priority filter; policy accept;"),
        ("hook forward priority filter; policy drop;", "hook forward priority filter; policy accept;"),
        ("hook input priority filter; policy drop;", "hook input priority filter; policy accept;"),
        ("\t\tfib saddr type != local counter name spoofed_out drop\n", ""),
        ("\t\tfib saddr . iif oif missing counter name spoofed_in drop\n", ""),
        ('iifname "ot0" tcp dport', "tcp dport"),
        ('oifname "up0" ip daddr . tcp dport @out4', 'oifname "up0" meta l4proto tcp'),
        ('oifname "up0" ip daddr . udp dport @dns4', "udp dport 53"),
    ],
    ids=["out", "through", "in", "spoofed out", "spoofed in", "anywhere", "any address", "any dns"],
)
def test_the_campaign_finds_a_rule_that_is_missing(tmp_path: Path, found: str, put: str) -> None:
    """Each fault that is planted lets something pass, and it is seen."""
    text = rules(tmp_path)
    assert found in text
    planted = text.replace(found, put)
    if "policy accept" in put:
        way = {"output": "out", "forward": "through", "input": "in"}[found.split()[1]]
        planted = planted.replace(f"\t\tgoto refuse_{way}\n", "")
    with world() as made:
        made.load(planted)
        campaign = Campaign(made)
        campaign.run(40)

    assert campaign.passed.total() > 0


def test_what_is_configured_passes(tmp_path: Path) -> None:
    """Endpoints, names, time and devices, by IPv4 and IPv6: a wall without its doors would be no use."""
    config = load(
        tmp_path,
        f'egress.resolver=["{SERVICE}:53", "[{SERVICE_6}]:53"]',
        f'time.servers=["{SERVICE}"]',
    )
    wanted = {"tcp 8443": 2, "tcp 53": 2, "udp 53": 2, "udp 123": 1, "tcp 4460": 1}
    with world() as made, ExitStack() as stack:
        made.load(render(make_plan(config, ot=OT, uplink=UP)))
        sniffing = stack.enter_context(sniffer(made.service))
        sinks = [stack.enter_context(sink) for sink in inside(made.gateway, open_sinks)]
        for to in (SERVICE, SERVICE_6):
            for port in (8443, 53):
                inside(made.gateway, partial(call, to, port))
            inside(made.gateway, partial(post, to, 53))
        inside(made.gateway, partial(call, SERVICE, 4460))
        inside(made.gateway, partial(post, SERVICE, 123))
        for to in (GATEWAY_OT, GATEWAY_OT_6):
            inside(made.device, partial(call, to, 8883))
        came = Counter(name for frame in taken(sniffing) if (name := port_of(frame)))
        listener = (8883).to_bytes(2)
        calls = sum(listener in {each[22:24], each[2:4]} for sink in sinks for each in received(sink))

    assert {name: came[name] for name in wanted} == wanted
    assert (sum(came.values()), calls) == (sum(wanted.values()), 2)


def port_of(frame: bytes) -> str:
    """Name protocol and port of a call or a datagram; empty for anything else."""
    is_v6 = frame[12:14] == b"\x86\xdd"
    protocol, rest = (frame[20], frame[54:]) if is_v6 else (frame[23], frame[34:])
    port = int.from_bytes(rest[2:4])
    if protocol == socket.IPPROTO_UDP:
        return f"udp {port}"
    return f"tcp {port}" if protocol == socket.IPPROTO_TCP and rest[13] == SYN else ""


def flood(to: str, port: int, times: int) -> None:
    """Begin many connections."""
    for _ in range(times):
        call(to, port)


def test_a_flood_of_connections_is_cut_down(tmp_path: Path) -> None:
    """One address may open some at a time; the rest is dropped and counted."""
    with world() as made:
        made.load(rules(tmp_path))
        inside(made.device, partial(flood, GATEWAY_OT, 8883, 300))
        assert made.counter("flooded") > 200


def test_loading_it_again_takes_the_place_of_the_old_rules(tmp_path: Path) -> None:
    """In one step; other tables are left alone."""
    with world() as made:
        made.load("add table inet other")
        for _ in range(2):
            made.load(rules(tmp_path))
        listing = ("ip", "netns", "exec", made.gateway, "nft", "list", "tables")
        found = subprocess.run(listing, text=True, capture_output=True, check=True).stdout

    assert found.split("\n")[:-1] == ["table inet other", "table inet coldseal"]
