"""What ntpd of NTPsec says of time: queries of NTP mode 6 (RFC 9327), over loopback.

Promise: a report says which peer ntpd follows, how the weakest of those it combines is authenticated, and
how far off this machine's clock is by its measurement. Only reads variables. Whoever does not answer in
time, or not in form, is not there.
"""

from __future__ import annotations

import math
import re
import socket
import struct
from typing import TYPE_CHECKING, Final

from coldseal.core.timekeeping import UNKNOWN_ERROR_MS, Authentication, Report, weakest
from coldseal.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coldseal.settings import Address

MAX_PEERS: Final = 64
"""Peers that are asked about at most."""

_MODE: Final = 0x16  # version 2, mode 6
_READ_STATUS, _READ_VARIABLES = 1, 2
_RESPONSE, _ERROR, _MORE, _OPERATION = 0x80, 0x40, 0x20, 0x1F
_MAX_PARTS: Final = 64
_DATAGRAM: Final = 2_048
_HEAD: Final = struct.Struct("!BBHHHHH")
_PEER: Final = struct.Struct("!HH")
_SELECTION_SHIFT, _SELECTION = 8, 7
_COMBINED, _SYSTEM_PEERS = 4, frozenset({6, 7})
_AUTHENTIC: Final = 0x6000  # authentication is configured, and the last packet passed
_LEAPS: Final = {"0": "normal", "1": "insert", "2": "delete"}
_VARIABLE: Final = re.compile(rb"([a-z_]+)=(\"[^\"]*\"|[^,\r\n]*)")
_CLOCK: Final = "127.127."  # ntpd's addresses of receivers at this machine


def ask_ntpsec(address: Address, *, timeout_s: float, clock: Callable[[], float]) -> Report:
    """Ask an ntpd; blocks for the time-out at most.

    Args:
        address: where it answers on this machine.
        timeout_s: time for all answers.
        clock: seconds that count up.

    Raises:
        UnavailableError: it does not run, or does not answer in form or time.
    """
    end_s = clock() + timeout_s
    try:
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM) as link:
            link.connect((address.host, address.port))
            count = 0

            def ask(operation: int, peer: int) -> tuple[int, bytes]:
                nonlocal count
                count += 1
                link.send(_HEAD.pack(_MODE, operation, count, 0, peer, 0, 0))
                return _gather(lambda: _receive(link, end_s - clock()), operation, count)

            return _report(ask)
    except (OSError, struct.error, ValueError, KeyError) as error:
        raise UnavailableError("ntpd", f"no answer at {address}: {error}") from error


def _receive(link: socket.socket, left_s: float) -> bytes:
    """Receive one part of an answer."""
    link.settimeout(max(0.001, left_s))
    return link.recv(_DATAGRAM)


def _gather(receive: Callable[[], bytes], operation: int, number: int) -> tuple[int, bytes]:
    """Put an answer together from its parts; ValueError where it is none to this query."""
    parts: dict[int, bytes] = {}
    total = None
    for _ in range(_MAX_PARTS):
        answer = receive()
        _, code, sequence, status, _, offset, count = _HEAD.unpack_from(answer)
        if sequence != number or not code & _RESPONSE or code & _OPERATION != operation:
            continue  # late, or of somebody else
        if code & _ERROR:
            raise ValueError(f"query {operation} was answered with error {status >> 8}")
        parts[offset] = answer[_HEAD.size : _HEAD.size + count]
        if not code & _MORE:
            total = offset + count
        if total is not None and sum(map(len, parts.values())) >= total:
            return status, b"".join(parts[place] for place in sorted(parts))
    raise ValueError(f"query {operation} has no end of an answer")


def _report(ask: Callable[[int, int], tuple[int, bytes]]) -> Report:
    """Ask all that a report needs."""
    system = _variables(ask(_READ_VARIABLES, 0)[1])
    peers = ask(_READ_STATUS, 0)[1][: MAX_PEERS * _PEER.size]
    followed: list[Authentication] = []
    chosen: Mapping[str, str] = {}
    for association, status in _PEER.iter_unpack(peers):
        selection = status >> _SELECTION_SHIFT & _SELECTION
        if selection < _COMBINED:
            continue
        found = _variables(ask(_READ_VARIABLES, association)[1])
        followed.append(_authentication(status, found))
        if selection in _SYSTEM_PEERS:
            chosen = found
    return Report(
        "ntpsec",
        chosen.get("srcadr", ""),
        weakest(tuple(followed)),
        round(float(chosen.get("offset", "0"))),
        _bound(chosen) if chosen else UNKNOWN_ERROR_MS,
        _LEAPS.get(system["leap"], "alarm"),
        system["reftime"],
    )


def _bound(peer: Mapping[str, str]) -> int:
    """Give the bound of a peer's offset, in milliseconds.

    The system's own root dispersion will not do: it has the offset in it (RFC 5905, clock_update).
    """
    delays = (float(peer[name]) / 2 for name in ("rootdelay", "delay"))
    return math.ceil(sum((*delays, *(float(peer[name]) for name in ("rootdisp", "dispersion", "jitter")))))


def _authentication(status: int, peer: Mapping[str, str]) -> Authentication:
    """Say how a peer is authenticated."""
    if peer.get("srcadr", "").startswith(_CLOCK):
        return "local"
    if status & _AUTHENTIC != _AUTHENTIC:
        return "none"
    return "nts" if int(peer.get("ntscookies", "-1")) >= 0 else "symmetric"


def _variables(data: bytes) -> dict[str, str]:
    """Read a list of variables; those that name no time-keeping fact may hold anything."""
    found = _VARIABLE.findall(data)
    return {name.decode(): value.decode("ascii", "replace").strip() for name, value in found}
