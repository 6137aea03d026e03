"""Follows a log back through the logs that it continues, bundle by bundle.

Promise: a link counts only if the bundle of the log before proves the root that the later genesis cites, and
the witnesses that are trusted cosigned it. The keys of a log before are those that its own bundle names.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from coldseal.core.log.evidence import Fault, Verdict
from coldseal.core.log.succession import BrokenLinkError, follow
from coldseal.evidence.compression import unpacked
from coldseal.evidence.reader import DamagedBundleError, open_bundle
from coldseal.evidence.verification import Answer, verify_bundle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coldseal.core.log.evidence import Policy
    from coldseal.evidence.verification import Question


def verify_chain(bundle: Path, before: Sequence[Path], question: Question) -> list[Answer]:
    """Verify a bundle, and those of the logs that it continues.

    Args:
        bundle: of the log that is asked about.
        before: of the log directly before it, then of the one before that, and so on.
        question: how; its policy names the keys of the first log, its witnesses and quorum count for all.

    Returns:
        What was found, in the same order. A link that is not proven is a fault of the later log.

    Raises:
        OperatorError: there is no such file.
    """
    answers = [verify_bundle(bundle, question)]
    for path in before:
        old = verify_bundle(path, replace(question, policy=_policy(path, question.policy)))
        answers[-1] = _linked(answers[-1], old)
        answers.append(old)
    return answers


def _linked(new: Answer, old: Answer) -> Answer:
    """Hold what a log cites against evidence of the log before."""
    report, after = new.report, new.report.after
    if after is None or new.policy is None or old.policy is None or old.history is None:
        why = "it cites no log before" if after is None else "the bundle of the log before cannot be read"
    else:
        try:
            t = follow(new.policy.origin, after, old.report, old.history, old.policy)
        except BrokenLinkError as error:
            why = error.why
        else:
            return replace(new, followed_at=t)
    order = list(Verdict)
    faults = sorted(
        (*report.faults, Fault(Verdict.LINK, 0, why)), key=lambda each: (order.index(each.verdict), each.seq)
    )
    return replace(new, report=replace(report, faults=tuple(faults)))


def _policy(path: Path, given: Policy | None) -> Policy | None:
    """Give whom to trust for a log before: its own keys, and the witnesses that were given."""
    if given is None:
        return None
    try:
        with unpacked(path) as plain:
            own = open_bundle(plain).policy
    except DamagedBundleError:
        return None
    return replace(own, witnesses=given.witnesses, quorum=given.quorum)
