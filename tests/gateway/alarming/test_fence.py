"""Claims about the fence of the notifier's process: whatever library tries, it reaches endpoints alone.

The hook itself is only called here: one that is put up cannot be taken down again. `test_handing_over` has
processes with it.
"""

from __future__ import annotations

import socket
from contextlib import closing

import pytest

from coldseal.errors import UnavailableError
from coldseal.gateway.alarming.fence import PROGRAMS, Fence
from coldseal.gateway.egress import Guard, Rule
from coldseal.gateway.endpoints import Endpoint, endpoint_of

HOOK = Endpoint("hook.example", 443)
OPEN = endpoint_of("http://127.0.0.1:8080")


def names(host: str) -> list[str]:
    """Know one name."""
    if host != "hook.example":
        raise UnavailableError(f"the address of {host}", "there is none")
    return ["192.0.2.7"]


def fence(*rules: Rule) -> Fence:
    """Make a fence with two endpoints and a name server."""
    return Fence(Guard(rules or (Rule(HOOK), Rule(OPEN)), names), (HOOK, OPEN), ("192.0.2.53",))


def connect(found: Fence, host: str, port: int) -> None:
    """Ask as if a socket connected."""
    with closing(socket.socket()) as made:
        found.look("socket.connect", (made, (host, port)))


def test_an_endpoint_is_reached_by_the_addresses_that_were_found() -> None:
    """By name once it was asked for; by address at once."""
    found = fence()
    connect(found, "127.0.0.1", 8080)
    with pytest.raises(PermissionError, match="no recipient names it"):
        connect(found, "192.0.2.7", 443)
    assert {each[4] for each in found.resolve("HOOK.example.", 443)} == {("192.0.2.7", 443)}
    connect(found, "192.0.2.7", 443)


@pytest.mark.parametrize(("host", "port"), [("192.0.2.7", 80), ("127.0.0.1", 8081), ("203.0.113.1", 443)])
def test_nothing_else_is_reached(host: str, port: int) -> None:
    """Another port is another endpoint; a name server is one only while it is asked."""
    found = fence()
    found.resolve("hook.example", 443)
    with pytest.raises(PermissionError, match="not-listed"):
        connect(found, host, port)
    with pytest.raises(PermissionError):
        connect(found, "192.0.2.53", 53)


def test_the_list_of_ways_out_has_the_last_word() -> None:
    """A name that leads outside of its networks reaches nothing, nor does an endpoint that is not listed."""
    with pytest.raises(OSError, match="outside its networks"):
        fence(Rule(HOOK, networks=("10.0.0.0/8",))).resolve("hook.example", 443)
    with pytest.raises(PermissionError, match=r"not in egress.allow"):
        connect(fence(Rule(HOOK)), "127.0.0.1", 8080)


def test_other_names_are_not_even_asked_for() -> None:
    """Neither through Python's resolver nor beside it."""
    with pytest.raises(PermissionError, match="no recipient names it"):
        fence().resolve(b"elsewhere.example", 443)
    with pytest.raises(socket.gaierror):
        fence().look("socket.gethostbyname", ("elsewhere.example",))


def test_no_program_is_started_and_no_local_socket_opened() -> None:
    """A plug-in that runs a command does nothing."""
    for event in PROGRAMS:
        with pytest.raises(PermissionError, match="no program"):
            fence().look(event, ())
    with closing(socket.socket(socket.AF_UNIX)) as made, pytest.raises(PermissionError, match="no endpoint"):
        fence().look("socket.connect", (made, "/run/somebody"))


def test_datagrams_go_to_name_servers_alone() -> None:
    """And only while a name is asked for."""
    found = fence()
    with closing(socket.socket(type=socket.SOCK_DGRAM)) as made:
        with pytest.raises(PermissionError, match="name servers only"):
            found.look("socket.sendto", (made, ("192.0.2.53", 53)))
        found._inside.is_asking = True
        found.look("socket.sendto", (made, ("192.0.2.53", 53)))
        connect(found, "192.0.2.53", 53)
        with pytest.raises(PermissionError, match="name servers only"):
            found.look("socket.sendto", (made, ("203.0.113.1", 53)))
    assert found.resolve("127.0.0.1", 1)


def test_everything_else_is_let_be() -> None:
    """Files, imports, modules: not a matter of this fence."""
    fence().look("open", ("/etc/hosts", "r", 0))
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as made:
        fence().look("socket.sendto", (made, "/run/somebody"))
