"""Which certificates a gateway keeps alive, whom it trusts afterwards, and whom it tells."""

from __future__ import annotations

import asyncio
import io
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.errors import OperatorError
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.uplink.enrolment import desk_of, hang_up, keep_renewed, lists_of, pairs_of, renewer_of
from coldseal.gateway.uplink.keeping import Bundles
from coldseal.identity.authority import create_authority
from coldseal.identity.trust import encode_bundle, parse_bundle
from tests.gateway.uplink.registry import Registry
from tests.trial import now
from tests.waiting import until

WAITING = """
import signal, sys
signal.signal(signal.SIGHUP, lambda *_: sys.exit(7))
print("ready", flush=True)
signal.pause()
"""


def load(folder: Path, url: str, more: str = "", *overrides: str) -> GatewayConfig:
    """Write and load a configuration: uplink and listener share their files, the broker has others."""
    path = folder / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "example.com/gw-1"\nsite = "lab"\n'
        '[mqtt]\ncertificate = "gw.pem"\nkey = "gw.key"\nclient_ca = "devices.pem"\ncrl = "crl.pem"\n'
        '[uplink]\nurl = "https://localhost:1"\ncertificate = "gw.pem"\nkey = "gw.key"\nca = "root.pem"\n'
        f'witness = "w+1+A"\n[enrolment]\nurl = "{url}"\nretry_initial_s = 0.1\n{more}'
    )
    config = load_gateway(path, overrides)
    config.gateway.data.mkdir(exist_ok=True)
    return config


BROKER = (
    '[broker]\naddress = "localhost:1"\ncertificate = "b.pem"\nkey = "b.key"\nca = "root.pem"\n'
    'pid_file = "pid"\n'
    '[broker.mosquitto]\ncertificate = "m.pem"\nkey = "m.key"\ncrl = "m.crl"\n'
)


def test_files_that_serve_twice_are_one_pair(tmp_path: Path) -> None:
    """The broker's own pair is ours to renew where it can be told."""
    url = "https://localhost:2"
    assert list(pairs_of(load(tmp_path, url))) == ["uplink"]
    assert list(pairs_of(load(tmp_path, url, BROKER))) == ["uplink", "broker", "mosquitto"]
    away = load(tmp_path, url, BROKER.replace('pid_file = "pid"\n', ""))
    assert list(pairs_of(away)) == ["uplink", "broker"]


def test_a_factory_certificate_and_a_ca_of_the_server_s_own_are_used(tmp_path: Path) -> None:
    """Without them, the uplink's CA, and nobody who vouches."""
    more = 'ca = "est.pem"\nfactory_certificate = "f.pem"\nfactory_key = "f.key"\n'
    desk = desk_of(load(tmp_path, "https://localhost:2", more), guard=None)
    assert desk.factory is not None
    assert (desk.ca.name, desk.factory.certificate.name) == ("est.pem", "f.pem")
    plain = desk_of(load(tmp_path, "https://localhost:2"), guard=None)
    assert (plain.ca.name, plain.factory) == ("root.pem", None)


async def test_a_gateway_renews_both_and_follows_the_ca(
    registry: Registry, tmp_path: Path, lines: io.StringIO
) -> None:
    """Bundles that know the server's root take a new one; another PKI's bundle is left alone."""
    pair = registry.issue("gateway", "gw-1")
    for path, name in ((pair.certificate, "gw.pem"), (pair.key, "gw.key")):
        path.rename(tmp_path / name)
    other = create_authority(tmp_path / "other", now=now())
    (tmp_path / "root.pem").write_bytes(registry.trust.read_bytes())
    (tmp_path / "devices.pem").write_bytes(encode_bundle(other.trusted()))
    (tmp_path / "crl.pem").write_bytes((registry.folder / "ca" / "crl.pem").read_bytes())
    wanted = asyncio.Event()
    wanted.set()
    before = (tmp_path / "gw.pem").read_bytes()
    async with registry.running():
        coming = create_authority(tmp_path / "coming", now=now())
        registry.trust.write_bytes(registry.trust.read_bytes() + encode_bundle(coming.trusted()))
        await asyncio.to_thread(lambda: None)
        config = load(tmp_path, registry.url)
        renewing = asyncio.ensure_future(
            keep_renewed(config, wanted, guard=None, chance=lambda: 0.5, now_s=lambda: now().timestamp())
        )
        await until(lambda: (tmp_path / "gw.pem").read_bytes() != before)
        await until(lambda: not wanted.is_set())
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
    trusted = parse_bundle((tmp_path / "root.pem").read_bytes())
    assert set(trusted) == set(parse_bundle(registry.trust.read_bytes()))
    assert parse_bundle((tmp_path / "devices.pem").read_bytes()) == other.trusted()
    assert lines.getvalue().count("trust.renewed") == 1


async def test_nothing_is_asked_where_no_server_is_named(tmp_path: Path) -> None:
    """It ends at once."""
    config = load(tmp_path, "")
    await keep_renewed(config, asyncio.Event(), guard=None, chance=lambda: 0, now_s=lambda: 0)


async def test_a_broker_is_told_by_its_pid_file(tmp_path: Path, lines: io.StringIO) -> None:
    """One that cannot be told is said: a person has to do it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WAITING, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await process.stdout.readline()
    (tmp_path / "pid").write_text(f"{process.pid}\n")
    config = load(tmp_path, "https://localhost:2", BROKER)
    renewer = renewer_of(config, guard=None, chance=lambda: 0, now_s=lambda: 0)
    told = {keeper.name: keeper.installed for keeper in renewer._keepers}
    told["uplink"]("uplink")
    lists_of(config, guard=None, now_s=lambda: 0)._changed(tmp_path / "other.crl")
    assert process.returncode is None
    told["mosquitto"]("mosquitto")
    assert await process.wait() == 7
    for content in ("none", ""):
        (tmp_path / "pid").write_text(content)
        hang_up(tmp_path / "pid")
    lists_of(config, guard=None, now_s=lambda: 0)._changed(tmp_path / "m.crl")
    assert lines.getvalue().count("certificate.not-told") == 3


def test_the_ca_of_the_server_must_be_known(tmp_path: Path) -> None:
    """It is never the system's."""
    config = load(tmp_path, "", "", "uplink.url=", "uplink.ca=")
    with pytest.raises(OperatorError, match=r"enrolment\.ca is missing"):
        desk_of(config, guard=None)


def test_what_the_server_shows_is_written_once(tmp_path: Path) -> None:
    """A second look writes nothing; an answer without roots changes nothing."""
    ca = create_authority(tmp_path / "ca", now=now())
    bundle = tmp_path / "root.pem"
    bundle.write_bytes(encode_bundle(ca.trusted()))
    bundles = Bundles((bundle, tmp_path / "away.pem"), tmp_path / "announced.pem")
    bundles.take(ca.published(), now=now())
    first = (tmp_path / "announced.pem").stat().st_mtime_ns
    bundles.take(ca.published(), now=now())
    no_roots: list[x509.Certificate] = []
    bundles.take(no_roots, now=now())
    assert (tmp_path / "announced.pem").stat().st_mtime_ns == first
    assert not (tmp_path / "away.pem").exists()
