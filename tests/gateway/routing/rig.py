"""A log on disk, sinks over TLS that do what a test tells them, and the routes between them.

Everything is the real part on loopback and free ports; what is started is stopped by its block.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING, NamedTuple

from aiohttp import web

from coldseal.core.log.record import parse_entry
from coldseal.core.routing.rules import idempotency_key
from coldseal.gateway.config import load_gateway
from coldseal.gateway.routing.kept import Kept
from coldseal.gateway.routing.process import Routes
from coldseal.identity.contexts import server_context
from tests.core.routing.entries import READING, SOURCE, seal
from tests.sealed import ORIGIN, SealedLog
from tests.trial import STORE_KEY, Site
from tests.waiting import until

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from coldseal.core.log.canonical import Value
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.routing.report import RouteStatus

    Answering = Callable[[bytes], int]
    """Gives the status that a body is answered with; 0: no answer at all."""


class Posted(NamedTuple):
    """A request that a sink got, and what it answered."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def key(self) -> str:
        """The key that came with it."""
        return self.headers["Idempotency-Key"].strip('"')

    @property
    def seqs(self) -> list[int]:
        """Places of the entries, in the article form."""
        found = json.loads(self.body)
        return [each["seq"] for each in (found if isinstance(found, list) else [found])]


class Endpoint:
    """A sink: an HTTPS server that answers as it is told.

    Attributes:
        posted: what it got, in order.
        answer: says how it answers.
        more: headers of its answers.
        text: what its answers say.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Not listening yet; it takes everything."""
        self._context = context
        self._port = 0
        self._runner: web.AppRunner | None = None
        self._held = asyncio.Event()
        self.posted: list[Posted] = []
        self.answer: Answering = lambda _body: 200
        self.more: dict[str, str] = {}
        self.text = ""

    @property
    def url(self) -> str:
        """Where it is, by the name in its certificate."""
        return f"https://localhost:{self._port}/in"

    @property
    def taken(self) -> list[Posted]:
        """What it took."""
        return [each for each in self.posted if each.status < 300]

    @property
    def seqs(self) -> list[int]:
        """Places of all entries that it took, in order."""
        return [seq for each in self.taken for seq in each.seqs]

    def has(self, count: int) -> bool:
        """Whether it got so many requests."""
        return len(self.posted) >= count

    async def start(self) -> None:
        """Listen, again where it listened before."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._context)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Listen no more, and cut who is connected."""
        self._held.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _take(self, request: web.Request) -> web.Response:
        """Take one request."""
        body = await request.read()
        status = self.answer(body)
        if not status:
            await self._held.wait()
        self.posted.append(Posted(request.path, dict(request.headers), body, status))
        return web.Response(status=status or 503, headers=self.more, text=self.text)


class Grounds:
    """A gateway's folder, certificates, and a log that grows when told to.

    Attributes:
        site: certificates, and the service's folder.
        log: the log, in memory.
    """

    def __init__(self, folder: Path, *, mode: str = "record") -> None:
        """Make keys, and the beginning of the log."""
        self.site, self.log = Site(folder), SealedLog(mode=mode)
        self.path = folder / "gateway.toml"
        self._tables: list[str] = []
        key = folder / "store.key"
        key.write_text(STORE_KEY.hex())
        key.chmod(0o600)

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.site.gateway

    def server(self) -> ssl.SSLContext:
        """Give the TLS context of a sink."""
        certificate = self.site.certificates["service"]
        return server_context(certificate, certificate.with_suffix(".key"), None)

    @asynccontextmanager
    async def endpoint(self) -> AsyncIterator[Endpoint]:
        """Run a sink."""
        found = Endpoint(self.server())
        await found.start()
        try:
            yield found
        finally:
            await found.stop()

    def route(self, name: str, url: str, more: str = "", *, sink: str = "https-json", batch: int = 1) -> None:
        """Add a route to the configuration; it begins at the begin of the log, and tries again at once."""
        self._tables.append(
            f'[[routes]]\nname = "{name}"\nsink = "{sink}"\nurl = "{url}"\nca = "{self.site.trust}"\n'
            f"batch = {batch}\nretry_initial_s = 0.01\nretry_max_s = 0.05\ntimeout_s = 5\n"
            + ("" if "from =" in more else 'from = "begin"\n')
            + f"{more}\n"
        )

    def config(self, *overrides: str, origin: str = ORIGIN, more: str = "") -> GatewayConfig:
        """Write and load the configuration."""
        self.path.write_text(
            f'[gateway]\norigin = "{origin}"\nsite = "site-7"\ndata = "{self.data}"\n'
            '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:0"\npasswords = "passwords"\n'
            f'[store]\nkey = "file:store.key"\n{more}\n{"".join(self._tables)}'
        )
        return load_gateway(self.path, overrides)

    async def grow(self, count: int) -> None:
        """Seal readings, and have them on disk."""
        for _ in range(count):
            seal(self.log, "reading", READING, SOURCE)
        await self.commit()

    async def seal(self, kind: str, data: dict[str, Value], source: dict[str, Value] | None = None) -> int:
        """Seal one entry, have it on disk, and give its place."""
        seal(self.log, kind, data, source)
        await self.commit()
        return self.log.size - 1

    async def commit(self) -> None:
        """Have on disk what was sealed."""
        self.log.checkpoint()
        await self.site.store(self.log)

    def keys(self, seqs: Iterable[int]) -> list[str]:
        """Give the keys of entries."""
        return [idempotency_key(parse_entry(self.log.entries[seq])) for seq in seqs]

    def kept(self) -> Kept:
        """Open what the routes keep."""
        return Kept(self.data, STORE_KEY)

    def position(self, route: str) -> int:
        """Give where a route stands on disk; -1 where it never ran."""
        with closing(self.kept()) as kept:
            found = kept.position(route)
        return -1 if found is None else found.position

    @asynccontextmanager
    async def routing(self, *overrides: str, origin: str = ORIGIN, more: str = "") -> AsyncIterator[Running]:
        """Run the routes in this process; at the end they are ended in order."""
        routes = Routes(self.config(*overrides, origin=origin, more=more), STORE_KEY)
        end = asyncio.Event()

        async def beside() -> None:
            """Wait for the end."""
            await end.wait()

        running = asyncio.ensure_future(routes.run(beside))
        try:
            yield Running(routes, running)
        finally:
            end.set()
            await running


class Running:
    """Routes that run."""

    def __init__(self, routes: Routes, task: asyncio.Future[None]) -> None:
        """Take them."""
        self.routes, self._task = routes, task

    def status(self, route: str) -> RouteStatus:
        """Say how a route stands."""
        return self.routes.board.routes[route]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something, telling the routes that the log may have grown."""

        def look() -> bool:
            assert not self._task.done(), self._task.exception()
            self.routes.grow()
            return is_so()

        await until(look)

    async def at(self, route: str, position: int) -> None:
        """Wait until a route is at a place."""
        await self.until(
            lambda: route in self.routes.board.routes and self.status(route).position >= position
        )
