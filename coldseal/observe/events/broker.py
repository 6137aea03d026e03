"""Events of the external broker."""

from __future__ import annotations

from coldseal.observe.events.event import Event

BROKER_CHOSEN = Event(
    "broker.chosen",
    "warning",
    ("broker", "promise"),
    "Readings come through an external broker, with the weaker promise that stands here. Said at each start.",
)
BROKER_CONNECTED = Event(
    "broker.connected",
    "info",
    ("broker", "resumed"),
    "Readings come from the external broker; `resumed`: it still had the session, with what waited in it.",
)
BROKER_LOST = Event(
    "broker.lost",
    "error",
    ("broker", "error"),
    "The external broker is away, or does not let us in: no readings come from it; it keeps them if it can. "
    "Tried again by itself; said once until it is back.",
)
BROKER_FORGOT = Event(
    "broker.forgot",
    "critical",
    ("broker",),
    "The external broker has lost the session that it had with us: what it had acknowledged to devices and "
    "not handed over is gone. Look for gaps in the devices' sequences, and at the broker's persistence.",
)
BROKER_DROPPED = Event(
    "broker.dropped",
    "critical",
    ("broker", "more", "total"),
    "The external broker says that it has dropped messages that it had acknowledged, for some client: its "
    "queues are too short, or a client was away for too long. Raise broker.mosquitto.max_queued.",
)
BROKER_REFUSED = Event(
    "broker.refused",
    "error",
    ("broker", "reason"),
    "The external broker did not take a message of this gateway, such as a receipt: renew its access list. "
    "Said once.",
)
BROKER_SIGNALLED = Event(
    "broker.signalled",
    "info",
    ("pid",),
    "Files of the external broker have changed, and it was told by SIGHUP to read them again.",
)
BROKER_NOT_SIGNALLED = Event(
    "broker.not-signalled",
    "error",
    ("error",),
    "Files of the external broker have changed, and it could not be told: reload it by hand, and see that "
    "broker.pid_file names its pid file and that this program may signal it. Said once until it can be told.",
)
BROKER_NEEDS_RESTART = Event(
    "broker.needs-restart",
    "warning",
    ("file",),
    "The broker's CA bundle or its configuration has changed, which no signal makes it read: restart it. "
    "Persistence keeps its sessions over that.",
)
