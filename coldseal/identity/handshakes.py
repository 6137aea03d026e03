"""Names why a TLS handshake failed or a certificate does not count, in words that never change.

Promises one name for each kind of failure, whatever the TLS library calls it in its version. Decides nothing:
whoever asks has refused already.
"""

from __future__ import annotations

import ssl
from enum import StrEnum
from typing import Final

from coldseal.errors import InputError, TrustError
from coldseal.identity.peer import RoleError

MAX_DETAIL: Final = 200
"""Characters of what the library said that are kept."""


class Reason(StrEnum):
    """Why a caller was turned away at the handshake, or directly behind it."""

    PROTOCOL = "protocol"
    NOT_TLS = "not-tls"
    NO_CERTIFICATE = "no-certificate"
    AUTHORITY = "authority"
    SELF_SIGNED = "self-signed"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation-unknown"
    NAME = "name"
    PURPOSE = "purpose"
    WEAK = "weak"
    SIGNATURE = "signature"
    PATH_LENGTH = "path-length"
    CHAIN_SIZE = "chain-size"
    NOT_A_CA = "not-a-ca"
    CERTIFICATE = "certificate"
    ROLE = "role"
    IDENTITY = "identity"
    PROOF = "proof"
    ALTERED = "altered"
    NEGOTIATION = "negotiation"
    MALFORMED = "malformed"
    PEER_ALERT = "peer-alert"
    TIMEOUT = "timeout"
    CLOSED = "closed"


class ExpiredError(TrustError):
    """A certificate has expired, which the TLS library was not asked."""

    verdict = "expired"

    def __init__(self) -> None:
        """Say so in the library's words."""
        super().__init__("certificate has expired")


# OpenSSL's X509_V_ERR_ codes, x509_vfy.h
_CHAIN: Final = {
    **dict.fromkeys((2, 20, 21, 27, 28), Reason.AUTHORITY),
    **dict.fromkeys((18, 19), Reason.SELF_SIGNED),
    9: Reason.NOT_YET_VALID,
    10: Reason.EXPIRED,
    23: Reason.REVOKED,
    **dict.fromkeys((3, 5, 8, 11, 12, 33, 35, 36, 44, 54), Reason.REVOCATION_UNKNOWN),
    **dict.fromkeys((62, 63, 64), Reason.NAME),
    26: Reason.PURPOSE,
    **dict.fromkeys((66, 67, 68, 76, 94), Reason.WEAK),
    **dict.fromkeys((4, 6, 7, 77, 78), Reason.SIGNATURE),
    **dict.fromkeys((25, 38), Reason.PATH_LENGTH),
    22: Reason.CHAIN_SIZE,
    **dict.fromkeys((24, 32, 37, 79), Reason.NOT_A_CA),
}
# OpenSSL's names of reasons, sslerr.h; what is not here is a malformed or unexpected message
_LIBRARY: Final = {
    **dict.fromkeys(("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "INAPPROPRIATE_FALLBACK"), Reason.PROTOCOL),
    **dict.fromkeys(
        ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "WRONG_SSL_VERSION"), Reason.NOT_TLS
    ),
    **dict.fromkeys(("PEER_DID_NOT_RETURN_A_CERTIFICATE", "NO_CERTIFICATE_RETURNED"), Reason.NO_CERTIFICATE),
    **dict.fromkeys(
        ("EXCESSIVE_MESSAGE_SIZE", "CERTIFICATE_TOO_LONG", "EXCESSIVE_RECORD_SIZE"), Reason.CHAIN_SIZE
    ),
    **dict.fromkeys(
        ("BAD_SIGNATURE", "DIGEST_CHECK_FAILED", "WRONG_SIGNATURE_TYPE", "WRONG_CURVE"), Reason.PROOF
    ),
    **dict.fromkeys(("DECRYPTION_FAILED_OR_BAD_RECORD_MAC", "BAD_RECORD_MAC"), Reason.ALTERED),
    **dict.fromkeys(
        (
            "NO_SHARED_CIPHER",
            "NO_SHARED_GROUP",
            "NO_SHARED_GROUPS",
            "NO_SUITABLE_KEY_SHARE",
            "NO_SUITABLE_GROUPS",
            "NO_SUITABLE_SIGNATURE_ALGORITHM",
            "NO_SHARED_SIGNATURE_ALGORITHMS",
        ),
        Reason.NEGOTIATION,
    ),
    **dict.fromkeys(("UNEXPECTED_EOF_WHILE_READING",), Reason.CLOSED),
}


def reason_of(error: Exception) -> Reason:
    """Name why a handshake failed, or why a certificate that TLS accepted does not count."""
    if isinstance(error, RoleError | ExpiredError):
        return Reason.ROLE if isinstance(error, RoleError) else Reason.EXPIRED
    if isinstance(error, InputError):
        return Reason.IDENTITY
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CHAIN.get(getattr(error, "verify_code", 0), Reason.CERTIFICATE)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return Reason.CLOSED
    if isinstance(error, ssl.SSLError):
        return _library(str(getattr(error, "reason", None) or ""))
    is_late = isinstance(error, TimeoutError) or "taking longer" in str(error)
    return Reason.TIMEOUT if is_late else Reason.CLOSED


def detail_of(error: Exception) -> str:
    """Give what the library said, for a person who looks closer; bounded."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = getattr(error, "verify_message", "") or str(error)
    elif isinstance(error, ssl.SSLError):
        said = str(getattr(error, "reason", None) or error).lower().replace("_", " ")
    else:
        said = str(error) or "the connection ended"
    return said[:MAX_DETAIL]


def _library(said: str) -> Reason:
    """Name what the library says of the protocol itself."""
    if "_ALERT_" in said:
        return Reason.PEER_ALERT
    return _LIBRARY.get(said, Reason.MALFORMED)
