"""All alarms of a gateway: a projection of the log's entries, and of what holds in the gateway now.

Promise: the same entries give the same alarms, whenever they are read; of an alarm's entries the newest of
each sort suffice, and `essential` names them. What is wanted of the log comes out as actions; what people are
to be told as notices. Pure: seals and tells nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

import msgspec

from coldseal.core.coldchain.alarm import (
    TIERS,
    Action,
    Alarm,
    Event,
    State,
    Timing,
    at,
    is_heavier,
    quiet_until,
    wanted,
)
from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.profile import Tier

EXCURSION: Final = "excursion"
RETROSPECTIVE: Final = "retrospective"
SILENCE: Final = "silence"
SEALED: Final = frozenset({EXCURSION, RETROSPECTIVE, SILENCE})
"""Kinds of alarms whose cause is an entry; that of the others is seen in the gateway."""

FOLDED: Final = frozenset({"excursion", "gap", "alarm", "ack"})
"""Kinds of entries that alarms are made from."""

MOST: Final = 200
"""Things that are wanted of the log at once: a storm of alarms is put on record in parts."""

_LOUD: Final = (None, 0)
_FIRST: Final = ("first",)
_NEWEST: Final = ("newest",)
_TOO_WARM: Final = "mean kinetic temperature too high"

Data = Mapping[str, object]
Delay = Callable[[Data], int]
"""Gives when people may be told of an excursion at the earliest, UTC milliseconds, from its entry."""


class Fact(NamedTuple):
    """An entry on disk, as far as alarms are made from it."""

    seq: int
    t_ms: int
    kind: str
    data: Data


class Condition(NamedTuple):
    """Something in the gateway that should not be so, while it is so."""

    about: str
    kind: str
    tier: Tier
    text: str
    asset: str = ""
    device: str = ""
    sensor: str = ""


class Recipient(NamedTuple):
    """Who is told of what; empty tuples stand for all.

    Args:
        name: by which it is known.
        step: told from this step of escalation on.
        tiers: of these.
        kinds: alarms of these.
        assets: of these.
    """

    name: str
    step: int = 0
    tiers: tuple[Tier, ...] = ()
    kinds: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()

    def wants(self, alarm: Alarm) -> bool:
        """Whether this recipient is told of an alarm as it stands."""
        return (
            alarm.step >= self.step
            and (not self.tiers or alarm.tier in self.tiers)
            and (not self.kinds or alarm.kind in self.kinds)
            and (not self.assets or alarm.asset in self.assets)
        )


def tier_of(text: object) -> Tier:
    """Read a tier; what is none is taken for the heaviest."""
    return next((tier for tier in TIERS if tier.value == text), Tier.CRITICAL)


class Alarms:
    """The projection.

    Args:
        delay: when people may be told of an excursion.
    """

    def __init__(self, delay: Delay) -> None:
        """Begin with none."""
        self._delay = delay
        self._alarms: dict[str, Alarm] = {}
        self._kept: dict[str, dict[tuple[str, ...], int]] = {}
        self._looked_ms = 0
        self._quiet: dict[str, tuple[Alarm | None, int]] = {}
        self._people: tuple[Recipient, ...] = ()
        self._told: dict[str, Alarm] = {}

    def __len__(self) -> int:
        """How many there are, with those that are over and not forgotten."""
        return len(self._alarms)

    def __iter__(self) -> Iterator[Alarm]:
        """Go through all alarms, the oldest first."""
        return iter(sorted(self._alarms.values(), key=lambda each: (each.since_ms, each.about)))

    def find(self, about: str) -> Alarm | None:
        """Give the alarm about something."""
        return self._alarms.get(about)

    def counts(self) -> Counter[str]:
        """Count those that are not over by tier, and by the empty text those that nobody has acknowledged."""
        found: Counter[str] = Counter()
        for each in self._alarms.values():
            if each.state is not State.OVER:
                found[each.tier] += 1
                found[""] += each.state is not State.ACKNOWLEDGED
        return found

    def essential(self) -> list[int]:
        """Give the places of the entries that make these alarms again, in order."""
        return sorted({seq for kept in self._kept.values() for seq in kept.values()})

    def learn(self, fact: Fact) -> str:
        """Take an entry in; gives what it was about, empty if it changes nothing here."""
        about, key = _place(fact)
        if not about:
            return ""
        before = self._alarms.get(about)
        after = _learned(before, fact, self._delay)
        if after is None:
            return ""
        self._alarms[about] = after
        kept = self._kept.setdefault(about, {})
        if fact.kind == "excursion":  # the first of its sort decides, the newest says how it stands
            kept.setdefault(key, fact.seq)
            key = _NEWEST
        kept[_FIRST if before is None else key] = fact.seq
        return about

    def watch(self, conditions: Iterable[Condition], now_ms: int) -> None:
        """Hold what is seen in the gateway against the alarms that are about it."""
        found = {each.about: each for each in conditions}
        for about, seen in found.items():
            alarm = self._alarms.get(about)
            if alarm is None:
                self._alarms[about] = _seen(seen, now_ms)
            else:
                back = alarm.happened(Event.BACK).risen(seen.tier)
                self._alarms[about] = msgspec.structs.replace(back, text=seen.text)
        for about, alarm in self._alarms.items():
            if alarm.kind not in SEALED and about not in found:
                self._alarms[about] = alarm.gone()

    def heard(self, is_heard: Callable[[Alarm], bool]) -> None:
        """End the silence of sensors that are heard again."""
        for about, alarm in self._alarms.items():
            if alarm.kind == SILENCE and is_heard(alarm):
                self._alarms[about] = alarm.gone()

    def wanted(self, timing: Timing, now_ms: int, most: int = MOST) -> list[tuple[Alarm, Action]]:
        """Let time pass, and say what is to be put on record next: at most one thing about each alarm."""
        if now_ms < self._looked_ms:  # the clock was put back
            self._quiet.clear()
        self._looked_ms = now_ms
        found: list[tuple[Alarm, Action]] = []
        for about, known in self._alarms.items():
            quiet, until_ms = self._quiet.get(about, _LOUD)
            if quiet is known and now_ms < until_ms:
                continue
            alarm = self._alarms[about] = at(known, now_ms)
            action = wanted(alarm, timing, now_ms)
            if action is None:
                self._quiet[about] = alarm, quiet_until(alarm, timing)
            elif len(found) < most:
                found.append((alarm, action))
        return found

    def notices(self, recipients: Iterable[Recipient]) -> list[tuple[Alarm, str]]:
        """Say who is still to be told of what, once it is on record.

        The end of an alarm is told to those who know of its begin, and to those who should have been told of
        it and could not be reached.
        """
        people = tuple(recipients)
        if people != self._people:
            self._people, self._told = people, {}
        found: list[tuple[Alarm, str]] = []
        for about, alarm in self._alarms.items():
            if self._told.get(about) is alarm:
                continue
            names = _untold(alarm, people)
            if names:
                found += [(alarm, name) for name in names]
            else:
                self._told[about] = alarm
        return found

    def forget(self, recipients: Iterable[Recipient], *, before_ms: int) -> list[Alarm]:
        """Let go of alarms that are over once everybody knows, or after a long while; gives them."""
        people = tuple(recipients)
        over = [
            each
            for each in self._alarms.values()
            if each.is_settled and (each.told_ms < before_ms or not _untold(each, people))
        ]
        for each in over:
            del self._alarms[each.about]
            for kept in (self._kept, self._quiet, self._told):
                kept.pop(each.about, None)
        return over


def _untold(alarm: Alarm, people: Iterable[Recipient]) -> list[str]:
    """Name those who are still to be told of an alarm; nobody, before all of it is on record."""
    if not alarm.number or alarm.owed or alarm.state is State.WAITING:
        return []
    return [each.name for each in people if _is_for(each, alarm, alarm.handed.get(each.name, 0))]


def _is_for(recipient: Recipient, alarm: Alarm, handed: int) -> bool:
    """Whether somebody is to be told of an alarm in its present state."""
    if handed >= alarm.number:
        return False
    if alarm.state is State.OVER:
        was_loud = alarm.told_ms >= alarm.due_ms and not alarm.by
        return handed > 0 or (was_loud and recipient.wants(alarm))
    return alarm.state is not State.ACKNOWLEDGED and recipient.wants(alarm)


def _place(fact: Fact) -> tuple[str, tuple[str, ...]]:
    """Say what an entry is about, and of which sort it is: a later one of the same sort takes its place."""
    data = fact.data
    if fact.kind == "ack":
        return str(data.get("about", "")), ("ack",)
    action = str(data.get("action", ""))
    if fact.kind == "alarm":
        return str(data.get("about", "")), ("alarm", action, str(data.get("to", "")))
    if fact.kind == "gap" and data.get("cause") == "silent":
        return str(data.get("id", "")), ("gap",)
    if fact.kind == "excursion":
        return str(data.get("id", "")), ("excursion", action, tier_of(data.get("tier")))
    return "", ()


def _learned(alarm: Alarm | None, fact: Fact, delay: Delay) -> Alarm | None:
    """Give an alarm behind an entry that is about it; None where it changes nothing."""
    if fact.kind == "gap":
        if fact.data.get("over"):
            return None if alarm is None else alarm.gone()
        return alarm if alarm is not None else _begun(fact, SILENCE, fact.t_ms)
    if fact.kind == "excursion":
        return _after_excursion(alarm, fact, delay)
    if fact.kind == "alarm":
        return _after_alarm(alarm, fact)
    if alarm is None:
        return None
    known = msgspec.structs.replace(alarm, by=str(fact.data.get("who")), why=str(fact.data.get("why")))
    return known.happened(Event.ACKNOWLEDGED)


def _begun(fact: Fact, kind: str, due_ms: int) -> Alarm:
    """Begin an alarm with the entry that is its cause."""
    data = fact.data
    tier = tier_of(data.get("tier", Tier.EXCURSION))
    return Alarm(
        about=str(data.get("id")),
        kind=kind,
        asset=_text(data, "asset"),
        device=_text(data, "device"),
        sensor=_text(data, "sensor"),
        quantity=_text(data, "quantity"),
        tier=tier,
        seq=fact.seq,
        text=_words(kind, data),
        since_ms=fact.t_ms,
        due_ms=due_ms,
    )


def _after_excursion(alarm: Alarm | None, fact: Fact, delay: Delay) -> Alarm | None:
    """Give an alarm behind an entry of its excursion; a sensor in maintenance raises none."""
    action, tier = fact.data.get("action"), tier_of(fact.data.get("tier"))
    if alarm is None:
        if action in {"recovered", "closed"} or fact.data.get("maintenance"):
            return None
        is_past = action == "retrospective"
        due_ms = fact.t_ms if is_past or tier is Tier.CRITICAL else delay(fact.data)
        alarm = _begun(fact, RETROSPECTIVE if is_past else EXCURSION, due_ms)
        return alarm.gone(is_kept=True) if is_past else alarm
    alarm = msgspec.structs.replace(alarm, seq=fact.seq, text=_words(alarm.kind, fact.data)).risen(tier)
    if action == "recovered":
        return alarm.gone()
    return alarm.happened(Event.SETTLED) if action == "closed" else alarm


def _after_alarm(alarm: Alarm | None, fact: Fact) -> Alarm | None:
    """Give an alarm once what was done about it is on record."""
    data, action = fact.data, fact.data.get("action")
    if action == Action.NOTIFIED:
        if alarm is None:
            return None
        handed = {**alarm.handed, str(data.get("to")): _number(data.get("n"))}
        return msgspec.structs.replace(alarm, handed=handed)
    if alarm is None:
        if action == Action.CLEARED:
            return None
        alarm = _from_record(fact)
    elif is_heavier(tier := tier_of(data.get("tier")), alarm.tier):
        alarm = alarm.risen(tier)
    alarm = alarm.paid(Action(str(action)))
    if action == Action.CLEARED:
        alarm = msgspec.structs.replace(alarm, state=State.OVER)
    return msgspec.structs.replace(
        alarm,
        number=_number(data.get("n")),
        step=_number(data.get("step")),
        told_ms=fact.t_ms,
    )


def _seen(seen: Condition, now_ms: int) -> Alarm:
    """Begin an alarm about what is seen in the gateway."""
    return Alarm(
        about=seen.about,
        kind=seen.kind,
        tier=seen.tier,
        asset=seen.asset,
        device=seen.device,
        sensor=seen.sensor,
        text=seen.text,
        since_ms=now_ms,
        due_ms=now_ms,
    )


def _from_record(fact: Fact) -> Alarm:
    """Make an alarm from its own entry: its cause is in the gateway, or its entry is not here any more."""
    data = fact.data
    return Alarm(
        about=_text(data, "about"),
        kind=_text(data, "alarm"),
        asset=_text(data, "asset"),
        device=_text(data, "device"),
        sensor=_text(data, "sensor"),
        quantity=_text(data, "quantity"),
        text=_text(data, "text"),
        tier=tier_of(data.get("tier")),
        seq=_number(data.get("seq", -1)),
        since_ms=fact.t_ms,
        due_ms=moment_ms(_text(data, "due")) if "due" in data else fact.t_ms,
        owed=(),
    )


def _text(data: Data, name: str) -> str:
    """Read a text; what is not there is empty."""
    return str(data.get(name, ""))


def _number(value: object) -> int:
    """Read a whole number; anything else is 0."""
    return value if type(value) is int else 0


def _words(kind: str, data: Data) -> str:
    """Say what an entry is about, in one line."""
    where = f"{data.get('device')}/{data.get('sensor')}"
    asset = f"{data['asset']} ({where})" if data.get("asset") else where
    if kind == SILENCE:
        return f"{asset}: silent since {data.get('from')}"
    direction, extreme, unit = (data.get(each) for each in ("direction", "extreme", "unit"))
    side = _TOO_WARM if direction == "mkt" else f"{data.get('quantity')} too {direction}"
    late = "found afterwards, " if kind == RETROSPECTIVE else ""
    tail = {"recovered": "; back in range", "closed": "; closed"}.get(str(data.get("action")), "")
    return f"{asset}: {side}, {late}{extreme} {unit} at worst since {data.get('from')}{tail}"
