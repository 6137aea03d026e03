"""Who may come in: certificates, passwords, and what happens when either ends."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import suppress
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.errors import OperatorError
from coldseal.gateway.certificates import KeptCertificates, read_kept
from coldseal.gateway.sources.admission import read_revoked
from coldseal.mqtt.packets import Connect, Disconnect, PubAck, Publish, ReasonCode, Version
from coldseal.settings import Address
from tests.gateway.sources.rig import PASSWORD, Peer, Rig, Site, running


async def _secured(rig: Rig, context: ssl.SSLContext, client_id: str = "one") -> Peer:
    """Connect over TLS with a certificate alone."""
    peer = await rig.tls_peer(context)
    answer = await peer.connect(Connect(client_id))
    assert answer.reason is ReasonCode.SUCCESS
    return peer


async def test_the_certificate_says_who_it_is(rig: Rig, site: Site) -> None:
    """Its name and its fingerprint stand in each message; user name and password are not looked at."""
    peer = await rig.tls_peer(site.device("gauge"))
    await peer.connect(Connect("x", username="somebody-else", password=b"whatever"))
    assert (
        await peer.publish("coldseal/v1/lab/gauge/reading/t", b"payload", 1, packet_id=77)
        is ReasonCode.SUCCESS
    )
    (message,) = rig.intake.messages
    assert (message.device, message.topic, message.payload) == (
        "gauge",
        "coldseal/v1/lab/gauge/reading/t",
        b"payload",
    )
    assert (message.qos, message.packet_id, message.redelivered, message.refused) == (1, 77, False, "")
    assert len(message.fingerprint) == 16


async def test_the_certificates_of_those_who_are_let_in_are_kept(site: Site, tmp_path: Path) -> None:
    """By the fingerprint in their messages; that of a stranger's role is not."""
    async with running(site, keep=KeptCertificates(tmp_path).keep) as rig:
        for context in (site.device("gauge"), site.device("gauge"), site.device("peer", "gateway")):
            peer = await rig.tls_peer(context)
            with suppress(ConnectionError, asyncio.IncompleteReadError, AssertionError):
                await peer.connect(Connect("x"))
        peer = await rig.tls_peer(site.device("gauge"))
        await peer.connect(Connect("x"))
        await peer.publish("coldseal/v1/lab/gauge/reading/t", b"payload", 1)
        (message,) = rig.intake.messages
    issued = x509.load_pem_x509_certificate(site.certificate("gauge").read_bytes())
    assert x509.load_pem_x509_certificate(read_kept(tmp_path, message.fingerprint)) == issued
    assert _names(tmp_path) == [f"{message.fingerprint}.der"]


def _names(folder: Path) -> list[str]:
    """Name the files of a folder."""
    return [path.name for path in folder.iterdir()]


async def test_a_password_says_who_it_is(rig: Rig) -> None:
    """The fingerprint is empty then."""
    client = await rig.admitted(device="device-2")
    await client.publish("TopicA")
    (message,) = rig.intake.messages
    assert (message.device, message.fingerprint) == ("device-2", "")


async def test_tls_works_with_passwords_where_a_site_has_both(rig: Rig, site: Site) -> None:
    """A caller without certificate may log in over TLS."""
    context = ssl.create_default_context(cafile=site.trust)
    peer = await rig.tls_peer(context)
    answer = await peer.connect(Connect("x", username="device-1", password=PASSWORD))
    assert answer.reason is ReasonCode.SUCCESS


async def test_without_passwords_a_caller_needs_a_certificate(site: Site) -> None:
    """The handshake itself refuses."""
    async with running(site, passwords=None, plain_listen=None) as rig:
        peer = await rig.tls_peer(ssl.create_default_context(cafile=site.trust))
        peer.send(Connect("x"))
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await peer.next()
        await rig.until(lambda: rig.shown("connections_refused_total", reason="identity") == 1)
        await _secured(rig, site.device("gauge"))


async def test_a_certificate_of_another_authority_is_refused(
    site: Site, rig: Rig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Only the configured authority counts."""
    stranger = Site(tmp_path_factory.mktemp("stranger")).device("gauge")
    stranger.load_verify_locations(site.trust)
    peer = await rig.tls_peer(stranger)
    peer.send(Connect("x"))
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        await peer.next()


async def test_a_certificate_of_another_role_is_refused(rig: Rig, site: Site) -> None:
    """An operator's certificate is no device's."""
    peer = await rig.tls_peer(site.device("anna", role="operator"))
    peer.send(Connect("x"))
    with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
        await peer.next()
    await rig.until(lambda: not rig.listener.broker.connections)
    assert rig.shown("connections_refused_total", reason="identity") == 1


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2])
async def test_older_tls_is_not_spoken(rig: Rig, site: Site, version: ssl.TLSVersion) -> None:
    """Only TLS 1.3."""
    context = ssl.create_default_context(cafile=site.trust)
    context.maximum_version = version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await rig.tls_peer(context)


async def test_no_credentials_are_refused(rig: Rig) -> None:
    """0x87: neither certificate nor password."""
    for connect in (Connect("x"), Connect("x", username="device-1"), Connect("x", password=PASSWORD)):
        peer = await rig.peer()
        answer = await peer.connect(connect)
        assert answer.reason is ReasonCode.NOT_AUTHORIZED
        await peer.expect_end()


async def test_a_hundred_log_ins_at_once_are_all_answered(rig: Rig) -> None:
    """Few are checked at a time; those beyond the bound are told to come back (0x89)."""
    peers = [await rig.peer() for _ in range(100)]
    for number, peer in enumerate(peers):
        good = PASSWORD if number % 2 else b"wrong"
        peer.send(Connect(f"c{number}", username="device-1", password=good))
    answers = [(await peer.next()).reason for peer in peers]  # type: ignore[union-attr] # a CONNACK
    assert answers[0] is ReasonCode.BAD_USER_NAME_OR_PASSWORD
    assert set(answers) <= {
        ReasonCode.SUCCESS,
        ReasonCode.BAD_USER_NAME_OR_PASSWORD,
        ReasonCode.SERVER_BUSY,
        ReasonCode.QUOTA_EXCEEDED,
    }


async def test_a_revoked_device_is_sent_away_at_once(site: Site) -> None:
    """Reloading reads the list: the open connection ends, and a new one fails at the handshake."""
    crl = site.crl()
    async with running(site, passwords=None, plain_listen=None, crl=crl) as rig:
        context, other = site.device("revoked"), site.device("stays")
        peer, stays = await _secured(rig, context), await _secured(rig, other)
        site.revoke("revoked")
        rig.listener.reload()
        (farewell,) = await peer.expect_end()
        assert isinstance(farewell, Disconnect)
        assert farewell.reason is ReasonCode.NOT_AUTHORIZED
        await stays.expect_nothing()
        again = await rig.tls_peer(context)
        again.send(Connect("x"))
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await again.next()


async def test_a_renewed_certificate_is_used_for_new_connections(site: Site) -> None:
    """Open connections live on."""
    async with running(site) as rig:
        old = await _secured(rig, site.device("gauge"))
        first = old.server_certificate()
        site.renew_gateway()
        rig.listener.reload()
        new = await _secured(rig, site.device("gauge"), "two")
        assert new.server_certificate() != first
        await old.expect_nothing()


async def test_a_changed_password_file_is_read_again(site: Site) -> None:
    """By reloading, not before."""
    async with running(site) as rig:
        names = site.passwords.read_text()
        try:
            site.passwords.write_text(
                "\n".join(line for line in names.splitlines() if "device-1" not in line)
            )
            await rig.admitted()
            rig.listener.reload()
            _, answer = await rig.client("two")
            assert answer.reason is ReasonCode.BAD_USER_NAME_OR_PASSWORD
        finally:
            site.passwords.write_text(names)


async def test_a_connection_ends_with_its_certificate(site: Site) -> None:
    """A device that stays connected for weeks must renew like any other."""
    async with running(site) as rig:
        peer = await _secured(rig, site.device("gauge"))
        rig.hands.offset_ns += 8 * 24 * 3600 * 10**9
        peer.send(Publish("TopicA", b"x", 1, packet_id=1))
        await peer.expect(PubAck)
        rig.listener.tick()
        (farewell,) = await peer.expect_end()
        assert isinstance(farewell, Disconnect)
        assert farewell.reason is ReasonCode.NOT_AUTHORIZED


async def test_what_cannot_be_used_is_said_at_the_start(site: Site) -> None:
    """An address in use, and a list that is none, are named with the cure."""
    async with running(site) as rig:
        taken = Address(f"127.0.0.1:{rig.listener.plain_port}")
        with pytest.raises(OperatorError, match="cannot listen"):
            async with running(site, plain_listen=taken):
                pass
    with pytest.raises(OperatorError, match="cannot be read"):
        read_revoked(site.folder / "nothing-here")


async def test_both_versions_and_both_doors_at_once(rig: Rig, site: Site) -> None:
    """Over TLS and plain, 3.1.1 and 5, all at the same time."""
    context = site.device("gauge")
    peers = []
    for number, version in enumerate((Version.V311, Version.V5) * 2):
        peer = await rig.tls_peer(context, version)
        await peer.connect(Connect(f"tls-{number}", version))
        peers += [peer, await rig.admitted(f"plain-{number}", version=version)]
    answers = await asyncio.gather(
        *(peer.publish("TopicA", b"x", 1 + index % 2) for index, peer in enumerate(peers))
    )
    assert set(answers) == {ReasonCode.SUCCESS}
    assert len(rig.intake.messages) == 8


def test_every_list_of_a_file_counts(site: Site) -> None:
    """A file may hold the lists of several authorities, one behind the other."""
    path = site.folder / "two-lists.pem"
    path.write_bytes(site.crl().read_bytes() * 2)
    assert read_revoked(path) == read_revoked(site.crl())
    assert all(isinstance(issuer, x509.Name) for issuer, _ in read_revoked(path))
