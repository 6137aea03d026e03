"""`coldseal gateway asset assign-all`: a whole site at once, checked before any of it is sealed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway import changing
from coldseal.gateway.changing import AT_ONCE, seal_changes
from tests.cli.test_asset import WHY, config, pki, ran, said, written
from tests.gateway.judged import sensor_data
from tests.gateway.test_app import entries_of, load, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["config", "pki", "ran", "said"]  # fixtures

HEAD = "asset,kind,sensor,profile\n"


def table(config: Path, *lines: str) -> Path:
    """Write a table."""
    path = config.with_name("site.csv")
    path.write_text(HEAD + "".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def test_a_table_is_assigned_at_once_and_a_second_time_changes_nothing(
    ran: Path, said: Callable[..., Any]
) -> None:
    """One request with one `access` entry before it; without a gateway as with one."""
    said("profile", "apply", ran, written(ran, "one.toml"), *WHY)
    path = table(ran, "f-1,fridge,sensor-01/door,vaccine-a", "f-1,,sensor-01/core,", "f-2,room,sensor-02/a,")
    before = len(entries_of(ran))
    made = said("asset", "assign-all", ran, path, *WHY)
    assert made == {"file": str(path), "assigned": 4, "lines": 3}
    kinds = [each.kind for each in entries_of(ran)[before:]]
    assert kinds == ["boot", "access", "config", "config", "config", "config", "shutdown"]
    assert said("asset", "list", ran)["assets"] == [
        {
            "asset": "f-1",
            "kind": "fridge",
            "profile": "vaccine-a/1",
            "sensors": ["sensor-01/core", "sensor-01/door"],
        },
        {"asset": "f-2", "kind": "room", "profile": "", "sensors": ["sensor-02/a"]},
    ]
    before = len(entries_of(ran))
    assert said("asset", "assign-all", ran, path, *WHY)["assigned"] == 0
    assert len(entries_of(ran)) == before
    table(ran, "f-1,fridge,sensor-01/door,vaccine-a/1", "f-2,room,sensor-01/core,")
    assert said("asset", "assign-all", ran, path, *WHY)["assigned"] == 1


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("f-9,,sensor-01/x,", "config entry: asset_kind is '', expected the kind of f-9", "has changed"),
        ("f-9,fridge,sensor-01/x,milk", "no profile 'milk' is on record", "There are: none"),
        ("f-9,fridge,,milk/2", "profile is 'milk/2', expected one on record: none", "has changed"),
        ("f-1,room,sensor-01/x,", "kind is 'room', expected fridge", "Correct it"),
    ],
)
def test_of_a_table_with_a_wrong_line_nothing_is_on_record(
    ran: Path, said: Callable[..., Any], line: str, error: str, hint: str
) -> None:
    """The line is named; not even an `access` entry was made."""
    before, path = len(entries_of(ran)), table(ran, "f-1,fridge,sensor-01/door,", line)
    answer = said("asset", "assign-all", ran, path, *WHY, code=2)
    assert f"{path}: line 3: " in answer["error"]
    assert error in answer["error"]
    assert hint in answer["hint"]
    assert len(entries_of(ran)) == before


async def test_a_running_gateway_takes_many_in_parts_and_says_how_far_it_came(
    ran: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part is whole or not there; the parts before it stay, and the error says so."""
    monkeypatch.setattr(changing, "AT_ONCE", 3)
    settings, sensors = load(ran), [sensor_data(f"s{number}") for number in range(8)]
    assert AT_ONCE > 3
    async with running(ran) as gateway:
        sealed = await asyncio.to_thread(seal_changes, settings, "config", sensors[:7], "a new site")
        assert [each.seq for each in sealed] == sorted(each.seq for each in sealed)
        assert len(sealed) == 7
        wrong = [*sensors[:3], sensors[3], sensor_data("s9", "fridge 9")]
        size = gateway.log.size
        with pytest.raises(OperatorError, match="asset is 'fridge 9'") as caught:
            await asyncio.to_thread(seal_changes, settings, "config", wrong, "again")
        assert caught.value.what.endswith("; 3 of 5 changes before it are in force")
        assert gateway.log.size - size == 3 + 2  # and who asked, twice
        with pytest.raises(OperatorError, match="asset is 'fridge 9'") as caught:
            await asyncio.to_thread(seal_changes, settings, "config", wrong[4:], "again")
        assert "in force" not in caught.value.what
