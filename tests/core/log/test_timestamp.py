"""A timestamp is believed only for its text, from an authority below a trusted root, and in its one form."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from coldseal.core.log import cms, der, timestamp
from coldseal.core.log.timestamp import BadTimestampError, parse_response, parse_roots, verify_timestamp
from coldseal.errors import InputError
from tests.core.log.stamps import (
    CONTENT_TYPE,
    MESSAGE_DIGEST,
    MOMENT,
    NO_SIGNING,
    RSA,
    SHA256,
    SIGNING_CERTIFICATE,
    SIGNING_CERTIFICATE_V2,
    STAMPING,
    TEXT,
    USAGE,
    Holder,
    Stamp,
    algorithm,
    attribute,
    authority,
    holder,
    names,
    octets,
    root,
)

DATA = der.object_id("1.2.840.113549.1.7.1")
EXTENSION = der.object_id("1.2.3.5")
NULL = der.write(der.NULL)


@cache
def trusted() -> Holder:
    """Give the root that is trusted."""
    return root()


@cache
def good() -> Stamp:
    """Give a stamp that holds."""
    return Stamp.by(authority(trusted()))


def verify(stamp: Stamp, *roots: Holder, nonce: int | None = None) -> timestamp.Timestamp:
    """Verify a stamp over the text."""
    held = [each.certificate for each in roots or (trusted(),)]
    return verify_timestamp(stamp.response(), TEXT, held, nonce=nonce)


def extensions(*critical: bytes) -> bytes:
    """Make a row of extensions of what is signed."""
    return der.write(der.CONTEXT + 1, der.write(der.SEQUENCE, EXTENSION, *critical, octets(b"")))


def test_a_good_one_gives_moment_and_authority() -> None:
    """Both are signed."""
    assert verify(good()) == timestamp.Timestamp(MOMENT, "CN=tsa")


@pytest.mark.parametrize(
    "changes",
    [
        {"nonce": der.write_integer(5)},
        {"digest": algorithm(SHA256, NULL)},
        {"behind": extensions()},
        {"nonce": der.TRUE + der.write_integer(5)},
        {"nonce": der.write(der.SEQUENCE, der.write_integer(1)), "behind": der.write(der.CONTEXT, NULL)},
        {"status": der.write(der.SEQUENCE, der.write_integer(1))},
    ],
)
def test_what_may_be_there_or_not(changes: dict[str, object]) -> None:
    """Null parameters, accuracy, order, name, an extension that nobody must understand."""
    assert verify(good().but(**changes)).t == MOMENT


def test_the_nonce_ties_an_answer_to_its_request() -> None:
    """Where the request is still known."""
    stamp = good().but(nonce=der.write_integer(2**127))

    assert verify(stamp, nonce=2**127).t == MOMENT
    for answer in (stamp, good()):
        with pytest.raises(BadTimestampError, match="another request"):
            verify(answer, nonce=5)


def test_another_text_is_not_stamped() -> None:
    """Nor is the same one under another hash."""
    with pytest.raises(BadTimestampError, match="another text"):
        verify_timestamp(good().response(), TEXT + b"\n", [trusted().certificate])
    with pytest.raises(BadTimestampError, match="another text"):
        verify(good().but(imprint_algorithm=der.object_id("2.16.840.1.101.3.4.2.8")))


def test_a_refusal_says_why() -> None:
    """In the authority's words."""
    words = der.write(der.SEQUENCE, der.write(der.UTF8, b"too busy"), der.write(der.UTF8, b"later"))
    failure = der.write(der.BIT_STRING, b"\x00\x80")
    said = der.write(der.SEQUENCE, der.write(der.SEQUENCE, der.write_integer(2), words, failure))
    plain = der.write(der.SEQUENCE, der.write(der.SEQUENCE, der.write_integer(3)))

    assert parse_response(said) == (2, "too busy; later; failure 80", None)
    assert parse_response(plain) == (3, "status 3", None)
    with pytest.raises(BadTimestampError, match="refused: too busy"):
        verify_timestamp(said, TEXT, [trusted().certificate])


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (bytes(timestamp.MAX_RESPONSE + 1), "length"),
        (b"", "tag"),
        (der.write(der.SEQUENCE, der.write(der.SEQUENCE, der.write_integer(0))), "token"),
    ],
)
def test_a_malformed_response_is_refused(raw: bytes, named: str) -> None:
    """Before anything in it is looked at."""
    with pytest.raises(InputError, match=named):
        parse_response(raw)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"version": 2}, "version"),
        ({"time": b"20261122052348"}, "time"),
        ({"behind": extensions(der.TRUE)}, "critical extension"),
        ({"behind": der.write(der.CONTEXT + 2)}, "the end"),
        ({"signed_type": DATA}, "type"),
        ({"content_type": DATA}, "content type"),
        ({"signers": 0}, "signers"),
        ({"signers": 2}, "signers"),
        ({"certificates": (b"\x30\x00",)}, "certificate"),
        ({"digest": algorithm(der.object_id("1.3.14.3.2.26"))}, "hash"),
        ({"digest": algorithm(SHA256, octets(b""))}, "parameters"),
        ({"signing": algorithm(RSA)}, "signature"),
        ({"attributes": {DATA: attribute(CONTENT_TYPE, NULL)}}, "attribute"),
        ({"attributes": {DATA: attribute(DATA)}}, "attribute"),
        ({"attributes": {DATA: attribute(DATA, NULL, NULL)}}, "attribute"),
    ],
)
def test_a_token_of_another_form_is_refused(changes: dict[str, object], named: str) -> None:
    """Though its signature would be good."""
    with pytest.raises(InputError, match=named):
        verify(good().but(**changes))


def test_too_many_certificates_are_refused() -> None:
    """A chain has few, and each costs time."""
    raw = good().signer.raw

    with pytest.raises(InputError, match="certificates"):
        verify(good().but(certificates=(raw,) * (cms.MAX_CERTIFICATES + 1)))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"signature": b"no signature"}, "does not verify"),
        ({"certificates": ()}, "did not come along"),
        ({"attributes": {CONTENT_TYPE: b""}}, "another type"),
        ({"attributes": {CONTENT_TYPE: attribute(CONTENT_TYPE, DATA)}}, "another type"),
        ({"attributes": {MESSAGE_DIGEST: b""}}, "other content"),
        ({"attributes": {MESSAGE_DIGEST: attribute(MESSAGE_DIGEST, octets(bytes(32)))}}, "other content"),
        ({"attributes": {SIGNING_CERTIFICATE_V2: b""}}, "which certificate"),
        (
            {"attributes": {SIGNING_CERTIFICATE_V2: attribute(SIGNING_CERTIFICATE_V2, names(b"other"))}},
            "another certificate",
        ),
    ],
)
def test_a_signature_for_something_else_does_not_count(changes: dict[str, object], named: str) -> None:
    """RFC 5652 and RFC 5816 name what it must be about."""
    with pytest.raises(BadTimestampError, match=named):
        verify(good().but(**changes))


def test_the_certificate_may_be_named_by_other_hashes() -> None:
    """SHA-1 in the first version of the attribute; in the second, one that is named."""
    raw = good().signer.raw
    first = der.write(der.SEQUENCE, der.write(der.SEQUENCE, octets(hashlib.sha1(raw).digest())))  # noqa: S324 -- as v1 has it
    old = {
        SIGNING_CERTIFICATE_V2: b"",
        SIGNING_CERTIFICATE: attribute(SIGNING_CERTIFICATE, der.write(der.SEQUENCE, first)),
    }
    new = {SIGNING_CERTIFICATE_V2: attribute(SIGNING_CERTIFICATE_V2, names(raw, algorithm(SHA256)))}

    assert verify(good().but(attributes=old)).t == MOMENT
    assert verify(good().but(attributes=new)).t == MOMENT


def test_rsa_is_read_too_but_not_a_short_key_or_another_kind() -> None:
    """2048 bits or more; Ed25519 is none of RFC 3161's."""
    for key, signing in (
        (rsa.generate_private_key(65537, 2048), algorithm(RSA, NULL)),
        (rsa.generate_private_key(65537, 2048), algorithm(der.object_id("1.2.840.113549.1.1.11"), NULL)),
    ):
        assert verify(Stamp.by(authority(trusted(), key=key)).but(signing=signing)).tsa == "CN=tsa"
    short = rsa.generate_private_key(65537, 1024)  # noqa: S505 -- refused is what it is for
    for weak in (short, ed25519.Ed25519PrivateKey.generate()):
        with pytest.raises(InputError, match="2048"):
            verify(Stamp.by(authority(trusted(), key=weak)).but(signing=algorithm(RSA)))


@pytest.mark.parametrize(
    ("extended", "is_critical"),
    [
        (None, True),
        (STAMPING, False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), True),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING, ExtendedKeyUsageOID.CODE_SIGNING]), True),
    ],
)
def test_only_a_timestamp_authority_may_stamp(
    extended: x509.ExtendedKeyUsage | None, *, is_critical: bool
) -> None:
    """RFC 3161 2.3: for this and nothing else, and critical."""
    other = holder("tsa", trusted(), extended=extended, is_critical=is_critical)

    with pytest.raises(BadTimestampError, match="not for timestamps alone"):
        verify(Stamp.by(other))


def test_a_stranger_s_root_is_not_trusted() -> None:
    """Also not when it has the same name, or came along."""
    stranger = root()
    stamp = Stamp.by(authority(stranger), stranger)

    with pytest.raises(BadTimestampError, match="no chain"):
        verify(stamp)
    assert verify(stamp, trusted(), stranger).t == MOMENT


def test_an_authority_may_be_trusted_itself() -> None:
    """Its certificate is its own root then."""
    assert verify(good(), good().signer).t == MOMENT


def test_a_chain_leads_over_others_that_came_along() -> None:
    """In any order, and beside certificates that lead nowhere."""
    upper = holder("upper", trusted(), is_ca=True, usage=USAGE)
    lower = holder("lower", upper, is_ca=True, path_length=0)
    tsa = authority(lower)

    stamp = Stamp.by(tsa, root("lower"), root("upper"), upper, lower)
    assert verify(stamp).t == MOMENT
    assert verify(stamp.but(certificates=stamp.certificates[::-1])).t == MOMENT
    with pytest.raises(BadTimestampError, match="no chain"):
        verify(Stamp.by(tsa, lower))


@pytest.mark.parametrize(
    "changes",
    [
        {"is_ca": None},
        {"is_ca": False},
        {"is_ca": True, "usage": NO_SIGNING},
        {"is_ca": True, "end": MOMENT - timedelta(seconds=1)},
        {"is_ca": True, "begin": MOMENT + timedelta(seconds=1)},
        {"is_ca": True, "algorithm": hashes.SHA224()},
        {"is_ca": True, "others": ((x509.NameConstraints([x509.DNSName("a.example")], None), True),)},
    ],
)
def test_a_certificate_that_may_not_issue_breaks_the_chain(changes: dict[str, Any]) -> None:
    """No CA, not at that time, with a weak hash, or with a condition that we do not understand."""
    middle = holder("middle", trusted(), **changes)

    with pytest.raises(BadTimestampError, match="no chain"):
        verify(Stamp.by(authority(middle), middle))


def test_a_chain_is_as_long_as_its_certificates_allow() -> None:
    """Each may say how many CAs there may be below it; and there is a limit in any case."""
    upper = holder("upper", trusted(), is_ca=True, path_length=0)
    lower = holder("lower", upper, is_ca=True)
    with pytest.raises(BadTimestampError, match="no chain"):
        verify(Stamp.by(authority(lower), lower, upper))

    chain = [trusted()]
    for number in range(cms.MAX_CHAIN - 1):
        chain.append(holder(f"ca {number}", chain[-1], is_ca=True))
    assert verify(Stamp.by(authority(chain[-1]), *chain[1:])).t == MOMENT
    chain.append(holder("one more", chain[-1], is_ca=True))
    with pytest.raises(BadTimestampError, match="no chain"):
        verify(Stamp.by(authority(chain[-1]), *chain[1:]))


def test_an_authority_out_of_its_time_stamps_nothing() -> None:
    """The moment of the stamp counts, not today."""
    late = holder("tsa", trusted(), extended=STAMPING, end=MOMENT - timedelta(days=1))

    with pytest.raises(BadTimestampError, match="no chain"):
        verify(Stamp.by(late))


def test_a_root_of_another_kind_of_key_is_passed_over() -> None:
    """Ed25519 has no hash of its own that we could judge."""
    odd = holder("odd", key=ed25519.Ed25519PrivateKey.generate(), is_ca=True, algorithm=None)

    with pytest.raises(BadTimestampError, match="no chain"):
        verify(Stamp.by(authority(odd_issuer(odd))), odd)


def odd_issuer(odd: Holder) -> Holder:
    """Give a CA below that root, so that a certificate is signed without a hash."""
    return holder("below", odd, is_ca=True, algorithm=None)


def test_roots_are_read_from_pem() -> None:
    """Several in one file; no other kind of file, and not without an end."""
    pem = [root(str(number)).certificate.public_bytes(Encoding.PEM) for number in range(2)]

    assert len(parse_roots(b"".join(pem))) == 2
    for wrong in (b"", b"no PEM", pem[0].replace(b"M", b"N", 3)):
        with pytest.raises(InputError, match="PEM"):
            parse_roots(wrong)
    with pytest.raises(InputError, match="number"):
        parse_roots(pem[0] * (timestamp.MAX_ROOTS + 1))


@pytest.mark.filterwarnings("ignore:Parsed a serial number")
def test_one_changed_byte_never_gives_another_moment_or_authority() -> None:
    """It is refused, or it was in a part that says nothing."""
    whole = good().response()
    refused = 0
    for place in range(len(whole)):
        for change in (0x01, 0xFF):
            raw = bytearray(whole)
            raw[place] ^= change
            try:
                found = verify_timestamp(bytes(raw), TEXT, [trusted().certificate])
            except (InputError, BadTimestampError):
                refused += 1
            else:
                assert found == timestamp.Timestamp(MOMENT, "CN=tsa")
    assert refused > 1.9 * len(whole)


def test_a_key_on_another_curve_is_read_as_well() -> None:
    """P-384 with SHA-256."""
    assert verify(Stamp.by(authority(trusted(), key=ec.generate_private_key(ec.SECP384R1())))).t == MOMENT
