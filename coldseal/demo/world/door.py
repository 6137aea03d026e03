"""Stands for the listener: hands messages over, and answers each connection in the order in which it sent.

A client of MQTT 5 is told when there is no room. One of MQTT 3.1.1 cannot be told: what it sent is handed
over again later, and nothing more of it is read before, as `coldseal.mqtt.inbound` does it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from coldseal.core import topics
from coldseal.demo.world.stage import SITE
from coldseal.gateway.message import Message, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.demo.world.device import Line, Sent
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.pipeline import Pipeline

FINGERPRINT: Final = "ab" * 8
NOT_AUTHORISED: Final = "not-authorised"


class Waiting:
    """A message that was read and is not answered yet."""

    def __init__(self, sent: Sent, *, is_again: bool) -> None:
        """Keep it."""
        self.sent, self.is_again = sent, is_again
        self.outcome: Outcome | None = None


class Desk:
    """One connection, at the gateway's end."""

    def __init__(self, line: Line) -> None:
        """Nothing was read yet."""
        self.line = line
        self.waiting: deque[Waiting] = deque()
        self.retries: list[Waiting] = []
        self.unread: deque[Waiting] = deque()


class Door:
    """All connections of one life of the gateway.

    Args:
        pipeline: takes the messages.
        clock: gives the moment.
        answered: told of each outcome before anybody else is.
    """

    def __init__(self, pipeline: Pipeline, clock: Clock, answered: Callable[[Sent, Outcome], None]) -> None:
        """Be open."""
        self._pipeline, self._clock, self._answered = pipeline, clock, answered
        self._policy = topics.Policy(SITE, [])
        self._desks: dict[Line, Desk] = {}

    def take(self, sent: Sent, line: Line, *, is_again: bool) -> None:
        """Read a message."""
        desk = self._desks.get(line)
        if desk is None:
            desk = self._desks[line] = Desk(line)
        found = Waiting(sent, is_again=is_again)
        if desk.retries or desk.unread or self._pipeline.is_full:
            desk.unread.append(found)
        else:
            self._read(desk, found)

    def _read(self, desk: Desk, found: Waiting) -> None:
        """Take a message into the line of those that want an answer."""
        desk.waiting.append(found)
        self._submit(desk, found)

    def _submit(self, desk: Desk, found: Waiting) -> None:
        """Hand a message over."""
        sent = found.sent
        may = self._policy.rights(sent.device).may_publish(sent.topic)

        def acknowledge(outcome: Outcome, _reason: str) -> None:
            self._settle(desk, found, outcome)

        self._pipeline.submit(
            Message(
                sent.device,
                FINGERPRINT,
                sent.topic,
                sent.payload,
                1,
                sent.packet_id,
                found.is_again,
                self._clock.now(),
                acknowledge,
                "" if may else NOT_AUTHORISED,
            )
        )

    def _settle(self, desk: Desk, found: Waiting, outcome: Outcome) -> None:
        """Take an outcome, and answer whatever is first in line now."""
        self._answered(found.sent, outcome)
        if outcome is Outcome.BUSY and not desk.line.is_told:
            desk.retries.append(found)
            return
        found.outcome = outcome
        while desk.waiting and desk.waiting[0].outcome is not None:
            first = desk.waiting.popleft()
            if first.outcome is not None:
                desk.line.answer(first.sent, first.outcome)

    def tick(self) -> None:
        """Once a second: hand over again what found no room, then read on."""
        for line, desk in list(self._desks.items()):
            if line.is_cut:
                del self._desks[line]
                continue
            retries, desk.retries = desk.retries, []
            for found in retries:
                self._submit(desk, found)
            while desk.unread and not desk.retries and not self._pipeline.is_full:
                self._read(desk, desk.unread.popleft())
