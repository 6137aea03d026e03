"""Hostile behaviour behind the key exchange: refused for its reason, told of once; nothing is read or stays.

The short form: one of each kind. `tests/campaigns/test_behind.py` plays all of them.
"""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Iterator

import pytest

from coldseal.service import server
from tests.perimeter.bare import Bare, opened
from tests.perimeter.behind import Case, End
from tests.perimeter.conversation import SUITES, Caller
from tests.perimeter.grounds import CONNECT, Grounds, wait
from tests.perimeter.hostile import SIGNATURES, words
from tests.perimeter.playing import (
    ALL,
    ASKS,
    RIGHT,
    SCRIPTS,
    SHORT,
    bystander,
    half_open,
    hold,
    inside,
    paper_of,
    play,
    was_read,
)

CERTIFICATE_REQUEST = 13
FEW, MOST_ASKED = 100_000, 100_000


@pytest.fixture(scope="module")
def bare(grounds: Grounds) -> Iterator[Bare]:
    """Give a listener that sends the library's alerts."""
    with opened(grounds.papers) as running:
        yield running


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
@pytest.mark.parametrize("listener", RIGHT)
def test_whoever_misbehaves_behind_the_key_exchange_is_cut_off(
    quiet: Grounds, listener: str, case: Case
) -> None:
    """Or is served where the standard lets it be; a request behind it is read only then."""
    hold(quiet, listener, case)


@pytest.mark.parametrize("case", SHORT, ids=lambda case: case.name)
def test_the_library_has_the_right_alert_ready(grounds: Grounds, bare: Bare, case: Case) -> None:
    """As RFC 8446 names it for what was done."""
    caller = play(bare.port, paper_of(grounds.papers, "device", case.key), case, b"hello?")

    assert caller.alerts == ([case.alert] if case.alert is not None and case.end is not End.SERVED else [])
    assert bool(caller.got) == (case.end is End.SERVED)


@pytest.mark.parametrize("listener", RIGHT)
def test_another_connection_does_not_notice(quiet: Grounds, listener: str) -> None:
    """One that was open before is answered behind each tenth attack, by the same connection."""
    with bystander(quiet, listener) as ask:
        for case in SHORT[::10]:
            quiet.forget()
            hold(quiet, listener, case, others=1)
            ask()


@pytest.mark.parametrize("listener", RIGHT)
def test_the_certificate_that_is_asked_for_may_not_be_proven_weakly(quiet: Grounds, listener: str) -> None:
    """Everybody is asked for one, with an empty context, and without SHA-1 among the ways to prove it."""
    paper = paper_of(quiet.papers, RIGHT[listener], "ec")
    with Caller(quiet.ports[listener], paper, SUITES["AES-128"]) as caller:
        caller.greet()
    wait(lambda: inside(quiet, listener) == 0, "it stayed")

    (asked,) = (each for each in caller.flight if each[0] == CERTIFICATE_REQUEST)
    assert asked[4] == 0
    at = asked.index(words(SIGNATURES), 5)
    schemes = asked[at + 6 : at + 4 + int.from_bytes(asked[at + 2 : at + 4], "big")]
    found = {schemes[place : place + 2] for place in range(0, len(schemes), 2)}
    assert words(0x0403) in found
    assert not found & {words(0x0201), words(0x0203), words(0x0202), words(0x0101)}


@pytest.mark.parametrize("listener", ["mqtt", "api"])
def test_who_asks_for_key_updates_and_reads_none_is_cut_off(
    quiet: Grounds, listener: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TLS answers each with one of its own, which would pile up in our memory without an end."""
    monkeypatch.setattr(quiet.listener, "max_buffered_bytes", FEW)
    monkeypatch.setattr(server, "MAX_PILED_BYTES", FEW)
    paper = paper_of(quiet.papers, RIGHT[listener], "ec")
    with Caller(quiet.ports[listener], paper, SUITES["AES-128"], is_narrow=True) as caller:
        caller.shake()
        wait(lambda: inside(quiet, listener) == 1 and not half_open(quiet, listener), "it is not inside")
        quiet.run(lambda: narrow(quiet, listener))
        asked = 0
        while not caller.is_cut:
            caller.update(500, asks=1)
            quiet.run(lambda: None)  # one turn of its loop, in which its timers run
            asked += 500
            assert asked < MOST_ASKED, "it may ask without an end"
    wait(lambda: inside(quiet, listener) == 0, "it stayed")

    if listener != "mqtt":
        (line,) = quiet.said("tls.broken")
        assert (line["reason"], line["listener"]) == ("timeout", listener)
    assert not was_read(quiet, listener)


def narrow(grounds: Grounds, listener: str) -> None:
    """Let the system keep little of what one caller does not read: the rest is the program's to keep."""
    if listener == "mqtt":
        (link,) = grounds.listener._links.values()
        transport = link._transport
    else:
        (protocol,) = grounds.servers[listener].server_state.connections
        transport = protocol.transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4_096)


@pytest.mark.parametrize("listener", RIGHT)
def test_a_request_that_is_sent_again_is_not_taken_again(quiet: Grounds, listener: str) -> None:
    """The record of a request is recorded and played back on the same connection: it opens once."""
    paper = paper_of(quiet.papers, RIGHT[listener], "ec")
    request = CONNECT if listener == "mqtt" else ASKS
    with Caller(quiet.ports[listener], paper, SUITES["AES-128"]) as caller:
        caller.shake()
        sealed = caller.keys.seal(request + b"\x17")
        caller.put(sealed)
        caller.listen(until=lambda: bool(caller.got))
        caller.put(sealed)
        caller.listen()
    wait(lambda: inside(quiet, listener) == 0, "it stayed")

    (line,) = quiet.said("tls.broken")
    assert line["reason"] == "altered"
    assert was_read(quiet, listener)
    assert len(quiet.said("device.connected") if listener == "mqtt" else quiet.served) == 1


def test_every_script_is_played_or_says_why_not() -> None:
    """What stands in the list of scripts is what the cases name; no case is without a script."""
    listed = tomllib.loads(SCRIPTS.read_text())
    played, elsewhere, left_out = listed["played"], listed["elsewhere"], listed["left_out"]

    assert len({case.name for case in ALL}) == len(ALL)
    assert {case.script for case in ALL} == set(played)
    assert (
        not (set(played) & set(left_out)) | (set(elsewhere) & set(left_out)) | (set(played) & set(elsewhere))
    )
    assert all([*elsewhere.values(), *left_out.values()])
