"""Events of alarms: raised, over, and whether people can be told."""

from __future__ import annotations

from coldseal.observe.events.event import Event

ALARM_RAISED = Event(
    "alarms.raised",
    "warning",
    ("about", "tier", "text"),
    "An alarm was raised and is put on record. Look at `coldseal gateway alarms list`, see to its cause, and "
    "acknowledge it with a reason.",
)
ALARM_OVER = Event(
    "alarms.over",
    "info",
    ("about", "by"),
    "An alarm is over, and all who were told of it know; `by` names who acknowledged it, if anybody did.",
)
ALARMS_RECIPIENT_LOST = Event(
    "alarms.recipient-lost",
    "error",
    ("recipient", "error"),
    "A notification could not be handed over. It is tried again until it is; look at the recipient's "
    "endpoint, its address and `egress.allow`. The alarms are on record and on the gateway's MQTT topics.",
)
ALARMS_RECIPIENT_BACK = Event(
    "alarms.recipient-back",
    "info",
    ("recipient", "seconds"),
    "A notification was handed over again, after so long; what waited went with it.",
)
ALARMS_FAILED = Event(
    "alarms.failed",
    "error",
    ("error",),
    "Alarms could not be made again from the log, or the notifier cannot work with this configuration. "
    "Readings are acknowledged all the same; see to the cause that it names.",
)
