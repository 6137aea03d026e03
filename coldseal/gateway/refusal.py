"""The note on disk that a gateway refuses to go on: its log was put back to an older or another state.

Promise: once it is written, no program of this gateway seals anything more, over any number of starts, until
a person has decided. Holds the proof: the cosigned checkpoint that the log does not agree with.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.errors import OperatorError, TrustError, UnavailableError
from coldseal.signing.private_files import sync_directory

if TYPE_CHECKING:
    from pathlib import Path

NAME: Final = "refused.json"
HINT: Final = "Decide: coldseal recover decide CONFIG --restore, or --successor"
COUNTER: Final = "counter"
"""Source of a refusal by the TPM's counter."""
_DRAFT: Final = ".new"


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why the log is not gone on with.

    Args:
        origin: of the log.
        found_ms: when it was noticed, Unix milliseconds.
        held: entries that the log had then.
        known: entries that the proof speaks of.
        root: root hash of the proof, hex.
        source: who had the proof: ``service``, ``receipts`` for those in `uplink.db`, or ``counter``.
        note: the proof: a checkpoint of this log with the witness's cosignature; empty from the counter.
        counted: ended segments by the TPM's counter, where that is the proof.
        certified: the same as this disk knows.
    """

    origin: str
    found_ms: int
    held: int
    known: int
    root: str
    source: str
    note: str
    counted: int = 0
    certified: int = 0

    @property
    def why(self) -> str:
        """Say it in one sentence."""
        if self.source == COUNTER:
            what = f"the TPM has counted to {self.counted}, the disk of {self.origin} knows {self.certified}"
            return f"{what}: it was put back to an older state"
        where = "the service holds" if self.source == "service" else "a receipt here covers"
        if self.known > self.held:
            what = f"{where} {self.known} entries of {self.origin}, the log on disk has {self.held}"
        else:
            what = f"{where} other entries of {self.origin} below {self.known} than the log on disk"
        return f"{what}: it was put back to an older state"


class RolledBackError(TrustError):
    """The log on disk is older than what was witnessed, or another one."""

    verdict = "rolled-back"

    def __init__(self, refusal: Refusal) -> None:
        """Keep the proof."""
        self.refusal = refusal
        super().__init__(f"{refusal.why}. {HINT}")


def read_refusal(data: Path) -> Refusal | None:
    """Read why the gateway of a data folder refuses; None if it does not.

    Raises:
        OperatorError: the file is there and cannot be read.
    """
    try:
        return msgspec.json.decode((data / NAME).read_bytes(), type=Refusal)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(f"{data / NAME} cannot be read: {error}", HINT) from error


def write_refusal(data: Path, refusal: Refusal) -> None:
    """Put the note on disk; durable on return.

    Raises:
        UnavailableError: it cannot be written.
    """
    draft = data / f"{NAME}{_DRAFT}"
    try:
        with draft.open("wb") as file:
            file.write(msgspec.json.encode(refusal))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(data / NAME)
        sync_directory(data)
    except OSError as error:
        raise UnavailableError(str(data / NAME), str(error.strerror)) from error


def require_unrefused(data: Path) -> None:
    """Insist that a data folder's gateway does not refuse.

    Raises:
        RolledBackError: it does.
        OperatorError: its note cannot be read.
    """
    found = read_refusal(data)
    if found is not None:
        raise RolledBackError(found)
