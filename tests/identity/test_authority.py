"""The development CA: full profiles that strict verifiers accept, nothing overwritten, nothing open."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from coldseal.errors import InputError, OperatorError
from coldseal.identity.authority import BACKDATED, LEAF_DAYS, create_authority, open_authority
from coldseal.identity.peer import ROLES, Role
from tests.identity.conftest import Pki, this_moment


def read(path: Path) -> x509.Certificate:
    """Read the first certificate of a file."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def openssl(*arguments: str | Path) -> str:
    """Run openssl, which nobody here wrote, and give what it says."""
    command = ["openssl", *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_openssl_accepts_every_leaf_with_the_strict_rules(pki: Pki) -> None:
    """The chain ends in the root, for the purpose of the role."""
    folder = pki.authority.folder
    for leaf, purpose in ((pki.service, "sslserver"), (pki.gateway, "sslserver"), (pki.device, "sslclient")):
        arguments = (
            "-x509_strict",
            "-purpose",
            purpose,
            "-CAfile",
            pki.trust,
            "-untrusted",
            folder / "ca.pem",
        )
        assert "OK" in openssl("verify", *arguments, leaf)


@pytest.mark.parametrize("role", ROLES)
def test_a_leaf_carries_the_full_profile(tmp_path: Path, role: Role) -> None:
    """Key identifiers, usages, names and the life of a week."""
    now = this_moment()
    leaf = read(create_authority(tmp_path, now=now).issue(role, "holder-1", now=now))
    found = {extension.oid: extension for extension in leaf.extensions}
    of = ExtensionOID
    basic = found[of.BASIC_CONSTRAINTS]
    usage = found[of.KEY_USAGE]
    assert (basic.critical, basic.value) == (True, x509.BasicConstraints(ca=False, path_length=None))
    assert usage.critical
    assert isinstance(usage.value, x509.KeyUsage)
    assert usage.value.digital_signature
    assert not usage.value.key_cert_sign
    assert {of.SUBJECT_KEY_IDENTIFIER, of.AUTHORITY_KEY_IDENTIFIER} <= set(found)
    assert leaf.not_valid_after_utc - leaf.not_valid_before_utc == timedelta(days=LEAF_DAYS) + BACKDATED
    names = found[of.SUBJECT_ALTERNATIVE_NAME].value
    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"urn:coldseal:{role}:holder-1"]


@pytest.mark.parametrize(
    ("role", "is_client", "is_server"),
    [
        ("device", True, False),
        ("gateway", True, True),
        ("service", False, True),
        ("operator", True, False),
    ],
)
def test_a_role_may_only_do_its_own(tmp_path: Path, role: Role, *, is_client: bool, is_server: bool) -> None:
    """A device's certificate can open no server, a service's can be no client; servers have addresses."""
    now = this_moment()
    leaf = read(create_authority(tmp_path, now=now).issue(role, "holder", now=now))
    usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert (ExtendedKeyUsageOID.CLIENT_AUTH in usages) is is_client
    assert (ExtendedKeyUsageOID.SERVER_AUTH in usages) is is_server
    assert ("localhost" in names.get_values_for_type(x509.DNSName)) is is_server


def test_a_server_has_loopback_and_the_given_names_and_addresses(pki: Pki) -> None:
    """Names as DNS names, addresses as addresses."""
    names = read(pki.gateway).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost", "gw.example"]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    assert addresses == ["127.0.0.1", "::1", "192.0.2.1"]


def test_the_issuing_ca_can_sign_leaves_and_no_further_ca(pki: Pki) -> None:
    """Path length 1 at the root, 0 below it."""
    folder = pki.authority.folder
    for name, depth in (("root", 1), ("ca", 0)):
        extension = read(folder / f"{name}.pem").extensions.get_extension_for_class(x509.BasicConstraints)
        assert (extension.critical, extension.value.path_length) == (True, depth)


def test_every_file_is_readable_by_its_owner_only(pki: Pki) -> None:
    """Keys, certificates and list; folders too."""
    for path in pki.authority.folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_second_ca_in_the_folder_is_refused_and_the_first_unharmed(tmp_path: Path) -> None:
    """A lost CA key would make every certificate worthless."""
    create_authority(tmp_path, now=this_moment())
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(OperatorError, match=r"root\.key exists"):
        create_authority(tmp_path, now=this_moment())
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_second_certificate_of_one_holder_is_refused(pki: Pki) -> None:
    """Its key is in use; `renew` is the way to a new life."""
    with pytest.raises(OperatorError, match=r"sensor-1\.a\.key exists"):
        pki.authority.issue("device", "sensor-1.a", now=pki.now)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "+", "#", "a b", "-a", "a" * 65, "ü", "a\n"])
def test_a_name_that_is_no_topic_level_is_refused(pki: Pki, name: str) -> None:
    """It would stand in topics and paths."""
    with pytest.raises(InputError, match="name is"):
        pki.authority.issue("device", name, now=pki.now)


def test_an_opened_authority_goes_on_issuing(tmp_path: Path) -> None:
    """With the key that it began with."""
    now = this_moment()
    create_authority(tmp_path, now=now)
    leaf = open_authority(tmp_path).issue("operator", "ada", now=now)
    assert "OK" in openssl(
        "verify", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "ca.pem", leaf
    )


def test_a_folder_without_ca_is_named(tmp_path: Path) -> None:
    """With the command that makes one."""
    with pytest.raises(OperatorError, match=r"ca\.pem cannot be read.*dev-ca"):
        open_authority(tmp_path)


def test_key_and_certificate_of_two_authorities_do_not_open(tmp_path: Path) -> None:
    """A folder put together from two backups."""
    now = this_moment()
    create_authority(tmp_path / "a", now=now)
    create_authority(tmp_path / "b", now=now)
    shutil.copy(tmp_path / "b" / "ca.key", tmp_path / "a" / "ca.key")
    with pytest.raises(OperatorError, match="do not belong together"):
        open_authority(tmp_path / "a")


def test_a_renewed_leaf_keeps_key_name_and_rights_and_has_a_new_life(tmp_path: Path) -> None:
    """Nothing but dates, serial and signature changes."""
    now = this_moment()
    authority = create_authority(tmp_path, now=now)
    path = authority.issue("gateway", "gw", now=now - timedelta(days=10), hosts=("gw.example",))
    old = read(path)
    authority.renew(path, now=now, days=3)
    new = read(path)
    assert new.public_key() == old.public_key()
    assert new.subject == old.subject
    assert new.not_valid_after_utc == now + timedelta(days=3)
    assert new.serial_number != old.serial_number
    for kind in (x509.SubjectAlternativeName, x509.ExtendedKeyUsage, x509.KeyUsage):
        assert new.extensions.get_extension_for_class(kind) == old.extensions.get_extension_for_class(kind)
    arguments = ("-x509_strict", "-CAfile", tmp_path / "root.pem", "-untrusted", tmp_path / "ca.pem")
    assert "OK" in openssl("verify", *arguments, path)


def test_what_is_not_of_this_ca_is_not_renewed(tmp_path: Path) -> None:
    """A certificate with another kind of key, and no certificate at all."""
    now = this_moment()
    authority = create_authority(tmp_path / "pki", now=now)
    openssl(
        *("req", "-x509", "-newkey", "ed25519", "-nodes", "-subj", "/CN=x", "-out", tmp_path / "x.pem"),
        *("-addext", "subjectAltName=URI:urn:coldseal:device:x", "-addext", "extendedKeyUsage=clientAuth"),
        *("-keyout", tmp_path / "x.key"),
    )
    with pytest.raises(OperatorError, match="is not of this CA"):
        authority.renew(tmp_path / "x.pem", now=now)
    with pytest.raises(OperatorError, match="cannot be read as a certificate"):
        authority.renew(tmp_path / "absent.pem", now=now)


def test_the_revocation_list_grows_and_counts(tmp_path: Path) -> None:
    """Who is once revoked stays so; twice is once."""
    now = this_moment()
    authority = create_authority(tmp_path, now=now)
    first, second = (authority.issue("device", name, now=now) for name in ("a", "b"))
    authority.revoke([first], now=now)
    authority.revoke([first, second], now=now + timedelta(seconds=1))
    crl = x509.load_pem_x509_crl((tmp_path / "crl.pem").read_bytes())
    assert {each.serial_number for each in crl} == {read(first).serial_number, read(second).serial_number}
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3
    assert "Certificate Revocation List" in openssl("crl", "-in", tmp_path / "crl.pem", "-noout", "-text")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Here a file stands in the way."""
    (tmp_path / "file").write_text("", encoding="ascii")
    with pytest.raises(OperatorError, match=r"file/pki cannot be made"):
        create_authority(tmp_path / "file" / "pki", now=this_moment())
