"""Changes the log's signing keys while it goes on, and revokes keys: by entries of kind `key`.

Promise: after a change every entry and checkpoint is signed by the key that the log names at its place, also
when the program dies in between; an old private key in a file is gone then. Nobody's acknowledgement waits
longer than for one commit. A key in a chip or token is made there beforehand, and taken over here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

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
from coldseal.signing.holders import is_held
from coldseal.signing.keys import (
    EcdsaSigner,
    Ed25519Signer,
    generate_interop_key,
    generate_record_key,
    open_ecdsa,
    open_ed25519,
    write_private_key,
)
from coldseal.signing.rotation import KeyFile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from coldseal.core.log.checkpoint import VerifierKey
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.store.journal import Journal, Snapshot
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.tables.keeping import Keys as Uris
    from coldseal.signing.keys import PrivateKey

    Step = Callable[[Snapshot], Awaitable[None]]
    """A step of the log; given what writes down the projection of all entries."""

    _Files = tuple[tuple[KeyFile, PrivateKey], ...]

MARK: Final = "hardware: "
"""How the reason of a `key` entry begins that marks checkpoints by a software key in the chip's place."""

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
    if not is_held(uris.record):
        KeyFile(uris.record, base).settle(lambda key: key.kid == kid, lambda uri: open_ecdsa(uri, base=base))
    newest = log.reader.checkpoint_at_most(log.size)
    ids = set() if newest is None else {line.key_id for line in parse_note(newest.note).signatures}
    origin = log.chain.log
    if not is_held(uris.checkpoint):
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
        stand_ins: files of software keys that may stand in for one in hardware; the first is made when it
            is needed, and none outlives the change back.
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
        stand_ins: tuple[Path, ...] = (),
    ) -> None:
        """Take the parts."""
        self._uris, self._base = uris, base
        self._stand_ins = stand_ins
        self._keys, self._log, self._journal, self._clock = keys, log, journal, clock
        self._origin, self._alone = log.chain.log, alone

    @property
    def keys(self) -> Keys:
        """The keys that are in use."""
        return self._keys

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
        return await self._carry_out(
            self._plan_record() if use == RECORD else self._plan_checkpoint(), reason
        )

    async def fall_back(self, reason: str) -> Changed:
        """Have checkpoints signed by a new software key: the chip or token that holds the key is away.

        Args:
            reason: in words, for the log, which is marked by it.

        Raises:
            OperatorError: the fallback's file cannot be written.
            UnavailableError: the entry could not be written.
        """
        private, path = generate_record_key(), self._stand_ins[0]
        path.unlink(missing_ok=True)  # never in use: the log named the key of chip or token
        write_private_key(path, private)
        keys = Keys(self._keys.record, EcdsaSigner(private), self._keys.interop)
        return await self._carry_out(self._plan(keys, ()), f"{MARK}{reason}"[:MAX_REASON])

    async def _carry_out(self, plan: _Plan, reason: str) -> Changed:
        """Have the log name the keys of a plan, and use them."""
        for file, key in plan.files:
            file.prepare(key)
        places: list[int] = []

        def data(seq: int) -> Mapping[str, canonical.Value]:
            places.append(seq)
            message = key_message(self._origin, seq, plan.old, plan.new)
            return plan.data(message, render_time(self._clock.now().t_ms), reason)

        async def step(snapshot: Snapshot) -> None:
            try:
                await self._journal.change_keys(data, plan.keys, snapshot)
                self._keys = plan.keys
                for file, _ in plan.files:
                    file.adopt()
                for path in self._stand_ins if plan.keys.checkpoint.is_held else ():
                    path.unlink(missing_ok=True)
            except UnavailableError:
                self._journal.renew()
                raise
            self._journal.renew()

        await self._alone(step)
        _log.emit(events.KEY_CHANGED, use=plan.use, seq=places[0], old=plan.old, new=plan.new)
        return Changed(places[0], plan.use, plan.old, plan.new)

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
        if since > (now := render_time(self._clock.now().t_ms)):  # one form: as texts, they sort by time
            raise OperatorError(
                f"{since} lies ahead: it is {now}", "Say since when; nothing would be reviewed until then"
            )
        history = history_of(self._origin, self._log.reader.settings())
        span = history.span(use, key)
        if span is None:
            raise OperatorError(f"{key!r} was never a {use} key of {self._origin}", "Name one that was")
        if span[1] is None:
            raise OperatorError(
                f"{key!r} is still in use", f"Change it first: coldseal identity roll-over CONFIG {use}"
            )
        places: list[int] = []

        async def step(snapshot: Snapshot) -> None:
            entry = canonical.encode(revocation(use, key, since=since, reason=reason))
            draft = self._journal.draft("key", entry, self._clock.now())
            await self._journal.append([draft], snapshot)
            places.append(self._log.size - 1)

        await self._alone(step)
        _log.emit(events.KEY_REVOKED, use=use, seq=places[0], key=key, since=since)
        return places[0]

    def _plan_record(self) -> _Plan:
        """Plan the change of the record key."""
        new, files = self._new_p256(self._uris.record, self._keys.record)
        old = self._keys.record

        def data(message: bytes, now: str, reason: str) -> Mapping[str, canonical.Value]:
            return record_roll_over(new.spki, new.sign(message), old=old.kid, not_before=now, reason=reason)

        keys = Keys(new, self._keys.checkpoint, self._keys.interop)
        return _Plan(RECORD, files, keys, old.kid, new.kid, data)

    def _plan_checkpoint(self) -> _Plan:
        """Plan the change of both checkpoint keys."""
        new, files = self._new_p256(self._uris.checkpoint, self._keys.checkpoint)
        interop = generate_interop_key()
        keys = Keys(self._keys.record, new, Ed25519Signer(interop))
        return self._plan(keys, (*files, (KeyFile(self._uris.interop, self._base), interop)))

    def _new_p256(self, uri: str, active: EcdsaSigner) -> tuple[EcdsaSigner, _Files]:
        """Make a new key for a file; open the one that was made in chip or token."""
        if not is_held(uri):
            private = generate_record_key()
            return EcdsaSigner(private), ((KeyFile(uri, self._base), private),)
        new = open_ecdsa(uri, base=self._base)
        if new.spki == active.spki:
            hint = "Make another: coldseal identity key make; name it, and this one in hardware.former"
            raise OperatorError("the key that the configuration names is in use already", hint)
        return new, ()

    def _plan(self, keys: Keys, files: _Files) -> _Plan:
        """Plan the change to these checkpoint keys."""
        before, after = self._verifiers(self._keys), self._verifiers(keys)

        def data(message: bytes, now: str, reason: str) -> Mapping[str, canonical.Value]:
            proofs = [keys.checkpoint.sign(message), keys.interop.sign(message)]
            return checkpoint_roll_over(after, proofs, old=before, not_before=now, reason=reason)

        old, new = ("+".join(key.id.hex() for key in found) for found in (before, after))
        return _Plan(CHECKPOINT, files, keys, old, new, data)

    def _verifiers(self, keys: Keys) -> tuple[VerifierKey, VerifierKey]:
        """Give the keys that verify the log's checkpoints."""
        return keys.checkpoint.verifier_key(self._origin), keys.interop.verifier_key(self._origin)


class _Plan(NamedTuple):
    """A change of keys: what is written, used, and said."""

    use: str
    files: _Files
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
