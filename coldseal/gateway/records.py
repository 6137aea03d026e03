"""What people put on record from the command line: exports, imports, corrections, drills, holds.

Promise: such an entry is strictly checked, and whoever asked is told its place only once it is on disk. A
running gateway seals it; where none runs, the command opens the log under the writer's lock and does the same
as a run of its own. Nothing that is on record is ever replaced.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from coldseal.core.log import canonical
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError
from coldseal.gateway.administration import RECORDS, place_of_control, reason_of
from coldseal.gateway.control import ask, ask_running
from coldseal.gateway.holds import HoldEntry, Seq, Text, require_meaningful
from coldseal.gateway.persons import Asked
from coldseal.gateway.store.pruned import PrunedError
from coldseal.gateway.store.reader import HEAD_NAME, LogReader
from coldseal.gateway.writer import LOG_FOLDER, Run
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.gateway.config import GatewayConfig

MAX_DATA: Final = 32_768
"""Bytes of what such an entry says: with all else that is in it, it stays far below the limit of an entry."""

FIXED: Final = frozenset({"genesis", "key"})
"""Kinds that fix what the log is verified with: they cannot be corrected."""

Sum = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=$")]
Leaf = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class Export(Struct, forbid_unknown_fields=True, frozen=True):
    """A bundle that was written: its hash, its range, how it was selected, the tree size it proves."""

    bundle: Sum
    first: Seq
    last: Seq
    selection: dict[str, str | int]
    size: Seq
    who: Text
    why: Text


class Import(Struct, forbid_unknown_fields=True, frozen=True):
    """A file from elsewhere, by its hash."""

    bytes: Seq
    name: Text
    sha256: Sum
    who: Text
    why: Text


class Correction(Struct, forbid_unknown_fields=True, frozen=True):
    """What somebody states about an entry, which stays as it is."""

    leaf: Leaf
    reason: Text
    seq: Seq
    who: Text
    value: dict[str, Any]


class Check(Struct, forbid_unknown_fields=True, frozen=True):
    """What a drill looked at, what it found, and whether that is as it should be."""

    check: Text
    expected: Annotated[str, Meta(max_length=300)]
    found: Annotated[str, Meta(max_length=300)]
    ok: bool


class Drill(Struct, forbid_unknown_fields=True, frozen=True):
    """A drill that was carried out, with its verdict."""

    began: Text
    checks: Annotated[list[Check], Meta(min_length=1, max_length=32)]
    drill: Text
    ended: Text
    software: Text
    verdict: Literal["good", "bad"]
    who: Text
    why: Text


KINDS: Final[Mapping[str, type[Struct]]] = {
    "config": HoldEntry,
    "correction": Correction,
    "drill": Drill,
    "export": Export,
    "import": Import,
}
"""The kinds that can be asked for, and what each says."""


class Sealed(NamedTuple):
    """The place of an entry that is on disk, and its leaf hash in hex."""

    seq: int
    leaf: str


def open_reader(config: GatewayConfig) -> LogReader:
    """Open the log of a configuration for reading, beside a gateway that may be writing it.

    Raises:
        OperatorError: there is no log yet.
    """
    folder = config.gateway.data / LOG_FOLDER
    if not (folder / HEAD_NAME).exists():
        raise OperatorError(f"{config.gateway.data} holds no log yet", "Run the gateway once")
    return LogReader(folder, read_symmetric_key(config.store.key, Path()))


def is_open_to_me(config: GatewayConfig) -> bool:
    """Whether the user of this process may look into the log; who may not, can only ask a running gateway."""
    return os.access(config.gateway.data, os.X_OK)


def parse_record(kind: object, data: object) -> tuple[str, bytes]:
    """Give a kind, and the canonical bytes of what its entry will say.

    Raises:
        OperatorError: the kind cannot be asked for, or its data are not what it says.
        InputError: a value cannot be written without loss, such as a float.
    """
    form = KINDS.get(kind) if isinstance(kind, str) else None
    if form is None or not isinstance(kind, str):
        raise OperatorError(f"{kind!r} cannot be put on record so", f"One of these can: {', '.join(KINDS)}")
    try:
        msgspec.convert(data, form)
    except msgspec.ValidationError as error:
        raise OperatorError(f"the {kind} is not well formed: {error}", "Correct it") from error
    found = canonical.encode(data) if isinstance(data, dict) else b""
    if len(found) > MAX_DATA:
        raise OperatorError(f"the {kind} has {len(found)} bytes", f"Say it in {MAX_DATA} bytes")
    return kind, found


def require_fitting(reader: LogReader, kind: str, data: bytes) -> None:
    """Hold what an entry says of other entries against the log.

    Raises:
        OperatorError: there is no such entry, it has another leaf hash, or it cannot be corrected; or a hold
            would change nothing.
    """
    if kind == "config":
        require_meaningful(reader, msgspec.json.decode(data, type=HoldEntry).hold)
    elif kind == "correction":
        found = msgspec.json.decode(data, type=Correction)
        if leaf_to_correct(reader, found.seq) != found.leaf:
            raise OperatorError(f"entry {found.seq} has another leaf hash", "Look at it again")


def leaf_to_correct(reader: LogReader, seq: int) -> str:
    """Give the leaf hash of an entry that may be corrected, in hex.

    Raises:
        OperatorError: there is none, or it may not.
    """
    size = reader.size()
    if not 0 <= seq < size:
        raise OperatorError(f"there is no entry {seq}", f"The log has the entries 0 to {size - 1}")
    try:
        (raw,) = reader.read(seq, max_entries=1)
    except PrunedError:  # what fixes the keys is never pruned
        return reader.nodes(0, seq).hex()
    kind = parse_entry(raw).kind
    if kind in FIXED:
        raise OperatorError(
            f"entry {seq} is of the kind {kind}, which cannot be corrected",
            "Roll the keys over, or begin a new log",
        )
    return leaf_hash(raw).hex()


def place_of(raw: bytes) -> Sealed:
    """Give the place and the leaf hash of an entry."""
    return Sealed(parse_entry(raw).seq, leaf_hash(raw).hex())


def seal_record(
    config: GatewayConfig, kind: str, data: Mapping[str, canonical.Value], *, is_beside: bool = False
) -> Sealed:
    """Put something on record, by the running gateway or without one.

    Args:
        config: the gateway's configuration.
        kind: one of `KINDS`.
        data: what its entry says.
        is_beside: only by the running gateway: it is the one that asks.

    Raises:
        OperatorError: it is refused, or there is no log yet.
        UnavailableError: it is not on record, or the gateway does not say so.
    """
    if is_open_to_me(config):
        with closing(open_reader(config)) as reader:
            require_fitting(reader, *parse_record(kind, data))
    answer = (ask_running if is_beside else ask)(
        place_of_control(config), {"do": "record", "kind": kind, "data": data}
    )
    if answer is not None:
        return Sealed(int(answer["seq"]), str(answer["leaf"]))
    return asyncio.run(_seal_alone(config, kind, canonical.encode(data)))


async def _seal_alone(config: GatewayConfig, kind: str, data: bytes) -> Sealed:
    """Seal an entry in a run of its own."""
    fields = {"do": "record", "kind": kind, "data": msgspec.json.decode(data)}
    async with Run.open(config, Asked(RECORDS[kind], reason_of(fields), fields)) as run:
        (raw,) = await run.append([run.journal.draft(kind, data, run.clock.now())])
    return place_of(raw)
