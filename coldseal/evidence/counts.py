"""Holds a bundle's certifications of the chip's counter against its checkpoints, in order of size."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.core.attestation.counts import BadCountError, Rising, verify_count
from coldseal.core.log.evidence import Fault, Verdict
from coldseal.evidence.files import COUNTER, SIGNED, STATED
from coldseal.evidence.reader import Archive

if TYPE_CHECKING:
    from coldseal.core.log.evidence import Case
    from coldseal.evidence.reader import Bundle


def check_counts(bundle: Bundle, case: Case) -> tuple[int, list[Fault]]:
    """Verify each certification with the checkpoint key that is active at its size.

    Returns:
        How many hold, and what is wrong; the place of a fault is the last entry that its checkpoint covers.
    """
    sizes = sorted({_size_of(name) for name in bundle.sums if name.startswith(COUNTER)})
    faults: list[Fault] = []
    rising = Rising()
    archive = Archive(bundle.path)
    try:
        for size in sizes:
            try:
                _check(bundle, archive, case, size, rising)
            except BadCountError as error:
                faults.append(Fault(Verdict.COUNTER, size - 1, f"{COUNTER}{size}: {error.reason}"))
    finally:
        archive.close()
    return len(sizes) - len(faults), faults


def _check(bundle: Bundle, archive: Archive, case: Case, size: int, rising: Rising) -> None:
    """Verify one; raises BadCountError."""
    names = [f"{COUNTER}{size}{suffix}" for suffix in (STATED, SIGNED)]
    if missing := [name for name in names if name not in bundle.sums]:
        raise BadCountError(f"{missing[0]} is missing")
    opened = case.opened.get(size)
    if opened is None:
        raise BadCountError("it is for a checkpoint that is not here, or not good")
    attest, signature = (archive.read(name) for name in names)
    key = case.history.at(size).checkpoint[0]
    rising.take(key, size, verify_count(attest, signature, opened.checkpoint.text(), key))


def _size_of(name: str) -> int:
    """Give the size that a file's name has."""
    return int(name.removeprefix(COUNTER).partition(".")[0])
