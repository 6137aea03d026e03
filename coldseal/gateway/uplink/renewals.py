"""How the renewal of each certificate stands, as the uplink's process writes it down and the intake shows it.

One file, replaced whole at each attempt. Without it, or with one that cannot be read, nothing is known; no
decision depends on it. Needs no HTTP client, so that the intake may read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.renewal import Phase
from coldseal.errors import OperatorError
from coldseal.identity.files import replace_private_file

if TYPE_CHECKING:
    from pathlib import Path

KEPT: Final = "enrolment.json"
"""The file, below the gateway's data folder."""

CAUSES: Final = ("unreachable", "timeout", "refused", "busy", "bad", "own-files", "ended")
"""Why a request brought no certificate; the last: it has ended, and nobody else may speak for its holder."""


class Standing(msgspec.Struct, frozen=True):
    """One certificate.

    Args:
        phase: where it stands.
        next_s: when it is looked at next, Unix seconds.
        renewed_s: when one came last, Unix seconds; 0: never since this file was made.
        renewals: how many came.
        failures: requests that brought nothing since then.
        fault: what the last one was answered with; empty where none failed.
        failed: all requests that brought nothing, by cause.
    """

    phase: Phase = Phase.FRESH
    next_s: float = 0.0
    renewed_s: float = 0.0
    renewals: int = 0
    failures: int = 0
    fault: str = ""
    failed: dict[str, int] = {}


def read_standings(path: Path) -> dict[str, Standing]:
    """Read them, by the certificate's name; none where nothing is written down."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Standing])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}


def write_standings(path: Path, standings: dict[str, Standing]) -> None:
    """Write them down; what cannot be written is not known to anybody else, and that is all."""
    try:
        replace_private_file(path, msgspec.json.encode(standings))
    except OperatorError:
        return
