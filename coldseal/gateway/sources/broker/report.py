"""What the broker's source tells people: whether the broker is there, and what it lost or dropped.

Once when something is lost, once when it is back. Nothing is decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.observe.metrics import GatewayMetrics

PROMISE: Final = (
    "weaker: the broker acknowledges to the device before the reading is sealed; what a killed broker "
    "had not written down is lost"
)
"""What is said wherever this mode is chosen."""

VERSION: Final = "$SYS/broker/version"
DROPPED: Final = "$SYS/broker/publish/messages/dropped"
"""What it says of itself: its software, and how many messages it has dropped since its start, for anybody."""

_LONGEST: Final = 128
_log = Log("gateway.broker")


class Report:
    """The source's voice.

    Args:
        address: the broker, host:port.
        metrics: where counts are shown.

    Attributes:
        is_up: whether readings can come.
    """

    def __init__(self, address: str, metrics: GatewayMetrics) -> None:
        """Start with nothing known."""
        self._address, self._metrics = address, metrics
        self.is_up = self._is_lost = self._is_refused = False
        self._version, self._dropped = "", 0

    def began(self) -> None:
        """Say, at each start, what this mode does not promise."""
        _log.emit(events.BROKER_CHOSEN, broker=self._address, promise=PROMISE)

    def connected(self, *, is_resumed: bool) -> None:
        """Readings come."""
        self.is_up, self._is_lost = True, False
        self._metrics.broker_up.set(1)
        _log.emit(events.BROKER_CONNECTED, broker=self._address, resumed=is_resumed)

    def forgotten(self) -> None:
        """The broker had a session with us, and has none: what waited in it is gone."""
        _log.emit(events.BROKER_FORGOT, broker=self._address)

    def lost(self, error: Exception) -> None:
        """Readings do not come; said once until they do."""
        self.is_up = False
        self._metrics.broker_up.set(0)
        self._metrics.broker_failures.inc()
        if not self._is_lost:
            self._is_lost = True
            cause = str(error) or "no answer in time"  # a time-out has no words of its own
            _log.emit(events.BROKER_LOST, broker=self._address, error=cause)

    def refused(self, reason: str) -> None:
        """The broker did not take what we published; said once."""
        if not self._is_refused:
            self._is_refused = True
            _log.emit(events.BROKER_REFUSED, broker=self._address, reason=reason)

    def told(self, topic: str, payload: bytes) -> None:
        """Hear what the broker says of itself; more dropped than before wakes a person."""
        text = payload[:_LONGEST].decode(errors="replace")
        if topic == VERSION:
            self._version = text
        elif topic == DROPPED and text.isdecimal():
            count = int(text)
            if count > self._dropped:
                more = count - self._dropped
                _log.emit(events.BROKER_DROPPED, broker=self._address, more=more, total=count)
            self._dropped = count
            self._metrics.broker_dropped.set(count)

    def status(self) -> Mapping[str, object]:
        """Say what is known, for a person."""
        return {
            "up": self.is_up,
            "software": self._version,
            "dropped_by_it": self._dropped,
            "promise": PROMISE,
        }
