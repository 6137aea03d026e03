"""Events of judging at the edge."""

from coldseal.observe.events.event import Event

JUDGING_REBUILT = Event(
    "judging.rebuilt",
    "warning",
    ("size",),
    "How far judging was, could not be read: it was worked out anew from the entries that are still here.",
)
