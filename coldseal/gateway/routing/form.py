"""The form of each route: makes parcels of entries, and one body of several parcels.

Promise: the same entry makes the same parcel each time. What a form cannot say is left out before.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.routing import epcis, forms
from coldseal.core.routing.rules import idempotency_key
from coldseal.gateway.routing.sink import Parcel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.record import Entry
    from coldseal.core.routing.rules import Subject
    from coldseal.gateway.tables.routes import Route

NONE: Final = "-"
"""Stands in a topic for what an entry does not name."""


class Body(NamedTuple):
    """What one request carries.

    Attributes:
        content: its bytes.
        media_type: what they are.
        key: the key of what it carries.
    """

    content: bytes
    media_type: str
    key: str


class Form:
    """One route's form.

    Args:
        route: the route.
        site: the gateway's.
    """

    def __init__(self, route: Route, site: str) -> None:
        """Take the route."""
        self._route, self._site = route, site
        self._is_alone = route.batch == 1
        self._is_event = route.sink == "cloudevents" or (
            route.sink == "mqtt" and route.payload == "cloudevents"
        )
        self._places = epcis.Places(route.ids, route.location)

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds that it can say; empty for all."""
        return epcis.KINDS if self._route.sink == "epcis" else frozenset()

    @property
    def is_placing(self) -> bool:
        """Whether it says what a sensor watches."""
        has_asset = self._route.sink == "mqtt" and "{asset}" in self._route.topic
        return self._is_event or has_asset or self._route.sink == "epcis"

    @property
    def media_type(self) -> str:
        """What one parcel is."""
        if self._route.sink == "epcis":
            return epcis.MEDIA_TYPE
        return forms.CLOUD_EVENT if self._is_event else forms.JSON

    def says(self, entry: Entry) -> bool:
        """Whether it can say this entry."""
        return self._route.sink != "epcis" or epcis.has_words(entry)

    def parcel(self, entry: Entry, subject: Subject) -> Parcel:
        """Make a parcel of an entry that it can say."""
        topic = self._topic(subject) if self._route.sink == "mqtt" else ""
        return Parcel(entry.seq, idempotency_key(entry), entry.t, self._encode(entry, subject), topic)

    def body(self, parcels: Sequence[Parcel]) -> Body:
        """Make what one request carries: the parcel alone, or a list, even of one."""
        if self._is_alone:
            (parcel,) = parcels
            return Body(parcel.body, self.media_type, parcel.key)
        bodies, key = [each.body for each in parcels], joint_key(parcels)
        if self._route.sink == "epcis":
            return Body(epcis.encode_document(bodies, parcels[-1].t), epcis.MEDIA_TYPE, key)
        media_type = forms.CLOUD_EVENTS if self._is_event else forms.JSON
        return Body(forms.join(bodies), media_type, key)

    def _encode(self, entry: Entry, subject: Subject) -> bytes:
        """Say the entry."""
        if self._route.sink == "epcis":
            return epcis.encode_event(entry, subject, self._places, is_alone=self._is_alone)
        return forms.encode_cloud_event(entry, subject) if self._is_event else forms.encode_article(entry)

    def _topic(self, subject: Subject) -> str:
        """Say where an entry is published; what would be a level of its own, or a wildcard, cannot be."""
        return self._route.topic.format(
            site=_level(self._site),
            kind=subject.kind,
            device=_level(subject.device),
            sensor=_level(subject.sensor),
            asset=_level(subject.asset),
        )


def joint_key(parcels: Sequence[Parcel]) -> str:
    """Give the key of a list: of its first and last entry, and a hash of all keys."""
    if len(parcels) == 1:
        return parcels[0].key
    digest = hashlib.sha256("\n".join(each.key for each in parcels).encode()).hexdigest()
    return f"{parcels[0].key.partition(':')[0]}:{parcels[0].seq}-{parcels[-1].seq}:{digest}"


def _level(name: str) -> str:
    """Make a name one level of a topic."""
    return "".join("_" if letter in "/+#\0" else letter for letter in name) or NONE
