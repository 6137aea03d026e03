"""Every certificate is renewed, and the CA rolled over, under readings: nothing lost, doubled or cut."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import pytest

from coldseal.identity.files import replace_private_file
from tests.campaigns import rotation
from tests.campaigns.rotation import Town, delivered, living
from tests.telling import tell
from tests.trial import now
from tests.waiting import until

SEED = 20_260_501


async def test_renewals_and_a_roll_over_cost_no_reading_and_no_connection(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The short form; the long one is a campaign."""
    town = Town(tmp_path, sensors=3)
    async with living(town, Random(SEED)) as (fleet, _):
        await town.round(0)
        await town.by_command("identity", "renew-now")
        await town.by_command("drill", "rotation", "--who", "qa", "--why", "this quarter")
        await town.pass_on()
        town.see_connections(fleet)
        await delivered(town, fleet)
    acknowledged, lost, doubled = town.see_readings(fleet)
    with capsys.disabled():
        said = f"renewals {town.renewals}, {acknowledged} readings, lost {lost}, doubled {doubled}"
        tell(f"\nseed {SEED}: {said}")
    assert town.findings == []
    assert sum(town.renewals.values()) >= 10
    assert acknowledged > 100


async def test_faults_that_are_planted_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An intake that starts anew, a key without its chain, a CA that stays trusted, one without overlap."""
    monkeypatch.setattr(rotation, "WITHIN_S", 3.0)
    town = Town(tmp_path, sensors=2)
    async with living(town, Random(SEED)) as (fleet, gateway):
        town.see_connections(fleet)
        assert town.findings == []
        await gateway.stop()
        await gateway.start()
        await until(lambda: fleet.connected == town.sensors)
        town.see_connections(fleet)
        assert town.findings == ["0 connections were cut, 2 made anew"]

        town.findings.clear()
        pair, authority = town.listener_pair, town.authority
        before = pair.key.read_bytes()
        leaf = authority.certify(pair.next_key().public_key(), "gateway", "gw-listener", now=now())
        pair.install(authority.chain(leaf))
        replace_private_file(pair.key, before)
        await town.see_shown()
        assert town.findings == ["not within 3 s: the listener shows its new certificate"]

        town.findings.clear()
        await town.see_refused(town.devices["sensor-02"])
        assert town.findings == ["a certificate of a retired CA is let in"]

        town.findings.clear()
        await town.begin_roll_over()
        town.end_roll_over()
        town.renew_service()
        await town.see_shown()
        await town.renew_device("sensor-02")
        town.see_trust()
        assert any("sensor-02 is not renewed" in each for each in town.findings)
        assert "gateway does not trust what the CA shows" in town.findings


@pytest.mark.soak
@pytest.mark.timeout(7200)
async def test_a_thousand_renewals_of_every_certificate_under_a_thousand_readings_a_second(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a roll-over of the CA after each two hundred; `ROUNDS` changes how many."""
    rounds = int(os.environ.get("ROUNDS", "1000"))
    town = Town(tmp_path, sensors=20, interval_s=0.02)
    async with living(town, Random(SEED)) as (fleet, _):
        for number in range(rounds):
            await town.round(number)
            if number % 200 == 100:
                await town.pass_on()
        town.see_connections(fleet)
        await delivered(town, fleet)
    acknowledged, lost, doubled = town.see_readings(fleet)
    with capsys.disabled():
        tell(
            f"\nseed {SEED}: renewals {town.renewals}, probes {town.probes}, readings {acknowledged}, "
            f"lost {lost}, doubled {doubled}, retries {town.retries}, findings {town.findings}"
        )
    assert town.findings == []
