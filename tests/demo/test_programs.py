"""Programs are real: started by their command line, killed with their group, stopped by their own id."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from coldseal.demo import programs
from coldseal.demo.programs import Program, free_ports, prepare, run_command
from coldseal.demo.site import ORIGIN, Site, prepare_site, read_service
from coldseal.errors import OperatorError, UnavailableError
from tests.waiting import until


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client for health pages."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    """A work folder with two sensors."""
    return await prepare_site(tmp_path, 2)


def group_of(program: Program) -> int:
    """The id of a program's process group."""
    assert program._process is not None
    return program._process.pid


def is_gone(group: int) -> bool:
    """Whether no process of a group is left; the system may take a moment to clear away its members."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_site_is_made_by_the_real_commands(site: Site) -> None:
    """Certificates for each sensor, and a gateway's log that the service has admitted."""
    assert site.sensors == ("sensor-01", "sensor-02")
    assert all((site.pki / "device" / f"{name}.key").exists() for name in site.sensors)
    assert site.gateway_config.exists()
    logs = list((site.folder / "service" / "data" / "logs").iterdir())
    assert [ORIGIN in path.read_text() for path in logs] == [True]
    assert len({site.mqtt_port, site.gateway_http, site.service_port, site.service_http}) == 4


async def test_a_program_lives_as_long_as_its_block(site: Site, http: aiohttp.ClientSession) -> None:
    """It becomes ready, is killed, starts again, and is gone at the end."""
    async with site.service() as service:
        await service.ready(http, within_s=20)
        first = group_of(service)
        assert not service.has_ended()
        await service.kill()
        assert service.has_ended()
        await until(lambda: is_gone(first))
        await service.start()
        await service.ready(http, within_s=20)
        second = group_of(service)
        assert second != first
    await until(lambda: is_gone(second))
    held, summary = read_service(site)
    assert held.leaves == ()
    assert summary.size == 0


async def test_a_program_that_ends_is_reported_with_its_last_words(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """The cause shows the end of its log, not only that it is away."""
    missing = str(tmp_path / "none.toml")
    async with Program("gateway", ("gateway", "run", missing), tmp_path, free_ports(1)[0]) as program:
        with pytest.raises(UnavailableError, match=r"none\.toml"):
            await program.ready(http, within_s=20)


async def test_a_program_that_is_not_ready_in_time_is_reported(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """It runs, but its health page never answers."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        program = Program("demo", ("--help",), tmp_path, silent.getsockname()[1])
        async with program:
            with pytest.raises(UnavailableError, match="not ready within 0 s"):
                await program.ready(http, within_s=0)


async def test_an_interrupted_stop_still_leaves_nothing(site: Site, http: aiohttp.ClientSession) -> None:
    """A second Ctrl-C cancels the wait for an orderly end; the group is killed then."""
    service = site.service()
    await service.start()
    await service.ready(http, within_s=20)
    stopping = asyncio.ensure_future(service.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.gather(stopping, return_exceptions=True)
    await service.kill()
    await until(lambda: is_gone(group_of(service)))


async def test_stopping_what_was_never_started_is_nothing(tmp_path: Path) -> None:
    """The block may end before the start."""
    program = Program("gateway", (), tmp_path, 1)
    await program.stop()
    await program.kill()
    assert not program.has_ended()


async def test_a_command_that_fails_stops_the_set_up(tmp_path: Path) -> None:
    """The hint is what the command said."""
    with pytest.raises(OperatorError, match="no 'frobnicate'") as raised:
        await prepare("frobnicate", str(tmp_path))
    assert "exited with 2" in raised.value.what


async def test_a_command_gives_its_exit_code_and_its_output() -> None:
    """Whoever runs it decides what they mean."""
    assert await run_command("--version") == (0, "coldseal 0.1.0\n")


def test_free_ports_are_different_and_free() -> None:
    """Each can be listened on, and the system gives none of them to a connection that goes out."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        assert not low <= port <= high
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_a_port_in_use_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two ports that it may choose from, it gives the one that nobody has."""
    (port,) = free_ports(1)
    monkeypatch.setattr(programs, "_FIRST_PORT", port)
    monkeypatch.setattr(programs, "_LAST_PORT", port)
    assert free_ports(1) == [port]
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", port))
        assert free_ports(1) == []
