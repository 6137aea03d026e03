"""A chip is believed only where its maker's certificate says so, link by link."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from coldseal.core.attestation.quotes import AttestationError
from coldseal.core.attestation.structures import Attribute, Public, parse_public
from coldseal.errors import InputError, OperatorError
from coldseal.identity.endorsement import ENDORSEMENT_KEY, read_roots, verify_endorsement
from tests.usages import usage_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VECTORS = json.loads((Path(__file__).parent.parent / "vectors" / "attestation.json").read_bytes())
EK = parse_public(bytes.fromhex(VECTORS["ecc"]["endorsement"]))
USAGE = usage_of("key_agreement")
SIGNING = usage_of("key_cert_sign", "crl_sign")
PURPOSE = x509.ExtendedKeyUsage([ENDORSEMENT_KEY])
Extensions = Sequence[tuple[x509.ExtensionType, bool]]
OF_A_CHIP: Extensions = (
    (x509.BasicConstraints(ca=False, path_length=None), True),
    (USAGE, True),
    (PURPOSE, False),
)


def _name(common: str) -> x509.Name:
    """Give a name."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


class Maker:
    """A maker of chips: a CA, below another one or not."""

    def __init__(
        self,
        name: str,
        above: Maker | None = None,
        *,
        constraints: x509.BasicConstraints | None = None,
        usage: x509.KeyUsage | None = SIGNING,
        days: int = 100,
    ) -> None:
        """Found it."""
        self.name, self.key = _name(name), ec.generate_private_key(ec.SECP256R1())
        extensions: list[tuple[x509.ExtensionType, bool]] = [
            (constraints or x509.BasicConstraints(ca=True, path_length=None), True)
        ]
        extensions += [(usage, True)] if usage is not None else []
        issuer = above or self
        self.certificate = issuer.issue(self.name, self.key.public_key(), extensions, days=days)

    def issue(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, extensions: Extensions, *, days: int = 100
    ) -> x509.Certificate:
        """Sign a certificate."""
        builder = x509.CertificateBuilder(self.name, subject, key, x509.random_serial_number())
        builder = builder.not_valid_before(NOW - timedelta(days=1)).not_valid_after(
            NOW + timedelta(days=days)
        )
        for extension, is_critical in extensions:
            builder = builder.add_extension(extension, is_critical)
        return builder.sign(self.key, hashes.SHA256())

    def chip(self, extensions: Extensions = OF_A_CHIP, **options: int) -> bytes:
        """Certify the endorsement key of the vectors."""
        assert isinstance(EK.key, ec.EllipticCurvePublicKey)
        return self.issue(_name("chip"), EK.key, extensions, **options).public_bytes(Encoding.DER)


def _refused(certificate: bytes, roots: Sequence[x509.Certificate], key: Public = EK) -> AttestationError:
    """Give the error with which a chip is refused."""
    with pytest.raises(AttestationError) as caught:
        verify_endorsement(certificate, key, roots, now=NOW)
    return caught.value


ROOT = Maker("root")
BETWEEN = Maker("between", ROOT)


def test_a_chip_below_a_root_is_believed() -> None:
    """Directly, or with a CA between; its fingerprint is that of its key."""
    direct = verify_endorsement(ROOT.chip(), EK, [ROOT.certificate], now=NOW)
    below = verify_endorsement(BETWEEN.chip(), EK, [BETWEEN.certificate, ROOT.certificate], now=NOW)

    assert direct == below
    assert (len(direct.fingerprint), direct.model) == (64, "")


def test_maker_model_and_version_are_told() -> None:
    """As they stand in the alternative name."""
    oids = ("2.23.133.2.3", "2.23.133.2.1", "2.23.133.2.2")
    said = [
        x509.NameAttribute(x509.ObjectIdentifier(oid), value)
        for oid, value in zip(oids, ("id:1", "id:49465800", "SLB 9670"), strict=True)
    ]
    names = x509.SubjectAlternativeName([x509.DirectoryName(x509.Name(said))])
    chip = verify_endorsement(ROOT.chip((*OF_A_CHIP, (names, True))), EK, [ROOT.certificate], now=NOW)

    assert chip.model == "id:49465800 SLB 9670 id:1"


def test_a_chain_that_ends_nowhere_is_refused() -> None:
    """An unknown maker, or a CA between of which the root is not known."""
    for roots in ([], [Maker("root").certificate], [BETWEEN.certificate]):
        fault = _refused(BETWEEN.chip(), roots)
        assert (fault.verdict, "no CA that is trusted" in fault.detail) == ("foreign-endorsement", True)


@pytest.mark.parametrize(
    "maker",
    [
        pytest.param(
            Maker("x", ROOT, constraints=x509.BasicConstraints(ca=False, path_length=None)), id="no CA"
        ),
        pytest.param(Maker("x", ROOT, usage=None), id="without a usage"),
        pytest.param(Maker("x", ROOT, usage=USAGE), id="for another usage"),
    ],
)
def test_whoever_may_not_certify_certifies_nothing(maker: Maker) -> None:
    """Though the signature holds."""
    assert _refused(maker.chip(), [maker.certificate, ROOT.certificate]).verdict == "foreign-endorsement"


def test_a_chain_longer_than_its_root_allows_is_refused() -> None:
    """A root with no CA below it, or more CAs than anybody needs."""
    short = Maker("short", constraints=x509.BasicConstraints(ca=True, path_length=0))
    verify_endorsement(short.chip(), EK, [short.certificate], now=NOW)
    below = Maker("below", short)
    assert _refused(below.chip(), [below.certificate, short.certificate]).verdict == "foreign-endorsement"

    chain = [ROOT]
    for depth in range(6):
        chain.append(Maker(f"ca-{depth}", chain[-1]))
    fault = _refused(chain[-1].chip(), [each.certificate for each in chain])
    assert "more than 6 certificates" in fault.detail


def test_what_is_not_valid_now_is_refused() -> None:
    """The chip's certificate, or one above it."""
    old = Maker("old", ROOT, days=-0)
    assert "not valid now" not in _refused(ROOT.chip(), []).detail
    late = NOW + timedelta(days=200)
    with pytest.raises(AttestationError, match="'CN=chip' is not valid now"):
        verify_endorsement(ROOT.chip(), EK, [ROOT.certificate], now=late)
    with pytest.raises(AttestationError, match="'CN=old' is not valid now"):
        verify_endorsement(old.chip(), EK, [old.certificate, ROOT.certificate], now=NOW + timedelta(hours=1))


@pytest.mark.parametrize(
    "extensions",
    [
        pytest.param(
            ((USAGE, True), (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3"), b""), True)), id="u"
        ),
        pytest.param(((x509.BasicConstraints(ca=True, path_length=None), True), (USAGE, True)), id="a CA's"),
        pytest.param(
            ((USAGE, True), (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)),
            id="a client's",
        ),
        pytest.param(((SIGNING, True),), id="for signing"),
        pytest.param((), id="for nothing"),
    ],
)
def test_a_certificate_for_something_else_is_refused(extensions: Extensions) -> None:
    """By the profile of endorsement certificates."""
    assert _refused(ROOT.chip(extensions), [ROOT.certificate]).verdict == "bad-endorsement"


def test_a_certificate_that_says_only_the_least_is_taken() -> None:
    """Usage alone: the rest may be left out by the profile."""
    verify_endorsement(ROOT.chip(((USAGE, True),)), EK, [ROOT.certificate], now=NOW)


def test_a_certificate_for_another_key_is_refused() -> None:
    """Whoever shows it must be the chip that it is for."""
    other = parse_public(bytes.fromhex(VECTORS["rsa"]["endorsement"]))
    assert "another key" in _refused(ROOT.chip(), [ROOT.certificate], other).detail


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(EK._replace(attributes=EK.attributes & ~Attribute.RESTRICTED), id="unrestricted"),
        pytest.param(EK._replace(attributes=EK.attributes | Attribute.SIGN), id="signs"),
        pytest.param(EK._replace(symmetric_bits=0), id="keeps nothing"),
    ],
)
def test_a_key_that_is_no_endorsement_key_is_refused(key: Public) -> None:
    """Only a restricted one opens nothing but what was locked for the chip."""
    assert "no endorsement key" in _refused(ROOT.chip(), [ROOT.certificate], key).detail


@pytest.mark.parametrize("certificate", [b"", b"nonsense", ROOT.chip()[:-1]])
def test_what_is_no_certificate_is_refused(certificate: bytes) -> None:
    """As malformed."""
    with pytest.raises(InputError, match=r"an X\.509 certificate"):
        verify_endorsement(certificate, EK, [ROOT.certificate], now=NOW)


def test_roots_are_read_from_one_file(tmp_path: Path) -> None:
    """One that is missing or holds none is told with its cure."""
    path = tmp_path / "roots.pem"
    with pytest.raises(OperatorError, match="chips' maker"):
        read_roots(path)
    path.write_text("nothing")
    with pytest.raises(OperatorError, match="chips' maker"):
        read_roots(path)
    path.write_bytes(b"".join(each.certificate.public_bytes(Encoding.PEM) for each in (ROOT, BETWEEN)))
    assert read_roots(path) == (ROOT.certificate, BETWEEN.certificate)
