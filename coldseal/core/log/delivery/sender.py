"""The gateway's end of delivery: what to send next, and what follows from each answer.

Promises that the published size moves only with a receipt that verifies: the configured witness
cosigned exactly the checkpoint that was sent. Holds no entries, waits for nothing, draws no
random numbers; the runner does what a `Step` says and brings the answer back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING

from coldseal.core.log.checkpoint import Checkpoint, open_checkpoint
from coldseal.core.log.delivery.wire import Answer, Kind, Receipt, Refused, Unavailable
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coldseal.core.log.checkpoint import VerifierKey


_CORRECTED = "corrected"
_MAX_HALVINGS = 16
_SLOW = frozenset({Kind.TIMEOUT, Kind.UNREACHABLE})


class Phase(StrEnum):
    """Where delivery stands."""

    IDLE = "idle"
    """Nothing is under way: the next batch may be chosen."""
    SENDING = "sending"
    """One batch is out; its answer, or the lack of one, comes next."""
    WAITING = "waiting"
    """The retry time has not come yet."""
    HELD = "held"
    """A proof failed: nothing is sent until a person has looked."""


class Event(StrEnum):
    """What moves delivery from one phase to the next."""

    CHOSEN = "chosen"
    DELIVERED = "delivered"
    CORRECTED = "corrected"
    FAILED = "failed"
    DISPROVED = "disproved"
    DUE = "due"
    RESUMED = "resumed"


TRANSITIONS: Mapping[tuple[Phase, Event], Phase] = MappingProxyType(
    {
        (Phase.IDLE, Event.CHOSEN): Phase.SENDING,
        (Phase.SENDING, Event.DELIVERED): Phase.IDLE,
        (Phase.SENDING, Event.CORRECTED): Phase.WAITING,
        (Phase.SENDING, Event.FAILED): Phase.WAITING,
        (Phase.SENDING, Event.DISPROVED): Phase.HELD,
        (Phase.WAITING, Event.DUE): Phase.IDLE,
        (Phase.HELD, Event.RESUMED): Phase.IDLE,
    }
)
"""Every change of phase there is; nothing else changes a phase, any other pair is a `KeyError`."""


class OverAcknowledgedError(TrustError):
    """The service acknowledges, or claims to hold, more than it was ever sent."""

    verdict = "over-acknowledged"

    def __init__(self, claimed: int, sent: int) -> None:
        """Keep both sizes."""
        self.claimed = claimed
        self.sent = sent
        super().__init__(f"the service speaks of {claimed} entries, but was sent only {sent}")


class WrongRootError(TrustError):
    """The receipt is for another tree than the one that was sent."""

    verdict = "receipt-wrong-root"

    def __init__(self, sent: Checkpoint, found: Checkpoint) -> None:
        """Keep both checkpoints."""
        self.sent = sent
        self.found = found
        super().__init__(
            f"the receipt cosigns {found.origin} {found.size} {found.root.hex()}, "
            f"sent was {sent.origin} {sent.size} {sent.root.hex()}"
        )


class RolledBackError(TrustError):
    """The service lost entries for which it gave a receipt; delivery goes on from what it still has."""

    verdict = "witness-rolled-back"

    def __init__(self, published: int, size: int) -> None:
        """Keep what the receipts prove and what the service says now."""
        self.published = published
        self.size = size
        super().__init__(f"the service holds {size} entries, but its receipts prove {published}")


class RefusedError(TrustError):
    """The service found a proof failing and named it; its verdict is ours."""

    def __init__(self, refused: Refused) -> None:
        """Take over the service's verdict."""
        self.verdict = refused.verdict
        super().__init__(f"the service refused the batch: {refused.verdict} {refused.detail}".rstrip())


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait after failures: full jitter below a bound that doubles.

    Attributes:
        initial_s: bound of the first wait, seconds.
        max_s: the bound grows no further than this, seconds.
    """

    initial_s: float = 0.5
    max_s: float = 60.0

    def delay(self, failures: int, chance: float, after_s: int = 0) -> float:
        """Draw the wait after ``failures`` in a row; ``chance`` is uniform in [0, 1).

        What the other side asks for comes before the drawn wait, so that those whom it asked the same do not
        come back together; it can ask for ``max_s`` at most.
        """
        bound = self.initial_s * 2.0 ** min(failures - 1, 64)
        return min(self.max_s, after_s) + chance * min(self.max_s, bound)


@dataclass(frozen=True, slots=True)
class Terms:
    """How this gateway delivers, and to whom.

    Attributes:
        witness: the service's key (0x04) whose cosignature makes a receipt.
        batch_entries: entries that a batch should hold at most.
        retry: how long to wait after a failure.
    """

    witness: VerifierKey
    batch_entries: int = 4096
    retry: RetryPolicy = RetryPolicy()


@dataclass(frozen=True, slots=True)
class Delivery:
    """The state of delivery.

    Attributes:
        published: tree size of the newest receipt; never falls.
        cursor: seq at which the next batch begins, as far as known what the service has.
        phase: where delivery stands.
        failures: attempts since the last progress.
        fault: verdict or cause of the last failure; empty after a receipt.
        halvings: how often batches were made smaller, because a link was too slow for them.
    """

    published: int = 0
    cursor: int = 0
    phase: Phase = Phase.IDLE
    failures: int = 0
    fault: str = ""
    halvings: int = 0

    @property
    def floor(self) -> int:
        """The next batch ends at a checkpoint beyond this size.

        A correction may have put the cursor beyond what is published; a batch without entries then
        fetches the receipt.
        """
        return self.cursor if self.cursor <= self.published else self.cursor - 1

    def after(self, event: Event) -> Delivery:
        """Change the phase as the table says."""
        return replace(self, phase=TRANSITIONS[self.phase, event])


@dataclass(frozen=True, slots=True)
class Step:
    """What the runner does after an answer.

    Attributes:
        delay_s: how long to wait before `Event.DUE`; 0 unless the new phase is waiting.
        receipt: verified; store it durably before anything else.
        alarm: a proof that failed; tell people.
    """

    delay_s: float = 0.0
    receipt: Receipt | None = None
    alarm: TrustError | None = None


def begin(published: int) -> Delivery:
    """Start, or start again, from the newest stored receipt."""
    return Delivery(published=published, cursor=published)


def reach(delivery: Delivery, terms: Terms) -> int:
    """Say up to which size the next batch should go at most."""
    return delivery.cursor + max(1, terms.batch_entries >> delivery.halvings)


def choose(delivery: Delivery, sizes: Sequence[int], limit: int) -> int | None:
    """Choose where the next batch ends.

    Args:
        delivery: the state, idle.
        sizes: tree sizes of checkpoints of the log, rising; at least the nearest one beyond
            ``delivery.floor`` and the furthest one within ``limit`` must be there.
        limit: size up to which the batch should go at most, see `reach`.

    Returns:
        The furthest checkpoint within ``limit``; if there is none, the nearest one beyond;
        None if everything that a checkpoint covers is delivered.
    """
    beyond = [size for size in sizes if size > delivery.floor]
    if not beyond:
        return None
    within = [size for size in beyond if size <= limit]
    return within[-1] if within else beyond[0]


def delivered(delivery: Delivery, size: int) -> Delivery:
    """Give the state, but for its phase, once everything below ``size`` has a receipt."""
    return replace(
        delivery,
        published=max(delivery.published, size),
        cursor=size,
        failures=0,
        fault="",
        halvings=max(0, delivery.halvings - 1),
    )


def settle(
    delivery: Delivery, sent: Checkpoint, answer: Answer, terms: Terms, *, log_size: int, chance: float
) -> tuple[Delivery, Step]:
    """Decide what an answer means.

    Args:
        delivery: the state, sending.
        sent: the checkpoint at which the batch ended.
        answer: what came back; `Unavailable` if nothing did.
        terms: witness and retry policy.
        log_size: entries that the log holds now; the service cannot have more.
        chance: uniform in [0, 1), for the wait after a failure.
    """
    try:
        return _judge(delivery, sent, answer, terms, log_size=log_size, chance=chance)
    except TrustError as fault:
        held = replace(delivery.after(Event.DISPROVED), failures=delivery.failures + 1, fault=fault.verdict)
        return held, Step(alarm=fault)
    except InputError as fault:
        return _failed(delivery, str(fault), terms.retry, chance)


def verify_receipt(receipt: Receipt, sent: Checkpoint, witness: VerifierKey) -> None:
    """Hold a receipt against the checkpoint that was sent.

    Raises:
        OverAcknowledgedError: it is for more entries than were sent.
        WrongRootError: it is for another tree.
        CheckpointSignatureError: the witness did not sign it.
        InputError: it is malformed, contradicts itself, or belongs to an earlier batch.
    """
    cosigned, _ = open_checkpoint(receipt.note, [witness], [witness])
    claimed = max(receipt.size, cosigned.size)
    if claimed > sent.size:
        raise OverAcknowledgedError(claimed, sent.size)
    if receipt.size != cosigned.size:
        raise InputError("receipt", "size", receipt.size, f"the cosigned size {cosigned.size}")
    if cosigned.origin != sent.origin:
        raise WrongRootError(sent, cosigned)
    if cosigned.size < sent.size:
        raise InputError("receipt", "size", cosigned.size, f"{sent.size}, the size that was sent")
    if cosigned.root != sent.root:
        raise WrongRootError(sent, cosigned)


def _judge(
    delivery: Delivery, sent: Checkpoint, answer: Answer, terms: Terms, *, log_size: int, chance: float
) -> tuple[Delivery, Step]:
    """Tell the kinds of answers apart; a proof that fails is raised."""
    match answer:
        case Receipt():
            verify_receipt(answer, sent, terms.witness)
            return delivered(delivery, sent.size).after(Event.DELIVERED), Step(receipt=answer)
        case Refused():
            raise RefusedError(answer)
        case Unavailable(kind, cause, after_s):
            if kind in _SLOW:
                delivery = replace(delivery, halvings=min(_MAX_HALVINGS, delivery.halvings + 1))
            return _failed(delivery, cause, terms.retry, chance, after_s)
        case _:
            return _corrected(delivery, answer.size, log_size, terms.retry, chance)


def _corrected(
    delivery: Delivery, size: int, log_size: int, retry: RetryPolicy, chance: float
) -> tuple[Delivery, Step]:
    """Take over how much the service says it has; only a correction of a correction costs a wait."""
    if size > log_size:
        raise OverAcknowledgedError(size, log_size)
    failures = delivery.failures + 1 if delivery.fault == _CORRECTED else 1
    corrected = replace(delivery, cursor=size, failures=failures, fault=_CORRECTED).after(Event.CORRECTED)
    delay = retry.delay(failures - 1, chance) if failures > 1 else 0.0
    alarm = RolledBackError(delivery.published, size) if size < delivery.published else None
    return corrected, Step(delay_s=delay, alarm=alarm)


def _failed(
    delivery: Delivery, cause: str, retry: RetryPolicy, chance: float, after_s: int = 0
) -> tuple[Delivery, Step]:
    """Wait, longer each time."""
    failures = delivery.failures + 1
    waiting = replace(delivery, failures=failures, fault=cause).after(Event.FAILED)
    return waiting, Step(delay_s=retry.delay(failures, chance, after_s))
