"""Events of the routes to enterprise endpoints."""

from __future__ import annotations

from coldseal.observe.events.event import Event

ROUTES_STARTED = Event(
    "routes.started",
    "info",
    ("routes",),
    "The process of the routes runs; `routes` names each with its position.",
)
ROUTES_FAILED = Event(
    "routes.failed",
    "error",
    ("error",),
    "The process of the routes ends, and is started again: the configuration is wrong, or the log or the "
    "routes' own file cannot be read.",
)
ROUTE_LOST = Event(
    "route.lost",
    "warning",
    ("route", "cause", "detail"),
    "A sink does not take anything now; what is for it waits in the log. `denied` and `address` are answers "
    "about the route itself: see its token, certificate and url. Said once while it lasts.",
)
ROUTE_BACK = Event(
    "route.back",
    "info",
    ("route", "position"),
    "That sink takes entries again. Said once.",
)
ROUTE_REFUSED = Event(
    "route.refused",
    "error",
    ("route", "seq", "status", "detail"),
    "A sink will not take this entry, and it was put aside; others go on. Said for the first one that is put "
    "aside. See `coldseal gateway routes quarantine`, then send it again or give it up.",
)
ROUTE_HELD = Event(
    "route.held",
    "error",
    ("route", "aside"),
    "So many entries are put aside that the route stands still until a person decides about them; nothing is "
    "lost meanwhile. Said once while it lasts.",
)
ROUTE_MISSED = Event(
    "route.missed",
    "error",
    ("route", "first", "last", "where"),
    "These entries were not here any more when their turn came, and the route went on behind: an archive "
    "has them, or the log states them as lost.",
)
