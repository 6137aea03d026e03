"""Events of time: sources, offsets, steps."""

from __future__ import annotations

from coldseal.observe.events.event import Event

TIME_SERVICE_LOST = Event(
    "time.service-lost",
    "warning",
    ("fault",),
    "The time service does not answer: time is in holdover and its bound grows; look at the service.",
)
TIME_SERVICE_BACK = Event("time.service-back", "info", ("service",), "The time service answers again.")
TIME_SOURCE_CHANGED = Event(
    "time.source-changed",
    "info",
    ("service", "source", "auth"),
    "Time comes from another source, or is authenticated in another way; an entry of the log says so too.",
)
TIME_DOUBTED = Event(
    "time.doubted",
    "error",
    ("state", "offset_ms", "error_ms", "reason"),
    "Time may be off by more than the limit: readings are flagged from now on; see to the time service.",
)
TIME_TRUSTED = Event(
    "time.trusted",
    "info",
    ("state", "offset_ms", "error_ms", "reason"),
    "Time is within the limit again: readings are not flagged any more.",
)
