"""Policies as JSON: whom a verifier trusts, as a manifest names it, or a file of one's own."""

from __future__ import annotations

from json import loads as read_json
from typing import TYPE_CHECKING

from coldseal.core.log.canonical import encode_base64, parse_base64
from coldseal.core.log.checkpoint import Algorithm, VerifierKey, parse_vkey
from coldseal.core.log.evidence import Policy
from coldseal.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coldseal.core.log.canonical import Value

_HINT = "Name a policy file, such as a gateway's admission.json"


def describe_policy(policy: Policy) -> dict[str, Value]:
    """Give the fields of a policy."""
    return {
        "checkpoint_keys": [key.encode() for key in policy.checkpoint_keys],
        "mode": policy.mode,
        "origin": policy.origin,
        "quorum": policy.quorum,
        "record_key": encode_base64(policy.record_key),
        "witnesses": [key.encode() for key in policy.witnesses],
    }


def parse_policy(found: Mapping[str, Value], *, where: str) -> Policy:
    """Read origin, keys, witnesses, quorum and mode; other fields are left alone.

    Raises:
        InputError: a field is missing or malformed.
    """
    origin, record, quorum, mode = (
        found.get("origin"),
        found.get("record_key"),
        found.get("quorum", 1),
        found.get("mode", "record"),
    )
    if not isinstance(origin, str):
        raise InputError(where, "origin", origin, "a log's name")
    if not isinstance(record, str):
        raise InputError(where, "record_key", record, "base64 of a SubjectPublicKeyInfo")
    if not isinstance(quorum, int) or isinstance(quorum, bool) or quorum < 1:
        raise InputError(where, "quorum", quorum, "a number from 1")
    if mode not in {"record", "checkpoint"} or not isinstance(mode, str):
        raise InputError(where, "mode", mode, "record or checkpoint")
    return Policy(
        origin,
        _record_key(record, where),
        _keys(found.get("checkpoint_keys"), where, "checkpoint_keys"),
        _keys(found.get("witnesses", []), where, "witnesses"),
        quorum,
        mode,
    )


def read_policy(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        OperatorError: it cannot be read as JSON.
        InputError: a field is missing or malformed.
    """
    try:
        found = read_json(path.read_bytes())
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", _HINT) from error
    except (ValueError, RecursionError) as error:
        raise OperatorError(f"{path} is no JSON: {error}", _HINT) from error
    if not isinstance(found, dict):
        raise OperatorError(f"{path} holds no JSON object", _HINT)
    policy = parse_policy(found, where=str(path))
    for key in policy.witnesses:
        if key.algorithm != Algorithm.COSIGNATURE:
            raise InputError(
                str(path), "witnesses", key.encode(), "cosigners' keys, not those that sign logs"
            )
    return policy


def _record_key(text: str, where: str) -> bytes:
    """Read a record key, and refuse one that could never verify anything."""
    spki = parse_base64(text, where=where, field="record_key")
    try:
        VerifierKey("record", Algorithm.ECDSA, spki)
    except InputError:
        expected = "base64 of the SubjectPublicKeyInfo of a P-256 key"
        raise InputError(where, "record_key", text, expected) from None
    return spki


def _keys(found: Value, where: str, field: str) -> tuple[VerifierKey, ...]:
    """Read a list of verifier keys."""
    texts = [text for text in found if isinstance(text, str)] if isinstance(found, list) else []
    if not isinstance(found, list) or len(texts) != len(found):
        raise InputError(where, field, found, "a list of verifier keys")
    try:
        return tuple(map(parse_vkey, texts))
    except InputError as error:
        raise InputError(
            where, field, error.value, f"keys whose {error.field} is {error.expected}"
        ) from error
