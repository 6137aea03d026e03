"""Turns drafts into entries: chained, signed, in order; and fixes the log's state in checkpoints.

Promise: groups come back in the order in which they were handed over, each sealed onto the one before.
The order of signing is the order of the log, because each entry names the hash of the one before it: so
one process signs, beside the intake when a group is large, within it when it is small. Stores nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from coldseal.core.log.checkpoint import Checkpoint, checkpoint_note
from coldseal.core.log.record import Chain
from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.store.drafts import Answer, Task, seal_drafts
from coldseal.gateway.store.patience import beside_the_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldseal.core.log.checkpoint import NoteSignature
    from coldseal.gateway.store.drafts import Draft
    from coldseal.signing.keys import EcdsaSigner, Ed25519Signer

INLINE_LIMIT: Final = 16
"""Largest group sealed within the intake: below it, handing over costs more than it gains."""

MUCH: Final = 256
"""A group that is larger is a load by itself, for which the process beside is worth its memory."""

SOON_S: Final = 0.1
"""So are large groups that follow each other so soon; one now and then, behind a slow sync, is none."""


class Keys(msgspec.Struct, frozen=True):
    """The signing keys of a log.

    Args:
        record: signs entries.
        checkpoint: signs checkpoints, P-256.
        interop: signs checkpoints, Ed25519, for public witnesses and tools.
    """

    record: EcdsaSigner
    checkpoint: EcdsaSigner
    interop: Ed25519Signer


class Entries(NamedTuple):
    """A group that is sealed: its entries, and the chain behind them."""

    entries: list[bytes]
    chain: Chain


class Beside(Protocol):
    """A process beside the intake that seals on a processor core of its own."""

    @property
    def is_ready(self) -> bool:
        """Whether a task may be sent."""

    def start(self, answered: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        """Note whom to tell: each answer is given to the one, and its loss told to the other."""

    def wake(self) -> None:
        """Start it, so that it will be ready soon, or keep it for a while longer."""

    def send(self, task: bytes) -> None:
        """Hand a task over; its answer comes later, or the loss of the process."""

    def renew(self) -> None:
        """Begin anew, with the key as it is now; nothing may be under way."""


class Sealer:
    """Seals drafts onto the tip of one chain; several groups may be under way.

    Args:
        keys: the log's signing keys.
        is_each_signed: a signature for each entry; if not, one by the record key on each group's checkpoint.
        beside: the process for large groups; it may be lost at any time. None seals all within this one.
    """

    def __init__(self, keys: Keys, *, is_each_signed: bool, beside: Beside | None) -> None:
        """Take the parts; :meth:`begin` gives the chain."""
        self.is_each_signed = is_each_signed
        self._keys = keys
        self._beside = beside
        self._tip: Chain
        self._waiting: deque[tuple[Sequence[Draft], asyncio.Future[Entries | None]]] = deque()
        self._void = 0
        self._is_followed = False
        self._is_alone = beside is None
        self._large_at = float("-inf")
        if beside is not None:
            beside.start(self._answered, self._lost)

    @property
    def kid(self) -> str:
        """The record key's id."""
        return self._keys.record.kid

    def begin(self, chain: Chain) -> None:
        """Seal onto ``chain`` from now on; groups that are still under way come back as None."""
        self._tip = chain
        self._is_followed = False
        self._void += len(self._waiting)
        for _, found in self._waiting:
            found.set_result(None)
        self._waiting.clear()

    @property
    def is_held(self) -> bool:
        """Whether a chip or token signs checkpoints."""
        return self._keys.checkpoint.is_held

    def change(self, keys: Keys) -> Keys:
        """Use other keys from the next group on; none may be under way.

        Large groups are sealed within this process until :meth:`renew`.

        Returns:
            The keys that were in use.
        """
        before, self._keys = self._keys, keys
        self._is_alone = True
        self._tip = self._tip.copy()
        self._tip.kid = keys.record.kid
        self._is_followed = False
        return before

    def renew(self) -> None:
        """Let the process beside begin anew: the key that it opens is the one in use again."""
        if self._beside is not None and self._is_alone:
            self._beside.renew()
            self._is_alone = False

    def seal(self, drafts: Sequence[Draft]) -> asyncio.Future[Entries | None]:
        """Seal drafts in order behind all that was handed over before.

        Returns:
            The entries, or None if the chain was begun anew meanwhile; InputError if they cannot be sealed.
        """
        found: asyncio.Future[Entries | None] = asyncio.get_running_loop().create_future()
        is_small = not self._waiting and len(drafts) <= INLINE_LIMIT
        beside = self._beside
        if beside is None or self._is_alone or is_small:
            self._seal(drafts, found)
            return found
        if len(drafts) > INLINE_LIMIT and self._is_load(len(drafts)):
            beside.wake()
        if not beside.is_ready:
            self._seal(drafts, found)
        else:
            task = Task(None if self._is_followed else {**self._tip.state()}, list(drafts))
            self._is_followed = True
            self._waiting.append((drafts, found))
            beside.send(msgspec.msgpack.encode(task))
        return found

    def _is_load(self, count: int) -> bool:
        """Whether a large group is worth the memory of the process beside; a chip would hold the loop up."""
        before, self._large_at = self._large_at, asyncio.get_running_loop().time()
        return count > MUCH or self._large_at - before < SOON_S or self._keys.record.is_held

    def _seal(self, drafts: Sequence[Draft], found: asyncio.Future[Entries | None]) -> None:
        """Seal within this process."""
        self._is_followed = False
        tip = self._tip.copy()
        try:
            entries = seal_drafts(tip, drafts, self._keys.record.sign, is_each_signed=self.is_each_signed)
        except (InputError, UnavailableError) as error:  # or a chip that holds the record key is away
            found.set_exception(error)
        else:
            self._tip = tip
            found.set_result(Entries(entries, tip))

    def _answered(self, answer: bytes) -> None:
        """Take an answer from the process beside."""
        if self._void:
            self._void -= 1
            return
        sealed = msgspec.msgpack.decode(answer, type=Answer)
        self._tip = Chain.from_state(sealed.chain)
        self._waiting.popleft()[1].set_result(Entries(sealed.entries, self._tip))

    def _lost(self) -> None:
        """The process beside has ended, and another is there: what the first one had is sealed here."""
        self._void, self._is_followed = 0, False
        while self._waiting:
            self._seal(*self._waiting.popleft())

    async def fix(self, chain: Chain) -> bytes:
        """Sign the chain as `checkpoint` does; a chip or token signs beside the loop, which goes on.

        Raises:
            UnavailableError: chip or token is away, or takes too long.
        """
        if not self._keys.checkpoint.is_held:
            return self.checkpoint(chain)
        found = Checkpoint(chain.log, chain.size, chain.tree.root())
        return await beside_the_loop(lambda: self._note(found))

    def checkpoint(self, chain: Chain) -> bytes:
        """Sign the chain as it stands, as a C2SP signed note.

        Signed by both checkpoint keys and, where entries carry no signature, by the record key too.
        """
        return self._note(Checkpoint(chain.log, chain.size, chain.tree.root()))

    def _note(self, found: Checkpoint) -> bytes:
        """Sign a checkpoint."""
        keys, text, name = self._keys, found.text(), found.origin
        lines: list[NoteSignature] = [
            keys.checkpoint.note_signature(name, text),
            keys.interop.note_signature(name, text),
        ]
        if not self.is_each_signed:
            lines.append(keys.record.note_signature(name, text))
        return checkpoint_note(found, lines)
