"""coldseal and the design article's sketch, set up as the others are; both post over mutual TLS."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path

from bench import sites
from bench.loading import GATEWAY, SERVICE, Credentials
from bench.peers.brokers import write_signing_key
from bench.peers.counting import Reading
from bench.peers.edge import Edge, Wire
from bench.peers.setups import Setup, broker, listener
from bench.programs import COLDSEAL, Program, answers, free_port, running
from coldseal.cli.sources import open_source
from coldseal.core.log.record import parse_entry

_PROMPT = ("uplink.retry_max_s=1", "checkpoint.seconds=1")
"""Settings: a line that is back is noticed within a second, as the bridge's is set to."""


@contextmanager
def coldseal(credentials: Credentials, folder: Path, *, mode: str = "record") -> Iterator[Setup]:
    """A gateway and a service, with nothing switched off."""
    service = sites.make_service(credentials, folder / "service")
    made = sites.make_gateway(credentials, folder / "gateway", service)
    port, http = free_port(), free_port()
    with service.running(), Wire(service.port) as wire:
        settings = (
            f"gateway.signature={mode}",
            f"mqtt.listen=127.0.0.1:{port}",
            f"http.listen=127.0.0.1:{http}",
            f"uplink.url=https://localhost:{wire.port}",
            *_PROMPT,
        )
        command: list[str | Path] = [*COLDSEAL, "gateway", "run", made / "gateway.toml"]
        command += [part for setting in settings for part in ("--set", setting)]
        start = partial(running, "gateway", command, made, is_ready=lambda _: answers(http))
        with Edge([start]).started() as edge:
            yield Setup(port, edge, wire, service.ingested, partial(_stored, service.folder / "service.toml"))


def _stored(config: Path) -> list[Reading]:
    """Read what the service keeps."""
    found: list[Reading] = []
    with closing(open_source(config)) as source:
        for first in range(0, source.size, 4096):
            entries = map(parse_entry, source.read(first, 4096))
            found += (
                (str(entry.src["dev"]), int(str(entry.src["seq"])))
                for entry in entries
                if entry.kind == "reading"
            )
    return found


@contextmanager
def sketch(credentials: Credentials, folder: Path) -> Iterator[Setup]:
    """The sketch of bench/baseline.py: Mosquitto and a subscriber that signs, stores and posts one by one."""
    write_signing_key(folder)
    port, inner, far = free_port(), free_port(), free_port()
    program = [sys.executable, "-m", "bench.baseline"]
    receiver = [*program, "receiver", *_plan(folder, far, credentials, ("service", SERVICE), "signing.pub")]
    with running("receiver", receiver, folder, is_ready=_is_ready), Wire(far) as wire:
        sender = [
            *program,
            "gateway",
            *_plan(folder, wire.port, credentials, ("gateway", GATEWAY), "signing.pem"),
        ]
        both = f"{listener(credentials, port)}listener {inner} 127.0.0.1\n"
        edge = Edge(
            [
                partial(broker, folder, "edge", port, both),
                partial(_start, folder, [*sender, "--broker-port", str(inner)]),
            ]
        )
        with edge.started():
            yield Setup(port, edge, wire, lambda: len(_received(folder)), lambda: _received(folder))


def _start(folder: Path, command: list[str | Path]) -> AbstractContextManager[Program]:
    """Run the sketch's gateway; a start counts as ready when its line in the log is a new one."""
    log = folder / "sketch.log"
    before = log.read_text().count("ready") if log.exists() else 0
    return running(
        "sketch", command, folder, is_ready=lambda program: program.log.read_text().count("ready") > before
    )


def _plan(
    folder: Path, port: int, credentials: Credentials, who: tuple[str, str], key: str
) -> list[str | Path]:
    """Arguments that both ends of the sketch take."""
    certificate = credentials.certificate(*who)
    return [
        *("--data", folder, "--port", str(port), "--ca", credentials.ca, "--signing-key", folder / key),
        *("--certificate", certificate, "--key", certificate.with_suffix(".key")),
    ]


def _is_ready(program: Program) -> bool:
    """Whether it has said so."""
    return "ready" in program.tail()


def _received(folder: Path) -> list[Reading]:
    """Read what the sketch's receiver stored."""
    with closing(sqlite3.connect(f"file:{folder / 'receiver.db'}?mode=ro", uri=True)) as database:
        rows = database.execute("SELECT canonical FROM readings ORDER BY seq").fetchall()
    found = [json.loads(text) for (text,) in rows]
    return [(str(each["topic"]).split("/")[3], int(each["seq"])) for each in found]
