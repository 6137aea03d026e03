"""The schemas that a gateway knows, and which payload is of which: the project's own and those of its site.

Promise: the folder is read whole or not at all. A payload whose schema is not known, or not that of its
channel, is refused as such, so that it can be read again once it is. Version 1 of the project's own JSON is
tried first.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from coldseal import settings
from coldseal.core.coldchain.forms import Form
from coldseal.core.coldchain.schema import (
    MAX_VERSION,
    NAMING,
    OWN,
    RESERVED,
    Meaning,
    Member,
    Reference,
    Schema,
    Source,
    make_schema,
    parse_reference,
    parse_schema,
)
from coldseal.core.topics import Channel, parse_topic
from coldseal.errors import InputError, OperatorError
from coldseal.gateway.sources.decode import Decoded, decode, decode_json, decode_newer
from coldseal.gateway.sources.gates import WHERE, Gate
from coldseal.gateway.tables.schemas import SchemaFile
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from coldseal.core.topics import Policy
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.tables.schemas import MemberTable

PUBLISHED: Final = Path(__file__).parent.parent / "schemas"
"""Folder of the project's own schemas, as JSON Schema."""

_WRITTEN: Final = {"n": "quantities.name", "u": "quantities.unit"}
"""How keys of a reading are called in a schema's file."""

_BRACE: Final = 0x7B
_OBJECT: Final = b"{"
_ARRAY: Final = b"["
_log = Log("gateway.schemas")


class SchemaError(InputError):
    """A payload's schema is not known here, or is not that of its channel."""

    def __init__(self, value: object, expected: str) -> None:
        """Keep what was named, and what would have been taken."""
        super().__init__(WHERE, NAMING, value, expected)


class _Naming(msgspec.Struct):
    """What a payload says of its own form."""

    schema: Any = ""
    v: Any = 0

    @property
    def name(self) -> str:
        """The schema's name, where it is a text."""
        return self.schema if isinstance(self.schema, str) else ""

    @property
    def version(self) -> int:
        """The version of the project's own form, where it could be one."""
        is_version = isinstance(self.v, int) and not isinstance(self.v, bool)
        return self.v if is_version and 0 < self.v <= MAX_VERSION else 0


_naming: Final = msgspec.json.Decoder(_Naming)


class Book:
    """All schemas, by name and version, and those that channels ask for.

    Args:
        schemas: those of the site.
        expected: by topic, the schema that its channel names.
    """

    def __init__(self, schemas: Iterable[Schema] = (), expected: Mapping[str, str] | None = None) -> None:
        """Make the gates."""
        self._gates: dict[str, dict[int, Gate]] = {}
        self.take(schemas)
        asked = {} if expected is None else expected
        self._expected = {topic: parse_reference(each) or Reference(each) for topic, each in asked.items()}
        self.decode: Callable[[str, bytes, int], Decoded] = self._decode if expected else self._decode_free
        """Decodes a payload, given its topic, its bytes and when it was received; raises InputError."""

    def take(self, schemas: Iterable[Schema]) -> None:
        """Know these schemas of the site from here on, and no others; all of them or none.

        Raises:
            OperatorError: a version that was in use has changed.
        """
        gates: dict[str, dict[int, Gate]] = {}
        for each in schemas:
            known = self._gates.get(each.name, {}).get(each.version)
            if known is not None and known.schema != each:
                hint = "A version, once used, stays as it is: write the next one"
                raise OperatorError(f"{each.source}: {each} is not what it was", hint)
            gates.setdefault(each.name, {})[each.version] = known or Gate(each)
        self._gates = gates

    def unknown(self) -> Sequence[str]:
        """Name the schemas that channels ask for and nobody has written down."""
        return sorted({str(each) for each in self._expected.values() if not self._is_known(each)})

    def _is_known(self, wanted: Reference) -> bool:
        """Whether a payload of a schema can be read."""
        if wanted.name in RESERVED:
            return wanted.version <= 1
        versions = self._gates.get(wanted.name, {})
        return bool(versions) and wanted.version in {0, *versions}

    def _decode_free(self, _topic: str, payload: bytes, received_ms: int) -> Decoded:
        """Decode a payload where no channel names a schema."""
        try:
            if payload and payload[0] == _BRACE:
                return decode_json(payload)
            return decode(payload, received_ms=received_ms)
        except InputError as error:
            return self._other(payload, error)

    def _decode(self, topic: str, payload: bytes, received_ms: int) -> Decoded:
        """Decode a payload of the schema that its channel names."""
        wanted = self._expected.get(topic)
        if wanted is None:
            return self._decode_free(topic, payload, received_ms)
        if wanted.name not in RESERVED:
            return self._site(payload, wanted)
        is_own = payload[:1] == _OBJECT
        if is_own is not (wanted.name == OWN) or wanted.version > 1:
            raise SchemaError(_shown(payload), f"{wanted}: the channel takes nothing else")
        try:
            return decode_json(payload) if is_own else decode(payload, received_ms=received_ms)
        except InputError as error:
            named = _named(payload)
            is_own_word = named.version == 1 or (named.version > 1 and not wanted.version)
            if named.name or (is_own and not is_own_word):
                raise SchemaError(_shown(payload), f"{wanted}: the channel takes nothing else") from error
            return self._other(payload, error)

    def _other(self, payload: bytes, error: InputError) -> Decoded:
        """Decode what is not version 1 of the project's own; raise the error of that where it is no other."""
        if payload[:1] != _OBJECT:
            raise error
        named = _named(payload)
        if named.name:
            return self._named_by_itself(payload, named.name)
        if named.version > 1:
            try:
                return decode_newer(payload)
            except InputError as cause:
                raise SchemaError(f"{OWN}/{named.version}", f"what {OWN}/1 has: {cause}") from cause
        raise error

    def _named_by_itself(self, payload: bytes, named: str) -> Decoded:
        """Decode a payload by the schema that it names."""
        wanted = parse_reference(named)
        if wanted is None or not wanted.version:
            raise SchemaError(named, "NAME/VERSION of a schema")
        versions = self._gates.get(wanted.name)
        if versions is None:
            raise SchemaError(named, f"a schema that is known here: {', '.join(self._names()) or 'none is'}")
        gate = versions.get(wanted.version)
        if gate is not None:
            return gate.read(payload)
        newest = versions[max(versions)]
        if wanted.version < newest.schema.version:
            raise SchemaError(named, f"a version that is known here: {', '.join(map(str, sorted(versions)))}")
        try:
            return newest.read(payload, newer=wanted.version)
        except InputError as error:
            raise SchemaError(named, f"what {newest.schema} has: {error}") from error

    def _site(self, payload: bytes, wanted: Reference) -> Decoded:
        """Decode a payload of a channel that names a site's schema."""
        versions = self._gates.get(wanted.name, {})
        if not versions or wanted.version not in {0, *versions}:
            raise SchemaError(str(wanted), f"a schema that is known here: {', '.join(self._names())}")
        if payload[:1] != _OBJECT:
            raise SchemaError(_shown(payload), f"{wanted}: the channel takes nothing else")
        named = _named(payload).name
        said = parse_reference(named) if named else None
        if not named:
            return self._unnamed(payload, versions[wanted.version or max(versions)])
        if said is None or said.name != wanted.name or wanted.version not in {0, said.version}:
            raise SchemaError(named, f"{wanted}: the channel takes nothing else")
        return self._named_by_itself(payload, named)

    @staticmethod
    def _unnamed(payload: bytes, gate: Gate) -> Decoded:
        """Decode a payload that does not name its schema, by that of its channel."""
        try:
            return gate.read(payload)
        except InputError as error:
            raise SchemaError("not named", f"a payload of {gate.schema}: {error}") from error

    def _names(self) -> list[str]:
        """Name what is known."""
        return [f"{name}/{version}" for name in sorted(self._gates) for version in sorted(self._gates[name])]


def _named(payload: bytes) -> _Naming:
    """Give what a payload says of its own form; nothing where it cannot be told."""
    try:
        return _naming.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Naming()


def _shown(payload: bytes) -> str:
    """Say what a payload is, in a word."""
    if payload[:1] == _OBJECT:
        named = _named(payload)
        return named.name or (f"{OWN}/{named.version}" if named.version else "a JSON object that names none")
    return "a JSON array" if payload[:1] == _ARRAY else "bytes that are no JSON object"


def open_book(config: GatewayConfig, policy: Policy | None = None) -> Book:
    """Read the schemas of a configuration, and those that channels of the registry ask for.

    Raises:
        OperatorError: a file is wrong; names file, key, value and what was expected.
    """
    found = Book(read_site(config), {} if policy is None else expected_of(policy))
    if unknown := found.unknown():
        _log.emit(events.SCHEMA_UNKNOWN, schemas=unknown)
    return found


def reload_book(config: GatewayConfig, book: Book) -> None:
    """Read the schemas of a configuration again, and have them in use from here on.

    Raises:
        OperatorError: a file is wrong, or a version has changed; what was in use stays so.
    """
    if config.schemas.directory is not None:
        book.take(read_site(config))


def read_site(config: GatewayConfig) -> list[Schema]:
    """Read the schemas of a configuration's folder; none where it names no folder.

    Raises:
        OperatorError: a file is wrong; names file, key, value and what was expected.
    """
    folder = config.schemas.directory
    if folder is None:
        return []
    found = read_folder(folder)
    _log.emit(events.SCHEMAS_READ, folder=str(folder), schemas=[str(each) for each in found])
    return found


def hashes_of(config: GatewayConfig) -> dict[str, str]:
    """Give SHA-256 of the file of each version of a schema, in the form of settings on record.

    Raises:
        OperatorError: a file is wrong, or cannot be read.
    """
    folder = config.schemas.directory
    return (
        {} if folder is None else {f"schemas.{each}": _hash_of(each.source) for each in read_folder(folder)}
    )


def _hash_of(source: str) -> str:
    """Give SHA-256 of a file.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return f"sha256:{hashlib.sha256(Path(source).read_bytes()).hexdigest()}"
    except OSError as error:
        raise OperatorError(f"{source}: {error.strerror}", "Put it back, or take it out") from error


def expected_of(policy: Policy) -> Mapping[str, str]:
    """Give the schema of each topic of a reading whose channel names one."""
    found: dict[str, str] = {}
    for each in policy.listing():
        for topic in each.publish:
            bounds = policy.bounds(each.device, topic)
            if bounds is not None and bounds.schema and _is_reading(topic):
                found[topic] = bounds.schema
    return found


def _is_reading(topic: str) -> bool:
    """Whether a topic is that of a reading."""
    try:
        return parse_topic(topic).channel is Channel.READING
    except InputError:
        return False


def read_folder(folder: Path) -> list[Schema]:
    """Read every schema of a folder, by name and version; all of it or nothing.

    Raises:
        OperatorError: the folder or a file is wrong; names file, key, value and what was expected.
    """
    if not folder.is_dir():
        hint = "Make it, or empty schemas.directory"
        raise OperatorError(f"schemas.directory: {folder} is no folder", hint)
    found: dict[tuple[str, int], Schema] = {}
    for path in sorted(folder.glob("*.toml")):
        schema = read_schema(path)
        other = found.setdefault((schema.name, schema.version), schema)
        if other is not schema:
            what = f"{path}: version is {schema.version}, which {other.source} has for {schema.name}, too"
            raise OperatorError(what, "A version, once used, stays as it is: write the next one")
    return [found[key] for key in sorted(found)]


def read_schema(path: Path) -> Schema:
    """Read one version of a schema: a file of the folder, or a published JSON Schema.

    Raises:
        OperatorError: it is wrong; names file, key, value and what was expected.
    """
    try:
        return _read_published(path) if path.suffix == ".json" else _read_written(path)
    except InputError as error:
        key = _WRITTEN.get(error.field, error.field)
        what = f"{path}: {key} is {error.value!r}, expected {error.expected}"
        raise OperatorError(what, "Correct that value") from error


def read_published() -> list[Schema]:
    """Give the project's own schemas."""
    return [read_schema(path) for path in sorted(PUBLISHED.glob("*.json"))]


def _read_published(path: Path) -> Schema:
    """Read a JSON Schema."""
    try:
        document = msgspec.json.decode(path.read_bytes(), type=dict[str, object])
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}", "Name a file that is there") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OperatorError(f"{path}: not JSON: {error}", "Correct what it names") from error
    return parse_schema(document, source=str(path))


def _read_written(path: Path) -> Schema:
    """Read a file as people write it."""
    table = settings.load(path, SchemaFile)
    return make_schema(
        table.name,
        table.version,
        tuple(_member(each) for each in table.members),
        Meaning(
            tuple(Source(each.member, each.name, each.unit) for each in table.quantities),
            table.sequence.member,
            table.time.member,
            table.time.form,
        ),
        source=str(path),
        title=table.title,
        is_open=table.unknown == "ignore",
    )


def _member(table: MemberTable) -> Member:
    """Make a member of its table."""
    form = Form(
        frozenset({table.type, *(("null",) if table.nullable else ())}),
        minimum=table.minimum,
        maximum=table.maximum,
        min_length=table.min_length,
        max_length=table.max_length,
        pattern=table.pattern,
        choices=(*table.enum, *((None,) if table.nullable else ())) if table.enum else None,
        default=table.default,
    )
    return Member(table.name, form, table.required)
