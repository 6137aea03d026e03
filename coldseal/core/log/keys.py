"""Which keys a log uses at each place: those of its genesis entry, then what its `key` entries changed.

Promise: a change counts only if the key before it signed the entry and each new key proved that it is
there, bound to this log and this place. So nobody can seal old entries anew with a newer key, nor new ones
with an older key. Whether a revoked key's entries may still be trusted is decided by the verifier.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.canonical import encode_base64, parse_base64
from coldseal.core.log.note import NoteSignature
from coldseal.core.log.record import is_time, key_id, parse_entry
from coldseal.core.log.verifier import Algorithm, CheckpointSignatureError, VerifierKey, parse_vkey
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry

RECORD: Final = "record"
CHECKPOINT: Final = "checkpoint"
CHECKPOINT_ALGORITHMS: Final = (Algorithm.ECDSA, Algorithm.ED25519)
"""The two keys that sign checkpoints, in this order."""
MAX_REASON: Final = 300

_FIELDS: Final = {
    (RECORD, "roll-over"): ["action", "key", "not_before", "old", "proof", "reason", "use"],
    (CHECKPOINT, "roll-over"): ["action", "keys", "not_before", "old", "proofs", "reason", "use"],
    (RECORD, "revoke"): ["action", "key", "reason", "since", "use"],
    (CHECKPOINT, "revoke"): ["action", "key", "reason", "since", "use"],
}


class KeyChangeError(TrustError):
    """A `key` entry does not prove what it says."""

    verdict = "bad-key-change"

    def __init__(self, seq: int, why: str) -> None:
        """Keep the place and the reason."""
        self.seq = seq
        self.why = why
        super().__init__(f"the key entry {seq} changes nothing: {why}")


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys that are active at one place.

    Attributes:
        record: signs entries; SubjectPublicKeyInfo DER, P-256.
        checkpoint: both sign each checkpoint, under the log's name: P-256, then Ed25519.
    """

    record: bytes
    checkpoint: tuple[VerifierKey, ...]

    @property
    def kid(self) -> str:
        """The record key's id, as entries name it."""
        return key_id(self.record)

    @property
    def checkpoint_id(self) -> str:
        """The ids of the checkpoint keys, as `key` entries name them."""
        return "+".join(key.id.hex() for key in self.checkpoint)


@dataclass(frozen=True, slots=True)
class Revocation:
    """A key that was in wrong hands.

    Attributes:
        seq: of the entry that says so.
        use: ``record`` or ``checkpoint``.
        key: the kid, or the ids of the checkpoint keys.
        since: from when on, RFC 3339.
    """

    seq: int
    use: str
    key: str
    since: str


def key_message(log: str, seq: int, old: str, new: str) -> bytes:
    """Give what a new key signs to prove that it is there.

    Args:
        log: the origin.
        seq: of the `key` entry.
        old: id of the key it takes over from: the kid, or the ids of the checkpoint keys joined by ``+``.
        new: its own, likewise.
    """
    return f"coldseal key v1\n{log}\n{seq}\n{old}\n{new}\n".encode()


class KeyHistory:
    """The keys of one log over its whole length, as far as it was told.

    Attributes:
        origin: the log's name.
        revocations: keys that were revoked, in order.
    """

    def __init__(self, origin: str, keys: Keys) -> None:
        """Begin with the keys of the genesis entry."""
        self.origin = origin
        self.revocations: list[Revocation] = []
        self._starts = [0]
        self._keys = [keys]

    def copy(self) -> KeyHistory:
        """Give an independent history that knows the same."""
        made = KeyHistory(self.origin, self._keys[0])
        made.revocations = self.revocations.copy()
        made._starts, made._keys = self._starts.copy(), self._keys.copy()
        return made

    def at(self, place: int) -> Keys:
        """Give the keys that sign the entry at ``place``, and a checkpoint of that size."""
        return self._keys[bisect_right(self._starts, place) - 1]

    @property
    def record_keys(self) -> tuple[tuple[int, bytes], ...]:
        """Each record key with the first seq that it signs, in order."""
        found: list[tuple[int, bytes]] = []
        for start, keys in zip(self._starts, self._keys, strict=True):
            if not found or found[-1][1] != keys.record:
                found.append((start, keys.record))
        return tuple(found)

    def all(self) -> tuple[Keys, ...]:
        """Give all sets of keys, oldest first."""
        return tuple(self._keys)

    def span(self, use: str, key: str) -> tuple[int, int | None] | None:
        """Give the places at which a key was active: from, and below; None if never, or without end."""
        first = None
        for start, keys in zip(self._starts, self._keys, strict=True):
            active = keys.kid if use == RECORD else keys.checkpoint_id
            if first is None and active == key:
                first = start
            elif first is not None and active != key:
                return first, start
        return None if first is None else (first, None)

    def apply(self, entry: Entry) -> None:
        """Take note of a `key` entry; each one in order.

        Raises:
            KeyChangeError: it is not signed by the active key, a new key does not prove itself, or a field
                is missing, malformed or names another key than the active one.
        """
        keys = self.at(entry.seq)
        if entry.sig is None or verify_entry(keys.record, RECORD, entry) is not None:
            _refuse(entry, "the active record key did not sign it")
        data = entry.data
        use, action = data.get("use"), data.get("action")
        if (
            not isinstance(use, str)
            or not isinstance(action, str)
            or _FIELDS.get((use, action)) != list(data)
        ):
            _refuse(entry, "its fields are not those of a key entry")
        if not isinstance(data["reason"], str) or not 0 < len(data["reason"]) <= MAX_REASON:
            _refuse(entry, f"reason is not a text of 1 to {MAX_REASON} characters")
        if action == "revoke":
            self._revoke(entry, use)
            return
        _require_time(entry, data["not_before"], "not_before")
        changed = self._change_record(entry, keys) if use == RECORD else self._change_checkpoint(entry, keys)
        self._starts.append(entry.seq + 1)
        self._keys.append(changed)

    def _revoke(self, entry: Entry, use: str) -> None:
        """Note a revocation of a key that the log has, or had."""
        key, since = entry.data["key"], _require_time(entry, entry.data["since"], "since")
        if not isinstance(key, str) or self.span(use, key) is None:
            _refuse(entry, f"{key!r} was never a {use} key of this log")
        self.revocations.append(Revocation(entry.seq, use, key, since))

    def _change_record(self, entry: Entry, keys: Keys) -> Keys:
        """Check the change of the record key."""
        if entry.data["old"] != keys.kid:
            _refuse(entry, f"old is {entry.data['old']!r}, the active key is {keys.kid}")
        try:
            spki = _base64(entry.data["key"])
            new = VerifierKey(self.origin, Algorithm.ECDSA, spki)
        except InputError as error:
            _refuse(entry, str(error))
        self._prove(entry, new, keys.kid, key_id(spki), entry.data["proof"])
        return Keys(spki, keys.checkpoint)

    def _change_checkpoint(self, entry: Entry, keys: Keys) -> Keys:
        """Check the change of both checkpoint keys."""
        data = entry.data
        if data["old"] != [key.id.hex() for key in keys.checkpoint]:
            _refuse(entry, f"old is {data['old']!r}, the active keys are {keys.checkpoint_id}")
        try:
            found = tuple(parse_vkey(text) for text in _texts(data["keys"]))
            proofs = _texts(data["proofs"])
        except InputError as error:
            _refuse(entry, str(error))
        if tuple(key.algorithm for key in found) != CHECKPOINT_ALGORITHMS:
            _refuse(entry, "keys are not one of P-256 and one of Ed25519")
        if {key.name for key in found} != {self.origin} or len(proofs) != len(found):
            _refuse(entry, "keys and proofs are not those of this log, one for each")
        changed = Keys(keys.record, found)
        for key, proof in zip(found, proofs, strict=True):
            self._prove(entry, key, keys.checkpoint_id, changed.checkpoint_id, proof)
        return changed

    def _prove(self, entry: Entry, key: VerifierKey, old: str, new: str, proof: Value) -> None:
        """Check that a new key signed for this place."""
        message = key_message(self.origin, entry.seq, old, new)
        try:
            key.verify(message, NoteSignature(key.name, key.id, _base64(proof)))
        except (InputError, CheckpointSignatureError) as error:
            _refuse(entry, f"a new key does not prove itself: {error}")


def history_of(origin: str, settings: Iterable[bytes]) -> KeyHistory:
    """Follow a log's keys from its own words, trusted as they are: the log is one's own.

    Args:
        origin: the log's name.
        settings: its genesis entry and every `key` entry; others are passed over.

    Raises:
        InputError: the genesis entry is missing, or names no keys.
        KeyChangeError: a change does not prove itself.
    """
    entries = [parse_entry(raw) for raw in settings]
    if not entries or entries[0].kind != "genesis":
        raise InputError("log", "genesis", "none", "the log's first entry")
    history = KeyHistory(origin, genesis_keys(entries[0]))
    for entry in entries[1:]:
        if entry.kind == "key":
            history.apply(entry)
    return history


def genesis_keys(genesis: Entry) -> Keys:
    """Give the keys that a genesis entry declares.

    Raises:
        InputError: it declares none, or others than a log has.
    """
    keys = tuple(parse_vkey(text) for text in _texts(genesis.data.get("checkpoint_keys")))
    if tuple(key.algorithm for key in keys) != CHECKPOINT_ALGORITHMS:
        raise InputError("genesis", "checkpoint_keys", [key.encode() for key in keys], "P-256 and Ed25519")
    record = _base64(genesis.data.get("record_key"))
    return Keys(VerifierKey(genesis.log, Algorithm.ECDSA, record).public, keys)


def record_roll_over(
    spki: bytes, proof: bytes, *, old: str, not_before: str, reason: str
) -> Mapping[str, Value]:
    """Give the ``data`` of a `key` entry that changes the record key.

    Args:
        spki: the new key.
        proof: its signature over `key_message`.
        old: kid of the key it takes over from.
        not_before: RFC 3339.
        reason: in words.
    """
    return {
        "action": "roll-over",
        "key": encode_base64(spki),
        "not_before": not_before,
        "old": old,
        "proof": encode_base64(proof),
        "reason": reason,
        "use": RECORD,
    }


def checkpoint_roll_over(
    keys: Sequence[VerifierKey],
    proofs: Sequence[bytes],
    *,
    old: Sequence[VerifierKey],
    not_before: str,
    reason: str,
) -> Mapping[str, Value]:
    """Give the ``data`` of a `key` entry that changes both checkpoint keys; arguments likewise."""
    return {
        "action": "roll-over",
        "keys": [key.encode() for key in keys],
        "not_before": not_before,
        "old": [key.id.hex() for key in old],
        "proofs": [encode_base64(proof) for proof in proofs],
        "reason": reason,
        "use": CHECKPOINT,
    }


def revocation(use: str, key: str, *, since: str, reason: str) -> Mapping[str, Value]:
    """Give the ``data`` of a `key` entry that revokes a key."""
    return {"action": "revoke", "key": key, "reason": reason, "since": since, "use": use}


def _base64(value: Value) -> bytes:
    """Read bytes from a field."""
    if not isinstance(value, str):
        raise InputError("key entry", "key or proof", value, "base64")
    return parse_base64(value, where="key entry", field="key or proof")


def _require_time(entry: Entry, value: Value, field: str) -> str:
    """Read a time from a field."""
    if not isinstance(value, str) or not is_time(value):
        _refuse(entry, f"{field} is not a time")
    return value


def _texts(value: Value) -> list[str]:
    """Read a list of texts from a field."""
    if not isinstance(value, list):
        raise InputError("key entry", "keys or proofs", value, "a list of texts")
    texts = [text for text in value if isinstance(text, str)]
    if len(texts) != len(value):
        raise InputError("key entry", "keys or proofs", value, "a list of texts")
    return texts


def _refuse(entry: Entry, why: str) -> NoReturn:
    """Refuse a `key` entry."""
    raise KeyChangeError(entry.seq, why)
