"""Hostile handshakes: the listener answers with a fatal alert or closes, serves others, and keeps nothing."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

import pytest

from coldseal.identity.contexts import client_context
from coldseal.identity.handshakes import Reason
from coldseal.identity.peer import Role
from tests.perimeter.grounds import Grounds, wait
from tests.perimeter.hostile import Attack, attacks, hello, record
from tests.perimeter.papers import DEADLINE_S, call, lax_client

RIGHT: dict[str, Role] = {"mqtt": "device", "api": "gateway", "est": "gateway"}
ATTACKS = attacks()


def attack(port: int, one: Attack) -> bytes:
    """Send it, and give all that comes until the listener closes, or until we do."""
    got = b""
    with (
        suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) as plain,
    ):
        plain.sendall(one.data)
        if one.is_unfinished:
            plain.shutdown(socket.SHUT_WR)
        while data := plain.recv(65_536):
            got += data
    return got


def half_open(grounds: Grounds, listener: str) -> int:
    """Count the callers who are half-way in."""
    if listener == "mqtt":
        return grounds.listener._house.count
    (gate,) = grounds.servers[listener].servers
    return gate.half_open  # type: ignore[attr-defined,no-any-return] # a gate


def serves(grounds: Grounds, listener: str) -> bool:
    """Answer whether the right caller is served."""
    paper = grounds.papers.folder / f"right-{listener}.pem"
    if not paper.exists():
        good = grounds.papers.leaf(RIGHT[listener], "right")
        good.with_suffix(".key").rename(paper.with_suffix(".key"))
        good.rename(paper)
    context = client_context(paper, paper.with_suffix(".key"), grounds.papers.trust)
    return bool(call(grounds.ports[listener], context, grounds.requests[listener]))


@pytest.mark.parametrize("one", ATTACKS, ids=lambda one: one.name)
@pytest.mark.parametrize("listener", RIGHT)
def test_a_hostile_handshake_ends_and_nothing_stays(quiet: Grounds, listener: str, one: Attack) -> None:
    """It gets no application data, is counted once, and leaves no half-open caller behind."""
    before = quiet.refused(listener)

    got = attack(quiet.ports[listener], one)

    wait(lambda: quiet.refused(listener) == before + 1, f"{one.name} was not counted")
    wait(lambda: half_open(quiet, listener) == 0, f"{one.name} stayed half-open")
    wait(lambda: bool(quiet.said()), f"nothing was said of {one.name}")
    (line,) = quiet.said()
    assert line["reason"] in set(Reason), line
    assert b"HTTP" not in got
    assert not quiet.has_read(listener)


@pytest.mark.parametrize("listener", RIGHT)
def test_others_are_served_while_and_after_it_is_attacked(quiet: Grounds, listener: str) -> None:
    """With fifty callers who stopped half-way, and after all attacks."""
    port = quiet.ports[listener]
    silent = [socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S) for _ in range(50)]
    try:
        for each in silent:
            each.sendall(record(hello())[:60])
        wait(lambda: half_open(quiet, listener) >= 50, "they are not half-open")
        assert serves(quiet, listener)
    finally:
        for each in silent:
            each.close()
    wait(lambda: half_open(quiet, listener) == 0, "they stayed half-open")
    assert serves(quiet, listener)


def test_what_follows_a_wrong_certificate_in_the_same_segment_is_not_read(quiet: Grounds) -> None:
    """A caller of another role that sends its CONNECT with the last bytes of the handshake."""
    paper = quiet.papers.leaf("operator", "anna")
    context = lax_client(paper)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    secured = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with socket.create_connection(("127.0.0.1", quiet.ports["mqtt"]), timeout=DEADLINE_S) as plain:
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                plain.sendall(outgoing.read())
                incoming.write(plain.recv(65_536))
        secured.write(quiet.requests["mqtt"])
        plain.sendall(outgoing.read())
        wait(lambda: bool(quiet.said()), "nothing was said")
    (line,) = quiet.said()
    assert line["reason"] == Reason.ROLE
    assert not quiet.has_read("mqtt")


def test_there_are_enough_attacks() -> None:
    """At least forty, each with a name of its own."""
    assert len({one.name for one in ATTACKS}) == len(ATTACKS) >= 60
