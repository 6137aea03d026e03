"""Claims about the settings on record: every change stands in the log, none of the secrets does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.configured import FIELD, PART, changes, settings_in_force
from coldseal.gateway.persons import Person

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.core.log.canonical import Value

EVA = Person("eva", 1001, frozenset())
MINE = """
[gateway]
origin = "example.com/gw"
site = "s"
[mqtt]
listen = ""
plain_listen = "127.0.0.1:0"
passwords = "passwords"
[timestamp]
timeout_s = 5
[[grants]]
device = "a"
subscribe = ["news"]
"""


def load(folder: Path, more: str = "") -> GatewayConfig:
    """Load a small configuration, with further lines."""
    path = folder / "gateway.toml"
    path.write_text(MINE + more, encoding="utf-8")
    return load_gateway(path)


def test_what_is_not_the_default_is_in_force(tmp_path: Path) -> None:
    """By table and key, as JSON; a list of tables as a whole."""
    found = settings_in_force(load(tmp_path))
    assert found["gateway.site"] == '"s"'
    assert found["timestamp.timeout_s"] == "5.0"
    assert found["grants"] == '[{"device":"a","publish":[],"subscribe":["news"]}]'
    assert not [key for key in found if key.startswith(("store.limit", "administration."))]


def test_a_long_value_stands_by_its_hash_and_a_password_not_at_all(tmp_path: Path) -> None:
    """The entry stays small, and an address may carry a login."""
    uplink = '[uplink]\nwitness = "{}"\n'
    found = settings_in_force(load(tmp_path, uplink.format("https://eva:secret@host:1")))
    assert found["uplink.witness"] == '"https://(hidden)@host:1"'
    found = settings_in_force(load(tmp_path, uplink.format("w" * 300)))
    assert found["uplink.witness"].startswith("sha256:")


def test_changes_are_folded_to_what_is_in_force() -> None:
    """Before and after, key by key; nothing is said where nothing changed."""
    assert list(changes({"a.b": "1"}, {"a.b": "1"}, EVA)) == []
    (said,) = changes({"a.b": "1", "a.c": "2"}, {"a.b": "3", "a.d": "4"}, EVA)
    expected: dict[str, Value] = {
        "a.b": {"after": "3", "before": "1"},
        "a.c": {"after": None, "before": "2"},
        "a.d": {"after": "4", "before": None},
    }
    assert said == {FIELD: expected, "uid": 1001, "who": "eva", "why": "in force from this start on"}


@pytest.mark.parametrize("count", [PART, PART + 1])
def test_many_changes_take_several_entries(count: int) -> None:
    """Each stays below the limit of an entry."""
    after = {f"a.k{number:04d}": "1" for number in range(count)}
    parts = [each[FIELD] for each in changes({}, after, EVA)]
    assert sum(len(part) for part in parts if isinstance(part, dict)) == count
    assert len(parts) == -(-count // PART)
