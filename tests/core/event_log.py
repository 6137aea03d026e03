"""Writes event logs as firmware does, for tests: what was measured byte by byte, and how it can be spoilt."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SHA1, SHA256, SHA384 = 0x0004, 0x000B, 0x000C
NAMES = {SHA1: "sha1", SHA256: "sha256", SHA384: "sha384"}
SEPARATOR, IPL, DRIVER_CONFIG, ACTION, BLOB, APPLICATION = (
    0x04,
    0x0D,
    0x80000001,
    0x80000007,
    0x80000008,
    0x80000003,
)


class Told(NamedTuple):
    """One event: its text, and what is measured, which is the text itself where nothing else is said."""

    pcr: int
    kind: int
    content: bytes
    measured: bytes | None = None

    def digest(self, algorithm: int = SHA256) -> bytes:
        """Give what the PCR is extended by."""
        measured = self.content if self.measured is None else self.measured
        return hashlib.new(NAMES[algorithm], measured).digest()


def variable(name: str, content: bytes = b"\x01") -> bytes:
    """Write a UEFI_VARIABLE_DATA."""
    text = name.encode("utf-16-le")
    return bytes(16) + struct.pack("<QQ", len(name), len(content)) + text + content


BOOT = (
    Told(0, BLOB, b"\0" * 16, b"firmware"),
    Told(7, DRIVER_CONFIG, variable("SecureBoot")),
    Told(0, SEPARATOR, bytes(4)),
    Told(7, SEPARATOR, bytes(4)),
    Told(4, ACTION, b"Calling EFI Application from Boot Option"),
    Told(4, APPLICATION, b"\0" * 32, b"shim"),
    Told(4, APPLICATION, b"\0" * 32, b"kernel"),
    Told(8, IPL, b"grub_cmd: linux /vmlinuz root=/dev/sda1 ro\0", b"linux /vmlinuz root=/dev/sda1 ro"),
)
"""What an ordinary machine measures, shortened."""


def write_log(
    told: Sequence[Told],
    *,
    algorithms: Sequence[int] = (SHA1, SHA256),
    locality: int | None = None,
    sizes: Mapping[int, int] | None = None,
    signature: bytes = b"Spec ID Event03\0",
    count: int | None = None,
) -> bytes:
    """Write a log in the crypto-agile form; the options spoil its head."""
    lengths = {each: hashlib.new(NAMES[each]).digest_size for each in algorithms} | dict(sizes or {})
    head = signature + struct.pack("<IBBBB", 0, 0, 2, 0, 2)
    head += struct.pack("<I", len(lengths) if count is None else count)
    head += b"".join(struct.pack("<HH", *each) for each in lengths.items()) + b"\0"
    whole = struct.pack("<II", 0, 3) + bytes(20) + struct.pack("<I", len(head)) + head
    if locality is not None:
        whole += no_action(b"StartupLocality\0" + bytes([locality]), algorithms)
    return whole + b"".join(write_event(each, algorithms) for each in told)


def write_event(told: Told, algorithms: Sequence[int] = (SHA1, SHA256)) -> bytes:
    """Write one event."""
    digests = b"".join(struct.pack("<H", each) + told.digest(each) for each in algorithms)
    head = struct.pack("<III", told.pcr, told.kind, len(algorithms)) + digests
    return head + struct.pack("<I", len(told.content)) + told.content


def no_action(content: bytes, algorithms: Sequence[int] = (SHA1, SHA256)) -> bytes:
    """Write an event that is measured nowhere."""
    digests = b"".join(
        struct.pack("<H", each) + bytes(hashlib.new(NAMES[each]).digest_size) for each in algorithms
    )
    return struct.pack("<III", 0, 3, len(algorithms)) + digests + struct.pack("<I", len(content)) + content


def measured(told: Sequence[Told], pcrs: Sequence[int], *, locality: int = 0) -> dict[int, bytes]:
    """Give the PCR values, by another way than the code under test: one PCR after the other."""
    values = {}
    for pcr in pcrs:
        value = bytes(31) + bytes([locality if pcr == 0 else 0])
        for each in told:
            if each.pcr == pcr:
                value = hashlib.sha256(value + each.digest()).digest()
        values[pcr] = value
    return values
