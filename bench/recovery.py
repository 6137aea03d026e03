"""Rows about recovery: how fast a gateway that lost everything has its log back from the service's copy.

The real programs: a gateway fills its log and delivers it, then its data folder is moved away, and the
command restores it with the key backup. What comes back is held against what was there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from bench.programs import MeasurementError, coldseal, wait_until
from bench.report import Row
from bench.sites import PROMPT, make_gateway, make_service, run_gateway
from coldseal.gateway.config import load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.process import LOG_FOLDER
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from bench.rows import Bench, Measure

RESTORE_GOAL = 1_000_000 / 60
"""Entries a second: a million within a minute."""

KEYS = ("record.pem", "checkpoint.pem", "interop.pem", "store.key")


def restore(bench: Bench) -> Iterator[Row]:
    """Measure the restoration of an empty gateway from the service's copy."""
    count = 50_000 if bench.is_quick else 1_000_000
    service = make_service(bench.credentials, bench.place("restore-service"))
    folder = make_gateway(bench.credentials, bench.place("restore"), service)
    old, keys = folder / "lost", folder / "backup"
    with service.running():
        with run_gateway(folder, settings=PROMPT) as gateway:
            bench.fill(gateway, count)
            wait_until(lambda: service.ingested() >= count, f"{count} stored", 1200, 0.2)
        wait_until(lambda: service.verified() >= count, "all signatures checked", 1200, 0.2)
        (folder / "data").rename(old)
        keys.mkdir(mode=0o700)
        for name in KEYS:
            shutil.move(folder / name, keys / name)
        begun = time.perf_counter()
        coldseal("recover", "clone", folder / "gateway.toml", "--keys", keys, "--why", "measured")
        seconds = time.perf_counter() - begun
    entries = _require_equal(folder, old)
    yield Row(
        key="restore",
        figure="empty gateway restored from the service's copy",
        value=entries / seconds,
        unit="/s",
        goal=RESTORE_GOAL,
        note=f"{entries:,} signed entries in {seconds:.1f} s with the command's start, byte-equal;"
        " service and command on the same cores",
    )


def _require_equal(folder: Path, old: Path) -> int:
    """Hold what was restored against what was lost; gives how many entries it is.

    Raises:
        MeasurementError: they differ.
    """
    config = load_gateway(folder / "gateway.toml")
    (copied,) = (config.gateway.data / "before").iterdir()
    key = read_symmetric_key(config.store.key, folder)
    with (
        closing(LogReader(copied / LOG_FOLDER, key)) as new,
        closing(LogReader(old / LOG_FOLDER, key)) as before,
    ):
        size = new.size()
        if new.root(size) != before.root(size):
            raise MeasurementError("the restored log is another one")
        return size


ROWS: dict[str, Measure] = {"restore": restore}
"""The rows by the name that ``--only`` takes."""
