"""Mosquitto's certificate is renewed again and again under readings: none lost or doubled, nobody cut."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldseal.gateway.clock import Clock
from coldseal.gateway.store.log import Limits
from coldseal.identity.authority_folder import read_certificate
from tests.gateway.parts import Hands, open_parts
from tests.gateway.sources.test_broker_doors import shown
from tests.gateway.sources.test_broker_program import publishing
from tests.mosquitto import BrokerSite, client, now, require_mosquitto, running, sourcing
from tests.telling import tell
from tests.waiting import until

ROOM = Limits(limit_mb=4_096, reserve_mb=1)
"""For many little commits, as nobody maintains the store here."""


@dataclass
class Came:
    """What came of it.

    Attributes:
        renewals: of the broker's certificate, each seen by a new caller.
        sealed: numbers of the readings in the log, by device, in its order.
        goal: how many readings each device was acknowledged.
        cut: connections that ended, of devices and of the gateway.
        a_second: readings, on the whole.
    """

    renewals: int
    sealed: dict[str, list[int]]
    goal: int
    cut: int
    a_second: float


async def renew_under_readings(folder: Path, *, rounds: int, each: int) -> Came:
    """Renew so often, while each of the devices publishes so many readings in each round."""
    site, began_ms = BrokerSite(folder), Clock().now().mono_ms
    async with running(site) as broker, open_parts(folder / "log", Hands(), limits=ROOM) as parts:
        sealing = asyncio.ensure_future(parts.pipeline.run())
        async with sourcing(site, parts.pipeline) as (_, report), publishing(site) as devices:
            await until(lambda: report.is_up and all(device.times_connected for device in devices))
            for _ in range(rounds):
                for device in devices:
                    device.allow(each)
                site.authority.renew(site.broker, now=now())
                broker.hang_up()
                await until(lambda: is_shown(site))
                await until(lambda: all(device.acknowledged == device.goal for device in devices))
            total = rounds * each * len(devices)
            await until(lambda: parts.log.size >= total, within_s=60)
            cut = sum(device.times_connected - 1 for device in devices) + len(report.losses)
        parts.pipeline.stop()
        await sealing
        readings = parts.entries("reading")
    sealed: dict[str, list[int]] = {device.name: [] for device in devices}
    for entry in readings:
        sealed[str(entry.src["dev"])].append(int(str(entry.src["seq"])))
    seconds = (Clock().now().mono_ms - began_ms) / 1000
    return Came(rounds, sealed, rounds * each, cut, total / seconds)


async def is_shown(site: BrokerSite) -> bool:
    """Whether a new caller sees the newest certificate."""
    async with client(site, "caller") as caller:
        return shown(caller) == read_certificate(site.broker).serial_number


def require_good(came: Came) -> None:
    """Insist that nothing was lost, doubled, out of order or cut."""
    for found in came.sealed.values():
        assert found == list(range(came.goal))
    assert came.cut == 0


async def test_renewals_of_the_broker_s_certificate_cost_no_reading_and_no_connection(tmp_path: Path) -> None:
    """The short form; the long one is a campaign."""
    require_mosquitto()
    require_good(await renew_under_readings(tmp_path, rounds=5, each=40))


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_a_thousand_renewals_of_the_broker_s_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under about a thousand readings a second; `ROUNDS` changes how many."""
    require_mosquitto()
    came = await renew_under_readings(tmp_path, rounds=int(os.environ.get("ROUNDS", "1000")), each=60)
    count = sum(map(len, came.sealed.values()))
    with capsys.disabled():
        tell(f"\nrenewals {came.renewals}, {count} readings, {came.a_second:.0f} a second, cut {came.cut}")
    require_good(came)
