"""The CA's register: durable lines that two programs share, a deny-list in force at once, and its lists."""

from __future__ import annotations

from copy import copy, deepcopy
from datetime import timedelta
from pathlib import Path
from typing import get_args

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coldseal.errors import InputError, OperatorError
from coldseal.identity.authority import CRL, Authority, create_authority, open_authority
from coldseal.identity.authority_folder import CONFIG, ISSUING
from coldseal.identity.issuing_key import IssuingKey, open_issuing_key
from coldseal.identity.peer import Role
from coldseal.identity.register import DENIED, ISSUED, Issued, Register, parse_serial, render_serial
from coldseal.identity.revocation import AFTER_END, parse_lists
from tests.identity.conftest import this_moment

NOW = this_moment()


def test_what_one_program_denies_another_one_sees_at_once(tmp_path: Path) -> None:
    """Without asking for it, and without a list."""
    authority = create_authority(tmp_path, now=NOW)
    other = Register(tmp_path)
    assert not other.is_denied(0x0A)
    authority.deny(["0a"], now=NOW, reason="superseded", who="qa", note="x" * 5_000)
    assert other.is_denied(0x0A)
    assert len(other.denied()["0a"].note) == 1_000
    authority.deny(["0a"], now=NOW, note="again")
    assert other.denied()["0a"].note[:1] == "x"


def test_every_certificate_is_in_the_register_before_anybody_has_it(tmp_path: Path) -> None:
    """With serial number, holder, issuer and end."""
    authority = create_authority(tmp_path, now=NOW)
    path = authority.issue("device", "d-1", now=NOW)
    leaf = x509.load_pem_x509_certificate(path.read_bytes())
    (line,) = Register(tmp_path).issued()
    assert (line.serial, line.role, line.name) == (render_serial(leaf.serial_number), "device", "d-1")
    assert line.issuer == authority.issuer.id
    assert line.not_after == int((NOW + timedelta(days=7)).timestamp())


def test_a_line_torn_by_a_power_cut_never_counted(tmp_path: Path) -> None:
    """It is not read, and makes room for the next one."""
    authority = create_authority(tmp_path, now=NOW)
    authority.deny(["0a"], now=NOW)
    with (tmp_path / DENIED).open("ab") as stream:
        stream.write(b'{"serial":"0b","t":1')
    assert set(Register(tmp_path).denied()) == {"0a"}
    authority.deny(["0c"], now=NOW)
    assert set(Register(tmp_path).denied()) == {"0a", "0c"}


@pytest.mark.parametrize("name", [ISSUED, DENIED])
def test_a_damaged_register_is_told_not_passed_over(tmp_path: Path, name: str) -> None:
    """A lost line might let a denied certificate count again."""
    (tmp_path / name).write_bytes(b"garbage\n")
    register = Register(tmp_path)
    with pytest.raises(OperatorError, match="Restore it"):
        register.issued() if name == ISSUED else register.denied()


def test_a_register_that_cannot_be_read_or_written_is_told(tmp_path: Path) -> None:
    """A folder in its place."""
    authority = create_authority(tmp_path, now=NOW)
    (tmp_path / ISSUED).mkdir()
    with pytest.raises(OperatorError, match="Make it readable"):
        authority.issue("device", "d-1", now=NOW)
    with pytest.raises(OperatorError, match="Make it readable"):
        authority.register.issued()
    with pytest.raises(OperatorError, match="cannot be written"):
        authority.register.add(Issued("0a", "device", "d-1", "", 0, 1))


def certified(authority: Authority, role: Role, *, days: int = 0) -> str:
    """Certify a key of one holder, so many days later; gives the serial number."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return render_serial(authority.certify(key, role, "d-1", now=NOW + timedelta(days=days)).serial_number)


def test_a_name_is_in_force_for_one_role_alone(tmp_path: Path) -> None:
    """An external broker knows its clients by their names: an operator called like a device would be it."""
    authority = create_authority(tmp_path, now=NOW)
    certified(authority, "device")
    other, roles = open_authority(tmp_path), get_args(Role)
    for role in set(roles) - {"device"}:
        with pytest.raises(InputError, match="the role device has it until"):
            certified(other, role)
    assert [(line.role, line.name) for line in authority.register.issued()] == [("device", "d-1")]
    certified(authority, "device")  # its own role may have it again
    serial = certified(authority, "operator", days=8)  # what the device had has ended
    with pytest.raises(InputError, match="the role operator has it until"):
        certified(authority, "device", days=8)
    authority.deny([serial], now=NOW + timedelta(days=8))
    certified(authority, "device", days=8)


def test_a_ca_without_a_broker_may_let_one_name_have_two_roles(tmp_path: Path) -> None:
    """Where `ca.toml` says so."""
    create_authority(tmp_path, now=NOW)
    paths = f'certificate = "{ISSUING}.pem"\nkey = "file:{ISSUING}.key"\n'
    (tmp_path / CONFIG).write_text(f"[ca]\none_role = false\n{paths}")
    authority = open_authority(tmp_path)
    certified(authority, "device")
    certified(authority, "operator")
    assert {line.role for line in authority.register.issued()} == {"device", "operator"}


def test_a_replaced_register_is_read_anew(tmp_path: Path) -> None:
    """As after a restore from a backup."""
    authority = create_authority(tmp_path, now=NOW)
    authority.deny(["0a", "0b"], now=NOW)
    register = Register(tmp_path)
    assert len(register.denied()) == 2
    kept = (tmp_path / DENIED).read_bytes().splitlines(keepends=True)[0]
    (tmp_path / DENIED).unlink()
    (tmp_path / DENIED).write_bytes(kept)
    assert set(register.denied()) == {"0a"}


@pytest.mark.parametrize(
    ("text", "serial"), [("0A:0b", "0a0b"), ("a0b", "0a0b"), ("f" * 40, "f" * 40), (" 1 ", "01")]
)
def test_serial_numbers_are_read_as_people_write_them(text: str, serial: str) -> None:
    """With colons or without."""
    assert parse_serial(text) == serial


@pytest.mark.parametrize("text", ["", "xyz", "0", "-1", "f" * 41])
def test_what_is_no_serial_number_is_refused(text: str) -> None:
    """At most 20 octets, above zero."""
    with pytest.raises(OperatorError, match="serial number"):
        parse_serial(text)


def test_lists_are_written_when_they_must_be_and_not_before(tmp_path: Path) -> None:
    """At half of their life, when a number was denied elsewhere, and when they are gone."""
    authority = create_authority(tmp_path, now=NOW)
    assert not authority.refresh_lists(now=NOW)
    assert not authority.refresh_lists(now=NOW + timedelta(days=3))
    assert authority.refresh_lists(now=NOW + timedelta(days=4))
    assert not authority.refresh_lists(now=NOW + timedelta(days=4))
    later = NOW + timedelta(days=4, seconds=5)
    open_authority(tmp_path).deny(["0a"], now=later)
    assert not authority.refresh_lists(now=later)
    line = (tmp_path / DENIED).read_text().replace('"0a"', '"0b"')
    (tmp_path / DENIED).write_text((tmp_path / DENIED).read_text() + line)
    assert authority.refresh_lists(now=later + timedelta(seconds=1))
    (crl,) = parse_lists((tmp_path / CRL).read_bytes())
    assert {each.serial_number for each in crl} == {0x0A, 0x0B}
    (tmp_path / CRL).unlink()
    assert authority.refresh_lists(now=later + timedelta(seconds=2))


def test_a_number_leaves_the_list_only_long_after_its_end(tmp_path: Path) -> None:
    """RFC 5280 3.3: it is still there on lists after the certificate's end."""
    authority = create_authority(tmp_path, now=NOW)
    path = authority.issue("device", "d-1", now=NOW)
    authority.revoke([path], now=NOW)
    end = NOW + timedelta(days=7)
    for at, count in ((end + timedelta(days=1), 1), (end + AFTER_END + timedelta(days=1), 0)):
        authority.deny((), now=at)
        (crl,) = parse_lists((tmp_path / CRL).read_bytes())
        assert len(list(crl)) == count
    assert not authority.refresh_lists(now=end + AFTER_END + timedelta(days=1))
    assert authority.register.denied()


def test_a_damaged_list_is_told(tmp_path: Path) -> None:
    """Not overwritten in silence."""
    authority = create_authority(tmp_path, now=NOW)
    (tmp_path / CRL).write_bytes(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
    with pytest.raises(OperatorError, match="revocation list"):
        authority.deny((), now=NOW)


def test_an_unknown_reason_is_refused(tmp_path: Path) -> None:
    """With the known ones."""
    with pytest.raises(OperatorError, match="key-compromise"):
        create_authority(tmp_path, now=NOW).deny(["0a"], now=NOW, reason="boredom")


def test_a_wrong_setting_of_a_ca_is_named(tmp_path: Path) -> None:
    """As in every configuration."""
    create_authority(tmp_path, now=NOW)
    (tmp_path / CONFIG).write_text("[days]\ndevice = 0\n")
    with pytest.raises(OperatorError, match=r"days\.device"):
        open_authority(tmp_path)


def test_a_ca_s_key_signs_with_sha_256_and_does_nothing_else(tmp_path: Path) -> None:
    """It cannot be copied out, shown or derived with."""
    create_authority(tmp_path, now=NOW)
    key = open_issuing_key(f"file:{tmp_path / 'ca.key'}", base=tmp_path)
    assert (copy(key), deepcopy(key), key.key_size, key.curve.name) == (key, key, 256, "secp256r1")
    public = key.public_key()
    public.verify(key.sign(b"x", ec.ECDSA(hashes.SHA256())), b"x", ec.ECDSA(hashes.SHA256()))
    with pytest.raises(TypeError, match="SHA-256"):
        key.sign(b"x", ec.ECDSA(hashes.SHA384()))
    with pytest.raises(TypeError, match="only signs"):
        key.exchange(ec.ECDH(), public)
    with pytest.raises(TypeError, match="only signs"):
        key.private_numbers()
    with pytest.raises(TypeError, match="only signs"):
        key.private_bytes(None, None, None)


def test_a_ca_s_key_is_p_256() -> None:
    """Whatever held it."""

    class Held:
        """A holder with another kind of key."""

        spki = (
            ed25519.Ed25519PrivateKey.generate()
            .public_key()
            .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        )

        def sign(self, data: bytes) -> bytes:
            """Sign nothing."""
            return data

    with pytest.raises(OperatorError, match="no elliptic-curve key"):
        IssuingKey(Held())
