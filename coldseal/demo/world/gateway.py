"""The simulated site of the gateway: real pipeline, store and uplink on a disk and a clock that misbehave.

A life of the gateway begins as the program does and ends in order, by a fault of its own, or by being lost in
the midst of something; whatever it did after that is seen by nobody. The next life begins on what is left.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Final, Protocol

from coldseal.core.floods import Floods
from coldseal.core.log import canonical
from coldseal.core.log.delivery.sender import RetryPolicy, Terms
from coldseal.core.log.record import Chain
from coldseal.demo.world.door import Door
from coldseal.demo.world.judging import changes
from coldseal.demo.world.stage import EPOCH_S, ORIGIN, SITE, STORE_KEY
from coldseal.errors import UnavailableError
from coldseal.gateway.changing import Changing
from coldseal.gateway.clock import Clock, KernelClock
from coldseal.gateway.config import GatewayConfig
from coldseal.gateway.listening import Listening
from coldseal.gateway.message import Outcome
from coldseal.gateway.pipeline import Pipeline
from coldseal.gateway.preparation import Preparation
from coldseal.gateway.rejections import Rejections
from coldseal.gateway.store.log import Limits, Log
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.sealing import Sealer
from coldseal.gateway.tables.identity import Gateway as GatewayTable
from coldseal.gateway.tables.keeping import Checkpoint
from coldseal.gateway.tally import Tally
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.runner import Bell, Uplink
from coldseal.gateway.writer import projection_of, start_drafts
from coldseal.observe.health import Progress

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from coldseal.demo.world.device import Line, Sent
    from coldseal.demo.world.disk import WorldDisk
    from coldseal.demo.world.network import Network
    from coldseal.demo.world.observer import Observer
    from coldseal.demo.world.plan import Plan
    from coldseal.demo.world.sabotage import Sabotage
    from coldseal.demo.world.stage import Stage
    from coldseal.demo.world.trace import Trace
    from coldseal.gateway.projection import Projection
    from coldseal.gateway.store.journal import Journal

LOG: Final = "log"
UPLINK_PAUSE_S: Final = 0.5


class Intake(Protocol):
    """Where devices send to."""

    def take(self, sent: Sent, line: Line, *, is_again: bool) -> None:
        """Take a message; it is answered over the line, or never."""


class Surroundings:
    """What a gateway stands in: the same for all its lives.

    Args:
        stage: keys.
        plan: sizes.
        network: the way to the service.
        observer: is told what devices are told.
        trace: where it is noted.
        chance: the uplink's draws.
        sabotage: seeded faults.
    """

    def __init__(
        self,
        stage: Stage,
        plan: Plan,
        *,
        network: Network,
        observer: Observer,
        trace: Trace,
        chance: Random,
        sabotage: Sabotage,
    ) -> None:
        """Stand there; the machine is switched on now."""
        self.stage, self.plan, self.network = stage, plan, network
        self.observer, self.trace, self.chance, self.sabotage = observer, trace, chance, sabotage
        self.offset_s = 0.0
        self.has_time_server = True
        self.boots = 0
        self._booted_s = 0.0

    def boot(self) -> None:
        """Switch the machine on again: its clock that never steps begins anew."""
        self.boots += 1
        self._booted_s = asyncio.get_running_loop().time()

    def wall_ns(self) -> int:
        """Give the gateway's own idea of UTC."""
        now = asyncio.get_running_loop().time() - self.plan.begins_s + self.offset_s
        return EPOCH_S * 10**9 + int(now * 1e9)

    def clock(self) -> Clock:
        """Give the clock of one life."""
        loop = asyncio.get_running_loop()
        return Clock(
            kernel=lambda: KernelClock(disciplined=self.has_time_server, offset_ms=0, error_ms=5),
            wall_ns=self.wall_ns,
            boot_ns=lambda: int((loop.time() - self._booted_s + 1.0) * 1e9),
            boot=f"{self.boots:08x}",
        )

    def config(self, folder: Path) -> GatewayConfig:
        """Give what would stand in the gateway's configuration."""
        plan = self.plan
        return GatewayConfig(
            gateway=GatewayTable(origin=ORIGIN, site=SITE, data=folder, signature=plan.mode),
            checkpoint=Checkpoint(
                entries=plan.checkpoint_entries,
                seconds=plan.checkpoint_s,
                heartbeat_seconds=plan.heartbeat_s,
            ),
        )


class Life:
    """One run of the gateway's program.

    Args:
        around: what it stands in.
        folder: its data.
        disk: what the log lies on.

    Attributes:
        is_lost: nobody hears of what it does any more.
        log: once it is open.
        door: takes messages, while it is up.
        uplink: delivers.
        end: ends it in the midst of whatever it does.
    """

    def __init__(self, around: Surroundings, folder: Path, disk: WorldDisk) -> None:
        """Prepare; nothing is open yet."""
        self._around, self._folder, self._disk = around, folder, disk
        self._clock = around.clock()
        self._stop = asyncio.Event()
        self._bell = Bell()
        self.uplink: asyncio.Future[None] | None = None
        self._loses_file = False
        self._told = 0
        self.log: Log | None = None
        self.door: Door | None = None
        self.is_lost = False
        self.end: Callable[[], object] = self._stop.set

    async def run(self) -> None:
        """Run as the program does, until it is stopped or fails."""
        around, plan = self._around, self._around.plan
        limits = Limits(
            limit_mb=1_000,
            reserve_mb=1,
            segment_entries=plan.segment_entries,
            wal_mb=plan.wal_mb,
            state_entries=plan.state_entries,
        )
        new = Chain(ORIGIN, around.stage.keys.record.kid)
        now_ms = self._clock.now().t_ms
        log = Log.open(self._folder / LOG, STORE_KEY, limits, new=new, now_ms=now_ms, disk=self._disk)
        try:
            if not self.is_lost:
                around.observer.started(log.reader)
            await self._serve(log)
        finally:
            await log.close()

    async def _serve(self, log: Log) -> None:
        """Record the start, take readings in until stopped, and end in order."""
        around, config = self._around, self._around.config(self._folder)
        known = projection_of(config, log)
        known.redelivery = around.sabotage.known(known.redelivery)
        known.evaluator = around.sabotage.judged(known.evaluator)
        journal = around.sabotage.journal(
            log,
            Sealer(around.stage.keys, is_each_signed=around.plan.mode == "record", beside=None),
            self._clock,
            checkpoint_entries=config.checkpoint.entries,
            checkpoint_seconds=config.checkpoint.seconds,
            snapshot_entries=around.plan.snapshot_entries,
        )
        drafts = start_drafts(config, log, around.stage.keys, journal, self._clock)
        await journal.append(drafts, known.snapshot)
        pipeline = self._make_pipeline(journal, known)
        self.log = log
        self.door = Door(pipeline, self._clock, self._answered)
        around.trace.note("gateway-up", log.size)
        async with asyncio.TaskGroup() as tasks:
            listening = Listening(known.evaluator, journal, pipeline, self._clock, look_ms=1_000)
            product = Changing(known.evaluator, journal, pipeline, self._clock)
            own = log.maintain(), log.pack(), self._tick(log, pipeline, listening, product)
            beside = [tasks.create_task(each) for each in own]
            committing = tasks.create_task(pipeline.run())
            beside.append(tasks.create_task(self._deliver()))
            await self._stop.wait()
            self.door = None
            pipeline.stop()
            await committing
            for task in beside:
                task.cancel()
        end = journal.draft("shutdown", canonical.encode({"reason": "asked to stop"}), self._clock.now())
        await journal.append([end], known.snapshot)
        if not self.is_lost:
            around.observer.catch_up(log.reader)

    def _make_pipeline(self, journal: Journal, known: Projection) -> Pipeline:
        """Put the main path together."""
        around, metrics = self._around, self._around.stage.gateway_metrics
        tally = Tally(metrics, Progress("acknowledgements", 10))
        floods = Floods(around.plan.rejected_per_minute)
        return Pipeline(
            preparation=Preparation(
                projection=known,
                rejections=Rejections(floods, journal, metrics),
                journal=journal,
                tally=tally,
            ),
            journal=journal,
            clock=self._clock,
            tally=tally,
            max_pending=1_000,
        )

    def _answered(self, sent: Sent, outcome: Outcome) -> None:
        """The gateway answers a device: from here on the promise holds."""
        if not self.is_lost and self.log is not None:
            self._around.trace.note("told", sent.device, sent.packet_id, outcome.name)
            self._around.observer.acknowledged(self.log.reader, sent.name, outcome, sent.digest)

    async def _tick(self, log: Log, pipeline: Pipeline, listening: Listening, product: Changing) -> None:
        """Let time do its work."""
        around = self._around
        interval_ms = around.plan.heartbeat_s * 1000
        due_ms = self._clock.now().mono_ms + interval_ms
        while True:
            await asyncio.sleep(around.plan.tick_s)
            now = self._clock.now()
            if now.mono_ms >= due_ms:
                due_ms = now.mono_ms + interval_ms
                pipeline.record("heartbeat", b"{}")
            pipeline.tick()
            listening.tick()
            if around.plan.has_product and product.is_idle:
                for kind, data in changes(around.plan.devices):
                    _ = product.enter(kind, data)  # if it fails, the product is still unknown
            if self.door is not None:
                self.door.tick()
            if log.size != self._told:
                self._told = log.size
                self._bell.grow()

    async def _deliver(self) -> None:
        """Keep the uplink running, as the program keeps its process."""
        while True:
            running = self.uplink = asyncio.ensure_future(self._run_uplink())
            try:
                await asyncio.wait((running,))
            finally:
                running.cancel()
                await asyncio.wait((running,))
            self._judge_uplink(running)
            if self._loses_file:
                self._loses_file = False
                for path in self._folder.glob("uplink.db*"):
                    path.unlink()
            await asyncio.sleep(UPLINK_PAUSE_S)

    def _judge_uplink(self, running: asyncio.Future[None]) -> None:
        """Look why the uplink ended."""
        error = None if running.cancelled() else running.exception()
        self._around.trace.note("uplink-ended", type(error).__name__)
        if self.is_lost or error is None or isinstance(error, UnavailableError):
            return
        self._around.observer.fail(f"the uplink cannot go on: {error!r}")

    def lose_uplink(self, *, with_file: bool) -> None:
        """End the uplink's process; its file may go with it."""
        if self.uplink is not None:
            self._loses_file = with_file
            self.uplink.cancel()

    async def _run_uplink(self) -> None:
        """Run the uplink, for ever."""
        around, plan = self._around, self._around.plan
        witness = around.stage.witness
        terms = Terms(
            witness.signer.verifier_key(witness.name, cosigner=True),
            plan.batch_entries,
            RetryPolicy(0.2, plan.retry_max_s),
        )
        with (
            closing(LogReader(self._folder / LOG, STORE_KEY, disk=self._disk)) as reader,
            closing(Receipts(self._folder, STORE_KEY)) as receipts,
        ):
            uplink = Uplink(
                reader,
                receipts,
                around.network.post,
                terms,
                bell=self._bell,
                chance=around.chance.random,
                now_ms=lambda: around.wall_ns() // 10**6,
            )
            try:
                await uplink.run()
            finally:
                await uplink.close()

    def stop(self) -> None:
        """Ask it to end in order."""
        self._stop.set()

    def nudge(self) -> None:
        """A person says that delivery shall go on."""
        self._bell.nudge()
