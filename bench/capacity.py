"""How much room a month of readings takes: sealed as the gateway seals them, packed, and read back.

Real signatures, payload hashes and encodings; values that wander as a store room's do. What is measured is
the log's folder, with checkpoints, tree hashes and the encryption's own bytes.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import closing
from hashlib import sha256
from typing import TYPE_CHECKING

from bench.report import Row
from coldseal.core.coldchain.reading import encode_reading, encode_source
from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.record import Chain
from coldseal.gateway.clock import render_time
from coldseal.gateway.sources.decode import decode
from coldseal.gateway.store.drafts import Draft, seal_drafts
from coldseal.gateway.store.log import Group, Limits, Log
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.sealing import Keys, Sealer
from coldseal.gateway.store.segments import segment_path, settle_segment
from coldseal.signing.keys import EcdsaSigner, Ed25519Signer, generate_interop_key, generate_record_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.rows import Bench

SENSORS, DAYS, A_DAY = 500, 30, 1440
MONTH = SENSORS * DAYS * A_DAY
BEGUN_MS = 1_800_000_000_000
_ORIGIN = "coldseal.example/site-7/gw-0001"
_CHECKPOINT, _GROUP = 256, 12


class Sensors:
    """Sensors that send temperature and humidity once a minute, each at a moment of its own."""

    def __init__(self) -> None:
        """Give each a name, a certificate, a count and a place in the minute."""
        self._chance = random.Random(7)
        fingerprints = [sha256(b"%d" % each).hexdigest()[:16] for each in range(SENSORS)]
        self._names = [(f"sensor-{each:04d}", found) for each, found in enumerate(fingerprints)]
        self._celsius = [5 + self._chance.random() for _ in self._names]
        self._order = sorted((self._chance.randrange(60_000), each) for each in range(SENSORS))

    def minute(self, number: int) -> Iterator[Draft]:
        """Give what they send in one minute."""
        for offset, each in self._order:
            yield self._draft(number, each, BEGUN_MS + number * 60_000 + offset + self._chance.randrange(40))

    def _draft(self, number: int, each: int, at_ms: int) -> Draft:
        """Encode one reading as the pipeline does; of its payload only the hash is kept."""
        self._celsius[each] += self._chance.gauss(0, 0.05)
        humidity = 40 + self._chance.random() * 10
        payload = (
            b'{"v":1,"seq":%d,"q":[{"n":"temperature","u":"Cel","v":%.2f},{"n":"humidity","u":"%%RH","v":%.1f}]}'
        ) % (number * 7 + each, self._celsius[each], humidity)
        decoded = decode(payload, received_ms=at_ms)
        device, fingerprint = self._names[each]
        source = encode_source(
            device,
            fingerprint,
            encode_base64(sha256(payload + os.urandom(8)).digest()),
            seq=decoded.seq,
            boot=decoded.boot,
            taken_at=decoded.taken_at,
            packet_id=1 + number % 65_535,
        )
        tq = b'{"boot":"0123abcd","err":%d,"mono":%d,"off":%d,"s":"synchronised"}'
        trust = tq % (3 + number % 2, at_ms - BEGUN_MS + 4_711, self._chance.choice((0, 0, 0, 1, -1)))
        return Draft(
            "reading", render_time(at_ms), trust, source, encode_reading("door", decoded.quantities, ())
        )


async def fill(folder: Path, entries: int, segments: int, key: bytes) -> Log:
    """Make a log of so many readings, whose segments have ended; it stays open."""
    keys = Keys(
        EcdsaSigner(generate_record_key()),
        EcdsaSigner(generate_record_key()),
        Ed25519Signer(generate_interop_key()),
    )
    log = Log.open(folder, key, Limits(), new=Chain(_ORIGIN, keys.record.kid), now_ms=BEGUN_MS)
    sealer, sensors, number = Sealer(keys, is_each_signed=True, beside=None), Sensors(), 0
    waiting: list[Draft] = []
    for _ in range(segments):
        end = log.size + entries // segments
        while log.size < end:
            while len(waiting) < _GROUP:
                waiting += sensors.minute(number)
                number += 1
            part, waiting = waiting[:_GROUP], waiting[_GROUP:]
            chain = log.chain
            sealed = seal_drafts(chain, part, keys.record.sign, is_each_signed=True)
            note = sealer.checkpoint(chain) if chain.size - log.checkpoint_size >= _CHECKPOINT else None
            await log.commit(Group(entries=sealed, chain=chain, checkpoint=note))
        await log.roll(BEGUN_MS)
    log.make_room()
    return log


def capacity(bench: Bench) -> Iterator[Row]:
    """Measure the room of packed readings, and how fast they are packed and read."""
    entries = 60_000 if bench.is_quick else 320_000
    folder, key = bench.place("capacity"), bytes(range(32))
    sizes, packing_s = asyncio.run(_pack(folder, entries, key))
    whole, packed = sizes
    reading = _reading_rate(folder, key)
    against = bench.verifying() * bench.cores
    today = SENSORS * A_DAY
    # the day under way is not packed yet, and packing it needs room beside it
    month = (MONTH - today) * packed + today * (whole + packed)
    made = f"{entries:,} signed readings of two quantities, random payload hashes, all tables, encrypted"
    yield Row(
        key="capacity",
        figure=f"room for {DAYS} days of {SENSORS} sensors, one reading a minute",
        value=month / 1e9,
        unit="GB",
        goal=8,
        sense="≤",
        note=f"{MONTH / 1e6:.1f} M readings, from {made}; the last day not packed, and being packed",
    )
    yield Row(
        key="capacity",
        figure="bytes on disk for a packed entry",
        value=packed,
        unit="bytes",
        yardstick="not packed",
        against=whole,
        goal=0.5,
        sense="≤",
        note=made,
    )
    yield Row(
        key="capacity",
        figure="entries read from packed segments, one core",
        value=reading,
        unit="/s",
        yardstick=f"verifying × {bench.cores} cores",
        against=against,
        goal=1,
        note="so that a drain waits for signatures, never for unpacking",
    )
    yield Row(
        key="capacity",
        figure="entries packed, for each second of processor time",
        value=entries / packing_s,
        unit="/s",
        note="read, packed, written, read back and held against the tree; a quarter of one core at most",
    )


async def _pack(folder: Path, entries: int, key: bytes) -> tuple[tuple[float, float], float]:
    """Fill and pack a log; gives bytes for an entry before and after, and processor seconds."""
    log = await fill(folder, entries, 4, key)
    try:
        ended = log.reader.segment_ends()
        starts = (0, *ended[:-1])
        for first in starts:
            settle_segment(folder, first, key)
        files = [segment_path(folder, first) for first in starts]
        before = sum(path.stat().st_size for path in files)
        begun = time.process_time()
        assert not await log.packer.pack_all(log.make_room)
        took = time.process_time() - begun
        after = sum(path.stat().st_size for path in files)
        return (before / log.size, after / log.size), took
    finally:
        await log.close()


def _reading_rate(folder: Path, key: bytes) -> float:
    """Read everything as the uplink does, in batches of 4,096; gives entries a second."""
    with closing(LogReader(folder, key)) as reader:
        begun, at, size = time.perf_counter(), 0, reader.size()
        while at < size:
            at += reader.read_frames(at).count
        return size / (time.perf_counter() - begun)
