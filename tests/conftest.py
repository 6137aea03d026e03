"""What every test shares: Hypothesis profiles, and the rule that CI skips nothing.

A test that cannot run on a developer's machine may skip with its reason. Under ``CI=true``
the same skip is a failure: a part that is missing there would turn the suite falsely green.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Generator

import pytest
from hypothesis import HealthCheck, settings

from coldseal.observe import logs

_CI = os.environ.get("CI") == "true"

# The machine is shared with servers under test and other runs: how long one example takes, or how long
# it takes to draw one, measures the neighbours.
_PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", _PATIENT, max_examples=60)
settings.register_profile("ci", _PATIENT, max_examples=200, print_blob=True)
settings.register_profile("soak", _PATIENT, max_examples=5_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if _CI else "quick"))


@pytest.fixture(autouse=True)
def _log_lines_go_to_stderr() -> Generator[None]:
    """Put back, after each test, where log lines go."""
    yield
    logs._output.stream, logs._output.is_readable, logs._output.least = None, False, logging.INFO


@pytest.fixture
def lines() -> io.StringIO:
    """Catch log lines, each a JSON object."""
    stream = io.StringIO()
    logs.configure(stream=stream, is_readable=False)
    return stream


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Under CI a skipped test fails, and says why it would have been skipped."""
    del item, call
    report = yield
    if _CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {_reason(report)}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Under CI a module that skips itself while it is collected fails too."""
    del collector
    report = yield
    if _CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {_reason(report)}"
    return report


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    """Return the reason that the skip gave."""
    match report.longrepr:
        case (_, _, str(reason)):
            return reason.removeprefix("Skipped: ")
        case other:
            return str(other)
