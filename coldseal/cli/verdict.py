"""``coldseal evidence verify`` alone: its time from start to end counts, so it loads no other command.

Needs no more than a bare installation. Nothing in a bundle is believed before it is checked, and a verdict
says whose keys it rests on.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.commands import program
from coldseal.cli.output import print_lines
from coldseal.cli.report import as_json, as_text
from coldseal.core.log.checkpoint import parse_vkey
from coldseal.errors import OperatorError
from coldseal.evidence.policies import read_policy
from coldseal.evidence.succession import verify_chain
from coldseal.evidence.verification import Question

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

GOOD, AGAINST = 0, 1


@program
def verify(
    bundle: Path,
    *,
    policy: Path | None = None,
    after: list[Path] | None = None,
    witness: list[str] | None = None,
    timestamp_ca: Path | None = None,
    checkpoints_only: bool = False,
    json: bool = False,
    workers: int = 0,
) -> int:
    """Verify an evidence bundle and print the verdict.

    Args:
        bundle: the bundle's file; also as an archive has it, compressed (.zst).
        policy: a JSON file with the keys to trust, such as a gateway's admission.json; without it the keys
            in the bundle are used, and the verdict says so.
        after: bundle of the log that this one continues; given again, that of the one before, and so on. The
            trusted witnesses and their quorum count for all of them.
        witness: verifier key of a witness to trust beside those in the policy file.
        timestamp_ca: root certificates of timestamp authorities, PEM; without it those in the bundle.
        checkpoints_only: leave out the entries' own signatures and the table of readings: chain, tree,
            checkpoints and cosignatures are checked.
        json: print one JSON object instead of a table.
        workers: processes; 0 means all cores.

    Returns:
        0 when good, 1 when not.
    """
    if workers < 0:
        raise OperatorError(f"--workers is {workers}", "Give a number of processes, or 0 for all cores")
    answers = verify_chain(
        bundle,
        after or (),
        Question(
            policy=None if policy is None else read_policy(policy),
            witnesses=tuple(map(parse_vkey, witness or ())),
            roots=() if timestamp_ca is None else _roots(timestamp_ca),
            is_signature_checked=not checkpoints_only,
            workers=workers,
            progress=_progress,
        ),
    )
    render = as_json if json else as_text
    print_lines(render(answers, policy, is_signature_checked=not checkpoints_only))
    return GOOD if all(answer.report.is_good for answer in answers) else AGAINST


def _roots(path: Path) -> tuple[Certificate, ...]:
    """Read the roots of timestamp authorities."""
    from coldseal.core.log.timestamp import parse_roots

    return parse_roots(_read(path))


def _read(path: Path) -> bytes:
    """Read a file that was named."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", "Name another file") from error


def _progress(done: int, total: int) -> None:
    """Draw progress on a terminal; silent elsewhere."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        sys.stderr.write(f"\rverifying {done * 100 // total:3d} %{end}")
        sys.stderr.flush()


COMMANDS = (verify,)
