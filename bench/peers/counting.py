"""What became of the messages that were acknowledged: lost, doubled, out of order. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

Reading = tuple[str, int]
"""A device and its sequence number."""

Spans = Mapping[str, Sequence[tuple[int, int]]]
"""For each device the sequence numbers that were acknowledged: first and last of each span."""


@dataclass(frozen=True)
class Count:
    """What was counted.

    Attributes:
        acknowledged: messages that a sensor was told are safe.
        delivered: different messages that the service was given.
        lost: acknowledged, and not delivered.
        doubled: deliveries of what had been delivered before.
        order_breaks: first deliveries behind a later message of the same device.
    """

    acknowledged: int
    delivered: int
    lost: int
    doubled: int
    order_breaks: int


def count(acknowledged: Spans, delivered: Iterable[Reading]) -> Count:
    """Hold what was delivered, in its order, against what was acknowledged."""
    latest: dict[str, int] = {}
    seen: Counter[Reading] = Counter()
    breaks = 0
    for reading in delivered:
        device, seq = reading
        if reading not in seen:
            breaks += seq < latest.get(device, -1)
            latest[device] = max(seq, latest.get(device, -1))
        seen[reading] += 1
    total = sum(last - first + 1 for spans in acknowledged.values() for first, last in spans)
    lost = sum(
        (device, seq) not in seen
        for device, spans in acknowledged.items()
        for first, last in spans
        for seq in range(first, last + 1)
    )
    return Count(total, len(seen), lost, sum(seen.values()) - len(seen), breaks)


def spans(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Write numbers as spans."""
    found: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if found and number == found[-1][1] + 1:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
