"""What chronyd says of time, in its own words: version 6 of its command protocol, over its Unix socket.

Promise: a report says what chronyd follows, how it is authenticated at the weakest place, and how far off
this machine's clock is by its measurements. Only asks; changes nothing there. Whoever does not answer in
time, or not in form, is not there.
"""

from __future__ import annotations

import math
import os
import socket
import struct
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.timekeeping import Authentication, Report, weakest
from coldseal.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_SOURCES: Final = 64
"""Sources that are asked about at most."""

_VERSION, _REQUEST, _REPLY = 6, 1, 2  # chrony's candm.h
_SOURCES, _SOURCE, _TRACKING, _AUTHENTICATION = 14, 15, 33, 67
_REPLIES = {_SOURCES: 2, _SOURCE: 3, _TRACKING: 5, _AUTHENTICATION: 20}
_SIZE: Final = 512  # a request must be as long as its reply
_HEAD: Final = struct.Struct("!BBBBHHIII")
_REPLY_HEAD: Final = struct.Struct("!BBBBHHHHHHIII")
_TRACKING_DATA: Final = struct.Struct("!I16sHHHHIII9I")
_SOURCE_DATA: Final = struct.Struct("!16sHHhHHHHHIIII")
_AUTHENTICATION_MODE: Final = struct.Struct("!H")
_COUNT: Final = struct.Struct("!I")
_IPV4, _IPV6 = 1, 2
_FOLLOWED: Final = frozenset({0, 4})  # the one selected, and those combined with it
_LOCAL: Final = 2
_LEAPS: Final = ("normal", "insert", "delete", "alarm")
_ALARM: Final = 3
_MODES: Final[dict[int, Authentication]] = {1: "symmetric", 2: "nts"}
_EXPONENT_BITS, _COEFFICIENT_BITS = 7, 25


class _Tracking(NamedTuple):
    """What chronyd says of its reference."""

    source: str
    leap: str
    update: str
    offset_s: float
    error_s: float


def ask_chrony(path: Path, *, timeout_s: float, clock: Callable[[], float]) -> Report:
    """Ask a chronyd; blocks for the time-out at most.

    Args:
        path: its command socket; ours is made beside it, and removed.
        timeout_s: time for all answers.
        clock: seconds that count up.

    Raises:
        UnavailableError: it does not run, may not be asked, or does not answer in form or time.
    """
    mine = path.parent / f"coldseal.{os.getpid()}.sock"
    end_s = clock() + timeout_s
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            mine.unlink(missing_ok=True)
            link.bind(str(mine))
            try:
                mine.chmod(0o666)  # chronyd runs as a user of its own, in a folder that few may enter
                link.connect(str(path))

                def ask(command: int, data: bytes = b"") -> bytes:
                    link.settimeout(max(0.001, end_s - clock()))
                    link.send(_encode(command, data))
                    return _parse(command, link.recv(_SIZE * 2))

                return _report(ask)
            finally:
                mine.unlink(missing_ok=True)
    except (OSError, struct.error, ValueError) as error:
        raise UnavailableError("chronyd", f"no answer at {path}: {error}") from error


def _report(ask: Callable[..., bytes]) -> Report:
    """Ask all that a report needs."""
    tracking = _parse_tracking(ask(_TRACKING))
    followed = tuple(_authentications(ask))
    return Report(
        "chrony",
        tracking.source if followed and tracking.leap != _LEAPS[_ALARM] else "",
        weakest(followed),
        round(tracking.offset_s * 1000),
        math.ceil(tracking.error_s * 1000),
        tracking.leap,
        tracking.update,
    )


def _authentications(ask: Callable[..., bytes]) -> Iterator[Authentication]:
    """Say of each source that is followed how it is authenticated."""
    (count,) = _COUNT.unpack_from(ask(_SOURCES))
    for index in range(min(count, MAX_SOURCES)):
        data = ask(_SOURCE, _COUNT.pack(index))
        _, _, _, _, _, state, mode, *_ = _SOURCE_DATA.unpack_from(data)
        if state not in _FOLLOWED:
            continue
        if mode == _LOCAL:
            yield "local"
        else:
            (how,) = _AUTHENTICATION_MODE.unpack_from(ask(_AUTHENTICATION, data[:20]))
            yield _MODES.get(how, "none")


def _encode(command: int, data: bytes) -> bytes:
    """Write a request."""
    return (_HEAD.pack(_VERSION, _REQUEST, 0, 0, command, 0, 0, 0, 0) + data).ljust(_SIZE, b"\0")


def _parse(command: int, answer: bytes) -> bytes:
    """Give the data of an answer; ValueError where it is none to this request."""
    version, kind, _, _, echoed, reply, status, *_ = _REPLY_HEAD.unpack_from(answer)
    if (version, kind, echoed) != (_VERSION, _REPLY, command):
        raise ValueError(f"an answer of version {version}, to command {echoed}")
    if status or reply != _REPLIES[command]:
        raise ValueError(f"command {command} was answered with status {status}")
    return answer[_REPLY_HEAD.size :]


def _parse_tracking(data: bytes) -> _Tracking:
    """Read what is said of the reference."""
    reference, address, family, _, _, leap, high, low, nanos, *floats = _TRACKING_DATA.unpack_from(data)
    offset, _, _, _, _, _, delay, dispersion, _ = map(_float, floats)
    return _Tracking(
        _address(reference, address, family),
        _LEAPS[leap] if leap < _ALARM else _LEAPS[_ALARM],
        f"{high}.{low}.{nanos}",
        offset,
        delay / 2 + dispersion,
    )


def _address(reference: int, address: bytes, family: int) -> str:
    """Name the reference: by its address, or a clock by its four letters."""
    if family == _IPV4:
        return str(IPv4Address(address[:4]))
    if family == _IPV6:
        return str(IPv6Address(address))
    letters = reference.to_bytes(4, "big").decode("latin-1")
    return "".join(each for each in letters if each.isascii() and each.isprintable())


def _float(packed: int) -> float:
    """Read chrony's 32-bit number: 7 bits of exponent and 25 of coefficient, both signed."""
    exponent, coefficient = packed >> _COEFFICIENT_BITS, packed & ((1 << _COEFFICIENT_BITS) - 1)
    if exponent >= 1 << (_EXPONENT_BITS - 1):
        exponent -= 1 << _EXPONENT_BITS
    if coefficient >= 1 << (_COEFFICIENT_BITS - 1):
        coefficient -= 1 << _COEFFICIENT_BITS
    return coefficient * 2.0 ** (exponent - _COEFFICIENT_BITS)
