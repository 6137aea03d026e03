"""Starts programs for a measurement, waits until they are ready, looks at their memory, stops them.

Each has its own process group and a log file; all that was started is stopped by its own id when the
block ends. Waits have deadlines.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from coldseal.demo.programs import free_ports

COLDSEAL = (sys.executable, "-m", "coldseal.cli.main")
_STOP_S = 20.0


class MeasurementError(Exception):
    """A program ended, was never ready, or answered nonsense: the row is not measured."""


@dataclass(frozen=True)
class Program:
    """A running program."""

    process: subprocess.Popen[bytes]
    log: Path

    def tail(self) -> str:
        """The end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def memory_mb(self) -> list[float]:
        """Resident memory of each process of its group, the largest first, in MB (10^6 bytes)."""
        page = os.sysconf("SC_PAGE_SIZE")
        found = [
            int(Path(f"/proc/{member}/statm").read_text().split()[1]) * page / 1e6
            for member in self.members()
        ]
        return sorted(found, reverse=True)

    def shared_out_mb(self) -> float:
        """Memory of the whole group with each shared page counted once (PSS), in MB."""
        total = 0
        for member in self.members():
            total += int(
                re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{member}/smaps_rollup").read_text(), re.MULTILINE)[
                    0
                ]
            )
        return total * 1024 / 1e6

    def cpu_s(self) -> float:
        """Processor time of the group's living processes so far."""
        ticks = 0
        for member in self.members():
            ticks += sum(int(number) for number in _stat(member)[11:13])
        return ticks / os.sysconf("SC_CLK_TCK")

    def members(self) -> list[int]:
        """Processes of its group."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    if int(_stat(int(entry.name))[2]) == self.process.pid:
                        found.append(int(entry.name))
        return found


@contextmanager
def running(
    name: str,
    command: Sequence[str | Path],
    folder: Path,
    *,
    is_ready: Callable[[Program], bool],
    within_s: float = 60.0,
) -> Iterator[Program]:
    """Run ``command`` while the block lasts; yields once it is ready."""
    with (folder / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(
            [str(part) for part in command], stdout=output, stderr=output, start_new_session=True
        )
    program = Program(process, folder / f"{name}.log")
    try:
        wait_until(lambda: process.poll() is not None or is_ready(program), f"{name} ready", within_s)
        if process.poll() is not None:
            raise MeasurementError(f"{name} ended with {process.returncode}: {program.tail()}")
        yield program
    finally:
        stop(program)


def stop(program: Program) -> None:
    """Ask a program to stop, and kill what is left of its group."""
    if program.process.poll() is None:
        program.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(_STOP_S)
    kill(program)


def kill(program: Program) -> None:
    """SIGKILL the whole group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(program.process.pid, signal.SIGKILL)
    program.process.wait()


def coldseal(*arguments: str | Path) -> str:
    """Run a command of coldseal that must succeed; answers what it printed."""
    done = subprocess.run(
        [*COLDSEAL, *(str(part) for part in arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if done.returncode:
        raise MeasurementError(f"coldseal {arguments}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout


def free_port() -> int:
    """Find a port on loopback that nothing else will take."""
    return free_ports(1)[0]


def is_open(port: int) -> bool:
    """Whether something listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def answers(port: int, path: str = "/readyz") -> bool:
    """Whether a page on loopback answers 200."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def metric(port: int, name: str) -> float:
    """Read one metric without labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        page = answer.read().decode()
    found = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
    if found is None:
        raise MeasurementError(f"/metrics has no {name}")
    return float(found[1])


def wait_until(is_so: Callable[[], bool], what: str, within_s: float, every_s: float = 0.02) -> None:
    """Poll until something is so.

    Raises:
        MeasurementError: it was not in time.
    """
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise MeasurementError(f"{what}: not within {within_s:g} s")
        time.sleep(every_s)


def size_on_disk(folder: Path) -> int:
    """Bytes that the files below a folder take up."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def _stat(process: int) -> list[str]:
    """Read the fields of /proc/PID/stat behind the command's name: state, parent, group and so on."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
