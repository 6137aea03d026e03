"""The one JSON form of a value: RFC 8785 (JCS) without floats, and canonical base64.

``encode`` gives the only bytes a value may have; ``parse`` accepts those bytes and no others.
Where orjson is installed it may say yes faster; every refusal comes from the pure path, which
names field, value and what was expected. Fields have no meaning here.
"""

from __future__ import annotations

import json
import re
from binascii import a2b_base64, b2a_base64
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, TypeAlias

from coldseal.errors import InputError

try:
    import orjson
except ImportError:  # a bare install: the pure path decides alone
    HAS_ORJSON = False
else:
    HAS_ORJSON = True
    _OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER | orjson.OPT_PASSTHROUGH_SUBCLASS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Value: TypeAlias = "str | int | bool | list[Value] | dict[str, Value] | None"
"""What a sealed body may hold: JSON without floats."""

MAX_INTEGER = 2**53 - 1
"""Integers beyond this magnitude differ between JSON implementations (RFC 8785, appendix D)."""

MAX_DEPTH = 16
"""Objects and lists nested deeper than this are refused; the outermost object counts as one."""

_ASTRAL = re.compile(rb"[\xf0-\xf4]")  # lead bytes of UTF-8 sequences beyond the basic plane


def encode(value: Mapping[str, Value]) -> bytes:
    """Give the canonical bytes of an object.

    Raises:
        InputError: a float, a key that is no string, a lone surrogate, an integer beyond
            `MAX_INTEGER`, a type that JSON does not know, or nesting beyond `MAX_DEPTH`.
    """
    return _fast_encode(value) or _pure_encode(value, "canonical form")


def parse(data: bytes, *, where: str) -> dict[str, Value]:
    """Read an object from its canonical bytes, and from nothing else.

    Args:
        data: the bytes as received.
        where: what is being read, for the error.

    Raises:
        InputError: not UTF-8, not JSON, not an object, a duplicate key, any value that
            `encode` refuses, or bytes that differ from the canonical ones.
    """
    value = _fast_parse(data)
    return _pure_parse(data, where) if value is None else value


def parse_base64(text: str, *, where: str, field: str) -> bytes:
    """Read standard base64 (RFC 4648, section 4) that is padded and has no stray bits.

    Raises:
        InputError: anything but the one encoding that `encode_base64` would write.
    """
    try:
        data = a2b_base64(text)
    except ValueError:
        data = b""
    if not text or encode_base64(data) != text:
        raise InputError(where, field, text, "canonical base64")
    return data


def encode_base64(data: bytes) -> str:
    """Give the standard, padded base64 of ``data``."""
    return b2a_base64(data, newline=False).decode()


def _pure_parse(data: bytes, where: str) -> dict[str, Value]:
    """Decide without orjson, and say precisely why not."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise InputError(where, f"byte {fault.start}", data[fault.start : fault.end], "UTF-8") from None

    def unique(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            raise InputError(where, next(n for n in names if names.count(n) > 1), "repeated", "each key once")
        return found

    try:
        value: object = json.loads(text, object_pairs_hook=unique)
    except RecursionError:
        raise InputError(where, "nesting", data[:32], f"at most {MAX_DEPTH} levels") from None
    except json.JSONDecodeError as fault:
        raise InputError(where, f"character {fault.pos}", text[fault.pos :][:16], "JSON") from None
    except ValueError:  # the interpreter's own limit on the digits of an integer
        raise InputError(where, "number", "thousands of digits", f"at most {MAX_INTEGER}") from None
    if not isinstance(value, dict):
        raise InputError(where, "document", value, "an object")
    canonical = _pure_encode(value, where)
    if canonical != data:
        at = next(
            (i for i, (a, b) in enumerate(zip(canonical, data, strict=False)) if a != b), len(canonical)
        )
        raise InputError(
            where, f"byte {at}", data[at : at + 16], f"the canonical {canonical[at : at + 16]!r}"
        )
    return value


def _pure_encode(value: object, where: str) -> bytes:
    """Encode without orjson; ``where`` is for the error."""
    if not isinstance(value, dict):
        raise InputError(where, "document", value, "an object")
    text = "".join(_pieces(value, where, "", 1))
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError as fault:
        raise InputError(where, "text", text[fault.start :][:16], "no lone surrogate") from None


def _pieces(value: object, where: str, path: str, depth: int) -> Iterator[str]:
    """Yield the canonical text of ``value`` piece by piece; ``path`` names it in errors."""
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        raise InputError(where, path, "deeper", f"at most {MAX_DEPTH} levels")
    if isinstance(value, dict):
        yield from _object_pieces(value, where, path, depth)
    elif isinstance(value, list):
        separator = "["
        for index, item in enumerate(value):
            yield separator
            yield from _pieces(item, where, f"{path}[{index}]", depth + 1)
            separator = ","
        yield "]" if value else "[]"
    else:
        yield _scalar(value, where, path)


def _object_pieces(value: dict[object, object], where: str, path: str, depth: int) -> Iterator[str]:
    """Yield an object with its keys in the order of their UTF-16 code units (RFC 8785, 3.2.3)."""
    names: list[str] = []
    for name in value:
        if not isinstance(name, str):
            raise InputError(where, f"key of {path or 'document'}", name, "a string")
        names.append(name)
    separator = "{"
    for name in sorted(names, key=lambda n: n.encode("utf-16-be", "surrogatepass")):
        yield f"{separator}{encode_basestring(name)}:"
        yield from _pieces(value[name], where, f"{path}.{name}" if path else name, depth + 1)
        separator = ","
    yield "}" if value else "{}"


def _scalar(value: object, where: str, path: str) -> str:
    """Give the canonical text of a string, an integer, true, false or null."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if not isinstance(value, int):
        raise InputError(
            where, path, value, "a string, integer, boolean, null, list or object; never a float"
        )
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise InputError(where, path, value, f"an integer within ±{MAX_INTEGER}")
    return int.__repr__(value)


def _is_plain(items: Iterable[Value], depth: int) -> bool:
    """Whether everything inside is exactly of a type that JSON without floats knows."""
    for item in items:
        kind = type(item)
        if kind is str or kind is int:
            continue
        if isinstance(item, dict):
            inner: Iterable[Value] = item.values()
        elif isinstance(item, list):
            inner = item
        elif kind is bool or item is None:
            continue
        else:
            return False
        if depth == MAX_DEPTH or not _is_plain(inner, depth + 1):
            return False
    return True


def _fast_encode(value: Mapping[str, Value]) -> bytes | None:
    """Encode by orjson where that is certain to give the canonical bytes, else None."""
    if not HAS_ORJSON or not isinstance(value, dict) or not _is_plain(value.values(), 1):
        return None
    try:
        data = orjson.dumps(value, option=_OPTIONS)
    except TypeError:
        return None
    # orjson sorts keys by UTF-8, RFC 8785 by UTF-16: they differ only beyond the basic plane
    return data if data.isascii() or _ASTRAL.search(data) is None else None


def _fast_parse(data: bytes) -> dict[str, Value] | None:
    """Read by orjson what is certain to be canonical, else None."""
    if not HAS_ORJSON:
        return None
    try:
        value = orjson.loads(data)
    except ValueError:
        return None
    if not isinstance(value, dict) or _fast_encode(value) != data:
        return None
    return value
