"""The one catalogue of log events: name, level, fields and meaning.

`docs/reference/events.md` is made from it, and a test holds every place that emits to it. A name
is stable: tools may search for it. An event says what happened; it never carries a secret.
"""

from coldseal.observe.events.administration import *
from coldseal.observe.events.alarms import *
from coldseal.observe.events.archive import *
from coldseal.observe.events.attestation import *
from coldseal.observe.events.broker import *
from coldseal.observe.events.coldchain import *
from coldseal.observe.events.event import Event, Level
from coldseal.observe.events.gateway import *
from coldseal.observe.events.hardware import *
from coldseal.observe.events.identity import *
from coldseal.observe.events.perimeter import *
from coldseal.observe.events.routes import *
from coldseal.observe.events.schemas import *
from coldseal.observe.events.service import *
from coldseal.observe.events.store import *
from coldseal.observe.events.time import *
from coldseal.observe.events.topics import *
from coldseal.observe.events.uplink import *

__all__ = ["CATALOGUE", "Event", "Level"]

CATALOGUE: tuple[Event, ...] = tuple(each for each in globals().copy().values() if isinstance(each, Event))
"""All events, part by part."""
