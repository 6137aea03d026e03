"""A damaged log whose checkpoint key is in a chip that is away: it comes up by itself all the same."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldseal.cli.main import run as run_command
from coldseal.core.log.keys import genesis_keys
from coldseal.core.log.verifier import parse_vkey
from coldseal.gateway.app import LOG_FOLDER
from coldseal.gateway.message import Outcome
from coldseal.gateway.recovery import note_damage
from coldseal.gateway.rollover import MARK
from coldseal.gateway.store.segments import list_segments, segment_path
from coldseal.signing.keys import open_ecdsa
from tests.gateway.test_hardware import (
    ORIGIN,
    STAND_IN,
    Sensor,
    active,
    chip,
    entries_of,
    in_chip,
    load,
    path,
    pki,
    running,
    seal_one,
)
from tests.gateway.wrecks import cut, flip
from tests.signing.software_tpm import SoftwareTpm
from tests.waiting import until

__all__ = ["chip", "path", "pki"]

SEGMENTS = ("store.segment_entries=6", "uplink.url=", "hardware.patience_s=60")


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a second."""
    monkeypatch.setattr("coldseal.gateway.standby.LOOK_S", 0.02)


@pytest.fixture
def away(chip: SoftwareTpm) -> Iterator[SoftwareTpm]:
    """Give a chip that may be switched off; it is on again afterwards."""
    yield chip
    chip.restart()


async def fill(path: Path, *settings: str) -> None:
    """Seal some segments."""
    async with running(path, *settings) as gateway:
        for _ in range(20):
            await seal_one(gateway)


def segments_of(path: Path, *settings: str) -> list[Path]:
    """Give the log's segments."""
    folder = load(path, *settings).gateway.data / LOG_FOLDER
    return [segment_path(folder, first) for first in list_segments(folder)]


async def test_a_hole_is_stated_and_the_chip_signs_once_it_is_back(path: Path, away: SoftwareTpm) -> None:
    """No other key has signed meanwhile, and no change of keys was needed."""
    settings, sensor = (*in_chip(away), *SEGMENTS), Sensor()
    await fill(path, *settings)
    away.stop()
    flip(segments_of(path, *settings)[1], 20_000)
    note_damage(load(path, *settings), None)
    async with running(path, *settings) as gateway:
        await sensor.send(gateway, 2)
        await until(lambda: str(gateway._perimeter.status()["checkpoint_key"]).startswith("away"))
        away.start()
        await until(lambda: gateway._perimeter.status()["checkpoint_key"] == "hardware")
        await seal_one(gateway)
        assert gateway.log.checkpoint_size == gateway.log.size
        settled = gateway.log.reader.settings()
    assert set(sensor.outcomes) == {Outcome.SEALED}
    assert not any(b'"kind":"key"' in raw for raw in settled)


async def test_a_next_log_names_the_chip_s_key_though_it_is_away(
    path: Path, away: SoftwareTpm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its genesis takes the key from the log before; so does what the service is told of it."""
    settings, sensor = (*in_chip(away), *SEGMENTS), Sensor()
    await fill(path, *settings)
    name = open_ecdsa(load(path, *settings).keys.checkpoint, base=Path()).vkey(f"{ORIGIN}/2")
    away.stop()
    cut(segments_of(path, *settings)[-1], 0)
    async with running(path, *settings) as gateway:
        await sensor.send(gateway, 2)
        await until(lambda: str(gateway._perimeter.status()["checkpoint_key"]).startswith("away"))
    assert set(sensor.outcomes) == {Outcome.SEALED}
    assert genesis_keys(entries_of(path, *settings)[0]).checkpoint[0].encode() == name
    capsys.readouterr()
    overrides = [f"--set={each}" for each in settings]
    command = ["recover", "salvage", str(path), *overrides, "--json"]  # sound by now: no reason is needed
    assert await asyncio.to_thread(run_command, command) == 0
    admission = Path(json.loads(capsys.readouterr().out)["admission"])
    assert name in admission.read_text()  # noqa: ASYNC240 # nothing else runs here


async def test_a_next_log_begins_with_the_key_that_stood_in(path: Path, away: SoftwareTpm) -> None:
    """As it was in force: back to the chip leads an operator's roll-over only."""
    settings = (*in_chip(away), *SEGMENTS)
    await fill(path, *settings)
    away.stop()
    async with running(path, *settings, "hardware.patience_s=0.1") as gateway:
        await seal_one(gateway)
        await until(lambda: gateway._perimeter.status()["checkpoint_key"] == STAND_IN)
        changes = [raw for raw in gateway.log.reader.settings() if b'"kind":"key"' in raw]
    assert MARK.encode() in changes[0]
    before = active(entries_of(path, *settings))
    cut(segments_of(path, *settings)[-1], 0)
    async with running(path, *settings) as gateway:
        assert gateway._perimeter.status()["checkpoint_key"] == STAND_IN
        await until(lambda: gateway.log.checkpoint_size > 0)
    named, _ = genesis_keys(entries_of(path, *settings)[0]).checkpoint
    assert named.public == parse_vkey(before).public
