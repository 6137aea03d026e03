"""Calibrations that are due and maintenance that goes on are shown to people, in words and numbers."""

from __future__ import annotations

from coldseal.cli.status import _render
from coldseal.core.coldchain.certificate import canonical_form
from coldseal.core.coldchain.changes import moment
from coldseal.core.coldchain.register import Register
from coldseal.gateway.upkeep import LOOK_MS, Upkeep
from coldseal.observe.metrics import GatewayMetrics
from tests.core.coldchain.bad_calibrations import GOOD
from tests.gateway.parts import Hands

SIGNED = {"who": "Eva", "why": "ice bath"}
DAY = 86_400_000


def calibrated(hands: Hands, sensor: str, days: int) -> tuple[str, dict[str, object], int]:
    """Make the entry of a calibration that ends in so many days."""
    made = moment(hands.wall_ms - 300 * DAY)[:10]
    change = {"sensor": sensor, "calibrated": made, "due": moment(hands.wall_ms + days * DAY)[:10]}
    return (
        "calibration",
        {"calibration": canonical_form({**GOOD, **change}, where="x"), **SIGNED},
        hands.wall_ms,
    )


def shown(metrics: GatewayMetrics) -> dict[str, float]:
    """Give the three gauges."""
    text = metrics.render().decode()
    rows = (line.split() for line in text.splitlines() if not line.startswith("#"))
    found = {row[0].rpartition("coldseal_gateway_")[2]: float(row[1]) for row in rows}
    names = ("calibrations_overdue", "calibrations_due_soon", "sensors_in_maintenance")
    return {name: found[name] for name in names}


def test_what_is_due_is_named_with_the_days_that_are_left() -> None:
    """Overdue, due soon, and not yet; and a sensor in maintenance, until it ends."""
    hands, metrics = Hands(), GatewayMetrics()
    ill = {"action": "begin", "device": "dev-1", "sensor": "lid"}
    register, faults = Register().with_entries(
        [
            *(calibrated(hands, name, days) for name, days in (("a", -3), ("b", 7), ("c", 200))),
            ("config", {"maintenance": ill, **SIGNED}, hands.wall_ms),
        ]
    )
    assert not faults
    upkeep = Upkeep(lambda: register, hands.clock(), metrics, warning_days=30)
    hands.pass_ms(90_000)
    upkeep.tick()
    assert shown(metrics) == {
        "calibrations_overdue": 1,
        "calibrations_due_soon": 1,
        "sensors_in_maintenance": 1,
    }
    assert upkeep.status() == {
        "calibrations_due_days": {"dev-1/a temperature": -3, "dev-1/b temperature": 7},
        "maintenance_s": {"dev-1/lid": 90},
    }
    ended = {"maintenance": {**ill, "action": "end"}, **SIGNED}
    register = register.with_entry("config", ended, hands.wall_ms)
    upkeep.tick()
    assert shown(metrics)["sensors_in_maintenance"] == 1
    hands.pass_ms(LOOK_MS)
    upkeep.tick()
    assert shown(metrics)["sensors_in_maintenance"] == 0


def test_the_status_says_it_in_words() -> None:
    """Who is overdue stands out."""
    assert _render("calibrations_due_days", {"d/a t": -3, "d/b t": 7}) == (
        "calibrations due",
        "d/a t OVERDUE, d/b t in 7 days",
    )
    assert _render("calibrations_due_days", {}) == ("calibrations due", "none")
    assert _render("maintenance_s", {"d/a": 7200}) == ("sensors in maintenance", "d/a (2 h)")
