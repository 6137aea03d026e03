"""What gateway and service say to each other about a chip: canonical JSON, one form for each message.

Promises that what one end writes the other reads, and that anything else is refused by its field. Nothing in
a message is verified here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.attestation.eventlog import MAX_LOG
from coldseal.core.attestation.quotes import Quoted
from coldseal.core.attestation.structures import PCRS
from coldseal.core.log import canonical
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

MEDIA_TYPE: Final = "application/vnd.coldseal.attestation+json"
MAX_BODY: Final = 2 * MAX_LOG
"""Bytes of one message: the longest log as base64, and what goes with it."""

_WHERE: Final = "attestation"
_DIGEST_SIZES: Final = {32, 48, 64}


class Enrolment(NamedTuple):
    """A gateway shows its chip: certificate (DER) and public areas (TPM2B_PUBLIC)."""

    certificate: bytes
    endorsement: bytes
    key: bytes


class Challenge(NamedTuple):
    """What only that chip can open: TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET."""

    blob: bytes
    secret: bytes


class Standing(NamedTuple):
    """How the gateway stands: the verdict, the reference it was held against, and what differs."""

    verdict: str
    reference: str
    changes: tuple[str, ...]


def encode_enrolment(message: Enrolment) -> bytes:
    """Write what a gateway shows."""
    return _encode(message._asdict())


def parse_enrolment(body: bytes) -> Enrolment:
    """Read what a gateway shows.

    Raises:
        InputError: it is malformed.
    """
    return Enrolment(*_byte_fields(body, Enrolment._fields))


def encode_challenge(message: Challenge) -> bytes:
    """Write a challenge."""
    return _encode(message._asdict())


def parse_challenge(body: bytes) -> Challenge:
    """Read a challenge.

    Raises:
        InputError: it is malformed.
    """
    return Challenge(*_byte_fields(body, Challenge._fields))


def encode_token(name: str, token: bytes) -> bytes:
    """Write a message of one field: a `nonce`, or the `secret` that was opened."""
    return _encode({name: token})


def parse_token(body: bytes, name: str) -> bytes:
    """Read a message of one field.

    Raises:
        InputError: it is malformed.
    """
    (found,) = _byte_fields(body, (name,))
    return found


def encode_quoted(quoted: Quoted) -> bytes:
    """Write a quote with its event log."""
    values: dict[str, canonical.Value] = {str(pcr): value.hex() for pcr, value in quoted.values.items()}
    sealed = {"attest": quoted.attest, "log": quoted.log, "signature": quoted.signature}
    return canonical.encode({"pcrs": values, **_texts(sealed)})


def parse_quoted(body: bytes) -> Quoted:
    """Read a quote with its event log.

    Raises:
        InputError: it is malformed.
    """
    fields = _object(body, ("attest", "log", "pcrs", "signature"))
    pcrs = fields["pcrs"]
    if not isinstance(pcrs, dict) or not 0 < len(pcrs) <= PCRS:
        raise InputError(_WHERE, "pcrs", pcrs, f"1 to {PCRS} PCRs")
    values = {_pcr(name): _digest(name, value) for name, value in pcrs.items()}
    attest, log, signature = (_bytes(name, fields[name]) for name in ("attest", "log", "signature"))
    return Quoted(attest, signature, values, log)


def encode_standing(standing: Standing) -> bytes:
    """Write how a gateway stands."""
    changes: list[canonical.Value] = list(standing.changes)
    return canonical.encode(
        {"changes": changes, "reference": standing.reference, "verdict": standing.verdict}
    )


def parse_standing(body: bytes) -> Standing:
    """Read how a gateway stands.

    Raises:
        InputError: it is malformed.
    """
    fields = _object(body, ("changes", "reference", "verdict"))
    changes, reference, verdict = fields["changes"], fields["reference"], fields["verdict"]
    if not isinstance(changes, list) or not all(isinstance(each, str) for each in changes):
        raise InputError(_WHERE, "changes", changes, "a list of texts")
    if not isinstance(reference, str) or verdict not in {"trusted", "changed", "unknown"}:
        raise InputError(_WHERE, "verdict", verdict, "trusted, changed or unknown, with a reference")
    return Standing(str(verdict), reference, tuple(str(each) for each in changes))


def _encode(fields: Mapping[str, bytes]) -> bytes:
    """Write an object of bytes."""
    return canonical.encode(_texts(fields))


def _texts(fields: Mapping[str, bytes]) -> dict[str, canonical.Value]:
    """Give bytes as JSON carries them."""
    return {name: canonical.encode_base64(value) for name, value in fields.items()}


def _object(body: bytes, names: tuple[str, ...]) -> dict[str, canonical.Value]:
    """Read an object of exactly these fields."""
    fields = canonical.parse(body, where=_WHERE)
    if set(fields) != set(names):
        raise InputError(_WHERE, "fields", sorted(fields), ", ".join(sorted(names)))
    return fields


def _byte_fields(body: bytes, names: tuple[str, ...]) -> list[bytes]:
    """Read an object of exactly these fields, which are bytes."""
    fields = _object(body, names)
    return [_bytes(name, fields[name]) for name in names]


def _bytes(name: str, value: canonical.Value) -> bytes:
    """Read bytes."""
    if not isinstance(value, str):
        raise InputError(_WHERE, name, value, "base64")
    return canonical.parse_base64(value, where=_WHERE, field=name) if value else b""


def _pcr(name: str) -> int:
    """Read the number of a PCR."""
    if name not in {str(pcr) for pcr in range(PCRS)}:
        raise InputError(_WHERE, "pcrs", name, f"a number below {PCRS}")
    return int(name)


def _digest(name: str, value: canonical.Value) -> bytes:
    """Read the value of a PCR."""
    try:
        found = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        found = b""
    if len(found) not in _DIGEST_SIZES:
        raise InputError(_WHERE, f"pcrs.{name}", value, "a hash in hex")
    return found
