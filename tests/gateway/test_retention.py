"""Which class keeps a segment, and until when."""

from __future__ import annotations

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway.retention import DAY_MS, class_of, ends_at, kinds_in, require_sound
from coldseal.gateway.tables.keeping import Retention

REST = Retention(name="rest", days=90)
ALARMS = Retention(name="alarms", days=3650, kinds=("alarm", "excursion"))
SHORT = Retention(name="short", days=7, kinds=("heartbeat",))


@pytest.mark.parametrize(
    ("kinds", "classes", "expected"),
    [
        ({"reading", "boot"}, (ALARMS, REST), REST),
        ({"reading", "alarm"}, (ALARMS, REST), ALARMS),
        ({"heartbeat"}, (SHORT, REST), SHORT),
        ({"heartbeat", "reading"}, (SHORT, REST), REST),
        ({"heartbeat", "reading"}, (SHORT,), None),
        ({"reading"}, (), None),
        (set(), (REST,), None),
    ],
)
def test_the_longest_window_of_what_a_segment_holds_counts(
    kinds: set[str], classes: tuple[Retention, ...], expected: Retention | None
) -> None:
    """And a kind that no class names keeps it for good."""
    assert class_of(kinds, classes) == expected


def test_a_window_begins_with_the_segment_s_last_entry() -> None:
    """In whole days of 24 hours."""
    assert ends_at("1970-01-02T00:00:00.500Z", REST) == 91 * DAY_MS + 500


def test_what_looks_like_a_kind_is_named_too() -> None:
    """A kind too many can only keep a segment longer."""
    assert list(kinds_in(b'{"body":{"data":{"kind":"alarm"},"kind":"reading"}}')) == ["alarm", "reading"]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ((REST, Retention(name="rest", days=1, kinds=("alarm",))), "one name"),
        ((ALARMS, Retention(name="more", days=1, kinds=("alarm",))), "two retention classes"),
        ((REST, Retention(name="more", days=1)), "two classes have no kinds"),
        ((Retention(name="x", days=1, kinds=("excursions",)),), "no entry is of the kind 'excursions'"),
    ],
)
def test_classes_that_nobody_could_tell_apart_are_refused(classes: tuple[Retention, ...], said: str) -> None:
    """With what is wrong."""
    require_sound((ALARMS, SHORT, REST), "gateway.toml")
    with pytest.raises(OperatorError, match=said):
        require_sound(classes, "gateway.toml")
