"""Counts what the pipeline does: outcomes, latencies, sizes, and whether it still moves.

Works on whole groups, because a message has no time to be counted by itself. Decides nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

from coldseal.gateway.message import Outcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.clock import Stamp
    from coldseal.gateway.message import Message
    from coldseal.gateway.store.drafts import Draft
    from coldseal.observe.health import Progress
    from coldseal.observe.metrics import GatewayMetrics


MAX_SENSORS: Final = 20_000
"""Sensors whose last sign of life is kept: a device chooses the names, so there must be a bound."""

_TAKEN_AS_REJECTED: Final = frozenset({Outcome.REJECTED, Outcome.REFUSED, Outcome.LIMITED})


class Answered(Protocol):
    """What is counted of a message."""

    @property
    def outcome(self) -> Outcome:
        """How it was answered."""

    @property
    def message(self) -> Message:
        """The message."""

    @property
    def drafts(self) -> Sequence[Draft]:
        """What was sealed for it: nothing, if it was sealed before."""


class Tally:
    """The pipeline's counters.

    Args:
        metrics: where they are shown.
        progress: watches that what waits moves on.

    Attributes:
        accepted: readings sealed since the start.
        rejected: messages sealed as rejected since the start.
        is_full: the last group found no room on the disk.
        last_heard: topic of each sensor → UTC milliseconds of its latest message.
    """

    def __init__(self, metrics: GatewayMetrics, progress: Progress) -> None:
        """Take the parts; nothing is counted yet."""
        self._metrics, self._progress = metrics, progress
        self.accepted = self.rejected = 0
        self.is_full = False
        self.last_heard: dict[str, int] = {}
        self._groups = self._messages = 0

    def heard(self, topic: str, t_ms: int) -> None:
        """Note when a sensor was heard; beyond :data:`MAX_SENSORS` names, no new one."""
        if topic in self.last_heard or len(self.last_heard) < MAX_SENSORS:
            self.last_heard[topic] = t_ms

    def begun(self, count: int, now: Stamp) -> None:
        """Note that a group of ``count`` messages is on its way to the disk."""
        self._under_way(1, count)
        self._progress.wait(now.mono_ms / 1000)

    def committed(self, group: Sequence[Answered], since: Stamp, now: Stamp) -> None:
        """Count a group that is on disk and answered.

        Args:
            group: the messages.
            since: when its commit began.
            now: when the last one was answered.
        """
        metrics, end, taken = self._metrics, now.mono_ms, len(group)
        group = [item for item in group if item.message.device]  # the others are the gateway's own
        for outcome, count in Counter([item.outcome for item in group]).items():
            metrics.messages.labels(outcome.name.lower()).inc(count)
            self.accepted += count * (outcome is Outcome.SEALED)
            self.rejected += count * (outcome in _TAKEN_AS_REJECTED)
        for began, count in Counter([item.message.received.mono_ms for item in group]).items():
            metrics.puback_seconds.observe((end - began) / 1000, count)
        if group:
            if any(item.drafts for item in group):  # what was sealed before needs no room
                self.is_full = False
            metrics.commit_entries.observe(len(group))
            metrics.commit_seconds.observe((end - since.mono_ms) / 1000)
        self._under_way(-1, -taken)
        self._progress.advance(end / 1000, is_waiting=self._groups > 0)

    def turned_away(self, count: int) -> None:
        """Count what was under way and found no room; it still waits, at its senders."""
        self.is_full = True
        self._under_way(-self._groups, -self._messages)
        self._metrics.messages.labels(Outcome.BUSY.name.lower()).inc(count)

    def _under_way(self, groups: int, messages: int) -> None:
        """Note that more, or fewer, are on their way to the disk."""
        self._groups += groups
        self._messages += messages
        self._metrics.pending.set(self._messages)
