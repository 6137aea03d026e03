"""Takes rejected messages in after all, once their schema is known: found in the log, decoded again, sealed.

Promise: a rejected entry is replayed once at most, also after a restart: the reading names it, and is looked
for in the log. The reading is flagged, stands where it is sealed, and is judged as one that came late. What
was too long to be kept, or only counted, cannot be replayed.
"""

from __future__ import annotations

import asyncio
import base64
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import structs

from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.reading import FLAG_REPLAYED, encode_reading
from coldseal.core.log import canonical
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.errors import ColdsealError, InputError, OperatorError
from coldseal.gateway.changing import drafts_of
from coldseal.gateway.projection import surviving
from coldseal.gateway.records import place_of
from coldseal.gateway.rejections import UNKNOWN_SCHEMA
from coldseal.gateway.sources.decode import sensor_of
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.evaluating import Evaluator
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.schemas import Book
    from coldseal.gateway.store.journal import Journal
    from coldseal.gateway.store.reader import LogReader

REQUEST: Final = "replay"
"""Name of the request; its fields are `device`, `reason`, `seq`, `after` and `why`."""

REPLAYABLE: Final = frozenset({UNKNOWN_SCHEMA, "payload"})
"""Reasons that another schema may cure."""

LOOKED_AT: Final = 100_000
"""Entries of the log that one request looks at."""

AT_ONCE: Final = 200
"""Messages that one request takes in."""

_REJECTED: Final = b'"kind":"rejected"'
_REPLAY: Final = b'"replay":{'
_log = Log("gateway.replaying")


class Rejected(NamedTuple):
    """A rejected entry, as far as people and a replay need it.

    Attributes:
        seq: its place.
        leaf: its leaf hash, hex.
        t: when the message was received.
        device: who sent it.
        topic: where it was published.
        reason: the reason's code.
        detail: the same in words.
        stands_for: so many messages.
        payload: the bytes; None where only their hash was kept.
        src: all that it says of its source.
    """

    seq: int
    leaf: str
    t: str
    device: str
    topic: str
    reason: str
    detail: str
    stands_for: int
    payload: bytes | None
    src: Mapping[str, Any]

    @property
    def is_replayable(self) -> bool:
        """Whether it can be decoded again."""
        return self.payload is not None and self.reason in REPLAYABLE


class Wanted(NamedTuple):
    """Which rejected entries are asked for; what is empty asks for all."""

    device: str = ""
    reason: str = ""
    seq: int | None = None

    def fits(self, found: Rejected | Wanted) -> bool:
        """Whether an entry is asked for."""
        return (
            self.device in {"", found.device}
            and self.reason in {"", found.reason}
            and self.seq in {None, found.seq}
        )


def rejected_of(raw: bytes) -> Rejected | None:
    """Read a rejected entry; None for another one."""
    if _REJECTED not in raw:
        return None
    entry = parse_entry(raw)
    if entry.kind != "rejected":
        return None
    src, data = entry.src, entry.data
    kept = src.get("payload")
    return Rejected(
        entry.seq,
        leaf_hash(raw).hex(),
        entry.t,
        str(src.get("dev", "")),
        str(src.get("topic", "")),
        str(data.get("reason", "")),
        str(data.get("detail", "")),
        count if isinstance(count := data.get("count", 1), int) else 1,
        base64.b64decode(kept) if isinstance(kept, str) else None,
        src,
    )


def replayed_of(raw: bytes) -> tuple[int, int] | None:
    """Give the place of the rejected entry that a reading was made of, and its own; None for another one."""
    if _REPLAY not in raw:
        return None
    entry = parse_entry(raw)
    said = entry.src.get("replay")
    seq = said.get("seq") if entry.kind == "reading" and isinstance(said, dict) else None
    return (seq, entry.seq) if isinstance(seq, int) else None


class Parked:
    """What is known of the log's rejected entries: those that can be replayed, and those that were.

    Attributes:
        waiting: the first, by place.
        done: place of the reading, by place of the rejected entry; -1 while it is being sealed.
        looked_at: entries of the log that were looked at.
    """

    def __init__(self) -> None:
        """Know nothing yet."""
        self.waiting: dict[int, Wanted] = {}
        self.done: dict[int, int] = {}
        self.looked_at = 0

    def look(self, reader: LogReader, most: int) -> int:
        """Look at the next entries; gives how many there are to look at still."""
        size = reader.size()
        end = min(size, self.looked_at + most)
        for raw in surviving(reader, self.looked_at, end):
            found, replayed = rejected_of(raw), replayed_of(raw)
            if found is not None and found.is_replayable:
                self.waiting[found.seq] = Wanted(found.device, found.reason, found.seq)
            if replayed is not None:
                self.done[replayed[0]] = replayed[1]
        self.looked_at = end
        return size - end

    def candidates(self, wanted: Wanted, after: int) -> Iterator[int]:
        """Give those that are asked for and were not replayed, in order."""
        for seq, each in self.waiting.items():
            if seq > after and seq not in self.done and wanted.fits(each):
                yield seq


class Replaying:
    """Does it in the running gateway.

    Args:
        book: the schemas that are known.
        reload: reads the schemas' folder again.
        open_reader: opens the log for reading beside its writer.
        evaluator: judges readings.
        journal: stamps drafts.
        pipeline: seals them in their place.
        clock: gives the moment.
    """

    def __init__(
        self,
        book: Book,
        *,
        reload: Callable[[], None],
        open_reader: Callable[[], LogReader],
        evaluator: Evaluator,
        journal: Journal,
        pipeline: Pipeline,
        clock: Clock,
    ) -> None:
        """Take the parts; nothing is read yet."""
        self._book, self._reload, self._open_reader = book, reload, open_reader
        self._evaluator, self._journal, self._pipeline = evaluator, journal, pipeline
        self._clock = clock
        self._parked = Parked()
        self._turn = asyncio.Lock()

    async def work(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        """Answer the request: what was taken in, what still cannot be, and after which place to ask again.

        Raises:
            OperatorError: a field or a schema is wrong, or the entry that is asked for cannot be replayed.
            UnavailableError: nothing can be sealed now.
        """
        wanted, after = _wanted(request), request.get("after", -1)
        if not isinstance(after, int) or isinstance(after, bool):
            raise OperatorError(f"after is {after!r}", "Give a place in the log")
        async with self._turn:
            self._reload()
            rest = await asyncio.to_thread(self._look)
            if rest:
                return {"replayed": [], "kept": [], "after": after, "rest": rest}
            found = list(self._parked.candidates(wanted, after))
            if wanted.seq is not None and not found:
                self._say_why(wanted.seq)
            part = found[:AT_ONCE]
            replayed, kept = await self._take_in(await asyncio.to_thread(self._read, part))
            is_more = len(found) > len(part)
            return {"replayed": replayed, "kept": kept, "after": part[-1] if is_more else None, "rest": 0}

    def _look(self) -> int:
        """Look at what is new in the log."""
        with closing(self._open_reader()) as reader:
            return self._parked.look(reader, LOOKED_AT)

    def _read(self, seqs: Sequence[int]) -> list[Rejected]:
        """Read rejected entries; one that is pruned or lost meanwhile is left out."""
        with closing(self._open_reader()) as reader:
            raws = [raw for seq in seqs for raw in surviving(reader, seq, seq + 1)]
        return [found for found in map(rejected_of, raws) if found is not None]

    def _say_why(self, seq: int) -> None:
        """Say why an entry cannot be replayed.

        Raises:
            OperatorError: always.
        """
        reading = self._parked.done.get(seq)
        if reading is not None:
            raise OperatorError(f"entry {seq} was replayed already", f"Its reading is entry {reading}")
        hint = "Look at it with: coldseal gateway rejected show CONFIG SEQ"
        raise OperatorError(f"entry {seq} is no rejected message that was kept whole", hint)

    async def _take_in(
        self, rejected: Sequence[Rejected]
    ) -> tuple[list[Mapping[str, object]], list[Mapping[str, object]]]:
        """Decode entries again and seal what is understood; gives that, and what is not."""
        kept: list[Mapping[str, object]] = []
        entering: list[tuple[int, Future[list[bytes]]]] = []
        for found in rejected:
            try:
                entering.append((found.seq, self._enter(found)))
            except InputError as error:
                kept.append({"rejected": found.seq, "reason": str(error)})
            else:
                self._parked.done[found.seq] = -1
        sealed = await asyncio.gather(*(each for _, each in entering), return_exceptions=True)
        replayed: list[Mapping[str, object]] = []
        failure: BaseException | None = None
        for (seq, _), entries in zip(entering, sealed, strict=True):
            if isinstance(entries, BaseException):
                del self._parked.done[seq]
                failure = entries
                continue
            place = place_of(entries[0])
            self._parked.done[seq] = place.seq
            replayed.append({"rejected": seq, **place._asdict()})
        if replayed:
            _log.emit(events.REJECTED_REPLAYED, count=len(replayed), first=replayed[0]["rejected"])
        if isinstance(failure, ColdsealError):
            raise failure
        return replayed, kept

    def _enter(self, found: Rejected) -> Future[list[bytes]]:
        """Have one sealed in its place, and what it means for its product behind it.

        Raises:
            InputError: it still cannot be understood.
        """
        sensor, now = sensor_of(found.topic), self._clock.now()
        if sensor is None or found.payload is None:
            raise InputError("rejected entry", "topic", found.topic, "that of a reading")
        decoded = self._book.decode(found.topic, found.payload, moment_ms(found.t))
        late = structs.replace(decoded, taken_at=decoded.taken_at or found.t)
        flags = (*self._journal.doubts(now), *decoded.flags, FLAG_REPLAYED)
        judged = self._evaluator.evaluate(found.device, sensor, late, flags, now.t_ms)
        data = encode_reading(sensor, judged.quantities, judged.flags)
        known = ("dev", "fp", "pid", "sha256") if decoded.seq is None else ("dev", "fp", "sha256")
        said: dict[str, canonical.Value] = {name: found.src[name] for name in known if name in found.src}
        said["replay"] = {"leaf": found.leaf, "seq": found.seq}
        said["t"] = late.taken_at
        if decoded.seq is not None:
            said["seq"] = decoded.seq
        named = {"boot": decoded.boot, "schema": decoded.schema}
        said.update({name: text for name, text in named.items() if text})
        draft = self._journal.draft("reading", data, now, canonical.encode(said))
        drafts = [draft, *drafts_of(self._journal, judged.effects, now)]
        return self._pipeline.enter(drafts, judged.before)


def _wanted(request: Mapping[str, Any]) -> Wanted:
    """Read what is asked for.

    Raises:
        OperatorError: a field is wrong, or no replay can help.
    """
    device, reason, seq = (request.get(name) for name in Wanted._fields)
    for name, value in (("device", device), ("reason", reason)):
        if value is not None and not isinstance(value, str):
            raise OperatorError(f"{name} is {value!r}", "Give a text, or leave it out")
    if seq is not None and (not isinstance(seq, int) or isinstance(seq, bool) or seq < 0):
        raise OperatorError(f"seq is {seq!r}", "Give the place of a rejected entry, or leave it out")
    if reason and reason not in REPLAYABLE:
        hint = f"One of these can: {', '.join(sorted(REPLAYABLE))}"
        raise OperatorError(f"what was rejected as {reason!r} cannot be replayed", hint)
    return Wanted(device or "", reason or "", seq)
