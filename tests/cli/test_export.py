"""Evidence comes out of a gateway's log and out of a service's copy, while both run, and verifies."""

from __future__ import annotations

import asyncio
import json
from random import Random
from typing import TYPE_CHECKING

import aiohttp
import pytest

from coldseal.cli.main import run
from coldseal.demo.gauges import LOG_ENTRIES, PUBLISHED_ENTRIES, read_gauges
from coldseal.demo.site import ORIGIN, Site, prepare_site
from coldseal.gateway.app import LOG_FOLDER, open_keys, open_log
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.sealing import Draft, Sealer
from tests.campaigns.test_sigkill import make_fleet
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = 600
TQ = b'{"boot":"0badcafe","err":3,"mono":1,"off":0,"s":"synchronised"}'


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A service and a gateway that have sealed and delivered some hundred readings."""
    return asyncio.run(_play(tmp_path_factory.mktemp("site")))


async def _play(folder: Path) -> Site:
    """Run both programs until all is delivered."""
    site = await prepare_site(folder, 2)
    fleet = make_fleet(site, Random(1))  # simulated weather, no secret
    async with (
        aiohttp.ClientSession() as http,
        site.service() as service,
        site.gateway(site.service_port) as gateway,
    ):
        await service.ready(http, within_s=30)
        await gateway.ready(http, within_s=30)
        running = asyncio.ensure_future(fleet.run())
        await until(lambda: fleet.total >= ENTRIES, within_s=60)
        fleet.stop()
        await running

        async def is_delivered() -> bool:
            found = await read_gauges(http, gateway.url)
            return found.get(LOG_ENTRIES) == found.get(PUBLISHED_ENTRIES) and bool(found)

        await until(is_delivered, within_s=60)
        assert run(["evidence", "export", str(site.gateway_config), str(folder / "live.coldseal")]) == 0
        assert run(["gateway", "status", str(site.gateway_config), "--set", _http(site.gateway_http)]) == 0
        assert run(["service", "status", str(site.service_config), "--set", _http(site.service_http)]) == 0
    return site


def _http(port: int) -> str:
    """Name the port that a program's health is on."""
    return f"http.listen=127.0.0.1:{port}"


def verdict(path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """Verify a bundle and give the JSON verdict."""
    capsys.readouterr()
    run(["evidence", "verify", str(path), "--json"])
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


def test_what_a_running_gateway_exports_is_good(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """It is only read beside the writer."""
    found = verdict(site.folder / "live.coldseal", capsys)
    assert found["good"] is True
    assert found["origin"] == ORIGIN


def test_gateway_and_service_export_the_same_good_log(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Entry by entry; trusted with the gateway's admission file and the service's witness key."""
    shown = []
    for name, config in (("gateway", site.gateway_config), ("service", site.service_config)):
        path = tmp_path / f"{name}.coldseal"
        assert run(["evidence", "export", str(config), str(path), "--json"]) == 0
        found = verdict(path, capsys)
        assert found["good"] is True
        assert run(["evidence", "show", str(path), "--json"]) == 0
        shown.append(capsys.readouterr().out.splitlines())
    shorter = min(map(len, shown))
    assert shorter > ENTRIES
    assert shown[0][:shorter] == shown[1][:shorter]


@pytest.mark.parametrize("noun", ["gateway", "service"])
def test_a_range_begins_at_its_tile_and_ends_with_the_receipt_over_it(
    site: Site, noun: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The proof covers what came before."""
    config = site.gateway_config if noun == "gateway" else site.service_config
    path = tmp_path / "range.coldseal"
    command = ["evidence", "export", str(config), str(path), "--first", "300", "--last", "310"]
    assert run(command) == 0
    found = verdict(path, capsys)
    assert (found["good"], found["first"]) == (True, 256)
    size = found["size"]
    assert isinstance(size, int)
    assert size > 310


def test_with_tail_the_entries_without_receipt_are_there_and_said_not_to_be_anchored(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shutdown came after the last receipt."""
    path = tmp_path / "tail.coldseal"
    assert run(["evidence", "export", str(site.gateway_config), str(path), "--tail"]) == 0
    found = verdict(path, capsys)
    faults = found["faults"]
    assert isinstance(faults, list)
    assert [fault["verdict"] for fault in faults] == ["tail-not-anchored"]


def test_a_gateway_that_never_delivered_exports_what_its_own_checkpoint_covers(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody witnessed it, and the verdict says so."""
    folder = tmp_path / "alone"
    command = ["gateway", "init", str(folder), "--origin", "example.com/alone", "--site", "x"]
    assert run([*command, "--pki", str(site.pki)]) == 0
    config = load_gateway(folder / "gateway.toml")
    config.gateway.data.mkdir()
    key = bytes.fromhex((folder / "store.key").read_text())
    assert run(["evidence", "export", str(folder / "gateway.toml"), str(tmp_path / "none")]) == 3
    asyncio.run(_seal_two(config, key))
    assert (config.gateway.data / LOG_FOLDER).is_dir()
    path = tmp_path / "alone.coldseal"
    assert run(["evidence", "export", str(folder / "gateway.toml"), str(path)]) == 0
    found = verdict(path, capsys)
    assert (found["good"], found["size"]) == (False, 2)


async def _seal_two(config: GatewayConfig, key: bytes) -> None:
    """Seal two entries and a checkpoint without a gateway."""
    log, keys = open_log(config, key, 1_800_000_000_000), open_keys(config)
    sealer = Sealer(keys, is_each_signed=True, bench=None)
    moment = "2026-01-01T00:00:00.000Z"
    drafts = [
        Draft("genesis", moment, TQ, b"{}", b'{"mode":"record"}'),
        Draft("boot", moment, TQ, b"{}", b"{}"),
    ]
    entries, chain = await sealer.seal(log.chain, drafts)
    await log.commit(Group(entries=entries, chain=chain, checkpoint=sealer.checkpoint(chain)))
    await log.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--first", "999999"], "no entries from 999999"),
        (["--origin", "other"], "keeps no log 'other'"),
    ],
)
def test_what_cannot_be_exported_is_said(
    site: Site, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what to do about it; exit code 2."""
    command = ["evidence", "export", str(site.service_config), str(tmp_path / "x"), *arguments]
    assert run(command) == 2
    assert said in capsys.readouterr().err


def test_an_output_that_is_there_and_a_configuration_that_is_none_are_refused(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Evidence is never overwritten."""
    taken = tmp_path / "taken"
    taken.write_bytes(b"mine")
    assert run(["evidence", "export", str(site.gateway_config), str(taken)]) == 2
    assert taken.read_bytes() == b"mine"
    assert run(["evidence", "export", str(tmp_path / "none.toml"), str(tmp_path / "x")]) == 2
    assert "gateway.toml or service.toml" in capsys.readouterr().err
