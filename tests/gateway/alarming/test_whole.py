"""Claims about alarms of a whole gateway: from a reading to the people who are told, and back."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coldseal.cli.main import run as run_command
from coldseal.core.log.record import Entry, parse_entry
from coldseal.gateway.app import Gateway
from coldseal.gateway.config import load_gateway
from coldseal.gateway.control import ask_running
from coldseal.identity.passwords import set_password
from tests.gateway.alarming.ears import Ear, webhook
from tests.gateway.alarming.test_handing_over import hook
from tests.gateway.users import QUALITY, TECHNICIAN, VIEWER, as_user, needs_root, open_folder
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PROFILE = """
name = "milk"
version = 1
interval = "1 min"
silence = "15 min"
[quantities.temperature]
unit = "Cel"
low = 2
high = 8
[[quantities.temperature.limits]]
direction = "high"
at = 15
tier = "critical"
single = "0 s"
"""
KINDS = 'kinds = ["excursion"]\n'  # whether this machine's clock is good, is no matter here
WORD = "a word that is long"
READING = "coldseal/v1/site-7/dev-1/reading/door"
ALARM = "coldseal/v1/site-7/dev-1/alarm/door"


class Display:
    """A device that publishes readings, and shows alarms: its own, by default."""

    def __init__(self, port: int, name: str = "dev-1") -> None:
        """Connect."""
        self.shown: dict[str, list[bytes]] = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, name, protocol=mqtt.MQTTv5)
        self.client.username_pw_set(name, WORD)
        self.client.on_message = self._show
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _show(self, _client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        """Keep what was published."""
        self.shown.setdefault(message.topic, []).append(bytes(message.payload))

    async def subscribe(self, topic: str) -> None:
        """Ask for a topic."""
        answered = threading.Event()
        self.client.subscribe_callback()(lambda *_answer: answered.set())
        self.client.subscribe(topic, qos=1)
        assert await asyncio.to_thread(answered.wait, 10)

    async def read(self, value: str, sensor: str = "door") -> None:
        """Publish a reading, and wait until it is acknowledged."""
        payload = f'{{"v":1,"q":[{{"n":"temperature","u":"Cel","v":{value}}}]}}'
        sent = self.client.publish(READING.replace("door", sensor), payload, qos=1)
        await asyncio.to_thread(sent.wait_for_publish, 10)

    def leave(self) -> None:
        """Go."""
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def folder() -> Path:
    """A folder that other users can reach."""
    return open_folder()


def write(folder: Path, ear: Ear, more: str = "") -> Path:
    """Set a gateway up whose duty is told by a webhook."""
    gateway = folder / "gateway"
    origin = ("--origin", "example.com/site-7/gw-1", "--site", "site-7")
    assert run_command(["gateway", "init", str(gateway), *origin]) == 0
    set_password(gateway / "passwords", "dev-1", WORD)
    path = gateway / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "example.com/site-7/gw-1"\nsite = "site-7"\n'
        '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:0"\npasswords = "passwords"\n'
        f'[http]\nlisten = "127.0.0.1:0"\n{more}{hook(gateway, ear.port, more=KINDS)}'
    )
    (folder / "milk.toml").write_text(PROFILE)
    return path


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[Gateway]:
    """Run it within this process."""
    config, stop = load_gateway(path), asyncio.Event()
    gateway = await Gateway.open(config, [str(path)])
    serving = asyncio.ensure_future(gateway.serve(stop))
    try:
        await until(lambda: bool(gateway.health_address) or serving.done())
        yield gateway
    finally:
        stop.set()
        await serving
        await gateway.close()


async def command(*arguments: str) -> int:
    """Run a command beside it."""
    return await asyncio.to_thread(run_command, ["gateway", *arguments])


def entries(gateway: Gateway, *kinds: str) -> list[Entry]:
    """Read its log."""
    found = [parse_entry(raw) for raw in gateway.log.reader.read_from(0)]
    return [each for each in found if each.kind in kinds]


async def watch(path: Path, folder: Path) -> None:
    """Let the sensor watch something, by a profile."""
    assert await command("profile", "apply", str(path), str(folder / "milk.toml"), "--why", "new") == 0
    fridge = ("asset", "assign", str(path), "fridge-3", "--why", "new")
    assert await command(*fridge, "--sensor", "dev-1/door", "--kind", "fridge") == 0
    assert await command(*fridge, "--profile", "milk") == 0


async def test_a_warm_fridge_is_told_shown_acknowledged_and_over(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All the way: the device that measured shows it, the duty hears of it, and a person ends it."""
    async with webhook() as ear:
        path = write(folder, ear)
        async with running(path) as gateway:
            await watch(path, folder)
            device = Display(gateway.listener.plain_port)
            await device.subscribe("coldseal/v1/site-7/dev-1/alarm/#")
            await device.read("4.7")
            await device.read("18.2")
            await until(lambda: len(ear.heard) == 1)
            assert ear.titles == ["site-7: CRITICAL: temperature excursion, fridge-3"]
            await until(lambda: bool(device.shown))
            (alarm,) = msgspec.json.decode(device.shown[ALARM][0])["alarms"]
            assert (alarm["tier"], alarm["state"], alarm["asset"]) == ("critical", "told", "fridge-3")
            await device.read("4.8")
            await until(lambda: entries(gateway, "excursion")[-1].data["action"] == "recovered")
            capsys.readouterr()
            assert await command("alarms", "list", str(path)) == 1
            assert "critical, latched" in capsys.readouterr().out
            ask = ("alarms", "acknowledge", str(path), alarm["about"], "--why", "shut the door")
            assert await command(*ask) == 0
            assert await command(*ask) == 2
            await until(lambda: len(ear.heard) == 2, within_s=5)
            await until(lambda: device.shown[ALARM][-1] == b"", within_s=5)
            assert await command("alarms", "list", str(path), "--json") == 0
            kinds = [each.kind for each in entries(gateway, "excursion", "alarm", "ack", "access")]
            assert kinds.count("ack") == 1
            assert kinds[kinds.index("ack") - 1] == "access"
            async with (
                aiohttp.ClientSession() as http,
                http.get(f"http://{gateway.health_address}/status") as answer,
            ):
                status = await answer.json()
            assert status["alarms"]["unacknowledged"] == 0
            assert status["alarms"]["recipients"]["duty"]["failures"] == 0
            device.leave()
        capsys.readouterr()
        assert run_command(["gateway", "alarms", "log", str(path), "--about", alarm["about"]]) == 0
        said = capsys.readouterr().out
        order = [
            "raised, critical",
            "handed over for duty",
            "acknowledged by",
            "cleared",
            "handed over for duty",
        ]
        places = [said.index(order[0])]
        for each in order[1:]:
            places.append(said.index(each, places[-1] + 1))
        assert run_command(["gateway", "alarms", "list", str(path)]) == 0
        assert run_command(["gateway", "alarms", "show", str(path), alarm["about"]]) == 2


async def test_a_rogue_device_is_an_alarm_at_once_that_somebody_must_have_seen(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not at the next look at all: the duty hears who was cut off; let in again, it stays on the list."""
    async with webhook() as ear:
        path = write(folder, ear)
        path.write_text(path.read_text().replace(KINDS, 'kinds = ["device"]\n'))
        set_password(path.parent / "passwords", "rogue", WORD)
        async with running(path) as gateway:
            rogue = Display(gateway.listener.plain_port, "rogue")
            rogue.client.publish(READING, b"{}", qos=1)
            await until(lambda: len(ear.heard) == 1)
            rogue.leave()
            assert "device rogue was cut off (not-authorised)" in str(ear.heard[0])
            (raised,) = (each for each in entries(gateway, "alarm") if each.data["action"] == "raised")
            assert (raised.data["about"], raised.data["tier"]) == ("device/rogue", "critical")
            assert await command("topics", "unblock", str(path), "rogue", "--why", "wrong topic, mended") == 0
            capsys.readouterr()
            await until(lambda: "latched" in listed(gateway), within_s=5)
            assert await command("alarms", "list", str(path)) == 1


def listed(gateway: Gateway) -> str:
    """Say how all alarms stand."""
    return str([each.state for each in gateway._coldchain._alarms._alarms])


async def test_who_may_acknowledge_is_asked_of_the_roles(folder: Path) -> None:
    """A viewer may look and no more; the refusal is on record; without a running gateway nobody can."""
    needs_root()
    socket = folder / "control.sock"
    more = f'[administration]\nsocket = "{socket}"\n'
    for user, role in ((VIEWER, "viewer"), (TECHNICIAN, "technician"), (QUALITY, "quality")):
        more += f'[[administration.assigned]]\nuser = "{user}"\nroles = ["{role}"]\n'
    more += '[[administration.assigned]]\nuser = "root"\nroles = ["quality", "technician"]\n'
    async with webhook() as ear:
        path = write(folder, ear, more)
        async with running(path) as gateway:
            await watch(path, folder)
            device = Display(gateway.listener.plain_port)
            await device.read("9.5")
            await until(lambda: bool(ear.heard))
            about = str(entries(gateway, "alarm")[0].data["about"])

            def ask(user: int, **request: object) -> Any:  # noqa: ANN401 -- an answer
                return as_user(user, lambda: ask_running(socket, request))

            looked = await asyncio.to_thread(ask, VIEWER, do="alarms")
            assert [each["about"] for each in looked["alarms"]] == [about]
            data = {"about": about, "who": "somebody", "why": "seen"}
            order = {"do": "coldchain", "kind": "ack", "data": data}
            with pytest.raises(Exception, match="may not acknowledge"):
                await asyncio.to_thread(lambda: ask(VIEWER, **order))
            assert not entries(gateway, "ack")
            await asyncio.to_thread(lambda: ask(TECHNICIAN, **order))
            assert len(entries(gateway, "ack")) == 1
            outcomes = [each.data["outcome"] for each in entries(gateway, "access")]
            assert outcomes[-2:] == ["refused", "allowed"]
            device.leave()
        assert await command("alarms", "list", str(path), "--json") == 1
        assert await command("alarms", "show", str(path), about) == 0
        assert await command("alarms", "acknowledge", str(path), about, "--why", "x") == 3
