"""TLS contexts, by real handshakes: who gets in, who does not, and what a reload changes."""

from __future__ import annotations

import ssl
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context, reload, server_context
from coldseal.identity.peer import require_role
from tests.identity.conftest import Pki, this_moment


def key_of(certificate: Path) -> Path:
    """Name the key beside a certificate."""
    return certificate.with_suffix(".key")


def client_of(pki: Pki, certificate: Path) -> ssl.SSLContext:
    """Make a client context of a holder."""
    return client_context(certificate, key_of(certificate), pki.trust)


def server_of(pki: Pki, *, require: bool = True, crl: Path | None = None) -> ssl.SSLContext:
    """Make the service's context."""
    return server_context(pki.service, key_of(pki.service), pki.trust, require=require, crl=crl)


def shake(
    server: ssl.SSLContext, client: ssl.SSLContext, name: str = "localhost"
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Play a handshake between both contexts in memory; give both ends, or raise what fails."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    )
    for _ in range(6):
        for end in reversed(ends):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    for end in ends:  # in TLS 1.3 a client hears of its refusal with its first read
        try:
            end.read(1)
        except ssl.SSLWantReadError:
            continue
    return ends


def test_both_sides_see_each_other_s_identity(pki: Pki) -> None:
    """After the handshake the role is read from the certificate."""
    server, client = shake(server_of(pki), client_of(pki, pki.device))
    assert require_role(server.getpeercert(binary_form=True), "device").name == "sensor-1.a"
    assert require_role(client.getpeercert(binary_form=True), "service").name == "localhost"
    assert server.version() == "TLSv1.3"


def test_an_older_tls_is_refused(pki: Pki) -> None:
    """1.3 only, in both directions."""
    client = client_of(pki, pki.device)
    client.minimum_version = ssl.TLSVersion.TLSv1_2
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|PROTOCOL_VERSION"):
        shake(server_of(pki), client)


def test_a_client_without_certificate_is_refused_where_one_is_required(pki: Pki) -> None:
    """No unauthorised device gets in."""
    bare = ssl.create_default_context(cafile=pki.trust)
    with pytest.raises(ssl.SSLError, match=r"PEER_DID_NOT_RETURN_A_CERTIFICATE|CERTIFICATE_REQUIRED"):
        shake(server_of(pki), bare)


def test_a_client_without_certificate_passes_where_none_is_required(pki: Pki) -> None:
    """It must prove itself by a password then."""
    bare = ssl.create_default_context(cafile=pki.trust)
    server, _ = shake(server_of(pki, require=False), bare)
    assert server.getpeercert(binary_form=True) is None
    none = server_context(pki.service, key_of(pki.service), None)
    server, _ = shake(none, client_of(pki, pki.device))
    assert server.getpeercert(binary_form=True) is None


def test_a_certificate_of_another_ca_is_refused_even_where_none_is_required(pki: Pki, tmp_path: Path) -> None:
    """A wrong certificate is worse than none."""
    now = this_moment()
    other = create_authority(tmp_path, now=now).issue("device", "sensor-1.a", now=now)
    for require in (True, False):
        with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_VERIFY_FAILED|UNKNOWN_CA"):
            shake(server_of(pki, require=require), client_of(pki, other))


def test_an_expired_certificate_is_refused(pki: Pki) -> None:
    """A day too old."""
    with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_VERIFY_FAILED|CERTIFICATE_EXPIRED"):
        shake(server_of(pki), client_of(pki, pki.expired))


def test_a_device_cannot_pose_as_a_service(pki: Pki) -> None:
    """Its certificate is not for servers and names no host."""
    posing = server_context(pki.device, key_of(pki.device), pki.trust)
    with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_VERIFY_FAILED"):
        shake(posing, client_of(pki, pki.gateway))


def test_a_server_under_another_name_is_refused(pki: Pki) -> None:
    """The client asked for somebody else."""
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        shake(server_of(pki), client_of(pki, pki.device), "elsewhere.example")


def test_no_session_ticket_is_given_so_every_connection_shows_its_certificate(pki: Pki) -> None:
    """A resumed session would outlive a revocation."""
    server = server_of(pki)
    assert server.num_tickets == 0
    client = client_of(pki, pki.device)
    _, first = shake(server, client)
    assert first.session is None or not first.session.has_ticket


def test_a_revoked_certificate_is_refused_once_the_list_is_loaded(tmp_path: Path) -> None:
    """On the running context, without a restart; others get in still."""
    now = this_moment()
    authority = create_authority(tmp_path, now=now - timedelta(minutes=1))
    service = authority.issue("service", "localhost", now=now)
    devices = [authority.issue("device", name, now=now) for name in ("good", "bad")]
    pki = Pki(authority, now, service, service, devices[0], devices[1])
    crl = tmp_path / "crl.pem"
    server = server_of(pki, crl=crl)
    shake(server, client_of(pki, devices[1]))
    authority.revoke([devices[1]], now=now)
    reload(server, service, key_of(service), crl=crl)
    with pytest.raises(ssl.SSLError, match=r"CERTIFICATE_VERIFY_FAILED|CERTIFICATE_REVOKED"):
        shake(server, client_of(pki, devices[1]))
    shake(server, client_of(pki, devices[0]))


def test_a_renewed_certificate_is_shown_by_the_running_context(tmp_path: Path) -> None:
    """Old connections live on; new handshakes see the new one."""
    now = this_moment()
    authority = create_authority(tmp_path, now=now)
    service = authority.issue("service", "localhost", now=now, days=1)
    pki = Pki(authority, now, service, service, authority.issue("device", "d", now=now), service)
    server = server_of(pki)
    _, before = shake(server, client_of(pki, pki.device))
    authority.renew(service, now=now, days=5)
    reload(server, service, key_of(service))
    _, after = shake(server, client_of(pki, pki.device))
    ends = [require_role(end.getpeercert(binary_form=True), "service").not_after for end in (before, after)]
    assert ends == [now + timedelta(days=1), now + timedelta(days=5)]


def test_a_failed_reload_keeps_what_was_there(pki: Pki, tmp_path: Path) -> None:
    """A half-written file must not take the listener down."""
    server = server_of(pki)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\n", encoding="ascii")
    with pytest.raises(OperatorError, match=r"broken\.pem"):
        reload(server, broken, key_of(pki.service))
    shake(server, client_of(pki, pki.device))


def test_a_key_open_to_others_is_refused(pki: Pki, tmp_path: Path) -> None:
    """A transport key is a secret."""
    key = tmp_path / "x.key"
    key.write_bytes(key_of(pki.service).read_bytes())
    key.chmod(0o644)
    with pytest.raises(OperatorError, match="chmod 600"):
        server_context(pki.service, key, pki.trust)


def test_a_key_of_another_certificate_is_refused(pki: Pki) -> None:
    """With both files named."""
    with pytest.raises(OperatorError, match=r"localhost\.pem with .*gw-0001\.key: key values mismatch"):
        server_context(pki.service, key_of(pki.gateway), pki.trust)


def test_a_key_with_passphrase_is_refused_instead_of_asked_for(pki: Pki, tmp_path: Path) -> None:
    """A server has nobody at its terminal."""
    key = tmp_path / "x.key"
    subprocess.run(
        ["openssl", "pkey", "-in", key_of(pki.service), "-aes256", "-passout", "pass:secret", "-out", key],
        check=True,
        capture_output=True,
    )
    key.chmod(0o600)
    with pytest.raises(OperatorError, match="protected by a passphrase"):
        server_context(pki.service, key, pki.trust)


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "No such file"), ("", "no certificate"), ("x", "no certificate")]
)
def test_a_trust_file_that_is_none_is_named(
    pki: Pki, tmp_path: Path, content: str | None, reason: str
) -> None:
    """Missing, empty, or something else: never a context that trusts nobody or all."""
    path = tmp_path / "trust.pem"
    if content is not None:
        path.write_text(content, encoding="ascii")
    with pytest.raises(OperatorError, match=rf"trust\.pem.*({reason})"):
        client_context(pki.device, key_of(pki.device), path)


def test_a_leaf_is_no_ca(pki: Pki) -> None:
    """A trust file that holds only the peer's own certificate."""
    with pytest.raises(OperatorError, match="holds no CA certificate"):
        client_context(pki.device, key_of(pki.device), _leaf_alone(pki.service))


def _leaf_alone(chain: Path) -> Path:
    """Write the first certificate of a chain to a file of its own."""
    path = chain.with_name("leaf-alone")
    end = b"-----END CERTIFICATE-----\n"
    path.write_bytes(chain.read_bytes().partition(end)[0] + end)
    path.chmod(0o600)
    return path
