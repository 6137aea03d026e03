"""The one catalogue of log events: name, level, fields and meaning.

`docs/reference/events.md` is made from it, and a test holds every place that emits to it. A name
is stable: tools may search for it. An event says what happened; it never carries a secret.
"""

from coldseal.observe.events.administration import *  # noqa: F403 -- this is the catalogue
from coldseal.observe.events.alarms import *  # noqa: F403 -- the same
from coldseal.observe.events.archive import *  # noqa: F403 -- the same
from coldseal.observe.events.attestation import *  # noqa: F403 -- the same
from coldseal.observe.events.broker import *  # noqa: F403 -- the same
from coldseal.observe.events.coldchain import *  # noqa: F403 -- the same
from coldseal.observe.events.event import Event, Level
from coldseal.observe.events.gateway import *  # noqa: F403 -- the same
from coldseal.observe.events.hardware import *  # noqa: F403 -- the same
from coldseal.observe.events.identity import *  # noqa: F403 -- the same
from coldseal.observe.events.perimeter import *  # noqa: F403 -- the same
from coldseal.observe.events.routes import *  # noqa: F403 -- the same
from coldseal.observe.events.schemas import *  # noqa: F403 -- the same
from coldseal.observe.events.service import *  # noqa: F403 -- the same
from coldseal.observe.events.store import *  # noqa: F403 -- the same
from coldseal.observe.events.time import *  # noqa: F403 -- the same
from coldseal.observe.events.topics import *  # noqa: F403 -- the same
from coldseal.observe.events.uplink import *  # noqa: F403 -- the same

__all__ = ["CATALOGUE", "Event", "Level"]

CATALOGUE: tuple[Event, ...] = tuple(each for each in globals().copy().values() if isinstance(each, Event))
"""All events, part by part."""
