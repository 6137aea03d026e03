"""Judging from outside: figures of an entry, accounts of assets, snapshots, and what is refused."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coldseal.core.coldchain.effects import NOTHING, Effect, Judged, Measured
from coldseal.core.coldchain.evaluation import FLAG_UNIT, Evaluation
from coldseal.core.coldchain.ledger import WAITING, Ledger, with_waiting
from coldseal.core.coldchain.profile import parse_profile
from coldseal.core.coldchain.register import FOREVER, Plan
from coldseal.core.log.canonical import parse
from coldseal.errors import InputError
from tests.core.coldchain.series import MINUTE, START_MS, plan_of

SHIPPED = sorted((Path(__file__).parents[3] / "coldseal" / "profiles").glob("*.toml"))
SOURCE = "example.com/there asset-0"
DISPOSITION = {"verdict": "reject", "who": "Eva", "why": "frozen"}


class Bench:
    """One sensor at the gateway: readings every five minutes."""

    def __init__(self, profile: str = "bare", asset: str = "asset-0") -> None:
        """Begin with nothing."""
        self.evaluation = Evaluation()
        self.plan = _with(plan_of(profile), asset=asset)
        self.t_ms = START_MS

    def read(
        self, *values: int, name: str = "temperature", unit: str = "Cel", minutes: int = 5
    ) -> list[Judged]:
        """Let readings come."""
        found = []
        for value in values:
            measured = [Measured(name, unit, value, self.t_ms)]
            found.append(self.evaluation.judge(self.plan, measured, received_ms=self.t_ms))
            self.t_ms += minutes * MINUTE
        return found

    def excursions(self) -> list[dict[str, Any]]:
        """Give what is under way or waits."""
        return [dict(each) for each in self.evaluation.open_excursions()]


def _with(plan: Plan, **changes: object) -> Plan:
    """Give a plan with something else in it."""
    fields: dict[str, Any] = {name: getattr(plan, name) for name in Plan.__struct_fields__} | changes
    return Plan(**fields)


def _entries(judged: Judged) -> list[dict[str, Any]]:
    """Read what a step puts on record."""
    return [dict(parse(each.data, where=each.kind)) for each in judged.effects]


def test_an_entry_has_all_figures() -> None:
    """Every member that the specification names, of its type, and no other."""
    bench = Bench("fridge")
    bench.read(5_000)
    (entry,) = _entries(bench.read(9_250)[0])
    sha256 = entry["profile"]["sha256"]
    assert len(sha256) == 64
    assert entry == {
        "action": "opened",
        "area": "0",
        "asset": "asset-0",
        "device": "probe-0",
        "direction": "high",
        "duration": 0,
        "extreme": "9.25",
        "from": "2026-03-02T00:05:00.000Z",
        "gap": 0,
        "guard": "0",
        "id": "probe-0/core/temperature/high/2026-03-02T00:05:00.000Z",
        "limit": "8",
        "limits": [
            {"at": "8", "single": 0, "tier": "warning", "total": 0},
            {"at": "8", "single": 0, "tier": "excursion", "total": 0},
            {"at": "15", "single": 0, "tier": "critical", "total": 0},
        ],
        "mkt": {"covered": "0.003", "limit": "8", "v": "5", "window": 86400, "worst": "5"},
        "profile": {"name": "fridge", "sha256": sha256, "version": 1},
        "quantity": "temperature",
        "sensor": "core",
        "tier": "warning",
        "to": "2026-03-02T00:05:00.000Z",
        "unit": "Cel",
        "value": "9.25",
    }


def test_a_first_reading_has_a_mean_of_its_own() -> None:
    """No time is covered yet: the value stands for it, with a share of nothing."""
    (entry,) = _entries(Bench("fridge").read(9_000)[0])
    assert entry["mkt"] == {"covered": "0", "limit": "8", "v": "9", "window": 86400, "worst": "9"}


def test_where_nothing_is_asked_nothing_moves() -> None:
    """No asset, no profile, another quantity."""
    bench = Bench()
    measured = [Measured("temperature", "Cel", 50_000, START_MS)]
    for plan in (_with(bench.plan, profile=None), _with(bench.plan, asset="")):
        assert bench.evaluation.judge(plan, measured, received_ms=START_MS) == NOTHING
    bench.read(50_000, name="humidity", unit="%RH")
    assert bench.excursions() == []
    bench.read(5_000)
    (judged,) = bench.read(50_000, name="humidity", unit="%RH")
    assert judged == Judged((), (), ())


def test_another_unit_is_flagged_and_not_judged() -> None:
    """46.4 would be 8 Cel in Fahrenheit: readings are converted before they come here."""
    bench = Bench()
    first, second = bench.read(5_000, 9_000, unit="[degF]")
    assert first.flags == second.flags == (FLAG_UNIT,)
    assert bench.excursions() == []


def test_a_calm_reading_changes_one_thing_only() -> None:
    """The state of its sensor."""
    bench = Bench("fridge")
    bench.read(5_000, 5_100)
    (judged,) = bench.read(5_200)
    assert (judged.flags, judged.effects) == ((), ())
    assert isinstance(judged.before, tuple)
    assert len(judged.before) == 1


def test_excursions_are_shown_while_they_are_open_and_until_somebody_decided() -> None:
    """Open, recovering, recovered; a tolerated one needs nobody."""
    bench = Bench("fridge")
    bench.read(5_000, 9_000, 9_000, 9_000)
    assert [(each["state"], each["duration"]) for each in bench.excursions()] == [("open", 600)]
    bench.read(7_000)
    assert [each["state"] for each in bench.excursions()] == ["recovering"]
    bench.read(7_000)
    (waiting,) = bench.excursions()
    assert (waiting["state"], waiting["action"], waiting["duration"]) == ("recovered", "recovered", 900)
    (closed,) = _entries(bench.evaluation.close(waiting["id"], DISPOSITION, bench.t_ms))
    assert (closed["action"], closed["disposition"]) == ("closed", DISPOSITION)
    assert bench.excursions() == []
    bench.read(9_000, 7_000, 7_000)
    assert bench.excursions() == []


@pytest.mark.parametrize("excursion", ["probe-0/core/temperature/high/never", ""])
def test_a_disposition_of_what_does_not_wait_is_refused(excursion: str) -> None:
    """Also of one that is still open."""
    bench = Bench()
    bench.read(5_000, 9_000)
    bench.evaluation.carry("other", {"totals": {}, "carried": {}, "mkt": {}}, source=SOURCE)
    before = bench.evaluation.snapshot()
    for name in (excursion, bench.excursions()[0]["id"]):
        with pytest.raises(InputError, match=r"disposition: excursion is .* expected one that has recovered"):
            bench.evaluation.close(name, DISPOSITION, START_MS)
    assert bench.evaluation.snapshot() == before


def test_what_waits_is_bounded() -> None:
    """The oldest of more than a thousand is in the log alone."""
    ledger = Ledger()
    for number in range(WAITING + 1):
        ledger = with_waiting(ledger, str(number), b"{}")
    assert len(ledger.waiting) == WAITING
    assert "0" not in ledger.waiting


def test_of_several_sensors_the_one_that_is_worst_off_counts() -> None:
    """Two probes in one fridge do not use its time up twice."""
    evaluation = Evaluation()
    for minute in range(0, 40, 5):
        for sensor, value in ((0, 9_000), (1, 9_000 if minute < 20 else 5_000)):
            taken_ms = START_MS + minute * MINUTE
            measured = [Measured("temperature", "Cel", value, taken_ms)]
            evaluation.judge(plan_of("fridge", sensor), measured, received_ms=taken_ms)
    used = {
        each["tier"]: each["total"] for each in evaluation.totals("asset-0") if each["direction"] == "high"
    }
    assert used == {"warning": 2100, "excursion": 2100}
    evaluation.release(plan_of("fridge", 0), START_MS + 35 * MINUTE)
    evaluation.release(plan_of("fridge", 1), START_MS + 35 * MINUTE)
    used = {
        each["tier"]: each["total"] for each in evaluation.totals("asset-0") if each["direction"] == "high"
    }
    assert used == {"warning": 2100, "excursion": 2100}


def test_a_leg_of_custody_goes_over_with_its_time_and_its_window() -> None:
    """What one gateway gives, another one adds, and the mean goes on from there."""
    here, there = Bench("fridge"), Bench("fridge", "pallet-9")
    here.read(*[5_000] * 12, *[9_000] * 5, 5_000, 5_000)
    leg = here.evaluation.leg("asset-0")
    assert leg["totals"] == {
        "temperature/high/8/excursion": 1_500_000,
        "temperature/high/8/warning": 1_500_000,
    }
    there.t_ms = here.t_ms
    there.evaluation.carry("pallet-9", leg, source=SOURCE)
    (entry,) = _entries(there.read(9_000)[0])
    assert entry["carried"] == {"8/excursion": 1500, "8/warning": 1500}
    assert [each["total"] for each in entry["limits"]] == [1500, 1500, 0]
    assert entry["mkt"]["covered"] == "0.062"  # 18 readings of five minutes, carried in
    again = there.evaluation.leg("pallet-9")
    assert again["carried"] == {
        "temperature/high/8/excursion": 1_500_000,
        "temperature/high/8/warning": 1_500_000,
    }


def test_the_hotter_of_two_windows_goes_over() -> None:
    """And none of a sensor that measures no temperature, or nothing yet."""
    evaluation = Evaluation()
    for minute in range(0, 60, 5):
        for sensor, value in ((0, 4_000), (1, 7_000), (2, 5_000)):
            taken_ms = START_MS + minute * MINUTE
            measured = [Measured("temperature", "Cel", value, taken_ms)]
            evaluation.judge(plan_of("fridge", sensor), measured, received_ms=taken_ms)
    evaluation.judge(plan_of("humid", 3), [Measured("humidity", "%RH", 1, START_MS)], received_ms=START_MS)
    there = Bench("fridge", "pallet-9")
    there.evaluation.carry("pallet-9", evaluation.leg("asset-0"), source=SOURCE)
    there.t_ms = START_MS + 60 * MINUTE
    (entry,) = _entries(there.read(9_000)[0])
    assert entry["mkt"]["v"] == "7"


def test_of_two_windows_the_one_that_ended_last_is_kept() -> None:
    """Whichever sensor leaves first."""
    evaluation = Evaluation()
    for sensor, value, last in ((0, 7_000, 60), (1, 4_000, 30)):
        for minute in range(0, last, 5):
            taken_ms = START_MS + minute * MINUTE
            measured = [Measured("temperature", "Cel", value, taken_ms)]
            evaluation.judge(plan_of("fridge", sensor), measured, received_ms=taken_ms)
        evaluation.release(plan_of("fridge", sensor), START_MS + last * MINUTE)
    (entry,) = _entries(
        evaluation.judge(
            plan_of("fridge", 2),
            [Measured("temperature", "Cel", 9_000, START_MS + 60 * MINUTE)],
            received_ms=START_MS + 60 * MINUTE,
        )
    )
    assert entry["mkt"]["v"] == "7"


@pytest.mark.parametrize(
    ("leg", "message"),
    [
        ({}, "totals is None, expected an object"),
        ({"totals": {"a": -1}}, "totals.a is -1, expected whole milliseconds"),
        ({"totals": {"a/high/8/nominal": 1}}, "totals is .*nominal', expected a limit such as"),
        ({"totals": {"a": True}}, "totals.a is True, expected whole milliseconds"),
        ({"totals": {}, "mkt": []}, "mkt is .*, expected an object of windows"),
        ({"totals": {}, "mkt": {"t": 1}}, "mkt.t is .*, expected canonical base64"),
        ({"totals": {}, "mkt": {"t": "AAAA"}}, "mkt is .*, expected 68 bytes"),
        ({"totals": {}, "mkt": {}}, "carried is None, expected an object"),
    ],
)
def test_a_leg_that_is_not_whole_is_refused(leg: Mapping[str, object], message: str) -> None:
    """And nothing has changed."""
    evaluation = Evaluation()
    before = evaluation.snapshot()
    with pytest.raises(InputError, match=message):
        evaluation.carry("pallet-9", leg, source=SOURCE)
    assert evaluation.snapshot() == before


def test_release_of_another_asset_moves_nothing() -> None:
    """The sensor watches something else by now."""
    bench = Bench()
    bench.read(5_000, 9_000)
    assert bench.evaluation.release(_with(bench.plan, asset="other"), bench.t_ms) == NOTHING


def test_readings_of_a_time_before_the_last_two_posts_are_judged_alone() -> None:
    """The post before last is gone: an excursion of that time counts there for one interval."""
    bench = Bench()
    bench.read(5_000)
    first = _with(bench.plan, until_ms=bench.t_ms)
    for asset in ("second", "third"):
        bench.plan = _with(bench.plan, asset=asset, from_ms=bench.t_ms, until_ms=FOREVER)
        bench.read(5_000)
    late = [
        Measured("temperature", "Cel", 9_000, START_MS + MINUTE),
        Measured("humidity", "%RH", 1, START_MS),
    ]
    (entry,) = _entries(bench.evaluation.judge(first, late, received_ms=bench.t_ms))
    assert (entry["asset"], entry["action"], entry["duration"]) == ("asset-0", "retrospective", 300)
    nonsense = [Measured("temperature", "Cel", 900_000, START_MS + MINUTE)]
    assert bench.evaluation.judge(first, nonsense, received_ms=bench.t_ms) == NOTHING
    maintained = _with(first, maintenance="new fan")
    assert bench.evaluation.judge(maintained, late, received_ms=bench.t_ms) == NOTHING


def test_a_logger_read_out_after_its_release_and_never_before() -> None:
    """Its time belongs to the asset that it watched."""
    bench = Bench()
    plan = _with(bench.plan, until_ms=START_MS + 60 * MINUTE)
    effects: list[Effect] = []
    for minute, value in ((0, 5_000), (5, 9_000), (10, 5_000)):
        measured = [Measured("temperature", "Cel", value, START_MS + minute * MINUTE)]
        effects += bench.evaluation.judge(plan, measured, received_ms=START_MS + 90 * MINUTE).effects
    assert [parse(each.data, where="")["action"] for each in effects] == ["opened", "recovered"]
    assert [each["total"] for each in bench.evaluation.totals("asset-0") if each["direction"] == "high"] == [
        300
    ]


def test_silence_on_record_is_known_after_a_replay() -> None:
    """Other gaps, and the end of a silence, say nothing here."""
    bench = Bench()
    bench.read(5_000)
    live = bench.evaluation.silent(bench.t_ms + 30 * MINUTE, [bench.plan])
    (entry,) = _entries(live)
    bench.evaluation.undo(live.before)
    replayed = Bench()
    replayed.read(5_000)
    for data in ({"cause": "stopped"}, entry | {"over": True}, entry):
        replayed.evaluation.noted(data)
    assert bench.evaluation.silent(bench.t_ms + 30 * MINUTE, [bench.plan]).effects == live.effects
    assert replayed.evaluation.snapshot() == bench.evaluation.snapshot()
    unwatched = [_with(bench.plan, asset=""), _with(bench.plan, profile=None)]
    assert bench.evaluation.silent(bench.t_ms + 90 * MINUTE, unwatched) == NOTHING


def test_a_sensor_silent_from_the_beginning_is_heard_or_released() -> None:
    """There is no post yet, and yet somebody waits for the end of it."""
    for heard in (True, False):
        bench = Bench()
        bench.evaluation.silent(START_MS, [bench.plan])
        step = bench.read(5_000)[0] if heard else bench.evaluation.release(bench.plan, START_MS)
        (entry,) = _entries(step)
        assert (entry["over"], entry["to"]) == (True, "2026-03-02T00:00:00.000Z")


def test_a_version_that_is_not_the_one_known_by_its_name_is_made_ready_anew() -> None:
    """A profile in making has no hash: two of them may share name and version."""
    bench = Bench()
    bench.read(5_000)
    profile = bench.plan.profile
    assert profile is not None
    wider = msgspec.structs.replace(
        profile, quantities=(msgspec.structs.replace(profile.quantities[0], high=12_000),)
    )
    bench.plan = _with(bench.plan, profile=wider, from_ms=bench.t_ms)
    assert bench.read(9_000)[0].effects == ()


def test_a_snapshot_can_be_written_down_later() -> None:
    """As it was when it was asked for, whatever has come since."""
    bench = Bench()
    bench.read(5_000)
    now, later = bench.evaluation.snapshot(), bench.evaluation.still()
    bench.read(9_000)
    assert later() == now
    assert bench.evaluation.size == 1


def test_a_snapshot_of_nothing_is_an_empty_one() -> None:
    """So a first start needs none."""
    assert Evaluation.restore(b"").snapshot() == Evaluation().snapshot()


def _spoilt(change: Callable[[Any], object]) -> bytes:
    """Give a snapshot with something in it that does not fit."""
    bench = Bench("fridge")
    bench.read(5_000, 9_000)
    found = msgspec.msgpack.decode(bench.evaluation.snapshot())
    change(found)
    return msgspec.msgpack.encode(found)


SPOILT: dict[str, tuple[Callable[[Any], object], str]] = {
    "version": (lambda found: found.__setitem__(0, 1), "version is 1, expected 2"),
    "cut": (lambda found: found.pop(), "form is .* expected a snapshot of version 2"),
    "post-of-no-profile": (
        lambda found: found[2][0].__setitem__(2, 7),
        "contents is .* expected numbers that belong together",
    ),
    "too-many-tracks": (lambda found: found[2][0][-1].append(None), "2 tracks for 1 quantities"),
    "no-such-quantity": (
        lambda found: found[2][0][-1][0].__setitem__(1, 4),
        "expected numbers that belong together",
    ),
    "too-many-totals": (lambda found: found[2][0][-1][0][7].append(1), "does not fit temperature of fridge"),
    "too-few-runs": (
        lambda found: found[2][0][-1][0].__setitem__(6, []),
        "does not fit temperature of fridge",
    ),
    "too-many-singles": (
        lambda found: found[2][0][-1][0][6][1][4].append(1),
        "does not fit temperature of fridge",
    ),
    "no-window": (lambda found: found[2][0][-1][0].__setitem__(8, b""), "does not fit temperature of fridge"),
    "times-of-a-mean": (
        lambda found: found[2][0][-1][0].__setitem__(11, found[2][0][-1][0][6][1]),
        "does not fit temperature of fridge",
    ),
    "half-a-reading": (
        lambda found: found[2][0][-1][0].__setitem__(9, b"x"),
        "does not fit temperature of fridge",
    ),
    "cut-window": (lambda found: found[2][0][-1][0].__setitem__(8, b"x"), "mkt is b'x', expected 68 bytes"),
    "unknown-unit": (
        lambda found: found[1][0][0]["quantities"][0].__setitem__("unit", "m"),
        "numbers that belong",
    ),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_snapshot_that_does_not_hold_together_is_refused(name: str) -> None:
    """Never half used."""
    change, message = SPOILT[name]
    with pytest.raises(InputError, match=message):
        Evaluation.restore(_spoilt(change))


@pytest.mark.parametrize("snapshot", [b"x", b"\xc1", b"\x96\x01"])
def test_bytes_that_are_no_snapshot_are_refused(snapshot: bytes) -> None:
    """With what was expected."""
    with pytest.raises(InputError, match="snapshot of the evaluation: form"):
        Evaluation.restore(snapshot)


@pytest.mark.parametrize("path", SHIPPED, ids=[path.stem for path in SHIPPED])
def test_each_shipped_profile_judges(path: Path) -> None:
    """What is in its range is told of by nobody; a degree beyond a bound is, with or without a mean."""
    profile = parse_profile(
        tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal), where=path.name
    )
    for rule in profile.quantities:
        for bound, side in ((rule.low, -1), (rule.high, 1)):
            if bound is None:
                continue
            bench = Bench()
            bench.plan = _with(bench.plan, profile=profile)
            good = bench.read(bound - 500 * side, bound, name=rule.quantity, unit=rule.unit)
            assert not any(each.effects for each in good)
            (entry,) = _entries(bench.read(bound + 1_000 * side, name=rule.quantity, unit=rule.unit)[0])
            assert (entry["action"], entry["direction"]) == ("opened", "high" if side > 0 else "low")
            assert (entry["mkt"] == "not applicable") == (rule.mkt is None)
