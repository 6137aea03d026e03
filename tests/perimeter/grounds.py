"""The listeners of both programs, running in a thread of their own for tests that call them from outside.

One of each for a whole module. What they say stands in `said`; what they have read in `calls`.
"""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from coldseal.core.topics import Policy
from coldseal.errors import InputError
from coldseal.gateway.clock import Clock
from coldseal.gateway.sources.door import DoorLimits
from coldseal.gateway.sources.mqtt import MqttListener
from coldseal.gateway.tables.intake import Mqtt
from coldseal.identity.peer import RoleError, require_role
from coldseal.mqtt.codec import encode
from coldseal.mqtt.packets import Connect, Version
from coldseal.observe.metrics import GatewayMetrics, ServiceMetrics
from coldseal.service.config import Tls
from coldseal.service.gate import GateLimits
from coldseal.service.server import ApiServer, Certificate
from coldseal.settings import Address
from tests.gateway.sources.rig import OPEN, SITE, Intake
from tests.perimeter.papers import DEADLINE_S, Papers
from tests.waiting import until

GET = b"GET /v1/log HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CONNECT = encode(Connect("one"), Version.V5)


class Grounds:
    """Two listeners, what they say and what they have read.

    Attributes:
        ports: of each listener, by its name.
        requests: what a caller who has passed would send, by listener.
    """

    def __init__(self, papers: Papers) -> None:
        """Start with nothing; `open` listens."""
        self.papers = papers
        self.ports: dict[str, int] = {}
        self.requests = {"mqtt": CONNECT, "api": GET, "est": GET}
        self.stream = io.StringIO()
        self.metrics = {"mqtt": GatewayMetrics(), "api": ServiceMetrics(), "est": ServiceMetrics()}
        self.served: list[str] = []
        self.listener: MqttListener
        self.servers: dict[str, ApiServer] = {}
        self._loop: asyncio.AbstractEventLoop

    def said(self, event: str = "handshake.refused") -> list[dict[str, Any]]:
        """Give the lines of an event."""
        lines = [json.loads(line) for line in self.stream.getvalue().splitlines()]
        return [each for each in lines if each["event"] == event]

    def forget(self) -> None:
        """Let everything be said anew."""

        def reset() -> None:
            self.stream.seek(0)
            self.stream.truncate()
            self.listener._report._seldom._said.clear()
            for server in self.servers.values():
                for gate in server.servers:
                    gate._said.clear()  # type: ignore[attr-defined] # a gate
            self.served.clear()

        self.run(reset)

    def run(self, work: Callable[[], None]) -> None:
        """Do something inside the listeners' loop, and wait for it."""

        async def done() -> None:
            work()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(DEADLINE_S)

    def counted(self, listener: str, reason: str) -> float:
        """Give how many callers were refused for a reason."""
        program = "gateway" if listener == "mqtt" else "service"
        name = f"coldseal_{program}_handshakes_refused_total"
        return self.metrics[listener].registry.get_sample_value(name, {"reason": reason}) or 0.0

    def refused(self, listener: str, counter: str = "handshakes_refused") -> float:
        """Give how many callers were refused in all, or what another counter of reasons has counted."""
        families = self.metrics[listener].registry.collect()
        found = [each for each in families if each.name.endswith(f"_{counter}")]
        samples = [sample for each in found for sample in each.samples]
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    def has_read(self, listener: str) -> bool:
        """Answer whether a byte behind the handshake was processed."""
        if listener == "mqtt":
            wait(lambda: not self.listener._links, "a link stayed")
            return bool(self.said("device.connected") + self.said("device.refused") + self.said("device.cut"))
        return listener in self.served

    async def serve(self, stop: asyncio.Event, ready: threading.Event) -> None:
        """Listen until told to stop."""
        papers = self.papers
        gateway, service = papers.issue("gateway", "gw-1"), papers.issue("service", "service-1")
        crl = papers.revocation_list()
        self.listener = MqttListener(
            Mqtt(
                listen=Address("127.0.0.1:0"),
                certificate=gateway,
                key=gateway.with_suffix(".key"),
                client_ca=papers.trust,
                crl=crl,
            ),
            policy=Policy(SITE, (OPEN,)),
            intake=Intake(),
            clock=Clock(wall_ns=time.time_ns, boot_ns=time.monotonic_ns),
            metrics=self.metrics["mqtt"],  # type: ignore[arg-type] # the gateway's
            doors=DoorLimits(connect_timeout_s=DEADLINE_S),
        )
        async with AsyncExitStack() as stack:
            await self.listener.start()
            stack.push_async_callback(self.listener.stop)
            self.ports["mqtt"] = self.listener.port
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            for name in ("api", "est"):
                tls = Tls(
                    certificate=service, key=service.with_suffix(".key"), client_ca=papers.trust, crl=crl
                )
                certificate = Certificate(tls, require=name == "api")
                server = ApiServer(
                    self._app(name),
                    certificate.context,
                    max_connections=100,
                    metrics=self.metrics[name],  # type: ignore[arg-type] # the service's
                    listens=name,
                )
                self.ports[name] = int(server.bind(Address("127.0.0.1:0")).rpartition(":")[2])
                self.servers[name] = server
                tasks.create_task(server.serve_bound())
            await until(lambda: all(server.started for server in self.servers.values()))
            for server in self.servers.values():
                for gate in server.servers:
                    gate.limits = GateLimits(handshake_s=DEADLINE_S)  # type: ignore[attr-defined] # a gate
            ready.set()
            await stop.wait()
            for server in self.servers.values():
                server.stop()

    def _app(self, name: str) -> Starlette:
        """Make an application that answers a gateway, and notes that it was asked at all."""

        async def answer(request: Request) -> Response:
            self.served.append(name)
            try:
                who = require_role(request.scope["extensions"]["coldseal.certificate"], "gateway")
            except (InputError, RoleError) as error:
                return JSONResponse({"error": str(error)}, 403)
            return JSONResponse({"name": who.name})

        return Starlette(routes=[Route("/v1/log", answer)])

    @contextmanager
    def open(self) -> Iterator[Grounds]:
        """Run all of it in a thread until the block ends."""
        ready, stop = threading.Event(), asyncio.Event()
        self._loop = uvloop.new_event_loop()

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            self._loop.run_until_complete(self.serve(stop, ready))
            self._loop.close()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            assert ready.wait(DEADLINE_S), "the listeners did not start"
            yield self
        finally:
            self._loop.call_soon_threadsafe(stop.set)
            thread.join(DEADLINE_S)


@contextmanager
def opened(folder: Path) -> Iterator[Grounds]:
    """Run listeners over certificates of their own."""
    with Grounds(Papers(folder)).open() as grounds:
        yield grounds


def wait(is_true: Callable[[], bool], why: str) -> None:
    """Wait until something is so, against a deadline."""
    end = time.monotonic() + DEADLINE_S
    event = threading.Event()
    while not is_true():
        assert time.monotonic() < end, why
        event.wait(0.005)
