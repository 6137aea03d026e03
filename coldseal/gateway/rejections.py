"""Makes the ``rejected`` entries: what was not taken, from whom, and why.

Promise: every message that a device was told is not taken stands in the log, by its hash at least; a
flood of them as one entry that counts. Says so in the program's log too, once a minute for each device.
Does not decide what is rejected and answers nobody.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final

from coldseal.core.log import canonical
from coldseal.core.topics import BLOCKED, NOT_REGISTERED, SUBSCRIBE, WILL
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.core.floods import Floods
    from coldseal.gateway.clock import Stamp
    from coldseal.gateway.message import Message
    from coldseal.gateway.store.drafts import Draft
    from coldseal.gateway.store.journal import Journal
    from coldseal.observe.metrics import GatewayMetrics

PAYLOAD_KEPT: Final = 256
"""A rejected payload of up to this many bytes is kept whole; of a larger one, its hash."""

UNKNOWN_SCHEMA: Final = "schema"
"""Reason of a payload whose schema is not known, or not that of its channel: it can be read again later."""

PARKED: Final = 8192
"""A payload that is rejected for that reason is kept whole up to so many bytes."""

TOPIC_KEPT: Final = 256
DETAIL_KEPT: Final = 300
QUIET_MS: Final = 60_000
"""Least time between two lines in the program's log about one device."""

_NO_MESSAGE: Final = frozenset((SUBSCRIBE, WILL, NOT_REGISTERED, BLOCKED))
_log = Log("gateway.rejections")


class Rejections:
    """Drafts of rejected entries, bounded for each device.

    Args:
        floods: the bound.
        journal: stamps the drafts.
        metrics: counts them by reason.
    """

    def __init__(self, floods: Floods, journal: Journal, metrics: GatewayMetrics) -> None:
        """Take the parts."""
        self._floods, self._journal, self._metrics = floods, journal, metrics
        self._told_ms: dict[str, int] = {}

    def draft(self, message: Message, digest: str, reason: str, detail: str) -> Draft | None:
        """Make the entry of one rejected message; None where its device floods and it was only counted.

        Args:
            message: what was not taken.
            digest: SHA-256 of its payload, base64.
            reason: the reason's code.
            detail: the reason in words; cut after :data:`DETAIL_KEPT` characters.
        """
        self._metrics.rejected.labels(reason).inc()
        if not self._floods.admits(message.device, digest, now_ms=message.received.mono_ms):
            return None
        self._tell(message, reason, detail)
        src: dict[str, canonical.Value] = {
            "dev": message.device,
            "sha256": digest,
            "topic": message.topic[:TOPIC_KEPT],
        }
        if message.fingerprint:
            src["fp"] = message.fingerprint
        if message.packet_id is not None:
            src["pid"] = message.packet_id
        if len(message.payload) <= (PARKED if reason == UNKNOWN_SCHEMA else PAYLOAD_KEPT):
            src["payload"] = base64.b64encode(message.payload).decode()
        data = canonical.encode({"detail": detail[:DETAIL_KEPT], "reason": reason})
        return self._journal.draft("rejected", data, message.received, canonical.encode(src))

    def _tell(self, message: Message, reason: str, detail: str) -> None:
        """Say it once a minute for each device, so that a technician looks."""
        now_ms = message.received.mono_ms
        if now_ms - self._told_ms.get(message.device, -QUIET_MS) < QUIET_MS:
            return
        self._told_ms[message.device] = now_ms
        topic = message.topic[:TOPIC_KEPT]
        if message.refused in _NO_MESSAGE:
            _log.emit(events.RIGHT_REFUSED, device=message.device, topic=topic, reason=reason)
        elif message.refused:
            _log.emit(events.PUBLISH_REFUSED, device=message.device, topic=topic, reason=reason)
        else:
            _log.emit(
                events.PAYLOAD_REJECTED,
                device=message.device,
                topic=topic,
                reason=reason,
                detail=detail[:DETAIL_KEPT],
            )

    def counted(self, now: Stamp) -> Iterator[Draft]:
        """Make one entry for each device whose rejections were only counted since the last call."""
        for device, count, digest in self._floods.take_counted():
            data: dict[str, canonical.Value] = {
                "count": count,
                "detail": "more than the rate allows single entries for",
                "reason": "rate",
            }
            src: dict[str, canonical.Value] = {"dev": device, "sha256": digest}
            yield self._journal.draft("rejected", canonical.encode(data), now, canonical.encode(src))
