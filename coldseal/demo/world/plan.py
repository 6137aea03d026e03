"""What a seed stands for: the sizes of a run, its devices, and what goes wrong when.

Pure: the same seed always gives the same plan, and every other draw of a run comes from a stream of its own,
so that a new kind of fault does not change what the others do.
"""

from __future__ import annotations

from enum import StrEnum
from random import Random
from typing import Final, Literal

import msgspec

from coldseal.demo.chance import happens, seeded

HOUR_S: Final = 3_600.0
DAY_S: Final = 24 * HOUR_S

_LASTS_DAYS: Final = 0.005
_LASTS_HOURS: Final = 0.1
"""Share of the partitions that last days, as each takes seconds to play; and of those, or hours."""


class Trouble(StrEnum):
    """What can go wrong."""

    KILL = "kill"
    """The gateway's process is gone, in the midst of something."""
    POWER = "power"
    """The gateway's power is cut: what is not synced is kept, lost or torn."""
    STOP = "stop"
    """The gateway is stopped in order, and started again."""
    DISK_ERROR = "disk-error"
    """Steps of the gateway's disk fail."""
    DISK_FULL = "disk-full"
    """The gateway's disk has no room for a while."""
    CLOCK = "clock"
    """The gateway's wall clock is set."""
    LINKS = "links"
    """Devices lose their connections."""
    UPLINK = "uplink"
    """The uplink's process is gone, sometimes with its file."""
    PARTITION = "partition"
    """Nothing gets through between gateway and service."""
    ROUGH = "rough"
    """Requests and answers are delayed, dropped, doubled, put out of order and cut."""
    SERVICE_KILL = "service-kill"
    """The service's process is gone, in the midst of something."""
    SERVICE_FULL = "service-full"
    """The service has no room."""
    SERVICE_SLOW = "service-slow"
    """The service takes its time."""
    SERVICE_MAD = "service-mad"
    """What answers in the service's place makes no sense."""


WEIGHTS: Final = {
    Trouble.KILL: 5,
    Trouble.POWER: 5,
    Trouble.STOP: 2,
    Trouble.DISK_ERROR: 4,
    Trouble.DISK_FULL: 2,
    Trouble.CLOCK: 1,
    Trouble.LINKS: 4,
    Trouble.UPLINK: 2,
    Trouble.PARTITION: 3,
    Trouble.ROUGH: 5,
    Trouble.SERVICE_KILL: 3,
    Trouble.SERVICE_FULL: 1,
    Trouble.SERVICE_SLOW: 1,
    Trouble.SERVICE_MAD: 2,
}


class Event(msgspec.Struct, frozen=True):
    """One trouble.

    Args:
        at_s: when it begins.
        trouble: what it is.
        for_s: how long it lasts, where it lasts.
        step: in how many steps of the disk it strikes, where it strikes there; below 0, at once.
        chance: the chance that whatever may be kept or lost is kept.
        count: how often it strikes.
    """

    at_s: float
    trouble: Trouble
    for_s: float
    step: int
    chance: float
    count: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A run before it has begun.

    Args:
        seed: what it was drawn from.
        mode: how the log is sealed.
        span_s: how long devices publish.
        begins_s: seconds before midnight UTC at the beginning.
        devices: how many there are.
        readings: how many each has to send.
        window: messages that one has unanswered at most.
        segment_entries: entries in one segment.
        state_entries: entries after which the chain's state is written down.
        snapshot_entries: the same for what was sealed lately.
        checkpoint_entries: entries after which a checkpoint is due.
        checkpoint_s: seconds after which one is due.
        heartbeat_s: seconds between heartbeats.
        wal_mb: size of the WAL beyond which it is copied.
        batch_entries: entries in one batch.
        rejected_per_minute: rejections with an entry of their own.
        slowness_s: the longest time that an executor takes.
        tick_s: seconds between looks at the clock.
        retry_max_s: the longest wait after a failed delivery.
        is_verified_first: the service checks signatures before it gives a receipt.
        events: what goes wrong.
        has_product: what devices measure is judged by the profile of a product.
    """

    seed: int
    mode: Literal["record", "checkpoint"]
    span_s: float
    begins_s: float
    devices: int
    readings: int
    window: int
    segment_entries: int
    state_entries: int
    snapshot_entries: int
    checkpoint_entries: int
    checkpoint_s: float
    heartbeat_s: float
    wal_mb: int
    batch_entries: int
    rejected_per_minute: int
    slowness_s: float
    tick_s: float
    retry_max_s: float
    is_verified_first: bool
    events: tuple[Event, ...]
    has_product: bool = False


def stream(seed: int, name: str) -> Random:
    """Give the stream of draws for one purpose."""
    return seeded(f"{seed}/{name}")


def draw_plan(seed: int) -> Plan:
    """Draw the plan of a seed."""
    chance = stream(seed, "plan")
    span_s = chance.choice((2.0, 5.0, 15.0))
    events = tuple(_draw_events(chance, span_s))
    is_long = any(event.for_s > HOUR_S / 10 for event in events)
    return Plan(
        seed=seed,
        mode=chance.choice(("record", "record", "checkpoint")),
        span_s=span_s,
        begins_s=chance.choice((span_s / 2, 5.0, DAY_S / 2, DAY_S / 2)),
        devices=chance.choice((1, 1, 2, 3)),
        readings=chance.choice((3, 5, 8, 12)),
        window=chance.choice((1, 2, 8)),
        segment_entries=chance.choice((5, 12, 12, 40, 40, 1_000, 1_000)),
        state_entries=chance.choice((1, 8, 4_096)),
        snapshot_entries=chance.choice((1, 8, 16_384)),
        checkpoint_entries=chance.choice((1, 6, 20, 256, 256)),
        checkpoint_s=chance.choice((1.0, 5.0, 30.0)),
        heartbeat_s=chance.choice((2.0, 10.0, 300.0)) if not is_long else DAY_S / 2,
        wal_mb=chance.choice((0, 16, 16, 16, 16)),
        batch_entries=chance.choice((3, 10, 4_096)),
        rejected_per_minute=chance.choice((2, 60)),
        slowness_s=chance.choice((0.002, 0.02, 0.3)),
        tick_s=chance.choice((0.5, 1.0, 1.0)) if not is_long else 600.0,
        retry_max_s=4.0 if not is_long else 3_600.0,
        is_verified_first=happens(chance, 0.3),
        events=events,
        has_product=seed % 4 > 0,
    )


def _draw_events(chance: Random, span_s: float) -> list[Event]:
    """Draw what goes wrong, in order of time."""
    kinds = chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=chance.randint(1, 4))
    events = [
        Event(
            at_s=chance.uniform(0.0, span_s),
            trouble=trouble,
            for_s=_duration(chance, span_s, trouble),
            step=chance.choice((-1, 0, 1, 2, 3, 5, 8, 13, 21)),
            chance=chance.choice((0.0, 0.5, 0.9, 1.0)),
            count=chance.choice((1, 1, 2, 8, 100_000)),
        )
        for trouble in kinds
    ]
    return sorted(events, key=lambda event: event.at_s)


def _duration(chance: Random, span_s: float, trouble: Trouble) -> float:
    """Draw how long something lasts: mostly a part of the run; a partition, now and then, hours or days."""
    if trouble is Trouble.PARTITION:
        draw = chance.random()
        if draw < _LASTS_DAYS:
            return 2 * DAY_S
        if draw < _LASTS_HOURS:
            return chance.uniform(0.2, 2.0) * HOUR_S
    if trouble is Trouble.ROUGH:
        return chance.uniform(span_s / 2, span_s)
    return chance.uniform(0.05, span_s / 2)
