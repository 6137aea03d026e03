"""Events of the way out: refused endpoints, names and pins."""

from __future__ import annotations

from coldseal.observe.events.event import Event

EGRESS_REFUSED = Event(
    "egress.refused",
    "error",
    ("host", "port", "cause", "detail"),
    "A connection was refused before a byte of a request left. `not-listed`: add it to egress.allow or find "
    "out who asked for it; `address`: its name leads elsewhere; any other: the peer is not who it must be, "
    "docs/specs/egress.md says which. Said once while it lasts.",
)
EGRESS_RESTORED = Event(
    "egress.restored",
    "info",
    ("host", "port"),
    "That endpoint is as it must be again. Said once.",
)
