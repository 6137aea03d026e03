"""A gateway whose checkpoint key is in a chip or a token: what it does while that is away, and afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coldseal.cli.main import run as run_command
from coldseal.core.log.keys import history_of
from coldseal.core.log.record import Entry, parse_entry
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.app import LOG_FOLDER, Gateway
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.message import Message, Outcome
from coldseal.gateway.rollover import MARK, RollOver
from coldseal.gateway.store.drafts import Draft
from coldseal.gateway.store.reader import LogReader
from coldseal.signing.holders import make_held
from coldseal.signing.keys import open_ecdsa
from coldseal.signing.secrets import read_symmetric_key
from tests.gateway.parts import payload
from tests.signing.software_hsm import software_hsm
from tests.signing.software_tpm import SoftwareTpm, software_tpm
from tests.waiting import until

ORIGIN = "example.com/site-7/gw-1"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with a gateway, a service and a sensor."""
    folder = tmp_path_factory.mktemp("pki")
    command = ["identity", "dev-ca", str(folder / "ca"), "--gateway", "gw-1", "--service", "service"]
    assert run_command(command) == 0
    return folder / "ca"


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """Give a TPM, which each test leaves switched on."""
    with software_tpm(tmp_path_factory.mktemp("chip")) as made:
        yield made


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a second."""
    monkeypatch.setattr("coldseal.gateway.standby.LOOK_S", 0.02)


@pytest.fixture
def path(tmp_path: Path, pki: Path) -> Path:
    """A new gateway's configuration."""
    folder = tmp_path / "gateway"
    command = ["gateway", "init", str(folder), "--origin", ORIGIN, "--site", "site-7", "--pki", str(pki)]
    assert run_command(command) == 0
    return folder / "gateway.toml"


def in_chip(chip: SoftwareTpm) -> tuple[str, ...]:
    """Make a key in the chip, and give the settings that name it."""
    uri = f"tpm:{chip.new_handle():#x}"
    make_held(f"{uri}?tcti={chip.tcti}", Path())
    return (f'keys.checkpoint="{uri}"', f'hardware.tcti="{chip.tcti}"', "hardware.patience_s=0.3")


def load(path: Path, *overrides: str) -> GatewayConfig:
    """Load a configuration with free ports."""
    return load_gateway(path, ("mqtt.listen=127.0.0.1:0", "http.listen=", *overrides))


@asynccontextmanager
async def running(path: Path, *overrides: str) -> AsyncIterator[Gateway]:
    """Run a gateway within this process."""
    config, stop = load(path, *overrides), asyncio.Event()
    gateway = await Gateway.open(config, [str(path), *overrides])
    serving = asyncio.ensure_future(gateway.serve(stop))
    try:
        await until(lambda: bool(gateway.listener._doors) or serving.done())  # its start is on record
        yield gateway
    finally:
        stop.set()
        try:
            await serving
        finally:
            await gateway.close()


def entries_of(path: Path, *overrides: str) -> list[Entry]:
    """Read a gateway's whole log."""
    config = load(path, *overrides)
    reader = LogReader(config.gateway.data / LOG_FOLDER, read_symmetric_key(config.store.key, Path()))
    try:
        return [parse_entry(raw) for raw in reader.read_from(0)]
    finally:
        reader.close()


class Sensor:
    """Submits readings to a gateway's pipeline, and counts the answers."""

    def __init__(self) -> None:
        """Begin with none."""
        self.sent, self.outcomes = 0, list[Outcome]()

    async def send(self, gateway: Gateway, count: int = 1) -> None:
        """Send readings, and wait until each is answered."""
        for _ in range(count):
            self.sent += 1
            message = Message(
                device="sensor-01",
                fingerprint="ab" * 8,
                topic="coldseal/v1/site-7/sensor-01/reading/door",
                payload=payload(self.sent),
                qos=1,
                packet_id=7,
                redelivered=False,
                received=gateway._clock.now(),
                acknowledge=lambda outcome, _reason: self.outcomes.append(outcome),
            )
            gateway.pipeline.submit(message)
        await until(lambda: len(self.outcomes) == self.sent)


def active(entries: list[Entry]) -> str:
    """Give the checkpoint key that the log names at its end, as vkey."""
    history = history_of(ORIGIN, [each.raw for each in entries if each.kind in ("genesis", "key")])
    return history.at(len(entries)).checkpoint[0].encode()


async def test_a_chip_signs_the_log_s_checkpoints(path: Path, chip: SoftwareTpm) -> None:
    """From the genesis entry on, which names its key; readings are signed by the record key as ever."""
    settings, sensor = in_chip(chip), Sensor()
    async with running(path, *settings) as gateway:
        await sensor.send(gateway, 40)
        assert gateway._perimeter.status()["checkpoint_key"] == "hardware"
        assert b"hardware_key_away 0" in gateway._metrics.render()
    assert set(sensor.outcomes) == {Outcome.SEALED}
    entries = entries_of(path, *settings)
    assert entries[0].kind == "genesis"
    signer = open_ecdsa(load(path, *settings).keys.checkpoint, base=Path())
    assert active(entries) == signer.vkey(ORIGIN)
    async with running(path, *settings) as gateway:
        await sensor.send(gateway)


async def test_a_chip_that_dies_stops_nobody_and_the_log_says_who_signs_instead(
    path: Path, chip: SoftwareTpm
) -> None:
    """Readings are acknowledged throughout; a marked `key` entry, and only an operator leads back."""
    settings, sensor = in_chip(chip), Sensor()
    async with running(path, *settings) as gateway:
        await sensor.send(gateway, 3)
        chip.stop()
        await gateway._journal.append([], bytes)
        await sensor.send(gateway)
        await seal_one(gateway)
        await sensor.send(gateway, 20)
        assert gateway._journal.key_fault
        fixed = gateway.log.checkpoint_size
        assert fixed < gateway.log.size
        await until(lambda: gateway._perimeter.status()["checkpoint_key"] == STAND_IN)
        assert not gateway._journal.key_fault
        assert gateway._perimeter.ailing() == {"checkpoint-key": STAND_IN}
        assert gateway.log.checkpoint_size > fixed
        await sensor.send(gateway, 3)
    assert set(sensor.outcomes) == {Outcome.SEALED}
    (change,) = [entry for entry in entries_of(path, *settings) if entry.kind == "key"]
    assert change.data["use"] == "checkpoint"
    assert str(change.data["reason"]).startswith(MARK)
    async with running(path, *settings) as gateway:  # the chip is still away: the log names the stand-in
        assert gateway._perimeter.status()["checkpoint_key"] == STAND_IN
        with pytest.raises(UnavailableError):
            await change_of(gateway).change("checkpoint", "too early")
        await sensor.send(gateway)
    chip.start()
    async with running(path, *settings) as gateway:  # it is back, and waits for a person
        assert gateway._perimeter.status()["checkpoint_key"] == STAND_IN
        assert (path.parent / "fallback.pem").exists()
        await change_of(gateway).change("checkpoint", "the chip was replaced")
        assert gateway._perimeter.status()["checkpoint_key"] == "hardware"
        assert not (path.parent / "fallback.pem").exists()
        await sensor.send(gateway)
        with pytest.raises(OperatorError, match="in use already"):
            await change_of(gateway).change("checkpoint", "again")
    entries = entries_of(path, *settings)
    assert active(entries) == open_ecdsa(load(path, *settings).keys.checkpoint, base=Path()).vkey(ORIGIN)
    assert set(sensor.outcomes) == {Outcome.SEALED}


async def test_a_chip_that_is_back_in_time_goes_on_signing(path: Path, chip: SoftwareTpm) -> None:
    """A short absence changes no key; what waited is fixed by the next checkpoint."""
    settings, sensor = (*in_chip(chip), "hardware.patience_s=60"), Sensor()
    async with running(path, *settings) as gateway:
        chip.stop()
        await seal_one(gateway)
        await sensor.send(gateway, 3)
        await until(lambda: str(gateway._perimeter.status()["checkpoint_key"]).startswith("away"))
        assert [*gateway._perimeter.ailing()] == ["checkpoint-key"]
        chip.start()
        await until(lambda: gateway._perimeter.status()["checkpoint_key"] == "hardware")
        assert gateway._perimeter.ailing() == {}
        await seal_one(gateway)
        assert gateway.log.checkpoint_size == gateway.log.size
    assert "key" not in [entry.kind for entry in entries_of(path, *settings)]
    assert set(sensor.outcomes) == {Outcome.SEALED}


async def test_a_gateway_starts_without_its_chip(path: Path, chip: SoftwareTpm) -> None:
    """The log names the public key; the chip signs once it is there. A new log needs the chip at once."""
    settings, sensor = (*in_chip(chip), "hardware.patience_s=60"), Sensor()
    chip.stop()
    try:
        with pytest.raises(UnavailableError):
            await Gateway.open(load(path, *settings), [str(path)])
        chip.start()
        async with running(path, *settings) as gateway:
            await sensor.send(gateway)
        chip.stop()
        async with running(path, *settings) as gateway:
            await sensor.send(gateway, 2)
            await until(lambda: str(gateway._perimeter.status()["checkpoint_key"]).startswith("away"))
            chip.start()
            await until(lambda: gateway._perimeter.status()["checkpoint_key"] == "hardware")
    finally:
        chip.restart()
    assert set(sensor.outcomes) == {Outcome.SEALED}


async def test_a_chip_that_hangs_delays_the_loop_by_nothing(path: Path, chip: SoftwareTpm) -> None:
    """One reading waits for the limit at most; the loop goes on meanwhile, and other readings follow."""
    settings, sensor = (*in_chip(chip), "hardware.patience_s=60"), Sensor()
    async with running(path, *settings) as gateway:
        os.kill(chip.pid, signal.SIGSTOP)
        try:
            fixing = asyncio.ensure_future(seal_one(gateway))
            loop, longest = asyncio.get_running_loop(), 0.0
            last = loop.time()
            for _ in range(200):
                await asyncio.sleep(0.001)
                longest, last = max(longest, loop.time() - last), loop.time()
            assert not fixing.done()
            assert longest < 0.5
        finally:
            os.kill(chip.pid, signal.SIGCONT)
        await fixing
        await sensor.send(gateway)
    assert set(sensor.outcomes) == {Outcome.SEALED}


async def test_a_gateway_moves_from_a_file_to_the_chip(path: Path, chip: SoftwareTpm) -> None:
    """The old key is named as the former one; a roll-over puts the new one in force and ends the file."""
    sensor = Sensor()
    async with running(path) as gateway:
        await sensor.send(gateway)
    settings = in_chip(chip)
    with pytest.raises(OperatorError, match=r"hardware\.former"):
        await Gateway.open(load(path, *settings), [str(path)])
    named = (*settings, 'hardware.former=["file:checkpoint.pem"]')
    async with running(path, *named) as gateway:
        assert gateway._perimeter.status()["checkpoint_key"] == STAND_IN
        await change_of(gateway).change("checkpoint", "into the chip")
        assert gateway._perimeter.status()["checkpoint_key"] == "hardware"
        await sensor.send(gateway)
    assert not (path.parent / "checkpoint.pem").exists()
    async with running(path, *settings) as gateway:
        await sensor.send(gateway)


@pytest.mark.parametrize("holder", ["tpm", "pkcs11"])
async def test_the_process_beside_opens_a_record_key_in_hardware(
    path: Path, chip: SoftwareTpm, holder: str
) -> None:
    """By its URI, as the intake does: large groups are sealed there."""
    if holder == "tpm":
        uri, further = f"tpm:{chip.new_handle():#x}", (f'hardware.tcti="{chip.tcti}"',)
        make_held(f"{uri}?tcti={chip.tcti}", Path())
    else:
        token = software_hsm()
        whole = token.new_uri()
        make_held(whole, Path())
        uri = f"{whole.partition('?')[0]}?pin-source=file:{token.pin_file}"
        further = (f'hardware.module="{token.module}"',)
    settings, sensor = (f'keys.record="{uri}"', *further), Sensor()
    async with running(path, *settings) as gateway:
        beside = gateway._beside
        assert beside is not None
        await sensor.send(gateway, 40)
        await until(lambda: beside.is_ready)
        await sensor.send(gateway, 40)
        assert beside.restarts == 0
        with pytest.raises(OperatorError, match="in use already"):
            await change_of(gateway).change("record", "the same")
    assert set(sensor.outcomes) == {Outcome.SEALED}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (('keys.checkpoint="tpm:0x81008001"', 'gateway.signature="checkpoint"'), "gateway.signature"),
        (('keys.interop="pkcs11:object=i"',), "software keys"),
        (('hardware.fallback="tpm:0x81008001"',), "software keys"),
        (('hardware.counter="0x01800010"',), "hardware.counter"),
    ],
    ids=["mode", "interop", "fallback", "counter"],
)
def test_what_a_gateway_could_not_live_with_is_refused(
    path: Path, settings: tuple[str, ...], said: str
) -> None:
    """Before anything is opened."""
    with pytest.raises(OperatorError, match=said):
        load(path, *settings)


STAND_IN = "software in the place of hardware: change back by coldseal identity roll-over"


def draft_of(gateway: Gateway) -> Draft:
    """Make an entry of the log's own."""
    return gateway._journal.draft("heartbeat", b"{}", gateway._clock.now())


async def seal_one(gateway: Gateway) -> None:
    """Seal such an entry as the gateway does, while nothing else is under way."""

    async def step(snapshot: Callable[[], bytes | Callable[[], bytes]]) -> None:
        await gateway._journal.append([draft_of(gateway)], snapshot)

    await gateway.pipeline.alone(step)


def change_of(gateway: Gateway) -> RollOver:
    """Give what changes the gateway's keys."""
    return gateway._perimeter._standby._change
