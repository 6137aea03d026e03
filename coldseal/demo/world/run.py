"""Plays one seed: a world with all its troubles, healed at the end, when everything must be delivered.

A run is a pure function of its seed and its sabotage. It ends at the first thing that does not hold.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.demo.chance import happens
from coldseal.demo.world.device import Device
from coldseal.demo.world.gateway import LOG, Surroundings
from coldseal.demo.world.loop import StuckError, VirtualLoop, run_virtual
from coldseal.demo.world.network import Network
from coldseal.demo.world.observer import Observer
from coldseal.demo.world.plan import Plan, Trouble, draw_plan, stream
from coldseal.demo.world.sabotage import SABOTAGES, Sabotage
from coldseal.demo.world.service import ServiceSite
from coldseal.demo.world.site import GatewaySite
from coldseal.demo.world.stage import STORE_KEY
from coldseal.demo.world.trace import Trace
from coldseal.errors import ColdsealError
from coldseal.gateway.store.reader import LogReader

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from coldseal.demo.world.plan import Event
    from coldseal.demo.world.stage import Stage

PATIENCE_S: Final = 600.0
"""Virtual seconds, and so many ticks, within which everything must be delivered once all is well."""

_HONEST: Final = Sabotage()
_NONE_LEFT: Final = 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a run.

    Args:
        seed: what was played.
        broken: what did not hold; empty if all did.
        digest: hash over everything that happened.
        counts: how often things happened.
        virtual_s: how long it took there.
        lines: what happened, the newest lines.
    """

    seed: int
    broken: str
    digest: str
    counts: dict[str, int]
    virtual_s: float
    lines: list[str]


def play(stage: Stage, seed: int, *, sabotage: Sabotage = _HONEST, plan: Plan | None = None) -> Outcome:
    """Play a seed.

    Args:
        stage: what runs share.
        seed: which run.
        sabotage: seeded faults.
        plan: instead of the one that the seed stands for.
    """
    plan = plan or draw_plan(seed)
    loop = VirtualLoop(stream(seed, "order"), slowness_s=plan.slowness_s)
    trace = Trace(loop.time)
    folder = stage.folder / f"run-{seed}"
    folder.mkdir()
    world = World(stage, plan, trace, folder, sabotage)
    try:
        broken = run_virtual(world.play(), loop)
    except StuckError as error:
        broken = str(error)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    broken = broken or "; ".join(loop.complaints)
    return Outcome(
        seed=seed,
        broken=broken,
        digest=trace.digest(),
        counts=dict(trace.counts),
        virtual_s=loop.time(),
        lines=list(trace.lines),
    )


class World:
    """One run."""

    def __init__(self, stage: Stage, plan: Plan, trace: Trace, folder: Path, sabotage: Sabotage) -> None:
        """Put everything in its place; nothing moves yet."""
        self._plan, self._trace = plan, trace
        self.observer = Observer(stage, plan.mode, trace)
        self.service = ServiceSite(
            stage,
            folder / "service",
            observer=self.observer,
            trace=trace,
            is_verified_first=plan.is_verified_first,
            make=sabotage.ingest,
        )
        chance = stream(plan.seed, "network")
        self.network = Network(chance, trace, self.observer, self.service)
        self.around = Surroundings(
            stage,
            plan,
            network=self.network,
            observer=self.observer,
            trace=trace,
            chance=stream(plan.seed, "uplink"),
            sabotage=sabotage,
        )
        self._chance = stream(plan.seed, "events")
        self.gateway = GatewaySite(self.around, folder, chance=self._chance, hang_up=self._hang_up)
        self.devices = self._make_devices()

    def _make_devices(self) -> list[Device]:
        """Give the devices, each with its moments."""
        plan, devices = self._plan, []
        for number in range(plan.devices):
            name = f"dev-{number + 1}"
            chance = stream(plan.seed, name)
            moments = sorted(chance.uniform(0.0, plan.span_s) for _ in range(plan.readings))
            is_counting = happens(chance, 0.75)
            device = Device(
                name, moments, window=plan.window, is_counting=is_counting, chance=chance, trace=self._trace
            )
            device.is_told = happens(chance, 0.5)  # the others speak MQTT 3.1.1
            devices.append(device)
        return devices

    def _hang_up(self) -> None:
        """Cut every device's connection."""
        for device in self.devices:
            device.cut()

    async def play(self) -> str:
        """Let it all happen; says what did not hold."""
        watching = asyncio.ensure_future(self.observer.is_broken.wait())
        playing = asyncio.ensure_future(self._play())
        await asyncio.wait((watching, playing), return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        playing.cancel()
        await asyncio.wait((watching, playing))
        await self._close()
        if not playing.cancelled() and (error := playing.exception()) is not None:
            raise error
        return str(self.observer.broken or "")

    async def _play(self) -> None:
        """Let time pass with its troubles, then heal, wait until all is delivered, and look at everything."""
        await self.service.start()
        tasks = [self._begin(self.gateway.keep())]
        for device in self.devices:
            tasks += [self._begin(device.measure()), self._begin(device.live(self.gateway))]
        troubles = [self._begin(self._trouble(event)) for event in self._plan.events]
        try:
            await asyncio.gather(*troubles)
            await asyncio.sleep(max(0.0, self._plan.span_s - asyncio.get_running_loop().time()))
            await self._heal()
            await self._settle()
        finally:
            for task in (*troubles, *tasks):
                task.cancel()
            await asyncio.wait((*troubles, *tasks))

    def _begin(self, work: Coroutine[None, None, None]) -> asyncio.Future[None]:
        """Begin something that goes on beside the rest, and must not fail."""
        running = asyncio.ensure_future(work)
        running.add_done_callback(self._look)
        return running

    def _look(self, done: asyncio.Future[None]) -> None:
        """See that what went on beside has not failed."""
        if not done.cancelled() and (error := done.exception()) is not None:
            place = error.__traceback__
            while place is not None and place.tb_next is not None:
                place = place.tb_next
            line = place.tb_lineno if place is not None else 0
            self.observer.fail(f"the simulator has a fault at line {line}: {error!r}")

    # ---- troubles

    async def _trouble(self, event: Event) -> None:
        """Let one trouble come, last and go."""
        await asyncio.sleep(event.at_s)
        self._trace.note(
            "trouble", event.trouble, f"{event.for_s:.3f}", event.step, event.chance, event.count
        )
        match event.trouble:
            case Trouble.KILL | Trouble.POWER:
                self.gateway.disk.strike(event.step, lambda: self.gateway.lose(event))
            case Trouble.STOP:
                if self.gateway.life is not None:
                    self.gateway.life.stop()
            case Trouble.DISK_ERROR | Trouble.DISK_FULL:
                await self._spoil_disk(event)
            case Trouble.CLOCK:
                self.observer.has_odd_times = True
                self.around.offset_s += self._chance.choice((-3_600.0, -2.0, -0.4, 0.4, 2.0, 3_600.0))
                self.around.has_time_server = happens(self._chance, 0.5)
            case Trouble.LINKS:
                for device in self.devices:
                    if happens(self._chance, 0.7):
                        device.cut()
            case Trouble.UPLINK:
                self._end_uplink(event)
            case _:
                await self._harm_delivery(event)

    async def _spoil_disk(self, event: Event) -> None:
        """Let the disk fail for a while, or be full."""
        self.observer.has_odd_times = True
        disk = self.gateway.disk
        if event.trouble is Trouble.DISK_FULL and event.step < 0:
            disk.free = _NONE_LEFT
        else:
            disk.break_down(event.step, event.count, is_full=event.trouble is Trouble.DISK_FULL)
        await asyncio.sleep(event.for_s)
        disk.free = None
        disk.heal()

    def _end_uplink(self, event: Event) -> None:
        """End the uplink's process, sometimes with its file."""
        life = self.gateway.life
        if life is not None and life.uplink is not None:
            life.lose_uplink(with_file=event.chance < 0.5)  # noqa: PLR2004 -- a share of them

    async def _harm_delivery(self, event: Event) -> None:
        """Let the network or the service misbehave for a while."""
        network, service = self.network, self.service
        match event.trouble:
            case Trouble.PARTITION:
                network.parted += 1
                await asyncio.sleep(event.for_s)
                network.parted -= 1
            case Trouble.ROUGH:
                network.roughness = 0.05 + 0.3 * event.chance
                await asyncio.sleep(event.for_s)
                network.roughness = 0.0
            case Trouble.SERVICE_MAD:
                network.is_mad = True
                await asyncio.sleep(event.for_s)
                network.is_mad = False
            case Trouble.SERVICE_SLOW:
                service.is_slow = True
                await asyncio.sleep(event.for_s)
                service.is_slow = False
            case _:
                await service.restart(event.for_s, is_full=event.trouble is Trouble.SERVICE_FULL)

    # ---- the end

    async def _heal(self) -> None:
        """End every trouble."""
        self.network.is_mad = False
        self.network.roughness = 0.0
        self.service.is_slow = False
        self.gateway.disk.disarm()
        self.gateway.disk.heal()
        self._trace.note("healed")

    async def _settle(self) -> None:
        """Wait until all is acknowledged and delivered; then stop the gateway in order, and look at all."""
        try:
            async with asyncio.timeout(PATIENCE_S + 20 * self._plan.tick_s + 2 * self._plan.retry_max_s):
                await self._until(lambda: all(device.is_done for device in self.devices))
                await self._stop_gateway()
                size = len(self.observer.entries)
                await self._until(lambda: len(self.observer.service) >= size)
                await self._stop_gateway(is_last=True)
        except TimeoutError:
            self.observer.fail(self._describe_rest())
            return
        with closing(LogReader(self.gateway.data / LOG, STORE_KEY)) as reader:
            self.observer.started(reader)
            self.observer.verify(reader, is_last=True)
        self.observer.finish(sent.name for device in self.devices for sent in device.wanted)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so; an operator lets a held delivery go on."""
        while not is_so():
            await asyncio.sleep(0.1)
            if self.gateway.life is not None:
                self.gateway.life.nudge()

    async def _stop_gateway(self, *, is_last: bool = False) -> None:
        """Stop the gateway in order, once it runs; its supervisor starts it again, but for the last time."""
        await self._until(lambda: self.gateway.is_up)
        life, self.gateway.is_closing = self.gateway.life, is_last
        if life is not None:
            life.stop()
            await self._until(lambda: self.gateway.life is not life)

    def _describe_rest(self) -> str:
        """Say what has not come to an end."""
        rest = [device.name for device in self.devices if not device.is_done]
        held, known = len(self.observer.service), len(self.observer.entries)
        return f"not all is delivered: {rest} wait for answers, the service has {held} of {known} entries"

    async def _close(self) -> None:
        """End what still runs."""
        with suppress(ColdsealError):
            await self.service.kill()


__all__ = ["SABOTAGES", "Outcome", "World", "play"]
