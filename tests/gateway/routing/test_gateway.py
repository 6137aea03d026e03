"""A whole gateway with routes: devices notice nothing of them, people see and decide what becomes of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run as run_command
from coldseal.errors import OperatorError
from coldseal.gateway.control import ask as ask_control
from coldseal.gateway.routing.report import read_board
from coldseal.identity.contexts import server_context
from tests.gateway.judged import holding_data, profile_data, sensor_data
from tests.gateway.parts import payload
from tests.gateway.routing.rig import Endpoint
from tests.gateway.test_app import ask, entries_of, publish, running
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with a gateway, a service and a sensor."""
    folder = tmp_path_factory.mktemp("pki") / "ca"
    command = ["identity", "dev-ca", str(folder), "--devices", "1", "--gateway", "gw-1"]
    assert run_command([*command, "--service", "service"]) == 0
    return folder


@pytest.fixture
def config_file(tmp_path: Path, pki: Path) -> Path:
    """A new gateway's configuration."""
    folder = tmp_path / "gateway"
    command = ["gateway", "init", str(folder), "--origin", "example.com/site-7/gw-1", "--site", "site-7"]
    assert run_command([*command, "--pki", str(pki)]) == 0
    return folder / "gateway.toml"


def add_route(path: Path, pki: Path, name: str, url: str, more: str = "") -> None:
    """Add a route to a configuration."""
    with path.open("a") as out:
        out.write(
            f'\n[[routes]]\nname = "{name}"\nsink = "https-json"\nurl = "{url}"\nca = "{pki / "root.pem"}"\n'
            f'from = "begin"\nretry_initial_s = 0.05\nretry_max_s = 0.1\n{more}\n'
        )


async def test_routes_carry_what_their_rules_choose_and_a_dead_sink_holds_up_nobody(
    config_file: Path, pki: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By product, as the register knows it; a refused entry is shown, and sent again for a reason."""
    certificate = next((pki / "service").glob("*.pem"))
    sink = Endpoint(server_context(certificate, certificate.with_suffix(".key"), None))
    await sink.start()
    is_refusing = True
    sink.answer = lambda body: (
        422 if is_refusing and b'"5.55' in json.loads(body)["canonical"].encode() else 200
    )
    rule = '[[routes.rules]]\nkinds = ["reading"]\nprofiles = ["vaccine"]'
    add_route(config_file, pki, "erp", sink.url, rule)
    add_route(config_file, pki, "dead", "https://localhost:1/in")
    try:
        async with running(config_file, "log.max_mb=1") as gateway:
            port = gateway.listener.port
            await publish(pki, port, payload(1, "1.11"))
            enter = gateway._coldchain.changing.enter
            changes = (
                ("profile", profile_data()),
                ("config", sensor_data(device="sensor-01")),
                ("config", holding_data()),
            )
            for kind, data in changes:
                await enter(kind, data)
            await publish(pki, port, payload(2, "4.44"), payload(3, "5.55"), payload(4, "6.66"))
            await until(lambda: len(sink.taken) == 2)

            def is_shown() -> bool:
                """Whether the gateway has read what its routes have written down."""
                found = read_board(gateway._config.gateway.data)
                seen = gateway._coldchain._routing._watch._seen
                return seen == found and found["erp"].aside == 1 and bool(found["dead"].fault)

            await until(is_shown)
            metrics = await ask(gateway, "/metrics")
            assert 'coldseal_gateway_route_delivered_total{route="erp"} 2.0' in metrics
            assert 'coldseal_gateway_route_up{route="dead"} 0.0' in metrics
            assert 'coldseal_gateway_route_aside_entries{route="erp"} 1.0' in metrics
            command = ["gateway", "routes", "status", str(config_file), "--json"]
            assert await asyncio.to_thread(run_command, command) == 1
            shown = {each["name"]: each for each in json.loads(capsys.readouterr().out)["routes"]}
            assert shown["dead"]["fault"].startswith("unreachable")
            is_refusing = False
            command = ["gateway", "routes", "retry", str(config_file), "erp", "--who", "Ada"]
            assert (
                await asyncio.to_thread(run_command, [*command, "--why", "the ERP knows the asset now"]) == 0
            )
            await until(lambda: len(sink.taken) == 3)
    finally:
        await sink.stop()
    values = [json.loads(json.loads(each.body)["canonical"])["data"]["q"][0]["v"] for each in sink.taken]
    assert values == ["4.44", "6.66", "5.55"]
    access = [entry for entry in entries_of(config_file) if entry.kind == "access"]
    assert [entry.data["action"] for entry in access] == ["route"]
    assert access[0].data["why"] == "the ERP knows the asset now"


async def test_without_routes_no_process_runs_and_nobody_can_decide(config_file: Path) -> None:
    """It costs nothing."""
    async with running(config_file) as gateway:
        assert gateway._coldchain._routing.tasks() == ()
        assert gateway._coldchain._routing.status() == {"routes": {}}
        asked = {"do": "route", "action": "retry", "route": "erp", "why": "tried"}
        with pytest.raises(OperatorError, match="no route 'erp'"):
            await asyncio.to_thread(ask_control, config_file.parent / "data", asked)
