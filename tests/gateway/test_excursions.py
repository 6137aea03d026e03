"""Claims about excursions for people: they are named, shown from the first reading on, and decided about."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.cli.main import run as run_command
from coldseal.core.coldchain.disposition import VERDICTS, parse_disposition
from coldseal.errors import InputError, OperatorError
from coldseal.gateway.changing import seal_change
from coldseal.gateway.config import load_gateway
from tests.gateway.test_app import running
from tests.gateway.test_handover import SAID, answer, assign, make, pki, warm

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["pki"]

GOOD = {"excursion": "x/y", "verdict": "accept", "who": "ann", "why": "stability data"}


async def test_an_excursion_is_listed_shown_and_decided_about(
    tmp_path: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside a running gateway, and from the log alone where none runs."""
    config = make(tmp_path, pki, "gw-1")

    async def ask(*command: object) -> dict[str, Any]:
        return await asyncio.to_thread(
            answer, capsys, "gateway", "excursions", command[0], config, *command[1:]
        )

    async with running(config) as gateway:
        await asyncio.to_thread(assign, config)
        assert (await ask("list"))["excursions"] == []
        await warm(gateway, "9.1", "9.2")
        (found,) = (await ask("list"))["excursions"]
        assert (found["asset"], found["direction"]) == ("lot-1", "high")
        early = await ask("dispose", found["id"], "--verdict", "accept", *SAID)
        assert early["code"] == 2  # it has not ended
        assert gateway._status()["excursions"]
    listed = await ask("list")
    assert [each["id"] for each in listed["excursions"]] == [found["id"]]
    async with running(config) as gateway:
        await warm(gateway, "9.3", "4.0", "4.1", first=2)
        done = await ask("dispose", found["id"], "--verdict", "quarantine", *SAID)
        assert (done["code"], done["verdict"]) == (0, "quarantine")
        again = await ask("dispose", found["id"], "--verdict", "accept", *SAID)
        assert again["code"] == 2
        assert (await ask("list"))["excursions"] == []
        totals = (await ask("list"))["totals"]["lot-1"]
    assert any(each["total"] for each in totals)
    shown = (await ask("show", found["id"]))["entries"]
    assert [each["action"] for each in shown] == ["opened", "recovered", "closed"]
    assert shown[-1]["disposition"]["verdict"] == "quarantine"
    assert len((await ask("list", "--all"))["excursions"]) == 1
    assert (await ask("show", "another"))["code"] == 2
    assert (await ask("list", "--all"))["totals"] is None  # not known, which is not the same as nothing
    capsys.readouterr()
    for command in (["list", str(config), "--all"], ["show", str(config), found["id"]]):
        assert await asyncio.to_thread(run_command, ["gateway", "excursions", *command]) == 0
    assert "lot-1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "maybe"}, "one of accept"),
        ({"verdict": 3}, "on one line"),
        ({"why": ""}, "1 to 300"),
        ({"more": "x"}, "excursion, verdict, who, why"),
    ],
    ids=["verdict", "number", "reason", "key"],
)
def test_a_disposition_is_read_strictly(change: dict[str, object], said: str) -> None:
    """What is wrong is named, with what was expected."""
    with pytest.raises(InputError, match=said):
        parse_disposition({**GOOD, **change})
    assert parse_disposition(GOOD)[0] == "x/y"
    assert GOOD["verdict"] in VERDICTS


async def test_nothing_else_can_be_changed_so(tmp_path: Path, pki: Path) -> None:
    """A kind that is none, an entry that is too long, an excursion that is none: nothing is on record."""
    config = make(tmp_path, pki, "gw-1")
    settings = load_gateway(config)
    async with running(config) as gateway:
        size = gateway.log.size
        for kind, data in (("reading", {}), ("config", {"hold": {}}), ("profile", {"profile": "x" * 40_000})):
            with pytest.raises(OperatorError):
                await asyncio.to_thread(seal_change, settings, kind, {**data, "who": "ann", "why": "x"})
        with pytest.raises(OperatorError, match="waits for a disposition"):
            await asyncio.to_thread(seal_change, settings, "disposition", GOOD)
        assert gateway.log.size - size <= 4  # what was asked, and no more
