"""Reads a TOML file once into a frozen struct; whatever is wrong is named with file, key, value and cure.

Paths and key references come out absolute, read relative to the file they stand in. An unknown key
is an error that names the nearest known one. This module knows no setting by name and keeps no state.
"""

from __future__ import annotations

import difflib
import ipaddress
import math
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Self, TypeVar, cast

import msgspec
from msgspec import inspect
from typing_extensions import override

from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Settings = TypeVar("Settings", bound=msgspec.Struct)
Table = dict[str, Any]
Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]

_SCHEMES: Final = ("file:", "env:", "pkcs11:", "tpm:")
_IN_FILES: Final = ("file:", "tpm:key=", "tpm:seal=")
_IN_CHIP: Final = "tpm:key="
_PIN_FILE: Final = re.compile(r"((?:pin-source|auth)=file:)([^&]+)")
_LARGEST_PORT: Final = 65_535


class Address(str):
    """A host and a port to listen on, as ``host:port`` or ``[v6]:port``; port 0 takes a free one."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the form; raise ValueError naming what was expected."""
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or int(port) > _LARGEST_PORT:
            raise ValueError(f"expected host:port, such as 127.0.0.1:8883, got {text!r}")
        return super().__new__(cls, text)

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port."""
        return int(self.rpartition(":")[2])

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:  # a name, which may lead anywhere
            return False


class Reference(str):
    """A secret or a key by reference (``file:``, ``env:``, ``pkcs11:``, ``tpm:``), never by value."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the scheme; raise ValueError without the value, which may be a secret by mistake."""
        if not text.startswith(_SCHEMES):
            raise ValueError("expected a reference, such as file:store.key or env:STORE_KEY")
        return super().__new__(cls, text)

    def below(self, base: Path) -> Reference:
        """Return the same reference with its relative files made absolute below ``base``."""
        reference, option, inner = self.partition("?passphrase=")
        for head in _IN_FILES:
            if reference.startswith(head):
                reference = f"{head}{base / reference.removeprefix(head)}"
        reference = _PIN_FILE.sub(lambda found: f"{found[1]}{base / found[2]}", reference)
        return Reference(f"{reference}{option}{Reference(inner).below(base)}" if option else reference)


class KeyPlace(Reference):
    """Where a transport key is: in a file, or, as ``tpm:key=FILE``, in one that a TPM has wrapped."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Check the form; raise ValueError naming what was expected."""
        if text.startswith(_SCHEMES) and not text.startswith(_IN_CHIP):
            raise ValueError("expected a file, or tpm:key=FILE for a key that a TPM has wrapped")
        return str.__new__(cls, text)

    @override
    def below(self, base: Path) -> KeyPlace:
        """Return the same place with its relative files made absolute below ``base``."""
        return KeyPlace(super().below(base) if self.startswith(_IN_CHIP) else str(base / self))


def load(path: Path, kind: type[Settings], overrides: Sequence[str] = ()) -> Settings:
    """Read the TOML file ``path`` into ``kind``.

    Args:
        path: the file; relative paths inside it are relative to its folder.
        kind: a frozen struct of structs that forbids unknown fields.
        overrides: ``table.key=value`` each, read as TOML where possible, else as a string.

    Raises:
        OperatorError: the file, a key or a value is wrong; it names all of them and the cure.
    """
    document = _read(path)
    for each in overrides:
        _apply(document, each)
    base = path.resolve().parent
    info = cast("inspect.StructType", inspect.type_info(kind))
    _prepare(document, info, str(path), "")
    _require_finite(document, str(path), "")
    try:
        return msgspec.convert(document, kind, dec_hook=_Hook(base))
    except msgspec.ValidationError as error:
        raise _explain(error, document, path, info) from error


def require_loopback(address: Address | None, where: str) -> None:
    """Refuse a listener without TLS that others than this machine could reach."""
    if address is not None and not address.is_loopback:
        raise OperatorError(
            f"{where} is {str(address)!r}, which is reachable from the network without TLS",
            f"Bind it to loopback: 127.0.0.1:{address.port}",
        )


def nearest(name: str, known: Sequence[str]) -> str:
    """Say which known name was probably meant, as a hint for a person."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"Did you mean {close[0]!r}?" if close else f"Known here: {', '.join(sorted(known))}"


def parse_toml(path: Path, content: bytes, number: Callable[[str], Any] = float) -> Table:
    """Parse the bytes of a TOML file; a mark of byte order, as some editors put it in front, is skipped.

    Args:
        path: the file, for the error.
        content: its bytes.
        number: makes a number of the text of one with a decimal point or an exponent.

    Raises:
        OperatorError: they are no TOML.
    """
    try:
        return tomllib.loads(content.decode("utf-8-sig"), parse_float=number)
    except ValueError as error:  # of the encoding, the syntax, or an integer of thousands of digits
        raise OperatorError(f"{path}: not TOML: {error}", "Correct the line that it names") from error
    except RecursionError as error:
        what = f"{path}: its arrays or tables stand in each other too often"
        raise OperatorError(what, "Write it as the examples are written") from error


def _read(path: Path) -> Table:
    """Read and parse the file."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(
            f"{path}: {error.strerror}", "Name a configuration file that exists and is readable"
        ) from error
    return parse_toml(path, content)


def _apply(document: Table, override: str) -> None:
    """Put one ``table.key=value`` into the document."""
    key, equals, text = (part.strip() for part in override.partition("="))
    *tables, last = key.split(".")
    hint = "Write it as table.key=value, such as store.limit_mb=512"
    if not equals or not tables or not last:
        raise OperatorError(f"override {override!r} names no table, key and value", hint)
    try:
        value: object = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    for table in tables:
        document = document.setdefault(table, {})
        if not isinstance(document, dict):
            raise OperatorError(f"override {override!r}: {table} is no table", hint)
    document[last] = value


def _prepare(table: Table, struct: inspect.StructType, file: str, place: str) -> None:
    """Refuse unknown keys, and write out path defaults so that they, too, become absolute."""
    known = [field.encode_name for field in struct.fields]
    for key in table:
        if key not in known:
            raise OperatorError(f"{file}: {place}{key} is not a known key", nearest(key, known))
    for field in struct.fields:
        _complete(table, field)
        for kind in _plain(field.type):
            inner = kind.item_type if isinstance(kind, inspect.VarTupleType) else kind
            if isinstance(inner, inspect.StructType):
                for each in _tables(table.get(field.encode_name)):
                    _prepare(each, inner, file, f"{place}{field.encode_name}.")


def _require_finite(value: object, file: str, place: str) -> None:
    """Refuse what TOML takes for a number and is none: such a bound would bound nothing."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _require_finite(inner, file, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            _require_finite(inner, file, f"{place}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise OperatorError(f"{file}: {place} is {value}: expected a finite number", "Correct that value")


def _complete(table: Table, field: inspect.Field) -> None:
    """Write out what the file leaves open and what needs its folder; TOML's "" is null."""
    name = field.encode_name
    for kind in _plain(field.type):
        if isinstance(kind, inspect.NoneType) and table.get(name) == "":
            table[name] = None
        elif isinstance(kind, inspect.CustomType) and isinstance(field.default, (str, Path)):
            table.setdefault(name, str(field.default))
        elif isinstance(kind, inspect.StructType) and not field.required:
            table.setdefault(name, {})


def _plain(kind: inspect.Type) -> Iterator[inspect.Type]:
    """Give the alternatives of a type, without their metadata."""
    if isinstance(kind, inspect.Metadata):
        yield from _plain(kind.type)
    elif isinstance(kind, inspect.UnionType):
        for each in kind.types:
            yield from _plain(each)
    else:
        yield kind


def _tables(value: object) -> list[Table]:
    """Give the table, or the tables of an array; anything else is refused later, with its place."""
    items = value if isinstance(value, list) else [value]
    return [item for item in items if isinstance(item, dict)]


class _Hook:
    """Builds our own value types for msgspec, paths relative to ``base``."""

    def __init__(self, base: Path) -> None:
        """Keep the folder of the file."""
        self._base = base

    def __call__(self, kind: type, value: object) -> object:
        """Build ``kind`` from the string ``value``."""
        if not isinstance(value, str):
            raise ValueError(f"expected a string, got {type(value).__name__}")  # noqa: TRY004 # msgspec adds the place to it
        if kind is Reference or kind is KeyPlace:
            made = Reference(value) if kind is Reference else KeyPlace(value)
            return made.below(self._base)
        if kind is Path:
            return self._base / value
        return kind(value)


def _explain(
    error: msgspec.ValidationError, document: Table, path: Path, info: inspect.StructType
) -> OperatorError:
    """Make msgspec's message into one that names file, key, value and what was expected."""
    text, _, place = str(error).partition(" - at `$")
    key = place.rstrip("`").lstrip(".")
    if missing := re.fullmatch(r"Object missing required field `(.+)`", text):
        key = f"{key}.{missing[1]}".lstrip(".")
        return OperatorError(f"{path}: {key} is missing", f"Add {missing[1]} to the file")
    expected = text[0].lower() + text[1:]
    value, choices = _value_at(document, key), _choices_at(info, key)
    if choices and "enum" in text:
        expected = f"expected {choices}"
    shown = "" if "reference" in expected else f" is {value!r}"  # a secret by mistake is not repeated
    return OperatorError(f"{path}: {key}{shown}: {expected}", "Correct that value")


def _value_at(document: Table, key: str) -> object:
    """Look up what stands at a msgspec path such as ``mqtt.listen`` or ``grants[0].device``."""
    found: Any = document
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
        found = found[int(index)] if index else found[name]
    return found


def _choices_at(info: inspect.Type, key: str) -> str:
    """Say what may stand at such a path, where that is one of a few values; else nothing."""
    kinds = [info]
    for name, _ in re.findall(r"([^.\[\]]+)|\[(\d+)\]", key):
        kinds = [inner for kind in kinds for inner in _inside(kind, name)]
    choices = [choice for kind in kinds for each in _plain(kind) for choice in _values(each)]
    return f"one of {', '.join(map(repr, choices))}" if choices else ""


def _inside(kind: inspect.Type, name: str) -> Iterator[inspect.Type]:
    """Give the types of what stands below a name in a table, or, without a name, in an array."""
    for each in _plain(kind):
        if isinstance(each, inspect.StructType):
            yield from (field.type for field in each.fields if field.encode_name == name)
        elif isinstance(each, inspect.VarTupleType) and not name:
            yield each.item_type


def _values(kind: inspect.Type) -> Iterator[object]:
    """Give the values of a type that has only a few."""
    if isinstance(kind, inspect.LiteralType):
        yield from kind.values
    elif isinstance(kind, inspect.EnumType):
        yield from (each.value for each in kind.cls)
