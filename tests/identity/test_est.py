"""The bodies of EST: what was written is read again, and what is weak, torn or forged is refused by name."""

from __future__ import annotations

import base64
import subprocess
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from coldseal.errors import InputError
from coldseal.identity import est
from coldseal.identity.peer import ROLES, Role
from coldseal.identity.profiles import alternative_names, hosts_of, subject
from tests.identity.conftest import Pki, this_moment

KEY = ec.generate_private_key(ec.SECP256R1())
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)
HOSTS = st.lists(st.sampled_from(["gw.example", "a-b.example", "192.0.2.1", "2001:db8::1"]), unique=True)


def signed(builder: x509.CertificateSigningRequestBuilder) -> bytes:
    """Sign a request and write it as a body."""
    return est.encode_request(builder.sign(KEY, hashes.SHA256()))


def named(*names: x509.GeneralName, common: str = "d-1") -> bytes:
    """Write a request with some names."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject(common))
    return signed(builder.add_extension(x509.SubjectAlternativeName(names), critical=False))


@given(st.sampled_from(ROLES), NAMES, HOSTS)
def test_what_a_request_asks_for_is_read_as_it_was_written(role: Role, name: str, hosts: list[str]) -> None:
    """Role, name and hosts; and its names are those that the issued certificate will have."""
    given_hosts = tuple(hosts) if role in {"gateway", "service"} else ()
    request = est.make_request(KEY, role, name, given_hosts)
    read = est.parse_request(est.encode_request(request))
    asked = est.asked_of(read)
    assert (asked.role, asked.name, set(asked.hosts)) == (role, name, set(given_hosts))
    assert est.names_of(read) == frozenset(alternative_names(role, name, given_hosts))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ec.generate_private_key(ec.SECP521R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 3072),
    ],
    ids=["p384", "p521", "ed25519", "rsa3072"],
)
def test_strong_keys_are_taken(
    key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey,
) -> None:
    """Each signs its own request."""
    request = est.parse_request(est.encode_request(est.make_request(key, "device", "d-1")))
    assert request.public_key() == key.public_key()


@pytest.mark.parametrize(
    ("key", "named_as"),
    [
        (ec.generate_private_key(ec.SECP256K1()), "secp256k1"),
        (ec.generate_private_key(ec.SECP224R1()), "secp224r1"),
        (rsa.generate_private_key(65537, 2048), "RSA of 2048 bits"),
        (dsa.generate_private_key(2048), "DSA"),
        (ed448.Ed448PrivateKey.generate(), "Ed448"),
    ],
    ids=["k1", "p224", "rsa2048", "dsa", "ed448"],
)
def test_weak_and_unusual_keys_are_refused_by_name(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | dsa.DSAPrivateKey | ed448.Ed448PrivateKey,
    named_as: str,
) -> None:
    """With what would have been right."""
    algorithm = None if isinstance(key, ed448.Ed448PrivateKey) else hashes.SHA256()
    request = x509.CertificateSigningRequestBuilder().subject_name(subject("d-1")).sign(key, algorithm)
    with pytest.raises(InputError, match="P-256") as caught:
        est.parse_request(est.encode_request(request))
    assert named_as in str(caught.value.value)


def test_a_weak_hash_is_refused() -> None:
    """SHA-224 here; SHA-1 and MD5 are the same kind of refusal."""
    request = (
        x509.CertificateSigningRequestBuilder().subject_name(subject("d-1")).sign(KEY, hashes.SHA3_256())
    )
    with pytest.raises(InputError, match="SHA-256, SHA-384"):
        est.parse_request(est.encode_request(request))


def test_every_single_bit_of_a_request_counts() -> None:
    """No flipped bit is taken, but for the count of unused bits, which nothing signs."""
    request = est.make_request(KEY, "device", "d-1")
    good = request.public_bytes(Encoding.DER)
    unused = len(good) - len(request.signature) - 1
    for bit in range(len(good) * 8):
        if bit // 8 != unused:
            changed = bytearray(good)
            changed[bit // 8] ^= 1 << bit % 8
            with pytest.raises(InputError):
                est.parse_request(base64.b64encode(bytes(changed)))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"A" * 16_385, "length"),
        (b"\xff\xfe", "body"),
        (b"====", "body"),
        (b" \r\n", "body"),
        (b"AAAA", "PKCS#10"),
    ],
    ids=["long", "binary", "padding", "empty", "not-der"],
)
def test_what_is_no_request_is_refused_by_field(body: bytes, field: str) -> None:
    """Before anything of it is believed."""
    with pytest.raises(InputError) as caught:
        est.parse_request(body)
    assert caught.value.field == field


def test_white_space_in_base64_does_not_matter() -> None:
    """RFC 8951 3."""
    body = est.encode_request(est.make_request(KEY, "device", "d-1"))
    spaced = body.replace(b"\n", b" \r\n\t")
    assert est.parse_request(spaced) == est.parse_request(body)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (named(x509.UniformResourceIdentifier("urn:coldseal:device:d-2")), "commonName"),
        (named(x509.UniformResourceIdentifier("urn:coldseal:king:d-1")), "subjectAltName"),
        (named(x509.UniformResourceIdentifier("https://x.example")), "subjectAltName"),
        (named(*(x509.UniformResourceIdentifier(f"urn:coldseal:{r}:d-1") for r in ROLES)), "subjectAltName"),
        (named(x509.RFC822Name("a@x.example")), "subjectAltName"),
        (named(x509.DNSName("x.example"), common="a/b"), "commonName"),
        (signed(x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))), "commonName"),
    ],
    ids=["two-names", "role", "uri", "four-roles", "mail", "name", "nameless"],
)
def test_names_that_contradict_or_are_unknown_are_refused(body: bytes, expected: str) -> None:
    """They might be taken for another's."""
    with pytest.raises(InputError) as caught:
        est.asked_of(est.parse_request(body))
    assert caught.value.field == expected


def test_doubled_extensions_are_refused() -> None:
    """Which of the two counts would be a guess."""
    names = x509.SubjectAlternativeName([x509.DNSName("a.example")])
    request = est.make_request(KEY, "device", "d-1")
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject("d-1"))
    builder = builder.add_extension(names, critical=False)
    builder = builder.add_extension(
        x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), names.public_bytes()), critical=False
    )
    doubled = builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.DER)
    doubled = doubled.replace(bytes.fromhex("0603551d63"), bytes.fromhex("0603551d11"))
    parsed = x509.load_der_x509_csr(doubled)
    for read in (est.asked_of, est.names_of):
        with pytest.raises(InputError, match="extensions"):
            read(parsed)
    assert est.names_of(request)


def test_a_common_name_alone_leaves_the_role_open() -> None:
    """And further names of a subject are not looked at."""
    name = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, "d-1"), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "o")]
    )
    asked = est.asked_of(
        est.parse_request(signed(x509.CertificateSigningRequestBuilder().subject_name(name)))
    )
    assert asked == est.Asked(None, "d-1", ())
    assert est.names_of(est.make_request(KEY, "device", "d-1"))
    plain = x509.CertificateSigningRequestBuilder().subject_name(name).sign(KEY, hashes.SHA256())
    assert est.names_of(plain) == frozenset()


def test_certificates_are_read_as_they_were_written(pki: Pki) -> None:
    """In PKCS#7 that openssl reads too."""
    chain = x509.load_pem_x509_certificates(pki.gateway.read_bytes())
    body = est.encode_certificates(chain)
    assert set(est.parse_certificates(body)) == set(chain)
    shown = subprocess.run(
        ["openssl", "pkcs7", "-inform", "DER", "-print_certs"],
        input=base64.b64decode(body),
        capture_output=True,
        check=True,
    )
    assert shown.stdout.count(b"BEGIN CERTIFICATE") == len(chain)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"!",
        b"AAAA",
        base64.b64encode(b"\x30\x80\x06\x09"),
        base64.b64encode(b"\x30\x00"),
        b"A" * 300_000,
    ],
    ids=range(6),
)
def test_what_is_no_certificates_is_refused(body: bytes) -> None:
    """A client takes nothing else into its trust."""
    with pytest.raises(InputError):
        est.parse_certificates(body)


def test_an_empty_answer_is_refused() -> None:
    """Certs-only PKCS#7 with no certificate in it, as openssl writes it."""
    made = subprocess.run(
        ["openssl", "crl2pkcs7", "-nocrl", "-outform", "DER"], input=b"", capture_output=True, check=True
    )
    with pytest.raises(InputError):
        est.parse_certificates(base64.b64encode(made.stdout))


@pytest.mark.parametrize(
    ("role", "hosts"),
    [
        ("device", ("x.example",)),
        ("gateway", ("*.example",)),
        ("gateway", ("a..b",)),
        ("gateway", ("-a",)),
        ("gateway", ("ä.example",)),
        ("gateway", tuple(f"h{number}.example" for number in range(17))),
    ],
    ids=["device", "wildcard", "empty-label", "hyphen", "no-ascii", "many"],
)
def test_hosts_that_no_certificate_may_carry_are_refused(role: Role, hosts: tuple[str, ...]) -> None:
    """No wildcard anywhere."""
    with pytest.raises(InputError):
        est.make_request(KEY, role, "x", hosts)


def test_a_renewal_asks_for_what_is_in_force(pki: Pki) -> None:
    """The names of a certificate, read and asked for again, are the same."""
    old = x509.load_pem_x509_certificate(pki.gateway.read_bytes())
    names = old.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    request = est.make_request(KEY, "gateway", "gw-0001", hosts_of(names))
    assert est.names_of(request) == est.names_of(old)
    assert old.not_valid_after_utc - this_moment() < timedelta(days=8)
