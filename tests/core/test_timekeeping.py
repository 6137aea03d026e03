"""The law of time: who is believed, what holdover costs, and that the worse word counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.timekeeping import (
    HOLDOVER_DRIFT_PPM,
    LIMIT_MS,
    UNKNOWN_ERROR_MS,
    Authentication,
    Demands,
    Judge,
    Judgement,
    KernelClock,
    Report,
    is_beyond,
    weakest,
)

KEPT = KernelClock(disciplined=True, offset_ms=0, error_ms=1)
LOOSE = KernelClock(disciplined=False, offset_ms=0, error_ms=16_000)
REPORT = Report("chrony", "192.0.2.7", "nts", -3, 12, "normal", "1")
STRICT = Demands(is_authenticated=True)
NOBODY = Judgement("unsynchronised", 0, UNKNOWN_ERROR_MS)


class Hands:
    """A judge, and the clocks that a test sets."""

    def __init__(self, demands: Demands = STRICT) -> None:
        """Begin 1,000 s after boot."""
        self.judge = Judge(demands)
        self.mono_ms, self.base_ms = 1_000_000, 1_700_000_000_000

    def hear(self, report: Report | None) -> None:
        """Take a service's word."""
        self.judge.follow(report, mono_ms=self.mono_ms, base_ms=self.base_ms)

    def ask(self, kernel: KernelClock | None = KEPT) -> Judgement:
        """Judge this moment."""
        return self.judge.judge(kernel, mono_ms=self.mono_ms, base_ms=self.base_ms)


def test_an_authenticated_source_within_the_limit_is_synchronised() -> None:
    """Offset and bound are the service's."""
    hands = Hands()
    hands.hear(REPORT)
    assert hands.ask() == Judgement("synchronised", -3, 12)


@pytest.mark.parametrize(
    ("offset_ms", "state"),
    [
        (0, "synchronised"),
        (500, "synchronised"),
        (-500, "synchronised"),
        (988, "synchronised"),
        (989, "holdover"),
        (1_012, "holdover"),
        (1_013, "unsynchronised"),
        (-1_100, "unsynchronised"),
        (3_500, "unsynchronised"),
        (-3_600_000, "unsynchronised"),
    ],
)
def test_offset_and_bound_together_decide(offset_ms: int, state: str) -> None:
    """Within a second for certain, perhaps, and certainly not."""
    hands = Hands()
    hands.hear(replace(REPORT, offset_ms=offset_ms))
    found = hands.ask()
    assert (found.state, found.offset_ms, found.error_ms) == (state, offset_ms, 12)
    assert is_beyond(found.offset_ms, found.error_ms) == (state != "synchronised")


@pytest.mark.parametrize("authentication", ["none", "symmetric", "nts", "local"])
def test_a_source_without_authentication_vouches_for_nothing_where_that_is_required(
    authentication: Authentication,
) -> None:
    """Whoever can forge it can set our clock: no bound is known, whatever it says."""
    report = replace(REPORT, authentication=authentication)
    hands, lenient = Hands(), Hands(Demands())
    hands.hear(report)
    lenient.hear(report)
    is_refused = authentication == "none"
    assert (hands.ask() == NOBODY._replace(reason="not-authenticated")) == is_refused
    assert lenient.ask().state == "synchronised"


def test_after_a_forged_source_there_is_no_holdover() -> None:
    """It may have pulled wall time away, slowly enough for the boot clock to go along."""
    hands = Hands()
    hands.hear(REPORT)
    assert hands.ask().state == "synchronised"
    hands.hear(replace(REPORT, authentication="none", update="2"))
    assert hands.ask() == NOBODY._replace(reason="not-authenticated")
    hands.hear(None)
    assert hands.ask() == NOBODY._replace(reason="service-silent")


def test_the_kernel_alone_cannot_say_that_time_is_authenticated() -> None:
    """Whoever keeps it is not known; where nobody asks for that, its word counts."""
    assert Hands().ask() == NOBODY._replace(reason="authentication-unknown")
    assert Hands(Demands()).ask() == Judgement("synchronised", 0, 1)
    for kernel in (LOOSE, None):
        assert Hands(Demands()).ask(kernel) == NOBODY._replace(reason="kernel")


@pytest.mark.parametrize("kernel", [LOOSE, None], ids=["loose", "not permitted"])
def test_where_service_and_kernel_disagree_the_worse_counts(kernel: KernelClock | None) -> None:
    """Unless the service may not set the kernel's clock, and it is not asked."""
    hands = Hands()
    hands.hear(REPORT)
    assert hands.ask(kernel) == NOBODY._replace(reason="kernel")
    apart = Hands(replace(STRICT, is_kernel_asked=False))
    apart.hear(REPORT)
    assert apart.ask(kernel) == Judgement("synchronised", -3, 12)


def test_of_two_bounds_the_larger_counts() -> None:
    """The kernel's grows while nobody corrects it."""
    hands = Hands()
    hands.hear(REPORT)
    assert hands.ask(replace(KEPT, error_ms=700)).error_ms == 700
    assert hands.ask(replace(KEPT, error_ms=5_000)) == Judgement("holdover", -3, 5_000, "bound")


@pytest.mark.parametrize(
    ("report", "reason"),
    [(None, "service-silent"), (replace(REPORT, source="", update="2"), "no-source")],
    ids=["service", "source"],
)
def test_what_is_lost_is_held_over_with_a_bound_that_grows(report: Report | None, reason: str) -> None:
    """500 parts per million on top of the last good bound; beyond a second it is still holdover."""
    hands = Hands()
    hands.hear(REPORT)
    hands.ask()
    hands.hear(report)
    assert hands.ask() == Judgement("holdover", -3, 12, reason)
    hands.mono_ms += 3_600_000
    assert hands.ask() == Judgement("holdover", -3, 12 + 3_600 * HOLDOVER_DRIFT_PPM // 1_000, reason)


def test_a_source_that_is_not_measured_any_more_is_lost() -> None:
    """The service still names it, but has nothing new from it."""
    hands = Hands(replace(STRICT, max_age_ms=5_000))
    hands.hear(REPORT)
    hands.mono_ms += 5_000
    hands.hear(REPORT)
    assert hands.ask().state == "synchronised"
    hands.mono_ms += 1
    hands.hear(REPORT)
    assert hands.ask().reason == "source-silent"
    hands.hear(replace(REPORT, update="2"))
    assert hands.ask().state == "synchronised"


@pytest.mark.parametrize("step_ms", [-3_600_000, 3_600_000, 1_100, -1_100])
def test_a_step_counts_at_once_until_the_service_has_measured_again(step_ms: int) -> None:
    """The next measurement may be minutes away; that wall time was stepped is certain now."""
    hands = Hands()
    hands.hear(REPORT)
    assert hands.ask().state == "synchronised"
    hands.base_ms += step_ms
    hands.hear(REPORT)
    assert hands.ask() == Judgement("unsynchronised", -3 - step_ms, 12, "offset")
    hands.hear(replace(REPORT, update="2"))
    assert hands.ask() == Judgement("synchronised", -3, 12)


def test_a_step_in_holdover_is_an_offset() -> None:
    """An hour back, an hour slow; put right again, it is holdover as before."""
    hands = Hands()
    hands.hear(REPORT)
    hands.ask()
    hands.hear(None)
    hands.base_ms -= 3_600_000
    assert hands.ask() == Judgement("unsynchronised", 3_600_000 - 3, 12, "service-silent")
    hands.base_ms += 3_600_000
    assert hands.ask() == Judgement("holdover", -3, 12, "service-silent")


def test_two_clocks_read_one_after_the_other_are_no_step() -> None:
    """A few milliseconds between them are of no account."""
    hands = Hands()
    hands.hear(REPORT)
    hands.base_ms += 5
    assert hands.ask().offset_ms == -3
    hands.base_ms += 1
    assert hands.ask().offset_ms == -9


def test_a_clock_that_was_off_for_certain_is_not_held_over() -> None:
    """There is no good moment to go back to."""
    hands = Hands()
    hands.hear(REPORT)
    hands.ask()
    hands.hear(replace(REPORT, offset_ms=5_000, update="2"))
    assert hands.ask().state == "unsynchronised"
    hands.hear(None)
    assert hands.ask() == NOBODY._replace(reason="service-silent")


def test_of_several_sources_the_weakest_authentication_counts() -> None:
    """They are combined: one that is forged moves the whole."""
    assert weakest(("nts", "none", "local")) == "none"
    assert weakest(("local", "nts", "symmetric")) == "symmetric"
    assert weakest(("local", "nts")) == "nts"
    assert weakest(()) == "none"


_REPORTS = st.none() | st.builds(
    Report,
    service=st.just("chrony"),
    source=st.sampled_from(["", "192.0.2.7"]),
    authentication=st.sampled_from(["none", "symmetric", "nts", "local"]),
    offset_ms=st.integers(-5_000, 5_000),
    error_ms=st.integers(0, 5_000),
    leap=st.just("normal"),
    update=st.sampled_from(["1", "2", "3"]),
)
_KERNELS = st.none() | st.builds(
    KernelClock, disciplined=st.booleans(), offset_ms=st.integers(-10, 10), error_ms=st.integers(0, 3_000)
)


@given(
    st.lists(st.tuples(_REPORTS, _KERNELS, st.integers(0, 10_000_000), st.integers(-5_000, 5_000))),
    st.booleans(),
)
def test_synchronised_is_never_said_of_time_that_nobody_vouches_for(
    course: list[tuple[Report | None, KernelClock | None, int, int]], is_authenticated: bool
) -> None:
    """Whatever came before: it needs an accepted source, a kernel that agrees, and a sum within the limit."""
    hands = Hands(Demands(is_authenticated=is_authenticated))
    for report, kernel, passed_ms, step_ms in course:
        hands.mono_ms += passed_ms
        hands.base_ms += step_ms
        hands.hear(report)
        found = hands.ask(kernel)
        assert found.error_ms >= 0
        if found.state == "synchronised":
            assert report is not None
            assert report.source
            assert kernel is not None
            assert kernel.disciplined
            assert report.authentication != "none" or not is_authenticated
            assert abs(found.offset_ms) + found.error_ms <= LIMIT_MS
            assert found.reason == ""
        else:
            assert found.reason
