"""Attacks on the gateway's disk, by somebody with the store key, that the gateway's next start refuses."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from coldseal.core.log.record import frame
from coldseal.gateway.store.database import StoreDamagedError, open_database
from coldseal.gateway.store.head import Head, HeadFile
from coldseal.gateway.store.reader import HEAD_NAME
from coldseal.gateway.store.segments import segment_path
from tests.attacks.attack import Attack, Caught, Play, Stage, Where, Who
from tests.sealed import SealedLog
from tests.trial import STORE_KEY, Site

FIRST, SECOND = 21, 41
"""Sizes of the log after its two groups."""

Tamper = Callable[[Path, SealedLog], int | None]
"""Changes the log's folder; gives the seq that the refusal must name, if it can name one."""


def start(tamper: Tamper) -> Play:
    """Write a log in two groups, keep a copy of the disk as it was between them, tamper, and start."""

    async def play(stage: Stage) -> Caught:
        site, log = Site(stage.folder), SealedLog()
        log.grow(FIRST - log.size).checkpoint()
        await site.store(log)
        shutil.copytree(site.gateway, old_image(site.gateway / "log"))
        log.grow(SECOND - log.size).checkpoint()
        await site.store(log)
        made_at = tamper(site.gateway / "log", log)
        try:
            await site.store(log)
        except StoreDamagedError as refusal:
            return Caught(refusal.verdict, refusal.seq, made_at)
        return Caught("")

    return play


def old_image(folder: Path) -> Path:
    """Give where the copy of the disk is kept."""
    return folder.parent.with_name("old-image")


def change(folder: Path, *statements: tuple[str, tuple[int | bytes, ...]]) -> None:
    """Change rows in the segment; what protects them from accidents is removed first."""
    with closing(open_database(segment_path(folder, 0), STORE_KEY)) as database:
        for table in ("groups", "checkpoints"):
            for deed in ("insert", "update", "delete"):
                database.execute(f"DROP TRIGGER IF EXISTS {table}_{deed}")
        for statement, values in statements:
            database.execute(statement, values)


def cut(folder: Path, log: SealedLog) -> int:
    """The newest rows are deleted from the store, with the checkpoints over them."""
    del log
    change(
        folder,
        ("DELETE FROM groups WHERE first >= ?", (FIRST,)),
        ("DELETE FROM checkpoints WHERE size > ?", (FIRST,)),
    )
    return FIRST


def flip(folder: Path, log: SealedLog) -> int:
    """A value is changed in a row that no start has looked at yet."""
    entries = log.entries[FIRST:SECOND]
    entries[5] = entries[5].replace(b'"v":"4.71"', b'"v":"5.71"')
    change(
        folder,
        ("DELETE FROM groups WHERE first >= ?", (FIRST,)),
        ("INSERT INTO groups VALUES (?, ?, ?)", (FIRST, len(entries), frame(entries))),
    )
    return FIRST + 6  # the entry behind it no longer continues the chain


def restore_segment(folder: Path, log: SealedLog) -> int:
    """The segment is put back from an old copy, without the head that stands beside it."""
    del log
    segment = segment_path(folder, 0)
    for path in folder.glob(f"{segment.name}*"):
        path.unlink()
    for path in (old_image(folder) / folder.name).glob(f"{segment.name}*"):
        shutil.copy(path, folder)
    return FIRST


def drop_head(folder: Path, log: SealedLog) -> None:
    """The head, which says how far the log had come, is deleted after the tail was cut."""
    cut(folder, log)
    (folder / HEAD_NAME).unlink()


def cut_with_head(folder: Path, log: SealedLog) -> None:
    """The newest rows are deleted, and the head, which nobody signs, is made to fit."""
    cut(folder, log)
    head = HeadFile(folder / HEAD_NAME)
    head.read()
    for _ in range(2):  # it stands in two slots
        head.write(Head(FIRST, log.chain_at(FIRST).tree.root()))
    head.close()


def of(line: str, tamper: Tamper) -> Attack:
    """Take a case."""
    how = " ".join((tamper.__doc__ or "").split())
    return Attack(line, Who.THIEF, how, Where.OPENING, "store-damaged", start(tamper))


ATTACKS: dict[str, Attack] = {
    "tail cut in the store": of("cut the tail after the last anchor", cut),
    "tail cut in the store, with its head": of("cut the tail after the last anchor", drop_head),
    "value changed in the store's tail": of("flip an entry", flip),
    "segment restored from an old disk image": of("restore an old disk image", restore_segment),
}
