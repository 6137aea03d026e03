"""Counts ended segments in the TPM, so that a disk which was put back is noticed without another machine.

Promise: at each ended segment the chip's counter is raised, and the chip certifies its value together with
the hash of the checkpoint there. A start on a disk that knows fewer is refused. Stands outside the commit
path; between two ends of segments receipts tell more.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import ExitStack, closing
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.attestation.counts import BadCountError, parse_count, verify_count
from coldseal.core.log.checkpoint import parse_note
from coldseal.core.log.keys import history_of
from coldseal.core.log.signature import low_s
from coldseal.errors import ColdsealError, InputError, TrustError, UnavailableError
from coldseal.gateway.refusal import COUNTER, Refusal, RolledBackError, write_refusal
from coldseal.gateway.store.database import fetch, open_database, translated
from coldseal.gateway.store.patience import beside_the_loop
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.writer import LOG_FOLDER
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.holders import open_counter

if TYPE_CHECKING:
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.standby import Standby
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.observe.metrics import GatewayMetrics
    from coldseal.signing.tpm.counter import TpmCounter

NAME: Final = "counter.db"
_HERE: Final = Path()  # paths in a configuration are absolute once it is loaded
LOOK_S: Final = 1.0
"""Pause between two looks whether a segment has ended."""
TRY_AGAIN_S: Final = 10.0
"""The same while the chip does not answer."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS counted (
    value INTEGER PRIMARY KEY,
    state INTEGER NOT NULL,
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    attest BLOB NOT NULL,
    signature BLOB NOT NULL
) STRICT;
"""

_log = Log("gateway.counter")


class State(IntEnum):
    """How far a count has come."""

    BEGUN = 0
    """The counter is being made: any value is right."""
    PLANNED = 1
    """The chip is about to be raised to this value."""
    CERTIFIED = 2
    """The chip has certified this value."""
    ACCEPTED = 3
    """The value was taken over as it was: at the beginning, or by a person's decision."""


class Counted(NamedTuple):
    """One count."""

    value: int
    state: State
    origin: str
    size: int
    attest: bytes = b""
    signature: bytes = b""


class Book:
    """The counts on disk; used by one thread at a time."""

    def __init__(self, directory: Path, key: bytes, *, readonly: bool = False) -> None:
        """Open ``counter.db`` in the gateway's data folder, or make it.

        Raises:
            OperatorError: the key is not the file's.
            UnavailableError: the file cannot be opened, or is not there yet.
        """
        path = directory / NAME
        self._what = str(path)
        self._connection = open_database(path, key, readonly=readonly, schema="" if readonly else _SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def newest(self) -> Counted | None:
        """Give the newest count; None if there is none."""
        with translated(self._what):
            rows = fetch(self._connection, "SELECT * FROM counted ORDER BY value DESC LIMIT 1", ())
        return None if not rows else Counted(rows[0][0], State(rows[0][1]), *rows[0][2:])

    def all(self) -> list[Counted]:
        """Give all counts, rising."""
        with translated(self._what):
            rows = fetch(self._connection, "SELECT * FROM counted ORDER BY value", ())
        return [Counted(row[0], State(row[1]), *row[2:]) for row in rows]

    def keep(self, found: Counted) -> None:
        """Write a count; durable on return."""
        with translated(self._what), self._connection:
            self._connection.execute("INSERT OR REPLACE INTO counted VALUES (?, ?, ?, ?, ?, ?)", found)

    def begin_anew(self, found: Counted) -> None:
        """Forget what was counted, but for this."""
        with translated(self._what), self._connection:
            self._connection.execute("DELETE FROM counted")
            self._connection.execute("INSERT INTO counted VALUES (?, ?, ?, ?, ?, ?)", found)


class CounterLostError(TrustError):
    """The chip's counter is not the one that the disk knows of: another chip, or a cleared one."""

    verdict = "counter-lost"


class Counting:
    """Counts one log's ended segments.

    Args:
        config: the gateway's configuration, with a counter.
        log: the log.
        store_key: opens the book.
        clock: gives the moment.
        metrics: where it is shown.
        standby: says whether the chip signs checkpoints.
    """

    def __init__(
        self,
        config: GatewayConfig,
        log: EntryLog,
        store_key: bytes,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        standby: Standby,
    ) -> None:
        """Take the parts."""
        self._config, self._log, self._key = config, log, store_key
        self._clock, self._metrics, self._standby = clock, metrics, standby
        self._counted = 0
        self._shown = "not counted yet"
        self._fault = ""

    async def run(self) -> None:
        """Count each segment that ends, until cancelled."""
        while True:
            try:
                await self.look()
            except RolledBackError as error:
                write_refusal(self._config.gateway.data, error.refusal)
                return
            except ColdsealError as error:
                self._note(str(error))
            await asyncio.sleep(TRY_AGAIN_S if self._fault else LOOK_S)

    async def look(self) -> None:
        """Count the newest segment's end, if that is not done.

        Raises:
            RolledBackError: the chip has counted more than this disk knows.
            ColdsealError: the chip is away, or its counter is lost.
        """
        size = self._log.segment_first
        if self._counted and self._counted >= size and not self._fault:
            return
        if self._standby.is_stand_in:
            raise UnavailableError("the TPM's counter", "software signs checkpoints in the chip's place")
        now_ms = self._clock.now().t_ms
        newest = await beside_the_loop(lambda: self._count(size, now_ms))
        self._counted = max(size, 1)
        self._note("", newest.value)
        self._shown = f"{newest.value}, certified at {newest.size} entries"

    def _count(self, size: int, now_ms: int) -> Counted:
        """Ask the chip, with connections of its own: this runs in a thread."""
        chip, origin, data = _chip(self._config), self._config.gateway.origin, self._config.gateway.data
        with ExitStack() as stack:
            book = stack.enter_context(closing(Book(data, self._key)))
            reader = stack.enter_context(closing(LogReader(data / LOG_FOLDER, self._key)))
            refusal = compare(origin, reader, book, chip, now_ms=now_ms)
            if refusal is not None:
                raise RolledBackError(refusal)
            newest = book.newest()
            if newest is None or newest.state is State.BEGUN:
                newest = begin(origin, book, chip, is_new=newest is None)
            found = reader.checkpoint_at_most(size) if size else None
            is_done = newest.origin == origin and newest.size >= size and newest.state is State.CERTIFIED
            if found is None or found.size != size or is_done:
                return newest
            value = newest.value if newest.state is State.PLANNED else newest.value + 1
            planned = Counted(value, State.PLANNED, origin, size)
            book.keep(planned)
            if (chip.read() or 0) < value:
                chip.increment()
            stated = chip.certify(hashlib.sha256(parse_note(found.note).text).digest())
            counted = Counted(value, State.CERTIFIED, planned.origin, size, stated.attest, stated.signature)
            _require_value(counted)
            book.keep(counted)
        _log.emit(events.COUNTER_RAISED, value=value, size=size)
        return counted

    def _note(self, fault: str, value: int = 0) -> None:
        """Say once when the counter is lost, and once when it is back."""
        if fault and not self._fault:
            _log.emit(events.COUNTER_AWAY, error=fault)
        elif self._fault and not fault:
            _log.emit(events.COUNTER_BACK, value=value)
        self._fault = fault
        self._metrics.hardware_counter_away.set(bool(fault))
        if value:
            self._metrics.hardware_counter.set(value)

    def status(self) -> str:
        """Say how it stands, for a person."""
        return f"away: {self._fault}" if self._fault else self._shown


def require_counted(config: GatewayConfig, reader: LogReader, store_key: bytes, now_ms: int) -> None:
    """Insist at the start that the chip has counted no more than this disk knows; one away is asked later.

    Raises:
        RolledBackError: it has; it is on disk that this gateway refuses.
        OperatorError: the driver is not installed.
    """
    if not config.hardware.counter:
        return
    try:
        chip = _chip(config)
        with closing(Book(config.gateway.data, store_key)) as book:
            refusal = compare(config.gateway.origin, reader, book, chip, now_ms=now_ms)
    except (UnavailableError, CounterLostError) as error:
        _log.emit(events.COUNTER_AWAY, error=str(error))
        return
    if refusal is not None:
        write_refusal(config.gateway.data, refusal)
        raise RolledBackError(refusal)


def compare(origin: str, reader: LogReader, book: Book, chip: TpmCounter, *, now_ms: int) -> Refusal | None:
    """Hold the chip against the disk.

    Args:
        origin: the log's name.
        reader: the log.
        book: what was counted.
        chip: the counter.
        now_ms: UTC now, Unix milliseconds.

    Returns:
        Why the log must not go on; None if the disk knows of all that was counted.

    Raises:
        CounterLostError: the chip's counter is gone, or lower than it was.
        UnavailableError: the chip is away.
    """
    newest, value, held = book.newest(), chip.read(), reader.size()
    if newest is None:
        known, at = (0, 0) if held else (value or 0, 0)
    elif newest.state is State.BEGUN:
        return None
    else:
        known, at = newest.value, newest.size if newest.origin == origin else 0
    least = known - 1 if newest is not None and newest.state is State.PLANNED else known
    if newest is not None and (value is None or value < least):
        raise CounterLostError(f"the TPM's counter is {value}, it was {known}: another or a cleared chip")
    if (value or 0) <= known and at <= held and (newest is None or not at or _is_of(newest, reader)):
        return None
    return Refusal(
        origin=origin,
        found_ms=now_ms,
        held=held,
        known=max(at, held),
        root="",
        source=COUNTER,
        note="",
        counted=value or 0,
        certified=known,
    )


def begin(origin: str, book: Book, chip: TpmCounter, *, is_new: bool) -> Counted:
    """Make the counter, and take its first value over.

    Raises:
        UnavailableError: the chip is away.
        OperatorError: the chip refuses.
    """
    if is_new:
        book.keep(Counted(0, State.BEGUN, origin, 0))
    value = chip.read()
    if value is None:
        chip.define()
    value = value or chip.increment()
    found = Counted(value, State.ACCEPTED, origin, 0)
    book.begin_anew(found)
    return found


def accept(config: GatewayConfig, store_key: bytes) -> int:
    """Take the chip's counter over as it is: a person has decided about a disk that was put back.

    Raises:
        UnavailableError: the chip is away.
        OperatorError: the driver is not installed, or the chip refuses.
    """
    with closing(Book(config.gateway.data, store_key)) as book:
        return begin(config.gateway.origin, book, _chip(config), is_new=True).value


def _chip(config: GatewayConfig) -> TpmCounter:
    """Give the counter that a configuration names."""
    return open_counter(config.keys.checkpoint, _HERE, config.hardware.counter)


def _require_value(counted: Counted) -> None:
    """Insist that what the chip certified is the count.

    Raises:
        CounterLostError: it is another value: somebody else raises the counter.
    """
    try:
        value, _ = parse_count(counted.attest)
    except InputError as error:
        raise CounterLostError(f"the certification of {counted.value} is none: {error}") from error
    if value != counted.value:
        what = f"the TPM certified {value}, expected {counted.value}"
        raise CounterLostError(f"{what}: somebody else raises its counter")


def _is_of(counted: Counted, reader: LogReader) -> bool:
    """Whether a certification, once it is one, is the chip's and of this very log."""
    if counted.state is not State.CERTIFIED:
        return True
    found = reader.checkpoint_at_most(counted.size)
    if found is None or found.size != counted.size:
        return True  # pruned, or over a hole that the log states: there is nothing to compare
    key = history_of(counted.origin, reader.settings()).at(counted.size).checkpoint[0]
    try:
        text, signature = parse_note(found.note).text, low_s(counted.signature)
        return verify_count(counted.attest, signature, text, key) == counted.value
    except (BadCountError, InputError):
        return False
