"""Plays a case on a listener, and holds the listener to it: said once, nothing read, nothing kept."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cryptography.hazmat.primitives.asymmetric import rsa

from coldseal.identity.contexts import client_context
from coldseal.identity.handshakes import Reason
from coldseal.mqtt.codec import encode
from coldseal.mqtt.packets import Connect, Version
from tests.perimeter.behind import Case, End, handshakes
from tests.perimeter.beyond import records
from tests.perimeter.conversation import SUITES, Caller
from tests.perimeter.grounds import Grounds, wait
from tests.perimeter.papers import DEADLINE_S

if TYPE_CHECKING:
    from coldseal.identity.peer import Role
    from tests.perimeter.papers import Papers

RIGHT: dict[str, Role] = {"mqtt": "device", "api": "gateway", "est": "gateway"}
"""Who is right at each listener."""
ALL: tuple[Case, ...] = (*handshakes(), *records())
SHORT: tuple[Case, ...] = tuple(case for case in ALL if not case.is_long)
PING, PONG = b"\xc0\x00", b"\xd0\x00"
ASKS = b"GET /v1/log HTTP/1.1\r\nHost: localhost\r\n\r\n"
SCRIPTS = Path(__file__).parent / "scripts.toml"
_EVENTS = {End.REFUSED: "handshake.refused", End.BROKEN: "tls.broken"}


def paper_of(papers: Papers, role: Role, kind: str) -> Path:
    """Give a caller's certificate with a kind of key, made at its first use."""
    path = papers.folder / f"caller-{role}-{kind}.pem"
    if not path.exists():
        key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else None
        made = papers.leaf(role, f"caller-{kind}", key=key)
        made.with_suffix(".key").rename(path.with_suffix(".key"))
        made.rename(path)
    return path


def play(port: int, paper: Path, case: Case, request: bytes) -> Caller:
    """Do what a case says, send a request behind it, and listen until the end, or until an answer."""
    with Caller(port, paper, SUITES[case.suite]) as caller:
        case.play(caller)
        caller.send(request)
        is_served = case.end is End.SERVED
        caller.listen(until=lambda: is_served and bool(caller.got))
    return caller


def hold(grounds: Grounds, listener: str, case: Case, *, others: int = 0) -> Caller:
    """Play a case, and hold what it says of itself.

    Args:
        grounds: the listeners.
        listener: one of them.
        case: the case.
        others: how many connections others have open meanwhile.
    """
    event = _EVENTS.get(case.end)
    before = _counts(grounds, listener)
    paper = paper_of(grounds.papers, RIGHT[listener], case.key)

    caller = play(grounds.ports[listener], paper, case, grounds.requests[listener])

    wait(lambda: inside(grounds, listener) == others, f"{case.name}: the connection stayed")
    if event is not None:
        wait(lambda: _counts(grounds, listener) != before, f"{case.name}: not counted")
        wait(lambda: bool(_said(grounds)), f"{case.name}: nothing was said")
    said = [(each["event"], each["listener"]) for each in _said(grounds)]
    assert said == ([(event, listener)] if event else []), (case.name, _said(grounds))
    reasons = {each["reason"] for each in _said(grounds)}
    assert reasons <= (set(Reason) if case.reason is None else {case.reason}), (case.name, _said(grounds))
    now = _counts(grounds, listener)
    assert now.refused - before.refused == (case.end is End.REFUSED), (case.name, before, now)
    assert now.broken - before.broken == (case.end is End.BROKEN), (case.name, before, now)
    assert bool(caller.got) == (case.end is End.SERVED), (case.name, caller.got)
    assert was_read(grounds, listener) == (case.end is End.SERVED), case.name
    return caller


@contextmanager
def bystander(grounds: Grounds, listener: str) -> Iterator[Callable[[], None]]:
    """Hold a good connection open; what is given asks something over it and insists on the answer."""
    paper = paper_of(grounds.papers, RIGHT[listener], "ec")
    context = client_context(paper, paper.with_suffix(".key"), grounds.papers.trust)
    is_mqtt = listener == "mqtt"
    asks, answer, last = (PING, PONG, PONG) if is_mqtt else (ASKS, b"HTTP/1.1 200 ", b"}")
    with (
        socket.create_connection(("127.0.0.1", grounds.ports[listener]), timeout=DEADLINE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):

        def ask() -> None:
            secured.sendall(asks)
            got = b""
            while not got.endswith(last):
                data = secured.recv(65_536)
                assert data, f"closed behind {got!r}"
                got += data
            assert got.startswith(answer), got

        if is_mqtt:
            secured.sendall(encode(Connect("bystander"), Version.V5))
            assert secured.recv(65_536).startswith(b"\x20")
        wait(lambda: inside(grounds, listener) == 1, "it is not inside")
        yield ask
    wait(lambda: inside(grounds, listener) == 0, "it stayed")


def half_open(grounds: Grounds, listener: str) -> int:
    """Count those at the handshake."""
    if listener == "mqtt":
        return grounds.listener._house.count - len(grounds.listener._links)
    (gate,) = grounds.servers[listener].servers
    return gate.half_open  # type: ignore[attr-defined,no-any-return] # a gate


def inside(grounds: Grounds, listener: str) -> int:
    """Count the connections of a listener, those at the handshake among them."""
    if listener == "mqtt":
        return max(grounds.listener._house.count, len(grounds.listener._links))
    return half_open(grounds, listener) + grounds.servers[listener].open_connections


def was_read(grounds: Grounds, listener: str) -> bool:
    """Answer whether a byte behind the handshake was processed since the last look."""
    if listener == "mqtt":
        return any(grounds.said(event) for event in ("device.connected", "device.refused"))
    return listener in grounds.served


class Counts(NamedTuple):
    """Who was refused at the handshake, and who was cut off behind it."""

    refused: float
    broken: float


def _counts(grounds: Grounds, listener: str) -> Counts:
    """Give what a listener has counted."""
    return Counts(grounds.refused(listener), grounds.refused(listener, "tls_broken"))


def _said(grounds: Grounds) -> list[dict[str, str]]:
    """Give what was told of callers."""
    return [each for event in _EVENTS.values() for each in grounds.said(event)]
