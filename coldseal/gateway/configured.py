"""Puts the settings in force on record: at a start, whatever differs from what the log says last.

Promise: each setting that is not its default stands in the log, with the one before it, the time, and the
user who started the gateway. A secret never does: references are names, and a password within an address is
hidden.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coldseal.core.log import canonical
from coldseal.core.log.record import parse_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.persons import Person
    from coldseal.gateway.store.reader import LogReader

SHOWN: Final = 200
"""Characters of a value that stands in the log as it is; a longer one stands there by its SHA-256."""

PART: Final = 100
"""Settings in one entry, which must stay below the limit of an entry."""

FIELD: Final = "settings"

START: Final = "in force from this start on"
"""Why settings change, where nobody has asked for it."""

LEFT_OUT: Final = frozenset({"gateway.data"})
"""Where the log itself lies: it is the log that moves, not what it was made with."""

_LOGIN: Final = re.compile(r"(?<=://)[^/@\s\"]+@")


def settings_in_force(config: GatewayConfig) -> dict[str, str]:
    """Give every setting that is not its default, as ``table.key`` and its value in JSON."""
    found: dict[str, str] = {}
    for table in config.__struct_fields__:
        value, default = getattr(config, table), _default(config, table)
        if isinstance(value, msgspec.Struct):
            for key in value.__struct_fields__:
                one = getattr(value, key)
                if default is None or one != getattr(default, key):
                    found[f"{table}.{key}"] = _text(one)
        elif value != default:
            found[table] = _text(value)
    return {key: found[key] for key in found.keys() - LEFT_OUT}


def settings_on_record(reader: LogReader) -> dict[str, str]:
    """Give the settings that the log says are in force."""
    found: dict[str, str] = {}
    for raw in reader.settings():
        said = parse_entry(raw).data.get(FIELD)
        if isinstance(said, dict):
            for key, change in said.items():
                after = change.get("after") if isinstance(change, dict) else None
                if isinstance(after, str):
                    found[key] = after
                else:
                    found.pop(key, None)
    return found


def changes(
    before: Mapping[str, str], after: Mapping[str, str], person: Person, why: str = START
) -> Iterator[dict[str, canonical.Value]]:
    """Give what `config` entries must say so that the log has the settings in force; none if it has."""
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    for at in range(0, len(keys), PART):
        said: dict[str, canonical.Value] = {
            key: {"after": after.get(key), "before": before.get(key)} for key in keys[at : at + PART]
        }
        yield {
            FIELD: said,
            "uid": person.uid,
            "who": person.login or person.user,
            "why": why,
        }


def _default(config: GatewayConfig, table: str) -> Any:  # noqa: ANN401 -- a table, or a list of tables
    """Give what holds where a table is left out; None where it cannot be."""
    field = next(each for each in msgspec.structs.fields(config) if each.name == table)
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return None if field.default is msgspec.NODEFAULT else field.default


def _text(value: object) -> str:
    """Write a value for the record."""
    text = _LOGIN.sub("(hidden)@", msgspec.json.encode(value, enc_hook=str).decode())
    if len(text) <= SHOWN:
        return text
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
