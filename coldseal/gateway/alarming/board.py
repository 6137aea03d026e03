"""Alarms for displays: for each sensor one retained message, which says what stands there now.

A topic is written when something changes; an empty message says that nothing is left. What an earlier run
left behind is put right with the first look. Acknowledges nothing: a display shows, the log counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from coldseal.core.coldchain.alarm import Alarm, State
from coldseal.core.topics import ROOT, Address, Channel, is_name
from coldseal.gateway.alarming.words import for_displays

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Publisher(Protocol):
    """The gateway's listener, as far as it is needed."""

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Publish for the gateway itself."""


class Counted(Protocol):
    """Some alarms."""

    def __len__(self) -> int:
        """How many there are."""

    def __iter__(self) -> Iterator[Alarm]:
        """Go through them."""


class Board:
    """What displays are shown.

    Args:
        site: the gateway's, as in its topics.
        publisher: publishes.
        left: topics that an earlier run has left behind, retained.
    """

    def __init__(self, site: str, publisher: Publisher, left: Iterable[str] = ()) -> None:
        """Begin with what an earlier run has left, of which nothing is known."""
        self._site, self._publisher = site, publisher
        is_ours = f"{ROOT}/{site}/"
        self._left = {topic for topic in left if topic.startswith(is_ours) and f"/{Channel.ALARM}/" in topic}
        self._known: dict[str, Alarm] = {}
        self._places: dict[str, dict[str, Alarm]] = {}
        self._shown: set[str] = set()

    def show(self, alarms: Counted) -> None:
        """Publish what has changed."""
        changed: set[str] = set()
        for alarm in alarms:
            if self._known.get(alarm.about) is not alarm:
                changed.add(self._take(alarm))
        if len(self._known) > len(alarms):
            stay = {alarm.about for alarm in alarms}
            for about in self._known.keys() - stay:
                changed.add(self._drop(self._known.pop(about)))
        for topic in changed - {""}:
            place = self._places.get(topic, {})
            found = sorted(place.values(), key=lambda each: (each.since_ms, each.about))
            if found or topic in self._shown:
                self._publisher.publish(topic, for_displays(found), retain=True)
            (self._shown.add if found else self._shown.discard)(topic)
        for topic in self._left - self._shown:
            self._publisher.publish(topic, b"", retain=True)
        self._left = set()

    def _take(self, alarm: Alarm) -> str:
        """Put an alarm in its place; gives its topic."""
        self._known[alarm.about] = alarm
        topic = self._topic(alarm)
        if not alarm.number or alarm.state is State.OVER:
            return self._drop(alarm)
        self._places.setdefault(topic, {})[alarm.about] = alarm
        return topic

    def _drop(self, alarm: Alarm) -> str:
        """Take an alarm from its place; gives its topic."""
        topic = self._topic(alarm)
        place = self._places.get(topic, {})
        place.pop(alarm.about, None)
        if not place:
            self._places.pop(topic, None)
        return topic

    def _topic(self, alarm: Alarm) -> str:
        """Give the topic of an alarm's sensor; empty where its names cannot stand in one."""
        if not is_name(alarm.device) or not is_name(alarm.sensor):
            return ""
        return Address(self._site, alarm.device, Channel.ALARM, alarm.sensor).render()
