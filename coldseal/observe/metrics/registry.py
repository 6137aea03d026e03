"""What a metric is, and the registry of one program.

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

    def counter(self, name: str, meaning: str, label: str = "", values: tuple[str, ...] = ()) -> Counter:
        """Declare a counter; known values of its label are shown from the start."""
        metric = self._declare(name, "counter", meaning, label, values)
        counter = Counter(metric.name, meaning, (label,) if label else (), registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def gauge(self, name: str, meaning: str, label: str = "") -> Gauge:
        """Declare a gauge."""
        metric = self._declare(name, "gauge", meaning, label)
        return Gauge(metric.name, meaning, (label,) if label else (), registry=self.registry)

    def histogram(self, name: str, meaning: str, bounds: tuple[float, ...]) -> Histogram:
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
