"""All simulated sensors: runs them, and keeps what each was promised.

An acknowledgement counts only with success; a refusal is counted apart. What is kept here comes from
the sensors' own side alone: nothing is asked of the gateway.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from random import Random

from coldseal.demo.chance import seeded
from coldseal.demo.device import Answer, Device, Post
from coldseal.demo.verdict import ReadingKey

_LATELY_S = 1.0
_FAILED = 0x80


class Pulse:
    """Acknowledgements of the last second: how many, and how long they took."""

    def __init__(self) -> None:
        """Start with none."""
        self._recent: deque[tuple[float, float]] = deque()

    def add(self, moment: float, latency_s: float) -> None:
        """Count one."""
        self._recent.append((moment, latency_s))

    def per_second(self, moment: float) -> float:
        """How many came within the last second."""
        self._forget(moment)
        return len(self._recent) / _LATELY_S

    def latency_ms(self, moment: float, share: float) -> float | None:
        """A quantile of their latencies; ``None`` without any."""
        self._forget(moment)
        ordered = sorted(latency for _, latency in self._recent)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else None

    def _forget(self, moment: float) -> None:
        while self._recent and self._recent[0][0] < moment - _LATELY_S:
            self._recent.popleft()


class Fleet:
    """The sensors of the demo.

    Args:
        posts: where each stands; one sensor for each.
        now_ms: the wall clock, UTC milliseconds.
        clock: monotonic seconds.
        chance: the source of everything random.
    """

    def __init__(
        self,
        posts: Sequence[Post],
        *,
        now_ms: Callable[[], int],
        clock: Callable[[], float],
        chance: Random,
    ) -> None:
        """Make the sensors; nothing is sent before ``run``."""
        self.acknowledged: dict[str, list[ReadingKey]] = {post.device: [] for post in posts}
        self.pulse = Pulse()
        self.refused = 0
        self.repeated = 0
        self._clock = clock
        self._devices: list[Device] = []
        for post in posts:
            count = partial(self._count, len(self._devices))
            own_chance = seeded(chance.getrandbits(64))
            self._devices.append(Device(post, now_ms=now_ms, chance=own_chance, report=count))

    @property
    def total(self) -> int:
        """Readings acknowledged."""
        return sum(len(keys) for keys in self.acknowledged.values())

    @property
    def waiting(self) -> int:
        """Readings taken that have no answer yet."""
        return sum(device.waiting for device in self._devices)

    @property
    def connected(self) -> int:
        """Sensors whose connection the gateway has accepted."""
        return sum(device.is_connected for device in self._devices)

    @property
    def unacknowledged(self) -> int:
        """Readings that were not acknowledged with success: waiting, refused or never sent."""
        return self.waiting + self.refused + sum(device.missed for device in self._devices)

    async def run(self) -> None:
        """Run all sensors until each was told to stop and has its last answer."""
        async with asyncio.TaskGroup() as group:
            for device in self._devices:
                group.create_task(device.run())

    def leave_open(self, place: int, *, is_open: bool) -> None:
        """Leave the door open of the room in which a sensor stands, or close it."""
        self._devices[place].leave_open(is_open=is_open)

    def stop(self) -> None:
        """Take no more readings; ``run`` ends with the last answer."""
        for device in self._devices:
            device.stop()

    def _count(self, place: int, answer: Answer) -> None:
        """Count one answer of the sensor at ``place``."""
        if answer.reason >= _FAILED:
            self.refused += 1
            return
        device = self._devices[place]
        self.acknowledged[device.post.device].append(ReadingKey(device.post.device, device.boot, answer.seq))
        self.repeated += answer.is_repeated
        self.pulse.add(self._clock(), answer.latency_s)


def open_context(pki: Path, device: str) -> ssl.SSLContext:
    """Make a sensor's TLS 1.3 context from a folder that ``coldseal identity dev-ca`` made."""
    context = ssl.create_default_context(cafile=pki / "root.pem")
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pki / "device" / f"{device}.pem", pki / "device" / f"{device}.key")
    return context
