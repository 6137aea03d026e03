"""Small logs for the tests of the store: real entries on a real chain, opened in a folder."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from coldseal.core.log.checkpoint import Checkpoint, checkpoint_note
from coldseal.core.log.record import Chain, parse_entry
from coldseal.gateway.store.disk import DISK, Disk
from coldseal.gateway.store.log import Group, Limits, Log
from coldseal.gateway.store.reader import LogReader
from coldseal.signing.keys import Ed25519Signer, generate_interop_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

KEY = bytes(range(32))
ORIGIN = "coldseal.example/site-7/gw-0001"
KID = "0123456789abcdef"
DAY_MS = 86_400_000
NOW_MS = 20_000 * DAY_MS
SIGNER = Ed25519Signer(generate_interop_key())

_TQ = b'{"boot":"00000000","err":1,"mono":1,"off":0,"s":"synchronised"}'
_TIME = "2026-01-01T00:00:00.000Z"


def new_chain() -> Chain:
    """Give the chain that every log here begins with."""
    return Chain(ORIGIN, KID)


def seal(chain: Chain, count: int, length: int = 0) -> list[bytes]:
    """Seal unsigned readings onto `chain`; `length` is the least length of each."""
    data = b'{"pad":"%b"}'
    bare = len(chain.copy().seal("reading", _TIME, _TQ, b"", data % b"", None))
    pad = b"x" * max(0, length - bare)
    return [chain.seal("reading", _TIME, _TQ, b"", data % pad, None) for _ in range(count)]


def note(chain: Chain) -> bytes:
    """Sign a checkpoint over `chain`."""
    checkpoint = Checkpoint(chain.log, chain.size, chain.tree.root())
    return checkpoint_note(checkpoint, [SIGNER.note_signature(chain.log, checkpoint.text())])


def group(
    log: Log, count: int, *, length: int = 0, has_checkpoint: bool = False, snapshot: bytes | None = None
) -> Group:
    """Make the group that comes next."""
    chain = log.chain
    entries = seal(chain, count, length)
    return Group(
        entries=entries, chain=chain, checkpoint=note(chain) if has_checkpoint else None, snapshot=snapshot
    )


def open_log(folder: Path, *, now_ms: int = NOW_MS, disk: Disk = DISK, limits: Limits | None = None) -> Log:
    """Open the log in `folder`."""
    return Log.open(folder, KEY, limits or Limits(reserve_mb=1), new=new_chain(), now_ms=now_ms, disk=disk)


@asynccontextmanager
async def opened(folder: Path, *, disk: Disk = DISK, limits: Limits | None = None) -> AsyncIterator[Log]:
    """Open the log in `folder`, and close it at the end."""
    log = open_log(folder, disk=disk, limits=limits)
    try:
        yield log
    finally:
        await log.close()


async def fill(log: Log, counts: Sequence[int], length: int = 0) -> list[bytes]:
    """Commit groups of these sizes; gives all their entries."""
    entries: list[bytes] = []
    for count in counts:
        made = group(log, count, length=length)
        await log.commit(made)
        entries += made.entries
    return entries


def stored(folder: Path) -> list[bytes]:
    """Read all entries, as another process would."""
    with closing(LogReader(folder, KEY)) as reader:
        return list(reader.read_from(0))


def verify_chained(entries: Sequence[bytes]) -> Chain:
    """Check seq and previous hash of each entry from the first one on; gives the chain behind them."""
    chain = new_chain()
    for raw in entries:
        entry = parse_entry(raw)
        assert (entry.seq, entry.prev) == (chain.size, chain.head)
        chain.head = entry.leaf_hash.hex()
        chain.tree.append(entry.leaf_hash)
    return chain
