"""One alarm: what a person is told about an excursion, a silent sensor or the gateway itself.

Promise: every change of state is a row of `TABLE`, and nothing else changes it. What is critical stays until
a person has acknowledged it, even when its cause is gone. A delay puts off telling, never the record. Pure:
tells nobody, seals nothing, knows no clock.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.core.coldchain.profile import Tier
from coldseal.core.coldchain.register import FOREVER

if TYPE_CHECKING:
    from collections.abc import Mapping

TIERS: Final = tuple(Tier)
"""The lightest first."""


class State(StrEnum):
    """Where an alarm is."""

    WAITING = "waiting"
    """It is on record; nobody is told before its delay is over."""
    TOLD = "told"
    """People are told; nobody has acknowledged."""
    ACKNOWLEDGED = "acknowledged"
    """Somebody sees to it; its cause is still there."""
    LATCHED = "latched"
    """Its cause is gone; somebody must acknowledge it all the same."""
    OVER = "over"
    """Nothing is left to do, but perhaps to say so."""


class Event(StrEnum):
    """What happens to an alarm."""

    DUE = "due"
    """The delay is over."""
    GRAVER = "graver"
    """The tier is heavier than before."""
    WAITED = "waited"
    """Nobody has acknowledged for so long that others are to be told."""
    REPEAT = "repeat"
    """Nobody has acknowledged for so long that it is said again."""
    ACKNOWLEDGED = "acknowledged"
    """A person has acknowledged, with a reason."""
    GONE = "gone"
    """The cause is gone."""
    GONE_KEPT = "gone-kept"
    """The cause is gone, and a person must know of it: it was critical, or found only afterwards."""
    BACK = "back"
    """The cause is there again."""
    SETTLED = "settled"
    """A person has decided about the excursion, or its sensor was released."""


class Action(StrEnum):
    """What an `alarm` entry says was done."""

    RAISED = "raised"
    ESCALATED = "escalated"
    REPEATED = "repeated"
    CLEARED = "cleared"
    NOTIFIED = "notified"


class Step(NamedTuple):
    """What comes of an event: the next state, and what is put on record."""

    state: State
    action: Action | None = None


_S, _E, _A = State, Event, Action

TABLE: Final[Mapping[tuple[State, Event], Step]] = {
    (_S.WAITING, _E.DUE): Step(_S.TOLD),
    (_S.WAITING, _E.GRAVER): Step(_S.TOLD, _A.ESCALATED),
    (_S.WAITING, _E.ACKNOWLEDGED): Step(_S.ACKNOWLEDGED),
    (_S.WAITING, _E.GONE): Step(_S.OVER, _A.CLEARED),
    (_S.WAITING, _E.GONE_KEPT): Step(_S.LATCHED),
    (_S.WAITING, _E.SETTLED): Step(_S.OVER, _A.CLEARED),
    (_S.TOLD, _E.GRAVER): Step(_S.TOLD, _A.ESCALATED),
    (_S.TOLD, _E.WAITED): Step(_S.TOLD, _A.ESCALATED),
    (_S.TOLD, _E.REPEAT): Step(_S.TOLD, _A.REPEATED),
    (_S.TOLD, _E.ACKNOWLEDGED): Step(_S.ACKNOWLEDGED),
    (_S.TOLD, _E.GONE): Step(_S.OVER, _A.CLEARED),
    (_S.TOLD, _E.GONE_KEPT): Step(_S.LATCHED),
    (_S.TOLD, _E.SETTLED): Step(_S.OVER, _A.CLEARED),
    (_S.ACKNOWLEDGED, _E.GRAVER): Step(_S.TOLD, _A.ESCALATED),
    (_S.ACKNOWLEDGED, _E.GONE): Step(_S.OVER, _A.CLEARED),
    (_S.ACKNOWLEDGED, _E.GONE_KEPT): Step(_S.OVER, _A.CLEARED),
    (_S.ACKNOWLEDGED, _E.SETTLED): Step(_S.OVER, _A.CLEARED),
    (_S.LATCHED, _E.GRAVER): Step(_S.LATCHED, _A.ESCALATED),
    (_S.LATCHED, _E.WAITED): Step(_S.LATCHED, _A.ESCALATED),
    (_S.LATCHED, _E.REPEAT): Step(_S.LATCHED, _A.REPEATED),
    (_S.LATCHED, _E.ACKNOWLEDGED): Step(_S.OVER, _A.CLEARED),
    (_S.LATCHED, _E.BACK): Step(_S.TOLD),
    (_S.LATCHED, _E.SETTLED): Step(_S.OVER, _A.CLEARED),
}
"""All changes of state; what is not here changes nothing."""

LOUD: Final = frozenset({State.TOLD, State.LATCHED})
"""States in which people are told, again and again."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One alarm as it stands.

    Args:
        about: id of the excursion or gap, or of what is watched in the gateway, such as ``storage/days``.
        kind: excursion, retrospective, silence, calibration, maintenance, certificate, storage, clock,
            device, hardware, witness, log.
        tier: the heaviest so far.
        asset: what the sensor watches; empty where nothing is known.
        device: the sensor's device, or the gateway itself.
        sensor: its name below the device, or what is watched in the gateway.
        quantity: what was measured; empty where it does not matter.
        seq: the newest entry that it is about; its own `raised` entry where there is none.
        text: for people, one line.
        since_ms: when it began, UTC milliseconds.
        due_ms: before, nobody is told.
        state: where it is.
        owed: what is to be put on record, in this order.
        number: how often something was put on record that people are to be told.
        step: of the recipients: those of lower steps are told too.
        told_ms: when that was last.
        handed: recipient → the newest number that was handed over for them.
        by: who acknowledged last.
        why: for which reason.
    """

    about: str
    kind: str
    tier: Tier
    asset: str = ""
    device: str = ""
    sensor: str = ""
    quantity: str = ""
    seq: int = -1
    text: str = ""
    since_ms: int = 0
    due_ms: int = 0
    state: State = State.WAITING
    owed: tuple[Action, ...] = (Action.RAISED,)
    number: int = 0
    step: int = 0
    told_ms: int = 0
    handed: dict[str, int] = {}
    by: str = ""
    why: str = ""

    def happened(self, event: Event) -> Alarm:
        """Give the alarm behind an event; itself, where the table has no row for it."""
        step = TABLE.get((self.state, event))
        if step is None:
            return self
        owed = self.owed
        if step.action is not None and step.action not in owed:
            owed = (*owed, step.action)
        return msgspec.structs.replace(self, state=step.state, owed=owed)

    def risen(self, tier: Tier) -> Alarm:
        """Give the alarm at a tier, if that is heavier than its own."""
        if not is_heavier(tier, self.tier):
            return self
        return msgspec.structs.replace(self, tier=tier).happened(Event.GRAVER)

    def gone(self, *, is_kept: bool = False) -> Alarm:
        """Give the alarm without its cause; one that was critical is kept until it is acknowledged."""
        is_kept = is_kept or self.tier is Tier.CRITICAL
        return self.happened(Event.GONE_KEPT if is_kept else Event.GONE)

    def paid(self, action: Action) -> Alarm:
        """Give the alarm once an action is on record."""
        return msgspec.structs.replace(self, owed=tuple(each for each in self.owed if each is not action))

    @property
    def is_settled(self) -> bool:
        """Whether all of it is on record, and it is over."""
        return self.state is State.OVER and not self.owed


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """When something is said again, and when others are told.

    Args:
        repeat_ms: unacknowledged for so long since the last word: it is said again; 0: never.
        escalate_ms: unacknowledged for so long since the last word: the next step is told; 0: never.
        last_step: the highest step that has recipients.
    """

    repeat_ms: int
    escalate_ms: int
    last_step: int = 0


def is_heavier(tier: Tier, than: Tier) -> bool:
    """Whether one tier is heavier than another."""
    return TIERS.index(tier) > TIERS.index(than)


def at(alarm: Alarm, now_ms: int) -> Alarm:
    """Give an alarm as time alone has made it: its delay may be over, a clock may have been put back."""
    if alarm.told_ms > now_ms:
        alarm = msgspec.structs.replace(alarm, told_ms=now_ms)
    return alarm.happened(Event.DUE) if now_ms >= alarm.due_ms else alarm


def quiet_until(alarm: Alarm, timing: Timing) -> int:
    """Give the moment up to which time alone brings nothing to an alarm that owes nothing."""
    if alarm.state is State.WAITING:
        return alarm.due_ms
    limits = (timing.repeat_ms, timing.escalate_ms if alarm.step < timing.last_step else 0)
    if alarm.state not in LOUD or not any(limits):
        return FOREVER
    return max(alarm.told_ms, alarm.due_ms) + min(each for each in limits if each)


def wanted(alarm: Alarm, timing: Timing, now_ms: int) -> Action | None:
    """Say what is to be put on record next, if anything is."""
    if alarm.owed:
        return alarm.owed[0]
    silent_ms = now_ms - max(alarm.told_ms, alarm.due_ms)
    for event, limit_ms in (
        (Event.WAITED, timing.escalate_ms if alarm.step < timing.last_step else 0),
        (Event.REPEAT, timing.repeat_ms),
    ):
        step = TABLE.get((alarm.state, event))
        if step is not None and limit_ms and silent_ms >= limit_ms:
            return step.action
    return None


def entry_data(alarm: Alarm, action: Action, timing: Timing, due: str = "") -> dict[str, str | int]:
    """Say what the `alarm` entry of an action says.

    Args:
        alarm: as it stands, with that action wanted.
        action: any but `notified`.
        timing: knows the highest step.
        due: when people are told, in the form of an entry's time; empty: at once.
    """
    step = min(alarm.step + 1, timing.last_step) if action is Action.ESCALATED else alarm.step
    data: dict[str, str | int] = {
        "about": alarm.about,
        "action": action.value,
        "alarm": alarm.kind,
        "n": alarm.number + 1,
        "step": step,
        "text": alarm.text,
        "tier": alarm.tier.value,
    }
    for name in ("asset", "device", "sensor", "quantity"):
        if value := getattr(alarm, name):
            data[name] = value
    if alarm.seq >= 0:
        data["seq"] = alarm.seq
    if due:
        data["due"] = due
    return data


def handed_data(alarm: Alarm, number: int, recipient: str) -> dict[str, str | int]:
    """Say what the entry says that a notice was handed over."""
    return {"about": alarm.about, "action": Action.NOTIFIED.value, "n": number, "to": recipient}
