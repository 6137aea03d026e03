"""Whether a quote holds: made by this chip, for this question, over these PCRs, and not of an earlier time.

Promises that `verify_quote` returns only what the chip's own key has signed, with an event log that replays
to it; anything else raises with a verdict of its own. Whether that is what should be booted is the matter of
`judgement`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from coldseal.core.attestation.eventlog import EventLog, parse_log, replay
from coldseal.core.attestation.structures import (
    HASHES,
    Algorithm,
    Attest,
    Attribute,
    ClockInfo,
    Public,
    QuoteInfo,
    Selection,
    Signature,
    name_of,
    parse_attest,
    parse_signature,
)
from coldseal.errors import TrustError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLOCK_LOSS_MS: Final = 2**22
"""What a chip's clock may fall back by after its power was cut: it is written down at least so often."""

ENDORSEMENT: Final = 0x4000000B
"""TPM_RH_ENDORSEMENT: under it the counts of resets are told as they are."""

_OWN: Final = Attribute.FIXED_TPM | Attribute.FIXED_PARENT | Attribute.SENSITIVE_DATA_ORIGIN
_MUST: Final = _OWN | Attribute.RESTRICTED | Attribute.SIGN
_MUST_NOT: Final = Attribute.DECRYPT | Attribute.ST_CLEAR
_DIGESTS: Final[Mapping[Algorithm, hashes.HashAlgorithm]] = {
    Algorithm.SHA256: hashes.SHA256(),
    Algorithm.SHA384: hashes.SHA384(),
    Algorithm.SHA512: hashes.SHA512(),
}
_QUESTION: Final = b"coldseal attestation v1\0"

Purpose = Literal["session", "recovery"]
"""What a quote is for: to show what was booted, or to get a certificate again as well."""


class AttestationError(TrustError):
    """What a machine says about itself does not hold.

    Args:
        verdict: the stable word for the reason.
        detail: what was found and what was expected.
    """

    def __init__(self, verdict: str, detail: str) -> None:
        """Keep both facts as attributes."""
        self.verdict = verdict
        self.detail = detail
        super().__init__(f"{verdict}: {detail}")


class Quoted(NamedTuple):
    """What a machine sends: nothing of it is believed before it is verified.

    Attributes:
        attest: TPMS_ATTEST, as the chip made it.
        signature: TPMT_SIGNATURE over that.
        values: value of each PCR.
        log: the firmware's event log; empty where there is none.
    """

    attest: bytes
    signature: bytes
    values: Mapping[int, bytes]
    log: bytes


class Expected(NamedTuple):
    """What it is held against.

    Attributes:
        key: the attestation key that is bound to this machine.
        signers: qualified names under which that key may sign.
        question: what the quote must answer, of `question`.
        pcrs: PCRs that it must cover at least.
        last: the chip's clock as it was told last; None if never.
    """

    key: Public
    signers: frozenset[bytes]
    question: bytes
    pcrs: frozenset[int]
    last: ClockInfo | None


class Verified(NamedTuple):
    """What is known now."""

    values: Mapping[int, bytes]
    log: EventLog
    clock: ClockInfo
    firmware: int


def question(gateway: str, nonce: bytes, purpose: Purpose = "session") -> bytes:
    """Give what a quote has to answer: this service's nonce, for this gateway, for this purpose."""
    parts = (purpose.encode(), gateway.encode(), nonce)
    return hashlib.sha256(_QUESTION + b"\0".join(parts)).digest()


def qualified(parent: int | bytes, key: Public) -> bytes:
    """Give the qualified name of a key below a hierarchy, or below a key of that qualified name."""
    above = parent.to_bytes(4) if isinstance(parent, int) else parent
    return name_of(key.name_digest, above + key.name)


def verify_attestation_key(key: Public) -> None:
    """Insist that a key can sign only what its own chip has made, and can never leave it.

    Raises:
        AttestationError: `bad-attestation-key`.
    """
    lacks, has = _MUST & ~key.attributes, _MUST_NOT & key.attributes
    if lacks or has:
        detail = f"lacks {lacks!r}, must not have {has!r}: such a key signs what others made up"
        raise AttestationError("bad-attestation-key", detail)
    expected = {Algorithm.ECDSA} if _is_ecc(key) else {Algorithm.RSASSA, Algorithm.RSAPSS}
    if key.scheme.algorithm not in expected or key.scheme.digest not in HASHES:
        found = f"{key.scheme.algorithm.name} with {key.scheme.digest.name}"
        raise AttestationError(
            "bad-attestation-key", f"it signs by {found}, expected ECDSA or RSA with SHA-2"
        )


def verify_signature(key: Public, content: bytes, signature: Signature) -> None:
    """Insist that a key has signed these bytes, in the one way in which it signs.

    Raises:
        AttestationError: `bad-signature`.
    """
    if (signature.scheme, signature.digest) != key.scheme:
        found = f"{signature.scheme.name} with {signature.digest.name}"
        raise AttestationError("bad-signature", f"it is by {found}, and the key does not sign so")
    digest = _DIGESTS[signature.digest]
    try:
        if isinstance(key.key, ec.EllipticCurvePublicKey):
            r, s = (int.from_bytes(number) for number in signature.numbers)
            _require_width(key.key, signature)
            key.key.verify(encode_dss_signature(r, s), content, ec.ECDSA(digest))
        elif signature.scheme is Algorithm.RSASSA:
            key.key.verify(signature.numbers[0], content, padding.PKCS1v15(), digest)
        else:
            pss = padding.PSS(padding.MGF1(digest), padding.PSS.AUTO)
            key.key.verify(signature.numbers[0], content, pss, digest)
    except InvalidSignature as fault:
        raise AttestationError("bad-signature", "the bound attestation key has not signed this") from fault


def verify_quote(quoted: Quoted, expected: Expected) -> Verified:
    """Verify a quote with its event log.

    Raises:
        InputError: a structure is malformed.
        AttestationError: it does not hold; the verdict says why.
    """
    signature = parse_signature(quoted.signature)
    verify_signature(expected.key, quoted.attest, signature)
    attest = parse_attest(quoted.attest)
    _require_question(attest, expected)
    if not isinstance(attest.attested, QuoteInfo):
        raise AttestationError("not-a-quote", "the chip stated something else than its PCRs")
    bank, pcrs = _require_pcrs(attest.attested.selections, expected.pcrs)
    if set(quoted.values) != set(pcrs):
        raise AttestationError("wrong-pcrs", f"values of {sorted(quoted.values)} for a quote of {list(pcrs)}")
    digest = hashlib.new(HASHES[signature.digest], b"".join(quoted.values[pcr] for pcr in pcrs)).digest()
    if digest != attest.attested.digest:
        raise AttestationError("wrong-values", "the values that came along are not those that were quoted")
    log = parse_log(quoted.log, bank)
    replayed = replay(log, pcrs)
    for pcr in pcrs:
        if replayed[pcr] != quoted.values[pcr]:
            detail = f"PCR {pcr} is {quoted.values[pcr].hex()}, its events make {replayed[pcr].hex()}"
            raise AttestationError("log-mismatch", detail)
    if expected.last is not None:
        verify_clock(attest.clock, expected.last)
    return Verified(dict(quoted.values), log, attest.clock, attest.firmware)


def verify_clock(clock: ClockInfo, last: ClockInfo) -> None:
    """Insist that a chip's time has gone on since it was told last.

    Raises:
        AttestationError: `clock-back`.
    """
    loss = CLOCK_LOSS_MS if clock.reset_count > last.reset_count and not clock.is_safe else 0
    counts, before = (clock.reset_count, clock.restart_count), (last.reset_count, last.restart_count)
    if counts < before or clock.clock + loss < last.clock:
        raise AttestationError(
            "clock-back", f"it was {last}, it is {clock}: cleared, or another chip's state"
        )


def _require_question(attest: Attest, expected: Expected) -> None:
    """Insist that it was signed as the bound key, for this question."""
    if attest.signer not in expected.signers:
        raise AttestationError("wrong-signer", "the key is not where it was bound: under the endorsement key")
    if attest.extra != expected.question:
        raise AttestationError("wrong-nonce", "it answers another question: replayed, or for another gateway")


def _require_pcrs(
    selections: Sequence[Selection], needed: frozenset[int]
) -> tuple[Algorithm, tuple[int, ...]]:
    """Insist on one bank with all PCRs that are needed."""
    if len(selections) != 1:
        raise AttestationError("wrong-pcrs", f"{len(selections)} banks, expected one")
    (selection,) = selections
    missing = sorted(needed - set(selection.pcrs))
    if missing or not selection.pcrs:
        raise AttestationError("wrong-pcrs", f"PCRs {missing} are missing in {list(selection.pcrs)}")
    return selection.bank, selection.pcrs


def _is_ecc(key: Public) -> bool:
    """Whether it is a key on a curve."""
    return isinstance(key.key, ec.EllipticCurvePublicKey)


def _require_width(key: ec.EllipticCurvePublicKey, signature: Signature) -> None:
    """Insist that no number of an ECDSA signature is longer than its curve's."""
    width = (key.curve.key_size + 7) // 8
    if any(len(number) > width for number in signature.numbers):
        raise AttestationError("bad-signature", f"a number is longer than {width} bytes")
