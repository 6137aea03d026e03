"""Turns drafts into entries: chained, signed, in order; and fixes the log's state in checkpoints.

Promise: a failed seal leaves the chain where it was. The order of signing is the order of the
log, because each entry names the hash of the one before it: so one process signs, beside the intake when
a group is large, within it when it is small. Nothing is stored here.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log.checkpoint import Checkpoint, checkpoint_note
from coldseal.core.log.record import Chain
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.keys import EcdsaSigner, Ed25519Signer, open_ecdsa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.connection import Connection
    from pathlib import Path

    from coldseal.core.log.checkpoint import NoteSignature

_log = Log("gateway.signing")

INLINE_LIMIT: Final = 16
"""Largest group signed within the intake: below it, handing over costs more than it gains."""


class Draft(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What an entry will say, but for its place in the log.

    Args:
        kind: one of the kinds of the record format.
        t: time of acceptance, RFC 3339 with milliseconds and ``Z``.
        tq: how far ``t`` may be trusted, canonical JSON.
        src: where it came from, canonical JSON.
        data: what the kind defines, canonical JSON.
    """

    kind: str
    t: str
    tq: bytes
    src: bytes
    data: bytes


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


class Sealer:
    """Seals drafts onto a chain; keeps none.

    Args:
        keys: the log's signing keys.
        is_each_signed: a signature for each entry; if not, one by the record key on each group's checkpoint.
        bench: the process beside, for large groups; None signs all within this one.
    """

    def __init__(self, keys: Keys, *, is_each_signed: bool, bench: SigningBench | None) -> None:
        """Take the parts; nothing is signed yet."""
        self.is_each_signed = is_each_signed
        self._keys = keys
        self._bench = bench

    async def seal(self, chain: Chain, drafts: Sequence[Draft]) -> tuple[list[bytes], Chain]:
        """Seal drafts in order; gives one entry for each, and the chain behind them."""
        if not drafts:
            return [], chain
        if self.is_each_signed and self._bench is not None and len(drafts) > INLINE_LIMIT:
            return await self._bench.seal(chain, drafts)
        tip = chain.copy()
        sign = self._keys.record.sign if self.is_each_signed else None
        return seal_drafts(tip, drafts, sign), tip

    def checkpoint(self, chain: Chain) -> bytes:
        """Sign the chain as it stands, as a C2SP signed note.

        Signed by both checkpoint keys and, where entries carry no signature, by the record key too.
        """
        keys = self._keys
        found = Checkpoint(chain.log, chain.size, chain.tree.root())
        text = found.text()
        lines: list[NoteSignature] = [
            keys.checkpoint.note_signature(chain.log, text),
            keys.interop.note_signature(chain.log, text),
        ]
        if not self.is_each_signed:
            lines.append(keys.record.note_signature(chain.log, text))
        return checkpoint_note(found, lines)


def seal_drafts(chain: Chain, drafts: Sequence[Draft], sign: Callable[[bytes], bytes] | None) -> list[bytes]:
    """Seal drafts onto ``chain``, in order; without ``sign`` the entries carry no signature."""
    return [chain.seal(draft.kind, draft.t, draft.tq, draft.src, draft.data, sign) for draft in drafts]


class _Task(msgspec.Struct, frozen=True, array_like=True):
    """What goes to the process beside."""

    chain: dict[str, object]
    drafts: list[Draft]


class _Sealed(msgspec.Struct, frozen=True, array_like=True):
    """What comes back from it."""

    chain: dict[str, object]
    entries: list[bytes]


class SigningBench:
    """A process beside the intake that seals large groups, on a processor core of its own.

    It keeps no state, so it can be lost at any time: the group is then sealed within the intake and a
    new process started.

    Args:
        uri: the record key.
        base: the folder that a relative ``uri`` starts from.

    Attributes:
        restarts: how often the process was lost.
    """

    def __init__(self, uri: str, base: Path) -> None:
        """Start the process."""
        self._uri, self._base = uri, base
        self._signer = open_ecdsa(uri, base=base)
        self._start()
        self.restarts = 0

    def _start(self) -> None:
        """Start a process with one end of a new pipe."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, self._uri, self._base), daemon=True)
        self._process.start()
        theirs.close()

    async def seal(self, chain: Chain, drafts: Sequence[Draft]) -> tuple[list[bytes], Chain]:
        """Seal drafts onto a copy of ``chain``; gives the entries and the chain behind them."""
        task = msgspec.msgpack.encode(_Task({**chain.state()}, list(drafts)))
        try:
            answer = await asyncio.to_thread(self._exchange, task)
        except (EOFError, OSError) as error:
            self._pipe.close()
            self._start()
            self.restarts += 1
            _log.emit(events.PART_RESTARTED, process="signing", cause=repr(error))
            chain = chain.copy()
            return seal_drafts(chain, drafts, self._signer.sign), chain
        sealed = msgspec.msgpack.decode(answer, type=_Sealed)
        return sealed.entries, Chain.from_state(sealed.chain)

    def _exchange(self, task: bytes) -> bytes:
        """Hand a task over and wait for the answer, outside of the loop's thread."""
        self._pipe.send_bytes(task)
        return self._pipe.recv_bytes()

    def close(self) -> None:
        """Stop the process."""
        self._pipe.close()
        self._process.join()


def _serve(pipe: Connection, uri: str, base: Path) -> None:
    """Seal group after group until the other end is closed: the intake has stopped, or died."""
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal's ^C reaches all; the intake decides when to stop
    signer = open_ecdsa(uri, base=base)
    decoder = msgspec.msgpack.Decoder(_Task)
    while True:
        try:
            task = decoder.decode(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        chain = Chain.from_state(task.chain)
        entries = seal_drafts(chain, task.drafts, signer.sign)
        pipe.send_bytes(msgspec.msgpack.encode(_Sealed({**chain.state()}, entries)))
