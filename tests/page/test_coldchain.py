"""The page's curves show which range held when, and the excursions, as the entries of the log say them."""

from __future__ import annotations

from pathlib import Path

from coldseal.core.coldchain.profile import canonical_form
from coldseal.core.log.canonical import Value
from tests.core.coldchain.profiles import VACCINE, profile
from tests.page.builder import Story
from tests.page.chromium import Tab
from tests.page.inspector import inspect

WHO: dict[str, Value] = {"who": "Eva", "why": "a test"}
DEVICE, SENSOR = 'probe "ramp", left', "ramp"
LINES = 'document.querySelector("figure[data-sensor=ramp][data-quantity=temperature]")'


def _apply(story: Story, *changes: tuple[str, str]) -> None:
    """Put a version of a profile on record."""
    found = profile(VACCINE, *changes)
    story.seal("profile", {"profile": canonical_form(found), "sha256": found.sha256, **WHO})


def _assign(story: Story, **what: Value) -> None:
    """Assign something to an asset from now on."""
    story.seal("config", {"assign": {"asset": "fridge-7", "asset_kind": "fridge", **what}, **WHO})


def _excursion(story: Story, since: str, action: str, tier: str, **more: Value) -> None:
    """Say something of one excursion."""
    where: dict[str, Value] = {"device": DEVICE, "sensor": SENSOR, "quantity": "temperature"}
    found: dict[str, Value] = {"action": action, "from": since, "to": story.time, "tier": tier}
    story.seal("excursion", {**where, **found, "id": f"one/{since}", "asset": "fridge-7", **more})


def _story() -> Story:
    """A fridge that gets warm, whose profile changes later, and whose sensor leaves it at the end."""
    story = Story()
    _apply(story)
    _assign(story, profile="vaccine-a", version=1)
    for _ in range(5):
        story.read(SENSOR, "5.0")
    _assign(story, device=DEVICE, sensor=SENSOR)
    since = ""
    for value in ("6.0", "8.5", "9.5", "9.0", "6.0", "5.5"):
        story.read(SENSOR, value)
        story.read("cold-room", "12.0")
        since = since or (story.time if value == "8.5" else "")
        if value == "8.5":
            _excursion(story, since, "opened", "warning")
        if value == "9.5":
            _excursion(story, since, "escalated", "critical")
    _excursion(story, since, "recovered", "critical")
    _apply(story, ("version = 1", "version = 2"), ("low = 2", "low = 3"))
    _assign(story, profile="vaccine-a", version=2)
    for _ in range(3):
        story.read(SENSOR, "5.0")
    story.seal("config", {"release": {"asset": "fridge-7", "device": DEVICE, "sensor": SENSOR}, **WHO})
    story.pass_time(10)
    for _ in range(3):
        story.read(SENSOR, "20.0")
    story.note()
    return story


async def test_ranges_and_excursions_are_drawn_where_they_held(tab: Tab, verifier: Path) -> None:
    """One for each version; none before the sensor was assigned or after it was released."""
    seen = await inspect(tab, verifier, _story().bundle())
    assert (seen.verdict, seen.faults) == ("good", [])
    (ours,) = [each for each in seen.curves if (each["sensor"], each["quantity"]) == (SENSOR, "temperature")]
    assert (ours["ranges"], ours["excursions"]) == ("2", "1")
    others = [each for each in seen.curves if each is not ours]
    assert {(each["ranges"], each["excursions"]) for each in others} == {("0", "0")}
    assert "range 2 to 8 °C by vaccine-a/1, range 3 to 8 °C by vaccine-a/2" in seen.text
    assert "1 excursion, the gravest critical" in seen.text
    width = "(each) => each.x2.baseVal.value - each.x1.baseVal.value"
    lines = await tab.run(f'[...{LINES}.querySelectorAll(".limit")].map({width}).join(" ")')
    widths = [float(width) for width in str(lines).split()]
    assert len(widths) == 4
    assert all(0 < width < 600 for width in widths)
    assert await tab.run(f'{LINES}.querySelectorAll("rect.excursion").length') == 1
    assert tab.errors == []


async def test_what_was_planned_and_then_changed_is_not_drawn(tab: Tab, verifier: Path) -> None:
    """An assignment for later falls when another one comes before its time; releases end it all."""
    story = Story()
    _apply(story, ("low = 2\n", ""))
    _assign(story, profile="vaccine-a", version=1)
    _assign(story, device=DEVICE, sensor=SENSOR)
    story.read(SENSOR, "5.0")
    later = story.time
    story.pass_time(-5)
    _assign(story, device=DEVICE, sensor=SENSOR, **{"from": later})
    story.seal("config", {"release": {"asset": "fridge-7", "profile": "vaccine-a", "at": later}, **WHO})
    _assign(story, profile="vaccine-a", version=1)
    story.pass_time(5)
    story.read(SENSOR, "5.1")
    story.pass_time(1)
    story.seal("config", {"release": {"asset": "fridge-7"}, **WHO})
    story.pass_time(10)
    story.read(SENSOR, "9.0")
    story.note()
    seen = await inspect(tab, verifier, story.bundle())
    assert seen.verdict == "good"
    (ours,) = [each for each in seen.curves if each["quantity"] == "temperature"]
    assert ours["ranges"] == "1"
    assert "range up to 8 °C by vaccine-a/1" in seen.text
