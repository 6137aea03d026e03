"""Rows about a drain: how fast a backlog goes up, to its receipts and to the last checked signature.

Gateway and service are real programs and share the machine's cores; what each takes of them is told.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from bench.programs import Program, wait_until
from bench.report import Row
from bench.sites import PROMPT, Service, make_gateway, make_service, run_gateway
from bench.yardsticks import verifying_rate_all_cores

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bench.rows import Bench

CHECKED_GOAL, RECEIPT_GOAL = 0.8, 5.0


class Drained(NamedTuple):
    """How a backlog went.

    Attributes:
        stored: entries a second, to the last receipt.
        verified: entries a second, to the last checked signature.
        gateway_us: processor time of the gateway for each entry, to the last receipt.
        service_us: of the service with its processes, to the last checked signature.
    """

    stored: float
    verified: float
    gateway_us: float
    service_us: float


def drain(bench: Bench) -> Iterator[Row]:
    """Measure how fast a backlog goes up: until it has receipts, and until all signatures are checked."""
    entries = 40_000 if bench.is_quick else 200_000
    alone = bench.verifying() * bench.cores
    before = verifying_rate_all_cores(bench.seconds / 4)
    service = make_service(bench.credentials, bench.place("drain-service"))
    folder = make_gateway(bench.credentials, bench.place("drain"), service)
    with run_gateway(folder, settings=PROMPT) as gateway:
        bench.fill(gateway, entries)
        time.sleep(2.0)  # until a checkpoint covers the last of them, and the metrics count it
        entries = gateway.entries()
        with service.running() as program:
            found = _drain(service, program, gateway.program, entries)
    together = (before + verifying_rate_all_cores(bench.seconds / 4)) / 2
    note = f"backlog of {entries:,} signed entries, both programs on the same cores"
    times = f"processor time for each: gateway {found.gateway_us:.1f} µs, service {found.service_us:.1f} µs"
    shared = (
        f"with a process on each core, before and after: {together / alone:.2f} of {bench.cores} times one"
    )
    each, at_once = f"verifying × {bench.cores} cores", "verifying on all cores at once"
    for yardstick, against, how in (
        (each, alone, f"{note}; {times}"),
        (at_once, together, f"{note}; {shared}"),
    ):
        yield Row(
            key="drain",
            figure="drain, every signature checked",
            value=found.verified,
            unit="/s",
            yardstick=yardstick,
            against=against,
            goal=CHECKED_GOAL,
            note=how,
        )
    yield Row(
        key="drain",
        figure="drain to the receipt, signatures checked behind",
        value=found.stored,
        unit="/s",
        yardstick=each,
        against=alone,
        goal=RECEIPT_GOAL,
        note=note,
    )


def _drain(service: Service, serving: Program, sending: Program, entries: int) -> Drained:
    """Watch a backlog go."""
    wait_until(lambda: service.ingested() > 0, "the first batch", 60, 0.005)
    begun, already = time.perf_counter(), service.ingested()
    gateway_s, service_s = sending.cpu_s(), serving.cpu_s()
    wait_until(lambda: service.ingested() >= entries, f"{entries} stored", 600, 0.1)
    stored_s, gateway_s = time.perf_counter() - begun, sending.cpu_s() - gateway_s
    wait_until(lambda: service.verified() >= entries, "all signatures checked", 600, 0.2)
    verified_s, service_s = time.perf_counter() - begun, serving.cpu_s() - service_s
    count = entries - already
    us = 1e6 / count
    return Drained(count / stored_s, count / verified_s, gateway_s * us, service_s * us)
