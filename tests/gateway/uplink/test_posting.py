"""Claims about posts over connections of our own: they are used again, and an answer that is none is said."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from coldseal.errors import InputError
from coldseal.gateway.egress import Guard, Rule
from coldseal.gateway.endpoints import Endpoint
from coldseal.gateway.uplink.posting import Post, Posting, Reply
from tests.waiting import until

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 7\r\n\r\nok"
LONGEST = 64


@dataclass
class Peer:
    """A server without TLS that answers each request with the next of its answers."""

    answers: list[bytes]
    ends_after: bool = False
    port: int = 0
    calls: int = 0
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Peer]:
        """Listen until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests and answer."""
        self.calls += 1
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
                if b"100-continue" in head:
                    if not self.answers[0].startswith(b"HTTP/1.1 100"):
                        writer.write(self.answers.pop(0))
                        return
                    writer.write(self.answers.pop(0))
                self.bodies.append(await reader.readexactly(length))
                writer.write(self.answers.pop(0))
                if self.ends_after:
                    return
            await reader.read()
        except asyncio.IncompleteReadError:
            pass
        finally:
            writer.close()


def posting(port: int, *, path: str = "", guard: Guard | None = None, timeout_s: float = 5.0) -> Posting:
    """Give a way to a port of loopback."""
    return Posting(
        f"http://127.0.0.1:{port}{path}" if guard is None else f"http://peer.example:{port}{path}",
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        role="service",
        timeout_s=timeout_s,
        longest=LONGEST,
        guard=guard,
    )


def post(body: bytes = b"body", *, is_asked_first: bool = False) -> Post:
    """Give something to post."""
    return Post("/v1/entries", "text/plain", body, asyncio.Event(), is_asked_first)


async def test_a_connection_is_used_again() -> None:
    """Path, media type and length go with each post; what comes back is whole."""
    async with Peer([OK, OK]).open() as peer:
        way, first = posting(peer.port, path="/below/"), post()
        assert [await way.send(first), await way.send(post(b""))] == [Reply(200, b"ok", "7")] * 2
        way.close()
    assert (peer.calls, peer.bodies, first.left.is_set()) == (1, [b"body", b""], True)
    assert peer.heads[0].startswith(b"POST /below/v1/entries HTTP/1.1\r\n")
    assert f"host: 127.0.0.1:{peer.port}".encode() in peer.heads[0].lower()
    assert b"content-type: text/plain" in peer.heads[0].lower()


async def test_a_connection_that_the_other_end_closed_is_not_used_again() -> None:
    """The next post opens another."""
    async with Peer([OK, OK], ends_after=True).open() as peer:
        way = posting(peer.port)
        await way.send(post())
        await until(lambda: not way._resting[0].is_alive())
        assert (await way.send(post())).status == 200
        way.close()
    assert peer.calls == 2


@pytest.mark.parametrize("is_welcome", [True, False])
async def test_who_is_asked_first_gets_the_body_only_when_it_wants_it(is_welcome: bool) -> None:
    """And an answer instead ends the post: nothing was sent in vain."""
    busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    answers = [b"HTTP/1.1 100 Continue\r\n\r\n", OK] if is_welcome else [busy]
    async with Peer(answers).open() as peer:
        way, asked = posting(peer.port), post(is_asked_first=True)
        reply = await way.send(asked)
        assert (reply.status, asked.left.is_set(), len(way._resting)) == (
            (200, True, 1) if is_welcome else (503, False, 0)
        )
        way.close()
    assert peer.bodies == ([b"body"] if is_welcome else [])


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"SSH-2.0-no\r\n\r\n", "does not speak HTTP"),
        (b"", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", "does not speak HTTP"),
    ],
    ids=["other", "nothing", "half"],
)
async def test_an_answer_that_is_none_is_a_connection_that_fails(answer: bytes, said: str) -> None:
    """Whatever the other end is."""
    async with Peer([answer], ends_after=True).open() as peer:
        way = posting(peer.port)
        with pytest.raises(ConnectionError, match=said):
            await way.send(post())
        assert way._resting == []


async def test_an_answer_is_bounded_and_so_is_the_wait_for_it() -> None:
    """Neither fills the memory nor holds the process."""
    async with Peer([b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b"x" * 99, OK]).open() as peer:
        with pytest.raises(InputError, match=f"at most {LONGEST} bytes"):
            await posting(peer.port).send(post())
    async with Peer([b"HTTP/1.1 200 OK\r\n", OK]).open() as peer:
        with pytest.raises(TimeoutError):
            await posting(peer.port, timeout_s=0.1).send(post())


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    """In the order in which the name has them; with none left, what the last one said counts."""

    def names(_host: str) -> Sequence[str]:
        return ["127.0.0.9", "127.0.0.1"]

    async with Peer([OK]).open() as peer:
        guard = Guard((Rule(Endpoint("peer.example", peer.port, is_tls=False)),), names)
        way = posting(peer.port, guard=guard)
        assert (await way.send(post())).status == 200
        way.close()
    with pytest.raises(ConnectionRefusedError):
        await way.send(post())
