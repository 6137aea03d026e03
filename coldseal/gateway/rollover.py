"""Changes the log's signing keys while it goes on, and revokes keys: by entries of kind `key`.

Promise: after a change every entry and checkpoint is signed by the key that the log names at its place, also
when the program dies in between; the old private key is gone then. Nobody's acknowledgement waits longer
than for one commit. Keys in files only: a key in a chip is changed in the chip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import parse_note
from coldseal.core.log.keys import (
    CHECKPOINT,
    MAX_REASON,
    RECORD,
    checkpoint_roll_over,
    history_of,
    key_message,
    record_roll_over,
    revocation,
)
from coldseal.core.log.record import is_time
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.clock import render_time
from coldseal.gateway.store.sealing import Keys
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.keys import (
    EcdsaSigner,
    Ed25519Signer,
    generate_interop_key,
    generate_record_key,
    open_ecdsa,
    open_ed25519,
)
from coldseal.signing.rotation import KeyFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from coldseal.core.log.checkpoint import VerifierKey
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.store.journal import Journal
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.tables.keeping import Keys as Uris
    from coldseal.signing.keys import PrivateKey

    Step = Callable[[Callable[[], bytes]], Awaitable[None]]
    """A step of the log; given what writes down the projection of all entries."""

_log = Log("gateway.keys")


class Changed(msgspec.Struct, frozen=True):
    """What was changed.

    Args:
        seq: of the `key` entry.
        use: ``record`` or ``checkpoint``.
        old: id of the key before: the kid, or the checkpoint keys' ids joined by ``+``.
        new: id of the key from then on.
    """

    seq: int
    use: str
    old: str
    new: str


def settle_keys(uris: Uris, base: Path, log: EntryLog) -> None:
    """Finish, or drop, what a crash left of a change of keys: the log says which keys are active.

    Raises:
        OperatorError: a key cannot be opened or moved.
    """
    kid = log.chain.kid
    KeyFile(uris.record, base).settle(lambda key: key.kid == kid, lambda uri: open_ecdsa(uri, base=base))
    newest = log.reader.checkpoint_at_most(log.size)
    ids = set() if newest is None else {line.key_id for line in parse_note(newest.note).signatures}
    origin = log.chain.log
    KeyFile(uris.checkpoint, base).settle(
        lambda key: key.verifier_key(origin).id in ids, lambda uri: open_ecdsa(uri, base=base)
    )
    KeyFile(uris.interop, base).settle(
        lambda key: key.verifier_key(origin).id in ids, lambda uri: open_ed25519(uri, base=base)
    )


class RollOver:
    """Changes and revokes the keys of one log.

    Args:
        uris: where the keys are.
        base: the folder that relative paths start from.
        keys: those in use.
        log: the log.
        journal: seals.
        clock: gives the moment.
        alone: takes a step of the log while nothing else is under way.
    """

    def __init__(
        self,
        uris: Uris,
        base: Path,
        *,
        keys: Keys,
        log: EntryLog,
        journal: Journal,
        clock: Clock,
        alone: Callable[[Step], Awaitable[None]],
    ) -> None:
        """Take the parts."""
        self._files = {
            RECORD: [KeyFile(uris.record, base)],
            CHECKPOINT: [KeyFile(uris.checkpoint, base), KeyFile(uris.interop, base)],
        }
        self._keys, self._log, self._journal, self._clock = keys, log, journal, clock
        self._origin, self._alone = log.chain.log, alone

    async def change(self, use: str, reason: str) -> Changed:
        """Make a new key, have the log name it, and sign with it from then on.

        Args:
            use: ``record``, or ``checkpoint`` for both checkpoint keys at once.
            reason: in words, for the log.

        Raises:
            OperatorError: use or reason is no good, or a file cannot be written or moved.
            UnavailableError: the entry could not be written; the old key stays in use.
        """
        _require(use, reason)
        plan = self._plan_record() if use == RECORD else self._plan_checkpoint()
        for file, key in zip(self._files[use], plan.private, strict=True):
            file.prepare(key)
        places: list[int] = []

        def data(seq: int) -> Mapping[str, canonical.Value]:
            places.append(seq)
            message = key_message(self._origin, seq, plan.old, plan.new)
            return plan.data(message, render_time(self._clock.now().t_ms), reason)

        async def step(snapshot: Callable[[], bytes]) -> None:
            try:
                await self._journal.change_keys(data, plan.keys, snapshot)
                self._keys = plan.keys
                for file in self._files[use]:
                    file.adopt()
            except UnavailableError:
                self._journal.renew()
                raise
            self._journal.renew()

        await self._alone(step)
        _log.emit(events.KEY_CHANGED, use=use, seq=places[0], old=plan.old, new=plan.new)
        return Changed(places[0], use, plan.old, plan.new)

    async def revoke(self, use: str, key: str, since: str, reason: str) -> int:
        """Put on record that a key was in wrong hands; one that is in use must be changed before.

        Args:
            use: ``record`` or ``checkpoint``.
            key: its id: the kid, or the checkpoint keys' ids joined by ``+``.
            since: from when on, RFC 3339 with milliseconds and ``Z``.
            reason: in words, for the log.

        Returns:
            Seq of the entry.

        Raises:
            OperatorError: this is not a retired key of the log, or an argument is no good.
            UnavailableError: the entry could not be written.
        """
        _require(use, reason)
        if not is_time(since):
            raise OperatorError(f"{since!r} is not a time", "Write it as 2026-01-31T06:30:00.000Z")
        history = history_of(self._origin, self._log.reader.settings())
        span = history.span(use, key)
        if span is None:
            raise OperatorError(f"{key!r} was never a {use} key of {self._origin}", "Name one that was")
        if span[1] is None:
            raise OperatorError(
                f"{key!r} is still in use", f"Change it first: coldseal identity roll-over CONFIG {use}"
            )
        places: list[int] = []

        async def step(snapshot: Callable[[], bytes]) -> None:
            entry = canonical.encode(revocation(use, key, since=since, reason=reason))
            draft = self._journal.draft("key", entry, self._clock.now())
            await self._journal.append([draft], snapshot)
            places.append(self._log.size - 1)

        await self._alone(step)
        _log.emit(events.KEY_REVOKED, use=use, seq=places[0], key=key, since=since)
        return places[0]

    def _plan_record(self) -> _Plan:
        """Plan the change of the record key."""
        private = generate_record_key()
        new, old = EcdsaSigner(private), self._keys.record

        def data(message: bytes, now: str, reason: str) -> Mapping[str, canonical.Value]:
            return record_roll_over(new.spki, new.sign(message), old=old.kid, not_before=now, reason=reason)

        keys = Keys(new, self._keys.checkpoint, self._keys.interop)
        return _Plan((private,), keys, old.kid, new.kid, data)

    def _plan_checkpoint(self) -> _Plan:
        """Plan the change of both checkpoint keys."""
        private, interop = generate_record_key(), generate_interop_key()
        keys = Keys(self._keys.record, EcdsaSigner(private), Ed25519Signer(interop))
        before, after = self._verifiers(self._keys), self._verifiers(keys)

        def data(message: bytes, now: str, reason: str) -> Mapping[str, canonical.Value]:
            proofs = [keys.checkpoint.sign(message), keys.interop.sign(message)]
            return checkpoint_roll_over(after, proofs, old=before, not_before=now, reason=reason)

        old, new = ("+".join(key.id.hex() for key in found) for found in (before, after))
        return _Plan((private, interop), keys, old, new, data)

    def _verifiers(self, keys: Keys) -> tuple[VerifierKey, VerifierKey]:
        """Give the keys that verify the log's checkpoints."""
        return keys.checkpoint.verifier_key(self._origin), keys.interop.verifier_key(self._origin)


class _Plan(NamedTuple):
    """A change of keys: what is written, used, and said."""

    private: tuple[PrivateKey, ...]
    keys: Keys
    old: str
    new: str
    data: Callable[[bytes, str, str], Mapping[str, canonical.Value]]


def _require(use: str, reason: str) -> None:
    """Refuse what the log could not say."""
    if use not in {RECORD, CHECKPOINT}:
        raise OperatorError(f"{use!r} is no use of a key", f"Write {RECORD} or {CHECKPOINT}")
    if not 0 < len(reason) <= MAX_REASON:
        raise OperatorError("the reason is missing or too long", f"Give 1 to {MAX_REASON} characters")
