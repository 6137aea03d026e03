"""The log's end of tlog-witness: what the answer of a witness means, and from where to prove next.

Promises that a cosignature counts only if it verifies over the checkpoint that was posted, and that a
witness which forgot what it signed is noticed. Posts nothing, keeps nothing; never in the way of delivery.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from coldseal.core.log.checkpoint import MissingSignatureError, NoteSignature, parse_cosignature, parse_note
from coldseal.core.log.witness import parse_size
from coldseal.errors import TrustError

if TYPE_CHECKING:
    from coldseal.core.log.checkpoint import Checkpoint, VerifierKey
    from coldseal.core.log.delivery.sender import RetryPolicy

MAX_ANSWER: Final = 65_536
"""Bytes in the longest answer; a poster reads no further."""

CORRECTED: Final = "corrected"
"""The fault of a standing whose old size was just taken from the witness."""
_SHOWN: Final = 200


@dataclass(frozen=True, slots=True)
class Cosignatures:
    """The witness signed; nothing is verified yet."""

    lines: tuple[NoteSignature, ...]


@dataclass(frozen=True, slots=True)
class Conflict:
    """The witness has cosigned up to ``size``; a proof must start there."""

    size: int


@dataclass(frozen=True, slots=True)
class Disproved:
    """The witness says that the proof does not hold: it knows another history of this log."""

    detail: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing usable came back; ``cause`` is for people."""

    cause: str


Answer = Cosignatures | Conflict | Disproved | Nothing


class WitnessRolledBackError(TrustError):
    """A witness forgot what it cosigned: it was restored from an old copy. It is brought forward again."""

    verdict = "witness-rolled-back"

    def __init__(self, cosigned: int, size: int) -> None:
        """Keep what its own cosignature proves and what it says now."""
        self.cosigned = cosigned
        self.size = size
        super().__init__(f"the witness cosigned {cosigned} entries and now speaks of {size}")


class WitnessAheadError(TrustError):
    """A witness cosigned more of this log than there is: it was restored, or its keys sign elsewhere."""

    verdict = "witness-ahead"

    def __init__(self, size: int, log_size: int) -> None:
        """Keep both sizes."""
        self.size = size
        self.log_size = log_size
        super().__init__(f"the witness speaks of {size} entries, this log has {log_size}")


class DisputedError(TrustError):
    """A witness knows another history of this log."""

    verdict = "fork"

    def __init__(self, size: int, detail: str) -> None:
        """Keep the size that was refused, and why."""
        self.size = size
        self.detail = detail
        super().__init__(f"the witness refuses the checkpoint of size {size}: {detail}")


@dataclass(frozen=True, slots=True)
class Standing:
    """How far one witness is with this log.

    Attributes:
        cosigned: size of the newest checkpoint that it cosigned, as its cosignature proves.
        old: size from which the next proof starts.
        failures: answers in a row that brought nothing.
        fault: verdict or cause of the last failure; empty when all is well.
        is_held: it disputes this log; nothing is posted until a person has looked.
    """

    cosigned: int = 0
    old: int = 0
    failures: int = 0
    fault: str = ""
    is_held: bool = False


@dataclass(frozen=True, slots=True)
class Step:
    """What follows from an answer.

    Attributes:
        delay_s: how long to wait before the next post.
        line: the verified cosignature; keep it.
        cosigned_s: the time that it states, Unix seconds.
        alarm: a proof that failed; keep the evidence and tell people.
    """

    delay_s: float = 0.0
    line: NoteSignature | None = None
    cosigned_s: int = 0
    alarm: TrustError | None = None


def begin(cosigned: int) -> Standing:
    """Start, or start again, from the newest cosignature that is kept."""
    return Standing(cosigned=cosigned, old=cosigned)


def resume(standing: Standing) -> Standing:
    """Go on after a person has looked."""
    return replace(standing, is_held=False)


def parse_answer(status: int, body: bytes) -> Answer:
    """Read the answer of a witness.

    Raises:
        InputError: a 200 without well-formed signature lines, or a 409 without a size.
    """
    if status == HTTPStatus.OK:
        return Cosignatures(parse_note(b"checkpoint\n\n" + body).signatures)
    if status == HTTPStatus.CONFLICT:
        return Conflict(parse_size(body))
    detail = body[:_SHOWN].decode("utf-8", "replace").strip()
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return Disproved(detail)
    return Nothing(f"status {status}: {detail}")


def settle(
    standing: Standing,
    sent: Checkpoint,
    answer: Answer,
    key: VerifierKey,
    retry: RetryPolicy,
    *,
    log_size: int,
    chance: float,
) -> tuple[Standing, Step]:
    """Decide what an answer means.

    Args:
        standing: how far the witness was; the proof that was posted started at its ``old``.
        sent: the checkpoint that was posted.
        answer: what came back.
        key: the witness's key.
        retry: how long to wait after a failure.
        log_size: entries that the log holds now.
        chance: uniform in [0, 1), for the wait after a failure.
    """
    try:
        match answer:
            case Cosignatures(lines):
                return _cosigned(sent, lines, key)
            case Conflict(size):
                return _corrected(standing, sent, size, retry, log_size=log_size, chance=chance)
            case Disproved(detail):
                raise DisputedError(sent.size, detail)
            case _:
                return _failed(standing, answer.cause, retry, chance)
    except TrustError as fault:
        held = replace(standing, failures=standing.failures + 1, fault=fault.verdict, is_held=True)
        return held, Step(alarm=fault)


def _cosigned(sent: Checkpoint, lines: tuple[NoteSignature, ...], key: VerifierKey) -> tuple[Standing, Step]:
    """Take the line of the witness's own key; those of others are ignored."""
    for line in lines:
        if (line.name, line.key_id) == (key.name, key.id):
            key.verify(sent.text(), line)
            return begin(sent.size), Step(line=line, cosigned_s=parse_cosignature(line.signature)[0])
    raise MissingSignatureError(key.name, key.id, "the witness answered without its cosignature")


def _corrected(
    standing: Standing, sent: Checkpoint, size: int, retry: RetryPolicy, *, log_size: int, chance: float
) -> tuple[Standing, Step]:
    """Take over how far the witness says it is; only a correction of a correction costs a wait."""
    if size > log_size:
        raise WitnessAheadError(size, log_size)
    if size == sent.size == standing.old:
        raise DisputedError(size, "it has cosigned another root at this size")
    failures = standing.failures + 1 if standing.fault == CORRECTED else 1
    alarm = WitnessRolledBackError(standing.cosigned, size) if size < standing.cosigned else None
    cosigned = min(standing.cosigned, size)
    delay = retry.delay(failures - 1, chance) if failures > 1 else 0.0
    return Standing(cosigned, size, failures, CORRECTED), Step(delay_s=delay, alarm=alarm)


def _failed(standing: Standing, cause: str, retry: RetryPolicy, chance: float) -> tuple[Standing, Step]:
    """Wait, longer each time."""
    failures = standing.failures + 1
    return replace(standing, failures=failures, fault=cause), Step(delay_s=retry.delay(failures, chance))
