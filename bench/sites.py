"""Gateways and services under measurement: real folders by the real commands, real programs.

One development CA serves a whole run. Each gateway starts with an empty log unless its folder is used
again; what a row needs otherwise than by default is passed as settings, which the row names.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.loading import Credentials
from bench.programs import COLDSEAL, Program, answers, coldseal, free_port, metric, running

SENSORS = 500
SITE = "bench"
_numbers = itertools.count(1)

PROMPT = ("uplink.retry_max_s=0.5", "checkpoint.seconds=1")
"""Settings for rows that wait for the end of a backlog: else its last checkpoint may come a minute later."""

SLOW_FSYNC = (
    "strace",
    "-f",
    "--seccomp-bpf",
    "-qq",
    "-e",
    "trace=fsync,fdatasync",
    "-e",
    "inject=fsync,fdatasync:delay_exit=5000",
)
"""Delays the return of every fsync by 5 ms, and stops at no other call; ``-o`` and a file follow."""


@dataclass(frozen=True)
class Gateway:
    """A running gateway."""

    program: Program
    folder: Path
    port: int
    http: int

    @property
    def data(self) -> Path:
        """Folder of its log."""
        return self.folder / "data"

    def entries(self) -> int:
        """Entries in its log."""
        return int(metric(self.http, "coldseal_gateway_log_entries"))


@dataclass(frozen=True)
class Service:
    """A prepared service; it runs within :meth:`running`."""

    folder: Path
    port: int
    http: int
    witness: str

    @contextmanager
    def running(self) -> Iterator[Program]:
        """Run it while the block lasts."""
        settings = (f"service.listen=127.0.0.1:{self.port}", f"http.listen=127.0.0.1:{self.http}")
        config = str(self.folder / "service.toml")
        command = [*COLDSEAL, "service", "run", config, *_options(settings)]
        with running("service", command, self.folder, is_ready=lambda _: answers(self.http)) as program:
            yield program

    def verified(self) -> int:
        """Entries whose own signature was checked since it started."""
        return int(metric(self.http, "coldseal_service_verified_total"))

    def ingested(self) -> int:
        """Entries stored since it started."""
        return int(metric(self.http, "coldseal_service_entries_total"))


def make_credentials(folder: Path) -> Credentials:
    """Make the CA and everybody's certificates."""
    coldseal("identity", "dev-ca", folder, "--devices", str(SENSORS))
    return Credentials(folder)


def make_service(credentials: Credentials, folder: Path) -> Service:
    """Make a service's folder."""
    made = coldseal("service", "init", folder, "--pki", credentials.folder, "--json")
    return Service(folder, free_port(), free_port(), msgspec.json.decode(made)["witness"])


def make_gateway(credentials: Credentials, folder: Path, service: Service | None = None) -> Path:
    """Make a gateway's folder, admitted by the service if there is one."""
    origin = f"coldseal.example/bench-{next(_numbers)}/gw-0001"
    uplink = (
        ("--uplink", f"https://localhost:{service.port}", "--witness", service.witness) if service else ()
    )
    coldseal(
        *("gateway", "init", folder, "--origin", origin, "--site", SITE, "--pki", credentials.folder), *uplink
    )
    if service:
        coldseal("service", "admit", service.folder / "service.toml", folder / "admission.json")
    return folder


@contextmanager
def run_gateway(
    folder: Path, *, mode: str = "record", settings: Sequence[str] = (), prefix: Sequence[str | Path] = ()
) -> Iterator[Gateway]:
    """Run a gateway while the block lasts.

    Args:
        folder: made by :func:`make_gateway`.
        mode: a signature for each ``record``, or one for each commit: ``checkpoint``.
        settings: ``table.key=value`` each.
        prefix: a program to run it under, such as strace.
    """
    port, http = free_port(), free_port()
    fixed = (
        f"gateway.signature={mode}",
        f"mqtt.listen=127.0.0.1:{port}",
        f"http.listen=127.0.0.1:{http}",
    )
    command = (*prefix, *COLDSEAL, "gateway", "run", folder / "gateway.toml", *_options((*fixed, *settings)))
    with running("gateway", command, folder, is_ready=lambda _: answers(http)) as program:
        yield Gateway(program, folder, port, http)


def _options(settings: Sequence[str]) -> list[str]:
    """Write settings as options."""
    return [part for setting in settings for part in ("--set", setting)]
