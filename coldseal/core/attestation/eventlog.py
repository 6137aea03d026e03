"""The firmware's event log (TCG PC Client, crypto-agile form): what was measured into which PCR, in order.

Promises one strict, bounded reading, and the PCR values that follow from it. The log itself is no proof: only
where its replay meets a quote is it true, and of an event's text only what its digest covers.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.attestation.structures import HASHES, PCRS, Algorithm, Cursor
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_LOG: Final = 1024 * 1024
"""Bytes of a log; firmware keeps room for 64 KiB mostly."""
MAX_EVENTS: Final = 8_192
MAX_EVENT: Final = 256 * 1024
"""Bytes of one event's text."""
SHOWN: Final = 100
"""Characters of an event's text that are shown."""

NO_ACTION: Final = 0x00000003
SEPARATOR: Final = 0x00000004
IPL: Final = 0x0000000D
DRIVER_CONFIG: Final = 0x80000001
ACTION: Final = 0x80000007

KINDS: Final[Mapping[int, str]] = {
    0x00000000: "EV_PREBOOT_CERT",
    0x00000001: "EV_POST_CODE",
    NO_ACTION: "EV_NO_ACTION",
    SEPARATOR: "EV_SEPARATOR",
    0x00000005: "EV_ACTION",
    0x00000006: "EV_EVENT_TAG",
    0x00000007: "EV_S_CRTM_CONTENTS",
    0x00000008: "EV_S_CRTM_VERSION",
    0x00000009: "EV_CPU_MICROCODE",
    0x0000000A: "EV_PLATFORM_CONFIG_FLAGS",
    0x0000000B: "EV_TABLE_OF_DEVICES",
    0x0000000C: "EV_COMPACT_HASH",
    IPL: "EV_IPL",
    0x0000000E: "EV_IPL_PARTITION_DATA",
    0x0000000F: "EV_NONHOST_CODE",
    0x00000010: "EV_NONHOST_CONFIG",
    0x00000011: "EV_NONHOST_INFO",
    0x00000012: "EV_OMIT_BOOT_DEVICE_EVENTS",
    DRIVER_CONFIG: "EV_EFI_VARIABLE_DRIVER_CONFIG",
    0x80000002: "EV_EFI_VARIABLE_BOOT",
    0x80000003: "EV_EFI_BOOT_SERVICES_APPLICATION",
    0x80000004: "EV_EFI_BOOT_SERVICES_DRIVER",
    0x80000005: "EV_EFI_RUNTIME_SERVICES_DRIVER",
    0x80000006: "EV_EFI_GPT_EVENT",
    ACTION: "EV_EFI_ACTION",
    0x80000008: "EV_EFI_PLATFORM_FIRMWARE_BLOB",
    0x80000009: "EV_EFI_HANDOFF_TABLES",
    0x8000000A: "EV_EFI_PLATFORM_FIRMWARE_BLOB2",
    0x8000000B: "EV_EFI_HANDOFF_TABLES2",
    0x8000000C: "EV_EFI_VARIABLE_BOOT2",
    0x80000010: "EV_EFI_HCRTM_EVENT",
    0x800000E0: "EV_EFI_VARIABLE_AUTHORITY",
    0x800000E1: "EV_EFI_SPDM_FIRMWARE_BLOB",
    0x800000E2: "EV_EFI_SPDM_FIRMWARE_CONFIG",
}

_COVERED: Final = {SEPARATOR, DRIVER_CONFIG, ACTION}
"""Of these the digest covers the text itself, on all firmware."""
_SPEC_ID: Final = b"Spec ID Event03\0"
_LOCALITY: Final = b"StartupLocality\0"
_LOCALITIES: Final = {0, 3, 4}
_DYNAMIC: Final = range(17, 23)
"""PCRs that begin with all ones, until a dynamic launch."""
_WHERE: Final = "event log"
_VARIABLE_HEAD: Final = 32
"""Bytes of a GUID and two lengths, before a variable's name."""


class LoggedEvent(NamedTuple):
    """One event.

    Attributes:
        number: its place in the log, from 0.
        pcr: where it was measured into.
        kind: TCG event type.
        digest: what the PCR was extended by, in the bank that was asked for.
        content: what the firmware says that it was.
    """

    number: int
    pcr: int
    kind: int
    digest: bytes
    content: bytes

    def render(self) -> str:
        """Name the event for a person: its type, and what of its text can be read."""
        name = KINDS.get(self.kind, f"{self.kind:#010x}")
        text = _text(self.kind, self.content)
        return f"{name} {text}".rstrip()


class EventLog(NamedTuple):
    """A log as it was read, for one bank.

    Attributes:
        locality: where the machine's start came from; it is the first value of PCR 0.
        events: what was measured, in order.
    """

    bank: Algorithm
    locality: int
    events: tuple[LoggedEvent, ...]


def parse_log(content: bytes, bank: Algorithm = Algorithm.SHA256) -> EventLog:
    """Read a log, keeping the digests of one bank; an empty one stands for a machine that measured nothing.

    Raises:
        InputError: it is malformed, too long, not in the crypto-agile form, or does not have that bank; or a
            text is not what its digest covers.
    """
    if len(content) > MAX_LOG:
        raise InputError(_WHERE, "length", len(content), f"at most {MAX_LOG} bytes")
    if not content:
        return EventLog(bank, 0, ())
    cursor = Cursor(_WHERE, content, is_little=True)
    sizes = _header(cursor)
    if bank not in sizes:
        raise InputError(_WHERE, "algorithms", sorted(sizes), f"{bank.name} ({bank:#06x}) among them")
    locality = 0
    events: list[LoggedEvent] = []
    for number in range(MAX_EVENTS + 1):
        if cursor.is_at_end:
            return EventLog(bank, locality, tuple(events))
        event = _event(cursor, number, sizes, bank)
        if event.kind != NO_ACTION:
            events.append(event)
        elif event.content.startswith(_LOCALITY):
            locality = _startup(event, events)
    raise InputError(_WHERE, "events", "more", f"at most {MAX_EVENTS}")


def _header(cursor: Cursor) -> dict[int, int]:
    """Take the first event, which tells what digests the others have (TCG_EfiSpecIDEvent)."""
    pcr, kind = cursor.number("pcrIndex", 4), cursor.number("eventType", 4)
    cursor.take("digest", 20)
    if pcr or kind != NO_ACTION:
        raise InputError(_WHERE, "first event", f"{kind:#x} in PCR {pcr}", "EV_NO_ACTION in PCR 0")
    inner = Cursor("TCG_EfiSpecIDEvent", cursor.take("event", cursor.number("eventSize", 4)), is_little=True)
    signature = inner.take("signature", 16)
    if signature != _SPEC_ID:
        raise InputError("TCG_EfiSpecIDEvent", "signature", signature, "the crypto-agile form of TPM 2.0")
    inner.take("platformClass, version, errata, uintnSize", 8)
    count = inner.number("numberOfAlgorithms", 4)
    if not 1 <= count <= PCRS:
        raise InputError("TCG_EfiSpecIDEvent", "numberOfAlgorithms", count, f"1 to {PCRS}")
    sizes = {}
    for _ in range(count):
        algorithm, size = inner.number("algorithmId", 2), inner.number("digestSize", 2)
        sizes[algorithm] = size
    for known, name in HASHES.items():
        expected = hashlib.new(name).digest_size
        if sizes.get(known, expected) != expected:
            raise InputError("TCG_EfiSpecIDEvent", f"digestSize of {name}", sizes[known], str(expected))
    inner.take("vendorInfo", inner.number("vendorInfoSize", 1))
    inner.end()
    return sizes


def _event(cursor: Cursor, number: int, sizes: Mapping[int, int], bank: Algorithm) -> LoggedEvent:
    """Take one event (TCG_PCR_EVENT2)."""
    pcr, kind = cursor.number("pcrIndex", 4), cursor.number("eventType", 4)
    if pcr >= PCRS and kind != NO_ACTION:
        raise InputError(_WHERE, f"pcrIndex of event {number}", pcr, f"below {PCRS}")
    count = cursor.number("digests.count", 4)
    if count != len(sizes):
        raise InputError(_WHERE, f"digests of event {number}", count, f"{len(sizes)}, as the log's head says")
    digests = {}
    for _ in range(count):
        algorithm = cursor.number("digests.algorithmId", 2)
        if algorithm not in sizes or algorithm in digests:
            raise InputError(
                _WHERE, f"algorithmId of event {number}", f"{algorithm:#06x}", "each of the head once"
            )
        digests[algorithm] = cursor.take("digests.digest", sizes[algorithm])
    size = cursor.number("eventSize", 4)
    if size > MAX_EVENT:
        raise InputError(_WHERE, f"eventSize of event {number}", size, f"at most {MAX_EVENT}")
    event = LoggedEvent(number, pcr, kind, digests[bank], cursor.take("event", size))
    if kind in _COVERED and hashlib.new(HASHES[bank], event.content).digest() != event.digest:
        raise InputError(_WHERE, f"text of event {number}", event.content, "what its digest covers")
    return event


def _startup(event: LoggedEvent, before: list[LoggedEvent]) -> int:
    """Read where the start came from; it can only be said before PCR 0 is extended."""
    locality = event.content[len(_LOCALITY) :]
    if len(locality) != 1 or locality[0] not in _LOCALITIES:
        raise InputError(_WHERE, "StartupLocality", locality, f"one of {sorted(_LOCALITIES)}")
    if any(each.pcr == 0 for each in before):
        raise InputError(_WHERE, "StartupLocality", event.number, "before all that is measured into PCR 0")
    return locality[0]


def replay(log: EventLog, pcrs: Iterable[int]) -> dict[int, bytes]:
    """Give the values that PCRs have if the log is whole and true."""
    name = HASHES[log.bank]
    size = hashlib.new(name).digest_size
    values = {pcr: (b"\xff" if pcr in _DYNAMIC else b"\0") * size for pcr in pcrs}
    if 0 in values:
        values[0] = log.locality.to_bytes(size)
    for event in log.events:
        if event.pcr in values:
            values[event.pcr] = hashlib.new(name, values[event.pcr] + event.digest).digest()
    return values


def _text(kind: int, content: bytes) -> str:
    """Give what of an event's text a person can read; what cannot be read is left out."""
    if kind == IPL:
        text = content.rstrip(b"\0").decode("utf-8", "replace")
    elif kind in {DRIVER_CONFIG, 0x80000002, 0x8000000C, 0x800000E0}:
        text = _variable(content)
    elif kind in {0x00000005, ACTION}:
        text = content.decode("ascii", "replace")
    else:
        return ""
    return "".join(each if each.isprintable() else "?" for each in text)[:SHOWN]


def _variable(content: bytes) -> str:
    """Give the name of a UEFI variable (UEFI_VARIABLE_DATA)."""
    if len(content) < _VARIABLE_HEAD:
        return ""
    (size,) = struct.unpack_from("<Q", content, 16)
    return content[_VARIABLE_HEAD:][: 2 * min(size, SHOWN)].decode("utf-16-le", "replace")
