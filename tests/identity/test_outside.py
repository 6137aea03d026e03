"""Keys and certificates from elsewhere: a CA whose key is in a token, and a PKI made by openssl alone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.errors import OperatorError
from coldseal.identity.contexts import client_context, server_context
from coldseal.identity.overlap import Begin, begin_authority
from coldseal.identity.peer import Role, require_role
from coldseal.identity.roots import create_root
from coldseal.signing.holders import make_held
from tests.identity.conftest import this_moment
from tests.identity.test_contexts import shake
from tests.signing.software_hsm import software_hsm

NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
NOW = this_moment()


def openssl(*arguments: str | Path) -> str:
    """Run openssl, which nobody here wrote."""
    command = ["openssl", *(str(each) for each in arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Outside:
    """A PKI by openssl alone, with the least that a certificate must carry."""

    def __init__(self, folder: Path) -> None:
        """Make its CA."""
        self.folder = folder
        openssl(
            *("req", "-x509", *NEW_KEY, "-subj", "/CN=outside CA", "-days", "9"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", folder / "ca.key", "-out", folder / "ca.pem"),
        )

    def issue(self, role: Role, name: str, usage: str, *hosts: str) -> Path:
        """Issue a certificate."""
        path = self.folder / f"{name}.pem"
        names = ",".join((f"URI:urn:coldseal:{role}:{name}", *hosts))
        (self.folder / "ext").write_text(
            "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n"
            f"extendedKeyUsage={usage}\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
            f"subjectAltName={names}\n"
        )
        request = self.folder / "request"
        openssl(
            "req",
            "-new",
            *NEW_KEY,
            "-keyout",
            path.with_suffix(".key"),
            "-subj",
            f"/CN={name}",
            "-out",
            request,
        )
        openssl(
            *("x509", "-req", "-in", request, "-CA", self.folder / "ca.pem", "-days", "7"),
            *("-CAkey", self.folder / "ca.key", "-extfile", self.folder / "ext", "-out", path),
        )
        path.with_suffix(".key").chmod(0o600)
        return path


def test_certificates_of_an_outside_pki_work(tmp_path: Path) -> None:
    """Both ends read each other's identity from them, under our strict contexts."""
    pki = Outside(tmp_path)
    gateway = pki.issue("gateway", "gw-1", "serverAuth,clientAuth", "DNS:localhost")
    device = pki.issue("device", "d-1", "clientAuth")
    trust = tmp_path / "ca.pem"
    server, client = shake(
        server_context(gateway, gateway.with_suffix(".key"), trust),
        client_context(device, device.with_suffix(".key"), trust),
    )
    assert require_role(server.getpeercert(binary_form=True), "device").name == "d-1"
    assert require_role(client.getpeercert(binary_form=True), "gateway").name == "gw-1"


@pytest.fixture
def root_pass(tmp_path: Path) -> str:
    """Give the reference of a passphrase."""
    path = tmp_path / "root.pass"
    path.write_text("a passphrase\n")
    path.chmod(0o600)
    return f"file:{path}"


def test_the_issuing_ca_s_key_may_be_in_a_token(tmp_path: Path, root_pass: str) -> None:
    """It signs leaves and lists there; no key file stands in the folder."""
    uri = software_hsm().new_uri()
    make_held(uri, tmp_path)
    root = create_root(tmp_path / "root", root_pass, name="acme", now=NOW)
    authority = begin_authority(tmp_path / "ca", root, Begin(key=uri), now=NOW)
    leaf = authority.issue("device", "d-1", now=NOW)
    authority.revoke([authority.issue("device", "d-2", now=NOW)], now=NOW)
    assert not list((tmp_path / "ca").glob("*.key"))
    shown = openssl(
        *("verify", "-x509_strict", "-CAfile", tmp_path / "ca" / "root.pem", "-untrusted", leaf),
        *("-crl_check", "-CRLfile", tmp_path / "ca" / "crl.pem", leaf),
    )
    assert "OK" in shown
    assert x509.load_pem_x509_certificate(leaf.read_bytes()).issuer.rfc4514_string() == "CN=coldseal CA 1"


def test_a_key_that_is_not_in_the_token_is_told(tmp_path: Path, root_pass: str) -> None:
    """Before anything is written."""
    root = create_root(tmp_path / "root", root_pass, name="acme", now=NOW)
    with pytest.raises(OperatorError):
        begin_authority(tmp_path / "ca", root, Begin(key=software_hsm().new_uri()), now=NOW)
    assert not (tmp_path / "ca" / "ca.toml").exists()
