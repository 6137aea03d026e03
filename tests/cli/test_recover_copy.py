"""`coldseal recover clone` and `decide`, as a person uses them, against a running service."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.cli.main import run
from coldseal.gateway.refusal import RolledBackError
from tests.gateway.yard import Yard
from tests.sealed import ORIGIN
from tests.trial import Site

if TYPE_CHECKING:
    from pathlib import Path

ASKED = ("--who", "J. Doe", "--why", "the disk was restored")


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Give a gateway's folder whose log is admitted."""
    made = Yard(Site(tmp_path))
    made.admit(made.config())
    return made


async def command(*arguments: object) -> int:
    """Run a command beside the service."""
    return await asyncio.to_thread(run, list(map(str, arguments)))


async def put_back(yard: Yard, config: Any) -> None:  # noqa: ANN401 -- a configuration
    """Deliver a log, and put its disk back to an older state; the start finds it."""
    image = await yard.age(config)
    yard.put_back(image)
    with pytest.raises(RolledBackError):
        await yard.run(config, 1)


async def test_a_lost_gateway_is_restored_and_admitted(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command says what to do next; what it wrote is what the service needs, and both logs verify."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await yard.run(config, 5)
        await yard.deliver(config)
        shutil.rmtree(yard.data)
        for path in yard.keys.iterdir():
            (yard.folder / path.name).unlink()

        assert await command("recover", "clone", yard.path, "--keys", yard.keys, *ASKED[2:]) == 0
        said = capsys.readouterr().out
        assert f"origin     {ORIGIN}/2" in said
        assert f"coldseal service admit SERVICE.toml {yard.data / 'admission.json'}" in said
        yard.site.config()
        assert (
            await command(
                "service", "admit", yard.site.service / "service.toml", yard.data / "admission.json"
            )
            == 0
        )
        config = yard.online(service)
        await yard.run(config, 3)
        await yard.deliver(config)
        before = next((yard.data / "before").iterdir())
        assert await command("evidence", "export", before / "gateway.toml", yard.folder / "old.coldseal") == 0
        assert await command("evidence", "export", yard.path, yard.folder / "new.coldseal") == 0
    bundles = (yard.folder / "new.coldseal", "--after", yard.folder / "old.coldseal")
    capsys.readouterr()
    assert await command("evidence", "verify", *bundles) == 0
    assert f"continues {ORIGIN}, at size 7" in capsys.readouterr().out


async def test_a_decision_to_restore_is_said_and_done(yard: Yard, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for scripts."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await put_back(yard, config)
        capsys.readouterr()
        assert await command("recover", "decide", yard.path, "--restore", *ASKED, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["origin"], found["common"], found["fetched"], found["carried"]) == (ORIGIN, 7, 9, 0)


async def test_a_decision_for_a_successor_tells_how_to_admit_it(
    yard: Yard, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another log needs another admission."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await put_back(yard, config)
        capsys.readouterr()
        assert await command("recover", "decide", yard.path, "--successor", *ASKED) == 0
    said = capsys.readouterr().out
    assert f"{ORIGIN}/2" in said
    assert "coldseal service admit" in said


@pytest.mark.parametrize("choice", [(), ("--restore", "--successor")])
async def test_nothing_is_decided_by_half(
    yard: Yard, capsys: pytest.CaptureFixture[str], choice: tuple[str, ...]
) -> None:
    """One of two, no more and no less."""
    yard.config()
    assert await command("recover", "decide", yard.path, *choice, *ASKED) == 2
    assert "Give one of --restore and --successor" in capsys.readouterr().err
