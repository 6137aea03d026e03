"""Changes of what readings are judged by, asked for by people: checked, sealed in their place, then in force.

Promise: a change holds for the messages behind its entry and for none before; one that contradicts what is
there is refused and leaves nothing. Whoever asks is told its place once it is on disk. A running gateway
seals it; where none runs, a command does the same in a run of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coldseal.core.coldchain.custody import CUSTODY
from coldseal.core.log import canonical
from coldseal.errors import OperatorError
from coldseal.gateway.administration import change_action, place_of_control, reason_of
from coldseal.gateway.control import ask
from coldseal.gateway.persons import Asked
from coldseal.gateway.records import MAX_DATA, Sealed, place_of
from coldseal.gateway.writer import Run

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.core.coldchain.effects import Effect
    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.evaluating import Evaluator
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.store.drafts import Draft
    from coldseal.gateway.store.journal import Journal

    Check = Callable[[Mapping[str, Any]], None]
    """Holds what an entry of a kind would say against what is there; raises one of the four roots."""

REQUEST: Final = "coldchain"
"""Name of the request; its fields are ``kind`` and ``data``."""


class Changing:
    """Makes such entries in the running gateway.

    Args:
        evaluator: what is in force.
        journal: stamps drafts.
        pipeline: seals them in their place.
        clock: gives the moment.
    """

    def __init__(self, evaluator: Evaluator, journal: Journal, pipeline: Pipeline, clock: Clock) -> None:
        """Take the parts."""
        self._evaluator, self._journal, self._pipeline = evaluator, journal, pipeline
        self._clock = clock
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
        now = self._clock.now()
        data = completed(self._evaluator, kind, data, now.t_ms)
        raw = require_writable(kind, data)
        if kind in self.checks:
            self.checks[kind](data)
        changed = self._evaluator.change(kind, data, now.t_ms)
        drafts = [self._journal.draft(kind, raw, now), *drafts_of(self._journal, changed.effects, now)]
        return self._pipeline.enter(drafts, changed.before)

    async def work(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        """Answer the request."""
        data = request.get("data")
        entries = await self.enter(str(request.get("kind")), data if isinstance(data, dict) else {})
        return place_of(entries[0])._asdict()


def completed(evaluator: Evaluator, kind: str, data: Mapping[str, Any], t_ms: int) -> Mapping[str, Any]:
    """Give what an entry will say: a custody export names its asset, and the gateway states the figures.

    Raises:
        InputError: the asset is not known here.
    """
    said = data.get(CUSTODY)
    if kind != "export" or not isinstance(said, dict):
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
        data = completed(run.known.evaluator, kind, data, now.t_ms)
        raw = require_writable(kind, data)
        changed = run.known.evaluator.change(kind, data, now.t_ms)
        drafts = [run.journal.draft(kind, raw, now), *drafts_of(run.journal, changed.effects, now)]
        entries = await run.append(drafts)
    return place_of(entries[0])
