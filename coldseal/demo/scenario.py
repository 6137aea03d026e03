"""The demo's play: sensors publish, the uplink is cut, the gateway is killed, everything is counted.

Everything is real but the temperature: both programs are processes of their own, started by their
command line, and the sensors speak MQTT 5 over TLS. Promises that whatever it started has ended when
it ends, also when it is interrupted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from coldseal.demo import excursion, gauges
from coldseal.demo.board import Board, Sample
from coldseal.demo.chance import seeded
from coldseal.demo.device import SENSOR
from coldseal.demo.gauges import read_gauges, whole
from coldseal.demo.line import Line
from coldseal.demo.programs import Program, run_command
from coldseal.demo.site import Site, make_fleet, prepare_site, read_gateway, read_service
from coldseal.demo.verdict import Findings, Verdict, judge
from coldseal.errors import UnavailableError

CUT_AT, OPEN_AT, KILL_AT, RESTORE_AT, CLOSE_AT = 0.25, 0.3, 0.4, 0.6, 0.75
"""When things happen, as shares of the sensors' time: the gateway is killed with a backlog on its disk, while
a fridge stands open."""

_INTERVAL_S = 0.05
_TICK_S = 0.25
_READY_S = 20.0
_ANSWERS_S = 20.0
_DRAIN_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to play.

    Args:
        folder: the work folder; must be new or empty.
        seconds: that the sensors publish.
        sensors: how many.
        seed: of the simulated weather.
    """

    folder: Path
    seconds: float = 40.0
    sensors: int = 24
    seed: int = 1


async def play(plan: Plan, board: Board) -> Verdict:
    """Play the whole demo and judge it.

    Raises:
        OperatorError: a set-up command refuses.
        UnavailableError: a program does not become ready.
    """
    board.tell(0.0, "setting up: development CA, service, gateway")
    site = await prepare_site(plan.folder, plan.sensors)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(asyncio.sleep, 0)  # a closed session's sockets close in the next round
        timeout = aiohttp.ClientTimeout(total=2.0)
        http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        line = await stack.enter_async_context(Line(site.service_port))
        service = await stack.enter_async_context(site.service())
        gateway = await stack.enter_async_context(site.gateway(line.port))
        await service.ready(http, within_s=_READY_S)
        await gateway.ready(http, within_s=_READY_S)
        await excursion.assign(site.gateway_config, site.sensors[0], SENSOR)
        stage = Stage(plan, board, Parts(site, http, line, gateway, service))
        await stage.run()
        findings = await stage.findings()
    verdict = judge(findings)
    board.conclude(verdict)
    return verdict


@dataclass(frozen=True, slots=True)
class Parts:
    """What stands on the stage."""

    site: Site
    http: aiohttp.ClientSession
    line: Line
    gateway: Program
    service: Program


class Stage:
    """One performance: the sensors, the two programs and the line between them."""

    def __init__(self, plan: Plan, board: Board, parts: Parts) -> None:
        """Take the parts; the sensors start with ``run``."""
        self._plan = plan
        self._board = board
        self._site = site = parts.site
        self._http = parts.http
        self._line = parts.line
        self._gateway = parts.gateway
        self._service = parts.service
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._phase = "sealing and delivering"
        self._is_down = False
        self._fleet = make_fleet(site, seeded(plan.seed), interval_s=_INTERVAL_S)

    async def run(self) -> None:
        """Let the sensors publish, make the faults, wait for the last answer and the last receipt."""
        self._begun = self._loop.time()
        self._tell(f"{len(self._site.sensors)} sensors publish")
        async with self._running(self._show()), self._running(self._fleet.run()) as sensors:
            await self._faults()
            await self._until(1.0)
            self._fleet.stop()
            self._enter("sensors stopped; draining", "sensors stopped")
            done, _ = await asyncio.wait({sensors}, timeout=_ANSWERS_S)
            if done:
                sensors.result()  # a sensor that failed is a fault of the demo
            else:
                self._tell(f"{self._fleet.waiting} readings have no answer after {_ANSWERS_S:g} s")
            await self._drained()

    async def _faults(self) -> None:
        """Cut the uplink, kill the gateway with a backlog on its disk, start it, restore the uplink."""
        await self._until(CUT_AT)
        self._line.cut()
        self._enter("uplink cut", "uplink cut: entries stay at the gateway")
        await self._until(OPEN_AT)
        self._fleet.leave_open(0, is_open=True)
        self._tell(f"{excursion.ASSET}: its door is left open")
        await self._until(KILL_AT)
        await self._gateway.kill()
        self._is_down = True
        self._tell("gateway killed with SIGKILL: sensors keep their readings")
        killed = self._loop.time()
        await self._gateway.start()
        await self._gateway.ready(self._http, within_s=_READY_S)
        self._is_down = False
        self._tell(f"gateway started again, ready after {self._loop.time() - killed:.1f} s")
        await self._until(RESTORE_AT)
        self._line.restore()
        self._enter("uplink restored", "uplink restored: the backlog goes up")
        await self._until(CLOSE_AT)
        self._fleet.leave_open(0, is_open=False)
        self._tell(f"{excursion.ASSET}: its door is closed")

    async def _drained(self) -> None:
        """Wait until every entry has a receipt and every signature is checked, or for a while."""
        deadline = self._loop.time() + _DRAIN_S
        while self._loop.time() < deadline:
            here = await read_gauges(self._http, self._gateway.url)
            there = await read_gauges(self._http, self._service.url)
            size = whole(here, gauges.LOG_ENTRIES)
            if (
                size
                and size == whole(here, gauges.PUBLISHED_ENTRIES)
                and there.get(gauges.VERIFY_BACKLOG) == 0
            ):
                self._tell(f"all {size:,} entries have a receipt, all signatures are checked")
                return
            await asyncio.sleep(_TICK_S)
        self._tell(f"not everything was delivered and checked within {_DRAIN_S:g} s")

    async def findings(self) -> Findings:
        """Read both logs from disk, verify an evidence bundle, and put it beside what the sensors know."""
        self._tell("reading both logs, exporting and verifying the evidence")
        site = self._site
        await self._service.stop()
        gateway = await asyncio.to_thread(read_gateway, site)
        await self._gateway.stop()
        service, summary = await asyncio.to_thread(read_service, site)
        story = await asyncio.to_thread(excursion.read_story, site.gateway_config)
        for line in excursion.tell(story):
            self._tell(line)
        code, said = await run_command("evidence", "export", str(site.gateway_config), str(site.bundle))
        if code == 0:
            code, said = await run_command("evidence", "verify", str(site.bundle))
        return Findings(
            acknowledged=self._fleet.acknowledged,
            unacknowledged=self._fleet.unacknowledged,
            gateway=gateway,
            service=service,
            signatures_verified=summary.verified,
            refuted=summary.refuted,
            evidence=(code, said.strip().rpartition("\n")[2]),
            excursion=excursion.checks(story),
        )

    @staticmethod
    @asynccontextmanager
    async def _running(work: Coroutine[None, None, None]) -> AsyncIterator[asyncio.Task[None]]:
        """Run something beside the block, and end it with the block."""
        task = asyncio.ensure_future(work)
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def _show(self) -> None:
        """Show the state several times a second."""
        while True:
            self._board.show(await self._sample())
            await asyncio.sleep(_TICK_S)

    async def _sample(self) -> Sample:
        """Take the state at this moment."""
        here = await read_gauges(self._http, self._gateway.url)
        now = self._loop.time()
        fleet, published = self._fleet, whole(here, gauges.PUBLISHED_ENTRIES)
        return Sample(
            elapsed_s=now - self._begun,
            duration_s=self._plan.seconds,
            phase=self._phase,
            sensors=fleet.connected,
            per_second=fleet.pulse.per_second(now),
            acknowledged=fleet.total,
            waiting=fleet.waiting,
            backlog=whole(here, gauges.BACKLOG_ENTRIES),
            published=published,
            receipt_age_s=here.get(gauges.RECEIPT_AGE) if published else None,
            latency_p50_ms=fleet.pulse.latency_ms(now, 0.5),
            latency_p99_ms=fleet.pulse.latency_ms(now, 0.99),
            is_cut=self._line.is_cut,
            is_down=self._is_down,
        )

    async def _until(self, share: float) -> None:
        """Wait for a share of the sensors' time; answer at once where it has passed.

        Raises:
            UnavailableError: a program ended by itself meanwhile.
        """
        while (left := self._begun + share * self._plan.seconds - self._loop.time()) > 0:
            for program in (self._gateway, self._service):
                if program.has_ended():
                    raise UnavailableError(program.name, f"it ended by itself: {program.tail()}")
            await asyncio.sleep(min(left, _TICK_S))

    def _enter(self, phase: str, event: str) -> None:
        """Begin a phase, and say so."""
        self._phase = phase
        self._tell(event)

    def _tell(self, event: str) -> None:
        """Say that something happened."""
        self._board.tell(self._loop.time() - self._begun, event)
