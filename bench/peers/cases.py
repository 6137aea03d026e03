"""The cases: each starts a peer anew, lets sensors publish, does something to it, and counts what arrived."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import msgspec

from bench.loading import Credentials
from bench.peers.counting import Count, count
from bench.peers.sensors import Report
from bench.peers.setups import Peer, Setup
from bench.programs import MeasurementError

PACE = 1_000
"""Messages a second, where they do not come as fast as they are acknowledged."""

UNDER_WAY = "while it still delivered"
"""In the note of an outcome: what has not arrived is not lost, as far as anybody knows."""

_FLAP_PACE = 200
_UP_S, _DOWN_S = 3.0, 2.0
_STILL_S = 2.0


@dataclass(frozen=True)
class Sizes:
    """How much each case does.

    Attributes:
        burst: messages as fast as they are acknowledged.
        paced: messages at the pace.
        outage: messages while the line is cut.
        killed: messages at the pace while the edge is killed.
        synced: messages at the pace while calls are counted.
        flapping_s: seconds of a line that comes and goes.
        settle_s: seconds without a delivery after which none is expected.
        drain_s: seconds after which nobody waits any longer.
    """

    burst: int = 20_000
    paced: int = 10_000
    outage: int = 30_000
    killed: int = 10_000
    synced: int = 5_000
    flapping_s: float = 120.0
    settle_s: float = 30.0
    drain_s: float = 300.0


QUICK = Sizes(2_000, 1_000, 2_000, 3_000, 1_000, 5.0, 10.0, 20.0)


@dataclass(frozen=True)
class Outcome:
    """What one case of one peer came to.

    Attributes:
        peer: its name.
        case: the case's name.
        count: what became of the messages; None: not run.
        per_second: messages a second: acknowledged, in an outage delivered after it.
        p50_ms: of the PUBACK.
        p99_ms: of the PUBACK.
        memory_mb: of the programs at the edge, afterwards; 0: not measured.
        cpu_us: their processor time for each message, up to its delivery; 0: not measured.
        syncs: calls of fsync and its like for each message; None: not counted.
        note: what else must be known, or why it did not run.
    """

    peer: str
    case: str
    count: Count | None = None
    per_second: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    memory_mb: float = 0.0
    cpu_us: float = 0.0
    syncs: float | None = None
    note: str = ""


class Trial:
    """One peer with its sensors, while one case lasts."""

    def __init__(self, setup: Setup, credentials: Credentials, sizes: Sizes, folder: Path) -> None:
        """Take a peer whose edge runs."""
        self.setup, self.sizes, self.folder = setup, sizes, folder
        self._credentials = credentials
        self._cpu_s = setup.edge.cpu_s()

    def sensors(
        self, messages: int, rate: float = 0.0, *, meanwhile: Callable[[], None] | None = None
    ) -> Report:
        """Let the sensors publish, and do something meanwhile."""
        command = [
            *(sys.executable, "-m", "bench.peers.sensors", "--port", str(self.setup.port)),
            *("--credentials", str(self._credentials.folder / "device"), "--ca", str(self._credentials.ca)),
            *("--messages", str(messages), "--rate", str(rate)),
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            try:
                if process.stdout.readline() and meanwhile is not None:
                    meanwhile()
                answer, failure = process.communicate(timeout=600)
            except subprocess.TimeoutExpired as error:
                raise MeasurementError("the sensors did not end") from error
            finally:
                if process.poll() is None:
                    process.kill()
        if process.returncode:
            raise MeasurementError(f"the sensors failed: {failure.decode()[-300:]}")
        return msgspec.json.decode(answer, type=Report)

    def settle(self, report: Report) -> str:
        """Wait until everything has arrived, or nothing more does; gives what is to be said of it."""
        wanted = sum(last - first + 1 for each in report.acknowledged.values() for first, last in each)
        begun = since = time.monotonic()
        before = self.setup.arrived()
        while (now := time.monotonic()) < begun + self.sizes.drain_s:
            time.sleep(0.1)
            found = self.setup.arrived()
            if found != before:
                before, since = found, now
            elif now - since > (_STILL_S if found >= wanted else self.sizes.settle_s):
                return ""
        return f"stopped after {self.sizes.drain_s:.0f} s {UNDER_WAY}"

    def outcome(self, report: Report, note: str = "", *, is_measured: bool = True) -> Outcome:
        """Count."""
        found = count(report.acknowledged, self.setup.delivered())
        each = max(1, found.acknowledged)
        notes = [note, f"{report.unacknowledged} not acknowledged" if report.unacknowledged else ""]
        return Outcome(
            "",
            "",
            found,
            each / report.seconds,
            report.p50_ms,
            report.p99_ms,
            self.setup.edge.memory_mb() if is_measured else 0.0,
            (self.setup.edge.cpu_s() - self._cpu_s) / each * 1e6 if is_measured else 0.0,
            note="; ".join(filter(None, notes)),
        )


def burst(trial: Trial) -> Outcome:
    """Publish as fast as it is acknowledged, the line being up."""
    report = trial.sensors(trial.sizes.burst)
    return trial.outcome(report, trial.settle(report))


def paced(trial: Trial) -> Outcome:
    """Publish 1,000 messages a second."""
    report = trial.sensors(trial.sizes.paced, PACE)
    return trial.outcome(report, trial.settle(report))


def outage(trial: Trial) -> Outcome:
    """Cut the line, publish, restore the line, and see how fast all arrives."""
    trial.setup.wire.cut()
    report = trial.sensors(trial.sizes.outage)
    already, begun = trial.setup.arrived(), time.monotonic()
    trial.setup.wire.restore()
    note = trial.settle(report)
    seconds = time.monotonic() - begun - _STILL_S
    found = trial.outcome(report, note)
    rate = (trial.setup.arrived() - already) / max(seconds, 0.1)
    is_whole = found.count is not None and not found.count.lost
    return replace(found, per_second=rate if is_whole else 0.0)


def _kill(trial: Trial) -> None:
    """Kill the edge after four tenths of the messages, and start it again."""
    time.sleep(trial.sizes.killed / PACE * 0.4)
    trial.setup.edge.kill()
    trial.setup.edge.start()


def killed(trial: Trial) -> Outcome:
    """Kill everything at the edge in mid-flow, and start it again; the sensors send again what is open."""
    report = trial.sensors(trial.sizes.killed, PACE, meanwhile=partial(_kill, trial))
    return trial.outcome(report, trial.settle(report), is_measured=False)


def killed_behind(trial: Trial) -> Outcome:
    """Do the same while the line is cut, so that there is a backlog; it comes back after the start."""
    trial.setup.wire.cut()
    found = trial.sensors(trial.sizes.killed, PACE, meanwhile=partial(_kill, trial))
    trial.setup.wire.restore()
    return trial.outcome(found, trial.settle(found), is_measured=False)


def synced(trial: Trial) -> Outcome:
    """Count the calls that make data durable, at 1,000 messages a second."""
    reports: list[Report] = []

    def publish() -> None:
        reports.append(trial.sensors(trial.sizes.synced, PACE))
        trial.settle(reports[0])

    calls = trial.setup.edge.syncs(publish, trial.folder / "strace.txt")
    found = trial.outcome(reports[0], is_measured=False)
    acknowledged = max(1, found.count.acknowledged if found.count else 1)
    return Outcome("", "", found.count, syncs=calls / acknowledged, note=f"{calls:,} calls")


def flapping(trial: Trial) -> Outcome:
    """Cut the line for two seconds out of five while 200 messages a second come in."""
    end = threading.Event()

    def flap() -> None:
        while not end.wait(_UP_S):
            trial.setup.wire.cut()
            end.wait(_DOWN_S)
            trial.setup.wire.restore()

    thread = threading.Thread(target=flap, daemon=True)
    thread.start()
    report = trial.sensors(int(trial.sizes.flapping_s * _FLAP_PACE), _FLAP_PACE)
    end.set()
    thread.join()
    trial.setup.wire.restore()
    return trial.outcome(report, trial.settle(report))


CASES: dict[str, Callable[[Trial], Outcome]] = {
    "burst": burst,
    "paced": paced,
    "outage": outage,
    "killed": killed,
    "killed in an outage": killed_behind,
    "fsyncs": synced,
    "flapping": flapping,
}


def run(peer: Peer, case: str, credentials: Credentials, sizes: Sizes, folder: Path) -> Outcome:
    """Run one case of one peer.

    Raises:
        MeasurementError: a program ended, or was never ready.
    """
    folder.mkdir(parents=True)
    with peer(credentials, folder) as setup:
        return CASES[case](Trial(setup, credentials, sizes, folder))
