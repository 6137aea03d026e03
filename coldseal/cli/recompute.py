"""`coldseal evidence recompute`: every corrected value of a bundle, computed once more.

Whether the entries are what the gateway signed, `verify` says; this says whether their values follow.
"""

from __future__ import annotations

from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import InputError

AGAINST: Final = 1
_SHOWN: Final = 20


def recompute(bundle: Path, *, json: bool = False) -> int:
    """Compute each value of a bundle once more, from its indication and the calibration that it names.

    Ends with 1 if one does not follow. A bundle that a gateway exports holds all calibrations; where one is
    not here, its values are counted as not known. Signatures are not looked at: see verify.

    Args:
        bundle: the bundle's file; also as an archive has it, compressed (.zst).
        json: answer with one JSON object.
    """
    from coldseal.core.coldchain.recomputation import Recomputation
    from coldseal.core.log.record import parse_entry
    from coldseal.evidence.compression import unpacked
    from coldseal.evidence.reader import MAX_ENTRIES, Archive, open_bundle
    from coldseal.evidence.work import cut

    found = Recomputation()
    with unpacked(bundle) as plain:
        opened = open_bundle(plain)
        with closing(Archive(plain)) as archive:
            for file in opened.files:
                pieces, _ = cut(file, archive.read(file.name, MAX_ENTRIES, opened.sums[file.name]))
                for raw in (raw for piece in pieces for raw in piece.entries):
                    with suppress(InputError):  # `verify` names it
                        found.take(parse_entry(raw))
    counts = {
        "readings": found.readings,
        "corrected": found.corrected,
        "converted": found.converted,
        "derived": found.derived,
        "as_sent": found.plain,
        "not_known": found.unknown,
        "different": len(found.differences),
    }
    if json:
        print_json({**counts, "differences": [each._asdict() for each in found.differences]})
    else:
        print_facts({name.replace("_", " "): count for name, count in counts.items()})
        for each in found.differences[:_SHOWN]:
            print_lines(f"entry {each.seq}: {each.quantity} is {each.value}, expected {each.expected}")
    return AGAINST if found.differences else 0
