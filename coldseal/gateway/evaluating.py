"""Judges readings inside the gateway: what the register says is in force, applied as each message comes.

Promise: the result follows from what the log holds and nothing else, so that a replay of the entries gives
the same. What could not be committed is taken back, newest first, as if it had never come. Without anything
assigned a reading costs one look. Seals nothing, knows no time of its own.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coldseal.core.coldchain.custody import CUSTODY, parse_carried
from coldseal.core.coldchain.disposition import parse_disposition
from coldseal.core.coldchain.evaluation import Evaluation, Measured
from coldseal.core.coldchain.measured import moment_ms, taken_ms, thousandths
from coldseal.core.coldchain.normalisation import doubts_of, normalise
from coldseal.core.coldchain.register import Plan, Register
from coldseal.core.coldchain.standing import at
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Self

    from coldseal.core.coldchain.custody import Carried
    from coldseal.core.coldchain.evaluation import Effect, Judged
    from coldseal.core.coldchain.reading import Quantity
    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry
    from coldseal.gateway.sources.decode import Decoded

CHANGES: Final = frozenset({"profile", "calibration"})
"""Kinds of entries that change the register, all of them."""

CONFIGURED: Final = frozenset({"assign", "release", "maintenance"})
"""Members of a `config` entry that change the register; other such entries say nothing to it."""

FOLLOWED: Final = CHANGES | {"config", "disposition", "import"}
"""Kinds of own entries that mean something here, beside `gap`."""

_LENGTH: Final = 8


class Before(NamedTuple):
    """What is put back when an item could not be committed.

    Attributes:
        register: the register before it; None where it did not change it.
        moved: what the evaluation gave for taking back, in order.
        leg: the leg of custody that was taken over.
    """

    register: Register | None
    moved: tuple[object, ...]
    leg: str = ""


class Evaluated(NamedTuple):
    """What judging made of one message.

    Attributes:
        quantities: calibrated, converted and with what was derived from them.
        flags: all that the reading gets.
        effects: entries to seal directly behind it.
        before: for taking it back; None where nothing moved.
    """

    quantities: Sequence[Quantity]
    flags: Sequence[str]
    effects: Sequence[Effect] = ()
    before: Before | None = None


class Changed(NamedTuple):
    """What an own entry changes.

    Attributes:
        effects: entries to seal directly behind it.
        before: for taking it back.
    """

    effects: Sequence[Effect]
    before: Before


_NOTHING_CHANGED: Final = Changed((), Before(None, ()))


class Evaluator:
    """Register and evaluation of one gateway.

    Args:
        evaluation: its state; a new one by default.

    Attributes:
        with_dew_point: whether readings of temperature and humidity get the dew point added.
    """

    def __init__(self, evaluation: Evaluation | None = None) -> None:
        """Begin with nothing assigned."""
        self.evaluation = Evaluation() if evaluation is None else evaluation
        self._register = Register()
        self._plans: dict[tuple[str, str], Plan] = {}
        self._is_idle = True
        self._legs: dict[str, None] = {}
        self.with_dew_point = False

    @property
    def register(self) -> Register:
        """What is in force."""
        return self._register

    def plan(self, device: str, sensor: str, t_ms: int) -> Plan:
        """Give what is in force for a sensor at a moment."""
        plan = self._plans.get((device, sensor))
        if plan is None or not plan.from_ms <= t_ms < plan.until_ms:
            plan = self._plans[device, sensor] = self._register.plan(device, sensor, t_ms)
        return plan

    def evaluate(
        self, device: str, sensor: str, decoded: Decoded, flags: Sequence[str], received_ms: int
    ) -> Evaluated:
        """Judge one message, and move on."""
        if self._is_idle:
            return Evaluated(normalise(decoded.quantities, with_dew_point=self.with_dew_point), flags)
        sent, said = decoded.quantities, decoded.taken_at
        times = [taken_ms(each.taken_at, said, received_ms) for each in sent]
        plan = self.plan(device, sensor, times[0])
        doubts: Sequence[str]
        if plan.from_ms <= min(times) and max(times) < plan.until_ms:
            quantities = normalise(sent, plan.calibrations, with_dew_point=self.with_dew_point)
            doubts = doubts_of(plan, sent, times)
        else:
            quantities, doubts = self._over_a_change(device, sensor, sent, times)
        if doubts:
            flags = (*flags, *doubts)
        measured = [
            Measured(name, unit, thousandths(value), taken_ms(taken_at, said, received_ms))
            for name, unit, value, taken_at, _, _ in quantities
        ]
        return self._judge(device, sensor, quantities, measured, flags=flags, received_ms=received_ms)

    def _over_a_change(
        self, device: str, sensor: str, sent: Sequence[Quantity], times: Sequence[int]
    ) -> tuple[Sequence[Quantity], Sequence[str]]:
        """Convert and correct a backlog in one message, each value by what was in force then; with doubts."""
        quantities: list[Quantity] = []
        doubts: list[str] = []
        for each, t_ms in zip(sent, times, strict=True):
            plan = self.plan(device, sensor, t_ms)
            quantities += normalise((each,), plan.calibrations)
            doubts += doubts_of(plan, (each,), (t_ms,))
        return quantities, doubts

    def _judge(
        self,
        device: str,
        sensor: str,
        quantities: Sequence[Quantity],
        measured: Sequence[Measured],
        *,
        flags: Sequence[str],
        received_ms: int,
    ) -> Evaluated:
        """Judge what was measured, each part by what was in force when it was taken."""
        plan = self.plan(device, sensor, measured[0].taken_ms)
        for each in measured:
            if not plan.from_ms <= each.taken_ms < plan.until_ms:
                break
        else:
            judged = self.evaluation.judge(plan, measured, received_ms=received_ms)
            doubted = (*flags, *judged.flags) if judged.flags else flags
            return Evaluated(quantities, doubted, judged.effects, Before(None, (judged.before,)))
        effects: list[Effect] = []
        moved: list[object] = []
        doubts: list[str] = []
        for plan, part in self._by_plan(device, sensor, measured):
            judged = self.evaluation.judge(plan, part, received_ms=received_ms)
            effects += judged.effects
            moved.append(judged.before)
            doubts += judged.flags
        return Evaluated(quantities, (*flags, *doubts), effects, Before(None, tuple(moved)))

    def _by_plan(
        self, device: str, sensor: str, measured: Sequence[Measured]
    ) -> Iterable[tuple[Plan, Sequence[Measured]]]:
        """Group what was measured by what was in force: nearly always one group."""
        plan = self.plan(device, sensor, measured[0].taken_ms)
        first = 0
        for place, each in enumerate(measured):
            if not plan.from_ms <= each.taken_ms < plan.until_ms:
                yield plan, measured[first:place]
                plan, first = self.plan(device, sensor, each.taken_ms), place
        yield plan, measured[first:]

    def change(self, kind: str, data: Mapping[str, Any], t_ms: int) -> Changed:
        """Do what an own entry means: a change of the register, a disposition, a leg that is taken over.

        Args:
            kind: the entry's kind; one that means nothing here moves nothing.
            data: what it says.
            t_ms: its time.

        Raises:
            InputError: it contradicts what is there, or itself; nothing has changed.
        """
        if kind == "disposition":
            excursion, verdict = parse_disposition(data)
            return _moved(self.evaluation.close(excursion, verdict, t_ms))
        if kind == "import" and CUSTODY in data:
            return self._take_over(parse_carried(data[CUSTODY]))
        return self._switch(kind, data, t_ms) if is_change(kind, data) else _NOTHING_CHANGED

    def _take_over(self, leg: Carried) -> Changed:
        """Add to an asset what it used up before it came here."""
        if leg.source in self._legs:
            expected = "a leg that was not taken over yet: this one counts already"
            raise InputError("import entry", "custody.source", leg.source, expected)
        if leg.asset not in self._register.assets:
            known = ", ".join(sorted(self._register.assets)[:8]) or "none"
            raise InputError("import entry", "custody.asset", leg.asset, f"one that is known here: {known}")
        judged = self.evaluation.carry(leg.asset, leg.figures, source=leg.there, here=leg.here)
        self._legs[leg.source] = None
        return Changed(judged.effects, Before(None, (judged.before,), leg.source))

    def custody_of(self, asset: str, t_ms: int) -> dict[str, Value]:
        """State what an asset has used up here and before, for whoever has it next.

        Raises:
            InputError: it is not known here.
        """
        found = self._register.assets.get(asset)
        if found is None:
            known = ", ".join(sorted(self._register.assets)[:8]) or "none"
            raise InputError("export entry", "custody.asset", asset, f"one that is known here: {known}")
        profile = at(found.profiles, t_ms, None)
        pinned: dict[str, Value] | None = None
        if profile is not None:
            pinned = {"name": profile.name, "sha256": profile.sha256, "version": profile.version}
        excursions = [each for each in self.evaluation.open_excursions() if each.get("asset") == asset]
        return {
            "asset": asset,
            "asset_kind": found.kind,
            "excursions": [*excursions],
            "figures": self.evaluation.leg(asset),
            "profile": pinned,
        }

    def _switch(self, kind: str, data: Mapping[str, Any], t_ms: int) -> Changed:
        """Have the register behind an entry in force; what left its asset by that is released."""
        before = self._register
        after = before.with_entry(kind, data, t_ms)
        self._put(after)
        effects: list[Effect] = []
        moved: list[object] = []
        for key, watched in before.sensors.items():
            if after.sensors.get(key) is not watched:
                old, new = before.plan(*key, t_ms), after.plan(*key, t_ms)
                if old.asset and old.asset != new.asset:
                    judged = self.evaluation.release(old, t_ms)
                    effects += judged.effects
                    moved.append(judged.before)
        return Changed(effects, Before(before, tuple(moved)))

    def silent(self, now_ms: int, *, listening_ms: int) -> Changed:
        """Say which sensors are silent for too long, each once, and close what a planned release ends."""
        if self._is_idle:
            return _NOTHING_CHANGED
        plans = [self.plan(*key, now_ms) for key in self._register.sensors]
        left = self.evaluation.departed(plans)
        watching = [plan for plan in plans if plan.asset and plan.profile is not None]
        found = self.evaluation.silent(now_ms, watching, listening_ms=listening_ms)
        return Changed((*left.effects, *found.effects), Before(None, (left.before, found.before)))

    def undo(self, before: Before) -> None:
        """Go back to before an item; of several, the newest first."""
        for each in reversed(before.moved):
            self.evaluation.undo(each)
        if before.leg:
            del self._legs[before.leg]
        if before.register is not None:
            self._put(before.register)

    def _put(self, register: Register) -> None:
        """Have another register in force."""
        self._register, self._is_idle = register, register.is_empty
        self._plans.clear()

    def learn(self, kind: str, data: Mapping[str, Any], src: Mapping[str, Any], t: str) -> Sequence[Effect]:
        """Follow one entry of the log, as when it was made; gives the entries that must stand behind it.

        What once was sealed is there: an entry that cannot be followed by this version changes nothing.
        """
        if kind == "reading":
            return () if self._is_idle else self._replay(data, src, moment_ms(t))
        if kind == "gap":
            self.evaluation.noted(data)
        elif kind == "excursion":
            self.evaluation.followed(data)
        elif kind in FOLLOWED:
            with suppress(InputError):
                return self.change(kind, data, moment_ms(t)).effects
        return ()

    def _replay(self, data: Mapping[str, Any], src: Mapping[str, Any], t_ms: int) -> Sequence[Effect]:
        """Judge a reading from its entry."""
        said = str(src.get("t", ""))
        measured = [
            Measured(each["n"], each["u"], thousandths(each["v"]), taken_ms(each.get("t", ""), said, t_ms))
            for each in data["q"]
        ]
        flags, key = data.get("flags", ()), (str(src["dev"]), data["sensor"])
        return self._judge(*key, (), measured, flags=flags, received_ms=t_ms).effects

    def snapshot(self) -> bytes:
        """Write down how far judging is; the log itself has the register."""
        return self.still()()

    def still(self, befores: Iterable[Before] = ()) -> Callable[[], bytes]:
        """Give what writes that down later, as it is now without these steps, the oldest first."""
        taken_back = [*befores]
        left_out = {before.leg for before in taken_back}
        legs = "\n".join(leg for leg in self._legs if leg not in left_out).encode()
        head = len(legs).to_bytes(_LENGTH) + legs
        write = self.evaluation.still(moved for before in taken_back for moved in before.moved)
        return lambda: head + write()

    @classmethod
    def restore(cls, snapshot: bytes, settings: Iterable[Entry]) -> Self | None:
        """Read a snapshot back.

        Args:
            snapshot: what `snapshot` gave.
            settings: the entries before it that say what is in force, in order.

        Returns:
            None if it cannot be read.
        """
        end = _LENGTH + int.from_bytes(snapshot[:_LENGTH])
        try:
            found = cls(Evaluation.restore(snapshot[end:]))
            found._legs = dict.fromkeys(snapshot[_LENGTH:end].decode().splitlines())
        except (InputError, UnicodeDecodeError):
            return None
        found.know(settings)
        return found

    def know(self, settings: Iterable[Entry]) -> None:
        """Have in force what entries say, without judging anything."""
        said = ((entry.kind, entry.data, moment_ms(entry.t)) for entry in settings)
        register, _ = self._register.with_entries(each for each in said if is_change(each[0], each[1]))
        self._put(register)


def is_change(kind: str, data: Mapping[str, Any]) -> bool:
    """Whether an entry may change the register."""
    return kind in CHANGES or (kind == "config" and not CONFIGURED.isdisjoint(data))


def _moved(judged: Judged) -> Changed:
    """Give what a step of the evaluation made."""
    return Changed(judged.effects, Before(None, (judged.before,)))
