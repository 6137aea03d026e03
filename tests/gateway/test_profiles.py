"""Claims about profiles in files: the examples hold to the table of classes, and faults name their file."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from coldseal.core.coldchain.document import render_milli
from coldseal.core.coldchain.product import Direction, QuantityRule
from coldseal.core.coldchain.profile import ProfileError
from coldseal.errors import OperatorError
from coldseal.gateway.profiles import MAX_BYTES, example, example_names, read_profile

if TYPE_CHECKING:
    from pathlib import Path


class Expected(NamedTuple):
    """What the table says of a class: its range, its limit of MKT and window, and what else it permits."""

    low: int | None
    high: int
    mkt: tuple[int, int] | None
    permitted: tuple[tuple[Direction, int, int], ...] = ()


DAY = 86_400
HIGH, LOW = Direction.HIGH, Direction.LOW
TABLE = {
    "refrigerated": Expected(2, 8, (8, DAY), ((HIGH, 8_000, DAY), (HIGH, 15_001, 0))),
    "controlled-room-temperature-us": Expected(
        20, 25, (25, 30 * DAY), ((HIGH, 30_001, DAY), (HIGH, 40_001, 0), (LOW, 14_999, 0))
    ),
    "room-temperature-eu-15-25": Expected(15, 25, None),
    "room-temperature-eu-25": Expected(None, 25, None),
    "room-temperature-eu-30": Expected(None, 30, None),
    "cool": Expected(8, 15, None),
    "freezer": Expected(-25, -10, None),
    "deep-frozen": Expected(-90, -60, None),
    "cryogenic": Expected(None, -150, None, ((HIGH, -150_000, 0),)),
}
"""Numbers from the pharmacopoeias' classes; Cel, and seconds of one excursion."""


def test_there_is_an_example_for_each_class_of_the_table() -> None:
    """And for no other."""
    assert example_names() == sorted(TABLE)
    with pytest.raises(OperatorError, match="there is no example 'warm'"):
        example("warm")


@pytest.mark.parametrize("name", sorted(TABLE))
def test_an_example_is_good_teaches_and_holds_to_the_table(name: str, tmp_path: Path) -> None:
    """Its range, its MKT and what is permitted; a range without product data permits no time at all."""
    text, expected = example(name), TABLE[name]
    path = tmp_path / "a.toml"
    path.write_text(text, encoding="utf-8")
    found = read_profile(path)
    assert (found.name, found.version) == (name, 1)
    rule = next(each for each in found.quantities if each.quantity == "temperature")
    assert (rule.unit, rule.high) == ("Cel", expected.high * 1000)
    assert rule.low == (None if expected.low is None else expected.low * 1000)
    mkt = None if rule.mkt is None else (rule.mkt.limit // 1000, rule.mkt.window_s)
    assert mkt == expected.mkt
    limits = {(each.direction, each.at): each.single_s for each in rule.limits}
    for direction, at, single_s in expected.permitted or _at_once(rule):
        assert limits[direction, at] == single_s, render_milli(at)
    assert text.count("#") >= 4


def _at_once(rule: QuantityRule) -> list[tuple[Direction, int, int]]:
    """Give a limit of no time at each edge of a range."""
    edges = ((HIGH, rule.high), (LOW, rule.low))
    return [(direction, bound, 0) for direction, bound in edges if bound is not None]


def test_humidity_sits_in_the_same_profile_as_a_second_quantity(tmp_path: Path) -> None:
    """Of the classes at room temperature."""
    for name in ("controlled-room-temperature-us", "room-temperature-eu-15-25"):
        path = tmp_path / f"{name}.toml"
        path.write_text(example(name), encoding="utf-8")
        assert [each.quantity for each in read_profile(path).quantities] == ["humidity", "temperature"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Whatever keeps it from being read."""
    path = tmp_path / "a.toml"
    with pytest.raises(OperatorError, match=r"a\.toml: No such file"):
        read_profile(path)
    path.write_text("name = x\n", encoding="utf-8")
    with pytest.raises(OperatorError, match=r"a\.toml: not TOML: .*line 1"):
        read_profile(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(OperatorError, match=r"a\.toml: not TOML"):
        read_profile(path)
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(OperatorError, match=r"a\.toml has 262145 bytes"):
        read_profile(path)
    path.write_text('name = "a"', encoding="utf-8")
    with pytest.raises(ProfileError, match=r"a\.toml: quantities is \[\]"):
        read_profile(path)
