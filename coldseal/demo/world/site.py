"""The gateway's machine: keeps the program running over all its lives, and is what a power cut hits.

A process that is lost leaves its files as they are, and what was not synced can still be lost later. A
machine that loses its power leaves what its disk makes of that; the next one begins with that on its disk.
"""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

from coldseal.demo.chance import happens
from coldseal.demo.disk import put
from coldseal.demo.world.disk import WorldDisk
from coldseal.demo.world.gateway import LOG, Life
from coldseal.demo.world.plan import Trouble
from coldseal.errors import ColdsealError, OperatorError, TrustError
from coldseal.gateway.store.log import StoreFailedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random

    from coldseal.demo.world.device import Line, Sent
    from coldseal.demo.world.gateway import Surroundings
    from coldseal.demo.world.plan import Event


class GatewaySite:
    """The gateway, whether it runs or not.

    Args:
        around: what it stands in.
        folder: where its disks are.
        chance: draws what is left, and for how long it is away.
        hang_up: cuts every device's connection.

    Attributes:
        life: the program, while it runs.
        disk: the one that the machine has now.
        is_closing: nothing is started again.
    """

    def __init__(
        self, around: Surroundings, folder: Path, *, chance: Random, hang_up: Callable[[], None]
    ) -> None:
        """Give it its first disk."""
        self._around, self._folder, self._chance, self._hang_up = around, folder, chance, hang_up
        self._machines = 0
        self._left: dict[str, bytes] | None = None
        self._down_s = 0.0
        self.disk = self._new_disk()
        self.life: Life | None = None
        self.is_closing = False
        self.data.mkdir()

    @property
    def data(self) -> Path:
        """The data folder, on the disk that it has now."""
        return self._folder / f"gateway-{self._machines}"

    @property
    def is_up(self) -> bool:
        """Whether it takes messages."""
        return self.life is not None and self.life.door is not None

    def _new_disk(self) -> WorldDisk:
        """Give a disk, with the lies that are asked for."""
        disk = WorldDisk()
        disk.lie = self._around.sabotage.lie
        return disk

    def take(self, sent: Sent, line: Line, *, is_again: bool) -> None:
        """Take a message if the program is there; else its connection is lost."""
        life = self.life
        if life is None or life.door is None or life.is_lost:
            line.cut()
        else:
            life.door.take(sent, line, is_again=is_again)

    async def keep(self) -> None:
        """Keep the gateway running, as its supervisor and whoever switches it on do."""
        self._around.boot()
        while not self.is_closing:
            life = self.life = Life(self._around, self.data, self.disk)
            running = asyncio.ensure_future(life.run())
            life.end = running.cancel
            try:
                await asyncio.wait((running,))
            finally:
                if not running.done():
                    life.is_lost = True
                    running.cancel()
                    await asyncio.wait((running,))
            self._hang_up()
            self._judge(life, running)
            self._around.trace.note("gateway-down")
            self.life = None
            if not self.is_closing:
                await self._begin_again()

    def _judge(self, life: Life, running: asyncio.Future[None]) -> None:
        """Look why a life ended: some reasons are none."""
        if running.cancelled() or life.is_lost:
            if not running.cancelled():
                running.exception()
            return
        error: BaseException | None = running.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        if error is None:
            return
        self._around.trace.note("gateway-ended", type(error).__name__)
        if not isinstance(error, ColdsealError):
            self._around.observer.fail(f"the gateway has a fault that it does not know: {error!r}")
        elif isinstance(error, TrustError | OperatorError) and not isinstance(error, StoreFailedError):
            self._around.observer.fail(f"the gateway cannot go on: {error}")

    async def _begin_again(self) -> None:
        """Prepare for the next life: what a power cut left is another machine's disk."""
        files, self._left = self._left, None
        if files is not None:
            self._replace_disk(files)
        elif self.disk.is_off:
            self.disk.switch_on()
        down_s, self._down_s = self._down_s, 0.0
        await asyncio.sleep(down_s or self._chance.uniform(0.05, 1.0))
        if files is not None:
            self._around.boot()

    def _replace_disk(self, files: dict[str, bytes]) -> None:
        """Put what is left of the log into a new folder; the uplink's file comes along, or does not."""
        old = self.data
        self._machines += 1
        self.disk = self._new_disk()
        self.data.mkdir()
        put(files, self.data / LOG)
        if happens(self._chance, 0.7):
            for path in old.glob("uplink.db*"):
                if not path.name.endswith("-shm"):
                    shutil.copy(path, self.data)
        shutil.rmtree(old)

    def lose(self, event: Event) -> None:
        """End the gateway's process at this step of its disk, or the power of its machine."""
        life = self.life
        if life is None or life.is_lost:
            return
        if event.trouble is Trouble.POWER:
            folder = self.data / LOG
            seed = self._chance.getrandbits(32)
            self._left = self.disk.survivors(folder, event.chance, seed) if folder.exists() else {}
        life.is_lost = self.disk.is_off = True
        self._down_s = min(event.for_s, 30.0)
        self._around.trace.note("struck", event.trouble, event.chance)
        asyncio.get_running_loop().call_soon(life.end)
