"""Hostile ClientHellos and records as bytes, after tlsfuzzer's scripts for TLS 1.3 that apply to a listener.

A hello is made of its parts, each of which a case may replace; the bytes are the same in every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_POINT = ec.derive_private_key(7, ec.SECP256R1()).public_key()
POINT = _POINT.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
HANDSHAKE, ALERT, CHANGE, DATA, HEARTBEAT = 22, 21, 20, 23, 24
SERVER_NAME, GROUPS, SIGNATURES, PSK, EARLY, VERSIONS, MODES, SHARES = 0, 10, 13, 41, 42, 43, 45, 51
P256, X25519 = 0x0017, 0x001D

Extensions = dict[int, bytes]


class Attack(NamedTuple):
    """What a hostile caller sends; with ``is_answered`` it is one that may be served on.

    Args:
        name: what is wrong.
        data: the bytes.
        is_unfinished: it is never completed: the caller closes, and the listener must not wait for ever.
    """

    name: str
    data: bytes
    is_unfinished: bool = False


def vector(data: bytes, width: int) -> bytes:
    """Put the length before bytes."""
    return len(data).to_bytes(width, "big") + data


def words(*numbers: int) -> bytes:
    """Write numbers of two bytes."""
    return b"".join(each.to_bytes(2, "big") for each in numbers)


def record(data: bytes, kind: int = HANDSHAKE, version: int = 0x0301) -> bytes:
    """Wrap bytes in a record."""
    return bytes((kind,)) + words(version) + vector(data, 2)


def share(group: int = P256, key: bytes = POINT) -> bytes:
    """Make a key share."""
    return words(group) + vector(key, 2)


def usual() -> Extensions:
    """Give the extensions of a good hello."""
    return {
        GROUPS: vector(words(P256), 2),
        SIGNATURES: vector(words(0x0403, 0x0804), 2),
        VERSIONS: vector(words(0x0304), 1),
        SHARES: vector(share(), 2),
    }


def hello(
    changes: Extensions | None = None,
    *,
    without: Sequence[int] = (),
    suites: bytes = words(0x1301, 0x1302, 0x1303),
    compression: bytes = b"\x00",
    session: bytes = b"",
    tail: bytes = b"",
    after: bytes = b"",
    version: int = 0x0303,
) -> bytes:
    """Make a ClientHello as a handshake message."""
    extensions = {**usual(), **(changes or {})}
    listed = b"".join(
        words(kind) + vector(data, 2) for kind, data in extensions.items() if kind not in without
    )
    body = words(version) + bytes(range(32)) + vector(session, 1) + vector(suites, 2)
    body += vector(compression, 1) + vector(listed + tail, 2) + after
    return b"\x01" + vector(body, 3)


def extension(kind: int, data: bytes) -> bytes:
    """Make one extension."""
    return words(kind) + vector(data, 2)


def _psk() -> bytes:
    """Offer a ticket that nobody gave."""
    return vector(vector(b"ticket" * 8, 2) + bytes(4), 2) + vector(vector(bytes(32), 1), 2)


def attacks() -> tuple[Attack, ...]:
    """Give all of them."""
    good = hello()
    made = [
        *(_wrong_extension(name, changes) for name, changes in _CHANGED.items()),
        Attack("no key share extension", record(hello(without=(SHARES,)))),
        Attack("no groups extension", record(hello(without=(GROUPS,)))),
        Attack("no signatures extension", record(hello(without=(SIGNATURES,)))),
        Attack("no versions extension: TLS 1.2", record(hello(without=(VERSIONS,)))),
        Attack("no cipher suites", record(hello(suites=b""))),
        Attack("an odd length of cipher suites", record(hello(suites=b"\x13\x01\x13"))),
        Attack("unknown cipher suites only", record(hello(suites=words(0x4A4A, 0xFEFE)))),
        Attack("TLS 1.2 cipher suites only", record(hello(suites=words(0xC02B, 0xC02F)))),
        Attack("no compression methods", record(hello(compression=b""))),
        Attack("compression asked for", record(hello(compression=b"\x01"))),
        Attack("a session id of 33 bytes", record(hello(session=bytes(33)))),
        Attack("an extension twice", record(hello(tail=extension(VERSIONS, vector(words(0x0304), 1))))),
        Attack("key shares twice", record(hello(tail=extension(SHARES, vector(share(), 2))))),
        Attack("a truncated extension", record(hello(tail=words(GROUPS, 50) + b"\x00"))),
        Attack("bytes behind the extensions", record(hello(after=b"\x00\x00\x00"))),
        Attack(
            "a ticket not at the end",
            record(hello({PSK: _psk(), MODES: vector(b"\x01", 1)}, tail=extension(0xFAFA, b""))),
        ),
        Attack("a ticket without its modes", record(hello({PSK: _psk()}))),
        Attack("a body shorter than its length", record(good[:1] + b"\x00\xff\xff" + good[4:]), True),
        Attack("a body longer than its length", record(good[:1] + vector(good[4:-5], 3) + good[-5:])),
        Attack("a hello of no bytes", record(b"\x01\x00\x00\x00")),
        Attack("a hello of 16 MB announced", record(b"\x01\xff\xff\xff" + bytes(1_000))),
        Attack("another handshake message first: Finished", record(b"\x14" + vector(bytes(32), 3))),
        Attack("another handshake message first: Certificate", record(b"\x0b" + vector(bytes(4), 3))),
        Attack("another handshake message first: KeyUpdate", record(b"\x18" + vector(b"\x01", 3))),
        Attack("another handshake message first: ServerHello", record(b"\x02" + vector(bytes(40), 3))),
        Attack("a hello request", record(b"\x00" + vector(b"", 3))),
        Attack("an unknown handshake message", record(b"\xfe" + vector(b"", 3))),
        Attack("application data first", record(b"GET / HTTP/1.1\r\n", DATA)),
        Attack("application data within the hello", record(good[:40]) + record(b"x", DATA)),
        Attack("an alert within the hello", record(good[:40]) + record(b"\x02\x28", ALERT)),
        Attack("a heartbeat (Heartbleed)", record(b"\x01\x40\x00", HEARTBEAT)),
        Attack("an unknown kind of record", record(good, 99)),
        Attack("a record of no bytes", record(b""), True),
        Attack("a flood of records of no bytes", record(b"") * 200),
        Attack("an oversized record", record(good + bytes(20_000))),
        Attack("a fatal alert", record(b"\x02\x28", ALERT)),
        Attack("a flood of warnings", record(b"\x01\x5a", ALERT) * 200),
        Attack("a truncated alert", record(b"\x01", ALERT)),
        Attack("ChangeCipherSpec of a wrong value", record(good) + record(b"\x02", CHANGE)),
        Attack("a flood of ChangeCipherSpec", record(good) + record(b"\x01", CHANGE) * 200),
        Attack("Finished that is not encrypted", record(good) + record(b"\x14" + vector(bytes(32), 3))),
        Attack("a second hello (renegotiation)", record(good) + record(good)),
        Attack("a record that does not decrypt", record(good) + record(bytes(64), DATA, 0x0303)),
        Attack("early data without a ticket", record(hello({EARLY: b""})) + record(bytes(16_384), DATA) * 3),
    ]
    return (*made, *_OLD_AND_SILENT)


_NO_SHARE: Extensions = {SHARES: vector(b"", 2)}
_OTHER_SHARE: Extensions = {SHARES: vector(share(X25519, bytes(range(32))), 2)}

_OLD_AND_SILENT = (
    Attack("no key share, and again none", record(hello(_NO_SHARE)) * 2),
    Attack("a retry with a share of another group", record(hello(_NO_SHARE)) + record(hello(_OTHER_SHARE))),
    Attack(
        "a retry with other cipher suites",
        record(hello(_NO_SHARE, suites=words(0x1301))) + record(hello(suites=words(0x1302))),
    ),
    Attack("SSL 2", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + bytes(40)),
    Attack("SSL 3", record(hello(without=(VERSIONS,), version=0x0300), version=0x0300)),
    Attack("TLS 1.1", record(hello(without=(VERSIONS,), version=0x0302))),
    Attack("bytes that are nothing", bytes(range(256)) * 4),
    Attack("half a hello, then silence", record(hello())[:60], True),
    Attack("one byte, then silence", b"\x16", True),
    Attack("a good hello, then silence", record(hello()), True),
)

_CHANGED: dict[str, Extensions] = {
    "an empty list of versions": {VERSIONS: b"\x00"},
    "unknown versions only": {VERSIONS: vector(words(0x7F1C, 0x0505), 1)},
    "an odd length of versions": {VERSIONS: b"\x03\x03\x04\x03"},
    "an empty list of groups": {GROUPS: b"\x00\x00"},
    "unknown groups only": {GROUPS: vector(words(0xFAFA), 2), SHARES: vector(share(0xFAFA, b"x"), 2)},
    "weak groups only: P-192": {
        GROUPS: vector(words(0x0013), 2),
        SHARES: vector(share(0x0013, bytes(49)), 2),
    },
    "an empty list of signatures": {SIGNATURES: b"\x00\x00"},
    "SHA-1 signatures only": {SIGNATURES: vector(words(0x0203, 0x0201), 2)},
    "an odd length of signatures": {SIGNATURES: b"\x00\x03\x04\x03\x08"},
    "a key share that is no point": {SHARES: vector(share(P256, b"\x04" + bytes(64)), 2)},
    "a key share that is too short": {SHARES: vector(share(P256, POINT[:33]), 2)},
    "a key share of no bytes": {SHARES: vector(share(P256, b""), 2)},
    "a compressed point": {SHARES: vector(share(P256, b"\x02" + POINT[1:33]), 2)},
    "an x25519 share of zeros": {
        GROUPS: vector(words(X25519), 2),
        SHARES: vector(share(X25519, bytes(32)), 2),
    },
    "a share of a group that is not offered": {
        SHARES: vector(share(X25519, bytes(range(32))), 2),
        GROUPS: vector(words(0x0018), 2),
    },
    "a truncated server name": {SERVER_NAME: b"\x00\x10\x00\x00"},
    "a server name with a zero in it": {SERVER_NAME: vector(b"\x00" + vector(b"local\x00host", 2), 2)},
    "a server name of 12,000 bytes": {SERVER_NAME: vector(b"\x00" + vector(b"a" * 12_000, 2), 2)},
}


def _wrong_extension(name: str, changes: Extensions) -> Attack:
    """Send a hello with a changed extension."""
    return Attack(name, record(hello(changes)))
