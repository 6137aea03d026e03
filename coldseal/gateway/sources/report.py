"""What the listener tells people: who came, who left and why, and what was given up, in logs and metrics.

A flood of bad callers makes one line a minute for each address, not one each. Nothing is decided here.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.identity.handshakes import Reason, detail_of, reason_of
from coldseal.mqtt.broker import Counts
from coldseal.mqtt.packets import ReasonCode
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.sources.link import Link
    from coldseal.observe.events.event import Event
    from coldseal.observe.metrics import GatewayMetrics

TOPIC_SHOWN: Final = 256
_CUTS: Final = frozenset(("slow", "timeout"))
_QUIET_S: Final = 60.0
_REMEMBERED: Final = 1_024


class Seldom:
    """Lets something through once a minute for each key; forgets the oldest keys first."""

    def __init__(self) -> None:
        """Start with nothing said."""
        self._said: OrderedDict[str, float] = OrderedDict()

    def __call__(self, key: str, now: float) -> bool:
        """Whether it may be said now."""
        last = self._said.get(key)
        if last is not None and now - last < _QUIET_S:
            return False
        self._said[key] = now
        self._said.move_to_end(key)
        if len(self._said) > _REMEMBERED:
            self._said.popitem(last=False)
        return True


class Report:
    """The listener's voice.

    Args:
        metrics: where counts are shown.
    """

    def __init__(self, metrics: GatewayMetrics) -> None:
        """Start with nothing counted."""
        self._metrics = metrics
        self._log = Log("gateway.mqtt")
        self._seldom = Seldom()
        self._is_at_limit = False
        self._is_failing = False
        self._shown = Counts()
        self.ended = 0
        """Connections of devices that have ended since the start."""

    def connected(self, link: Link, version: str) -> None:
        """A device was admitted."""
        self._log.emit(
            events.DEVICE_CONNECTED,
            device=link.device,
            client=link.client_id,
            version=version,
            address=link.address,
        )

    def left(self, link: Link, reason: ReasonCode) -> None:
        """A connection ended, by a cut of ours or otherwise."""
        cause = "timeout" if reason is ReasonCode.KEEP_ALIVE_TIMEOUT else link.cut
        if cause in _CUTS:
            self._metrics.connections_refused.labels(cause).inc()
        if link.device:
            self.ended += 1
            event = events.CONNECTION_CUT if cause else events.DEVICE_LEFT
            said = link.cut or reason.name.lower().replace("_", "-")
            self._log.emit(event, device=link.device, client=link.client_id, reason=said)

    def refused(self, address: str, cause: str, reason: str, now: float) -> None:
        """A caller was turned away; the cause is one of the metric's."""
        self._metrics.connections_refused.labels(cause).inc()
        if self._seldom(f"{address} {cause}", now):
            self._log.emit(events.DEVICE_REFUSED, address=address, reason=reason)

    def stranger(self, address: str, error: Exception, now: float) -> None:
        """A caller was turned away at the handshake, or by its certificate directly behind it."""
        reason = reason_of(error)
        self._metrics.connections_refused.labels("timeout" if reason is Reason.TIMEOUT else "identity").inc()
        self._metrics.handshakes_refused.labels(reason).inc()
        self._tell_of_tls(events.HANDSHAKE_REFUSED, address, error, now)

    def broken(self, address: str, error: Exception, now: float) -> None:
        """A caller broke TLS behind its handshake, and was cut off."""
        self._metrics.tls_broken.labels(reason_of(error)).inc()
        self._tell_of_tls(events.TLS_BROKEN, address, error, now)

    def _tell_of_tls(self, event: Event, address: str, error: Exception, now: float) -> None:
        """Say what came of a caller's TLS, seldom for each address, event and reason."""
        reason = reason_of(error)
        if self._seldom(f"{address} {event.name} {reason}", now):
            self._log.emit(
                event, listener="mqtt", address=address, reason=str(reason), detail=detail_of(error)
            )

    def blocked(self, device: str, topic: str, reason: str, seconds: float) -> None:
        """A device was cut off, and is kept out for a while."""
        self._metrics.device_blocks.labels(reason).inc()
        shown = topic[:TOPIC_SHOWN]
        self._log.emit(events.DEVICE_BLOCKED, device=device, topic=shown, reason=reason, seconds=seconds)

    def unblocked(self, devices: Sequence[str], still: int) -> None:
        """The time of some devices is over; some are still kept out."""
        self._metrics.devices_blocked.set(still)
        for device in devices:
            self._log.emit(events.DEVICE_UNBLOCKED, device=device, by="time")

    def turned_away(self, bound: str) -> None:
        """A bound of the house is reached; said once until there is room again."""
        self._metrics.connections_refused.labels("limit").inc()
        if not self._is_at_limit:
            self._is_at_limit = True
            self._log.emit(events.CONNECTIONS_FULL, limit=bound)

    def has_room(self, limit: str) -> None:
        """There is room; said once after a bound was reached."""
        if self._is_at_limit:
            self._is_at_limit = False
            self._log.emit(events.CONNECTIONS_FREE, limit=limit)

    def unsaved(self, error: Exception) -> None:
        """Sessions could not be written; said once until they can."""
        if not self._is_failing:
            self._is_failing = True
            self._log.emit(events.STORE_FAILED, error=str(error))

    def saved(self) -> None:
        """Sessions were written."""
        self._is_failing = False

    def show(self, counts: Counts, connections: int) -> None:
        """Bring the metrics up to date."""
        metrics, shown = self._metrics, self._shown
        metrics.connections.set(connections)
        metrics.messages_out.inc(counts.sent - shown.sent)
        metrics.dropped.labels("queue-full").inc(counts.full - shown.full)
        metrics.dropped.labels("expired").inc(counts.expired - shown.expired)
        metrics.dropped.labels("too-large").inc(counts.too_large - shown.too_large)
        self._shown = msgspec.structs.replace(counts)
