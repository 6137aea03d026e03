"""Both programs with the gateway's transport key in a chip, which is away when the gateway starts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from coldseal.cli.main import run as run_command
from coldseal.core.log.record import parse_entry
from coldseal.demo.fleet import open_context
from coldseal.demo.programs import Program
from coldseal.demo.site import SITE, Site, prepare_site, read_gateway, read_service
from coldseal.gateway.app import LOG_FOLDER
from coldseal.gateway.config import load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.signing.secrets import read_symmetric_key
from tests.gateway.parts import payload
from tests.signing.software_tpm import SoftwareTpm, software_tpm
from tests.waiting import until

READY_S = 60


@pytest.fixture
def chip(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """Give a TPM."""
    with software_tpm(tmp_path / "chip") as made:
        yield made


def in_chip(site: Site, chip: SoftwareTpm) -> tuple[str, ...]:
    """Give the gateway a transport key in the chip, as the how-to says; gives the settings that name it."""
    folder = site.folder / "gateway"
    uri, request, chain = f"tpm:key={folder}/uplink.tss", folder / "uplink.csr", folder / "uplink.pem"
    whose = ("gateway", "gw-0001")
    key = ["identity", "key"]
    assert run_command([*key, "make", uri, "--transport", f"--tcti={chip.tcti}"]) == 0
    asked = ["request", uri, str(request), "--role", whose[0], "--name", whose[1], f"--tcti={chip.tcti}"]
    assert run_command([*key, *asked]) == 0
    assert (
        run_command(["identity", "ca", "sign", str(site.pki), str(request), *whose, f"--output={chain}"]) == 0
    )
    return f'uplink.key="{uri}"', f"uplink.certificate={chain}", f'hardware.tcti="{chip.tcti}"'


def told(gateway: Program) -> set[str]:
    """Give the events that a gateway told of about the alarm of the transport key."""
    lines = [line for line in gateway.log.read_text().splitlines() if "hardware/transport-key" in line]
    return {json.loads(line)["event"] for line in lines}


def alarms_of(site: Site) -> list[object]:
    """Give what was done about the alarm of the transport key, by the gateway's log."""
    config = load_gateway(site.gateway_config)
    reader = LogReader(config.gateway.data / LOG_FOLDER, read_symmetric_key(config.store.key, site.folder))
    try:
        entries = [parse_entry(raw) for raw in reader.read_from(0)]
    finally:
        reader.close()
    found = [entry.data for entry in entries if entry.kind == "alarm"]
    return [each["action"] for each in found if each["about"] == "hardware/transport-key"]


def publish(site: Site, numbers: range) -> None:
    """Publish readings, each acknowledged."""
    client = mqtt.Client(CallbackAPIVersion.VERSION2, "sensor-01", protocol=mqtt.MQTTv5)
    client.tls_set_context(open_context(site.pki, "sensor-01"))
    client.connect("localhost", site.mqtt_port)
    client.loop_start()
    try:
        for number in numbers:
            sent = client.publish(f"coldseal/v1/{SITE}/sensor-01/reading/door", payload(number), qos=1)
            sent.wait_for_publish(20)
            assert sent.is_published()
    finally:
        client.disconnect()
        client.loop_stop()


async def test_readings_are_acknowledged_without_the_chip_and_delivered_once_it_is_back(
    tmp_path: Path, chip: SoftwareTpm, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor does the start wait for it; the listener's key is in its file all the while. An alarm stands."""
    site = await prepare_site(tmp_path / "site", 1)
    settings = in_chip(site, chip)
    chip.stop()
    async with (
        aiohttp.ClientSession() as http,
        site.service() as service,
        site.gateway(site.service_port, *settings) as gateway,
    ):
        await service.ready(http, within_s=READY_S)
        await gateway.ready(http, within_s=READY_S)
        await asyncio.to_thread(publish, site, range(10))
        await until(lambda: gateway.log.read_text().count("hardware.transport-key-away") > 0)
        await until(lambda: "alarms.raised" in told(gateway))
        assert alarms_of(site) == ["raised"]
        assert read_service(site)[1].size == 0
        chip.start()
        wanted = len(read_gateway(site).leaves)
        await until(lambda: read_service(site)[1].size >= wanted)
        await until(lambda: "alarms.over" in told(gateway))
    assert wanted > 10
    assert alarms_of(site) == ["raised", "cleared"]
    capsys.readouterr()
