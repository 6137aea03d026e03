"""``coldseal evidence``: exports a bundle, verifies one with public keys alone, shows what is in it.

``verify`` and ``show`` need no more than a bare installation. Nothing in a bundle is believed before
it is checked, and a verdict says whose keys it rests on.
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.disputes import disputes
from coldseal.cli.export import export, prove
from coldseal.cli.output import print_lines
from coldseal.cli.page import page
from coldseal.cli.recompute import recompute
from coldseal.cli.tiles import tiles
from coldseal.cli.verdict import GOOD, verify
from coldseal.core.log import canonical
from coldseal.core.log.corrections import Corrections
from coldseal.core.log.record import parse_entry
from coldseal.errors import InputError, OperatorError
from coldseal.evidence.compression import unpacked
from coldseal.evidence.reader import MAX_ENTRIES, Archive, open_bundle
from coldseal.evidence.work import cut

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.evidence.reader import Bundle

_SHOWN = 5
"""Runs that are named where an entry is in none."""

_CLOCK = b'"kind":"clock"'


def show(bundle: Path, *, seq: int | None = None, json: bool = False) -> int:
    """Print the entries of a bundle, or one of them; nothing is verified but the sums of its files.

    Where an entry was sealed before its time came, its time by a later `clock` entry stands behind it.

    Args:
        bundle: the bundle's file.
        seq: print this entry alone, whole.
        json: print the entries as they were sealed, one a line.
    """
    with unpacked(bundle) as plain:
        return _show(bundle, plain, seq, as_json=json)


def _show(bundle: Path, plain: Path, seq: int | None, *, as_json: bool) -> int:
    """Print what was asked for of an unpacked bundle."""
    found = open_bundle(plain)
    runs = found.layout.runs
    if seq is not None and not any(first <= seq < end for first, end in runs):
        held = ", ".join(f"{first} to {end - 1}" for first, end in runs[:_SHOWN]) + (
            " …" if len(runs) > _SHOWN else ""
        )
        raise OperatorError(f"{bundle} has no entry {seq}", f"It holds the entries {held}")
    with closing(Archive(plain)) as archive:
        corrections = Corrections() if as_json or seq is not None else _corrections(found, archive)
        for place, raw in _entries(found, archive):
            if seq is None or seq == place:
                print_lines(raw.decode() if as_json or seq is not None else _line(raw, corrections))
    return GOOD


def _entries(found: Bundle, archive: Archive) -> Iterator[tuple[int, bytes]]:
    """Read all entries with their places."""
    for file in found.files:
        pieces, _ = cut(file, archive.read(file.name, MAX_ENTRIES, found.sums[file.name]))
        for (first, _), entries in pieces:
            yield from enumerate(entries, first)


def _corrections(found: Bundle, archive: Archive) -> Corrections:
    """Collect what the bundle's `clock` entries say of times before them."""
    corrections = Corrections()
    for _, raw in _entries(found, archive):
        if _CLOCK in raw:
            with suppress(InputError):  # it will be shown as not readable
                corrections.take(parse_entry(raw))
    return corrections


def _line(raw: bytes, corrections: Corrections) -> str:
    """Write one entry on a line, its corrected time behind it; what cannot be read is said so."""
    try:
        entry = parse_entry(raw)
    except InputError as error:
        return f"(not readable: {error})"
    data = canonical.encode(entry.data).decode()
    found = corrections.of(entry)
    really = f"  [{found.t} ± {found.error_ms} ms, by {found.by}]" if found else ""
    return f"{entry.seq:>9}  {entry.t}  {entry.kind:<11}  {entry.src.get('dev', '-'):<20}  {data}{really}"


COMMANDS = (export, verify, show, recompute, prove, tiles, page, disputes)
