"""The service as a program: it starts, shows its health, ends in order, and comes back after a kill."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from coldseal.core.log.delivery.wire import BATCH_TYPE, Receipt, parse_answer
from coldseal.demo.programs import free_ports
from coldseal.errors import ColdsealError, OperatorError
from coldseal.service import app as module
from coldseal.service.app import Service
from coldseal.service.verification import Audit
from tests.sealed import ORIGIN, SealedLog
from tests.trial import Site
from tests.waiting import until


async def show(service: Service, path: str) -> tuple[int, Any]:
    """Ask the health server."""
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{service.health_address}{path}") as response,
    ):
        text = await response.text()
        return response.status, text if path == "/metrics" else msgspec.json.decode(text)


async def send(site: Site, address: str, body: bytes) -> Receipt:
    """Send a batch to an address."""
    port = address.rpartition(":")[2]
    async with (
        site.caller() as caller,
        caller.post(
            f"https://localhost:{port}/v1/entries", data=body, headers={"Content-Type": BATCH_TYPE}
        ) as response,
    ):
        answer = parse_answer(response.status, await response.read())
        assert isinstance(answer, Receipt)
        return answer


async def test_a_running_service_is_healthy_ready_and_measured(site: Site) -> None:
    """All on loopback, beside the API."""
    log = SealedLog().grow(3)
    site.admit(log)
    async with site.running() as service:
        await send(site, service.address, log.body())
        async with site.ledger() as ledger:
            await until(lambda: ledger.summary(ORIGIN).verified == 4)
        await service._watch_once()

        assert await show(service, "/healthz") == (200, {"ok": True, "reasons": []})
        assert await show(service, "/readyz") == (200, {"ok": True, "reasons": []})
        status, metrics = await show(service, "/metrics")
        assert status == 200
        assert "coldseal_service_entries_total 4.0" in metrics
        assert "coldseal_service_verify_backlog_entries 0.0" in metrics
        assert "coldseal_service_logs 1.0" in metrics
        assert 'coldseal_service_certificate_expiry_seconds{certificate="service"} 6' in metrics
        _, found = await show(service, "/status")
        assert (found["logs"], found["size"], found["verify_backlog"], found["refuted"]) == (1, 4, 0, 0)


async def test_signatures_are_checked_behind_the_receipt(site: Site) -> None:
    """The state is visible: first the checkpoint, then the signatures; a bad one is named later."""
    log = SealedLog().grow(3)
    log.forge_signature()
    site.admit(log)
    async with site.running() as service:
        first = await send(site, service.address, log.body())
        async with site.ledger() as ledger:
            await until(lambda: ledger.summary(ORIGIN).verified == 5)
        second = await send(site, service.address, log.body())

    assert (first.signatures_verified, first.refuted) == (0, ())
    assert (second.signatures_verified, second.refuted) == (5, (4,))


async def test_signatures_can_be_checked_before_the_receipt(site: Site) -> None:
    """By one setting."""
    log = SealedLog().grow(3)
    log.forge_signature()
    site.admit(log)
    async with site.running('verify.signatures="first"') as service:
        receipt = await send(site, service.address, log.body())

    assert (receipt.signatures_verified, receipt.refuted) == (5, (4,))


async def test_a_log_is_admitted_while_the_service_runs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a second, without a restart."""
    monkeypatch.setattr(module, "WATCH_S", 0.01)
    log = SealedLog()
    async with site.running() as service:
        site.admit(log)
        await until(lambda: len(service._admission) == 1)

        assert (await send(site, service.address, log.body())).size == 1


async def test_no_health_is_shown_where_none_is_wanted(site: Site) -> None:
    """An empty address switches it off."""
    async with site.running('http.listen=""') as service:
        assert not service.health_address


async def test_a_full_ledger_is_not_ready(site: Site) -> None:
    """But healthy: a restart would not help."""
    async with site.running() as service:
        service._ledger._store._limit = 1

        status, found = await show(service, "/readyz")

        assert status == 503
        assert "store.limit_mb" in found["reasons"][0]
        assert (await show(service, "/healthz"))[0] == 200


async def test_signature_checks_that_do_not_move_are_unhealthy(site: Site) -> None:
    """Progress counts, not an open socket."""
    log = SealedLog()
    site.admit(log)
    async with site.running("http.stalled_after_s=0.01") as service:
        for path in (site.service / "data" / "logs").iterdir():
            await send(site, service.address, log.body())
            path.unlink()
        service._totals = msgspec.structs.replace(service._totals, size=9, verified=0)
        service._checks.wait(0.0)

        status, found = await show(service, "/healthz")

        assert status == 503
        assert "signature checks" in found["reasons"][0]


async def test_batches_that_do_not_end_are_unhealthy(site: Site) -> None:
    """A batch that hangs is seen from outside."""
    async with site.running("http.stalled_after_s=0.01") as service:
        service._ingest.running = 1
        await service._watch_once()
        service._batches.wait(0.0)
        await service._watch_once()
        service._batches._since = 0.0

        status, found = await show(service, "/healthz")

        assert status == 503
        assert "batches" in found["reasons"][0]
        service._ingest.running = 0
        service._ingest.finished = 1
        await service._watch_once()
        assert (await show(service, "/healthz"))[0] == 200


async def test_what_cannot_be_opened_leaves_nothing_open(site: Site) -> None:
    """A wrong admission stops the start, and the ledger is closed again."""
    folder = site.service / "data" / "logs"
    folder.mkdir(parents=True)
    (folder / "a.json").write_bytes(b"{")

    with pytest.raises(OperatorError):
        await Service.open(site.config())
    async with site.ledger() as ledger:
        assert ledger.unverified() == []


@asynccontextmanager
async def program(site: Site, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the service as a program of its own, and end it by its own id."""
    site.config()
    arguments = ["service", "run", str(site.service / "service.toml")]
    overrides = ["--set", f"service.listen=127.0.0.1:{port}", "--set", 'http.listen=""']
    with told(site).open("wb") as stream:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "coldseal.cli.main", *arguments, *overrides, stderr=stream
        )
    try:
        await until(lambda: _is_open(port) or process.returncode is not None)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def told(site: Site) -> Path:
    """Name the file with what the program said."""
    return site.folder / "told.log"


def _is_open(port: int) -> bool:
    """Say whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_the_program_in_order(site: Site, number: signal.Signals) -> None:
    """With exit code 0, having told that it started and stopped."""
    site.admit(SealedLog())
    async with program(site, free_ports(1)[0]) as process:
        process.send_signal(number)
        assert await process.wait() == 0

    events = [msgspec.json.decode(line)["event"] for line in told(site).read_bytes().splitlines()]
    events = [event for event in events if event != "handshake.refused"]  # of who looked whether it listens
    assert events == ["service.started", "service.stopped"]


async def test_a_killed_service_comes_back_with_all_it_gave_receipts_for(site: Site) -> None:
    """The same batch again gets the same receipt."""
    log = SealedLog().grow(30)
    site.admit(log)
    port = free_ports(1)[0]
    async with program(site, port) as process:
        first = await send(site, f"x:{port}", log.body())
        process.kill()
    async with program(site, port):
        again = await send(site, f"x:{port}", log.body())
        await send(site, f"x:{port}", log.grow(5).body(31))

    assert again.note == first.note
    async with site.ledger() as ledger:
        assert ledger.entries(ORIGIN, 0, 999) == log.entries


async def test_a_program_that_cannot_start_says_why(site: Site) -> None:
    """With the exit code for a wrong configuration."""
    site.config()
    (site.service / "witness.pem").unlink()
    async with program(site, free_ports(1)[0]) as process:
        assert await process.wait() == 2

    said = told(site).read_text()
    assert "service.failed" in said
    assert "witness.pem" in said


def test_a_fault_in_a_task_ends_the_program_with_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no part handles reaches the supervisor as it was."""

    async def fail(_self: object) -> None:
        raise OperatorError("a part failed", "look there")

    monkeypatch.setattr(Audit, "run", fail)
    site.admit(SealedLog())

    with pytest.raises(ColdsealError, match="a part failed"):
        module.run(site.config('http.listen=""'))


def test_run_returns_zero_after_a_signal(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this very process, where coverage sees it."""

    async def interrupt(_self: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(Audit, "run", interrupt)

    assert module.run(site.config('http.listen=""')) == 0
