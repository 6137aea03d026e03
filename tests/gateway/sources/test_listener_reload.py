"""The TLS door follows its files without a signal: certificate, key, CAs and list; who is inside stays."""

from __future__ import annotations

import io
import ssl
import time
from datetime import timedelta
from pathlib import Path

import pytest

from coldseal.gateway.clock import Clock
from coldseal.gateway.sources.shown import Shown
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context
from coldseal.identity.pair import Pair
from coldseal.identity.trust import encode_bundle, parse_bundle
from coldseal.identity.watched import GRACE_S
from coldseal.mqtt.packets import Connect, Disconnect, ReasonCode
from tests.gateway.sources.rig import Peer, Rig, Site, running


async def secured(rig: Rig, context: ssl.SSLContext, client_id: str = "one") -> Peer:
    """Connect with a certificate; must be let in."""
    peer = await rig.tls_peer(context)
    assert (await peer.connect(Connect(client_id))).reason is ReasonCode.SUCCESS
    return peer


async def is_refused(rig: Rig, context: ssl.SSLContext) -> bool:
    """Whether the handshake lets this one not in."""
    try:
        peer = await rig.tls_peer(context)
        peer.send(Connect("refused"))
        await peer.next()
    except (ssl.SSLError, ConnectionError, AssertionError):
        return True
    return False


async def test_a_renewed_pair_is_shown_at_the_next_tick(site: Site, lines: io.StringIO) -> None:
    """A new key with its chain, as an enrolment writes them; the open connection lives on."""
    async with running(site, passwords=None, plain_listen=None) as rig:
        stays = await secured(rig, site.device("stays"))
        other = site.authority.folder / "gateway" / "gw-2.pem"
        if not other.exists():
            site.authority.issue("gateway", "gw-2", now=site.now)
        _swap(other, site.gateway)
        rig.pass_s(1)
        came = await secured(rig, site.device("came"), "two")
        assert came.server_certificate() != stays.server_certificate()
        await stays.expect_nothing()
        assert lines.getvalue().count("certificate.reloaded") == 1
        assert "certificate.kept" not in lines.getvalue()


def _swap(one: Path, other: Path) -> None:
    """Exchange two pairs of files."""
    for path, target in ((one, other), (one.with_suffix(".key"), other.with_suffix(".key"))):
        content = path.read_bytes()
        path.write_bytes(target.read_bytes())
        target.write_bytes(content)


async def test_a_ca_that_was_taken_out_is_gone_and_one_that_came_is_there(site: Site, tmp_path: Path) -> None:
    """Roll-over of the CA: the old one, both, the new one; nobody inside is cut."""
    new = create_authority(tmp_path / "new", now=site.now)
    device = new.issue("device", "new-one", now=site.now)
    old_root, new_root = (
        parse_bundle(path.read_bytes()) for path in (site.trust, tmp_path / "new" / "root.pem")
    )
    bundle = tmp_path / "trusted.pem"
    bundle.write_bytes(encode_bundle(old_root))
    theirs = client_context(device, device.with_suffix(".key"), site.trust)
    async with running(site, passwords=None, plain_listen=None, client_ca=bundle) as rig:
        stays = await secured(rig, site.device("stays"))
        assert await is_refused(rig, theirs)
        bundle.write_bytes(encode_bundle([*old_root, *new_root]))
        rig.pass_s(1)
        among_both = [await secured(rig, theirs, "two"), await secured(rig, site.device("old-one"), "three")]
        bundle.write_bytes(encode_bundle(new_root))
        rig.pass_s(1)
        assert await is_refused(rig, site.device("old-one"))
        await secured(rig, theirs, "four")
        for peer in (stays, *among_both):
            await peer.expect_nothing()


def test_a_context_that_is_only_added_to_would_keep_the_old_ca(site: Site, tmp_path: Path) -> None:
    """Which is why each change makes a fresh one: OpenSSL takes nothing out of a running context."""
    new = create_authority(tmp_path / "new", now=site.now)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_verify_locations(site.trust)
    context.load_verify_locations(new.folder / "root.pem")
    assert len(context.get_ca_certs()) == 2


async def test_a_revoked_device_is_sent_away_without_a_signal(site: Site) -> None:
    """At the tick behind the new list."""
    crl = site.crl()
    async with running(site, passwords=None, plain_listen=None, crl=crl) as rig:
        peer, stays = await secured(rig, site.device("lost")), await secured(rig, site.device("stays"))
        site.revoke("lost")
        rig.pass_s(1)
        (farewell,) = await peer.expect_end()
        assert isinstance(farewell, Disconnect)
        assert farewell.reason is ReasonCode.NOT_AUTHORIZED
        assert await is_refused(rig, site.device("lost"))
        await stays.expect_nothing()


async def test_files_that_stay_wrong_are_said_once_and_change_nothing(site: Site, lines: io.StringIO) -> None:
    """A key that does not belong to its certificate: new callers are served with what was there."""
    good = site.gateway.read_bytes()
    async with running(site, passwords=None, plain_listen=None) as rig:
        before = await secured(rig, site.device("stays"))
        site.gateway.write_bytes(site.certificate("stays").read_bytes())
        for _ in range(round(GRACE_S) + 5):
            rig.pass_s(1)
        after = await secured(rig, site.device("came"), "two")
        assert before.server_certificate() == after.server_certificate()
        assert lines.getvalue().count("certificate.kept") == 1
        site.gateway.write_bytes(good)
        rig.pass_s(1)
        assert lines.getvalue().count("certificate.reloaded") == 1


def test_a_start_finishes_what_a_crash_left_of_a_renewal(tmp_path: Path) -> None:
    """The key came into force, the certificate not yet."""
    site = Site(tmp_path)
    pair = Pair(site.gateway, site.gateway.with_suffix(".key"))
    key = pair.next_key()
    path = site.authority.issue("gateway", "gw-9", now=site.now + timedelta(seconds=1))
    waits = pair.key.with_name(pair.key.name + ".next")
    waits.write_bytes(path.with_suffix(".key").read_bytes())
    pair.certificate.with_name(pair.certificate.name + ".next").write_bytes(path.read_bytes())
    waits.replace(pair.key)
    with pytest.raises(ssl.SSLError, match="KEY_VALUES_MISMATCH"):
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pair.certificate, pair.key)
    config = site.config()
    shown = Shown(config, site.gateway, site.gateway.with_suffix(".key"), now_s=lambda: 0.0, clock=Clock())
    assert shown.context() is shown.context()
    assert pair.key_in_force().public_key() != key.public_key()
    assert site.gateway.read_bytes() == path.read_bytes()


async def test_a_clock_in_1970_lets_devices_in_but_not_those_that_had_expired(
    site: Site, lines: io.StringIO
) -> None:
    """Whoever had expired when the own certificate was made stays out; the rest is looked at later."""
    late = site.authority.issue("device", "late", now=site.now - timedelta(days=30))
    async with running(site, passwords=None, plain_listen=None) as rig:
        rig.hands.step_ns = 1_000_000_000 - time.time_ns()
        inside = await secured(rig, site.device("woke-up"))
        assert await is_refused(rig, client_context(late, late.with_suffix(".key"), site.trust))
        rig.pass_s(1)
        await inside.expect_nothing()
        assert '"reason": "expired"' in lines.getvalue() or '"reason":"expired"' in lines.getvalue()
        rig.hands.step_ns = 400 * 86_400 * 1_000_000_000
        rig.pass_s(1)
        await inside.expect_end()
