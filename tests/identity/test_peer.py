"""The one identity in a certificate: exactly one, well-formed, agreeing with the common name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from coldseal.errors import InputError, OperatorError
from coldseal.identity.peer import RoleError, peer, read_peer, render_urn, require_role
from tests.identity.conftest import Pki, this_moment

KEY = ec.generate_private_key(ec.SECP256R1())


def der_of(path: Path) -> bytes:
    """Read a certificate as DER."""
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)


def make(common_names: Sequence[str], uris: Sequence[str] | None) -> bytes:
    """Make a certificate with these names, as somebody else's CA might; None is without alternative names."""
    now = this_moment()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common_names])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    if uris is not None:
        names = [x509.UniformResourceIdentifier(uri) for uri in uris]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)


def test_role_name_fingerprint_and_end_are_read(pki: Pki) -> None:
    """Of a certificate that our CA made."""
    der = der_of(pki.device)
    found = peer(der)
    assert (found.role, found.name) == ("device", "sensor-1.a")
    assert found.fingerprint == hashlib.sha256(der).hexdigest()[:16]
    assert found.not_after == pki.now + timedelta(days=7)


def test_bytes_with_an_impossible_version_are_refused(pki: Pki) -> None:
    """X.509 counts versions from 0 to 2; the library has an error of its own for others."""
    der = der_of(pki.device)
    assert der.count(b"\xa0\x03\x02\x01\x02") == 1
    with pytest.raises(InputError, match="DER is"):
        peer(der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09"))


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
def test_a_serial_number_that_is_not_positive_is_refused(pki: Pki) -> None:
    """RFC 5280 4.1.2.2; the library only warns."""
    der = bytearray(der_of(pki.device))
    der[der.index(b"\xa0\x03\x02\x01\x02\x02") + 7] |= 0x80
    with pytest.raises(InputError, match=r"serialNumber is -.* expected a positive number"):
        peer(bytes(der))


def test_other_uris_beside_the_identity_do_not_matter() -> None:
    """Such as a SPIFFE id."""
    der = make(["gw"], ["spiffe://example/x", "urn:coldseal:gateway:gw"])
    assert peer(der).name == "gw"


@pytest.mark.parametrize(
    "uris",
    [
        None,
        [],
        ["https://example.com"],
        ["urn:coldseal:device:x", "urn:coldseal:operator:x"],
        ["urn:coldseal:device:x", "urn:coldseal:device:x"],
        ["urn:coldseal:root:x"],
        ["urn:coldseal:device:"],
        ["urn:coldseal:device"],
        ["urn:coldseal:device:a/b"],
        ["urn:coldseal:device:+"],
        ["urn:coldseal:device:x:y"],
        ["URN:coldseal:device:x"],
    ],
)
def test_a_certificate_without_exactly_one_well_formed_identity_has_none(uris: list[str] | None) -> None:
    """Two identities are no identity."""
    with pytest.raises(InputError, match="subjectAltName is"):
        peer(make(["x"], uris))


@pytest.mark.parametrize("common_names", [[], ["y"], ["x", "y"], ["X"]])
def test_a_common_name_that_differs_is_refused(common_names: list[str]) -> None:
    """Programs that look at one and those that look at the other must not see two holders."""
    with pytest.raises(InputError, match="commonName is"):
        peer(make(common_names, ["urn:coldseal:device:x"]))


@given(st.binary(max_size=400))
def test_bytes_that_are_no_certificate_are_refused(data: bytes) -> None:
    """Whatever they are."""
    with pytest.raises(InputError, match=r"an X\.509 certificate"):
        peer(data)


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(place=st.integers(0, 2**31), bit=st.integers(0, 7))
def test_a_flipped_bit_never_does_more_than_change_or_refuse(pki: Pki, place: int, bit: int) -> None:
    """The signature is TLS's matter; here nothing but our own error may come out."""
    der = bytearray(der_of(pki.device))
    der[place % len(der)] ^= 1 << bit
    try:
        peer(bytes(der))
    except InputError:
        return


def test_the_wrong_role_may_not_speak(pki: Pki) -> None:
    """A gateway's certificate is from the same CA, and still no device's."""
    with pytest.raises(RoleError, match="'gw-0001' is a gateway, expected a device") as caught:
        require_role(der_of(pki.gateway), "device")
    assert caught.value.verdict == "wrong-role"
    assert require_role(der_of(pki.gateway), "gateway").name == "gw-0001"


def test_no_certificate_is_no_peer() -> None:
    """Where certificates are optional."""
    with pytest.raises(InputError, match="a certificate of a device"):
        require_role(None, "device")


def test_an_identity_is_rendered_as_it_is_read() -> None:
    """The form is part of the interface."""
    assert render_urn("service", "s.example") == "urn:coldseal:service:s.example"


def test_a_file_s_first_certificate_is_the_holder(pki: Pki) -> None:
    """The issuing CA's stands behind it."""
    assert read_peer(pki.service).name == "localhost"


def test_a_file_without_certificate_is_named(tmp_path: Path) -> None:
    """Missing, or something else."""
    (tmp_path / "x.pem").write_text("no certificate", encoding="ascii")
    for name in ("x.pem", "absent.pem"):
        with pytest.raises(OperatorError, match=f"{name} cannot be read as a certificate"):
            read_peer(tmp_path / name)
