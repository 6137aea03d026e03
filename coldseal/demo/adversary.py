"""What an adversary does with the files and keys of a gateway, or with the service's name and key.

Everything is made with the keys of a work folder, as somebody who took them would make it. Nothing here is
caught here: the programs and the verifier are to do that. Never for a log that anybody needs.
"""

from __future__ import annotations

import asyncio
import hashlib
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from aiohttp import web

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import (
    Checkpoint,
    Note,
    checkpoint_note,
    parse_checkpoint_text,
    parse_note,
    parse_vkey,
)
from coldseal.core.log.delivery.sender import Terms, begin
from coldseal.core.log.delivery.wire import ANSWER_TYPE, Answer, Receipt, encode_receipt, parse_batch
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import Chain, Entry, frame, parse_entry, parse_frames
from coldseal.core.log.signature import low_s
from coldseal.gateway.clock import Clock, render_time
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.store.database import fetch, open_database
from coldseal.gateway.store.log import Group, Limits, Log
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import segment_path
from coldseal.gateway.uplink.batches import Batches
from coldseal.gateway.uplink.https import Channel
from coldseal.gateway.writer import LOG_FOLDER, open_keys
from coldseal.identity.contexts import client_context, server_context
from coldseal.service.config import load_service
from coldseal.signing.keys import open_ed25519
from coldseal.signing.secrets import read_symmetric_key

MANIFEST: Final = "manifest.json"
TABLE: Final = "readings.csv"
VALUE: Final = b'"v":"'
MANY: Final = 65_536
TIMEOUT_S: Final = 10.0
_SETTINGS: Final = frozenset({"genesis", "key", "config"})
_HERE: Final = Path()  # paths in a configuration are absolute once it is loaded
_TRIGGERS: Final = tuple(
    f"DROP TRIGGER IF EXISTS {table}_{deed}"
    for table in ("groups", "checkpoints")
    for deed in ("insert", "update", "delete")
)


@dataclass(frozen=True, slots=True)
class Loot:
    """A gateway's configuration with all that it names: the disk, and every key on it."""

    config: GatewayConfig
    store_key: bytes

    @property
    def folder(self) -> Path:
        """The log's folder."""
        return self.config.gateway.data / LOG_FOLDER

    def entries(self) -> list[bytes]:
        """Read the whole log."""
        with closing(LogReader(self.folder, self.store_key)) as reader:
            return list(reader.read_from(0))


def take(config: Path) -> Loot:
    """Take a gateway's configuration file, and with it everything."""
    loaded = load_gateway(config)
    return Loot(loaded, read_symmetric_key(loaded.store.key, _HERE))


def flip(loot: Loot) -> int:
    """Change a digit of a reading in the store, with the store key alone; gives its seq."""

    def change(raw: bytes) -> bytes:
        at = raw.index(VALUE) + len(VALUE)
        return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]

    return _exchange(loot, change)


def seal_anew(loot: Loot) -> int:
    """Put a reading under the record key of today, with the store key and that one; gives its seq."""
    key = open_keys(loot.config).record

    def change(raw: bytes) -> bytes:
        entry = parse_entry(raw)
        body = entry.body.replace(entry.kid.encode(), key.kid.encode())
        return b'{"body":%b,"sig":"%b"}' % (body, canonical.encode_base64(low_s(key.sign(body))).encode())

    return _exchange(loot, change)


def _exchange(loot: Loot, change: Callable[[bytes], bytes]) -> int:
    """Put another entry in the place of the first reading in the store; gives its seq."""
    with closing(open_database(segment_path(loot.folder, 0), loot.store_key)) as database:
        for statement in _TRIGGERS:
            database.execute(statement)
        for first, frames in fetch(database, "SELECT first, entries FROM groups ORDER BY first"):
            entries = parse_frames(frames)
            for place, raw in enumerate(entries):
                if b'"kind":"reading"' in raw:
                    entries[place] = change(raw)
                    update = "UPDATE groups SET entries = ? WHERE first = ?"
                    database.execute(update, (frame(entries), first))
                    return int(first + place)
    raise LookupError("the log holds no reading")


def cut_tail(loot: Loot, groups: int) -> int:
    """Delete the newest groups from the store, with the store key alone; gives the first seq that is gone."""
    with closing(open_database(segment_path(loot.folder, 0), loot.store_key)) as database:
        for statement in _TRIGGERS:
            database.execute(statement)
        first = int(fetch(database, "SELECT first FROM groups ORDER BY first DESC LIMIT ?", (groups,))[-1][0])
        database.execute("DELETE FROM groups WHERE first >= ?", (first,))
        database.execute("DELETE FROM checkpoints WHERE size > ?", (first,))
    return first


async def rewrite(loot: Loot) -> int:
    """Seal the whole log anew with all software keys, each reading in range; gives the first seq changed."""
    entries = loot.entries()
    changed = 0
    chain = Chain(loot.config.gateway.origin, open_keys(loot.config).record.kid)
    sealed: list[bytes] = []
    for raw in entries:
        entry = parse_entry(raw)
        data = {**entry.data}
        if entry.kind == "reading":
            changed = changed or entry.seq
            data["q"] = [{"n": "temperature", "u": "Cel", "v": "5.00"}]
        sealed.append(_seal(loot, chain, entry, data))
    for path in loot.folder.iterdir():
        path.unlink()
    await _commit(loot, sealed, chain)
    return changed


async def deliver(loot: Loot, port: int) -> None:
    """Send the whole log to the service, by the gateway's certificate, whatever the service had of it."""
    terms = Terms(parse_vkey(loot.config.uplink.witness), batch_entries=MANY)
    with closing(LogReader(loot.folder, loot.store_key)) as reader:
        batch = Batches(reader, terms).next(begin(0))
    if batch is not None:
        await post(loot, port, batch.body)


async def post(loot: Loot, port: int, body: bytes) -> Answer:
    """Send a batch to the service, by the gateway's certificate; gives what it says."""
    uplink = loot.config.uplink
    if uplink.certificate is None or uplink.key is None or uplink.ca is None:
        raise LookupError("the gateway has no uplink")
    context = client_context(uplink.certificate, uplink.transport, uplink.ca)
    async with Channel(f"https://localhost:{port}", context, timeout_s=TIMEOUT_S) as channel:
        return await channel.post(body, asyncio.Event())


async def append_stepped(loot: Loot, hours: int) -> int:
    """Seal three more readings with the record key, an hour off and without a `clock` entry; gives a seq."""
    entries = loot.entries()
    newest = parse_entry(entries[-1])
    model = next(found for found in map(parse_entry, reversed(entries)) if found.kind == "reading")
    chain = Chain(newest.log, newest.kid)
    for raw in entries:
        chain.tree.append(leaf_hash(raw))
    chain.head = newest.leaf_hash.hex()
    moment = datetime.fromisoformat(newest.t) + timedelta(hours=hours)
    mono = newest.tq["mono"]
    made: list[bytes] = []
    for number in range(1, 4):
        t_ms = round((moment + timedelta(seconds=number)).timestamp() * 1000)
        tq = {**newest.tq, "mono": int(str(mono)) + 1000 * number}
        made.append(_seal(loot, chain, model._replace(t=render_time(t_ms), tq=tq), {**model.data}))
    await _commit(loot, made, chain)
    return newest.seq + 1


def change_cell(bundle: Path, changed: Path) -> int:
    """Copy a bundle with another value in its table of readings, and sums that fit; gives the row's seq."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    head, row, *rest = files[TABLE].split(b"\n")
    cells = row.split(b",")
    cells[5] = b"0.1" + cells[5]
    files[TABLE] = b"\n".join((head, b",".join(cells), *rest))
    manifest = canonical.parse(files[MANIFEST], where=MANIFEST)
    sums: dict[str, canonical.Value] = {
        name: hashlib.sha256(data).hexdigest() for name, data in files.items() if name != MANIFEST
    }
    files[MANIFEST] = canonical.encode({**manifest, "files": sums})
    with zipfile.ZipFile(changed, "w") as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return int(cells[0])


@asynccontextmanager
async def false_service(config: Path, port: int) -> AsyncIterator[None]:
    """Run a service, with the real one's certificate and witness key, that cosigns what nobody sent it."""
    loaded = load_service(config)
    signer = open_ed25519(loaded.witness.key, base=_HERE)

    async def answer(request: web.Request) -> web.Response:
        sent = parse_checkpoint_text(parse_note(parse_batch(await request.read()).note).text)
        claimed = Checkpoint(sent.origin, sent.size + 1000, bytes(32))
        line = signer.cosign(loaded.service.name, claimed.text(), Clock().now().t_ms // 1000)
        made = Receipt(Note(claimed.text(), (line,)).encode(), claimed.size, claimed.size)
        return web.Response(body=encode_receipt(made), content_type=ANSWER_TYPE)

    app = web.Application(client_max_size=2**28)
    app.router.add_post("/v1/entries", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        tls = loaded.tls
        context = server_context(tls.certificate, tls.key, tls.client_ca)
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield
    finally:
        await runner.cleanup()


def _seal(loot: Loot, chain: Chain, entry: Entry, data: dict[str, canonical.Value]) -> bytes:
    """Seal an entry onto a chain with the gateway's record key, all but its place and data as it was."""
    sign: Callable[[bytes], bytes] = open_keys(loot.config).record.sign
    tq, src = canonical.encode({**entry.tq}), canonical.encode({**entry.src})
    return chain.seal(entry.kind, entry.t, tq, src, canonical.encode(data), sign)


async def _commit(loot: Loot, entries: list[bytes], chain: Chain) -> None:
    """Write entries behind the log, with a checkpoint that both checkpoint keys sign."""
    keys, origin = open_keys(loot.config), chain.log
    found = Checkpoint(origin, chain.size, chain.tree.root())
    lines = [key.note_signature(origin, found.text()) for key in (keys.checkpoint, keys.interop)]
    now_ms = Clock().now().t_ms
    log = Log.open(loot.folder, loot.store_key, Limits(), new=Chain(origin, chain.kid), now_ms=now_ms)
    try:
        settings = [raw for raw in entries if parse_entry(raw).kind in _SETTINGS]
        note = checkpoint_note(found, lines)
        await log.commit(Group(entries=entries, chain=chain, checkpoint=note, settings=settings))
    finally:
        await log.close()
