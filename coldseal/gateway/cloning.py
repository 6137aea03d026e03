"""A log put on disk again from the service's copy, and a new gateway that goes on behind it.

Promise: what is written is byte by byte what the log sealed: held against the cosigned tree, of one origin,
gapless, each entry behind the one before. A copy that was interrupted goes on where it was. The memory of
what each device has sent goes over to the next log, so that nothing is sealed twice.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coldseal.core.access import Action
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import Note, cosigned_at, parse_note
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import Chain, parse_entry
from coldseal.core.log.succession import next_origin
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.clock import Clock, render_time
from coldseal.gateway.continued import LAST, RECEIPT, write_continued
from coldseal.gateway.copying import FalseCopyError, ServiceCopy
from coldseal.gateway.persons import Asked, Directory, access_data
from coldseal.gateway.replacing import QUARANTINE, in_order
from coldseal.gateway.store.journal import SETTINGS
from coldseal.gateway.store.log import Group, Log
from coldseal.gateway.store.reader import HEAD_NAME, LogReader
from coldseal.gateway.store.space import Limits
from coldseal.gateway.uplink.contact import own_keys, verify_own_lines
from coldseal.gateway.uplink.receipts import Receipts, StoredReceipt, UplinkStatus
from coldseal.gateway.writer import (
    LOG_FOLDER,
    known_messages,
    make_journal,
    open_keys,
    require_same,
    start_drafts,
)
from coldseal.signing.keys import open_ecdsa, path_of
from coldseal.signing.private_files import (
    make_private_folder,
    read_private_file,
    sync_directory,
    write_private_file,
)
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Sequence

    from coldseal.core.redelivery import Redelivery
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.store.drafts import Draft

BEFORE: Final = "before"
"""Folder below the data folder with the logs that this gateway continues, each in a folder of its own."""
CONFIG: Final = "gateway.toml"
GROUP_ENTRIES: Final = 4096
_HERE: Final = Path()
DRAFT, READY = "recovering", "recovered"
"""Folders below the data folder: what is to take the log's place, being made and whole (see `recovery`)."""
_SECRETS: Final = ("keys.record", "keys.checkpoint", "keys.interop", "store.key")


class Cloned(msgspec.Struct, frozen=True):
    """What a clone made.

    Args:
        before: folder of the log that was copied; its `gateway.toml` exports evidence.
        entries: how many it has.
        origin: of the log that goes on.
    """

    before: Path
    entries: int
    origin: str


class _Body(msgspec.Struct):
    """What must be known of an entry to put it behind the one before; it was judged when it was delivered."""

    log: str
    seq: int
    prev: str
    kid: str
    kind: str
    t: str
    src: dict[str, Any] = {}


class _Sealed(msgspec.Struct):
    """An entry."""

    body: _Body


_DECODER: Final = msgspec.json.Decoder(_Sealed)


class Building:
    """Appends entries that were sealed before to a log, as they are.

    Args:
        log: open for writing.
        known: learns what devices have sent.
        told: is told how far it is.
    """

    def __init__(self, log: Log, known: Redelivery, told: Callable[[int], None]) -> None:
        """Stand behind the last entry."""
        self._log, self._known, self._told = log, known, told
        self._chain = log.chain
        self._entries: list[bytes] = []
        self._leaves: list[bytes] = []
        self._settings: list[bytes] = []

    async def add(self, entries: Iterable[bytes]) -> None:
        """Take entries; each must continue the one before.

        Raises:
            FalseCopyError: one does not.
            UnavailableError, TrustError: they cannot be written.
        """
        for raw in entries:
            ends_ms = self._take(raw)
            if ends_ms or len(self._entries) >= GROUP_ENTRIES:
                await self._flush(is_last=bool(ends_ms))
            if ends_ms:
                await self._log.roll(ends_ms)

    async def finish(self, note: bytes = b"") -> None:
        """Write what is left, with a checkpoint of the log over all of it, if there is one."""
        await self._flush(checkpoint=note or None, is_last=True)

    def _take(self, raw: bytes) -> int:
        """Take one entry; gives its time in milliseconds if the segment ends with it, else 0."""
        chain = self._chain
        seq = chain.size + len(self._entries)
        try:
            entry = _DECODER.decode(raw).body
        except (msgspec.DecodeError, UnicodeDecodeError) as fault:
            raise FalseCopyError(f"entry {seq}", str(fault)) from fault
        if (entry.log, entry.seq, entry.prev) != (chain.log, seq, chain.head):
            raise FalseCopyError(f"entry {seq}", "it does not continue the one before")
        leaf = leaf_hash(raw)
        chain.head, chain.kid = leaf.hex(), entry.kid
        self._entries.append(raw)
        self._leaves.append(leaf)
        self._known.learn(entry.src)
        if entry.kind in SETTINGS:
            self._settings.append(raw)
        return milliseconds(entry.t) if entry.kind == "segment" else 0

    async def _flush(self, *, checkpoint: bytes | None = None, is_last: bool = False) -> None:
        """Commit what was taken."""
        if not self._entries and not is_last:
            return
        self._chain.tree.extend(self._leaves)
        group = Group(
            entries=self._entries,
            chain=self._chain,
            checkpoint=checkpoint,
            snapshot=self._known.snapshot() if is_last else None,
            settings=self._settings,
        )
        await self._log.commit(group, is_own=True)
        self._entries, self._leaves, self._settings = [], [], []
        self._told(self._chain.size)


@asynccontextmanager
async def opened(config: GatewayConfig, folder: Path, origin: str) -> AsyncIterator[Log]:
    """Open a log in a folder of its own, or begin it there; its WAL is kept short meanwhile.

    Raises:
        OperatorError, UnavailableError, TrustError: as `Log.open`.
    """
    store, key = config.store, read_symmetric_key(config.store.key, _HERE)
    limits = Limits(
        limit_mb=store.limit_mb, reserve_mb=store.reserve_mb, segment_entries=store.segment_entries
    )
    log = Log.open(
        folder,
        key,
        limits,
        new=Chain(origin, open_ecdsa(config.keys.record, base=_HERE).kid),
        now_ms=Clock().now().t_ms,
    )
    try:
        upkeep = asyncio.ensure_future(log.maintain())
        try:
            yield log
        finally:
            upkeep.cancel()
            await asyncio.wait([upkeep])
    finally:
        await log.close()


def own_note(note: bytes, origin: str) -> bytes:
    """Give a checkpoint as the log itself signed it, without cosignatures."""
    parsed = parse_note(note)
    return Note(parsed.text, tuple(line for line in parsed.signatures if line.name == origin)).encode()


def milliseconds(t: str) -> int:
    """Read an entry's time."""
    return round(datetime.fromisoformat(t).timestamp() * 1000)


async def copy_log(config: GatewayConfig, folder: Path, told: Callable[[int, int], None]) -> None:
    """Write the service's copy of the configured log into a folder, with its receipt beside.

    Args:
        config: the gateway's configuration.
        folder: gets `log`, `uplink.db`, the last receipt, and a configuration for exports.
        told: is told how many entries are done, of how many.

    Raises:
        OperatorError, UnavailableError, TrustError: it cannot be fetched, written, or believed.
    """
    origin = config.gateway.origin
    async with ServiceCopy(config) as copy:
        size, note = await copy.size(), await copy.checkpoint()
        async with opened(config, folder / LOG_FOLDER, origin) as log:
            known = known_messages(config, log)
            building = Building(log, known, lambda done: told(done, size))
            if log.size < size:
                async for part in copy.stream(log.size, size):
                    await building.add(part)
                await building.finish(own_note(note, origin))
            keys = own_keys(log.reader, origin)
    if verify_own_lines(note, keys) < len(keys[-2:]):
        raise FalseCopyError("checkpoint", "the log's own keys did not sign it")
    now_ms = Clock().now().t_ms
    _keep(config, folder, StoredReceipt(size, cosigned_at(parse_note(note), copy.witness), now_ms, note))


def _keep(config: GatewayConfig, folder: Path, receipt: StoredReceipt) -> None:
    """Put the receipt of a copied log beside it, and what it can be read and exported with."""
    with closing(Receipts(folder, read_symmetric_key(config.store.key, _HERE))) as receipts:
        receipts.keep(receipt, UplinkStatus(published=receipt.size, receipt_ms=receipt.received_ms))
    (folder / LAST).write_bytes(receipt.note)
    (folder / CONFIG).write_text(_reading_config(config))


async def clone(config: GatewayConfig, keys: Path, told: Callable[[int, int], None], why: str) -> Cloned:
    """Restore a lost gateway on new hardware: its log for reading, and a log that continues it.

    Args:
        config: the configuration of the lost gateway; its data folder holds no log.
        keys: folder with the key backup: the files that the configuration names.
        told: is told how many entries are done, of how many.
        why: in words.

    Raises:
        OperatorError: the user of this process may not, which cannot be put on record where there is no log;
            there is a log already, or a key is missing or another one.
        UnavailableError, TrustError: the copy cannot be fetched or believed, or the disk cannot be written.
    """
    data, origin = config.gateway.data, config.gateway.origin
    person = Directory(config.administration).require(Action.RECOVER)
    access = access_data(person, Asked(Action.RECOVER, why, {"do": "clone"}), "allowed")
    if (data / LOG_FOLDER / HEAD_NAME).exists():
        raise OperatorError(f"{data} holds a log already", "Give the new gateway an empty data folder")
    restore_keys(config, keys)
    folder = data / BEFORE / origin.replace("/", "_")
    await copy_log(config, folder, told)
    store_key = read_symmetric_key(config.store.key, _HERE)
    with closing(LogReader(folder / LOG_FOLDER, store_key)) as reader:
        size = reader.size()
        (last,) = reader.read(size - 1, max_entries=1)
    t = render_time(Clock().now().t_ms)
    gap: dict[str, canonical.Value] = {
        "cause": "replaced", "from": parse_entry(last).t, "noticed": t, "to": t,
    }  # fmt: skip
    async with opened(config, folder / LOG_FOLDER, origin) as before:
        known = known_messages(config, before)
    note = (folder / LAST).read_bytes()
    await begin_next(config, note, known, [("access", canonical.parse(access, where="access")), ("gap", gap)])
    return Cloned(folder, size, next_origin(origin))


async def begin_next(
    config: GatewayConfig,
    note: bytes,
    known: Redelivery,
    records: Sequence[tuple[str, dict[str, canonical.Value]]],
) -> Path:
    """Begin the log that continues the configured one, and have it in force: whole or not at all.

    Args:
        config: of the log before.
        note: the last receipt of that log, which the new one cites.
        known: what its devices have sent.
        records: kinds and data of what the new log says behind its genesis.

    Returns:
        Where what was in its place is kept.

    Raises:
        OperatorError, UnavailableError, TrustError: as `Log.open`, or the receipt cannot be cited.
    """
    origin, draft = next_origin(config.gateway.origin), begin_draft(config.gateway.data)
    write_continued(draft, origin, note)
    after = f"file:{draft / RECEIPT}"
    gateway = msgspec.structs.replace(config.gateway, origin=origin, after=after, data=draft)
    new = msgspec.structs.replace(config, gateway=gateway)
    keys, clock = open_keys(config), Clock()
    async with opened(new, draft / LOG_FOLDER, origin) as log:
        require_same(new, log)
        journal = make_journal(new, log, keys, clock, None)
        drafts: list[Draft] = start_drafts(new, log, keys, journal, clock)
        drafts += [journal.draft(kind, canonical.encode(each), clock.now()) for kind, each in records]
        end: dict[str, canonical.Value] = {"reason": "the command that began this log has ended"}
        drafts.append(journal.draft("shutdown", canonical.encode(end), clock.now()))
        for at in range(0, len(drafts), GROUP_ENTRIES):
            await journal.append(drafts[at : at + GROUP_ENTRIES], known.snapshot)
    return put_in_force(config)


def begin_draft(data: Path) -> Path:
    """Give an empty folder for a log that is to take the place of the one in a data folder."""
    draft = data / DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700, parents=True)
    return draft


def put_in_force(config: GatewayConfig) -> Path:
    """Put what is in the draft in the place of the log, which goes into quarantine; gives that folder.

    It is in force whole from one rename on; broken off, the next start or command goes on with it.

    Raises:
        UnavailableError: a folder cannot be moved.
    """
    data, t = config.gateway.data, render_time(Clock().now().t_ms)
    numbers = [int(path.name[:4]) for path in (data / QUARANTINE).glob("[0-9][0-9][0-9][0-9]-*")]
    stamp = t.replace(":", "").partition(".")[0]
    name = f"{max(numbers, default=0) + 1:04d}-{stamp}Z"
    try:
        (data / DRAFT / QUARANTINE).write_text(name)
        sync_directory(data / DRAFT)
        (data / DRAFT).rename(data / READY)
        sync_directory(data)
    except OSError as error:
        raise UnavailableError(str(data), str(error.strerror)) from error
    in_order(config)
    return data / QUARANTINE / name


def restore_keys(config: GatewayConfig, backup: Path) -> None:
    """Put the key files of a backup where the configuration names them; what is there must be the same.

    Raises:
        OperatorError: one is missing, or another one is there.
    """
    named = (config.keys.record, config.keys.checkpoint, config.keys.interop, config.store.key)
    for setting, uri in zip(_SECRETS, named, strict=True):
        path = path_of(uri, _HERE)
        content = read_private_file(backup / path.name)
        if not path.exists():
            make_private_folder(path.parent)
            write_private_file(path, content)
        elif read_private_file(path) != content:
            raise OperatorError(
                f"{path} is not the {setting} of {backup}", "Move it away, or name the right backup"
            )


def _reading_config(config: GatewayConfig) -> str:
    """Write a configuration with which the copied log can be read and exported, and nothing else."""
    gateway, uplink = config.gateway, config.uplink
    return (
        f'[gateway]\norigin = "{gateway.origin}"\nsite = "{gateway.site}"\ndata = "."\n'
        f'signature = "{gateway.signature}"\n'
        '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:1883"\npasswords = "none"\n'
        f'[store]\nkey = "{config.store.key}"\n'
        f'[uplink]\nurl = "{uplink.url}"\ncertificate = "{uplink.certificate}"\nkey = "{uplink.key}"\n'
        f'ca = "{uplink.ca}"\nwitness = "{uplink.witness}"\n'
    )
