"""The gateway's alarms: kept from the entries on disk, put on record, shown to displays, handed to people.

Promise: what is known follows from the log, so a start after any end goes on where the log stands; a notice
that may not have been handed over is handed over again. An alarm is told only once its own entry is on disk.
Delays nothing: it acts after commits, and once a second. What is told by whom, other modules do.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from coldseal.core.coldchain.alarm import TIERS, Action, Alarm, State, Timing, entry_data, handed_data
from coldseal.core.coldchain.alarms import MOST, Alarms, Recipient
from coldseal.core.coldchain.profile import Tier
from coldseal.core.log import canonical
from coldseal.errors import ColdsealError, OperatorError
from coldseal.gateway.alarming.board import Board
from coldseal.gateway.alarming.index import KEPT, Index, fact_of, facts, read_index, write_index
from coldseal.gateway.alarming.notifier import Notifier
from coldseal.gateway.alarming.wire import REFUSED
from coldseal.gateway.alarming.words import shown
from coldseal.gateway.clock import render_time
from coldseal.gateway.egress import EgressWatch
from coldseal.gateway.requests import later
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence

    from coldseal.core.coldchain.alarms import Condition, Delay, Fact
    from coldseal.gateway.alarming.board import Publisher
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Handler
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.store.reader import LogReader
    from coldseal.observe.metrics import GatewayMetrics

SOON: Final = 256
"""With more alarms than this, things are done once a second, not after each commit."""

LOOK_TICKS: Final = 10
"""Ticks between two looks at what should not be so in the gateway, where nothing hurries."""

SAVE_TICKS: Final = 60
"""Ticks after which the index is written although no alarm has changed."""

MAX_TEXT: Final = 300
"""Characters that a person may write."""

LONG_MS: Final = 86_400_000
"""An alarm that is over is kept so long at most for recipients who could not be told."""

_log = Log("alarms")


class Desk:
    """All of it.

    Args:
        config: the gateway's configuration.
        arguments: configuration file and overrides, for the notifier's process.
        clock: gives the moment.
        metrics: where it is counted.
        pipeline: seals what is put on record.
        reader: opens a reader of the log.
        size: gives the number of entries on disk.
        delay: when people may be told of an excursion.
        is_heard: whether the sensor of an alarm was heard since.
        conditions: what should not be so in the gateway now.
        hurries: when this is another than before, conditions are looked at without waiting.
        publisher: shows alarms to displays, where that is configured.
        left: gives the topics that an earlier run left behind.
    """

    def __init__(
        self,
        config: GatewayConfig,
        arguments: Sequence[str],
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        pipeline: Pipeline,
        reader: Callable[[], LogReader],
        size: Callable[[], int],
        delay: Delay,
        is_heard: Callable[[Alarm], bool],
        conditions: Callable[[int], Iterable[Condition]],
        hurries: Callable[[], object],
        publisher: Publisher,
        left: Callable[[], Iterable[str]],
    ) -> None:
        """Take the parts; nothing is read yet."""
        settings = config.alarms
        self._clock, self._metrics, self._pipeline = clock, metrics, pipeline
        self._reader, self._size = reader, size
        self._is_heard, self._conditions, self._hurries = is_heard, conditions, hurries
        self._hurried: object = None
        self._publisher, self._left, self._site = publisher, left, config.gateway.site
        self._is_shown = settings.mqtt
        self._kept, self._origin = config.gateway.data / KEPT, config.gateway.origin
        self._people = tuple(
            Recipient(each.name, each.step, tuple(map(Tier, each.tiers)), each.kinds, each.assets)
            for each in settings.recipients
        )
        self._timing = Timing(
            repeat_ms=round(settings.repeat_s * 1000),
            escalate_ms=round(settings.escalate_s * 1000),
            last_step=max((each.step for each in self._people), default=0),
        )
        self._notifier = Notifier(
            arguments, settings, self._site, clock=clock, metrics=metrics, handed=self._handed_over
        )
        self._egress = EgressWatch(config.gateway.data / REFUSED, metrics)
        self._alarms = Alarms(delay)
        self._begin = size()
        self._heard: list[bytes] = []
        self._asked: dict[str, Action] = {}
        self._told: dict[tuple[str, str], int] = {}
        self._is_ready = False
        self._stirred: asyncio.Handle | None = None
        self._board: Board | None = None
        self._ticks = 0
        self._saved: tuple[int, ...] = ()
        self._seen = self._begin

    # What comes in

    def heard(self, entries: Sequence[bytes]) -> None:
        """Take entries that are on disk now; what follows from them is done in a later turn of the loop."""
        self._heard += entries
        if self._is_ready and self._stirred is None and self._is_few:
            self._stirred = asyncio.get_running_loop().call_soon(self._stir)

    @property
    def _is_few(self) -> bool:
        """Whether there are so few alarms that all is done at once."""
        return len(self._alarms) <= SOON

    def tasks(self) -> Sequence[Coroutine[None, None, None]]:
        """Give what runs beside the main path, until it is cancelled."""
        return (self._restore(), self._notifier.run())

    async def _restore(self) -> None:
        """Make the alarms again from the log as it was at the start; entries that come meanwhile wait."""
        try:
            with closing(self._reader()) as reader:
                stretches = iter(facts(reader, self._index(), self._begin))
                while (stretch := await _beside(stretches)) is not None:
                    self._learn(stretch)
        except ColdsealError as error:  # the part that is read stands; nobody's reading waits for this
            _log.emit(events.ALARMS_FAILED, error=str(error))
        self._is_ready = True

    def _index(self) -> Index:
        """Read where to look."""
        return read_index(self._kept, self._begin, self._origin)

    def _learn(self, found: Iterable[Fact]) -> None:
        """Take entries in, in their order."""
        for fact in found:
            about = self._alarms.learn(fact)
            if about and fact.kind == "alarm":
                if fact.data.get("action") == Action.NOTIFIED:
                    self._told.pop((about, str(fact.data.get("to"))), None)
                elif self._asked.get(about) == fact.data.get("action"):
                    del self._asked[about]

    # What is done

    def tick(self) -> None:
        """Let time do its work, once a second."""
        if not self._is_ready:
            return
        if self._board is None and self._is_shown:
            self._board = Board(self._site, self._publisher, self._left())
        now_ms = self._clock.now().t_ms
        before, self._hurried = self._hurried, self._hurries()
        if self._ticks % LOOK_TICKS == 0 or self._hurried != before:
            self._alarms.watch(self._conditions(now_ms), now_ms)
        if self._is_few or self._ticks % LOOK_TICKS == 0:
            self._alarms.heard(self._is_heard)
        self._notifier.tick()
        self._egress.tick()
        self._stir()
        if self._is_few or self._ticks % LOOK_TICKS == 0:
            self._save()
        self._ticks += 1

    def _stir(self) -> None:
        """Do all that is to be done now."""
        self._stirred = None
        entries, self._heard = self._heard, []
        self._learn(fact for fact in map(fact_of, entries) if fact.seq >= self._begin)
        now_ms = self._clock.now().t_ms
        for alarm, action in self._alarms.wanted(self._timing, now_ms):
            if alarm.about not in self._asked:
                self._put_on_record(alarm, action)
        self._offer()
        for over in self._alarms.forget(self._people, before_ms=now_ms - LONG_MS):
            _log.emit(events.ALARM_OVER, about=over.about, by=over.by)
        if self._board is not None:
            self._board.show(self._alarms)
        self._show()

    def _put_on_record(self, alarm: Alarm, action: Action) -> None:
        """Have an `alarm` entry sealed; it is told of once it is on disk."""
        self._asked[alarm.about] = action
        due = render_time(alarm.due_ms) if action is Action.RAISED and alarm.state is State.WAITING else ""
        self._pipeline.record("alarm", canonical.encode(entry_data(alarm, action, self._timing, due)))
        if action is Action.RAISED:
            _log.emit(events.ALARM_RAISED, about=alarm.about, tier=alarm.tier.value, text=alarm.text)

    def _offer(self) -> None:
        """Hand the notifier what people are still to be told."""
        if not self._notifier.free():
            return
        wanted: dict[str, list[Alarm]] = {}
        for alarm, name in self._alarms.notices(self._people):
            if self._told.get((alarm.about, name), 0) < alarm.number:
                wanted.setdefault(name, []).append(alarm)
        if wanted:
            self._notifier.offer({name: alarms[:MOST] for name, alarms in wanted.items()})

    def _handed_over(self, alarm: Alarm, recipient: str) -> None:
        """Put on record that somebody was told."""
        self._told[alarm.about, recipient] = alarm.number
        self._pipeline.record("alarm", canonical.encode(handed_data(alarm, alarm.number, recipient)))

    def _save(self) -> None:
        """Write down where the entries are that today's alarms are made from."""
        upto, self._seen = self._seen, self._size()
        seqs = tuple(seq for seq in self._alarms.essential() if seq < upto)
        if seqs != self._saved or self._ticks % SAVE_TICKS == 0:
            write_index(self._kept, Index(upto, seqs, self._origin))
            self._saved = seqs

    def _show(self) -> None:
        """Set the gauges."""
        found = self._alarms.counts()
        for tier in TIERS[1:]:
            self._metrics.alarms.labels(tier.value).set(found.get(tier, 0))
        self._metrics.alarms_unacknowledged.set(found.get("", 0))

    # Questions and orders

    def handlers(self) -> Mapping[str, Handler]:
        """Give what answers the request `alarms`."""
        return {"alarms": later(self._list)}

    async def _list(self, request: Mapping[str, Any]) -> Mapping[str, object]:
        """Answer with all alarms, or with one."""
        self._require_ready()
        about = request.get("about")
        if about is None:
            found = [each for each in self._alarms if each.state is not State.OVER]
            return {"alarms": [shown(each) for each in found], "recipients": self._notifier.status()}
        alarm = self._find(about)
        return {"alarm": {**shown(alarm), "handed": alarm.handed}}

    def require_fitting(self, data: Mapping[str, Any]) -> None:
        """Hold what an `ack` entry would say against the alarms that there are.

        Raises:
            OperatorError: there is no such alarm, it is acknowledged, or it is not said who or why.
        """
        self._require_ready()
        alarm = self._find(data.get("about"))
        texts = [data.get(name) for name in ("who", "why")]
        if set(data) != {"about", "who", "why"} or not all(map(_is_text, texts)):
            hint = f"Give texts of 1 to {MAX_TEXT} characters"
            raise OperatorError("an acknowledgement says about, who and why", hint)
        if alarm.state is State.ACKNOWLEDGED:
            what = f"{alarm.by} has acknowledged {alarm.about}: {alarm.why}"
            raise OperatorError(what, "Nothing is left to do")

    def _require_ready(self) -> None:
        """Insist on alarms that were made again.

        Raises:
            OperatorError: the log is still being read.
        """
        if not self._is_ready:
            raise OperatorError("alarms are still being made from the log", "Try again in a moment")

    def _find(self, about: object) -> Alarm:
        """Give an alarm that is not over.

        Raises:
            OperatorError: there is none about that.
        """
        alarm = self._alarms.find(about) if isinstance(about, str) else None
        if alarm is None or alarm.state is State.OVER:
            raise OperatorError(
                f"there is no alarm about {about!r}", "See: coldseal gateway alarms list CONFIG"
            )
        return alarm

    def status(self) -> Mapping[str, object]:
        """Say how it stands, for a person."""
        found = self._alarms.counts()
        return {
            "unacknowledged": found.get("", 0),
            **{tier.value: found.get(tier, 0) for tier in TIERS[1:]},
            "recipients": self._notifier.status(),
            "refused": self._egress.status(),
        }


def _is_text(value: object) -> bool:
    """Whether somebody has said something, in some words."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_TEXT


async def _beside(stretches: Iterator[Sequence[Fact]]) -> Sequence[Fact] | None:
    """Read the next stretch in a thread, which has done with the reader when this ends, cancelled or not."""
    reading = asyncio.ensure_future(asyncio.to_thread(next, stretches, None))
    try:
        return await asyncio.shield(reading)
    finally:
        await asyncio.wait({reading})
