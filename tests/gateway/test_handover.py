"""Claims about custody: what an asset has used up goes on to the next gateway, once, and as it was stated."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.cli.main import run as run_command
from coldseal.core.log.proof import encode_proof, parse_proof
from coldseal.gateway.changing import seal_change
from coldseal.gateway.clock import render_time
from coldseal.gateway.config import load_gateway
from tests.gateway.judged import holding_data, profile_data, sensor_data
from tests.gateway.parts import Answers, Hands
from tests.gateway.test_app import running

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.app import Gateway

SAID = ("--who", "ann", "--why", "handed to the carrier")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with two gateways."""
    folder = tmp_path_factory.mktemp("pki")
    for name in ("gw-1", "gw-2"):
        assert run_command(["identity", "dev-ca", str(folder / name), "--gateway", name]) == 0
    return folder


def make(tmp_path: Path, pki: Path, name: str) -> Path:
    """Make a gateway."""
    origin = f"example.com/site-7/{name}"
    command = ["gateway", "init", str(tmp_path / name), "--origin", origin, "--site", "site-7"]
    assert run_command([*command, "--pki", str(pki / name)]) == 0
    return tmp_path / name / "gateway.toml"


def answer(capsys: pytest.CaptureFixture[str], *command: object) -> dict[str, Any]:
    """Run a command, and read its answer."""
    capsys.readouterr()
    code = run_command([*map(str, command), "--json"])
    said = capsys.readouterr().out
    return {"code": code, **(json.loads(said) if said.startswith("{") else {"said": said})}


def assign(config: Path, asset: str = "lot-1") -> None:
    """Have the profile hold for a lot that a sensor watches."""
    settings = load_gateway(config)
    seal_change(settings, "profile", profile_data())
    seal_change(settings, "config", sensor_data(asset=asset))
    seal_change(settings, "config", holding_data(asset))


async def warm(gateway: Gateway, *values: str, first: int = 0) -> None:
    """Let a lot be too warm, a reading a minute."""
    hands, answers = Hands(gateway._clock.now().t_ms, gateway._clock.now().mono_ms), Answers()
    for seq, value in enumerate(values, first):
        t = render_time(hands.wall_ms + 1_000 + seq * 60_000)
        sent = f'{{"v":1,"seq":{seq},"t":"{t}","q":[{{"n":"temperature","u":"Cel","v":{value}}}]}}'
        gateway.pipeline.submit(answers.to(f"{seq}", sent.encode(), hands=hands))
    await answers.reach(len(values))


async def test_the_second_gateway_counts_what_the_first_one_stated(
    tmp_path: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over commands, beside running gateways; once, and for an asset that is known there."""
    first, second = make(tmp_path, pki, "gw-1"), make(tmp_path, pki, "gw-2")
    file = tmp_path / "lot-1.proof"
    async with running(first) as gateway:
        await asyncio.to_thread(assign, first)
        await warm(gateway, "9.1", "9.2", "9.3", "9.1", "4.0")
        give = ("gateway", "custody", "export", first)
        found = await asyncio.to_thread(answer, capsys, *give, "lot-1", file, *SAID)
        assert found["code"] == 0
        assert found["signed_by"] == ["example.com/site-7/gw-1"]
        unknown = await asyncio.to_thread(answer, capsys, *give, "lot-2", tmp_path / "x", *SAID)
        assert unknown["code"] == 2
        totals = gateway._projection.evaluator.evaluation.totals("lot-1")
    keys = ("--keys", str(first.parent / "admission.json"))
    async with running(second) as gateway:
        take = ("gateway", "custody", "import", second, file, *keys, *SAID)
        assert (await asyncio.to_thread(answer, capsys, *take))["code"] == 2  # no such asset yet
        await asyncio.to_thread(assign, second, "lot-1")
        taken = await asyncio.to_thread(answer, capsys, *take)
        assert (taken["code"], taken["from"]) == (0, f"example.com/site-7/gw-1, entry {found['seq']}")
        assert (await asyncio.to_thread(answer, capsys, *take))["code"] == 2  # once
        carried = gateway._projection.evaluator.evaluation.totals("lot-1")
        assert [each["total"] for each in carried] == [each["total"] for each in totals]
        assert any(each["carried"] for each in carried)
        own = ("--keys", second.parent / "admission.json", *SAID)
        assert (await asyncio.to_thread(answer, capsys, *take[:5], *own))["code"] == 2  # another log's keys
    async with running(second) as gateway:
        assert gateway._projection.evaluator.evaluation.totals("lot-1") == carried
        assert (await asyncio.to_thread(answer, capsys, *take))["code"] == 2  # and once after a restart


async def test_a_lot_that_comes_back_brings_only_what_is_new(
    tmp_path: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the first gateway to the second and back, under its own name; the same after a restart."""
    first, second = make(tmp_path, pki, "gw-1"), make(tmp_path, pki, "gw-2")
    out, back = tmp_path / "out.proof", tmp_path / "back.proof"

    async def ask(*command: object) -> dict[str, Any]:
        return await asyncio.to_thread(answer, capsys, "gateway", "custody", *command)

    def used(gateway: Gateway) -> int:
        found = gateway._projection.evaluator.evaluation.totals("lot-1")
        return next(int(str(each["total"])) for each in found if each["tier"] == "warning")

    async with running(first) as gateway:
        await asyncio.to_thread(assign, first)
        await warm(gateway, "9.1", "9.2", "4.0")
        assert used(gateway) == 120
        assert (await ask("export", first, "lot-1", out, *SAID))["code"] == 0
    async with running(second) as gateway:
        await asyncio.to_thread(assign, second)
        keys = ("--keys", first.parent / "admission.json")
        assert (await ask("import", second, out, *keys, *SAID))["code"] == 0
        await warm(gateway, "9.1", "4.0")
        assert used(gateway) == 180
        assert (await ask("export", second, "lot-1", back, *SAID))["code"] == 0
    async with running(first) as gateway:
        keys = ("--keys", second.parent / "admission.json")
        assert (await ask("import", first, back, *keys, *SAID))["code"] == 0
        assert used(gateway) == 180
    async with running(first) as gateway:
        assert used(gateway) == 180


async def test_a_changed_statement_is_not_taken_over(
    tmp_path: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Any bit of it: figures, proof or checkpoint."""
    config, file = make(tmp_path, pki, "gw-1"), tmp_path / "lot"
    other = make(tmp_path, pki, "gw-2")
    for each in (config, other):
        async with running(each):
            pass
    await asyncio.to_thread(assign, config)
    await asyncio.to_thread(assign, other)
    give = ("gateway", "custody", "export", config, "lot-1", file, *SAID)
    assert (await asyncio.to_thread(answer, capsys, *give))["code"] == 0
    seq, hashes, note, raw = parse_proof(file.read_bytes())
    files = {
        "figures": encode_proof(seq, hashes, note, raw.replace(b'"fridge"', b'"freeze"')),
        "place": encode_proof(seq + 1, hashes, note, raw),
        "hashes": encode_proof(seq, [bytes(32), *hashes[1:]], note, raw),
        "note": encode_proof(seq, hashes, note.replace(b"gw-1\n", b"gw-3\n", 1), raw),
        "nothing": b"",
    }
    for name, data in files.items():
        file.with_name(name).write_bytes(data)
        said = (*("gateway", "custody", "import", other, file.with_name(name)), "--keys")
        bad = await asyncio.to_thread(answer, capsys, *said, config.parent / "admission.json", *SAID)
        assert bad["code"] in {1, 2}, name


async def test_keys_come_from_a_bundle_too_and_a_file_can_be_written_again(
    tmp_path: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a change of keys the first ones are not enough; what is no custody file is refused."""
    config, other = make(tmp_path, pki, "gw-1"), make(tmp_path, pki, "gw-2")
    for each in (config, other):
        async with running(each):
            pass
        await asyncio.to_thread(assign, each)

    async def ask(*command: object) -> dict[str, Any]:
        return await asyncio.to_thread(answer, capsys, *command)

    for use in ("record", "checkpoint"):
        assert (await ask("identity", "roll-over", config, use, "--reason", "drill"))["code"] == 0
    give = ("gateway", "custody", "export", config, "lot-1")
    given = await ask(*give, tmp_path / "a", *SAID)
    again = await ask(*give, tmp_path / "b", *SAID, "--seq", given["seq"])
    assert (again["code"], again["seq"]) == (0, given["seq"])
    for bad in (
        (*give, tmp_path / "a", *SAID),  # it is there
        (*give, tmp_path / "c", *SAID, "--seq", 10_000),
        (*give, tmp_path / "c", *SAID, "--seq", 0),  # states nothing
        (*give, tmp_path / "no" / "c", *SAID, "--seq", given["seq"]),
    ):
        assert (await ask(*bad))["code"] == 2, bad
    bundle = tmp_path / "gw-1.coldseal"
    assert (await ask("evidence", "export", config, bundle, "--tail"))["code"] == 0
    take = ("gateway", "custody", "import", other, tmp_path / "b", *SAID, "--keys")
    assert (await ask(*take, config.parent / "admission.json"))["code"] in {1, 2}
    for name, data in (("none", None), ("long", bytes(1 << 21))):
        if data is not None:
            (tmp_path / name).write_bytes(data)
        file = ("gateway", "custody", "import", other, tmp_path / name, *SAID, "--keys")
        assert (await ask(*file, bundle))["code"] == 2
    assert (await ask(*take, bundle))["code"] == 0
    capsys.readouterr()
    shown = ["gateway", "custody", "export", str(config), "lot-1", str(tmp_path / "d"), *SAID]
    assert await asyncio.to_thread(run_command, shown) == 0
    assert "signed_by" in capsys.readouterr().out
    own = ("gateway", "custody", "import", config, tmp_path / "d", *SAID, "--keys", bundle)
    assert (await ask(*own))["code"] == 2
