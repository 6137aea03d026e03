"""Alarms through SIGKILLs of the whole gateway: each is raised once, ends once, and somebody hears of it."""

from __future__ import annotations

import asyncio
import os
import time
import tomllib
from contextlib import closing
from random import Random
from typing import TYPE_CHECKING, Final

import aiohttp
import pytest

from coldseal.core.coldchain.profile import canonical_form, parse_profile
from coldseal.core.log.record import Entry, parse_entry
from coldseal.demo.programs import Program, free_ports
from coldseal.gateway.changing import seal_change
from coldseal.gateway.config import load_gateway
from coldseal.gateway.records import open_reader
from tests.campaigns.figures import say
from tests.gateway.alarming.ears import webhook
from tests.gateway.alarming.test_whole import PROFILE, Display, write
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.alarming.ears import Ear

SEED: Final = int(os.environ.get("COLDSEAL_SEED", "20261122"))
LIVES: Final = int(os.environ.get("COLDSEAL_ALARM_LIVES", "40"))
SENSORS: Final = 6
GOOD, WARM, HOT = "4.71", "9.6", "17.3"


def assign(path: Path) -> None:
    """Let each sensor watch a fridge."""
    config, signed = load_gateway(path), {"who": "ann", "why": "new"}
    profile = parse_profile(tomllib.loads(PROFILE), where="campaign")
    seal_change(config, "profile", {"profile": canonical_form(profile), "sha256": profile.sha256, **signed})
    for number in range(SENSORS):
        fridge = {"asset": f"fridge-{number}", "asset_kind": "fridge"}
        sensor = {"device": "dev-1", "sensor": f"s{number}"}
        seal_change(config, "config", {"assign": {**fridge, **sensor}, **signed})
        seal_change(config, "config", {"assign": {**fridge, "profile": "milk", "version": 1}, **signed})


def entries_of(path: Path) -> list[Entry]:
    """Read what the log says of excursions and alarms."""
    with closing(open_reader(load_gateway(path))) as reader:
        found = [parse_entry(raw) for raw in reader.read_from(0)]
    return [each for each in found if each.kind in {"excursion", "alarm", "ack"}]


@pytest.mark.soak
@pytest.mark.timeout(3600)
async def test_no_alarm_is_lost_or_raised_twice_over_many_lives(tmp_path: Path) -> None:
    """Each life ends by SIGKILL at a random moment; who is told is deaf now and then."""
    chance, began = Random(SEED), time.monotonic()
    async with webhook() as ear, aiohttp.ClientSession() as http:
        path = write(tmp_path, ear)
        mqtt, health = free_ports(2)
        options = (f"mqtt.plain_listen=127.0.0.1:{mqtt}", f"http.listen=127.0.0.1:{health}")
        arguments = [part for each in options for part in ("--set", each)]
        async with Program("gateway", ("gateway", "run", str(path), *arguments), tmp_path, health) as gateway:
            await gateway.ready(http, within_s=30)
            await asyncio.to_thread(assign, path)
            for _ in range(LIVES):
                await _live(mqtt, ear, chance)
                await gateway.kill()
                await gateway.start()
                await gateway.ready(http, within_s=30)
            await _end(path, mqtt, ear)
        _check(entries_of(path), ear, f"seed {SEED}, {LIVES} kills, {time.monotonic() - began:.0f} s")


async def _live(port: int, ear: Ear, chance: Random) -> None:
    """Let doors open and shut for a while."""
    ear.is_deaf = chance.random() < 0.3
    device = Display(port)
    for _ in range(chance.randrange(1, 12)):
        await device.read(chance.choice((GOOD, GOOD, WARM, HOT)), f"s{chance.randrange(SENSORS)}")
    device.client.loop_stop()
    deadline = time.monotonic() + chance.random()
    await until(lambda: time.monotonic() > deadline)


async def _end(path: Path, port: int, ear: Ear) -> None:
    """Shut all doors, acknowledge what stays, and wait until all who are told know."""
    ear.is_deaf = False
    device = Display(port)
    for number in range(SENSORS):
        await device.read(GOOD, f"s{number}")
    device.leave()
    config = load_gateway(path)

    def acknowledge() -> bool:
        found = entries_of(path)
        acknowledged = {each.data["about"] for each in found if each.kind == "ack"}
        cleared = {each.data["about"] for each in found if each.data.get("action") == "cleared"}
        raised = {each.data["about"] for each in found if each.data.get("action") == "raised"}
        for about in sorted(map(str, raised - cleared - acknowledged)):
            seal_change(config, "ack", {"about": about, "who": "ann", "why": "shut"})
        opened = {each.data["id"] for each in found if each.kind == "excursion"}
        told = {str(each.data["about"]) for each in found if each.data.get("action") == "notified"}
        return opened == raised == cleared and len(told) == len(raised)

    await until(lambda: asyncio.to_thread(acknowledge), within_s=120)


def _check(found: list[Entry], ear: Ear, figures: str) -> None:
    """Hold what was raised and told against the excursions."""
    alarms = [each.data for each in found if each.kind == "alarm"]
    opened = [str(e.data["id"]) for e in found if e.kind == "excursion" and e.data["action"] == "opened"]
    raised = [str(each["about"]) for each in alarms if each["action"] == "raised"]
    cleared = [str(each["about"]) for each in alarms if each["action"] == "cleared"]
    assert sorted(raised) == sorted(opened) == sorted(cleared)
    said = "\n".join(each["message"] for each in ear.heard)
    assert not [about for about in opened if about not in said]
    told = [(each["about"], each["n"]) for each in alarms if each["action"] == "notified"]
    twice, refused = len(told) - len(set(told)), len(ear.paths) - len(ear.heard)
    say(
        f"{figures}: {len(opened)} excursions, {len(alarms)} alarm entries, {len(ear.heard)} notices taken, "
        f"{refused} refused, {len(told)} on record, {twice} of them twice"
    )
