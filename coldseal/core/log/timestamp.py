"""Timestamps (RFC 3161): a stranger's signed word that a checkpoint existed at a moment.

What is stamped is SHA-256 of the checkpoint's text, its three lines. `verify_timestamp` raises unless a stamp
is for that text, from a timestamp authority below one of the given roots, whole and in its one form. Whoever
asks brings the nonce, and carries request and response.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from coldseal.core.log import cms, der
from coldseal.core.log.der import Fields
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

MAX_RESPONSE: Final = 65_535
MAX_ROOTS: Final = 64
NONCE_BYTES: Final = 16
REQUEST_TYPE: Final = "application/timestamp-query"
RESPONSE_TYPE: Final = "application/timestamp-reply"

_WHERE: Final = "timestamp"
_TST_INFO: Final = der.object_id("1.2.840.113549.1.9.16.1.4")
_GRANTED: Final = frozenset((0, 1))
_VERSION: Final = 1
_MOST_SHOWN: Final = 200


class BadTimestampError(TrustError):
    """A timestamp does not prove what it is kept for."""

    verdict = "bad-timestamp"

    def __init__(self, reason: str) -> None:
        """Keep the reason."""
        self.reason = reason
        super().__init__(f"the timestamp does not hold: {reason}")


class Response(NamedTuple):
    """What an authority answered.

    Attributes:
        status: 0 and 1 grant, everything else refuses.
        reason: what it says about a refusal, in its own words.
        token: the signed token; only where granted.
    """

    status: int
    reason: str
    token: bytes | None


@dataclass(frozen=True, slots=True)
class Timestamp:
    """A timestamp that holds.

    Attributes:
        t: the moment, UTC.
        tsa: the authority: the subject of its certificate, as RFC 4514 writes it.
    """

    t: datetime
    tsa: str


class _Info(NamedTuple):
    """What a token says."""

    imprint: bytes
    t: datetime
    nonce: int | None


def encode_request(text: bytes, nonce: int) -> bytes:
    """Make the request for a timestamp over a checkpoint's text, with the authority's certificates.

    Args:
        text: the text of the note, its three lines.
        nonce: up to 16 random bytes as a number; the answer repeats it.
    """
    return der.write(
        der.SEQUENCE, der.write_integer(_VERSION), _imprint(text), der.write_integer(nonce), der.TRUE
    )


def parse_response(data: bytes) -> Response:
    """Read an authority's answer; nothing is verified yet.

    Raises:
        InputError: it is too long, malformed, or grants without a token.
    """
    if len(data) > MAX_RESPONSE:
        raise InputError(_WHERE, "length", len(data), f"at most {MAX_RESPONSE} bytes")
    fields = Fields(_WHERE, der.read(_WHERE, data, der.SEQUENCE).content)
    info = Fields(_WHERE, fields.take(der.SEQUENCE).content)
    token = fields.find(der.SEQUENCE)
    fields.end()
    status = der.read_integer(_WHERE, info.take(der.INTEGER))
    said = info.find(der.SEQUENCE)
    failure = info.find(der.BIT_STRING)
    info.end()
    if status not in _GRANTED:
        words = [] if said is None else [each.content for each in der.split(_WHERE, said.content)]
        words += [] if failure is None else [b"failure " + failure.content[1:].hex().encode()]
        reason = b"; ".join(words).decode(errors="replace")[:_MOST_SHOWN]
        return Response(status, reason or f"status {status}", None)
    if token is None:
        raise InputError(_WHERE, "token", None, "a token beside the grant")
    return Response(status, "", token.raw)


def verify_timestamp(
    response: bytes, text: bytes, roots: Collection[x509.Certificate], *, nonce: int | None = None
) -> Timestamp:
    """Check a timestamp over a checkpoint's text.

    Args:
        response: the authority's answer, as it was kept.
        text: the text of the note.
        roots: certificates of authorities, or of those who certify them, that are trusted.
        nonce: the request's, where it is still known.

    Raises:
        InputError: the response is malformed.
        BadTimestampError: it refuses, is for something else, or nobody trusted has signed it.
    """
    answer = parse_response(response)
    if answer.token is None:
        raise BadTimestampError(f"the authority refused: {answer.reason}")
    try:
        signed = cms.open_signed(_WHERE, answer.token, _TST_INFO)
        info = _parse_info(signed.content)
        if info.imprint != _imprint(text):
            raise BadTimestampError("it is for another text")
        if nonce is not None and info.nonce != nonce:
            raise BadTimestampError("it answers another request")
        _require_authority(signed.signer)
        cms.require_chain(signed, roots, info.t)
    except cms.SignerError as fault:
        raise BadTimestampError(str(fault)) from fault
    return Timestamp(info.t, signed.signer.subject.rfc4514_string())


def parse_roots(pem: bytes) -> tuple[x509.Certificate, ...]:
    """Read the certificates that are trusted, as PEM.

    Raises:
        InputError: there is none, or too many, or one is malformed.
    """
    try:
        found = tuple(x509.load_pem_x509_certificates(pem))
        for each in found:
            _ = each.extensions  # read now, so that later nothing fails
    except cms.UNREADABLE as fault:
        raise InputError(
            "certificates", "PEM", str(fault), "certificates of timestamp authorities"
        ) from fault
    if len(found) > MAX_ROOTS:
        raise InputError("certificates", "number", len(found), f"at most {MAX_ROOTS}")
    return found


def _imprint(text: bytes) -> bytes:
    """Give the message imprint of a text: which hash, and the hash."""
    digest = hashlib.sha256(text).digest()
    algorithm = der.write(der.SEQUENCE, cms.SHA256, der.write(der.NULL))
    return der.write(der.SEQUENCE, algorithm, der.write(der.OCTET_STRING, digest))


def _parse_info(data: bytes) -> _Info:
    """Read what was signed (RFC 3161 2.4.2)."""
    fields = Fields(_WHERE, der.read(_WHERE, data, der.SEQUENCE).content)
    version = der.read_integer(_WHERE, fields.take(der.INTEGER))
    if version != _VERSION:
        raise InputError(_WHERE, "version", version, str(_VERSION))
    fields.take(der.OBJECT)  # the authority's policy: whoever trusts the root trusts it
    imprint = Fields(_WHERE, fields.take(der.SEQUENCE).content)
    algorithm = cms.read_algorithm(_WHERE, imprint.take(der.SEQUENCE))
    digest = imprint.take(der.OCTET_STRING).raw
    imprint.end()
    der.read_integer(_WHERE, fields.take(der.INTEGER))
    moment = der.read_time(_WHERE, fields.take(der.GENERALIZED_TIME))
    fields.find(der.SEQUENCE)  # accuracy
    ordering, nonce = fields.find(der.BOOLEAN), fields.find(der.INTEGER)
    if ordering is not None:
        der.read_boolean(_WHERE, ordering)
    number = None if nonce is None else der.read_integer(_WHERE, nonce)
    fields.find(der.CONTEXT)  # the authority's name: the certificate's counts
    extensions = fields.find(der.CONTEXT + 1)
    fields.end()
    if extensions is not None:
        _require_understood(extensions.content)
    plain = der.write(der.SEQUENCE, algorithm, der.write(der.NULL))  # null may be left out
    return _Info(der.write(der.SEQUENCE, plain, digest), moment, number)


def _require_understood(content: bytes) -> None:
    """Refuse an extension that must be understood: we know none."""
    for each in der.split(_WHERE, content):
        fields = Fields(_WHERE, each.content)
        name = fields.take(der.OBJECT).raw
        critical = fields.find(der.BOOLEAN)
        if critical is not None and der.read_boolean(_WHERE, critical):
            raise InputError(_WHERE, "critical extension", name.hex(), "none")


def _require_authority(certificate: x509.Certificate) -> None:
    """Check that a certificate is for timestamps, and for nothing else (RFC 3161 2.3)."""
    for each in certificate.extensions:
        if isinstance(each.value, x509.ExtendedKeyUsage) and each.critical:
            if list(each.value) == [ExtendedKeyUsageOID.TIME_STAMPING]:
                return
            break
    raise BadTimestampError("its signer's certificate is not for timestamps alone")
