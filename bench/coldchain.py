"""The rows of judging at the edge: what a reading costs, and what a sensor takes in memory.

5,000 sensors on 200 assets, two quantities in each reading. What judging costs is measured alone, beside the
signature that the same reading needs: the gateway does both on one core.
"""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import coldseal
from bench.report import Row
from coldseal.core.coldchain import profile as profiles
from coldseal.core.coldchain.certificate import canonical_form
from coldseal.core.coldchain.evaluation import Evaluation, Measured
from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.product import (
    Direction,
    Limit,
    MktRule,
    ProductProfile,
    QuantityRule,
    Tier,
)
from coldseal.core.coldchain.register import Plan
from coldseal.core.log.canonical import encode
from coldseal.core.log.record import Chain, parse_entry
from coldseal.gateway.evaluating import Evaluator
from coldseal.gateway.profiles import read_profile
from coldseal.gateway.sources.decode import Decoded, decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rows import Bench, Measure
    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry

SENSORS, ASSETS = 5_000, 200
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
START = "2026-03-02T00:00:00.000Z"
START_MS = moment_ms(START)
TIME_QUALITY = b'{"boot":"5f3a9c01","err":12,"mono":1,"off":-3,"s":"synchronised"}'

GOAL_US, GOAL_BYTES = 10, 4096


def evaluation(bench: Bench) -> Iterator[Row]:
    """Measure what judging adds to a reading, and what a sensor with a 30-day window takes."""
    rounds = 8 if bench.is_quick else 40
    signing = bench.signing()
    for is_calibrated in (False, True):
        yield Row(
            key="evaluation",
            figure=f"evaluating a reading, {'calibrated' if is_calibrated else 'all'}, processor time",
            value=_seam_us(rounds, is_calibrated=is_calibrated),
            unit="µs",
            goal=None if is_calibrated else GOAL_US,
            sense="≤",
            note="what is in force, flags, dew point, judging by a shipped profile; 5,000 sensors, 200 assets"
            + ("; each with a two-point calibration of its own" if is_calibrated else ""),
        )
    cost_us = min(_cost_us(rounds) for _ in range(3))
    note = "two quantities, 5,000 sensors on 200 assets, mean kinetic temperature over 30 days"
    yield Row(
        key="evaluation",
        figure="judging a reading, processor time",
        value=cost_us,
        unit="µs",
        goal=GOAL_US,
        sense="≤",
        note=note,
    )
    yield Row(
        key="evaluation",
        figure="judging a reading, beside its signature",
        value=cost_us,
        unit="µs",
        yardstick="one P-256 signature",
        against=1e6 / signing,
        note="how much of a signature's time judging takes",
    )
    yield Row(
        key="evaluation",
        figure="memory of a sensor, 30-day window full",
        value=_bytes_each(100 if bench.is_quick else 500),
        unit="B",
        goal=GOAL_BYTES,
        sense="≤",
        note="all that judging keeps of it, by tracemalloc",
    )
    evaluation = _filled(SENSORS, 2, HOUR_MS)
    begun = time.perf_counter()
    snapshot = evaluation.snapshot()
    yield Row(
        key="evaluation",
        figure="snapshot of 5,000 sensors",
        value=(time.perf_counter() - begun) * 1000,
        unit="ms",
        note=f"{len(snapshot) / 1e6:.1f} MB; the windows are not full",
    )


def _seam_us(rounds: int, *, is_calibrated: bool) -> float:
    """Measure processor time for each reading of all that stands between decoding and sealing."""
    evaluator = Evaluator()
    evaluator.with_dew_point = True
    evaluator.know(_settings(is_calibrated=is_calibrated))
    best = float("inf")
    for turn in range(rounds):
        t_ms = START_MS + turn * MINUTE_MS
        each = [(f"sensor-{number}", _decoded(turn, number, t_ms)) for number in range(SENSORS)]
        evaluate, begun = evaluator.evaluate, time.process_time()
        for device, decoded in each:
            evaluate(device, "room", decoded, (), t_ms)
        best = min(best, time.process_time() - begun)
    return best / SENSORS * 1e6


def _decoded(turn: int, number: int, t_ms: int) -> Decoded:
    """Give a payload as it is taken in: values in the range, with the resolution of an instrument."""
    temperature, humidity = 300 + (number * 7 + turn * 3) % 400, 400 + (number + turn) % 100
    payload = (
        b'{"v":1,"q":[{"n":"temperature","u":"Cel","v":%d.%02d},{"n":"humidity","u":"%%RH","v":%d.%d}]}'
        % (*divmod(temperature, 100), *divmod(humidity, 10))
    )
    return decode(payload, received_ms=t_ms)


def _settings(*, is_calibrated: bool) -> Iterator[Entry]:
    """Give entries that assign all sensors, and the profile for refrigerated products to all assets."""
    chain = Chain("coldseal.example/bench", "0" * 16)
    profile = read_profile(Path(coldseal.__file__).parent / "profiles" / "refrigerated.toml")

    def entry(kind: str, **data: Value) -> Entry:
        said = encode({**data, "who": "bench", "why": "bench"})
        raw = chain.seal(kind, START, TIME_QUALITY, b"{}", said, None)
        return parse_entry(raw)

    yield entry("profile", profile=profiles.canonical_form(profile), sha256=profiles.digest(profile))
    for number in range(ASSETS):
        asset: dict[str, Value] = {"asset": f"asset-{number}", "asset_kind": "fridge"}
        yield entry("config", assign={**asset, "profile": profile.name, "version": profile.version})
    for number in range(SENSORS):
        sensor: dict[str, Value] = {"device": f"sensor-{number}", "sensor": "room"}
        yield entry("config", assign={**sensor, "asset": f"asset-{number % ASSETS}", "asset_kind": "fridge"})
        if is_calibrated:
            yield entry(
                "calibration", calibration=canonical_form(_certificate(number) | sensor, where="bench")
            )


def _certificate(number: int) -> dict[str, object]:
    """Give what a certificate of calibration says: two points, different ones for each sensor."""
    return {
        "calibrated": "2026-01-15",
        "certificate": f"K-2026-{number}",
        "due": "2027-01-15",
        "laboratory": "bench",
        "points": [["2.00", f"2.0{number % 10}"], ["8.00", f"8.1{number % 9}"]],
        "quantity": "temperature",
        "uncertainty": "0.10",
        "unit": "Cel",
    }


def _cost_us(rounds: int) -> float:
    """Measure processor time for each reading: values walk within the range, every sensor in turn."""
    evaluation, plans = Evaluation(), _plans(SENSORS)
    for turn in range(3):
        _read(evaluation, plans, turn, MINUTE_MS)
    readings = [
        [
            (plan, [_temperature(turn, t_ms), Measured("humidity", "%RH", 45_000 + turn, t_ms)], t_ms)
            for plan in plans
        ]
        for turn in range(3, 3 + rounds)
        for t_ms in (START_MS + turn * MINUTE_MS,)
    ]
    judge, begun = evaluation.judge, time.process_time()
    for each in readings:
        for plan, measured, t_ms in each:
            judge(plan, measured, received_ms=t_ms)
    return (time.process_time() - begun) / (rounds * SENSORS) * 1e6


def _bytes_each(sensors: int) -> float:
    """Measure what is kept of each sensor once its window is full."""
    plans = _plans(sensors)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        evaluation = Evaluation()
        for turn in range(31 * 12):
            _read(evaluation, plans, turn, 2 * HOUR_MS)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert evaluation.size == sensors
    return (after - before) / sensors


def _filled(sensors: int, turns: int, step_ms: int) -> Evaluation:
    """Give an evaluation that has judged some readings of each sensor."""
    evaluation, plans = Evaluation(), _plans(sensors)
    for turn in range(turns):
        _read(evaluation, plans, turn, step_ms)
    return evaluation


def _read(evaluation: Evaluation, plans: list[Plan], turn: int, step_ms: int) -> None:
    """Judge one reading of each sensor."""
    t_ms = START_MS + turn * step_ms
    for plan in plans:
        measured = [_temperature(turn, t_ms), Measured("humidity", "%RH", 45_000 + turn, t_ms)]
        evaluation.judge(plan, measured, received_ms=t_ms)


def _temperature(turn: int, t_ms: int) -> Measured:
    """Give a temperature in the range."""
    return Measured("temperature", "Cel", 22_000 + turn * 7 % 1000, t_ms)


def _plans(sensors: int) -> list[Plan]:
    """Put sensors to assets; all of them have one profile."""
    profile = ProductProfile(
        name="controlled-room-temperature-us",
        version=1,
        interval_s=3_600,
        silence_s=7_200,
        sha256="0" * 64,
        quantities=(
            QuantityRule(
                quantity="temperature",
                unit="Cel",
                low=20_000,
                high=25_000,
                hysteresis=500,
                recover_after=3,
                limits=(
                    Limit(direction=Direction.HIGH, at=30_000, tier=Tier.EXCURSION, cumulative_s=86_400),
                    Limit(direction=Direction.HIGH, at=40_000, tier=Tier.CRITICAL, single_s=0),
                    Limit(direction=Direction.LOW, at=15_000, tier=Tier.EXCURSION, single_s=0),
                ),
                mkt=MktRule(limit=25_000, window_s=30 * 86_400),
            ),
            QuantityRule(quantity="humidity", unit="%RH", high=60_000, hysteresis=2_000),
        ),
    )
    return [
        Plan(f"sensor-{number}", "room", f"asset-{number % ASSETS}", profile) for number in range(sensors)
    ]


ROWS: dict[str, Measure] = {"evaluation": evaluation}
"""Rows by the name for ``--only``."""
