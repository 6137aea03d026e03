"""What is kept of each gateway's chip: one file for what was found, one for what an operator decided.

Promises that a file is there whole or not at all. The running service writes the first kind, the command line
the second; neither writes the other's. Judges nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec
from msgspec import Struct

from coldseal.core.attestation.judgement import Measured, State, Verdict
from coldseal.errors import OperatorError
from coldseal.identity.files import replace_private_file
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "attestation"
DECISIONS = "decisions"
KEPT = 100
"""Changes of the verdict that are kept of one gateway."""

Kept = TypeVar("Kept", bound=Struct)


class Bound(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The chip of a gateway.

    Args:
        key: its attestation key, TPM2B_PUBLIC in hex.
        chip: SHA-256 of its endorsement key.
        model: maker, model and version.
        t: when it was bound, Unix seconds.
    """

    key: str
    chip: str
    model: str
    t: int


class Clock(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The chip's own time, as it was told last."""

    clock: int
    reset_count: int
    restart_count: int
    is_safe: bool


class Booted(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What was booted: values in hex by PCR, events as PCR, digest in hex, text."""

    values: dict[int, str]
    events: tuple[tuple[int, str, str], ...] = ()

    @classmethod
    def of(cls, state: State) -> Booted:
        """Write a state down."""
        return cls(
            values={pcr: value.hex() for pcr, value in state.values.items()},
            events=tuple((each.pcr, each.digest.hex(), each.text) for each in state.events),
        )

    def state(self) -> State:
        """Give it back."""
        events = tuple(Measured(pcr, bytes.fromhex(digest), text) for pcr, digest, text in self.events)
        return State({pcr: bytes.fromhex(value) for pcr, value in self.values.items()}, events)


class Happened(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A change of the verdict, or a refusal: when, which, and why."""

    t: int
    verdict: str
    reason: str


class Flagged(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Entries taken in from a gateway that was not trusted: from `first` to before `end`, if that is over."""

    origin: str
    first: int
    verdict: str
    end: int | None = None


class Found(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How one gateway stands.

    Args:
        gateway: its name.
        verdict: trusted, changed or unknown.
        reason: why, for a person.
        reference: what it was held against.
        changes: what differs from that.
        is_judged: the verdict follows from the last quote: other reference values may change it.
        since: when the verdict became so, Unix seconds.
        attested: when it attested last; 0 for never.
        bound: its chip.
        clock: the chip's time.
        firmware: the chip's firmware version.
        booted: what was booted, by the last quote that held.
        hosts: in the certificate with which it attested last, beside loopback.
        history: changes and refusals, newest last.
        flagged: what was taken in while it was not trusted.
    """

    gateway: str
    verdict: Verdict = "unknown"
    reason: str = "no chip is bound"
    reference: str = ""
    changes: tuple[str, ...] = ()
    is_judged: bool = False
    since: int = 0
    attested: int = 0
    bound: Bound | None = None
    clock: Clock | None = None
    firmware: int = 0
    booted: Booted | None = None
    hosts: tuple[str, ...] = ()
    history: tuple[Happened, ...] = ()
    flagged: tuple[Flagged, ...] = ()


class Decision(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an operator decided of one gateway, whatever its verdict is.

    Args:
        gateway: its name.
        action: accept, flag or hold its batches; forget its chip, so that another one may be bound; or
            default: as the service's policy says.
        who: who decided.
        why: why.
        t: when, Unix seconds.
    """

    gateway: str
    action: Literal["accept", "flag", "hold", "forget", "default"]
    who: str
    why: str
    t: int


class States:
    """The files below a service's data folder.

    Args:
        data: the data folder.
    """

    def __init__(self, data: Path) -> None:
        """Make the folders.

        Raises:
            OperatorError: they cannot be made.
        """
        self._folder = data / FOLDER
        self._decisions = self._folder / DECISIONS
        try:
            make_private_folder(self._folder)  # a mode is for the last alone
            self._decisions.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            what = f"{self._decisions} cannot be made: {error.strerror}"
            raise OperatorError(what, "Make the data folder writable for the service") from error

    def all(self) -> dict[str, Found]:
        """Read how all gateways stand.

        Raises:
            OperatorError: a file cannot be read.
        """
        return {each.gateway: each for each in _read_all(self._folder, Found)}

    def decisions(self) -> dict[str, Decision]:
        """Read what was decided.

        Raises:
            OperatorError: a file cannot be read.
        """
        return {each.gateway: each for each in _read_all(self._decisions, Decision)}

    def keep(self, found: Found) -> None:
        """Write how a gateway stands; durable on return.

        Raises:
            OperatorError: it cannot be written.
        """
        replace_private_file(self._folder / f"{found.gateway}.json", msgspec.json.encode(found))

    def decide(self, decision: Decision) -> None:
        """Write what was decided; durable on return.

        Raises:
            OperatorError: it cannot be written.
        """
        content = msgspec.json.encode(decision)
        replace_private_file(self._decisions / f"{decision.gateway}.json", content)

    def look(self) -> tuple[tuple[str, int, int], ...]:
        """Note what identifies the decisions' content."""
        return look(self._decisions)


def look(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Note what identifies the files of a folder."""
    found = []
    for path in sorted(folder.glob("*.json")):
        status = path.stat()
        found.append((path.name, status.st_ino, status.st_mtime_ns))
    return tuple(found)


def _read_all(folder: Path, kind: type[Kept]) -> Iterator[Kept]:
    """Read every file of a folder."""
    for path in sorted(folder.glob("*.json")):
        yield read_file(path, kind)


def read_file(path: Path, kind: type[Kept]) -> Kept:
    """Read one file.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.DecodeError) as error:
        raise OperatorError(
            f"{path} cannot be read: {error}", "Restore it from a backup, or remove it"
        ) from error
