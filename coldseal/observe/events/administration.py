"""Events of administration: who administered what, and who was refused."""

from __future__ import annotations

from coldseal.observe.events.event import Event

ADMINISTRATION_REFUSED = Event(
    "administration.refused",
    "warning",
    ("user", "action", "roles"),
    "Somebody asked for what their roles do not allow; it was not done, and is on record. If they should be "
    "able to, assign the role in `[[administration.assigned]]`.",
)
APPROVAL_AWAITED = Event(
    "administration.approval-awaited",
    "warning",
    ("user", "action", "number"),
    "A request waits for a second person: `coldseal gateway approve CONFIG NUMBER`, by another user with the "
    "right to it.",
)
