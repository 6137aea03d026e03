"""The metrics of both programs, each declared once with its meaning, in a registry per program.

`docs/reference/metrics.md` is made from these declarations. Nothing here is global.
"""

from coldseal.observe.metrics.gateway import GatewayMetrics
from coldseal.observe.metrics.registry import SHORT_SECONDS, Histogram, Metric, Metrics
from coldseal.observe.metrics.service import ServiceMetrics

__all__ = ["SHORT_SECONDS", "GatewayMetrics", "Histogram", "Metric", "Metrics", "ServiceMetrics"]
