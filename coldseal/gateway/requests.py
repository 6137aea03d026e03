"""Requests of the control channel that take a step of the log: answered once it is on disk, or refused."""

from __future__ import annotations

from asyncio import ensure_future
from typing import TYPE_CHECKING, Any

import msgspec

from coldseal.errors import ColdsealError, OperatorError, UnavailableError
from coldseal.gateway.records import leaf_to_correct, parse_record, place_of, require_fitting

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable, Mapping

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.control import Answer, Handler
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.rollover import RollOver
    from coldseal.gateway.store.journal import Journal, Snapshot
    from coldseal.gateway.store.reader import LogReader

    Seal = Callable[[str, bytes], Awaitable[bytes]]
    """Seals an entry of a kind by itself, and gives it once it is on disk."""

    Work = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, object]]]
    """Does what a request asks for, and gives the answer."""

_running: set[Task[None]] = set()  # a task that nobody keeps may be collected before it ends


def later(work: Work) -> Handler:
    """Make a handler of work that takes a while."""

    def handle(request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        async def run() -> None:
            try:
                answer(dict(await work(request)))
            except OperatorError as error:
                answer({"ok": False, "error": error.what, "hint": error.hint})
            except ColdsealError as error:
                hint = "Try again" if isinstance(error, UnavailableError) else ""
                answer({"ok": False, "error": str(error), "hint": hint})

        task = ensure_future(run())
        _running.add(task)
        task.add_done_callback(_running.discard)

    return handle


def key_handlers(change: RollOver) -> Mapping[str, Handler]:
    """Make what answers the requests `roll-over` and `revoke`."""

    async def roll_over(request: Mapping[str, Any]) -> Mapping[str, object]:
        use, reason = str(request.get("use")), str(request.get("reason"))
        return msgspec.structs.asdict(await change.change(use, reason))

    async def revoke(request: Mapping[str, Any]) -> Mapping[str, object]:
        fields = (str(request.get(name)) for name in ("use", "key", "since", "reason"))
        return {"seq": await change.revoke(*fields)}

    return {"roll-over": later(roll_over), "revoke": later(revoke)}


def sealing(pipeline: Pipeline, journal: Journal, clock: Clock) -> Seal:
    """Give what seals one entry, with a checkpoint over it, while nothing else is under way."""

    async def seal(kind: str, data: bytes) -> bytes:
        entries: list[bytes] = []

        async def step(snapshot: Snapshot) -> None:
            entries.extend(await journal.append([journal.draft(kind, data, clock.now())], snapshot))

        await pipeline.alone(step)
        return entries[0]

    return seal


def record_handler(reader: LogReader, seal: Seal) -> Handler:
    """Make what answers the request `record`: ``kind`` and ``data``; the answer has ``seq`` and ``leaf``."""

    def handle(request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        asked = request.get("data")
        if request.get("kind") == "correction" and isinstance(asked, dict) and "leaf" not in asked:
            asked = {**asked, "leaf": leaf_to_correct(reader, _seq(asked))}  # who asks cannot read the log
        kind, data = parse_record(request.get("kind"), asked)
        require_fitting(reader, kind, data)

        async def work(_request: Mapping[str, Any]) -> Mapping[str, object]:
            return place_of(await seal(kind, data))._asdict()

        later(work)(request, answer)

    return handle


def _seq(asked: Mapping[str, Any]) -> int:
    """Give the entry that a correction is of; -1 where it says none that could be."""
    seq = asked.get("seq")
    return seq if isinstance(seq, int) and not isinstance(seq, bool) else -1


def checkpoint_handler(pipeline: Pipeline, journal: Journal) -> Handler:
    """Make what answers the request `checkpoint`: the log's state is fixed now, as before an export."""

    async def fix(_request: Mapping[str, Any]) -> Mapping[str, object]:
        async def step(snapshot: Snapshot) -> None:
            await journal.append([], snapshot)

        await pipeline.alone(step)
        return {"size": journal.checkpoint_size}

    return later(fix)
