"""Sends old segments to an archive: proves that they are there, puts that on record, then lets them go.

Promise: no entry leaves before a witness has cosigned it, an archive holds it byte for byte, nobody has put a
hold on it, and a `prune` entry that says so is on disk. A crash in between is finished at the next start.
Whole segments only, oldest first; hashes stay, and the entries that fix the log's keys.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple, Protocol

import msgspec
from msgspec import Meta, Struct

from coldseal.core.access import Action
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import cosigned_at, parse_checkpoint_text, parse_note, parse_vkey
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.core.log.verifier import MissingSignatureError
from coldseal.errors import OperatorError, TrustError, UnavailableError
from coldseal.gateway.control import ask, ask_running
from coldseal.gateway.holds import Seq, Text, require_free
from coldseal.gateway.persons import Asked
from coldseal.gateway.records import Sum, open_reader, place_of
from coldseal.gateway.requests import later
from coldseal.gateway.store.pruned import (
    Pruned,
    arm,
    discard,
    finish,
    list_drafts,
    read_draft,
    write_draft,
)
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.writer import LOG_FOLDER, Run
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.checkpoint import Note
    from coldseal.core.log.verifier import VerifierKey
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Answer, Handler
    from coldseal.gateway.requests import Seal
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.store.reader import LogReader

BATCH: Final = 1024
"""Entries that are compared at a time."""

_HERE: Final = Path()
_log = Log("gateway.pruning")


class Archive(Protocol):
    """A file that holds entries of the log."""

    name: str
    sha256: str
    origin: str

    def entries(self, first: int, last: int) -> Iterator[bytes]:
        """Give the entries of a range in order; what it does not hold is missing."""


class ArchiveFacts(Struct, forbid_unknown_fields=True, frozen=True):
    """The archive's name and hash, and the receipt that covers what is in it."""

    name: Text
    receipt: Annotated[str, Meta(min_length=1, max_length=16_384)]
    sha256: Sum


class Prune(Struct, forbid_unknown_fields=True, frozen=True):
    """What was sent to an archive: its range, and the root of the tree up to its end."""

    archive: ArchiveFacts
    first: Seq
    hold: Literal["none"]
    last: Seq
    root: Sum
    who: Text
    why: Text


class Plan(NamedTuple):
    """Segments that can go: their first seqs, and the range that they are."""

    starts: list[int]
    first: int
    last: int


class NotArchivedError(TrustError):
    """The archive does not hold what is to be pruned."""

    verdict = "pruned-unproven"

    def __init__(self, archive: str, seq: int, why: str) -> None:
        """Keep the facts."""
        self.archive, self.seq, self.why = archive, seq, why
        super().__init__(f"{archive} does not hold entry {seq} as it is in the log: {why}")


def plan_prune(
    reader: LogReader, *, published: int, before: int | None = None, until: str | None = None
) -> Plan:
    """Choose the segments that can go.

    Args:
        reader: reads the log.
        published: entries that a quorum of witnesses has cosigned.
        before: only entries below this seq.
        until: only segments that ended before this time, RFC 3339.

    Raises:
        OperatorError: there is none.
    """
    limit = min(published, reader.snapshot_size())
    starts: list[int] = []
    first = end = 0
    for start, behind, pruned in reader.closed_segments():
        if pruned is not None:
            first = end = behind
            continue
        is_due = before is None or behind <= before
        if until is not None and is_due:
            (raw,) = reader.read(behind - 1, max_entries=1)
            is_due = parse_entry(raw).t < until
        if behind > limit or not is_due:
            break
        starts.append(start)
        end = behind
    if not starts:
        raise OperatorError(
            f"no whole segment can be pruned from entry {first} on; {limit} entries are witnessed",
            "A segment ends with the day: wait for a receipt over it, or name a later entry",
        )
    return Plan(starts, first, end - 1)


def require_archived(reader: LogReader, origin: str, archive: Archive, plan: Plan) -> None:
    """Hold an archive against the log, entry by entry.

    Raises:
        NotArchivedError: it is of another log, ends too early, or holds another entry.
    """
    if archive.origin != origin:
        raise NotArchivedError(archive.name, plan.first, f"it is of the log {archive.origin}")
    there = archive.entries(plan.first, plan.last)
    for start in range(plan.first, plan.last + 1, BATCH):
        count = min(BATCH, plan.last + 1 - start)
        for seq, raw in enumerate(reader.read(start, max_entries=count, max_bytes=BATCH * 65_537), start):
            found = next(there, None)
            if found is None:
                raise NotArchivedError(archive.name, seq, "it is missing")
            if leaf_hash(found) != leaf_hash(raw):
                raise NotArchivedError(archive.name, seq, "it has another leaf hash")


def receipt_over(config: GatewayConfig, reader: LogReader, key: bytes, size: int) -> str:
    """Give the first receipt over at least `size` entries that a quorum of witnesses has cosigned.

    Every receipt on the way is checked against the log and the witnesses' keys.

    Raises:
        OperatorError: there is none.
        TrustError: the service has not signed one, a line does not verify, or it is not of this log.
        UnavailableError: receipts cannot be read now.
    """
    at, quorum = size, config.witness.quorum
    with closing(Receipts(config.gateway.data, key, readonly=True)) as receipts:
        while (found := receipts.over(at)) is not None:
            note = parse_note(found.note)
            cosigned_at(note, parse_vkey(config.uplink.witness))
            checkpoint = parse_checkpoint_text(note.text)
            if (checkpoint.origin, checkpoint.root) != (config.gateway.origin, reader.root(checkpoint.size)):
                raise NotArchivedError("the receipt", size, "it was given for another history")
            if 1 + sum(_has_signed(note, parse_vkey(each.key)) for each in config.uplink.witnesses) >= quorum:
                return found.note.decode()
            at = checkpoint.size + 1
    what = f"no receipt covers {size} entries with the {quorum} cosignatures that witness.quorum asks for"
    raise OperatorError(what, "Wait for the witnesses' next ones")


def _has_signed(note: Note, key: VerifierKey) -> bool:
    """Whether a witness has put its line under a checkpoint; one that does not verify is an error."""
    try:
        cosigned_at(note, key)
    except MissingSignatureError:
        return False
    return True


def published_size(config: GatewayConfig, key: bytes) -> int:
    """Give the number of entries that a quorum of witnesses has cosigned."""
    if not config.uplink.witness:
        raise OperatorError(
            "no witness is configured, so nothing can be pruned", "Set uplink.url and witness"
        )
    with closing(Receipts(config.gateway.data, key, readonly=True)) as receipts:
        return receipts.cosignatures.witnessed(config.witness.quorum)


def prune(
    config: GatewayConfig,
    archive: Archive,
    *,
    who: str,
    why: str,
    before: int | None = None,
    until: str | None = None,
    is_beside: bool = False,
) -> dict[str, Any]:
    """Prune what may go, by the running gateway or, unless it `is_beside` that one, without it.

    Returns:
        ``first``, ``last``: the range; ``seq``, ``leaf``: of its `prune` entry; ``left``: why files still
        wait for the next start, empty if none does.

    Raises:
        OperatorError, TrustError, UnavailableError: nothing was pruned, and why.
    """
    key = read_symmetric_key(config.store.key, _HERE)
    directory = config.gateway.data / LOG_FOLDER
    with closing(open_reader(config)) as reader:
        plan = plan_prune(reader, published=published_size(config, key), before=before, until=until)
        require_free(reader, plan.first, plan.last)
        require_archived(reader, config.gateway.origin, archive, plan)
        receipt = receipt_over(config, reader, key, plan.last + 1)
        data: dict[str, Value] = {
            "archive": {"name": archive.name, "receipt": receipt, "sha256": archive.sha256},
            "first": plan.first,
            "hold": "none",
            "last": plan.last,
            "root": canonical.encode_base64(reader.root(plan.last + 1)),
            "who": who,
            "why": why,
        }
        parse_prune(data)
        for draft in list_drafts(directory):
            discard(draft)
        about = Pruned(plan.first, plan.last, archive.name, archive.sha256)
        for start in plan.starts:
            write_draft(reader, directory, key, start, about)
    answer = (ask_running if is_beside else ask)(config.gateway.data, {"do": "prune", "data": data})
    if answer is None:
        answer = asyncio.run(_prune_alone(config, key, data))
    return {
        "first": plan.first,
        "last": plan.last,
        **{name: answer[name] for name in ("seq", "leaf", "left")},
    }


def parse_prune(data: object) -> Prune:
    """Read the data of a `prune` entry strictly.

    Raises:
        OperatorError: they are not well formed.
    """
    try:
        return msgspec.convert(data, Prune)
    except msgspec.ValidationError as error:
        raise OperatorError(f"the prune entry is not well formed: {error}", "Correct it") from error


def prune_handler(directory: Path, key: bytes, log: EntryLog, seal: Seal) -> Handler:
    """Make what answers the request `prune`: ``data``, for which drafts are there."""

    def handle(request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        data = request.get("data")
        said = parse_prune(data)
        drafts = _armed(directory, key, log, said)
        found = canonical.encode(data) if isinstance(data, dict) else b""

        async def work(_request: Mapping[str, Any]) -> Mapping[str, object]:
            return _carry_out(drafts, key, log, await seal("prune", found))

        later(work)(request, answer)

    return handle


async def _prune_alone(config: GatewayConfig, key: bytes, data: Mapping[str, Value]) -> Answer:
    """Do it in a run of its own."""
    said = parse_prune(data)
    async with Run.open(config, Asked(Action.PRUNE, said.why, {"do": "prune", "data": data})) as run:
        drafts = _armed(config.gateway.data / LOG_FOLDER, key, run.log, said)
        draft = run.journal.draft("prune", canonical.encode(data), run.clock.now())
        (raw,) = await run.append([draft])
        return _carry_out(drafts, key, run.log, raw)


def _armed(directory: Path, key: bytes, log: EntryLog, found: Prune) -> Sequence[Path]:
    """Make sure that the drafts are those of the entry, and note that it will be sealed from here on."""
    about = Pruned(found.first, found.last, found.archive.name, found.archive.sha256)
    drafts = list_drafts(directory)
    if not drafts or any(read_draft(draft, key)[:4] != about[:4] for draft in drafts):
        raise OperatorError("what is to be pruned is not prepared", "Use: coldseal gateway prune")
    require_free(log.reader, found.first, found.last)
    for draft in drafts:
        arm(draft, key, log.size)
    return drafts


def _carry_out(drafts: Sequence[Path], key: bytes, log: EntryLog, raw: bytes) -> Answer:
    """Let the segments go: the entry that says so is on disk."""
    sealed, left = place_of(raw), ""
    try:
        for draft in drafts:
            finish(draft, key, sealed.seq)
    except UnavailableError as error:
        left = str(error)
        _log.emit(events.PRUNE_UNFINISHED, segment=drafts[0].stem, error=left)
    log.make_room()
    return {**sealed._asdict(), "left": left}
