"""Runs every case of every peer, one after the other, and writes docs/peers.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import cyclopts

from bench import sites
from bench.loading import Credentials
from bench.peers import cases, environments, page
from bench.peers.cases import CASES, QUICK, Outcome, Sizes
from bench.peers.ours import coldseal, sketch
from bench.peers.setups import Peer, mosquitto_bridge, nats
from bench.peers.thingsboard import thingsboard
from bench.programs import MeasurementError
from bench.run import machine
from coldseal import __version__

PAGE = environments.ROOT / "docs" / "peers.md"


def _thingsboard(store: str) -> Peer:
    """Set ThingsBoard's gateway up with one of its stores."""
    return partial(thingsboard, environment=environments.environment("thingsboard"), store=store)


def _nats(*, is_synced_always: bool) -> Peer:
    """Set NATS up."""
    program = environments.environment("nats") / "bin" / "nats-server"
    return partial(nats, program=program, is_synced_always=is_synced_always)


PEERS: dict[str, Callable[[], Peer]] = {
    "coldseal": lambda: coldseal,
    "coldseal, checkpoint mode": lambda: partial(coldseal, mode="checkpoint"),
    "ThingsBoard, memory": lambda: _thingsboard("memory"),
    "ThingsBoard, file": lambda: _thingsboard("file"),
    "ThingsBoard, sqlite": lambda: _thingsboard("sqlite"),
    "Mosquitto bridge": lambda: mosquitto_bridge,
    "Mosquitto bridge, autosave on changes": lambda: partial(mosquitto_bridge, is_saved_always=True),
    "NATS": lambda: _nats(is_synced_always=False),
    "NATS, sync_interval always": lambda: _nats(is_synced_always=True),
    "the article's sketch": lambda: sketch,
}

app = cyclopts.App(name="peers", help=__doc__)


@app.default
def bench_peers(
    *,
    peer: list[str] | None = None,
    case: list[str] | None = None,
    quick: bool = False,
    folder: Path | None = None,
) -> int:
    """Measure.

    Args:
        peer: beginning of a peer's name; may be given several times. The page is not written then.
        case: name of a case; may be given several times. The page is not written then.
        quick: few messages, and one case unless others are named, to see that all works; writes no page.
        folder: where data are written; the disk below it is what is measured.
    """
    chosen = [name for name in PEERS if not peer or any(name.startswith(each) for each in peer)]
    case = case or (["killed"] if quick else None)
    wanted = [name for name in CASES if not case or name in case]
    if not chosen or not wanted:
        sys.stderr.write(f"peers: {', '.join(PEERS)}\ncases: {', '.join(CASES)}\n")
        return 2
    work = Path(tempfile.mkdtemp(prefix="coldseal-peers-", dir=folder))
    try:
        found = list(_run(chosen, wanted, QUICK if quick else Sizes(), work))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(page.table(found))
    if not (peer or case or quick):
        page.write(PAGE, _versions(), found)
    return 0


def _run(chosen: list[str], wanted: list[str], sizes: Sizes, work: Path) -> Iterator[Outcome]:
    """Run case after case, in each all peers."""
    credentials = sites.make_credentials(work / "pki")
    for case in wanted:
        for name in chosen:
            begun = time.monotonic()
            place = work / f"{case}-{list(PEERS).index(name)}"
            outcome = replace(_attempt(name, case, credentials, sizes, place), peer=name, case=case)
            shutil.rmtree(place, ignore_errors=True)
            sys.stderr.write(
                f"{case}, {name}: {outcome.count or outcome.note}, {time.monotonic() - begun:.0f} s\n"
            )
            yield outcome


def _attempt(name: str, case: str, credentials: Credentials, sizes: Sizes, place: Path) -> Outcome:
    """Run one case; a failure is shown as not run."""
    try:
        return cases.run(PEERS[name](), case, credentials, sizes, place)
    except (MeasurementError, OSError, subprocess.SubprocessError) as error:
        return Outcome(name, case, note=" ".join(str(error).split())[:200])


def _versions() -> str:
    """Say what was measured on what."""
    programs = (
        f"coldseal {__version__}, ThingsBoard gateway {environments.pinned('thingsboard')}, "
        f"Mosquitto {environments.mosquitto_version()}, NATS server {environments.pinned('nats')}"
    )
    load = f"load of the machine in the last quarter of an hour: {os.getloadavg()[2]:.1f}"
    return f"{machine()}, Python {sys.version.split()[0]}; {programs}; {load}."


if __name__ == "__main__":
    sys.exit(app())
