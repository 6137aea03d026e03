"""Drills on a running gateway with a real service and real sensors: each ends by itself and is on record."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import signal
import sys
from random import Random
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from coldseal.cli.sources import open_source
from coldseal.core.log.record import parse_entry
from coldseal.demo.site import Site, make_fleet, prepare_site
from coldseal.demo.verdict import held_by
from coldseal.drill.faults import is_dead
from coldseal.gateway.control import ask
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

COMMAND = (sys.executable, "-m", "coldseal.cli.main")
READY_S = 30.0


def settings(site: Site) -> list[str]:
    """Give the settings that the site's gateway runs with, as options."""
    pairs = (
        f"mqtt.listen=127.0.0.1:{site.mqtt_port}",
        f"http.listen=127.0.0.1:{site.gateway_http}",
        f"uplink.url=https://localhost:{site.service_port}",
        "uplink.retry_max_s=0.5",
        "checkpoint.seconds=1",
    )
    return [part for pair in pairs for part in ("--set", pair)]


async def drill(site: Site, verb: str, *options: str) -> tuple[int, dict[str, Any], str]:
    """Hold a drill by its command; gives exit code, answer and what stood on standard error."""
    arguments = (verb, str(site.gateway_config), "--who", "qa", "--why", "this quarter", "--json")
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "drill",
        *arguments,
        *options,
        *settings(site),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, json.loads(out or b"{}"), err.decode()


def found(answer: dict[str, Any]) -> dict[str, str]:
    """Give what each check found."""
    return {each["check"]: each["found"] for each in answer["checks"]}


async def end(site: Site) -> None:
    """Stop the gateway that a drill has started again, in order."""
    answer = ask(site.folder / "gateway" / "data", {"do": "status"})
    assert answer is not None
    pid = int(answer["status"]["pid"])
    os.kill(pid, signal.SIGTERM)
    await until(lambda: is_dead(pid))


@pytest.mark.timeout(300)
async def test_every_drill_on_a_live_site_is_good_and_on_record(tmp_path: Path) -> None:
    """Sensors publish all the while; what they were acknowledged is sealed once, whatever was played."""
    chance = Random(1)
    site = await prepare_site(tmp_path, 4)
    fleet = make_fleet(site, chance, interval_s=0.01)
    run = (*COMMAND, "gateway", "run", str(site.gateway_config), *settings(site))
    answers: dict[str, dict[str, Any]] = {}
    async with (
        aiohttp.ClientSession() as http,
        site.service() as service,
        site.gateway(site.service_port) as gateway,
    ):
        await service.ready(http, within_s=READY_S)
        await gateway.ready(http, within_s=READY_S)
        running = asyncio.ensure_future(fleet.run())
        for verb, options in (
            ("partition", ("--seconds", "2")),
            ("full-disk", ("--seconds", "2")),
            ("clock", ()),
            ("rotation", ()),
            ("restore", ("--entries", "500")),
            ("corrupt", ("--flips", "6")),
            ("power", ("--restart", shlex.join(run))),
        ):
            code, answer, fault = await drill(site, verb, *options)
            assert (code, answer.get("verdict")) == (0, "good"), (verb, answer, fault)
            answers[verb] = answer
        fleet.stop()
        await running
        await end(site)
    source = open_source(site.gateway_config)
    try:
        entries = source.read(0, source.size)
    finally:
        source.close()
    sealed = [parse_entry(raw) for raw in entries]
    on_record = [entry.data for entry in sealed if entry.kind == "drill"]
    assert [data["drill"] for data in on_record] == list(answers)
    assert [data["checks"] for data in on_record] == [answer["checks"] for answer in answers.values()]
    assert int(found(answers["partition"])["readings acknowledged while cut"]) > 0
    assert found(answers["full-disk"])["the gateway says that it is full"] == "yes"
    assert found(answers["rotation"])["connections of devices that ended"] == "0"
    assert found(answers["rotation"])["the listener shows it"] == "yes"
    assert found(answers["restore"])["of them byte-equal to the log's"] == "500"
    reports = [path for answer in answers.values() for path in answer["reports"]]
    assert len(reports) == 2 * len(answers)
    assert fleet.unacknowledged == 0
    held = held_by(entries)
    acknowledged = {key for keys in fleet.acknowledged.values() for key in keys}
    assert acknowledged - set(held.readings) == set()
    assert len(held.readings) == len(set(held.readings))
