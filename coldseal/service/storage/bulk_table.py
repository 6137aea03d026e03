"""Entries as a Parquet file: a row for each quantity, and in it the entry as it was signed, byte for byte.

Promise: the entries that come out are those that went in, and the columns beside them say what they say: a
file whose columns differ is refused. An entry stands in the first of its rows. This is the only door to the
Parquet library, which is loaded when it is first needed.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.core.log.table import render_indication
from coldseal.errors import InputError, OperatorError
from coldseal.service.storage.bulk_manifest import BulkDamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from coldseal.core.log.canonical import Value

LEVEL: Final = 9
"""Level of compression (zstd)."""

_ADDED: Final = ("indication", "calibration")
"""Columns that tables of the first releases do not have."""

_TEXTS: Final = ("device", "sensor", "quantity", "value", "unit", "flags", "kind", *_ADDED)
_NAMES: Final = ("seq", "t", *_TEXTS, "leaf", "entry")
_Row = tuple[object, ...]


def encode_table(first: int, entries: Sequence[bytes]) -> bytes:
    """Write entries as a Parquet file; the same entries give the same bytes.

    Raises:
        OperatorError: the library is not there.
    """
    _, parquet = _pyarrow()
    file = io.BytesIO()
    parquet.write_table(
        _table(first, entries),
        file,
        compression="zstd",
        compression_level=LEVEL,
        use_dictionary=[*_TEXTS],
        column_encoding={"seq": "DELTA_BINARY_PACKED", "t": "DELTA_BINARY_PACKED"},
        write_statistics=["seq", "t", *_TEXTS],
        store_schema=True,
    )
    return file.getvalue()


def decode_table(data: bytes, first: int, name: str) -> list[bytes]:
    """Read the entries out of a Parquet file whose sum was checked, and hold its columns against them.

    Raises:
        BulkDamagedError: it is no such file, or a column says something else than its entries.
        OperatorError: the library is not there.
    """
    arrow, parquet = _pyarrow()
    try:
        found = parquet.read_table(arrow.BufferReader(data))
        entries = [raw for raw in found.column("entry").to_pylist() if raw is not None]
    except (arrow.ArrowException, KeyError, OSError) as error:
        raise BulkDamagedError(name, f"it cannot be read: {error}") from error
    left_out = () if set(_ADDED).intersection(found.column_names) else _ADDED
    if not found.equals(_table(first, entries, left_out)):
        raise BulkDamagedError(name, "a column says something else than the entries")
    return entries


def _table(first: int, entries: Sequence[bytes], left_out: Sequence[str] = ()) -> object:
    """Put entries and what they say into columns: a table of the library's."""
    arrow, _ = _pyarrow()
    schema = arrow.schema(
        [
            ("seq", arrow.int64()),
            ("t", arrow.timestamp("ms", tz="UTC")),
            *((name, arrow.string()) for name in _TEXTS),
            ("leaf", arrow.binary(32)),
            ("entry", arrow.binary()),
        ]
    )
    columns = list(
        zip(*(row for seq, raw in enumerate(entries, first) for row in _rows(seq, raw)), strict=True)
    )
    made = []
    for field, values in zip(schema, columns or [()] * len(_NAMES), strict=True):
        if field.name == "t":
            made.append(arrow.array(values, arrow.string()).cast(field.type))
        else:
            made.append(arrow.array(values, field.type))
    return arrow.Table.from_arrays(made, schema=schema).drop_columns([*left_out])


def _rows(seq: int, raw: bytes) -> Iterator[_Row]:
    """Give the rows of an entry; one that cannot be read has one row with nothing but its bytes."""
    leaf = leaf_hash(raw)
    try:
        entry = parse_entry(raw)
    except InputError:
        yield (seq, *[None] * (len(_NAMES) - 3), leaf, raw)
        return
    data = entry.data
    flags = data.get("flags")
    doubts = " ".join(map(str, flags)) if isinstance(flags, list) else None
    quantities = data.get("q") if entry.kind == "reading" else None
    device, sensor = _text(entry.src.get("dev")), _text(data.get("sensor"))
    items = [each for each in quantities if isinstance(each, dict)] if isinstance(quantities, list) else []
    for place, item in enumerate(items or [{}]):
        said = (_text(item.get(name)) for name in ("n", "v", "u"))
        shown = render_indication(*(_text(item.get(name)) or "" for name in ("i", "iu"))) or None
        whole = (leaf, raw) if place == 0 else (None, None)
        yield (seq, entry.t, device, sensor, *said, doubts, entry.kind, shown, _text(item.get("c")), *whole)


def _text(value: Value) -> str | None:
    """Give a text; what is something else, in the log of somebody else, is in the entry alone."""
    return value if isinstance(value, str) else None


def _pyarrow() -> tuple[ModuleType, ModuleType]:
    """Give the library, or say how to get it."""
    try:
        import pyarrow as pa  # noqa: PLC0415 # loaded late
        from pyarrow import parquet  # noqa: PLC0415 # the same
    except ModuleNotFoundError as error:
        hint = "Install it with: pip install 'coldseal[bulk]'"
        raise OperatorError(f"the bulk tier needs the package {error.name}", hint) from error
    return pa, parquet
