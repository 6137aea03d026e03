"""Metrics: declared once, readable by Prometheus' own parser, right for whole groups."""

from __future__ import annotations

import math
import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client import Histogram as ReferenceHistogram
from prometheus_client.parser import text_string_to_metric_families

from coldseal.observe.metrics import (
    SHORT_SECONDS,
    GatewayMetrics,
    Histogram,
    Metrics,
    ServiceMetrics,
)

PROGRAMS = [GatewayMetrics, ServiceMetrics]
Program = type[GatewayMetrics | ServiceMetrics]


def values(metrics: Metrics) -> dict[tuple[str, str], float]:
    """Parse what is shown: value by name and label value."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {
        (each.name, "".join(each.labels.values())): each.value
        for family in families
        for each in family.samples
    }


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_that_is_declared_is_shown_and_nothing_else(program: Program) -> None:
    """By name and kind, with its meaning."""
    metrics = program()
    shown = text_string_to_metric_families(metrics.render().decode())
    families = {each.name: each for each in shown}
    declared = {metric.name: metric for metric in metrics.catalogue}
    assert families.keys() == declared.keys()
    for name, metric in declared.items():
        assert (families[name].type, families[name].documentation) == (metric.kind, metric.meaning)


@pytest.mark.parametrize("program", PROGRAMS)
def test_names_say_program_and_unit(program: Program) -> None:
    """As Prometheus' naming rules ask for; no name twice."""
    catalogue = program().catalogue
    assert [name for name, count in Counter(each.name for each in catalogue).items() if count > 1] == []
    for metric in catalogue:
        assert re.fullmatch(r"coldseal_(gateway|service)(_[a-z]+)+", metric.name)
        assert not metric.name.endswith("_total")
        if metric.kind == "histogram":
            assert metric.name.endswith(("_seconds", "_entries"))


def test_known_label_values_are_shown_as_zero_from_the_start() -> None:
    """So that an alarm on a rate works the first time it is needed."""
    shown = values(GatewayMetrics())
    for outcome in ("sealed", "duplicate", "rejected", "refused", "busy"):
        assert shown["coldseal_gateway_messages_total", outcome] == 0


def test_a_group_is_counted_with_one_call_each() -> None:
    """Counts, sizes and latencies."""
    metrics = GatewayMetrics()
    metrics.messages.labels("sealed").inc(64)
    metrics.commit_entries.observe(64)
    metrics.puback_seconds.observe(0.003, 2)
    metrics.puback_seconds.observe(20.0)
    metrics.backlog_seconds.set_function(lambda: 7.5)
    shown = values(metrics)
    assert shown["coldseal_gateway_messages_total", "sealed"] == 64
    assert shown["coldseal_gateway_commit_entries_bucket", "64.0"] == 1
    assert shown["coldseal_gateway_commit_entries_bucket", "16.0"] == 0
    assert shown["coldseal_gateway_puback_seconds_count", ""] == 3
    assert shown["coldseal_gateway_puback_seconds_bucket", "+Inf"] == 3
    assert shown["coldseal_gateway_puback_seconds_bucket", "10.0"] == 2
    assert shown["coldseal_gateway_backlog_seconds", ""] == 7.5


def test_two_programs_in_one_process_do_not_share_a_registry() -> None:
    """As in the tests and the demo."""
    first, second = GatewayMetrics(), GatewayMetrics()
    first.pending.set(3)
    assert values(second)["coldseal_gateway_pending", ""] == 0


@given(st.lists(st.floats(0, 20) | st.sampled_from(SHORT_SECONDS), max_size=30), st.integers(1, 5))
def test_our_histogram_shows_what_the_library_s_own_would(found: list[float], times: int) -> None:
    """A value counted several times is as good as several values."""
    registries = [CollectorRegistry() for _ in range(2)]
    reference = ReferenceHistogram("x_seconds", "x", buckets=SHORT_SECONDS, registry=registries[0])
    counted = Histogram("x_seconds", "x", SHORT_SECONDS)
    registries[1].register(counted)
    for value in found:
        counted.observe(value, times)
        for _ in range(times):
            reference.observe(value)
    for bound in ("0.0005", "0.1", "10.0", "+Inf"):
        buckets = [each.get_sample_value("x_seconds_bucket", {"le": bound}) for each in registries]
        assert buckets[0] == buckets[1]
    sums = [each.get_sample_value("x_seconds_sum") or 0.0 for each in registries]
    assert math.isclose(sums[0], sums[1], abs_tol=1e-9)
