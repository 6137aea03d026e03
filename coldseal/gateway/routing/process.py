"""The routes as a process: ``python -m coldseal.gateway.routing.process END CONFIG [key=value …]``.

Started, and started again, by the gateway; it ends when its standard input does. A line there says that the
log has grown; ``decided`` that a person has decided something. It only reads the log, and asks at END, a
socket's descriptor, for the key of each file.
"""

from __future__ import annotations

import asyncio
import random
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, closing
from typing import TYPE_CHECKING, BinaryIO, Final, TypeVar

from coldseal.core.routing.rules import Rules
from coldseal.errors import UnavailableError
from coldseal.gateway.clock import Clock
from coldseal.gateway.config import GatewayConfig
from coldseal.gateway.handing import Handed
from coldseal.gateway.processes import run_beside
from coldseal.gateway.routing.decisions import DECIDED
from coldseal.gateway.routing.form import Form
from coldseal.gateway.routing.gathering import Gathering
from coldseal.gateway.routing.kept import FOLDER, Kept
from coldseal.gateway.routing.placing import Placing
from coldseal.gateway.routing.report import KEPT_EGRESS, Board
from coldseal.gateway.routing.runner import Runner
from coldseal.gateway.routing.sinks import open_sink
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.names import guard_of
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.runner import Bell
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from coldseal.gateway.routing.report import RouteStatus
    from coldseal.gateway.store.file_keys import StoreKey
    from coldseal.gateway.tables.routes import Route

LOG_FOLDER: Final = "log"
"""The log's folder below the gateway's data folder."""
SHOW_S: Final = 0.5
"""Pause between two looks at what is to be written down for the gateway."""

Result = TypeVar("Result")
_log = Log("routes")


def main(arguments: Sequence[str]) -> int:
    """Send until standard input ends; 2 stands for a wrong configuration, 3 for another fault."""
    end, *rest = arguments or ("",)

    async def serve(config: GatewayConfig) -> None:
        """Do it with the keys that the gateway gives out."""
        with closing(Handed.of(end)) as key:
            await run(config, sys.stdin.buffer, key)

    return run_beside(
        rest,
        serve,
        part="routes",
        log=_log,
        failed=events.ROUTES_FAILED,
    )


class Routes:
    """All routes of a gateway.

    Args:
        config: the gateway's configuration.
        key: opens what is read and written.
    """

    def __init__(self, config: GatewayConfig, key: StoreKey) -> None:
        """Take the configuration; nothing is open yet."""
        self._config, self._key, self._clock = config, key, Clock()
        self._thread = ThreadPoolExecutor(1, "routes")
        self._folder = config.gateway.data / FOLDER
        self._bells: list[Bell] = []
        self._runners: list[Runner] = []
        self._receipts: Receipts | None = None
        self.board = Board(self._folder)

    async def run(self, beside: Callable[[], Coroutine[None, None, None]]) -> None:
        """Bring every route forward until what goes on beside ends.

        Raises:
            OperatorError: a file that a route names cannot be used.
            UnavailableError: log or positions cannot be read or written.
            ExceptionGroup: of one of these.
        """
        async with AsyncExitStack() as open_:
            kept = open_.enter_context(closing(Kept(self._config.gateway.data, self._key)))
            reader = open_.enter_context(closing(self._open_reader()))
            open_.callback(self._close_receipts)
            open_.enter_context(self._thread)  # ends before what it uses is closed
            guard = guard_of(self._config, kept=self._folder / KEPT_EGRESS)
            placing = Placing(reader.settings)
            origin = self._config.gateway.origin
            for route in self._config.routes:
                form = Form(route, self._config.gateway.site)
                rules = Rules(route.rules, self._config.gateway.site, form.kinds)
                sink = open_sink(route, form, origin=origin, guard=guard, clock=self._clock)
                open_.push_async_callback(sink.close)
                limit = self._published if route.after == "receipt" else _all
                bell = Bell()
                self._bells.append(bell)
                self._runners.append(
                    Runner(
                        route,
                        origin,
                        gathering=Gathering(reader, rules, form, placing, limit),
                        sink=sink,
                        kept=kept,
                        alone=self._alone,
                        bell=bell,
                        chance=random.SystemRandom().random,
                        now_ms=lambda: self._clock.now().t_ms,
                        show=self._shower(route),
                    )
                )
            positions = {
                route.name: await each.begin()
                for route, each in zip(self._config.routes, self._runners, strict=True)
            }
            _log.emit(events.ROUTES_STARTED, routes=positions)
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(each.run()) for each in self._runners]
                running.append(tasks.create_task(self._write()))
                await beside()
                for each in running:
                    each.cancel()
            self.board.write()

    def grow(self) -> None:
        """The log has grown."""
        for bell in self._bells:
            bell.grow()

    def decide(self) -> None:
        """A person has decided something."""
        for runner in self._runners:
            runner.decide()

    async def _write(self) -> None:
        """Write down how the routes stand, now and then."""
        while True:
            self.board.write()
            await asyncio.sleep(SHOW_S)

    async def _alone(self, work: Callable[..., Result], /, *arguments: object) -> Result:
        """Run something in the one thread that uses log and positions."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _open_reader(self) -> LogReader:
        """Open the log."""
        return LogReader(self._config.gateway.data / LOG_FOLDER, self._key)

    def _shower(self, route: Route) -> Callable[[RouteStatus], None]:
        """Give what is told how a route stands."""

        def show(status: RouteStatus) -> None:
            self.board.routes[route.name] = status

        return show

    def _published(self, size: int) -> int:
        """Give the size that has a receipt; none while the uplink has written down nothing."""
        try:
            if self._receipts is None:
                self._receipts = Receipts(self._config.gateway.data, self._key, readonly=True)
            return min(size, self._receipts.status().published)
        except UnavailableError:
            return 0

    def _close_receipts(self) -> None:
        """Close what was opened of the uplink's."""
        if self._receipts is not None:
            self._receipts.close()


def _all(size: int) -> int:
    """Give the whole size."""
    return size


async def run(config: GatewayConfig, told: BinaryIO, key: StoreKey) -> None:
    """Send until ``told`` ends; raises as `Routes.run`."""
    routes = Routes(config, key)
    lines = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), told
    )

    async def hear() -> None:
        """Hear what the gateway says."""
        while line := await lines.readline():
            if line.strip() == DECIDED:
                routes.decide()
            else:
                routes.grow()

    try:
        await routes.run(hear)
    finally:
        transport.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
