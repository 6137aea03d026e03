"""Health is progress; and the little server that shows it survives whatever is sent to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.errors import OperatorError
from coldseal.observe import health as health_module
from coldseal.observe.health import MAX_CONNECTIONS, MAX_HEAD_BYTES, Health, HealthServer, Progress, Views
from coldseal.settings import Address

FREE = Address("127.0.0.1:0")


class Program:
    """A program whose state a test sets."""

    def __init__(self) -> None:
        """Begin well."""
        self.health = Health()
        self.ready = Health()
        self.status: Mapping[str, object] = {"size": 7}

    def views(self) -> Views:
        """Show it."""
        return Views(
            health=lambda: self.health,
            ready=lambda: self.ready,
            metrics=lambda: b"# HELP x\nx 1\n",
            status=lambda: self.status,
        )


class Page:
    """What the server answered."""

    def __init__(self, raw: bytes) -> None:
        """Parse it."""
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = dict(line.split(": ", 1) for line in lines)


async def ask(address: Address, request: bytes) -> bytes:
    """Send bytes, and read until the server closes."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


async def get(address: Address, path: str, method: str = "GET") -> Page:
    """Fetch a page."""
    return Page(await ask(address, f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()))


async def end_of(reader: asyncio.StreamReader) -> None:
    """Wait until the server has ended the connection, in order or by a reset, without an answer."""
    with contextlib.suppress(ConnectionResetError):
        assert await reader.read() == b""


@pytest.fixture
def program() -> Program:
    """Give a program."""
    return Program()


@pytest.fixture
async def address(program: Program) -> AsyncIterator[Address]:
    """Serve it."""
    server = HealthServer(program.views())
    yield await server.start(FREE)
    await server.stop()


def test_nothing_waiting_is_healthy_however_long_it_lasts() -> None:
    """A quiet night is no failure."""
    progress = Progress("acknowledgements", 10)
    assert progress.check(10**9).is_good
    assert progress.stalled_s(10**9) == 0


def test_what_waits_longer_than_the_limit_is_unhealthy_and_named() -> None:
    """Counted from the first that waits, not from the latest."""
    progress = Progress("acknowledgements", 10)
    progress.wait(100.0)
    progress.wait(109.0)
    assert progress.check(110.0).is_good
    found = progress.check(110.5)
    assert not found.is_good
    assert found.reasons == ("acknowledgements: no progress for 10 s, the limit is 10 s",)


def test_progress_makes_healthy_again_and_the_next_wait_counts_from_there() -> None:
    """Whether or not something still waits."""
    progress = Progress("acknowledgements", 10)
    progress.wait(100.0)
    progress.advance(200.0, is_waiting=True)
    assert progress.check(209.0).is_good
    assert progress.stalled_s(209.0) == 9.0
    progress.advance(210.0, is_waiting=False)
    assert progress.check(9999.0).is_good


@given(st.lists(st.tuples(st.sampled_from(["wait", "busy", "idle"]), st.floats(0.01, 5)), max_size=40))
def test_steps_shorter_than_the_limit_never_look_stalled(steps: list[tuple[str, float]]) -> None:
    """As long as something advances within the limit."""
    progress, now = Progress("x", 5.0), 0.0
    last = 0.0
    for kind, span in steps:
        now += span
        if kind == "wait":
            progress.wait(now)
        else:
            progress.advance(now, is_waiting=kind == "busy")
            last = now
        assert progress.stalled_s(now) <= now - last


def test_judgements_are_brought_together() -> None:
    """Every reason is named."""
    assert Health.of([]).is_good
    assert Health.of([Health(("a",)), Health(), Health(("b", "c"))]).reasons == ("a", "b", "c")


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_good_program_answers_200_and_a_bad_one_503_with_reasons(
    program: Program, address: Address, path: str
) -> None:
    """For supervisors and for people."""
    page = await get(address, path)
    assert (page.status, json.loads(page.body)) == (200, {"ok": True, "reasons": []})
    setattr(program, {"/healthz": "health", "/readyz": "ready"}[path], Health(("the disk is full",)))
    page = await get(address, path)
    assert (page.status, json.loads(page.body)) == (503, {"ok": False, "reasons": ["the disk is full"]})


async def test_metrics_and_status_are_served_with_their_types(address: Address) -> None:
    """Prometheus looks at the type."""
    page = await get(address, "/metrics?x=1")
    assert page.body == b"# HELP x\nx 1\n"
    assert page.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    page = await get(address, "/status")
    assert json.loads(page.body) == {"size": 7}
    assert page.headers["Content-Type"] == "application/json"
    assert page.headers["Cache-Control"] == "no-store"


async def test_head_gives_the_head_alone(address: Address) -> None:
    """With the length that GET would have."""
    page = await get(address, "/status", "HEAD")
    assert (page.status, page.body, page.headers["Content-Length"]) == (200, b"", "10")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/healthz/", 404),
        ("GET", "/../etc/passwd", 404),
        ("POST", "/status", 405),
        ("DELETE", "/metrics", 405),
        ("get", "/status", 405),
    ],
)
async def test_everything_else_is_refused(address: Address, method: str, path: str, status: int) -> None:
    """With HTTP's words."""
    page = await get(address, path, method)
    assert page.status == status
    assert ("Allow" in page.headers) is (status == 405)


async def test_a_head_without_end_is_refused(address: Address) -> None:
    """Beyond the limit nothing is kept."""
    page = Page(await ask(address, b"GET / HTTP/1.1\r\nX: " + b"x" * (2 * MAX_HEAD_BYTES) + b"\r\n\r\n"))
    assert page.status == 431


@pytest.mark.parametrize(
    "request_bytes", [b"", b"GET", b"GET /status HTTP/1.1\r\n", b"\r\n", b"\x16\x03\x01"]
)
async def test_an_unfinished_request_gets_no_answer(address: Address, request_bytes: bytes) -> None:
    """The connection is closed."""
    assert await ask(address, request_bytes) == b""


@pytest.mark.parametrize("junk", [b"\x00\xff\r\n\r\n", b"GET \xff\xfe HTTP/1.1\r\n\r\n", b" \r\n\r\n"])
async def test_junk_is_refused_and_the_server_goes_on(address: Address, junk: bytes) -> None:
    """Whatever was sent."""
    assert Page(await ask(address, junk)).status in {404, 405}
    assert (await get(address, "/healthz")).status == 200


async def test_a_silent_client_is_cut_off(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold a place forever."""
    monkeypatch.setattr(health_module, "TIMEOUT_S", 0.05)
    server = HealthServer(program.views())
    address = await server.start(FREE)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    async with asyncio.timeout(5):
        await end_of(reader)
    writer.close()
    await server.stop()


async def test_more_than_the_limit_of_connections_is_refused_by_503(program: Program) -> None:
    """Those that are open are served still."""
    server = HealthServer(program.views())
    address = await server.start(FREE)
    silent = [await asyncio.open_connection(address.host, address.port) for _ in range(MAX_CONNECTIONS)]
    page = Page(await ask(address, b""))
    assert (page.status, page.body) == (503, b"too many connections\n")
    reader, writer = silent[0]
    writer.write(b"GET /healthz HTTP/1.1\r\n\r\n")
    assert Page(await reader.read()).status == 200
    await server.stop()
    for _, each in silent:
        each.close()


async def test_stopping_cuts_what_is_open(program: Program) -> None:
    """A silent client cannot hold up the end of the program."""
    server = HealthServer(program.views())
    address = await server.start(FREE)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /status HTTP/1.1\r\n")
    await get(address, "/healthz")  # by now the first one is being served
    async with asyncio.timeout(5):
        await server.stop()
    await end_of(reader)
    writer.close()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncio.open_connection(address.host, address.port)


async def test_a_server_that_never_started_stops() -> None:
    """As when another part failed first."""
    await HealthServer(Program().views()).stop()


async def test_an_address_of_the_network_is_refused(program: Program) -> None:
    """There is no TLS and no user."""
    with pytest.raises(OperatorError, match="without TLS"):
        await HealthServer(program.views()).start(Address("0.0.0.0:0"))  # the case


async def test_an_address_that_is_taken_is_named(program: Program, address: Address) -> None:
    """With the setting to change."""
    with pytest.raises(OperatorError, match=rf"{address} cannot be listened on.*http\.listen"):
        await HealthServer(program.views()).start(address)
