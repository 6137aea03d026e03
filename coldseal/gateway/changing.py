"""Changes of what readings are judged by, asked for by people: checked, sealed in their place, then in force.

Promise: a change holds for the messages behind its entry and for none before; one that contradicts what is
there is refused and leaves nothing. Whoever asks is told its place once it is on disk. A running gateway
seals it; where none runs, a command does the same in a run of its own. Of several in one request, all are
in force or none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coldseal.core.coldchain.custody import CUSTODY, open_claim
from coldseal.core.log import canonical
from coldseal.errors import ColdsealError, OperatorError
from coldseal.gateway.administration import change_action, changes_action, place_of_control, reason_of
from coldseal.gateway.control import ask
from coldseal.gateway.evaluating import Before
from coldseal.gateway.persons import Asked
from coldseal.gateway.records import MAX_DATA, Sealed, place_of
from coldseal.gateway.store.drafts import Draft
from coldseal.gateway.writer import Run

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from coldseal.core.coldchain.effects import Effect
    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.evaluating import Evaluator
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.store.journal import Journal

    Check = Callable[[Mapping[str, Any]], None]
    """Holds what an entry of a kind would say against what is there; raises one of the four roots."""

REQUEST: Final = "coldchain"
"""Name of the request; its fields are ``kind`` and ``data``, or ``kind``, ``several`` and ``why``."""

AT_ONCE: Final = 200
"""Changes of one request at most."""

MAX_SEVERAL: Final = 60_000
"""Bytes of these, which one request must hold."""


class Changing:
    """Makes such entries in the running gateway.

    Args:
        evaluator: what is in force.
        journal: stamps drafts.
        pipeline: seals them in their place.
        clock: gives the moment.
        origin: of the log, which takes custody over.
    """

    def __init__(
        self, evaluator: Evaluator, journal: Journal, pipeline: Pipeline, clock: Clock, origin: str = ""
    ) -> None:
        """Take the parts."""
        self._evaluator, self._journal, self._pipeline = evaluator, journal, pipeline
        self._clock, self._origin = clock, origin
        self.checks: dict[str, Check] = {}

    @property
    def is_idle(self) -> bool:
        """Whether nothing was ever said of sensors, products and assets."""
        return self._evaluator.register.is_empty

    def enter(self, kind: str, data: Mapping[str, Any]) -> Future[list[bytes]]:
        """Have a change in force from here on, and its entries sealed here.

        Returns:
            What gives the entries once they are on disk: the change's own first.

        Raises:
            OperatorError: nobody may ask for this kind so, or it is too long.
            InputError: it contradicts what is there, or itself; nothing has changed.
        """
        drafts, before = self._change(kind, data, self._clock.now())
        return self._pipeline.enter(drafts, before)

    async def enter_several(self, kind: str, several: Sequence[Mapping[str, Any]]) -> list[bytes]:
        """Have changes in force from here on, one behind the other, and give their own entries from the disk.

        Raises:
            OperatorError, InputError: as `enter`, for one of them; then none of them has changed anything.
            UnavailableError: they are not on disk; none is in force.
        """
        now, places = self._clock.now(), list[int]()
        drafts, befores = list[Draft](), list[Before]()
        try:
            for data in several:
                found, before = self._change(kind, data, now)
                places.append(len(drafts))
                drafts += found
                befores.append(before)
        except ColdsealError:
            for before in reversed(befores):
                self._evaluator.undo(before)
            raise
        moved = tuple(each for before in befores for each in before.moved)
        entries = await self._pipeline.enter(drafts, Before(befores[0].register, moved))
        return [entries[place] for place in places]

    def _change(self, kind: str, data: Mapping[str, Any], now: Stamp) -> tuple[list[Draft], Before]:
        """Change what is in force; gives the entries that say so, and what is put back if need be."""
        data = completed(self._evaluator, kind, data, now.t_ms, self._origin)
        raw = require_writable(kind, data)
        if kind in self.checks:
            self.checks[kind](data)
        changed = self._evaluator.change(kind, data, now.t_ms)
        drafts = [self._journal.draft(kind, raw, now), *drafts_of(self._journal, changed.effects, now)]
        return drafts, changed.before

    async def work(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        """Answer the request."""
        kind = str(request.get("kind"))
        if "several" in request:
            several = request["several"]
            changes_action(kind, several)
            entries = await self.enter_several(kind, several)
            return {"sealed": [place_of(each)._asdict() for each in entries]}
        data = request.get("data")
        entries = await self.enter(kind, data if isinstance(data, dict) else {})
        return place_of(entries[0])._asdict()


def completed(
    evaluator: Evaluator, kind: str, data: Mapping[str, Any], t_ms: int, origin: str
) -> Mapping[str, Any]:
    """Give what an entry will say: of custody, no figure is taken from the word of whoever asks.

    An `export` names its asset, and the gateway states the figures; an `import` brings a signed file and the
    keys to hold it against, and the figures come from that.

    Raises:
        InputError: the asset is not known here, or what is brought is malformed.
        FalseLegError: the file does not hold.
    """
    said = data.get(CUSTODY)
    if not isinstance(said, dict):
        return data
    if kind == "import":
        return {**data, CUSTODY: open_claim(said, origin)}
    if kind != "export":
        return data
    return {**data, CUSTODY: evaluator.custody_of(str(said.get("asset")), t_ms)}


def require_writable(kind: str, data: Mapping[str, Any]) -> bytes:
    """Give the canonical bytes of what an entry will say.

    Raises:
        OperatorError: no entry of this kind can be asked for so, or it is too long.
        InputError: a value cannot be written without loss, such as a float.
    """
    change_action(kind, data)
    found = canonical.encode(data)
    if len(found) > MAX_DATA:
        raise OperatorError(f"the {kind} has {len(found)} bytes", f"Say it in {MAX_DATA} bytes")
    return found


def drafts_of(journal: Journal, effects: Sequence[Effect], stamp: Stamp) -> list[Draft]:
    """Stamp what judging has found."""
    return [journal.draft(each.kind, each.data, stamp) for each in effects]


def seal_change(config: GatewayConfig, kind: str, data: Mapping[str, canonical.Value]) -> Sealed:
    """Put a change on record and in force, by the running gateway or without one.

    Args:
        config: the gateway's configuration.
        kind: of the entry.
        data: what it says, with ``who`` and ``why``.

    Raises:
        OperatorError, InputError: it is refused; nothing has changed.
        AwaitsApprovalError: a second person must approve it first.
        UnavailableError: it is not on record, or the gateway does not say so.
    """
    answer = ask(place_of_control(config), {"do": REQUEST, "kind": kind, "data": data})
    if answer is not None:
        return Sealed(int(answer["seq"]), str(answer["leaf"]))
    return asyncio.run(_seal_alone(config, kind, data))


async def _seal_alone(config: GatewayConfig, kind: str, data: Mapping[str, Any]) -> Sealed:
    """Do so in a run of its own."""
    fields = {"do": REQUEST, "kind": kind, "data": msgspec.json.decode(require_writable(kind, data))}
    async with Run.open(config, Asked(change_action(kind, data), reason_of(fields), fields)) as run:
        now = run.clock.now()
        data = completed(run.known.evaluator, kind, data, now.t_ms, config.gateway.origin)
        raw = require_writable(kind, data)
        changed = run.known.evaluator.change(kind, data, now.t_ms)
        drafts = [run.journal.draft(kind, raw, now), *drafts_of(run.journal, changed.effects, now)]
        entries = await run.append(drafts)
    return place_of(entries[0])


def seal_changes(
    config: GatewayConfig, kind: str, several: Sequence[Mapping[str, canonical.Value]], why: str
) -> list[Sealed]:
    """Put changes on record and in force: up to `AT_ONCE` of them all together or not at all.

    Args:
        config: the gateway's configuration.
        kind: of the entries.
        several: what each says, with ``who`` and ``why``.
        why: why all of them.

    Raises:
        OperatorError, InputError: one is refused; of more than `AT_ONCE`, it says how many are in force.
        AwaitsApprovalError, UnavailableError: as `seal_change`.
    """
    place, sealed = place_of_control(config), list[Sealed]()
    for part in _parts(several):
        try:
            answer = ask(place, {"do": REQUEST, "kind": kind, "several": part, "why": why})
            if answer is None:
                sealed += asyncio.run(_seal_several_alone(config, kind, part, why))
            else:
                sealed += [Sealed(int(each["seq"]), str(each["leaf"])) for each in answer["sealed"]]
        except OperatorError as error:
            if not sealed:
                raise
            what = f"{error.what}; {len(sealed)} of {len(several)} changes before it are in force"
            raise OperatorError(what, error.hint) from error
    return sealed


def _parts(several: Sequence[Mapping[str, canonical.Value]]) -> Iterator[list[Mapping[str, canonical.Value]]]:
    """Cut changes into parts that a request can hold."""
    part: list[Mapping[str, canonical.Value]] = []
    length = 0
    for each in several:
        size = len(canonical.encode(each)) + 1
        if part and (len(part) == AT_ONCE or length + size > MAX_SEVERAL):
            yield part
            part, length = [], 0
        part.append(each)
        length += size
    if part:
        yield part


async def _seal_several_alone(
    config: GatewayConfig, kind: str, several: Sequence[Mapping[str, Any]], why: str
) -> list[Sealed]:
    """Do so in a run of its own; what one of them contradicts, shows before any is sealed."""
    asked = Asked(
        changes_action(kind, several), why, {"do": REQUEST, "kind": kind, "several": several, "why": why}
    )
    async with Run.open(config, asked) as run:
        now, places = run.clock.now(), list[int]()
        drafts: list[Draft] = []
        for data in several:
            raw = require_writable(kind, data)
            changed = run.known.evaluator.change(kind, data, now.t_ms)
            places.append(len(drafts))
            drafts += [run.journal.draft(kind, raw, now), *drafts_of(run.journal, changed.effects, now)]
        entries = await run.append(drafts)
    return [place_of(entries[place]) for place in places]
