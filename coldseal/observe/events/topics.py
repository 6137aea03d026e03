"""Events of topics and quotas."""

from __future__ import annotations

from coldseal.observe.events.event import Event

DEVICE_BLOCKED = Event(
    "device.blocked",
    "critical",
    ("device", "topic", "reason", "seconds"),
    "A device spoke as another, or was refused too often: it was cut off and is kept out for so long. Find"
    " out who holds its key.",
)
DEVICE_UNBLOCKED = Event(
    "device.unblocked",
    "info",
    ("device", "by"),
    "A device that was kept out may connect again, because its time is over or because somebody said so.",
)
RIGHT_REFUSED = Event(
    "device.right-refused",
    "warning",
    ("device", "topic", "reason"),
    "A device asked for a subscription, a will or a connection that it has no right to; said once a minute"
    " for each device.",
)
