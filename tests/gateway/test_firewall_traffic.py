"""Real traffic through the rules: a device's reading is acknowledged, and reaches the service."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.core.topics import Channel
from coldseal.demo.programs import COLDSEAL
from coldseal.demo.site import SITE, Site, prepare_site, read_service
from coldseal.errors import ColdsealError
from coldseal.gateway.config import load_gateway
from coldseal.gateway.egress import pin_of
from coldseal.gateway.firewall import make_plan, render
from tests.gateway.namespaces import GATEWAY_OT, OT, SERVICE, UP, World, require_namespaces, world
from tests.gateway.tries import Campaign
from tests.waiting import until

PAYLOAD = '{"v":1,"q":[{"n":"temperature","u":"Cel","v":4.71}]}'
STOP_S = 20


@asynccontextmanager
async def program(namespace: str, log: Path, *arguments: str) -> AsyncIterator[None]:
    """Run ``coldseal ARGUMENTS`` in a namespace, and end it in order."""
    command = ("ip", "netns", "exec", namespace, *COLDSEAL, *arguments)
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(*command, stdout=file, stderr=file)
        try:
            yield
        finally:
            process.terminate()
            async with asyncio.timeout(STOP_S):
                await process.wait()


def settings(site: Site) -> tuple[str, ...]:
    """Lock the gateway's configuration to its service, and give what it is started with."""
    chain = x509.load_pem_x509_certificates((site.pki / "service" / "localhost.pem").read_bytes())
    pin = pin_of(chain[-1].public_bytes(Encoding.DER))
    with site.gateway_config.open("a") as file:
        file.write(
            f'\n[[egress.allow]]\nhost = "localhost"\nport = 8443\naddresses = ["{SERVICE}"]\n'
            f'pins = ["{pin}"]\nca = "{site.pki / "root.pem"}"\n'
        )
    return (f"mqtt.listen={GATEWAY_OT}:8883", "checkpoint.seconds=1", "uplink.retry_max_s=0.5")


def publish(site: Site, made: World, sensor: str) -> bool:
    """Publish a reading from the device's namespace; whether it was acknowledged."""
    certificate = site.pki / "device" / f"{sensor}.pem"
    command = (
        *("ip", "netns", "exec", made.device, "mosquitto_pub", "-V", "5", "-q", "1"),
        *("-h", GATEWAY_OT, "-p", "8883", "--cafile", str(site.pki / "root.pem"), "--insecure"),
        *("--cert", str(certificate), "--key", str(certificate.with_suffix(".key"))),
        *("-t", f"coldseal/v1/{SITE}/{sensor}/{Channel.READING}/door", "-m", PAYLOAD),
    )
    return subprocess.run(command, check=False, capture_output=True, timeout=STOP_S).returncode == 0


def stored(site: Site) -> int:
    """Count the readings that the service holds."""
    try:
        return len(read_service(site)[0].readings)
    except (ColdsealError, OSError):
        return 0


async def test_a_reading_passes_and_nothing_else_does(tmp_path: Path) -> None:
    """From the device over the gateway into the service, while a campaign of forbidden tries runs."""
    require_namespaces()
    if shutil.which("mosquitto_pub") is None:
        pytest.skip("needs mosquitto_pub")
    site = await prepare_site(tmp_path, 1)
    given, (sensor,) = settings(site), site.sensors
    rules = render(make_plan(load_gateway(site.gateway_config, given), ot=OT, uplink=UP))
    options = [part for setting in given for part in ("--set", setting)]
    with world() as made:
        made.load(rules)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(
                program(
                    made.service,
                    tmp_path / "service.log",
                    *("service", "run", str(site.service_config), "--set", f"service.listen={SERVICE}:8443"),
                )
            )
            await stack.enter_async_context(
                program(
                    made.gateway,
                    tmp_path / "gateway.log",
                    *("gateway", "run", str(site.gateway_config), *options),
                )
            )
            await until(lambda: publish(site, made, sensor))
            await until(lambda: stored(site) == 1)
            campaign = Campaign(made, is_busy=True)
            campaign.run(20)
            assert publish(site, made, sensor)
            await until(lambda: stored(site) == 2)

    assert dict(campaign.passed) == {}
    assert "egress.refused" not in (tmp_path / "gateway.log").read_text()
