"""The metrics of both programs, each declared once with its meaning, in a registry per program.

`docs/reference/metrics.md` is made from these declarations. Updates are made for groups: a counter
takes a count, a histogram a value and how often it was found. A gauge that is an age is best computed when it
is read (`set_function`). Nothing here is global.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Final, Literal

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Iterator

disable_created_metrics()  # type: ignore[no-untyped-call] # untyped there; a second series nobody asks for

SHORT_SECONDS: Final = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Buckets for what should take milliseconds."""
LONG_SECONDS: Final = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0, 604800.0)
"""Buckets for what an outage may stretch to days."""
SIZES: Final = (1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0)
"""Buckets for the number of entries in a group."""


@dataclass(frozen=True, slots=True)
class Metric:
    """The declaration of one metric.

    Args:
        name: with its unit; a counter is shown with ``_total`` behind it.
        kind: counter, gauge or histogram.
        meaning: what it counts or measures.
        label: name of its label, or empty.
        values: the label's values that are shown from the start, as 0.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    label: str = ""
    values: tuple[str, ...] = ()


class Histogram(Collector):
    """A histogram that takes all equal values of a group in one call.

    Args:
        name: with its unit.
        meaning: what it measures.
        bounds: upper bounds of its buckets, rising.
    """

    def __init__(self, name: str, meaning: str, bounds: tuple[float, ...]) -> None:
        """Start with empty buckets."""
        self._name, self._meaning, self._bounds = name, meaning, bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float, count: int = 1) -> None:
        """Count ``value``, ``count`` times."""
        self._counts[bisect_left(self._bounds, value)] += count
        self._sum += value * count

    @override
    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Show the state; called by the registry."""
        bounds = [*(str(bound) for bound in self._bounds), "+Inf"]
        running = [float(count) for count in accumulate(self._counts)]
        buckets = list(zip(bounds, running, strict=True))
        yield HistogramMetricFamily(self._name, self._meaning, buckets=buckets, sum_value=self._sum)


class Metrics:
    """The registry of one program; a labelled metric is reached by ``.labels(value)``.

    Args:
        program: ``gateway`` or ``service``, part of every name.
    """

    def __init__(self, program: str) -> None:
        """Start with nothing declared."""
        self.registry = CollectorRegistry()
        self.catalogue: list[Metric] = []
        self._prefix = f"coldseal_{program}_"

    def render(self) -> bytes:
        """Render all metrics in the Prometheus text format."""
        return generate_latest(self.registry)

    def _counter(self, name: str, meaning: str, label: str = "", values: tuple[str, ...] = ()) -> Counter:
        """Declare a counter; known values of its label are shown from the start."""
        metric = self._declare(name, "counter", meaning, label, values)
        counter = Counter(metric.name, meaning, (label,) if label else (), registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def _gauge(self, name: str, meaning: str, label: str = "") -> Gauge:
        """Declare a gauge."""
        metric = self._declare(name, "gauge", meaning, label)
        return Gauge(metric.name, meaning, (label,) if label else (), registry=self.registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...]) -> Histogram:
        """Declare a histogram."""
        histogram = Histogram(self._declare(name, "histogram", meaning).name, meaning, bounds)
        self.registry.register(histogram)
        return histogram

    def _declare(
        self,
        name: str,
        kind: Literal["counter", "gauge", "histogram"],
        meaning: str,
        label: str = "",
        values: tuple[str, ...] = (),
    ) -> Metric:
        """Keep the declaration for the documentation."""
        metric = Metric(self._prefix + name, kind, meaning, label, values)
        self.catalogue.append(metric)
        return metric


class GatewayMetrics(Metrics):
    """What a gateway shows."""

    def __init__(self) -> None:
        """Declare all of them."""
        super().__init__("gateway")
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        outcomes = ("sealed", "duplicate", "rejected", "refused", "busy")
        self.messages = counter("messages", "messages in, by what became of them", "outcome", outcomes)
        self.rejected = counter("rejected", "messages sealed as rejected, by reason", "reason")
        self.pending = gauge("pending", "messages that wait for their commit")
        self.puback_seconds = histogram(
            "puback_seconds", "from a message's last byte to its acknowledgement", SHORT_SECONDS
        )
        self.commit_seconds = histogram("commit_seconds", "duration of a commit", SHORT_SECONDS)
        self.commit_entries = histogram("commit_entries", "entries in a commit", SIZES)

        causes = ("identity", "limit", "timeout", "protocol", "slow")
        reasons = ("queue-full", "expired", "too-large")
        self.connections = gauge("connections", "open device connections")
        self.connections_refused = counter(
            "connections_refused", "connections turned away or cut, by reason", "reason", causes
        )
        self.messages_out = counter("messages_out", "messages sent to subscribers")
        self.dropped = counter(
            "dropped", "outgoing messages given up, by reason; never a reading taken in", "reason", reasons
        )

        self.log_entries = gauge("log_entries", "entries in the log")
        self.checkpoint_age_seconds = gauge("checkpoint_age_seconds", "time since the last checkpoint")
        self.store_bytes = gauge("store_bytes", "size of the store on disk")
        self.store_limit_bytes = gauge("store_limit_bytes", "its limit, at which nothing is acknowledged")
        self.store_damaged = gauge("store_damaged", "1 once damage of the log was found")
        self.scrubbed_entries = gauge("scrubbed_entries", "entries found sound when all was read again")
        self.scrubbed_at = gauge("scrubbed_timestamp_seconds", "when that ended, Unix time; 0 if never")
        self.store_days_left = gauge(
            "store_days_left", "days until the store is full at the rate of the last hours; NaN: unknown"
        )
        self.store_days_left.set(float("nan"))
        self.store_packed_entries = gauge("store_packed_entries", "entries in packed segments")
        self.store_packed_bytes = gauge("store_packed_bytes", "size of these segments on disk")
        self.memory_bytes = gauge("memory_bytes", "memory of all the gateway's processes")

        self._declare_uplink()

        self.clock_offset_seconds = gauge("clock_offset_seconds", "true time minus ours, as far as known")
        self.clock_synchronised = gauge("clock_synchronised", "1 when wall time is synchronised, else 0")
        self.certificate_expiry_seconds = gauge(
            "certificate_expiry_seconds", "life left, by certificate", "certificate"
        )

    def _declare_uplink(self) -> None:
        """Declare what tells of receipts, witnesses and timestamps."""
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        failures = ("unreachable", "timeout", "busy", "refused")
        self.published_entries = gauge("published_entries", "entries that have a receipt")
        self.backlog_entries = gauge("backlog_entries", "entries without a receipt")
        self.backlog_bytes = gauge("backlog_bytes", "bytes of the entries without a receipt")
        self.backlog_seconds = gauge("backlog_seconds", "age of the oldest entry without a receipt")
        self.receipt_age_seconds = gauge("receipt_age_seconds", "time since the last receipt")
        self.receipt_seconds = histogram(
            "receipt_seconds", "end to end: from accepting a message to the receipt over it", LONG_SECONDS
        )
        self.uplink_up = gauge("uplink_up", "1 when the service answered last time, else 0")
        self.uplink_failures = counter(
            "uplink_failures", "batches without a receipt, by cause", "cause", failures
        )

        self.unwitnessed_entries = gauge(
            "unwitnessed_entries", "entries that not enough witnesses (witness.quorum) have cosigned"
        )
        self.unwitnessed_seconds = gauge("unwitnessed_seconds", "age of the oldest of these entries")
        self.witness_up = gauge(
            "witness_up", "1 when this further witness cosigned last time, else 0", "witness"
        )
        self.witness_evidence = gauge(
            "witness_evidence", "proofs of fault kept against witnesses and service, by verdict", "verdict"
        )

        self.timestamps = counter("timestamps", "RFC 3161 timestamps kept")
        self.timestamp_failures = counter(
            "timestamp_failures",
            "timestamps asked for and not kept, by cause",
            "cause",
            (*failures, "bad", "store"),
        )
        self.timestamp_waiting_seconds = gauge(
            "timestamp_waiting_seconds", "age of the oldest end of a segment without a timestamp; 0: none"
        )


class ServiceMetrics(Metrics):
    """What the service shows."""

    def __init__(self) -> None:
        """Declare all of them."""
        super().__init__("service")
        counter, gauge, histogram = self._counter, self._gauge, self._histogram
        results = ("stored", "repeated", "refused")
        self.batches = counter("batches", "batches by result; `repeated`: nothing new", "result", results)
        self.entries = counter("entries", "entries stored")
        self.refused = counter("refused", "batches refused, by error", "error")
        self.evidence = counter("evidence", "proofs of fault kept, by error", "error")
        self.ingest_seconds = histogram(
            "ingest_seconds", "from a batch's last byte to its receipt", SHORT_SECONDS
        )
        self.verified = counter("verified", "entries whose own signature was checked and holds")
        self.refuted = counter("refuted", "entries whose own signature is wrong")
        self.verify_backlog_entries = gauge(
            "verify_backlog_entries", "entries whose own signature is still to be checked"
        )
        noticed = ("announced", "repeated", "confirmed", "refused", "forked")
        self.notices = counter(
            "notices", "urgent entries told ahead of their order, by what became of them", "result", noticed
        )
        statuses = ("200", "400", "403", "404", "409", "422", "503")
        self.checkpoints = counter(
            "checkpoints", "checkpoints posted to be cosigned, by status", "status", statuses
        )
        self.logs = gauge("logs", "admitted logs")
        self.witnessed_logs = gauge("witnessed_logs", "logs that are only witnessed")
        self.succeeded_logs = gauge("succeeded_logs", "logs that go on under another origin")
        self.connections = gauge("connections", "open connections")
        self.store_bytes = gauge("store_bytes", "size of the ledger on disk")
        self.store_limit_bytes = gauge("store_limit_bytes", "its limit, at which batches are put off")
        self.certificate_expiry_seconds = gauge(
            "certificate_expiry_seconds", "life left, by certificate", "certificate"
        )
