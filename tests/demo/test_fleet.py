"""The fleet keeps what its sensors were promised, and nothing else."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from coldseal.demo.device import Answer, Post
from coldseal.demo.fleet import Fleet, Pulse, open_context
from coldseal.demo.verdict import ReadingKey
from coldseal.gateway.clock import Clock
from coldseal.identity.authority import create_authority
from coldseal.mqtt.packets import ReasonCode


def answer(seq: int, reason: ReasonCode = ReasonCode.SUCCESS, *, is_repeated: bool = False) -> Answer:
    """The gateway's answer after 2 ms."""
    return Answer(seq, reason, 0.002, is_repeated)


@pytest.fixture
async def fleet() -> Fleet:
    """Two sensors that are not connected to anything, at the moment 100.0."""
    posts = [
        Post(host="127.0.0.1", port=1, context=None, server_name="", site="x", device=name) for name in "ab"
    ]
    return Fleet(posts, now_ms=lambda: 0, clock=lambda: 100.0, chance=Random(1))


async def test_each_acknowledged_reading_is_kept_under_its_sensor(fleet: Fleet) -> None:
    """By device, boot and sequence number, in the order of the acknowledgements."""
    fleet._count(0, answer(1))
    fleet._count(1, answer(1))
    fleet._count(0, answer(2, is_repeated=True))
    boots = [device.boot for device in fleet._devices]
    assert fleet.acknowledged == {
        "a": [ReadingKey("a", boots[0], 1), ReadingKey("a", boots[0], 2)],
        "b": [ReadingKey("b", boots[1], 1)],
    }
    assert fleet.total == 3
    assert fleet.repeated == 1


async def test_sensors_have_boot_ids_of_their_own(fleet: Fleet) -> None:
    """Two sensors never share a key."""
    assert len({device.boot for device in fleet._devices}) == 2


async def test_no_matching_subscribers_is_a_success(fleet: Fleet) -> None:
    """MQTT 5's reason codes below 0x80 all mean that the message was taken."""
    fleet._count(0, answer(1, ReasonCode.NO_MATCHING_SUBSCRIBERS))
    assert fleet.total == 1


async def test_a_refusal_is_no_acknowledgement(fleet: Fleet) -> None:
    """It is counted apart, and turns the verdict."""
    fleet._count(0, answer(1, ReasonCode.NOT_AUTHORIZED))
    assert fleet.total == 0
    assert fleet.unacknowledged == 1


async def test_latencies_reach_the_pulse(fleet: Fleet) -> None:
    """What the board shows comes from the same answers."""
    fleet._count(0, answer(1))
    assert fleet.pulse.per_second(100.5) == 1
    assert fleet.pulse.latency_ms(100.5, 0.5) == pytest.approx(2.0)


async def test_a_fleet_that_is_told_to_stop_before_it_starts_ends(fleet: Fleet) -> None:
    """Nothing was taken, so nothing waits."""
    fleet.stop()
    await fleet.run()
    assert fleet.waiting == fleet.connected == fleet.unacknowledged == 0


def test_the_pulse_is_that_of_the_last_second() -> None:
    """Older acknowledgements are forgotten."""
    pulse = Pulse()
    for moment in (1.0, 1.5, 2.2):
        pulse.add(moment, moment / 1000)
    assert pulse.per_second(2.3) == 2
    assert pulse.latency_ms(2.3, 0.0) == pytest.approx(1.5)
    assert pulse.latency_ms(2.3, 0.99) == pytest.approx(2.2)


def test_without_acknowledgements_there_is_no_latency() -> None:
    """It is not zero, it is not known."""
    assert Pulse().latency_ms(1.0, 0.5) is None


def test_a_sensor_speaks_tls_1_3_with_its_own_certificate(tmp_path: Path) -> None:
    """And checks the gateway against the root."""
    authority = create_authority(tmp_path, now=_now())
    authority.issue("device", "sensor-01", now=_now())
    context = open_context(tmp_path, "sensor-01")
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def _now() -> datetime:
    """This moment, UTC."""
    return datetime.fromtimestamp(Clock().now().t_ms / 1000, UTC)
