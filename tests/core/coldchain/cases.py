"""Reads the cases of tests/cases/coldchain: a profile, what happens, and the entries that must come of it.

What happens stands one a line: `TIME VALUE` is a reading, `TIME..TIME/MINUTES VALUE` a row of them; `rh=`
adds humidity, `came=` says when it came in. A line that begins with `!` is something else, see `Play`. A time
is `HH:MM[:SS]`, that of a later day `+DAYSTHH:MM`, or RFC 3339. An expected entry is its action and any of
its figures; `late`, `tolerated`, `maintenance` and `reason` are there exactly where the case says so.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from coldseal.core.coldchain.calibration import Calibration
from coldseal.core.coldchain.effects import Effect, Judged, Measured
from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.core.coldchain.figures import render_time
from coldseal.core.coldchain.measured import moment_ms, thousandths
from coldseal.core.coldchain.product import ProductProfile
from coldseal.core.coldchain.profile import parse_profile
from coldseal.core.coldchain.register import FOREVER, Plan
from coldseal.core.log import canonical

FOLDER = Path(__file__).parents[2] / "cases" / "coldchain"
DEVICE, SENSOR, ASSET = "probe-1", "core", "fridge-7"
BARE = frozenset({"late", "tolerated", "maintenance"})
WHO = {"who": "Eva", "why": "stability data"}


class Case(NamedTuple):
    """One case.

    Attributes:
        name: of its file.
        says: what must come, and why.
        day: the day of times without a date.
        profile: name of the profile to begin with.
        uncertainty: of the temperature's calibration, thousandths.
        lines: what happens.
        expected: entries, in order.
        used: limits and their seconds at the end, of the asset.
    """

    name: str
    says: str
    day: str
    profile: str
    uncertainty: int
    lines: list[str]
    expected: list[str]
    used: dict[str, int]


def load_cases() -> list[Case]:
    """Read all cases, in the order of their names."""
    return [_load(path) for path in sorted(FOLDER.glob("*.toml"))]


def _load(path: Path) -> Case:
    """Read one."""
    found = tomllib.loads(path.read_text(encoding="utf-8"))
    return Case(
        path.stem,
        found["says"],
        found.get("day", "2026-03-02"),
        found["profile"],
        found.get("uncertainty", 0),
        found["readings"].strip().splitlines(),
        found["expected"],
        found.get("used", {}),
    )


def load_profile(name: str) -> ProductProfile:
    """Read a profile of the cases."""
    path = FOLDER / "profiles" / f"{name}.toml"
    return parse_profile(
        tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal), where=path.name
    )


class Play:
    """Plays a case against the evaluation, and keeps what came of it.

    Args:
        case: what happens.
    """

    def __init__(self, case: Case) -> None:
        """Begin with the sensor at its asset, for ever."""
        self.case = case
        self.evaluation = Evaluation()
        calibration = _calibration(case.uncertainty)
        profile = load_profile(case.profile)
        self._plans = [Plan(DEVICE, SENSOR, ASSET, profile, (calibration,))]
        self.effects: list[Effect] = []
        self._legs = 0

    def run(self) -> list[dict[str, Any]]:
        """Let everything happen; gives the entries."""
        for line in self.case.lines:
            self._play(line.partition("#")[0].split())
        return [canonical.parse(each.data, where=each.kind) for each in self.effects]

    def _play(self, words: list[str]) -> None:
        """Let one line happen."""
        if not words:
            return
        if words[0] == "!":
            self._command(words[1], words[2:])
            return
        named = dict(word.split("=") for word in words[2:])
        for t_ms in self._times(words[0]):
            measured = (
                [Measured("temperature", "Cel", thousandths(words[1]), t_ms)] if words[1] != "-" else []
            )
            if "rh" in named:
                measured.append(Measured("humidity", "%RH", thousandths(named["rh"]), t_ms))
            received_ms = self.ms(named["came"]) if "came" in named else t_ms
            self._note(self.evaluation.judge(self._plan(t_ms), measured, received_ms=received_ms))

    def _command(self, what: str, words: list[str]) -> None:
        """Let something happen that is no reading."""
        match what, words:
            case "profile", [name, at]:
                self._change(at, profile=load_profile(name))
            case "maintenance", [edge, at]:
                self._change(at, maintenance="new fan" if edge == "begin" else "")
            case "uncertainty", [milli, at]:
                self._change(at, calibrations=(_calibration(int(milli)),))
            case "move", [asset, at]:
                self._change(at, asset=asset, profile=self._plans[0].profile)
            case "leave", [at]:
                self._change(at, asset="", profile=None)
            case "restart", []:
                self.evaluation = Evaluation.restore(self.evaluation.snapshot())
            case _:
                self._note(self._step(what, words))

    def _step(self, what: str, words: list[str]) -> Judged:
        """Take a step of the evaluation that no reading asks for."""
        match what, words:
            case "release", [at]:
                old = self._plan(self.ms(at) - 1)
                self._change(at, asset="", profile=None)
                return self.evaluation.release(old, self.ms(at))
            case "tick", [at]:
                return self.evaluation.silent(self.ms(at), [self._plan(self.ms(at))])
            case "listening", [since, at]:
                plans = [self._plan(self.ms(at))]
                return self.evaluation.silent(self.ms(at), plans, listening_ms=self.ms(since))
            case "carry", [*used]:
                totals = {key: int(seconds) * 1000 for key, seconds in (word.split("=") for word in used)}
                leg = {"totals": totals, "carried": {}, "mkt": {}}
                self._legs += 1
                return self.evaluation.carry(ASSET, leg, source=f"example.com/leg-{self._legs} {ASSET}")
            case "close", [at]:
                waiting = [each for each in self.evaluation.open_excursions() if each["state"] == "recovered"]
                disposition = {"verdict": "accept", **WHO}
                return self.evaluation.close(str(waiting[0]["id"]), disposition, self.ms(at))
        raise AssertionError(what, words)

    def _note(self, judged: Judged) -> None:
        """Keep what came of a step."""
        self.effects += judged.effects

    def _plan(self, t_ms: int) -> Plan:
        """Give what is in force at a moment."""
        return next((plan for plan in reversed(self._plans) if plan.from_ms <= t_ms), self._plans[0])

    def _change(self, at: str, **changes: object) -> None:
        """Have something else in force from a moment on."""
        last, at_ms = self._plans[-1], self.ms(at)
        fields = {name: getattr(last, name) for name in Plan.__struct_fields__}
        self._plans[-1] = Plan(**{**fields, "until_ms": at_ms})
        self._plans.append(Plan(**{**fields, **changes, "from_ms": at_ms, "until_ms": FOREVER}))

    def _times(self, word: str) -> Iterator[int]:
        """Give the times of a line of readings."""
        begin, dots, rest = word.partition("..")
        end, _, minutes = rest.partition("/")
        t_ms, end_ms = self.ms(begin), self.ms(end or begin)
        step_ms = round(float(minutes) * 60_000) if dots else 1
        while t_ms <= end_ms:
            yield t_ms
            t_ms += step_ms

    def ms(self, word: str) -> int:
        """Read a time as UTC milliseconds."""
        if "T" in word and not word.startswith("+"):
            return moment_ms(word)
        days, _, clock = word.removeprefix("+").rpartition("T")
        hours, minutes, seconds = (*map(int, clock.split(":")), 0)[:3]
        moment = datetime.fromisoformat(self.case.day).replace(tzinfo=UTC) + timedelta(days=int(days or 0))
        return moment_ms((moment + timedelta(hours=hours, minutes=minutes, seconds=seconds)).isoformat())


def _calibration(uncertainty: int) -> Calibration:
    """Give a certificate of the sensor."""
    return Calibration(
        id="c0ffee00",
        device=DEVICE,
        sensor=SENSOR,
        quantity="temperature",
        unit="Cel",
        uncertainty=uncertainty,
    )


def differences(play: Play, entry: dict[str, Any], expected: str) -> list[str]:
    """Say in what an entry is not what a case expects; nothing if it is."""
    action, *words = expected.split()
    is_gap = action in {"silent", "over"}
    said = ("over" if entry.get("over") else "silent") if is_gap else entry.get("action")
    found = [] if said == action else [f"action {said}"]
    flags = BARE.intersection(words)
    if BARE.intersection(entry) != flags:
        found.append(f"flags {sorted(BARE.intersection(entry))}")
    if ("reason" in entry) != any(word.startswith("reason=") for word in words):
        found.append(f"reason {entry.get('reason')}")
    for word in words:
        name, equals, value = word.partition("=")
        if word in BARE:
            continue
        if not equals:
            if value_is := _bare(entry, word):
                found.append(value_is)
        elif (actual := _figure(entry, name)) != (
            play_time(play, value) if _is_time(name) else value.replace("_", " ")
        ):
            found.append(f"{name} {actual}")
    return found


def _bare(entry: dict[str, Any], word: str) -> str:
    """Hold a direction or a tier against an entry."""
    return (
        ""
        if word in {entry.get("direction"), entry.get("tier")}
        else f"{entry.get('direction')} {entry.get('tier')}"
    )


def _is_time(name: str) -> bool:
    """Whether a figure is a time."""
    return name in {"from", "to", "noticed", "born"}


def play_time(play: Play, word: str) -> str:
    """Write a time of a case as an entry does."""
    return render_time(play.ms(word))


def _figure(entry: dict[str, Any], name: str) -> str:
    """Give a figure of an entry as text."""
    kind, _, limit = name.partition(":")
    if kind in {"single", "total"}:
        return next(
            (str(each[kind]) for each in entry["limits"] if f"{each['at']}/{each['tier']}" == limit), "none"
        )
    if kind == "carried":
        return str(entry.get("carried", {}).get(limit, "none"))
    if name == "born":
        return str(entry["id"]).rsplit("/", 1)[1]
    outer, _, inner = name.partition(".")
    value = entry.get(outer)
    return str(value[inner] if inner and isinstance(value, dict) else value)
