"""The rows of the benchmark: each starts what it needs, measures once, and stops it.

Every yardstick is measured just before its row, on the same machine. Generator, gateway and (where there
is one) service share the same cores, as the figures say.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from bench import sites, yardsticks
from bench.capacity import capacity
from bench.drain import drain
from bench.loading import Credentials, load
from bench.peers.brokers import baseline_per_second, mosquitto
from bench.programs import MeasurementError, size_on_disk, wait_until
from bench.report import Row
from bench.sites import PROMPT, Gateway, make_gateway, make_service, run_gateway
from coldseal.gateway.config import load_gateway
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.process import LOG_FOLDER
from coldseal.signing.secrets import read_symmetric_key

CHECKPOINT_GOAL, RECORD_GOAL = 2.5, 0.7

FILL, FILL_RATE = 80_000, 4_000
"""Readings, and how many a second, after which a gateway of 500 sensors remembers all that it may."""

SETTLE_S = 15.0
"""Time after which what a burst needed is given back."""


@dataclass
class Bench:
    """One run: its folder, how thorough it is, and the yardsticks measured so far."""

    folder: Path
    is_quick: bool = False
    rates: dict[tuple[str, int], float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """How long a rate is measured."""
        return 3.0 if self.is_quick else 8.0

    @cached_property
    def credentials(self) -> Credentials:
        """Certificates for everybody."""
        return sites.make_credentials(self.folder / "pki")

    def signing(self) -> float:
        """P-256 signatures a second on one core, just now: a neighbour slows yardstick and row alike."""
        return yardsticks.signing_rate(self.seconds / 4)

    def verifying(self) -> float:
        """P-256 verifications a second on one core, just now."""
        return yardsticks.verifying_rate(self.seconds / 4)

    def fdatasync_us(self) -> float:
        """Microseconds that 4 KiB take to become durable, just now."""
        return yardsticks.fdatasync_us(self.folder, self.seconds / 4)

    @property
    def cores(self) -> int:
        """Cores that this run may use."""
        return len(os.sched_getaffinity(0))

    def place(self, name: str) -> Path:
        """Give the folder of one row."""
        return self.folder / name

    def acknowledged(self, gateway: Gateway, connections: int) -> tuple[float, str]:
        """Measure acknowledged readings a second, and say what each cost in processor time."""
        window = 64 if connections == 1 else 20
        before: list[float] = []
        result = load(
            self.credentials,
            gateway.port,
            connections=connections,
            window=window,
            seconds=self.seconds,
            connected=lambda: before.append(gateway.program.cpu_s()),
        )
        cpu_us = (gateway.program.cpu_s() - before[0]) / result.acknowledged * 1e6
        note = f"{window} in flight each; processor time for each: gateway {cpu_us:.0f} µs"
        return result.per_second, f"{note}, generator {result.cpu_us_per_message:.0f} µs"

    def burst(self, gateway: Gateway) -> float:
        """Measure acknowledged readings a second for so short a time that a small log stays small."""
        return load(
            self.credentials, gateway.port, connections=50, messages=10_000, seconds=60, warm_up=0
        ).per_second

    def fill(self, gateway: Gateway, entries: int) -> None:
        """Let a gateway seal so many readings."""
        load(self.credentials, gateway.port, connections=50, messages=entries, seconds=1200)


Measure = Callable[[Bench], Iterator[Row]]


def machine(bench: Bench) -> Iterator[Row]:
    """Measure what this machine can do at best."""
    yield Row(key="machine", figure="P-256 signatures, one core", value=bench.signing(), unit="/s")
    yield Row(key="machine", figure="P-256 verifications, one core", value=bench.verifying(), unit="/s")
    yield Row(key="machine", figure="fdatasync of 4 KiB, median", value=bench.fdatasync_us(), unit="µs")


def acknowledged(bench: Bench) -> Iterator[Row]:
    """Measure QoS 1 readings sealed and acknowledged, in both modes, with 1, 50 and 500 TLS clients."""
    for mode, goal in (("record", RECORD_GOAL), ("checkpoint", CHECKPOINT_GOAL)):
        folder = make_gateway(bench.credentials, bench.place(f"acknowledged-{mode}"))
        with run_gateway(folder, mode=mode) as gateway:
            for connections in (1, 50, 500):
                signing = bench.signing()
                rate, note = bench.acknowledged(gateway, connections)
                bench.rates[mode, connections] = rate
                each = "signature for each entry" if mode == "record" else "signature for each commit"
                yield Row(
                    key="acknowledged",
                    figure=f"acknowledged, {connections} TLS clients, {each}",
                    value=rate,
                    unit="/s",
                    yardstick="signing",
                    against=signing,
                    goal=goal,
                    note=note,
                )


def against_mosquitto(bench: Bench) -> Iterator[Row]:
    """Compare the checkpoint mode with a broker that promises nothing."""
    if ("checkpoint", 50) not in bench.rates:
        folder = make_gateway(bench.credentials, bench.place("against-mosquitto"))
        with run_gateway(folder, mode="checkpoint") as gateway:
            bench.rates["checkpoint", 50], _ = bench.acknowledged(gateway, 50)
    with mosquitto(bench.credentials, bench.place("mosquitto")) as port:
        rate = load(bench.credentials, port, connections=50, seconds=bench.seconds).per_second
    yield Row(
        key="mosquitto",
        figure="acknowledged, 50 TLS clients, signature for each commit",
        value=bench.rates["checkpoint", 50],
        unit="/s",
        yardstick="Mosquitto, nothing durable",
        against=rate,
        goal=0.8,
        note="both over TLS 1.3 with client certificates, 20 in flight each",
    )


def latency(bench: Bench) -> Iterator[Row]:
    """Measure how long a PUBACK takes: one at a time, and at an offered rate."""
    folder = make_gateway(bench.credentials, bench.place("latency"))
    with run_gateway(folder) as gateway:
        before = bench.fdatasync_us()
        alone = load(bench.credentials, gateway.port, connections=1, window=1, seconds=bench.seconds)
        durable = (before + bench.fdatasync_us()) / 2
        offered = load(bench.credentials, gateway.port, connections=50, rate=1000, seconds=bench.seconds)
    if abs(offered.per_second - 1000) > 20:
        raise MeasurementError(f"1,000/s were offered and {offered.per_second:.0f}/s acknowledged")
    yield Row(
        key="latency",
        figure="PUBACK p50, one in flight",
        value=alone.p50_us,
        unit="µs",
        yardstick="fdatasync",
        against=durable,
        goal=5,
        sense="≤",
    )
    yield Row(key="latency", figure="PUBACK p99, one in flight", value=alone.p99_us / 1000, unit="ms")
    note = "50 TLS clients, signature for each entry"
    p50, p99 = offered.p50_us / 1000, offered.p99_us / 1000
    yield Row(key="latency", figure="PUBACK p50 at 1,000/s", value=p50, unit="ms", note=note)
    yield Row(
        key="latency", figure="PUBACK p99 at 1,000/s", value=p99, unit="ms", goal=10, sense="≤", note=note
    )


def million(bench: Bench) -> Iterator[Row]:
    """Compare the rate with a large log and with a new small one, in turns: a neighbour slows both alike."""
    count, small = 150_000 if bench.is_quick else 1_000_000, 1_000
    large = make_gateway(bench.credentials, bench.place("million"))
    with run_gateway(large, mode="checkpoint") as veteran:
        bench.fill(veteran, count)
    turns = []
    for turn in range(9):  # a burst makes a small log ten times as large
        new = make_gateway(bench.credentials, bench.place(f"thousand-{turn}"))
        with (
            run_gateway(new, mode="checkpoint") as beginner,
            run_gateway(large, mode="checkpoint") as veteran,
        ):
            bench.fill(beginner, small)
            bench.fill(veteran, small)
            if turn % 2:
                turns.append((bench.burst(beginner), bench.burst(veteran)))
            else:  # whichever is second finds other caches
                turns.append((bench.burst(veteran), bench.burst(beginner))[::-1])
    rates = [statistics.median(rates) for rates in zip(*turns, strict=True)]
    yield Row(
        key="million",
        figure=f"acknowledged with {count:,} entries stored",
        value=rates[1],
        unit="/s",
        yardstick=f"with {small:,} stored",
        against=rates[0],
        goal=0.9,
        note="50 TLS clients × 20 in flight, signature for each commit; median of nine, either one first",
    )


def disk(bench: Bench) -> Iterator[Row]:
    """Measure what an entry takes on disk."""
    entries = 20_000 if bench.is_quick else 100_000
    folder = make_gateway(bench.credentials, bench.place("disk"))
    with run_gateway(folder) as gateway:
        bench.fill(gateway, entries)
    total, length = _entries(folder)
    yield Row(
        key="disk",
        figure="bytes on disk for an entry",
        value=size_on_disk(folder / "data") / total,
        unit="bytes",
        yardstick="entry length",
        against=length,
        goal=1.25,
        sense="≤",
        note=f"{total:,} entries with two quantities, after a stop in order",
    )


def _entries(folder: Path) -> tuple[int, float]:
    """Count the entries in a gateway's log, and measure the mean length of the first thousand."""
    config = load_gateway(folder / "gateway.toml")
    reader = LogReader(config.gateway.data / LOG_FOLDER, read_symmetric_key(config.store.key, folder))
    try:
        entries = reader.read(1, max_entries=1000)
        return reader.size(), sum(map(len, entries)) / len(entries)
    finally:
        reader.close()


def memory(bench: Bench) -> Iterator[Row]:
    """Measure memory while 500 TLS clients publish steadily and the uplink delivers, once caches are full."""
    found: list[list[float]] = []
    service = make_service(bench.credentials, bench.place("memory-service"))
    folder = make_gateway(bench.credentials, bench.place("memory"), service)

    def look() -> None:
        time.sleep(SETTLE_S)
        found.append([gateway.program.shared_out_mb(), *gateway.program.memory_mb()])

    with service.running(), run_gateway(folder) as gateway:
        filling = bench.seconds if bench.is_quick else FILL / FILL_RATE
        load(bench.credentials, gateway.port, connections=500, rate=FILL_RATE, seconds=filling)
        load(
            bench.credentials,
            gateway.port,
            connections=500,
            rate=500,
            seconds=SETTLE_S + 5,
            connected=look,
        )
    shared_out, *processes = found[0]
    yield Row(
        key="memory",
        figure="memory, 500 TLS clients, all processes, each shared page once",
        value=shared_out,
        unit="MB",
        goal=100,
        sense="≤",
        note=f"{len(processes)} processes, uplink delivering; {FILL:,} readings before, now one a second from"
        f" each; resident sizes added up: {sum(processes):.0f} MB",
    )
    yield Row(
        key="memory",
        figure="resident memory, 500 TLS clients, intake alone",
        value=processes[0],
        unit="MB",
        goal=100,
        sense="≤",
        note="the largest of the processes",
    )


def slow_fsync(bench: Bench) -> Iterator[Row]:
    """Measure the rate when every fsync takes 5 ms longer, as on poor flash."""
    for mode, goal in (("record", 10_000.0), ("checkpoint", None)):
        folder = make_gateway(bench.credentials, bench.place(f"slow-fsync-{mode}"))
        trace = folder / "strace.txt"
        prefix = (*sites.SLOW_FSYNC, "-o", trace)
        with run_gateway(folder, mode=mode, prefix=prefix) as gateway:
            rate, _ = bench.acknowledged(gateway, 50)
        if "(DELAYED)" not in trace.read_text():
            raise MeasurementError("strace delayed nothing")
        yield Row(
            key="slow-fsync",
            figure=f"acknowledged, each fsync 5 ms longer, signature for each {_unit(mode)}",
            value=rate,
            unit="/s",
            goal=goal,
            note="50 TLS clients × 20 in flight; strace delays each fsync and fdatasync",
        )


def _unit(mode: str) -> str:
    """Say what is signed."""
    return "entry" if mode == "record" else "commit"


def baseline(bench: Bench) -> Iterator[Row]:
    """Compare sensor to service with the article's sketch."""
    sketch = baseline_per_second(
        bench.credentials, bench.place("baseline"), 2_000 if bench.is_quick else 8_000
    )
    messages = 30_000 if bench.is_quick else 120_000
    service = make_service(bench.credentials, bench.place("end-to-end-service"))
    folder = make_gateway(bench.credentials, bench.place("end-to-end"), service)
    with service.running(), run_gateway(folder, settings=PROMPT) as gateway:
        begun = time.perf_counter()
        bench.fill(gateway, messages)
        wait_until(lambda: service.ingested() >= messages, f"{messages} stored", 600, 0.05)
        wait_until(lambda: service.verified() >= messages, "all signatures checked", 600, 0.2)
        rate = messages / (time.perf_counter() - begun)
    yield Row(
        key="baseline",
        figure="sensor to service: sealed, stored there, signature checked",
        value=rate,
        unit="/s",
        yardstick="the article's sketch",
        against=sketch,
        goal=10,
        note="sensors, gateway and service on the same cores; the sketch keeps one connection and uses WAL",
    )


ROWS: dict[str, Measure] = {
    "machine": machine,
    "acknowledged": acknowledged,
    "mosquitto": against_mosquitto,
    "latency": latency,
    "drain": drain,
    "million": million,
    "disk": disk,
    "capacity": capacity,
    "memory": memory,
    "slow-fsync": slow_fsync,
    "baseline": baseline,
}
"""The rows by the name that ``--only`` takes."""
