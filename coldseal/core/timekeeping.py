"""How far wall time may be trusted, from what the kernel and a time service say of it: one judgement, pure.

Promise: time counts as synchronised only while somebody whose word is accepted puts it within the limit;
where two speak, the worse counts. What nobody vouches for any more is held over with a bound that grows, and
a step of wall time meanwhile is reckoned in. A source without a required authentication vouches for nothing.
Reads no clock and asks nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

State = Literal["synchronised", "holdover", "unsynchronised"]
Authentication = Literal["nts", "symmetric", "local", "none"]
"""How a time service knows its source: NTS, a shared key, a clock of this machine (GNSS receiver), or not."""

LIMIT_MS: Final = 1_000
"""How far wall time may be off and still count as synchronised, in milliseconds."""

UNKNOWN_ERROR_MS: Final = 2**31 - 1
"""The error bound that stands for "no bound is known" (about 25 days), in milliseconds."""

HOLDOVER_DRIFT_PPM: Final = 500
"""How fast an undisciplined clock may run away: the rate by which the kernel grows its bound."""

SAME_BASE_MS: Final = 5
"""Wall time less boot time may differ by so much between two looks: the two are not read at one instant."""

WEAKEST_FIRST: Final[tuple[Authentication, ...]] = ("none", "symmetric", "nts", "local")


@dataclass(frozen=True, slots=True)
class KernelClock:
    """What the kernel says of its clock.

    Attributes:
        disciplined: whether anybody keeps it.
        offset_ms: true time minus ours: plus means that our clock is slow.
        error_ms: the bound of the error.
    """

    disciplined: bool
    offset_ms: int
    error_ms: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a time service says of its measurements.

    Attributes:
        service: its name, ``chrony`` or ``ntpsec``.
        source: whom it follows, address or name of a clock; empty if nobody.
        authentication: the weakest among all sources that it combines.
        offset_ms: true time minus ours, as it measures.
        error_ms: the bound of that.
        leap: the announced leap second: ``normal``, ``insert``, ``delete``; ``alarm`` if it is not set yet.
        update: differs from one measurement to the next.
    """

    service: str
    source: str
    authentication: Authentication
    offset_ms: int
    error_ms: int
    leap: str
    update: str


@dataclass(frozen=True, slots=True)
class Demands:
    """What is asked of time before it counts as synchronised.

    Attributes:
        is_authenticated: its source must be authenticated; what cannot say so is not.
        is_kernel_asked: the kernel must agree with a time service.
        limit_ms: how far wall time may be off.
        max_age_ms: a source that has not been measured for so long is lost.
    """

    is_authenticated: bool = False
    is_kernel_asked: bool = True
    limit_ms: int = LIMIT_MS
    max_age_ms: int = 900_000


class Judgement(NamedTuple):
    """How far wall time may be trusted.

    Attributes:
        state: ``synchronised``; ``holdover``: it was, or its bound is too large; ``unsynchronised``: it is
            off for certain, or nobody can tell.
        offset_ms: true time minus ours, as far as known.
        error_ms: the bound of the error; ``UNKNOWN_ERROR_MS`` where there is none.
        reason: why it is not synchronised; empty where it is.
    """

    state: State
    offset_ms: int
    error_ms: int
    reason: str = ""


class _Good(NamedTuple):
    """The last moment at which time was synchronised."""

    mono_ms: int
    base_ms: int
    offset_ms: int
    error_ms: int


def is_beyond(offset_ms: int, error_ms: int, limit_ms: int = LIMIT_MS) -> bool:
    """Tell whether a time with this offset and bound may be further off than the limit."""
    return abs(offset_ms) + error_ms > limit_ms


def weakest(found: tuple[Authentication, ...]) -> Authentication:
    """Give the weakest of some ways to know a source; none at all is the weakest."""
    return min(found, key=WEAKEST_FIRST.index, default="none")


class Judge:
    """Judges moment after moment, and remembers what it needs for holdover.

    Args:
        demands: what is asked of time.

    Attributes:
        is_watched: a time service is followed: its silence counts as much as its word.
        report: its last word; None while it is silent.
    """

    def __init__(self, demands: Demands) -> None:
        """Know nothing yet."""
        self.demands = demands
        self.is_watched = False
        self.report: Report | None = None
        self._good: _Good | None = None
        self._update = ""
        self._measured: tuple[int, int] = (0, 0)

    def follow(self, report: Report | None, *, mono_ms: int, base_ms: int) -> None:
        """Take a time service's word, or its silence.

        Args:
            report: what it says; None if it does not answer.
            mono_ms: the boot clock.
            base_ms: wall time less the boot clock.
        """
        self.is_watched, self.report = True, report
        if report is not None and report.update != self._update:
            self._update, self._measured = report.update, (mono_ms, base_ms)

    def judge(self, kernel: KernelClock | None, *, mono_ms: int, base_ms: int) -> Judgement:
        """Judge this moment.

        Args:
            kernel: what it says; None where it may not be asked.
            mono_ms: the boot clock.
            base_ms: wall time less the boot clock: what a step changes.
        """
        refusal = self._refusal(kernel, mono_ms)
        if refusal in {"not-authenticated", "authentication-unknown"}:
            self._good = None  # whoever steers may have pulled time away, little by little
            return Judgement("unsynchronised", 0, UNKNOWN_ERROR_MS, refusal)
        if refusal:
            return self._held(refusal, mono_ms, base_ms)
        offset_ms, error_ms = self._measure(kernel, base_ms)
        if not is_beyond(offset_ms, error_ms, self.demands.limit_ms):
            self._good = _Good(mono_ms, base_ms, offset_ms, error_ms)
            return Judgement("synchronised", offset_ms, error_ms)
        if abs(offset_ms) - error_ms > self.demands.limit_ms:
            self._good = None
            return Judgement("unsynchronised", offset_ms, error_ms, "offset")
        return Judgement("holdover", offset_ms, error_ms, "bound")

    def _refusal(self, kernel: KernelClock | None, mono_ms: int) -> str:
        """Say why nobody vouches for time now; empty if somebody does."""
        refusal = self._service_refusal(mono_ms) if self.is_watched else ""
        if refusal:
            return refusal
        is_kept = kernel is not None and kernel.disciplined
        if not is_kept and (self.demands.is_kernel_asked or not self.is_watched):
            return "kernel"
        return "authentication-unknown" if self.demands.is_authenticated and not self.is_watched else ""

    def _service_refusal(self, mono_ms: int) -> str:
        """Say why the time service that is followed does not vouch for time; empty if it does."""
        report = self.report
        if report is None:
            return "service-silent"
        if not report.source:
            return "no-source"
        if self.demands.is_authenticated and report.authentication == "none":
            return "not-authenticated"
        return "source-silent" if mono_ms - self._measured[0] > self.demands.max_age_ms else ""

    def _measure(self, kernel: KernelClock | None, base_ms: int) -> tuple[int, int]:
        """Give offset and bound by those who vouch for them."""
        report = self.report
        if report is None:
            return (kernel.offset_ms, kernel.error_ms) if kernel is not None else (0, UNKNOWN_ERROR_MS)
        offset_ms, error_ms = report.offset_ms - self._stepped(self._measured[1], base_ms), report.error_ms
        if kernel is not None and self.demands.is_kernel_asked:
            error_ms = max(error_ms, kernel.error_ms)
        return offset_ms, error_ms

    def _held(self, reason: str, mono_ms: int, base_ms: int) -> Judgement:
        """Judge by the last good moment: the bound grows since, and a step since then is an offset."""
        if self._good is None:
            return Judgement("unsynchronised", 0, UNKNOWN_ERROR_MS, reason)
        error_ms = self._good.error_ms + _drifted(mono_ms - self._good.mono_ms)
        offset_ms = self._good.offset_ms - self._stepped(self._good.base_ms, base_ms)
        is_off = abs(offset_ms) - error_ms > self.demands.limit_ms
        return Judgement("unsynchronised" if is_off else "holdover", offset_ms, error_ms, reason)

    @staticmethod
    def _stepped(before_ms: int, base_ms: int) -> int:
        """Give by how much wall time was stepped between two bases."""
        step = base_ms - before_ms
        return step if abs(step) > SAME_BASE_MS else 0


def _drifted(span_ms: int) -> int:
    """Give how far a clock that nobody keeps may run away in a span, in milliseconds."""
    return max(0, span_ms) * HOLDOVER_DRIFT_PPM // 1_000_000
