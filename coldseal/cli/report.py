"""The verdict over a bundle as a person reads it, and as a program does."""

from __future__ import annotations

import hashlib
import os
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coldseal.core.log import canonical
from coldseal.core.log.evidence import CHECKS, Verdict
from coldseal.core.log.succession import witnessed

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coldseal.core.log.evidence import Policy, Report
    from coldseal.evidence.verification import Answer

_SIGNATURES: Final = "every entry signed by the key active at its place"
_TABLE: Final = "table of readings equals the entries"
_LINK: Final = "continues the log that it cites"
_GREEN: Final = "32"
_RED: Final = "31"


def as_json(answers: Sequence[Answer], given: Path | None, *, is_signature_checked: bool) -> str:
    """Write the report as one JSON object, with those of the logs before as a list in it."""
    found = _facts(answers[0], given, is_signature_checked=is_signature_checked)
    before = [_facts(answer, None, is_signature_checked=is_signature_checked) for answer in answers[1:]]
    return canonical.encode({**found, "before": list(before)}).decode()


def _facts(answer: Answer, given: Path | None, *, is_signature_checked: bool) -> dict[str, canonical.Value]:
    """Give what was found in one bundle."""
    report, policy = answer.report, answer.policy
    return {
        "after": _cited(answer),
        "anchored": report.anchored,
        "anchored_at": report.anchored_at,
        "counts": answer.counts,
        "checked": "all" if is_signature_checked else "checkpoints",
        "earliest": report.earliest,
        "entries": answer.entries,
        "faults": [
            {"detail": _plain(fault.detail), "seq": fault.seq, "verdict": fault.verdict.value}
            for fault in report.faults
        ],
        "first": report.first,
        "good": report.is_good,
        "keys": "policy" if given else "bundle",
        "kinds": dict(report.kinds),
        "latest": report.latest,
        "origin": policy.origin if policy else "",
        "size": report.size,
        "timestamps": answer.timestamps,
        "unsynchronised": report.unsynchronised,
    }


def _cited(answer: Answer) -> canonical.Value:
    """Give what the genesis entry cites of the log before."""
    after = answer.report.after
    if after is None:
        return None
    times = witnessed(after, answer.policy.witnesses if answer.policy else ())
    return {
        "followed": bool(answer.followed_at),
        "origin": after.cited.origin,
        "size": after.cited.size,
        "witnessed_at": answer.followed_at or min(times, default=0),
    }


def as_text(answers: Sequence[Answer], given: Path | None, *, is_signature_checked: bool) -> str:
    """Write the reports for people, one below the other."""
    found = [_text(answers[0], given, is_signature_checked=is_signature_checked)]
    found += [_text(answer, None, is_signature_checked=is_signature_checked) for answer in answers[1:]]
    return "\n\n".join(found)


def _text(answer: Answer, given: Path | None, *, is_signature_checked: bool) -> str:
    """Write the report for people: what was looked at, each check, the verdict and what it rests on."""
    report, policy = answer.report, answer.policy
    lines = _looked_at(answer)
    skipped = set() if is_signature_checked else {_SIGNATURES, _TABLE}
    is_open = report.after is not None and not answer.followed_at
    for check in CHECKS:
        fault = report.fault_of(check)
        mark = _colour("ok  ", _GREEN) if fault is None else _colour("FAIL", _RED)
        if fault is None and (check in skipped or _is_damaged(report) or (is_open and check == _LINK)):
            mark = "--  "  # not looked at
        lines.append(f"  {mark}  {check}")
        if fault is not None:
            lines.append(f"        {fault.verdict.value} at entry {fault.seq}: {_plain(fault.detail)}")
    lines += _notes(answer, skipped)
    lines.append("")
    if report.is_good:
        moment = _moment(report.anchored_at)
        lines.append(
            f"{_colour('GOOD', _GREEN)}: nothing missing, changed, moved or added; witnessed {moment}"
        )
    else:
        worst = report.faults[0]
        lines.append(f"{_colour('NOT GOOD', _RED)}: {worst.verdict.value}, first at entry {worst.seq}")
    return "\n".join([*lines, *(_rests_on(policy, given) if policy else ())])


def _looked_at(answer: Answer) -> list[str]:
    """Say what was looked at."""
    report, policy = answer.report, answer.policy
    if policy is None or _is_damaged(report):
        return []
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.kinds.items(), key=_most_first))
    entries = f"{answer.entries} of the log's first {report.size}"
    if answer.entries == report.size - report.first:
        entries = f"{report.first} to {report.size - 1}"
    return [
        f"Log        {policy.origin}",
        f"Entries    {entries}: {kinds}",
        f"Accepted   {report.earliest} to {report.latest}",
        "",
    ]


def _notes(answer: Answer, skipped: set[str]) -> list[str]:
    """Say what is no fault, but to be known."""
    lines = _link(answer)
    if answer.report.unsynchronised:
        count = answer.report.unsynchronised
        lines.append(f"  note  {count} entries were sealed with a clock not synchronised")
    if answer.timestamps:
        lines.append(f"  note  {answer.timestamps} timestamps hold")
    if answer.counts:
        lines.append(f"  note  {answer.counts} certifications of the chip's counter hold")
    if answer.untested:
        lines.append(f"  note  {answer.untested} timestamps not tested: no root of their authority is known")
    if skipped:
        lines.append("  note  signatures of entries and the table were not looked at")
    return lines


def _link(answer: Answer) -> list[str]:
    """Say which log this one continues, and whether that was followed."""
    after, policy = answer.report.after, answer.policy
    if after is None or policy is None:
        return []
    t = answer.followed_at or min(witnessed(after, policy.witnesses), default=0)
    seen = f"witnessed {_moment(t)}" if t else "cosigned by no known witness"
    text = f"  note  continues {after.cited.origin}, at size {after.cited.size}, {seen}"
    return [text if answer.followed_at else f"{text}; not followed: give its bundle with --after"]


def _moment(t: int) -> str:
    """Write seconds since 1970 for people; a witness that is not to be trusted may state any number."""
    try:
        return datetime.fromtimestamp(t, UTC).isoformat(timespec="seconds")
    except (OSError, OverflowError, ValueError):
        return f"{t} s after 1970"


def _rests_on(policy: Policy, given: Path | None) -> list[str]:
    """Say whose keys the verdict rests on."""
    sums = [f"record key {hashlib.sha256(policy.record_key).hexdigest()}"]
    sums += [f"witness {key.encode()}" for key in policy.witnesses]
    rests = (
        f"This rests on the keys in {given}:"
        if given
        else "This rests on keys named by the bundle itself; compare them with yours, or use --policy:"
    )
    return [rests, *(f"  {line}" for line in sums)]


def _is_damaged(report: Report) -> bool:
    """Whether nothing else could be looked at."""
    return any(fault.verdict is Verdict.DAMAGED for fault in report.faults)


def _plain(text: str) -> str:
    """Show what a stranger wrote without letting it steer the terminal."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    """Order kinds by how many there are."""
    return -item[1], item[0]


def _colour(text: str, code: str) -> str:
    """Colour a word on a terminal that wants colours."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"\x1b[{code};1m{text}\x1b[0m"
    return text
