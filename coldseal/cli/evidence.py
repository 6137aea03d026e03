"""``coldseal evidence``: exports a bundle, verifies one with public keys alone, shows what is in it.

``verify`` and ``show`` need no more than a bare installation. Nothing in a bundle is believed before
it is checked, and a verdict says whose keys it rests on.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import sys
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from json import loads as read_json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.cli.bundle import (
    ENTRIES_PER_FILE,
    Bundle,
    open_bundle,
    parse_policy,
    read_entries,
    write_bundle,
)
from coldseal.cli.sources import Source, is_cosigned, open_source, size_of
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import parse_vkey
from coldseal.core.log.evidence import CHECKS, Policy, Report, Stretch, examine, judge
from coldseal.core.log.record import frame, parse_entry, parse_frames
from coldseal.errors import InputError, OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GOOD, AGAINST = 0, 1
FILES_PER_TASK: Final = 16
INLINE_FILES: Final = 32
"""Below this many entry files (of 256 entries), starting processes would cost more than it gains."""


def export(
    config: Path,
    output: Path,
    *,
    origin: str = "",
    first: int = 0,
    last: int | None = None,
    tail: bool = False,
    json: bool = False,
) -> int:
    """Write an evidence bundle from a gateway's log or from a service's copy; either may be running.

    Args:
        config: gateway.toml or service.toml.
        output: the new file; must not exist.
        origin: which log of a service; may be left out where it keeps one.
        first: first entry; the bundle begins at the tile of 256 entries that holds it.
        last: last entry; the bundle ends with the first receipt over it. Without it, with the newest receipt.
        tail: take entries in that have no receipt yet; a verdict on them is "tail-not-anchored".
        json: print one JSON object.
    """
    source = open_source(config, origin)
    policy = source.policy
    try:
        notes = list(source.notes())
        start = first // ENTRIES_PER_FILE * ENTRIES_PER_FILE
        end = source.size if tail else _end(source, notes, last)
        if not start < end:
            raise OperatorError(
                f"{config} has no entries from {first} on to export: {end} have a receipt",
                "Wait for a receipt, or use --tail to export what has none",
            )
        runs = (
            frame(source.read(at, min(ENTRIES_PER_FILE, end - at)))
            for at in range(start, end, ENTRIES_PER_FILE)
        )
        kept = [note for note in notes if start < size_of(note) <= end]
        try:
            write_bundle(output, policy, source.prior(start), end, runs=runs, notes=kept)
        except OSError as error:
            raise OperatorError(
                f"{output} cannot be written: {error.strerror}", "Name another file"
            ) from error
    finally:
        source.close()
    made: dict[str, canonical.Value] = {
        "bundle": str(output),
        "first": start,
        "origin": policy.origin,
        "size": end,
    }
    _say(canonical.encode(made).decode() if json else f"{output}: entries {start} to {end - 1}")
    return GOOD


def _end(source: Source, notes: Sequence[bytes], last: int | None) -> int:
    """Give the size of the receipt (or checkpoint, where no witness is known) to end with."""
    sizes = [
        size_of(note) for note in notes if not source.policy.witnesses or is_cosigned(note, source.policy)
    ]
    wanted = [size for size in sizes if last is not None and size > last]
    return min(wanted, default=max(sizes, default=0))


def verify(
    bundle: Path,
    *,
    policy: Path | None = None,
    witness: list[str] | None = None,
    json: bool = False,
    workers: int = 0,
) -> int:
    """Verify an evidence bundle and print the verdict.

    Args:
        bundle: the bundle's file.
        policy: a JSON file with the keys to trust, such as a gateway's admission.json; without it the keys
            in the bundle are used, and the verdict says so.
        witness: verifier key of a witness to trust beside those in the policy file.
        json: print one JSON object instead of a table.
        workers: processes; 0 means all cores.

    Returns:
        0 when good, 1 when not.
    """
    found = open_bundle(bundle)
    trusted = found.policy if policy is None else _read_policy(policy)
    trusted = replace(trusted, witnesses=(*trusted.witnesses, *map(parse_vkey, witness or ())))
    report = judge(trusted, found.prior, _examine_all(found, trusted, workers), found.notes)
    _say(_as_json(report, trusted, policy) if json else _as_text(report, trusted, policy))
    return GOOD if report.is_good and report.size == found.size else AGAINST


def show(bundle: Path, *, seq: int | None = None, json: bool = False) -> int:
    """Print the entries of a bundle, or one of them; nothing is verified.

    Args:
        bundle: the bundle's file.
        seq: print this entry alone, whole.
        json: print the entries as they were sealed, one a line.
    """
    found = open_bundle(bundle)
    if seq is not None and not found.first <= seq < found.size:
        raise OperatorError(
            f"{bundle} has no entry {seq}", f"It holds entries {found.first} to {found.size - 1}"
        )
    place = found.first
    for name in found.files:
        for raw in parse_frames(read_entries(bundle, name)):
            if seq is None or seq == place:
                _say(raw.decode() if json or seq is not None else _line(raw))
            place += 1
    return GOOD


def _read_policy(path: Path) -> Policy:
    """Read the keys to trust."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}", "Name a policy file") from error
    try:
        found = read_json(data)
    except ValueError as error:
        raise OperatorError(f"{path} is no JSON: {error}", "Name a policy file") from error
    if not isinstance(found, dict):
        raise OperatorError(f"{path} holds no JSON object", "Name a policy file")
    return parse_policy(found, where=str(path))


def _examine_all(bundle: Bundle, policy: Policy, workers: int) -> Iterator[Stretch]:
    """Examine all entry files, in processes where there are many; shows progress on a terminal."""
    starts = range(0, len(bundle.files), FILES_PER_TASK)
    tasks = [
        (bundle.first + start * ENTRIES_PER_FILE, bundle.files[start : start + FILES_PER_TASK])
        for start in starts
    ]
    work = partial(_examine_files, bundle.path, policy)
    count = workers or len(os.sched_getaffinity(0))
    if count == 1 or len(bundle.files) < INLINE_FILES:
        yield from map(work, tasks)
        return
    with multiprocessing.get_context("spawn").Pool(min(count, len(tasks))) as pool:
        for done, stretch in enumerate(pool.imap(work, tasks), 1):
            _progress(done, len(tasks))
            yield stretch


def _examine_files(path: Path, policy: Policy, task: tuple[int, Sequence[str]]) -> Stretch:
    """Examine some entry files that follow each other."""
    first, names = task
    return examine(policy, first, b"".join(read_entries(path, name) for name in names))


def _say(text: str) -> None:
    """Write a line of the answer."""
    sys.stdout.write(f"{text}\n")


def _progress(done: int, total: int) -> None:
    """Draw progress on a terminal; silent elsewhere."""
    if sys.stderr.isatty():
        end = "\n" if done == total else ""
        sys.stderr.write(f"\rverifying {done * 100 // total:3d} %{end}")
        sys.stderr.flush()


def _as_json(report: Report, policy: Policy, given: Path | None) -> str:
    """Write the report as one JSON object."""
    return canonical.encode(
        {
            "anchored": report.anchored,
            "anchored_at": report.anchored_at,
            "earliest": report.earliest,
            "faults": [
                {"detail": fault.detail, "seq": fault.seq, "verdict": fault.verdict.value}
                for fault in report.faults
            ],
            "first": report.first,
            "good": report.is_good,
            "keys": "policy" if given else "bundle",
            "kinds": dict(report.kinds),
            "latest": report.latest,
            "origin": policy.origin,
            "size": report.size,
            "unsynchronised": report.unsynchronised,
        }
    ).decode()


def _as_text(report: Report, policy: Policy, given: Path | None) -> str:
    """Write the report for people: what was looked at, each check, the verdict and what it rests on."""
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.kinds.items(), key=_most_first))
    lines = [
        f"Log        {policy.origin}",
        f"Entries    {report.first} to {report.size - 1}: {kinds}",
        f"Accepted   {report.earliest} to {report.latest}",
        "",
    ]
    for check in CHECKS:
        fault = report.fault_of(check)
        mark = _colour("ok  ", _GREEN) if fault is None else _colour("FAIL", _RED)
        lines.append(f"  {mark}  {check}")
        if fault is not None:
            lines.append(f"        {fault.verdict.value} at entry {fault.seq}: {fault.detail}")
    if report.unsynchronised:
        lines.append(f"  note  {report.unsynchronised} entries were sealed with a clock not synchronised")
    lines.append("")
    if report.is_good:
        moment = datetime.fromtimestamp(report.anchored_at, UTC).isoformat(timespec="seconds")
        lines.append(
            f"{_colour('GOOD', _GREEN)}: nothing missing, changed, moved or added; witnessed {moment}"
        )
    else:
        worst = report.faults[0]
        lines.append(f"{_colour('NOT GOOD', _RED)}: {worst.verdict.value}, first at entry {worst.seq}")
    sums = [f"record key {hashlib.sha256(policy.record_key).hexdigest()}"]
    sums += [f"witness {key.encode()}" for key in policy.witnesses]
    rests = (
        f"This rests on the keys in {given}:"
        if given
        else "This rests on keys named by the bundle itself; compare them with yours, or use --policy:"
    )
    return "\n".join([*lines, rests, *(f"  {line}" for line in sums)])


def _most_first(item: tuple[str, int]) -> tuple[int, str]:
    """Order kinds by how many there are."""
    return -item[1], item[0]


def _line(raw: bytes) -> str:
    """Write one entry on a line; what cannot be read is said so."""
    try:
        entry = parse_entry(raw)
    except InputError as error:
        return f"(not readable: {error})"
    data = canonical.encode(entry.data).decode()
    return f"{entry.seq:>9}  {entry.t}  {entry.kind:<11}  {entry.src.get('dev', '-'):<20}  {data}"


_GREEN: Final = "32"
_RED: Final = "31"


def _colour(text: str, code: str) -> str:
    """Colour a word on a terminal that wants colours."""
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"\x1b[{code};1m{text}\x1b[0m"
    return text


COMMANDS = (export, verify, show)
