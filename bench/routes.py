"""The rows of routes: entries a second to one HTTPS sink, and what a dead sink costs the devices.

The sink is the least there can be, in this process: it counts and says 200. A real one is slower.
"""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

from aiohttp import web

from bench.programs import wait_until
from bench.report import Row
from bench.sites import make_gateway, run_gateway
from coldseal.identity.contexts import server_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator
    from pathlib import Path

    from bench.loading import Credentials
    from bench.rows import Bench, Measure

SETTLE_S: Final = 3.0
"""Time after a start until every process is there."""

TURNS: Final = 3
"""Neighbours slow one turn more than another."""

DEAD: Final = "https://localhost:1/"
"""Nobody listens there."""

MARK: Final = b'{"seq":'
"""Stands once in each entry of the article form, and nowhere inside its text, where quotes are escaped."""


class Counting:
    """A sink that counts.

    Attributes:
        entries: those that came.
        url: where it listens.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Not listening yet."""
        self._context, self._loop = context, asyncio.new_event_loop()
        self._times: list[float] = []
        self.entries, self.url = 0, ""

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Listen while the block lasts, in a thread."""
        thread = threading.Thread(target=self._loop.run_forever)
        thread.start()
        runner = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            thread.join()
            self._loop.close()

    @property
    def per_second(self) -> float:
        """Entries a second, from the first request to the last."""
        return self.entries / (self._times[-1] - self._times[0])

    def has(self, entries: int) -> bool:
        """Whether so many have come."""
        return self.entries >= entries

    async def _start(self) -> web.AppRunner:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_post("/", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._context).start()
        self.url = f"https://localhost:{runner.addresses[0][1]}/"
        return runner

    async def _take(self, request: web.Request) -> web.Response:
        """Count what came."""
        self.entries += (await request.read()).count(MARK)
        self._times.append(time.monotonic())
        return web.Response()


def routes(bench: Bench) -> Iterator[Row]:
    """Measure a backlog going to one sink, alone and in lists, and acknowledgements beside a dead one."""
    folder = make_gateway(bench.credentials, bench.place("routes"))
    backlog = 4_000 if bench.is_quick else 20_000
    with run_gateway(folder) as gateway:
        bench.fill(gateway, backlog)
    own = (folder / "gateway.toml").read_text()
    for batch, form in ((1, "each by itself"), (100, "in lists of 100")):
        sink = Counting(_context(bench.credentials))
        with sink.listening():
            (folder / "gateway.toml").write_text(
                own + _route(bench.credentials, sink.url, f"b{batch}", batch)
            )
            wanted = backlog // 4 if batch == 1 else backlog
            with run_gateway(folder):
                wait_until(partial(sink.has, wanted), "the backlog", 300)
        yield Row(
            key="routes",
            figure=f"routed to one HTTPS sink, {form}",
            value=sink.per_second,
            unit="/s",
            note="a backlog; gateway, routes and sink on the same cores; position durable for each request",
        )
    yield _beside_a_dead_sink(bench, own, folder)


def _beside_a_dead_sink(bench: Bench, own: str, folder: Path) -> Row:
    """Measure acknowledgements without routes, and with one whose sink is not there."""
    rates = [0.0, 0.0]
    for _ in range(TURNS):
        for which, text in enumerate((own, own + _route(bench.credentials, DEAD, "dead", 100))):
            (folder / "gateway.toml").write_text(text)
            with run_gateway(folder) as gateway:
                time.sleep(SETTLE_S)
                rates[which] = max(rates[which], bench.acknowledged(gateway, 50)[0])
    return Row(
        key="routes",
        figure="acknowledged, 50 TLS clients, beside a dead sink",
        value=rates[1],
        unit="/s",
        yardstick="without routes",
        against=rates[0],
        goal=0.9,
        note=f"the best of {TURNS} turns each, one after the other",
    )


def _context(credentials: Credentials) -> ssl.SSLContext:
    """Give the TLS context of a sink."""
    certificate = next((credentials.folder / "service").glob("*.pem"))
    return server_context(certificate, certificate.with_suffix(".key"), None)


def _route(credentials: Credentials, url: str, name: str, batch: int) -> str:
    """Write a route's table."""
    return (
        f'\n[[routes]]\nname = "{name}"\nsink = "https-json"\nurl = "{url}"\nbatch = {batch}\n'
        f'ca = "{credentials.folder / "root.pem"}"\nfrom = "begin"\n'
    )


ROWS: dict[str, Measure] = {"routes": routes}
