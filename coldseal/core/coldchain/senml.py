"""RFC 8428 (SenML): resolves a pack of records into quantities with their own names, units and times.

Promise: base fields apply as section 4.1 says, values are added in decimal, and what this
project has no meaning for (strings, booleans, data, sums) is refused by name, not skipped.
Not done here: JSON or CBOR syntax; both arrive as records with the JSON labels of table 4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from coldseal.core.coldchain.reading import MAX_QUANTITIES, Quantity, parse_quantity
from coldseal.errors import InputError

WHERE: Final = "SenML pack"
VERSION: Final = 10  # RFC 8428 4.4: the version this text defines
RELATIVE_BELOW: Final = 2**28  # RFC 8428 4.5.3: smaller times are relative to now

# RFC 8428 table 4 (labels of section 4.3) against the CBOR labels of section 6.
CBOR_LABELS: Final[dict[int, str]] = {
    -1: "bver", -2: "bn", -3: "bt", -4: "bu", -5: "bv", -6: "bs",
    0: "n", 1: "u", 2: "v", 3: "vs", 4: "vb", 5: "s", 6: "t", 7: "ut", 8: "vd",
}  # fmt: skip
_UNSUPPORTED: Final = frozenset({"vs", "vb", "vd", "s", "bs"})
_NUMBERS: Final = frozenset({"v", "bv", "t", "bt", "ut", "bver"})
_TEXTS: Final = frozenset({"n", "bn", "u", "bu"})
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_TIME: Final = Decimal(253_402_300_799)  # 9999-12-31T23:59:59Z, the last RFC 3339 can write

Record = Mapping[str, str | Decimal]


def resolve(records: Iterable[Record], *, received_ms: int) -> list[Quantity]:
    """Resolve a pack.

    Args:
        records: label → text, or Decimal for numbers; at most :data:`MAX_QUANTITIES` with a value.
        received_ms: UTC milliseconds of receipt, to which relative times are bound.

    Returns:
        The quantities in the pack's order, each with its time where the pack gives one.

    Raises:
        InputError: a label, type, version, name, unit or value that cannot be taken.
    """
    base: dict[str, str | Decimal] = {}
    found: list[Quantity] = []
    for record in records:
        _check(record)
        base.update((label, value) for label, value in record.items() if label.startswith("b"))
        if "v" not in record and "bv" not in base:
            continue  # RFC 8428 4.2: a record of base fields alone
        if "v" not in record and "n" not in record:
            continue
        found.append(_quantity(record, base, received_ms))
        if len(found) > MAX_QUANTITIES:
            raise InputError(WHERE, "records", len(found), f"at most {MAX_QUANTITIES} with a value")
    if not found:
        raise InputError(WHERE, "records", 0, "at least one record with a value (v)")
    return found


def _check(record: Record) -> None:
    """Refuse labels and types that have no meaning here."""
    for label, value in record.items():
        if label in _UNSUPPORTED:
            raise InputError(
                WHERE, label, value, "numeric values (v); text, boolean, data and sums are not taken"
            )
        if label in _NUMBERS and not isinstance(value, Decimal):
            raise InputError(WHERE, label, value, "a number")
        if label in _TEXTS and not isinstance(value, str):
            raise InputError(WHERE, label, value, "a text")
        if label.endswith("_"):  # RFC 8428 4.4: must be understood or the pack refused
            raise InputError(WHERE, label, value, "no must-understand extension")
    version = record.get("bver", Decimal(VERSION))
    if version != VERSION:
        raise InputError(WHERE, "bver", version, str(VERSION))


def _quantity(record: Record, base: Record, received_ms: int) -> Quantity:
    """Resolve one record against the base fields in force."""
    name = f"{base.get('bn', '')}{record.get('n', '')}"
    unit = str(record.get("u", base.get("bu", "")))
    value = _number(base, "bv") + _number(record, "v")
    taken_at = ""
    if "t" in record or "bt" in base:
        taken_at = _moment(_number(base, "bt") + _number(record, "t"), received_ms)
    return parse_quantity(name, unit, str(value), where=WHERE, taken_at=taken_at)


def _number(record: Record, label: str) -> Decimal:
    """Return a number that :func:`_check` has seen; absent counts as zero (RFC 8428 4.1)."""
    return Decimal(record.get(label, 0))


def _moment(seconds: Decimal, received_ms: int) -> str:
    """Write a SenML time as RFC 3339, binding a relative one to the time of receipt."""
    if seconds < RELATIVE_BELOW:
        seconds += Decimal(received_ms) / 1000
    if not 0 <= seconds <= _LAST_TIME:
        raise InputError(WHERE, "t", seconds, "a time between 1970 and 9999")
    moment = _EPOCH + timedelta(milliseconds=int(seconds * 1000))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
