"""Verifies a bundle: reads it, spreads its entries over processes, and lets `core.log.evidence` judge.

Promise: whatever is wrong with a bundle becomes a verdict, never an error; only a file that is not there, or
keys of the verifier's own that cannot be read, are. Two passes: the first finds the entries that change keys.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from coldseal.core.log.evidence import Case, Fault, Policy, Report, Verdict, judge
from coldseal.evidence.comparison import TableComparison
from coldseal.evidence.compression import unpacked
from coldseal.evidence.files import COUNTER, TABLE, TIMESTAMPS
from coldseal.evidence.reader import Bundle, DamagedBundleError, open_bundle
from coldseal.evidence.work import Examined, Scanned, Summed, Workers, rules_for, share

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.x509 import Certificate

    from coldseal.core.log.checkpoint import VerifierKey
    from coldseal.core.log.evidence import Stretch
    from coldseal.core.log.keys import KeyHistory
    from coldseal.evidence.reader import Archive

Result = TypeVar("Result")


def _ignore(_done: int, _total: int) -> None:
    """Nobody wants to know how far it is."""


@dataclass(frozen=True, slots=True)
class Question:
    """How a bundle is to be verified.

    Attributes:
        policy: whom to trust; None: whom the bundle names.
        witnesses: keys to trust beside.
        roots: of timestamp authorities; empty: those in the bundle.
        is_signature_checked: check each entry's own signature, and the table of readings.
        workers: processes; 0 means all cores.
        progress: is told how many tasks are done, of how many.
    """

    policy: Policy | None = None
    witnesses: tuple[VerifierKey, ...] = ()
    roots: tuple[Certificate, ...] = ()
    is_signature_checked: bool = True
    workers: int = 0
    progress: Callable[[int, int], None] = _ignore


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found.

    Attributes:
        report: the verdict.
        policy: whom it rests on; None where the bundle cannot be read.
        entries: how many the bundle holds.
        timestamps: how many timestamps hold.
        untested: timestamps for which no root is known.
        history: the keys of the log, as the bundle shows them; None where it cannot be read.
        counts: how many certifications of the chip's counter hold.
        followed_at: when the proven link to the log before was cosigned, seconds since 1970; 0 for none.
    """

    report: Report
    policy: Policy | None
    entries: int = 0
    timestamps: int = 0
    untested: int = 0
    history: KeyHistory | None = None
    counts: int = 0
    followed_at: int = 0


def verify_bundle(path: Path, question: Question) -> Answer:
    """Verify a bundle, compressed or not.

    Raises:
        OperatorError: there is no such file.
    """
    policy = question.policy
    try:
        with unpacked(path) as plain:
            bundle = open_bundle(plain, later=TABLE)
            policy = policy or bundle.policy
            witnesses = tuple(dict.fromkeys((*policy.witnesses, *question.witnesses)))
            policy = replace(policy, witnesses=witnesses)
            return _Verification(bundle, policy, question).run()
    except DamagedBundleError as error:
        return Answer(Report(0, 0, (Fault(Verdict.DAMAGED, 0, error.why),)), policy)


class _Verification:
    """One bundle on its way to a verdict."""

    def __init__(self, bundle: Bundle, policy: Policy, question: Question) -> None:
        """Take everything; nothing is looked at yet."""
        self._bundle = bundle
        self._policy = policy
        self._question = question
        self._parts = list(share(bundle.files))
        self._sums = [Summed(TABLE, bundle.sums[TABLE])] if TABLE in bundle.sums else []
        self._done = 0

    def run(self) -> Answer:
        """Verify."""
        held = sum(end - first for first, end in self._bundle.layout.runs)
        with Workers(self._bundle.path, held, self._question.workers) as workers:
            return replace(self._judge(workers), entries=held)

    def _judge(self, workers: Workers) -> Answer:
        """Find the entries that change keys, then examine all of them."""
        bundle = self._bundle
        jobs: list[Callable[[Archive], list[bytes]]] = [*self._sums]  # the longest file of all goes first
        jobs += (Scanned(files, tuple(bundle.sums[file.name] for file in files)) for files in self._parts)
        settings = [raw for found in self._counted(workers.do(jobs)) for raw in found]
        is_checked = self._question.is_signature_checked
        case = Case(
            self._policy,
            bundle.layout,
            notes=bundle.notes,
            settings=settings,
            is_signature_checked=is_checked,
        )
        faults: list[Fault] = []
        if bundle.layout.runs[0][0]:
            faults.append(Fault(Verdict.GENESIS, 0, "the genesis entry is not there"))
        held, untested, bad = _check_timestamps(bundle, case, self._question.roots)
        faults += bad
        counts, bad = _check_counts(bundle, case)
        faults += bad
        table = TableComparison(bundle) if is_checked and TABLE in bundle.sums else None
        header = "" if table is None else table.header
        examinations = (Examined(files, rules_for(case.rules, files), header) for files in self._parts)
        examined = self._counted(workers.do(examinations))
        report = judge(case, _compared(table, examined, faults), faults)
        return Answer(report, self._policy, 0, held, untested, case.history, counts)

    def _counted(self, found: Iterable[Result]) -> Iterator[Result]:
        """Pass results on, and say how far they are; the second pass goes on from the first."""
        for each in found:
            self._done += 1
            self._question.progress(self._done, len(self._sums) + 2 * len(self._parts))
            yield each


def _compared(
    table: TableComparison | None, found: Iterable[Sequence[Stretch]], faults: list[Fault]
) -> Iterator[Stretch]:
    """Pass stretches on, and hold the table of readings against them; what is wrong goes to ``faults``."""
    for stretches in found:
        for stretch in stretches:
            if table is not None:
                table.compare(stretch)
            yield stretch
    if table is not None:
        table.finish()
        if table.fault is not None:
            faults.append(table.fault)


def _check_timestamps(
    bundle: Bundle, case: Case, roots: tuple[Certificate, ...]
) -> tuple[int, int, list[Fault]]:
    """Verify each timestamp; gives how many hold, how many cannot be tested, and what is wrong."""
    if not any(name.startswith(TIMESTAMPS) for name in bundle.sums):
        return 0, 0, []
    from coldseal.evidence.timestamps import check_timestamps  # noqa: PLC0415 # most bundles need no X.509

    return check_timestamps(bundle, case, roots)


def _check_counts(bundle: Bundle, case: Case) -> tuple[int, list[Fault]]:
    """Verify each certification of the counter; gives how many hold, and what is wrong."""
    if not any(name.startswith(COUNTER) for name in bundle.sums):
        return 0, []
    from coldseal.evidence.counts import check_counts  # noqa: PLC0415 # most bundles are of no chip

    return check_counts(bundle, case)
