"""A row about the verifier page: how long a browser takes over a bundle of 10,000 signed entries.

Chromium without a network opens the page from disk, as an inspector does; the page takes its own time, from
the chosen file to the verdict.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bench.evidence import seal
from bench.programs import MeasurementError
from bench.report import Row
from coldseal.core.log.layout import Layout
from coldseal.evidence.writer import Contents, write_bundle
from coldseal.page import page
from tests.page.chromium import PROGRAMS, Browser, program
from tests.page.inspector import Seen, inspect

if TYPE_CHECKING:
    from bench.rows import Bench, Measure

GOAL_S = 10.0
_ENTRIES = 10_000
_ROUNDS = 3


def browser(bench: Bench) -> Iterator[Row]:
    """Measure the page."""
    executable = program()
    if executable is None:
        raise MeasurementError(f"none of {', '.join(PROGRAMS)} is here")
    folder = bench.place("browser")
    folder.mkdir()
    sealed = seal(_ENTRIES)
    bundle, verifier = folder / "log.coldseal", folder / "verify.html"
    layout = Layout(_ENTRIES, ((0, _ENTRIES),), ())
    write_bundle(
        bundle,
        Contents(sealed.policy, layout, lambda first, end: sealed.entries[first:end], [sealed.note]),
    )
    verifier.write_bytes(page())
    running = Browser(executable, folder / "profile")
    try:
        seen = [asyncio.run(_look(running, verifier, bundle.read_bytes())) for _ in range(_ROUNDS)]
    finally:
        running.stop()
    if any(each.verdict != "good" for each in seen):
        raise MeasurementError(f"the page says {seen[0].verdict!r} of a good bundle")
    yield Row(
        key="browser",
        figure=f"page in a browser, {_ENTRIES:,} signed entries",
        value=min(each.millis for each in seen) / 1000,
        unit="s",
        goal=GOAL_S,
        sense="≤",
        note=f"Chromium, from the file to the verdict; the best of {_ROUNDS}",
    )


async def _look(running: Browser, verifier: Path, bundle: bytes) -> Seen:
    """Open the page in a tab of its own and choose the bundle."""
    async with running.tab() as tab:
        return await inspect(tab, verifier, bundle)


ROWS: dict[str, Measure] = {"browser": browser}
"""This row, by the name that ``--only`` takes."""
