"""Health as progress, and a small HTTP server on loopback that shows it.

A program is healthy while nothing waits longer than its limit without progress, not because a
socket is open. The server answers GET for five paths, bounded in size, time and connections;
it speaks no TLS and knows no user: it must not leave the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.errors import OperatorError
from coldseal.settings import Address, require_loopback

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_HEAD_BYTES: Final = 8_192
MAX_CONNECTIONS: Final = 32
TIMEOUT_S: Final = 5.0

_JSON: Final = "application/json"
_TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"  # Prometheus exposition format


class Progress:
    """Watches one thing that must move on: since when has something waited without progress?

    Args:
        name: what moves, in a person's words, such as ``acknowledgements``.
        limit_s: seconds without progress after which it counts as stalled.
    """

    def __init__(self, name: str, limit_s: float) -> None:
        """Begin with nothing waiting."""
        self.name = name
        self._limit_s = limit_s
        self._since: float | None = None

    def wait(self, now: float) -> None:
        """Note that something waits; ``now`` in seconds of a clock that never steps."""
        if self._since is None:
            self._since = now

    def advance(self, now: float, *, is_waiting: bool) -> None:
        """Note progress; ``is_waiting`` says whether something is still to be done."""
        self._since = now if is_waiting else None

    def stalled_s(self, now: float) -> float:
        """Say for how many seconds something has waited without progress; 0 when nothing waits."""
        return 0.0 if self._since is None else now - self._since

    def check(self, now: float) -> Health:
        """Judge."""
        stalled = self.stalled_s(now)
        if stalled > self._limit_s:
            return Health(
                reasons=(f"{self.name}: no progress for {stalled:.0f} s, the limit is {self._limit_s:g} s",)
            )
        return Health()


@dataclass(frozen=True, slots=True)
class Health:
    """Good, or the reasons why not; and notes on what may change that before long."""

    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def is_good(self) -> bool:
        """Whether there is no reason against."""
        return not self.reasons

    @classmethod
    def of(cls, parts: Sequence[Health]) -> Health:
        """Bring several judgements together."""
        reasons = tuple(reason for part in parts for reason in part.reasons)
        return cls(reasons, tuple(note for part in parts for note in part.notes))


@dataclass(frozen=True, slots=True)
class Views:
    """What the server asks the program for, at each request.

    Args:
        health: should this program be left running?
        ready: does it do its work now?
        metrics: all metrics in the Prometheus text format.
        status: what a person wants to know, as JSON values.
    """

    health: Callable[[], Health]
    ready: Callable[[], Health]
    metrics: Callable[[], bytes]
    status: Callable[[], Mapping[str, object]]


class HealthServer:
    """Serves ``/healthz``, ``/readyz``, ``/metrics``, ``/status`` on loopback.

    Args:
        views: where the answers come from.
    """

    def __init__(self, views: Views) -> None:
        """Take the views; nothing listens yet."""
        self._views = views
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, address: Address) -> Address:
        """Listen; return the address that is really bound.

        Raises:
            OperatorError: the address is not loopback, or is taken.
        """
        require_loopback(address, "http.listen")
        try:
            self._server = await asyncio.start_server(
                self._serve, address.host, address.port, limit=MAX_HEAD_BYTES
            )
        except OSError as error:
            hint = "Stop what listens there, or set another http.listen"
            raise OperatorError(f"{address} cannot be listened on: {error.strerror}", hint) from error
        return Address(f"{address.host}:{self._server.sockets[0].getsockname()[1]}")

    async def stop(self) -> None:
        """Stop listening and cut what is open."""
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        self._open.add(writer)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                if len(self._open) > MAX_CONNECTIONS:
                    writer.write(_response(503, b"too many connections\n"))
                else:
                    writer.write(await self._respond(reader))
                await writer.drain()
        except (OSError, TimeoutError):
            writer.transport.abort()
        finally:
            self._open.discard(writer)
            writer.close()

    async def _respond(self, reader: asyncio.StreamReader) -> bytes:
        """Read the head of one request and make its answer."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            return _response(431, b"request too large\n")
        except asyncio.IncompleteReadError:
            return b""
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in {b"GET", b"HEAD"}:
            return _response(405, b"only GET\n", extra="Allow: GET, HEAD\r\n")
        return self._answer(path.decode("ascii", "replace"), is_head=method == b"HEAD")

    def _answer(self, path: str, *, is_head: bool) -> bytes:
        """Answer one path."""
        match path:
            case "/healthz":
                return _judgement(self._views.health(), is_head=is_head)
            case "/readyz":
                return _judgement(self._views.ready(), is_head=is_head)
            case "/metrics":
                return _response(200, self._views.metrics(), kind=_TEXT, is_head=is_head)
            case "/status":
                return _response(200, msgspec.json.encode(self._views.status()), kind=_JSON, is_head=is_head)
            case _:
                known = b"known here: /healthz /readyz /metrics /status\n"
                return _response(404, known, is_head=is_head)


def _judgement(health: Health, *, is_head: bool) -> bytes:
    """Answer 200 when good, else 503 with the reasons; notes where there are any."""
    facts = {"ok": health.is_good, "reasons": health.reasons}
    body = msgspec.json.encode({**facts, "notes": health.notes} if health.notes else facts)
    return _response(200 if health.is_good else 503, body, kind=_JSON, is_head=is_head)


_PHRASES: Final = {
    200: "OK",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def _response(
    status: int, body: bytes, *, kind: str = "text/plain", extra: str = "", is_head: bool = False
) -> bytes:
    """Write an HTTP/1.1 response that closes the connection (RFC 9112)."""
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\n{extra}Connection: close\r\n\r\n"
    )
    return head.encode() + (b"" if is_head else body)
