"""What is chosen is what was asked for, by sensor, device, time or place; found without reading all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError
from coldseal.evidence.selection import (
    EXPLAINING,
    Sensor,
    Wish,
    choose,
    parse_moment,
    parse_sensor,
    read_shipment,
)
from tests.core.log.test_evidence import make_note
from tests.evidence.parts import MemorySource, Story, seal_log

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


LOG = seal_log(2000, second_s=300)
"""A reading every five minutes for a week."""

DAY = 288


def chosen(entries: Sequence[bytes], wish: Wish) -> list[int]:
    """Choose, and give the places."""
    source = MemorySource(entries, [make_note(list(entries[:1]))])
    return [seq for first, end in choose(source, wish) for seq in range(first, end)]


def test_everything_is_one_run() -> None:
    """Where nothing else is said."""
    assert chosen(LOG, Wish()) == list(range(2000))
    assert chosen(LOG, Wish(first=5, last=7)) == [5, 6, 7]
    assert chosen(LOG, Wish(first=1990, last=9999)) == list(range(1990, 2000))
    assert chosen(LOG, Wish(first=2000)) == []


@given(st.integers(0, 2000), st.integers(0, 2000))
def test_a_period_has_all_entries_that_were_accepted_in_it(first: int, last: int) -> None:
    """From its first moment, up to but without its last one."""
    times = [parse_entry(raw).t for raw in LOG] + ["2026-02-01T00:00:00.000Z"]
    wish = Wish(since=times[first], before=times[last])
    assert chosen(LOG, wish) == list(range(first, last))


def test_a_period_is_found_without_reading_the_log() -> None:
    """By bisection; only a day on either side is looked at."""
    source = MemorySource(LOG, [])
    wish = Wish(since="2026-01-04T00:00:00.000Z", before="2026-01-04T01:00:00.000Z")
    assert choose(source, wish) == [(3 * DAY, 3 * DAY + 12)]
    assert source.reads < 30


def test_an_entry_is_found_though_the_clock_was_set_back() -> None:
    """Bisection is led astray by no more than a day."""
    story = Story(10)
    for _ in range(50):
        story.tell(wall_ms=60_000, mono_ms=60_000)
    story.tell("clock", {"step": -3_600_000}, wall_ms=-3_600_000)
    for _ in range(90):
        story.tell(wall_ms=60_000, mono_ms=60_000)
    wish = Wish(since="2026-01-01T00:20:00.000Z", before="2026-01-01T00:30:00.000Z")
    found = chosen(story.entries, wish)
    inside = [seq for seq, raw in enumerate(story.entries) if wish.is_in_period(parse_entry(raw).t)]
    assert len(inside) == 20, "it was twenty past twice"
    assert found == list(range(inside[0], inside[-1] + 1))


def test_a_choice_of_sensors_has_their_readings_and_no_others() -> None:
    """Another device may have a sensor of the same name, and the same device another sensor."""
    one = chosen(LOG, Wish(frozenset({Sensor("truck-1", "t1")})))
    assert one == [seq for seq in range(1, 2000) if seq % 4 == 0 and seq % 50]
    both = chosen(LOG, Wish(devices=frozenset({"truck-1"}), last=99))
    assert both == [seq for seq in range(1, 100) if seq % 4 in {0, 1} and seq % 50]
    assert chosen(LOG, Wish(frozenset({Sensor("truck-9", "t1")}))) == []


def test_what_names_a_sensor_and_what_explains_silence_comes_with_it() -> None:
    """Within the period; a correction comes with the entry that it corrects."""
    story = Story(10)
    story.tell("excursion", {"device": "truck-1", "sensor": "t1"})  # 10
    story.tell("excursion", {"device": "truck-2", "sensor": "t1"})
    story.tell(
        "correction", {"leaf": "", "reason": "r", "seq": 8, "value": {}, "who": "w"}
    )  # 12, of truck-1/t1
    story.tell("correction", {"leaf": "", "reason": "r", "seq": 7, "value": {}, "who": "w"})
    for kind in sorted(EXPLAINING):  # 14 to 18
        story.tell(kind, {})
    story.tell("heartbeat", {"sensor": "truck-1"})
    for device in ("truck-1", "truck-2"):  # 20 and 21
        story.tell("calibration", {"calibration": {"device": device, "sensor": "t1"}, "who": "w", "why": "y"})
    wish = Wish(frozenset({Sensor("truck-1", "t1")}))
    assert chosen(story.entries, wish) == [4, 8, 10, 12, 14, 15, 16, 17, 18, 20]
    early = Wish(frozenset({Sensor("truck-1", "t1")}), before="2026-01-01T00:00:08.000Z")
    assert chosen(story.entries, early) == [4]


def test_what_was_asked_for_is_said_in_words() -> None:
    """In the manifest and on record."""
    wish = Wish(
        frozenset({Sensor("b", "1"), Sensor("a", "2")}), frozenset({"c"}), "then", "now", 3, 4, shipment="S"
    )
    assert wish.describe() == {
        "sensors": "a/2 b/1",
        "devices": "c",
        "from": "then",
        "to": "now",
        "shipment": "S",
        "first": 3,
        "last": 4,
    }
    assert Wish().describe() == {}


@pytest.mark.parametrize(
    ("text", "sensor"),
    [("truck-1/t1", ("truck-1", "t1")), ("coldseal/v1/site-7/truck-1/reading/t1", ("truck-1", "t1"))],
)
def test_a_sensor_is_named_by_its_device_or_by_its_topic(text: str, sensor: tuple[str, str]) -> None:
    """As it is at hand."""
    assert parse_sensor(text) == sensor


@pytest.mark.parametrize("text", ["", "t1", "a/b/c", "/t1", "truck-1/", "coldseal/v1/site-7/truck-1/status"])
def test_what_names_no_sensor_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(OperatorError, match="names no sensor"):
        parse_sensor(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-04", "2026-03-04T00:00:00.000Z"),
        ("2026-03-04T05:06:07Z", "2026-03-04T05:06:07.000Z"),
        ("2026-03-04T05:06:07.089+01:00", "2026-03-04T04:06:07.089Z"),
        ("2026-03-04 05:06", "2026-03-04T05:06:00.000Z"),
    ],
)
def test_a_time_is_read_as_people_write_it(text: str, moment: str) -> None:
    """And written as entries do."""
    assert parse_moment(text) == moment


def test_what_is_no_time_is_refused() -> None:
    """With an example."""
    with pytest.raises(OperatorError, match="no time"):
        parse_moment("yesterday")


SHIPMENTS = """
[shipments.S-1]
sensors = ["truck-1/t1", "coldseal/v1/site-7/truck-2/reading/t1"]
devices = ["truck-3"]
from = 2026-03-04T05:00:00Z
to = "2026-03-05"

[shipments.S-2]
devices = ["truck-3"]
from = 2026-03-04
to = 2026-03-05T12:00:00
"""


def test_a_shipment_names_its_sensors_and_its_period(tmp_path: Path) -> None:
    """In a file that somebody writes, or a program."""
    path = tmp_path / "assignments.toml"
    path.write_text(SHIPMENTS, encoding="utf-8")
    sensors = frozenset({Sensor("truck-1", "t1"), Sensor("truck-2", "t1")})
    since, before = "2026-03-04T05:00:00.000Z", "2026-03-05T00:00:00.000Z"
    assert read_shipment(path, "S-1") == Wish(sensors, frozenset({"truck-3"}), since, before, shipment="S-1")
    found = read_shipment(path, "S-2")
    assert (found.since, found.before) == ("2026-03-04T00:00:00.000Z", "2026-03-05T12:00:00.000Z")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        ("=", "cannot be read"),
        ("", "no shipment 'S'"),
        ("shipments = 5", "no shipment 'S'"),
        ("[shipments.T]", "no shipment 'S'"),
        ("[shipments.S]\nsensor = []", "sensor is unknown"),
        ("[shipments.S]\nfrom = 2026-03-04", "neither sensors nor devices"),
        ("[shipments.S]\nsensors = 'a/b'", "no list of names"),
        ("[shipments.S]\ndevices = [5]", "no list of names"),
        ("[shipments.S]\ndevices = ['d']\nfrom = 5", "from is no time"),
        ("[shipments.S]\nsensors = ['d']", "names no sensor"),
    ],
)
def test_a_file_of_shipments_says_what_is_wrong_with_it(
    tmp_path: Path, content: str | None, said: str
) -> None:
    """By the name of the field."""
    path = tmp_path / "assignments.toml"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(OperatorError, match=said):
        read_shipment(path, "S")
