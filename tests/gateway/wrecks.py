"""A gateway's folder with a log in it, to be damaged: real keys and entries, several segments, a full WAL."""

from __future__ import annotations

import shutil
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coldseal.core.log.record import Chain, parse_entry
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.log import Log as Store
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import segment_path, settle_segment, wal_path
from coldseal.gateway.store.space import Limits
from coldseal.signing.keys import write_private_key
from coldseal.signing.private_files import write_private_file
from tests.sealed import SealedLog, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from coldseal.core.log.record import Entry

STORE_KEY = bytes(range(32))
DAY_MS = 86_400_000


@dataclass
class Wreck:
    """A folder with a configuration, keys and a log.

    Attributes:
        folder: of the configuration.
        log: what was sealed.
        sizes: entries in each group, in order.
        starts: first seqs of the segments.
    """

    folder: Path
    log: SealedLog
    starts: list[int] = field(default_factory=lambda: [0])

    @property
    def config(self) -> GatewayConfig:
        """Load the configuration as it counts now."""
        return load_gateway(self.folder / "gateway.toml")

    @property
    def store(self) -> Path:
        """The log's folder."""
        return self.folder / "data" / "log"

    @property
    def last(self) -> Path:
        """The segment that was written last."""
        return segment_path(self.store, self.starts[-1])

    @property
    def wal(self) -> Path:
        """Its WAL."""
        return wal_path(self.last)

    def segment(self, number: int) -> Path:
        """Give a segment's file."""
        return segment_path(self.store, self.starts[number])

    def entries(self) -> list[bytes]:
        """Read the whole log."""
        with closing(LogReader(self.store, STORE_KEY)) as reader:
            return list(reader.read_from(0))

    def parsed(self) -> Iterator[Entry]:
        """Read the whole log and parse it."""
        return map(parse_entry, self.entries())

    def copy(self, folder: Path) -> Wreck:
        """Give the same in another folder."""
        shutil.copytree(self.folder, folder)
        return Wreck(folder, self.log, self.starts)


async def make_wreck(
    folder: Path,
    groups: Sequence[int],
    *,
    rolls: Sequence[int] = (),
    mode: str = "record",
    is_settled: bool = False,
    text: str = "probe-1",
) -> Wreck:
    """Make a folder with a log.

    Args:
        folder: new.
        groups: entries that are committed together, each time; every other one has a checkpoint.
        rolls: numbers of groups behind which the segment ends.
        mode: the sealing mode.
        is_settled: the log was closed in order; else it looks as after a crash, with its WAL.
        text: name of the sensor in each reading; a long one makes long entries.
    """
    log = SealedLog(mode=mode)
    made = Wreck(folder, log)
    configure(folder, log)
    store = Store.open(
        made.store,
        STORE_KEY,
        Limits(limit_mb=512, reserve_mb=1),
        new=Chain(log.origin, log.keys.record.kid),
        now_ms=20_000 * DAY_MS,
    )
    before, settings = 0, [log.entries[0]]
    for number, count in enumerate(groups):
        log.grow(count if number else count - 1, text=text)
        note = log.checkpoint() if number % 2 or mode == "checkpoint" else None
        group = Group(
            entries=log.entries[before:], chain=log.chain_at(log.size), checkpoint=note, settings=settings
        )
        await store.commit(group)
        before, settings = log.size, []
        if number in rolls:
            await store.roll(20_000 * DAY_MS)
            made.starts.append(log.size)
    if not is_settled:
        for first in made.starts[:-1]:
            settle_segment(made.store, first, STORE_KEY)
        kept = folder / "kept"
        shutil.copytree(made.store, kept)
        await store.close()
        shutil.rmtree(made.store)
        kept.rename(made.store)
        for path in made.store.glob("*-shm"):
            path.unlink()
    else:
        await store.close()
    return made


def configure(folder: Path, log: SealedLog) -> None:
    """Write a configuration and the keys of a log."""
    folder.mkdir(parents=True)
    keys = log.keys
    for name, signer in (("record", keys.record), ("checkpoint", keys.checkpoint), ("interop", keys.interop)):
        write_private_key(folder / f"{name}.pem", key_of(signer))
    write_private_file(folder / "store.key", STORE_KEY.hex().encode())
    (folder / "data").mkdir()
    (folder / "gateway.toml").write_text(
        f'[gateway]\norigin = "{log.origin}"\nsite = "site-7"\nsignature = "{log.mode}"\n'
        '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:1"\npasswords = "passwords"\n[http]\nlisten = ""\n'
    )


def flip(path: Path, at: int, bit: int = 0) -> None:
    """Turn one bit of a file."""
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))


def cut(path: Path, size: int) -> None:
    """Cut a file."""
    with path.open("r+b") as file:
        file.truncate(size)


def blank(path: Path, at: int, count: int = 512) -> None:
    """Fill a part of a file with zeros, as a lost sector reads."""
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(count))
