"""Events of schemas and of what was rejected for want of one."""

from coldseal.observe.events.event import Event

SCHEMA_UNKNOWN = Event(
    "schema.unknown",
    "warning",
    ("schemas",),
    "Channels of the registry name schemas that nobody has written down: what comes there is parked.",
)
SCHEMAS_READ = Event(
    "schemas.read",
    "info",
    ("folder", "schemas"),
    "The site's schemas were read, and are in use from here on.",
)
REJECTED_REPLAYED = Event(
    "rejected.replayed",
    "info",
    ("count", "first"),
    "Messages that had been rejected were taken in after all; the first one's rejected entry is named.",
)
