"""Entries of each kind that routes carry, sealed with real keys."""

from __future__ import annotations

from coldseal.core.log import canonical
from coldseal.core.log.record import Entry, parse_entry
from tests.sealed import TIME, TQ, SealedLog

DEVICE = "dev-1"
SOURCE: dict[str, canonical.Value] = {
    "dev": DEVICE,
    "fp": "ab" * 8,
    "seq": 7,
    "sha256": canonical.encode_base64(bytes(32)),
}
READING: dict[str, canonical.Value] = {
    "q": [
        {"c": "cal-9", "i": "4.9", "n": "temperature", "u": "Cel", "v": "4.71"},
        {"n": "humidity", "t": "2026-11-22T05:20:00.000Z", "u": "%RH", "v": "41"},
    ],
    "sensor": "door",
}
EXCURSION: dict[str, canonical.Value] = {
    "action": "opened",
    "area": "12.5",
    "asset": "fridge-3",
    "device": DEVICE,
    "direction": "high",
    "duration": 600,
    "extreme": "9.31",
    "from": "2026-11-22T05:10:00.000Z",
    "id": "dev-1/door/temperature/high/2026-11-22T05:10:00.000Z",
    "limit": "8",
    "mkt": {"covered": 86400, "v": "6.2", "window": 86400, "worst": "6.9"},
    "profile": {"name": "refrigerated", "sha256": "0" * 64, "version": 2},
    "quantity": "temperature",
    "sensor": "door",
    "tier": "excursion",
    "to": "2026-11-22T05:20:00.000Z",
    "unit": "Cel",
    "value": "9.02",
}
SILENCE: dict[str, canonical.Value] = {
    "asset": "fridge-3",
    "cause": "silent",
    "device": DEVICE,
    "from": "2026-11-22T05:00:00.000Z",
    "id": "dev-1/door/silent/2026-11-22T05:00:00.000Z",
    "noticed": "2026-11-22T05:20:00.000Z",
    "sensor": "door",
}
DISPOSITION: dict[str, canonical.Value] = {
    "excursion": EXCURSION["id"],
    "verdict": "quarantine",
    "who": "Ada",
    "why": "stability data asked for",
}


def seal(
    log: SealedLog,
    kind: str,
    data: dict[str, canonical.Value],
    source: dict[str, canonical.Value] | None = None,
) -> bytes:
    """Append an entry with a source."""
    sign = log.keys.record.sign if log.mode == "record" else None
    src = canonical.encode(source) if source else b""
    raw = log.chain.seal(kind, TIME, TQ, src, canonical.encode(data), sign)
    log.entries.append(raw)
    return raw


def entry_of(
    kind: str,
    data: dict[str, canonical.Value],
    source: dict[str, canonical.Value] | None = None,
    *,
    mode: str = "record",
) -> Entry:
    """Give an entry, the second of a log."""
    return parse_entry(seal(SealedLog(mode=mode), kind, data, source))
