"""The clock: what it stamps, and how far it says that time may be trusted."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.timekeeping import HOLDOVER_DRIFT_PPM, LIMIT_MS
from coldseal.gateway.clock import (
    UNKNOWN_ERROR_MS,
    Clock,
    ClockStatus,
    KernelClock,
    Report,
    Stamp,
    read_boot_id,
    read_kernel_clock,
    render_status,
    render_time,
)

GOOD = KernelClock(disciplined=True, offset_ms=-3, error_ms=12)
LOST = KernelClock(disciplined=False, offset_ms=0, error_ms=16_000)


class Times:
    """A kernel, a wall clock and a boot clock that a test sets."""

    def __init__(self) -> None:
        """Begin synchronised, 1,000 s after boot."""
        self.kernel: KernelClock | None = GOOD
        self.wall_ms = 1_700_000_000_123
        self.mono_ms = 1_000_000
        self.asked = 0

    def clock(self) -> Clock:
        """Make a clock that reads these times."""
        return Clock(
            kernel=self._ask,
            wall_ns=lambda: self.wall_ms * 1_000_000 + 999_999,
            boot_ns=lambda: self.mono_ms * 1_000_000 + 999_999,
            boot="0badcafe",
        )

    def _ask(self) -> KernelClock | None:
        """Count the questions."""
        self.asked += 1
        return self.kernel


def test_a_stamp_carries_wall_time_and_boot_time_in_whole_milliseconds() -> None:
    """Parts of a millisecond are cut, never rounded up into the future."""
    assert Times().clock().now() == Stamp(1_700_000_000_123, 1_000_000)


def test_wall_time_is_recorded_as_it_is_even_when_it_steps_back() -> None:
    """Order comes from the sequence and the boot clock; wall time is not bent."""
    times = Times()
    clock = times.clock()
    first = clock.now()
    times.wall_ms -= 3_600_000
    times.mono_ms += 5
    second = clock.now()
    assert second.t_ms == first.t_ms - 3_600_000
    assert second.mono_ms == first.mono_ms + 5


def test_a_disciplined_clock_within_the_limit_is_synchronised() -> None:
    """Offset and bound are the kernel's."""
    assert Times().clock().status() == ClockStatus("synchronised", -3, 12, "0badcafe")


@pytest.mark.parametrize(
    ("error_ms", "state"),
    [(LIMIT_MS - 3, "synchronised"), (LIMIT_MS - 2, "holdover")],
)
def test_a_disciplined_clock_beyond_the_limit_is_in_holdover(error_ms: int, state: str) -> None:
    """The kernel's bound grows while nobody corrects it; with the offset beyond a second it is void."""
    times = Times()
    times.kernel = replace(GOOD, error_ms=error_ms)
    status = times.clock().status()
    assert (status.state, status.error_ms) == (state, error_ms)


def test_holdover_bound_grows_with_the_time_since_the_last_discipline() -> None:
    """500 parts per million: 1.8 s in an hour, on top of the last known bound."""
    times = Times()
    clock = times.clock()
    clock.status()
    times.kernel = LOST
    times.mono_ms += 3_600_000
    times.wall_ms += 3_600_000
    grown = 3_600_000 * HOLDOVER_DRIFT_PPM // 1_000_000
    assert clock.status() == ClockStatus("holdover", -3, 12 + grown, "0badcafe", "kernel")


def test_a_step_in_holdover_is_an_offset_and_no_holdover_any_more() -> None:
    """Nobody vouches for time, but that it was put back by an hour is certain."""
    times = Times()
    clock = times.clock()
    clock.status()
    times.kernel = LOST
    times.mono_ms += 1_000
    times.wall_ms += 1_000 - 3_600_000
    assert clock.status() == ClockStatus("unsynchronised", 3_600_000 - 3, 12, "0badcafe", "kernel")
    assert clock.doubts == ("clock",)


def test_readings_are_doubted_exactly_while_time_may_be_off_by_more_than_a_second() -> None:
    """What the `tq` of the same moment says."""
    times = Times()
    clock = times.clock()
    for error_ms, doubts in ((12, ()), (997, ()), (998, ("clock",)), (12, ())):
        times.kernel = replace(GOOD, error_ms=error_ms)
        times.mono_ms += 1_000
        clock.tq_bytes(clock.now())
        assert clock.doubts == doubts


def test_the_word_of_a_time_service_counts_at_once_and_so_does_its_silence() -> None:
    """The status that was kept for a second is void."""
    times = Times()
    clock = times.clock()
    assert clock.status().state == "synchronised"
    assert clock.provenance == {}
    clock.follow(Report("chrony", "192.0.2.7", "nts", 3_500, 2, "normal", "1"))
    assert clock.status() == ClockStatus("unsynchronised", 3_500, 12, "0badcafe", "offset")
    assert clock.provenance == {"auth": "nts", "service": "chrony", "source": "192.0.2.7"}
    clock.follow(None)
    assert clock.status().reason == "service-silent"
    assert clock.provenance == {"auth": "none", "service": "", "source": ""}
    assert clock.report is None


@pytest.mark.parametrize("kernel", [None, LOST])
def test_a_clock_never_seen_disciplined_is_unsynchronised_and_says_that_no_bound_is_known(
    kernel: KernelClock | None,
) -> None:
    """The same whether the kernel says so or may not be asked."""
    times = Times()
    times.kernel = kernel
    assert times.clock().status() == ClockStatus("unsynchronised", 0, UNKNOWN_ERROR_MS, "0badcafe", "kernel")


def test_a_clock_that_becomes_disciplined_is_synchronised_again() -> None:
    """Within the second in which the status is kept."""
    times = Times()
    times.kernel = LOST
    clock = times.clock()
    assert clock.status().state == "unsynchronised"
    times.kernel = GOOD
    times.mono_ms += 999
    assert clock.status().state == "unsynchronised"
    times.mono_ms += 1
    assert clock.status().state == "synchronised"


def test_the_kernel_is_asked_at_most_once_a_second() -> None:
    """However many readings are stamped."""
    times = Times()
    clock = times.clock()
    for _ in range(100):
        times.mono_ms += 15
        clock.tq_bytes(clock.now())
        clock.status()
    assert times.asked == 2


@given(
    offset=st.integers(-(10**6), 10**6),
    error=st.integers(0, 10**6),
    mono=st.integers(0, 10**12),
    disciplined=st.booleans(),
)
def test_tq_bytes_are_canonical_and_say_what_the_status_says(
    offset: int, error: int, mono: int, *, disciplined: bool
) -> None:
    """They go into the signed body as they are."""
    times = Times()
    times.kernel = KernelClock(disciplined=disciplined, offset_ms=offset, error_ms=error)
    clock = times.clock()
    rendered = clock.tq_bytes(Stamp(0, mono))
    found = canonical.parse(rendered, where="tq")
    status = clock._status
    assert status is not None
    assert found == {
        "boot": "0badcafe",
        "err": status.error_ms,
        "mono": mono,
        "off": status.offset_ms,
        "s": status.state,
    }


def test_tq_bytes_of_an_older_stamp_do_not_read_the_kernel_again() -> None:
    """A group is rendered after its messages were stamped."""
    times = Times()
    clock = times.clock()
    clock.tq_bytes(Stamp(0, 1_000_500))
    assert b'"mono":1000400,' in clock.tq_bytes(Stamp(0, 1_000_400))
    assert times.asked == 1


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_rendered_time_reads_back_to_the_same_millisecond(t_ms: int) -> None:
    """Every millisecond of the years 1 to 9999."""
    text = render_time(t_ms)
    assert text.endswith("Z")
    assert len(text) == len("2023-11-14T22:13:20.123Z")
    moment = datetime.fromisoformat(text)
    assert (moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 == pytest.approx(t_ms, abs=0.5)


def test_rendered_time_is_utc_whatever_the_machine_s_zone() -> None:
    """A known moment, beside what another library says of it."""
    assert render_time(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
    local = datetime.fromtimestamp(1_700_000_000, ZoneInfo("UTC"))
    assert render_time(1_700_000_000_000).startswith(local.strftime("%Y-%m-%dT%H:%M:%S"))


def test_a_status_in_words_never_claims_a_bound_that_is_not_known() -> None:
    """For a person who asks the gateway."""
    status = ClockStatus("holdover", 0, 1_500, "0badcafe")
    assert render_status(status) == "holdover, error at most 1500 ms"
    unknown = ClockStatus("unsynchronised", 0, UNKNOWN_ERROR_MS, "0badcafe")
    assert render_status(unknown) == "unsynchronised, error not known"
    off = ClockStatus("unsynchronised", -3_500, 20, "0badcafe")
    assert render_status(off) == "unsynchronised, off by -3500 ms, error at most 20 ms"


def test_the_real_clock_moves_forward_and_names_this_boot() -> None:
    """With the machine's own sources."""
    clock = Clock()
    first, second = clock.now(), clock.now()
    assert first.mono_ms <= second.mono_ms
    assert clock.status().boot == read_boot_id()
    assert abs(first.t_ms / 1000 - datetime.now(UTC).timestamp()) < 60  # noqa: TID251 # the other way to ask


def test_boot_id_is_eight_hex_digits(tmp_path: Path) -> None:
    """The first of the kernel's."""
    file = tmp_path / "boot_id"
    file.write_text("a1b2c3d4-0000-0000-0000-000000000000\n", encoding="ascii")
    assert read_boot_id(file) == "a1b2c3d4"


def test_boot_id_is_zeros_where_the_kernel_shows_none(tmp_path: Path) -> None:
    """Such as on a system without that file; the log still has a value of the right form."""
    assert read_boot_id(tmp_path / "absent") == "00000000"


class _Library:
    """A C library whose `adjtimex` answers as told."""

    def __init__(self, answer: int, status: int = 0, offset: int = 0, maxerror: int = 0) -> None:
        """Take what the call gives and what it fills in."""
        self._answer, self._fields = answer, (status, offset, maxerror)

    def adjtimex(self, reference: object) -> int:
        """Fill the structure behind the reference."""
        timex = reference._obj  # type: ignore[attr-defined] # ctypes keeps it there
        timex.status, timex.offset, timex.maxerror = self._fields
        return self._answer


@pytest.mark.parametrize(
    ("library", "expected"),
    [
        (_Library(-1), None),
        (object(), None),
        (_Library(0, 0x0001, 2_500, 1_500), KernelClock(disciplined=True, offset_ms=2, error_ms=2)),
        (_Library(0, 0x2001, 2_600_000, 1_000), KernelClock(disciplined=True, offset_ms=3, error_ms=1)),
        (_Library(5, 0x0040, 0, 16_000_000), KernelClock(disciplined=False, offset_ms=0, error_ms=16_000)),
    ],
    ids=["not permitted", "no such call", "microseconds", "nanoseconds", "unsynchronised"],
)
def test_the_kernel_s_answer_is_read_in_its_units(
    monkeypatch: pytest.MonkeyPatch, library: object, expected: KernelClock | None
) -> None:
    """Offsets come in micro- or nanoseconds by a status bit; a bound is rounded up, never down."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_args, **_options: library)
    assert read_kernel_clock() == expected


def test_the_real_kernel_is_asked_without_harm() -> None:
    """It answers, or says that this process may not ask."""
    found = read_kernel_clock()
    assert found is None or found.error_ms >= 0
