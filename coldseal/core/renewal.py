"""When a certificate is renewed, and what follows from each answer: the rules alone.

Guarantees that none is renewed before half of its life, that it is asked for ahead of its end again and
again, and that every wait has a bound, also when the clock jumps. Asks nobody, holds no file and draws no
random numbers: chance comes in as a number in [0, 1), time as Unix seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_DOUBLINGS: Final = 24
WARNING_SHARE: Final = 0.25
CRITICAL_SHARE: Final = 0.10

_LEFT_TRIED: Final = 4
"""While it fails, the next try comes before this part of the life that is left has passed."""


class Phase(StrEnum):
    """Where one certificate stands."""

    FRESH = "fresh"
    """In force, and not due yet."""
    DUE = "due"
    """Its time has come; nobody was asked yet."""
    ASKED = "asked"
    """A request is under way; its answer comes next."""
    PENDING = "pending"
    """A person must approve the request (202); it is sent again later."""
    FAILING = "failing"
    """The last request brought nothing; the next one comes after a wait."""
    EXPIRED = "expired"
    """It has ended: another identity must speak for its holder."""


class Event(StrEnum):
    """What moves a certificate from one phase to the next."""

    DUE = "due"
    ASKED = "asked"
    INSTALLED = "installed"
    PUT_OFF = "put-off"
    FAILED = "failed"
    ENDED = "ended"
    LIVES = "lives"


TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = MappingProxyType(
    {
        (Phase.FRESH, Event.DUE): Phase.DUE,
        (Phase.FRESH, Event.ENDED): Phase.EXPIRED,
        (Phase.FRESH, Event.INSTALLED): Phase.FRESH,  # by another hand, such as a person's
        (Phase.DUE, Event.ASKED): Phase.ASKED,
        (Phase.DUE, Event.ENDED): Phase.EXPIRED,
        (Phase.DUE, Event.INSTALLED): Phase.FRESH,
        (Phase.ASKED, Event.INSTALLED): Phase.FRESH,
        (Phase.ASKED, Event.PUT_OFF): Phase.PENDING,
        (Phase.ASKED, Event.FAILED): Phase.FAILING,
        (Phase.PENDING, Event.ASKED): Phase.ASKED,
        (Phase.PENDING, Event.ENDED): Phase.EXPIRED,
        (Phase.PENDING, Event.INSTALLED): Phase.FRESH,
        (Phase.FAILING, Event.ASKED): Phase.ASKED,
        (Phase.FAILING, Event.ENDED): Phase.EXPIRED,
        (Phase.FAILING, Event.INSTALLED): Phase.FRESH,
        (Phase.EXPIRED, Event.ASKED): Phase.ASKED,
        (Phase.EXPIRED, Event.LIVES): Phase.DUE,  # the clock was set back
        (Phase.EXPIRED, Event.INSTALLED): Phase.FRESH,
    }
)
"""Every change of phase there is; nothing else changes a phase, any other pair is a `KeyError`."""


class Alarm(StrEnum):
    """How near the end is, in words for a person."""

    NONE = ""
    WARNING = "warning"
    CRITICAL = "critical"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Life:
    """From when to when a certificate counts, Unix seconds."""

    begins_s: float
    ends_s: float

    def left_s(self, now_s: float) -> float:
        """Give what is left of it, in seconds; none once it has ended."""
        return max(0.0, self.ends_s - now_s)

    def alarm(self, now_s: float) -> Alarm:
        """Say how near its end is, by the share of it that is left."""
        left_s = self.left_s(now_s)
        share = left_s / max(self.ends_s - self.begins_s, 1.0)
        if not left_s:
            return Alarm.EXPIRED
        if share <= CRITICAL_SHARE:
            return Alarm.CRITICAL
        return Alarm.WARNING if share <= WARNING_SHARE else Alarm.NONE


@dataclass(frozen=True, slots=True)
class Terms:
    """When and how often is asked.

    Args:
        share: of the life that passes before a renewal is due, 0.5 or more.
        jitter: further share, of which chance decides how much passes; with ``share`` it stays below 0.75,
            where the first alarm is.
        retry_initial_s: wait after a first failure; it doubles with each.
        retry_max_s: longest wait.
    """

    share: float = 0.5
    jitter: float = 0.1
    retry_initial_s: float = 60.0
    retry_max_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Renewal:
    """One certificate.

    Args:
        life: of the one in force.
        wake_s: when it is due, or asked for again, Unix seconds.
        phase: where it stands.
        failures: requests that brought nothing, one after the other.
    """

    life: Life
    wake_s: float
    phase: Phase = Phase.FRESH
    failures: int = 0

    def after(self, event: Event) -> Renewal:
        """Move to the next phase.

        Raises:
            KeyError: there is no such move.
        """
        return replace(self, phase=TRANSITIONS[self.phase, event])


def due_s(life: Life, terms: Terms, *, chance: float) -> float:
    """Give when a certificate is due: at the share of its life, and of the jitter what chance draws."""
    return life.begins_s + (life.ends_s - life.begins_s) * (terms.share + terms.jitter * chance)


def begin(life: Life, terms: Terms, *, chance: float) -> Renewal:
    """Take up a certificate that is in force."""
    return Renewal(life, due_s(life, terms, chance=chance))


def look(state: Renewal, terms: Terms, *, now_s: float) -> Renewal:
    """Let time do its work; who finds it `ASKED` that was not, sends the request.

    Whether the request is a renewal or a recovery depends on `is_over` at that moment.
    """
    if state.phase is Phase.ASKED:
        return state
    if is_over(state, now_s=now_s) and state.phase is not Phase.EXPIRED:
        has_waited = state.phase in {Phase.FRESH, Phase.DUE}
        state = replace(state.after(Event.ENDED), wake_s=now_s if has_waited else state.wake_s)
    elif state.phase is Phase.EXPIRED and not is_over(state, now_s=now_s):
        state = state.after(Event.LIVES)
    if state.phase is Phase.FRESH and now_s >= state.wake_s:
        state = state.after(Event.DUE)
    if state.phase is Phase.FRESH:
        return state
    # a wait beyond the longest one was begun by a clock that was set back since
    is_time = now_s >= state.wake_s or state.wake_s - now_s > terms.retry_max_s
    return state.after(Event.ASKED) if state.phase is Phase.DUE or is_time else state


def is_over(state: Renewal, *, now_s: float) -> bool:
    """Whether the certificate has ended, so that it cannot speak for its own renewal."""
    return now_s >= state.life.ends_s


def demand(state: Renewal, *, now_s: float) -> Renewal:
    """Make it due at once, because somebody wants it; a request that is under way goes on."""
    if state.phase is Phase.FRESH:
        state = state.after(Event.DUE)
    return replace(state, wake_s=min(state.wake_s, now_s))


def installed(life: Life, terms: Terms, *, now_s: float, chance: float) -> Renewal:
    """Take up a certificate that has just come into force.

    One that has little left, as of an authority that ends itself, is not asked for again before half of what
    is left has passed.
    """
    due = due_s(life, terms, chance=chance)
    return Renewal(life, max(due, now_s + life.left_s(now_s) * terms.share))


def put_off(state: Renewal, terms: Terms, *, retry_after_s: float, now_s: float) -> Renewal:
    """Wait as long as the server says, within the longest wait; that is no failure."""
    wait_s = min(max(retry_after_s, 1.0), terms.retry_max_s)
    return replace(state.after(Event.PUT_OFF), wake_s=now_s + wait_s)


def failed(state: Renewal, terms: Terms, *, now_s: float, chance: float) -> Renewal:
    """Wait longer with each failure, but let no more than a quarter of the life that is left pass."""
    ceiling = min(terms.retry_initial_s * 2 ** min(state.failures, MAX_DOUBLINGS), terms.retry_max_s)
    wait_s = ceiling * (1 + chance) / 2
    left_s = state.life.left_s(now_s)
    if left_s:
        wait_s = min(wait_s, max(left_s / _LEFT_TRIED, terms.retry_initial_s / 2))
    return replace(state.after(Event.FAILED), wake_s=now_s + wait_s, failures=state.failures + 1)
