"""The drills that play a fault on the running gateway: partition, full disk, and its end by SIGKILL.

Promise: each fault ends by itself within the seconds that were asked for, and devices keep their readings
meanwhile. A fault that is there already is no drill: then nothing is played.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.keys import history_of
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.drill.course import Check, Stage
from coldseal.errors import ColdsealError, OperatorError
from coldseal.gateway.administration import place_of_control
from coldseal.gateway.control import ask
from coldseal.gateway.records import open_reader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.core.log.record import Entry
    from coldseal.gateway.store.reader import LogReader

LOOKED_AT: Final = 4096
"""Entries before the fault that are read again after it."""

_SETTLED: Final = 0.3
_LOOKED_AT: Final = 0.5
"""Shares of the fault's time: what was under way may end first, and all is seen before the fault ends."""

_BEFORE_S: Final = 2.0
"""How long a drill looks at a gateway that is well, before it plays the fault."""


def partition(stage: Stage) -> list[Check]:
    """Cut the gateway off from the service for a while."""
    before = stage.status()
    if not stage.config.uplink.url:
        raise OperatorError(
            "uplink.url is empty: there is nothing to cut", "Hold it where there is a service"
        )
    if before["uplink"].startswith(("waiting", "held")):
        raise OperatorError(
            f"the uplink is {before['uplink']}", "Mend that first: a drill begins with all well"
        )
    was_fed = is_fed(stage)
    stage.say(f"cutting the uplink for {stage.seconds:g} s")
    stage.play("partition")
    stage.wait(stage.seconds * _SETTLED)
    cut = stage.status()
    stage.wait(stage.seconds * _LOOKED_AT)
    end = stage.status()
    stage.say(f"{end['size'] - end['published']} entries wait; the cut ends by itself")
    size = end["size"]
    stage.wait(stage.seconds * (1 - _SETTLED - _LOOKED_AT))
    took = stage.until(lambda: stage.status()["published"] >= size, stage.within_s)
    after = stage.status()
    grown = end["accepted"] - cut["accepted"]
    return [
        Check(
            "published while cut",
            str(end["published"] - cut["published"]),
            "0",
            end["published"] == cut["published"],
        ),
        Check(
            "readings acknowledged while cut",
            str(grown),
            "> 0" if was_fed else "any",
            grown > 0 or not was_fed,
        ),
        Check("entries that waited", str(size - cut["published"]), "≥ 0", size >= cut["published"]),
        Check(
            "seconds until all of them had a receipt", seconds_of(took), within_of(stage), took is not None
        ),
        Check(
            "the uplink afterwards",
            after["uplink"],
            "idle or sending",
            after["uplink"].startswith(("idle", "sending")),
        ),
    ]


def full_disk(stage: Stage) -> list[Check]:
    """Let the gateway behave for a while as if its disk were full."""
    if stage.status()["full"]:
        raise OperatorError("the store is full already", "Make room first: a drill begins with all well")
    was_fed = is_fed(stage)
    stage.say(f"closing the store to readings for {stage.seconds:g} s")
    stage.play("full-disk")
    stage.wait(stage.seconds * _SETTLED)
    cut = stage.status()
    is_own_taken = _is_own_taken(stage)
    stage.wait(stage.seconds * _LOOKED_AT)
    end = stage.status()
    stage.say("waiting until there is room again")
    stage.wait(stage.seconds * (1 - _SETTLED - _LOOKED_AT))
    took = (
        stage.until(lambda: stage.status()["accepted"] > end["accepted"], stage.within_s) if was_fed else 0.0
    )
    after = stage.status()
    with closing(open_reader(stage.config)) as reader:
        between = reader.read(cut["size"], max_entries=max(1, end["size"] - cut["size"]))
    taken = sum(parse_entry(raw).kind == "reading" for raw in between[: end["size"] - cut["size"]])
    return [
        Check("readings sealed while full", str(taken), "0", taken == 0),
        Check(
            "the gateway says that it is full",
            _ANSWER[end["full"]],
            "yes" if was_fed else "any",
            end["full"] or not was_fed,
        ),
        Check("its own entries get in", _ANSWER[is_own_taken], "yes", is_own_taken),
        Check(
            "seconds until readings were acknowledged again",
            seconds_of(took),
            within_of(stage),
            took is not None,
        ),
        Check("full afterwards", _ANSWER[after["full"]], "no", not after["full"] or not was_fed),
    ]


def power(stage: Stage, *, restart: str = "") -> list[Check]:
    """End the gateway as a power cut does, and see it come back with everything.

    Args:
        stage: where.
        restart: command that starts it again; empty where a service manager does.
    """
    before = stage.status()
    pid = int(before["pid"])
    if not restart and not _is_supervised(pid):
        hint = "Run it under systemd with Restart=always, or give --restart COMMAND"
        raise OperatorError(f"nobody would start the gateway {pid} again", hint)
    with closing(open_reader(stage.config)) as reader:
        size = reader.size()
        root = reader.root(size)
    stage.say(f"ending the gateway {pid} with SIGKILL, at {size} entries")
    os.kill(pid, signal.SIGKILL)
    if restart:
        stage.until(lambda: not Path(f"/proc/{pid}/stat").exists() or is_dead(pid), stage.within_s)
        nothing = subprocess.DEVNULL
        subprocess.Popen(  # noqa: S603 -- the operator's own command
            shlex.split(restart), stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )
    took = stage.until(partial(_runs_anew, stage, pid), stage.within_s)
    checks = [Check("seconds until it ran again", seconds_of(took), within_of(stage), took is not None)]
    with closing(open_reader(stage.config)) as reader:
        is_same = reader.size() >= size and reader.root(size) == root
        checks.append(
            Check(
                f"the {size} entries from before",
                "unchanged" if is_same else "NOT the same",
                "unchanged",
                is_same,
            )
        )
        behind = [parse_entry(raw) for raw in reader.read(size)] if is_same else []
        fault = first_fault(stage, reader, max(0, size - LOOKED_AT)) if is_same else "not looked at"
    kinds = [entry.kind for entry in behind if entry.kind in {"boot", "gap"}]
    checks.append(
        Check(
            "entries that say so", ", ".join(kinds[:2]) or "none", "boot, gap", kinds[:2] == ["boot", "gap"]
        )
    )
    checks.append(Check("first fault in chain and signatures", fault or "none", "none", not fault))
    return checks


def is_fed(stage: Stage) -> bool:
    """Whether readings are coming in now: only then can it be asked what becomes of them."""
    before = stage.status()["accepted"]
    stage.say("looking at the gateway while all is well")
    stage.wait(_BEFORE_S)
    return bool(stage.status()["accepted"] > before)


def _is_own_taken(stage: Stage) -> bool:
    """Whether the log's own entries still get in: one that says that a drill is under way."""
    try:
        ask(place_of_control(stage.config), {"do": "checkpoint"})
    except ColdsealError:
        return False
    return True


def _runs_anew(stage: Stage, pid: int) -> bool:
    """Whether another process answers in its place."""
    try:
        found: Mapping[str, Any] = stage.status()
    except ColdsealError:
        return False
    return int(found["pid"]) != pid


def _is_supervised(pid: int) -> bool:
    """Whether a service manager is the process's parent."""
    try:
        parent = _stat(pid)[1]
        return parent == "1" or Path(f"/proc/{parent}/comm").read_text(encoding="ascii").strip() == "systemd"
    except OSError:
        return False


def is_dead(pid: int) -> bool:
    """Whether a process has ended, though nobody has asked for its exit code yet."""
    try:
        return _stat(pid)[0] == "Z"
    except OSError:
        return True


def _stat(pid: int) -> list[str]:
    """Give the state and the parent of a process (proc(5): what stands behind its name in brackets)."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()


def first_fault(stage: Stage, reader: LogReader, first: int) -> str:
    """Name the first entry whose place, link or signature fails, from a seq on; empty if none does."""
    history = history_of(stage.config.gateway.origin, reader.settings())
    mode = stage.config.gateway.signature
    before = b"" if first == 0 else reader.nodes(0, first - 1)
    for seq, raw in enumerate(reader.read_from(first), first):
        entry: Entry = parse_entry(raw)
        if entry.seq != seq or (before and entry.prev != before.hex()):
            return f"entry {seq} does not follow the one before"
        if reason := verify_entry(history.at(seq).record, mode, entry):
            return f"entry {seq}: {reason}"
        before = leaf_hash(raw)
    return ""


def seconds_of(took: float | None) -> str:
    """Write a time that something took."""
    return "never" if took is None else f"{took:.1f}"


def within_of(stage: Stage) -> str:
    """Write the time that it may take."""
    return f"≤ {stage.within_s:g}"


_ANSWER: Final = {False: "no", True: "yes"}
