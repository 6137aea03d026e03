"""Runs the rows one after the other, shows them as a table, and writes the documentation's.

A row that fails is shown as not measured, and the next one runs. The page is written only by a whole
run. Exit code: 0 when every goal was met, 1 when one was not.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cyclopts
from rich.console import Console

from bench.alarms import ROWS as ALARMS
from bench.browser import ROWS as BROWSER
from bench.coldchain import ROWS as COLDCHAIN
from bench.custody import ROWS as CUSTODY
from bench.evidence import ROWS as EVIDENCE
from bench.large import ROWS as LARGE
from bench.programs import MeasurementError
from bench.recovery import ROWS as RECOVERY
from bench.report import Row, Run, render_table, write
from bench.routes import ROWS as ROUTES
from bench.rows import ROWS as PROGRAMS
from bench.rows import Bench, Measure
from coldseal import __version__

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"

ROWS = {**PROGRAMS, **EVIDENCE, **BROWSER, **RECOVERY, **CUSTODY, **ALARMS, **COLDCHAIN, **ROUTES, **LARGE}

app = cyclopts.App(name="bench", help=__doc__)


@app.default
def bench(*, only: list[str] | None = None, quick: bool = False, folder: Path | None = None) -> int:
    """Measure.

    Args:
        only: name of a row; may be given several times. The page is not written then.
        quick: short measurements of small logs, to see that all works. The page is not written then.
        folder: where logs are written; the disk below it is what is measured.
    """
    unknown = set(only or ()) - ROWS.keys()
    if unknown:
        sys.stderr.write(f"no row {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}\n")
        return 2
    console = Console(stderr=True, markup=False, highlight=False)

    def say(text: str) -> None:
        console.print(text, soft_wrap=True)

    work = Path(tempfile.mkdtemp(prefix="coldseal-bench-", dir=folder))
    try:
        measured = tuple(
            _measure(Bench(work, is_quick=quick), only or [name for name in ROWS if name not in LARGE], say)
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)
    Console().print(render_table(measured))
    if not only and not quick:
        run = Run(
            machine(), platform.python_version(), f"coldseal {__version__}", is_quick=quick, rows=measured
        )
        write(run, PAGE, PAGE.with_suffix(".json"))
    return 1 if any(row.is_met is False for row in measured) else 0


def _measure(found: Bench, names: list[str], say: Callable[[str], None]) -> Iterator[Row]:
    """Measure rows by name; what one leaves on disk is removed before the next."""
    for name in names:
        begun = time.monotonic()
        say(f"measuring {name} …")
        yield from _attempt(found, name, ROWS[name], say)
        say(f"  {time.monotonic() - begun:.0f} s")
        for place in found.folder.iterdir():
            if place != found.folder / "pki":
                shutil.rmtree(place, ignore_errors=True)


def _attempt(found: Bench, name: str, measure: Measure, say: Callable[[str], None]) -> Iterator[Row]:
    """Measure one row; a failure becomes a row that was not measured and missed its goal."""
    try:
        yield from measure(found)
    except MeasurementError as error:
        say(f"  not measured: {error}")
        note = str(error).splitlines()[0][:200]
        yield Row(key=name, figure=f"{name} (stopped here)", value=None, unit="", goal=0, note=note)


def machine() -> str:
    """Name the processor, the cores that may be used, and the system."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    name = found[1] if found else platform.machine()
    return f"{name}, {len(os.sched_getaffinity(0))} cores, {platform.system()} {platform.release()}"
