"""`coldseal identity enrol`, `renew-now` and `keep`, at the service's own enrolment server."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from coldseal.cli.main import run
from coldseal.demo.programs import free_ports
from coldseal.identity.contexts import client_context
from coldseal.identity.peer import read_peer
from tests.cli.conftest import COMMAND
from tests.gateway.test_enrolling import URL, write
from tests.gateway.uplink.registry import Registry
from tests.trial import now
from tests.waiting import until


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Make an enrolment server, which does not run yet."""
    made = Registry(tmp_path / "registry")
    yield made
    made.enrolments.close()


async def command(*arguments: str | Path) -> int:
    """Run the command beside the server."""
    return await asyncio.to_thread(run, [str(each) for each in arguments])


def enrolling(registry: Registry, folder: Path, *options: str | Path) -> tuple[str | Path, ...]:
    """Give the command that enrols sensor-1."""
    whose = ("--role", "device", "--name", "sensor-1", "--ca", registry.trust)
    return ("identity", "enrol", registry.url, folder, *whose, *options)


async def test_a_token_brings_a_folder_that_programs_can_use(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Key, chain and trusted root, as `dev-ca` lays them out; and it is renewed by one word."""
    folder = tmp_path / "device"
    async with registry.running():
        token = registry.token("device", "sensor-1")
        assert await command(*enrolling(registry, folder, "--token", f"file:{token}", "--json")) == 0
        made = json.loads(capsys.readouterr().out)
        certificate, key = Path(made["certificate"]), Path(made["key"])
        client_context(certificate, key, Path(made["trust"]))
        first = read_peer(certificate)
        assert (first.role, first.name) == ("device", "sensor-1")
        assert await command("identity", "renew-now", folder, "--url", registry.url) == 0
        assert capsys.readouterr().out == "device/sensor-1: renewed\n"
        assert read_peer(certificate).fingerprint != first.fingerprint
        assert await command(*enrolling(registry, folder, "--token", f"file:{token}")) == 2
        assert "exists already" in capsys.readouterr().err
        again = tmp_path / "again"
        assert await command(*enrolling(registry, again, "--token", f"file:{token}")) == 1
        assert "gives no certificate (refused)" in capsys.readouterr().err


async def test_a_factory_certificate_waits_for_a_person(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says so, and goes on by itself; who does not wait may come back with the same request."""
    factory = registry.factory("sn-1")
    shown = ("--factory", factory.certificate, "--factory-key", factory.key)
    async with registry.running():
        folder = tmp_path / "device"
        assert await command(*enrolling(registry, folder, *shown, "--wait", "0")) == 3
        assert "run the same command again" in capsys.readouterr().err
        running = asyncio.ensure_future(command(*enrolling(registry, folder, *shown, "--wait", "60")))
        await until(lambda: bool(registry.enrolments.waiting()))
        (waiting,) = registry.enrolments.waiting()
        moment = int(now().timestamp())
        registry.enrolments.decide(waiting.id, is_approved=True, who="eva", reason="known", now=moment)
        assert await running == 0
    assert read_peer(folder / "device" / "sensor-1.pem").name == "sensor-1"


async def test_what_is_missing_is_said_before_anything_is_made(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No right, half a right, a role that does not exist, no server, a folder without certificates."""
    folder = tmp_path / "device"
    registry.address = f"127.0.0.1:{free_ports(1)[0]}"
    wrong = {
        "neither --token nor --factory": (*enrolling(registry, folder),),
        "belong together": enrolling(registry, folder, "--factory", registry.trust),
        "--role is": (*enrolling(registry, folder)[:5], "king", *enrolling(registry, folder)[6:]),
        "expected https": (
            "identity",
            "enrol",
            "http://x",
            *enrolling(registry, folder, "--token", "env:T")[3:],
        ),
        "holds no certificate": ("identity", "renew-now", tmp_path, "--url", registry.url),
    }
    for said, arguments in wrong.items():
        assert await command(*arguments) == 2, said
        assert said in capsys.readouterr().err
    token = registry.token("device", "sensor-1")
    assert await command(*enrolling(registry, folder, "--token", f"file:{token}")) == 3
    assert not (folder / "root.pem").exists()


async def test_a_device_keeps_its_certificates_alive_by_itself(registry: Registry, tmp_path: Path) -> None:
    """A certificate past its half is renewed at the start; the program ends in order."""
    folder = tmp_path / "home"
    folder.mkdir()
    (folder / "root.pem").write_bytes(registry.trust.read_bytes())
    pair = registry.issue("device", "sensor-1")
    (folder / "device").mkdir()
    for path in (pair.certificate, pair.key):
        path.rename(folder / "device" / path.name)
    certificate = folder / "device" / "sensor-1.pem"
    registry.authority.renew(certificate, now=now().replace(microsecond=0), days=0.001)
    before = read_peer(certificate).fingerprint
    async with registry.running():
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "identity", "keep", str(folder), "--url", registry.url, stderr=asyncio.subprocess.PIPE
        )
        try:
            await until(lambda: read_peer(certificate).fingerprint != before)
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), 20) == 0
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            _, said = await process.communicate()
    assert b"certificate.renewed" in said


async def test_where_no_gateway_runs_renewing_takes_its_role_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A viewer is refused before anybody is asked."""
    config = write(
        tmp_path, f'url = "{URL}"\n[[administration.assigned]]\nuser = "root"\nroles = ["viewer"]\n'
    )
    assert await command("identity", "renew-now", config) == 2
    assert "may not renew" in capsys.readouterr().err
