"""Shows how timestamps stand: reads in the gateway's own process what the uplink has written down."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.errors import UnavailableError
from coldseal.gateway.uplink.tokens import TimestampStatus, Tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coldseal.observe.metrics import GatewayMetrics


class TimestampGauges:
    """Brings the metrics of timestamps up to date.

    Args:
        metrics: the gauges.
        directory: the gateway's data folder.
        key: the store key.
        accepted_at: gives when an entry was accepted, Unix milliseconds, by its seq.
    """

    def __init__(
        self, metrics: GatewayMetrics, directory: Path, key: bytes, accepted_at: Callable[[int], int]
    ) -> None:
        """Take the parts; nothing is read yet."""
        self._metrics, self._directory, self._key = metrics, directory, key
        self._accepted_at = accepted_at
        self._tokens: Tokens | None = None
        self._status = TimestampStatus()

    def refresh(self, now_ms: int) -> None:
        """Set the gauge and count what came since the last time."""
        try:
            if self._tokens is None:
                self._tokens = Tokens(self._directory, self._key, readonly=True)
            status = self._tokens.status()
        except UnavailableError:  # not made yet
            return
        before, self._status = self._status, status
        self._metrics.timestamps.inc(max(0, status.kept - before.kept))
        for cause, count in status.failed.items():
            new = count - before.failed.get(cause, 0)
            self._metrics.timestamp_failures.labels(cause).inc(max(0, new))
        waiting_s = max(0, now_ms - self._accepted_at(status.waiting - 1)) / 1000 if status.waiting else 0.0
        self._metrics.timestamp_waiting_seconds.set(waiting_s)
