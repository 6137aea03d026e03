"""What a sensor's reading is: a decimal value with a unit, and the doubts that stick to it.

Promise: a value that passes here is exact decimal text, has a unit of the table, and is
written to the log with the digits that the sensor sent. Implausible values are flagged and
kept, never dropped. Not done here: calibration, limits of a product, time.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_QUANTITIES: Final = 16
MAX_DIGITS: Final = 32
FLAG_IMPLAUSIBLE: Final = "implausible"
FLAG_SEQUENCE: Final = "sequence"
FLAG_CLOCK: Final = "clock"
"""Its time may be off by more than a second: `tq` of its entry says by how much."""
FLAG_CALIBRATION_DUE: Final = "calibration-due"
"""It was corrected by a calibration that was overdue when it was taken."""
FLAG_MAINTENANCE: Final = "maintenance"
"""Its sensor was in maintenance when it was taken: it is kept and not judged."""
FLAG_SCHEMA_NEWER: Final = "schema-newer"
"""Its payload is of a newer version than is known: what is known was taken."""
FLAG_REPLAYED: Final = "replayed"
"""It was rejected at first, and taken once its schema was known."""

# Units of measure a device may use (UCUM codes, which SenML shares for all but %RH and %EL),
# each with the bounds outside of which no working sensor reports: beyond them the reading is flagged.
UNITS: Final[dict[str, tuple[float, float]]] = {
    "Cel": (-273.15, 200.0),
    "[degF]": (-459.67, 392.0),
    "K": (0.0, 473.15),
    "%RH": (0.0, 100.0),
    "%EL": (0.0, 100.0),
    "hPa": (100.0, 1200.0),
    "Pa": (10_000.0, 120_000.0),
    "V": (0.0, 60.0),
    "lx": (0.0, 200_000.0),
    "ppm": (0.0, 1_000_000.0),
    "/": (0.0, 1.0),
}

_PLAIN: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?").fullmatch
_NUMBER: Final = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?").fullmatch
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}").fullmatch


class Quantity(NamedTuple):
    """One measured quantity of a message.

    Attributes:
        name: what was measured, such as ``temperature`` (SenML name; letters, digits, ``:._/-``).
        unit: a key of :data:`UNITS`.
        value: plain decimal text without exponent, with the digits the sensor sent.
        taken_at: RFC 3339 time of this quantity where it differs from the message's, else empty.
        is_plausible: whether a working sensor could have reported it; a flag, never a reason to drop it.
        encoded: its canonical JSON in the entry.
    """

    name: str
    unit: str
    value: str
    taken_at: str
    is_plausible: bool
    encoded: str


def parse_quantity(name: str, unit: str, number: str, *, where: str, taken_at: str = "") -> Quantity:
    """Check one quantity as a device sent it.

    Args:
        name: the quantity's name.
        unit: its unit.
        number: the number as text, JSON syntax or plain decimal.
        where: what is being read, for the error.
        taken_at: the quantity's own time, RFC 3339, or empty.

    Raises:
        InputError: the name, unit or number is not acceptable; nothing is guessed.
    """
    if _NAME(name) is None:
        raise InputError(
            where, "n", name, "1 to 64 letters, digits or :._/- beginning with a letter or digit"
        )
    if unit not in UNITS:
        raise InputError(where, "u", unit, f"one of {', '.join(UNITS)}")
    value = canonical_decimal(number, where=where)
    low, high = UNITS[unit]
    moment = f',"t":"{taken_at}"' if taken_at else ""
    # Nothing that passed the checks above needs escaping in JSON.
    encoded = f'{{"n":"{name}"{moment},"u":"{unit}","v":"{value}"}}'
    return Quantity(name, unit, value, taken_at, low <= float(value) <= high, encoded)


def canonical_decimal(number: str, *, where: str) -> str:
    """Write a number as plain decimal text: the same value and digits, no exponent, no negative zero.

    Raises:
        InputError: not a finite decimal number, or longer than :data:`MAX_DIGITS` digits.
    """
    if len(number) <= MAX_DIGITS and _PLAIN(number) is not None:
        return number if number[0] != "-" or number.strip("-0.") else number[1:]
    if _NUMBER(number) is None:
        raise InputError(where, "v", number, "a finite decimal number such as 4.71")
    text = f"{Decimal(number):f}"
    if len(text) > MAX_DIGITS:
        raise InputError(where, "v", number, f"at most {MAX_DIGITS} characters when written without exponent")
    return text if text.strip("-0.") else text.lstrip("-")


def encode_reading(sensor: str, quantities: Iterable[Quantity], flags: Iterable[str] = ()) -> bytes:
    """Encode the ``data`` of a ``reading`` entry: canonical JSON with sorted keys.

    Args:
        sensor: a topic level of the project's scheme, which needs no escaping.
        quantities: what was measured, in the sender's order.
        flags: doubts the caller adds to those that the values raise.
    """
    items, doubts = [], set(flags)
    for quantity in quantities:
        items.append(quantity.encoded)
        if not quantity.is_plausible:
            doubts.add(FLAG_IMPLAUSIBLE)
    joined = '","'.join(sorted(doubts))
    flagged = f'"flags":["{joined}"],' if doubts else ""
    return f'{{{flagged}"q":[{",".join(items)}],"sensor":"{sensor}"}}'.encode()


def encode_source(  # the fields of src, one by one: this is the hot path
    device: str,
    fingerprint: str,
    digest: str,
    *,
    seq: int | None,
    boot: str,
    taken_at: str,
    packet_id: int | None,
    schema: str = "",
) -> bytes:
    """Encode the ``src`` of a ``reading`` entry: canonical JSON with sorted keys.

    Args:
        device: its authenticated name, one topic level.
        fingerprint: first 16 hex digits of SHA-256 over its certificate; empty without one.
        digest: SHA-256 of the payload, base64.
        seq: the device's own sequence number.
        boot: the run of the device that ``seq`` counts in, or empty.
        taken_at: the device's time as it sent it, RFC 3339, or empty.
        packet_id: the transport's number; kept only where the device has no sequence of its own.
        schema: NAME/VERSION of the payload's form; empty for version 1 of the project's JSON.
    """
    run = f'"boot":"{boot}",' if boot else ""
    certificate = f'"fp":"{fingerprint}",' if fingerprint else ""
    number = f'"seq":{seq},' if seq is not None else f'"pid":{packet_id},' if packet_id is not None else ""
    moment = f',"t":"{taken_at}"' if taken_at else ""
    if schema:  # it stands before seq and behind pid
        form = f'"schema":"{schema}",'
        number = f"{form}{number}" if seq is not None else f"{number}{form}"
    return f'{{{run}"dev":"{device}",{certificate}{number}"sha256":"{digest}"{moment}}}'.encode()
