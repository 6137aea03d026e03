"""A gateway that refuses turns everybody away with its reason, and goes on once a person has decided."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway import program
from coldseal.gateway.config import GatewayConfig
from coldseal.gateway.control import SOCKET
from coldseal.gateway.refusal import (
    NAME,
    Refusal,
    RolledBackError,
    read_refusal,
    require_unrefused,
    write_refusal,
)
from coldseal.gateway.refusing import Refusing, wait_refused
from coldseal.identity.passwords import set_password
from coldseal.mqtt.packets import ReasonCode
from tests.gateway.yard import Yard
from tests.sealed import ORIGIN
from tests.trial import Site
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

REFUSAL = Refusal(
    origin=ORIGIN, found_ms=1, held=7, known=16, root="ab" * 32, source="service", note="a note"
)
CONNECT_5 = bytes.fromhex("100d 0004 4d515454 05 02 003c 00 0000".replace(" ", ""))
CONNECT_311 = bytes.fromhex("100c 0004 4d515454 04 02 003c 0000".replace(" ", ""))


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Give a gateway's folder that refuses."""
    made = Yard(Site(tmp_path))
    made.data.mkdir()
    set_password(made.path.parent / "passwords", "sensor-1", "a long password")
    write_refusal(made.data, REFUSAL)
    return made


@asynccontextmanager
async def standing(config: GatewayConfig) -> AsyncIterator[tuple[Refusing, asyncio.Event]]:
    """Run a gateway that refuses."""
    refusing, stop = Refusing(config, REFUSAL), asyncio.Event()
    running = asyncio.ensure_future(refusing.stand(stop))
    try:
        await until(lambda: bool(refusing.health_address) or running.done())
        yield refusing, stop
    finally:
        stop.set()
        await running


async def answer(port: int, connect: bytes) -> bytes:
    """Ask to be let in, and give all that comes back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(connect)
    try:
        return await reader.read()
    finally:
        writer.close()


async def ask(address: str, path: str) -> tuple[int, dict[str, object]]:
    """Ask a page."""
    async with aiohttp.ClientSession() as http, http.get(f"http://{address}{path}") as found:
        return found.status, await found.json()


async def test_devices_are_turned_away_with_the_reason(yard: Yard) -> None:
    """In both versions of the protocol: the service is unavailable, come again."""
    async with standing(yard.config()) as (refusing, _):
        port = refusing.listener.plain_port
        told = await answer(port, CONNECT_5)
        assert told[4] == ReasonCode.SERVER_UNAVAILABLE
        assert b"this gateway refuses: the service holds 16 entries" in told
        assert await answer(port, CONNECT_311) == bytes.fromhex("20020003")


async def test_readiness_and_status_say_why_and_what_to_do(yard: Yard) -> None:
    """It is alive, and not ready."""
    async with standing(yard.config()) as (refusing, _):
        assert (await ask(refusing.health_address, "/healthz"))[0] == 200
        status, found = await ask(refusing.health_address, "/readyz")
        assert status == 503
        assert "coldseal recover decide" in str(found["reasons"])
        _, found = await ask(refusing.health_address, "/status")
        assert (found["size"], found["known"], found["source"]) == (7, 16, "service")


async def test_without_a_health_listener_it_refuses_all_the_same(yard: Yard) -> None:
    """Nobody is let in."""
    refusing = Refusing(yard.config(1, "http.listen="), REFUSAL)
    stop = asyncio.Event()
    stop.set()
    await refusing.stand(stop)
    assert refusing.health_address == ""


async def test_a_decision_ends_it(yard: Yard) -> None:
    """Nobody has to start it again."""
    refusing = Refusing(yard.config(), REFUSAL)
    running = asyncio.ensure_future(refusing.stand(asyncio.Event()))
    await until(lambda: bool(refusing.health_address))
    (yard.data / NAME).unlink()
    await running


async def test_a_running_gateway_notices_the_refusal(yard: Yard) -> None:
    """The uplink wrote it down."""
    await wait_refused(yard.data, asyncio.Event())
    (yard.data / NAME).unlink()
    stop = asyncio.Event()
    stop.set()
    await wait_refused(yard.data, stop)


async def test_the_program_refuses_goes_on_after_the_decision_and_refuses_again(yard: Yard) -> None:
    """One process all the way; a signal ends it in either state."""
    config = yard.config(1, "uplink.url=")
    running = asyncio.ensure_future(program._run_until_signal(config, [str(yard.path), "uplink.url="]))
    (yard.data / NAME).unlink()
    await until((yard.data / SOCKET).exists)
    write_refusal(yard.data, REFUSAL)
    await until(lambda: not (yard.data / SOCKET).exists())
    os.kill(os.getpid(), signal.SIGTERM)
    await running
    kinds = [entry.kind for entry in yard.entries()]
    assert "shutdown" not in kinds


def test_a_refusal_says_what_was_proven() -> None:
    """By whom, and whether the log is shorter or another one."""
    assert REFUSAL.why.startswith("the service holds 16 entries of")
    other = Refusal(origin=ORIGIN, found_ms=1, held=20, known=16, root="", source="receipts", note="")
    assert other.why.startswith("a receipt here covers other entries of")
    assert "--restore" in str(RolledBackError(other))


def test_a_refusal_that_cannot_be_read_is_one_all_the_same(tmp_path: Path) -> None:
    """A broken note lets nobody go on."""
    require_unrefused(tmp_path)
    (tmp_path / NAME).write_bytes(b"{")
    with pytest.raises(OperatorError, match="cannot be read"):
        read_refusal(tmp_path)
    with pytest.raises(UnavailableError):
        write_refusal(tmp_path / "missing", REFUSAL)
