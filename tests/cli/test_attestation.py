"""`service attestation` and `gateway attest`: what machines booted, from the first quote to a decision."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from coldseal.cli.main import run
from coldseal.service.app import Service
from coldseal.service.config import load_service
from tests.cli.conftest import Site, answer
from tests.core.event_log import APPLICATION, BOOT, Told
from tests.signing.machines import HANDLE, BootedMachine, machine, roots
from tests.waiting import until

GATEWAY = "gw-0001"
OTHER_KERNEL = (*BOOT[:6], Told(4, APPLICATION, b"\0" * 32, b"other"), *BOOT[7:])


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BootedMachine]:
    """Give a machine with a chip."""
    with machine(tmp_path_factory.mktemp("machine")) as booted:
        yield booted


@contextmanager
def _service(path: Path, *overrides: str) -> Iterator[str]:
    """Run a service in a thread of its own; gives its address."""
    started = threading.Event()
    found: list[tuple[asyncio.AbstractEventLoop, asyncio.Event, Service]] = []

    async def serve() -> None:
        """Serve until told to stop."""
        service = await Service.open(load_service(path, overrides))
        stop = asyncio.Event()
        found.append((asyncio.get_running_loop(), stop, service))
        running = asyncio.create_task(service.serve(stop))
        await until(lambda: bool(service.address))
        started.set()
        await running
        await service.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(30)
        yield found[0][2].address
    finally:
        for loop, stop, _ in found:
            loop.call_soon_threadsafe(stop.set)
        thread.join(30)


def _json(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:  # noqa: ANN401 # whatever JSON says
    """Run a command in this process and give its answer."""
    capsys.readouterr()
    found = run([*(str(each) for each in arguments), "--json"])
    said = capsys.readouterr()
    assert (found, said.err if found != code else "") == (code, "")
    return json.loads(said.out)


def _text(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> str:
    """Run a command in this process and give what it prints."""
    capsys.readouterr()
    assert run([str(each) for each in arguments]) == code
    found = capsys.readouterr()
    return found.out + found.err


def test_from_the_first_quote_to_a_decision(
    site: Site, tmp_path: Path, booted: BootedMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an operator would do it: attest, take the values, find a change, decide."""
    answer("service", "admit", site.service, site.folder / "gw" / "admission.json")
    config, trusted = site.service, roots(booted, tmp_path)
    overrides = ("service.listen=127.0.0.1:0", 'http.listen=""', f"attestation.ek_roots={trusted}")
    with _service(config, *overrides) as address:
        settings = (
            f"uplink.url=https://localhost:{address.rpartition(':')[2]}",
            f"attestation.key=tpm:{HANDLE:#x}",
            f"attestation.event_log={booted.event_log}",
            f"hardware.tcti={booted.chip.tcti}",
        )
        attest = ("gateway", "attest", site.gateway, *(f"--set={each}" for each in settings))
        of_service = ("service", "attestation")
        assert _json(capsys, *attest)["verdict"] == "unknown"
        take = (*of_service, "reference", config, "add", "r1", "--gateway", GATEWAY)
        assert "not said why" in _text(capsys, *take, code=2)
        assert _json(capsys, *take, "--why", "trial")["added"].endswith("r1.json")
        (reference,) = _json(capsys, *of_service, "reference", config, "list")["references"]
        assert (reference["gateways"], reference["source"]) == ([GATEWAY], GATEWAY)
        assert sorted(reference["pcrs"], key=int) == ["0", "2", "4", "7", "8", "9", "14"]
        assert "trusted" in _until_known(capsys, *attest)

        booted.boot(OTHER_KERNEL)
        said = _text(capsys, *attest, code=1)
        assert "changed" in said
        assert "PCR 4, event 2: EV_EFI_BOOT_SERVICES_APPLICATION" in said
        rows = _json(capsys, *of_service, "list", config, code=1)["gateways"]
        (row,) = [each for each in rows if each["gateway"] == GATEWAY]
        assert (row["verdict"], row["reference"], row["model"][:3]) == ("changed", "r1", "id:")
        listed = _text(capsys, *of_service, "list", config, code=1)
        assert f"{GATEWAY}  changed" in listed

        few = (*of_service, "reference", config, "add", "r2", "--gateway", GATEWAY, "--pcrs", "0,7")
        assert "added" in _text(capsys, *few, "--applies-to", "gw-*", "--why", "these count")
        assert "trusted" in _until_known(capsys, *attest)
        assert "r2  for gw-*  PCRs 0,7" in _text(capsys, *of_service, "reference", config, "list")
        policy = (*of_service, "policy", config, GATEWAY, "hold", "--why", "looks odd")
        assert _text(capsys, *policy) == f"{GATEWAY}: hold\n"
        assert _json(capsys, *policy) == {"gateway": GATEWAY, "action": "hold"}
        assert "decided: hold" in _text(capsys, *of_service, "list", config)
        assert _text(capsys, *of_service, "reference", config, "remove", "r2") == "removed r2\n"


def _until_known(capsys: pytest.CaptureFixture[str], *attest: object) -> str:
    """Attest until the service, which looks once a second, has noticed new reference values."""
    for _ in range(200):
        capsys.readouterr()
        if run([str(each) for each in attest]) == 0 and "trusted" in (said := capsys.readouterr().out):
            return said
    raise AssertionError("not noticed")


def test_what_cannot_be_done_is_told(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """With what can."""
    of_service = ("service", "attestation")
    reference = (*of_service, "reference", site.service)
    assert "add, list, remove" in _text(capsys, *reference, "edit", code=2)
    assert "has no name" in _text(capsys, *reference, "add", code=2)
    take = (*reference, "add", "r1", "--why", "x", "--gateway")
    assert "sent no quote that held" in _text(capsys, *take, "gw-nobody", code=2)
    policy = (*of_service, "policy", site.service)
    assert "forget" in _text(capsys, *policy, GATEWAY, "trust", "--why", "x", code=2)
    assert _text(capsys, *policy, "a/b", "hold", "--why", "x", code=2)
    attest = ("gateway", "attest", site.gateway)
    assert "does not attest" in _text(capsys, *attest, code=2)
    alone = ("--set=uplink.url=", "--set=uplink.certificate=")
    assert "has no uplink" in _text(capsys, *attest, *alone, code=2)


def test_pcrs_that_were_not_quoted_cannot_be_taken(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor what is no number."""
    from coldseal.service.attestation.states import Booted, Found, States  # noqa: PLC0415 # for this test alone

    data = load_service(site.service).service.data
    States(data).keep(Found(gateway="gw-7", booted=Booted(values={0: "00"})))
    take = (
        "service",
        "attestation",
        "reference",
        site.service,
        "add",
        "r",
        "--why",
        "x",
        "--gateway",
        "gw-7",
    )
    assert "did not quote PCRs [4]" in _text(capsys, *take, "--pcrs", "0,4", code=2)
    assert "Write numbers" in _text(capsys, *take, "--pcrs", "zero", code=2)
