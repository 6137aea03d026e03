"""Which payload is of which schema, and what becomes of one whose schema is not known."""

from __future__ import annotations

import hashlib
import io
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cbor2
import pytest

from coldseal.core.coldchain.compatibility import Mode, compare
from coldseal.core.coldchain.schema import document_of
from coldseal.core.registry import ChannelRule, Device, DeviceClass, Registry
from coldseal.core.topics import Channel, Policy
from coldseal.errors import InputError, OperatorError
from coldseal.gateway.config import load_gateway
from coldseal.gateway.governance import open_policy
from coldseal.gateway.schemas import (
    PUBLISHED,
    Book,
    SchemaError,
    expected_of,
    open_book,
    read_folder,
    read_published,
    read_schema,
    reload_book,
)
from coldseal.gateway.sources.decode import decode_newer
from coldseal.observe.logs import configure
from tests import access
from tests.gateway.parts import Answers, Hands, faults_of, open_parts
from tests.gateway.test_governance import GATEWAY

if TYPE_CHECKING:
    from pathlib import Path

TOPIC = "coldseal/v1/lab/one/reading/door"
TEXT = """
name = "vendor.logger"
version = {version}

[[members]]
name = "temp"
type = "number"
required = true

[[members]]
name = "battery"
type = "integer"

[[quantities]]
member = "temp"
name = "temperature"
unit = "Cel"
"""
OWN = b'{"v":1,"q":[{"n":"temperature","u":"Cel","v":4.71}]}'
NEWER = (
    b'{"v":2,"place":"x","seq":3,"boot":"b1","t":"2026-11-22T05:00:00Z",'
    b'"q":[{"n":"a","u":"Cel","v":"4.70","k":1}]}'
)
ONE, TWO, THREE = (b'{"schema":"vendor.logger/%d","temp":4.70}' % each for each in (1, 2, 3))
PLAIN = b'{"temp":4.70}'
SENML = b'[{"n":"temperature","u":"Cel","v":4.71}]'
CBOR = cbor2.dumps([{0: "temperature", 1: "Cel", 2: 4.5}])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Versions 2 and 4 of a schema, in a folder."""
    for version in (2, 4):
        (tmp_path / f"logger-{version}.toml").write_text(TEXT.format(version=version))
    return tmp_path


@pytest.fixture
def book(folder: Path) -> Book:
    """A book with them, and no channel that names one."""
    return Book(read_folder(folder))


def said(book: Book, payload: bytes) -> tuple[str, tuple[str, ...]] | str:
    """Give schema and flags of a payload, or why it is not taken."""
    try:
        found = book.decode(TOPIC, payload, 1_800_000_000_000)
    except InputError as error:
        return "schema" if isinstance(error, SchemaError) else "payload"
    return found.schema, found.flags


FREE: dict[str, tuple[bytes, Any]] = {
    "own": (OWN, ("", ())),
    "senml": (SENML, ("senml/1", ())),
    "senml cbor": (CBOR, ("senml/1", ())),
    "own, newer": (NEWER, ("coldseal-reading/2", ("schema-newer",))),
    "own, newer, without what is known": (b'{"v":2,"readings":[]}', "schema"),
    "own, newer, with a name twice": (NEWER.replace(b'"place"', b'"seq"'), "schema"),
    "own, newer, at no time": (NEWER.replace(b"-22T", b"-32T"), "schema"),
    "own, newer, of a run that is none": (NEWER.replace(b"b1", b"b!"), "schema"),
    "own with an unknown member": (OWN.replace(b'{"v"', b'{"x":0,"v"'), "payload"),
    "own, version 0": (OWN.replace(b'"v":1', b'"v":0'), "payload"),
    "own, version true": (OWN.replace(b'"v":1', b'"v":true'), "payload"),
    "a known version": (TWO, ("vendor.logger/2", ())),
    "the newest version": (TWO.replace(b"/2", b"/4"), ("vendor.logger/4", ())),
    "a newer version": (TWO.replace(b"/2", b"/5"), ("vendor.logger/5", ("schema-newer",))),
    "a newer version with more": (
        b'{"schema":"vendor.logger/9","temp":1,"more":{}}',
        ("vendor.logger/9", ("schema-newer",)),
    ),
    "a newer version without what is known": (b'{"schema":"vendor.logger/9","warmth":1}', "schema"),
    "an older version that is not known": (ONE, "schema"),
    "a version between": (THREE, "schema"),
    "another schema": (b'{"schema":"other/1","temp":1}', "schema"),
    "a schema without a version": (b'{"schema":"vendor.logger","temp":1}', "schema"),
    "a schema that is no name": (b'{"schema":"//","temp":1}', "schema"),
    "a schema that is no text": (b'{"schema":7,"temp":1}', "payload"),
    "a member v that is a value": (b'{"schema":"other/1","v":4.5}', "schema"),
    "a known version, and not of it": (b'{"schema":"vendor.logger/2","temp":"warm"}', "payload"),
    "a known version with an unknown member": (b'{"schema":"vendor.logger/2","temp":1,"x":1}', "payload"),
    "no schema": (PLAIN, "payload"),
    "no JSON": (b"{oops", "payload"),
    "nothing": (b"", "payload"),
}


@pytest.mark.parametrize("name", sorted(FREE))
def test_a_payload_is_taken_by_what_it_says_of_itself(name: str, book: Book) -> None:
    """Where no channel names a schema."""
    payload, expected = FREE[name]
    assert said(book, payload) == expected


NAMED: list[tuple[str, bytes, Any]] = [
    ("coldseal-reading/1", OWN, ("", ())),
    ("coldseal-reading/1", NEWER, "schema"),
    ("coldseal-reading/1", SENML, "schema"),
    ("coldseal-reading/1", TWO, "schema"),
    ("coldseal-reading/1", b'{"v":1}', "payload"),
    ("coldseal-reading", NEWER, ("coldseal-reading/2", ("schema-newer",))),
    ("coldseal-reading", b"{oops", "schema"),
    ("coldseal-reading", PLAIN, "schema"),
    ("coldseal-reading", b'{"v":2,"q":[]}', "schema"),
    ("coldseal-reading/2", OWN, "schema"),
    ("senml/1", SENML, ("senml/1", ())),
    ("senml", CBOR, ("senml/1", ())),
    ("senml", b"[1]", "payload"),
    ("senml", OWN, "schema"),
    ("vendor.logger/2", TWO, ("vendor.logger/2", ())),
    ("vendor.logger/2", PLAIN, ("vendor.logger/2", ())),
    ("vendor.logger/2", TWO.replace(b"/2", b"/4"), "schema"),
    ("vendor.logger/2", b'{"schema":"//","temp":1}', "schema"),
    ("vendor.logger/2", OWN, "schema"),
    ("vendor.logger/2", TWO.replace(b"4.70", b'"warm"'), "payload"),
    ("vendor.logger/2", SENML, "schema"),
    ("vendor.logger/2", b"\x80", "schema"),
    ("vendor.logger/3", PLAIN, "schema"),
    ("vendor.logger", PLAIN, ("vendor.logger/4", ())),
    ("vendor.logger", TWO, ("vendor.logger/2", ())),
    ("vendor.logger", TWO.replace(b"/2", b"/5"), ("vendor.logger/5", ("schema-newer",))),
    ("vendor.logger", b'{"schema":"other/1","temp":1}', "schema"),
    ("other/1", PLAIN, "schema"),
    ("not/a/name", OWN, "schema"),
]


@pytest.mark.parametrize(("expected", "payload", "answer"), NAMED, ids=map(str, range(len(NAMED))))
def test_a_channel_that_names_a_schema_takes_nothing_else(
    folder: Path, expected: str, payload: bytes, answer: object
) -> None:
    """Its payloads need not name it."""
    book = Book(read_folder(folder), {TOPIC: expected, "another": "senml"})
    assert said(book, payload) == answer


def test_other_channels_are_as_free_as_before(folder: Path) -> None:
    """A schema of one topic says nothing of another."""
    book = Book(read_folder(folder), {"another": "senml"})
    assert said(book, OWN) == ("", ())
    assert book.unknown() == []
    asked = dict(
        zip("abcdef", ("senml/2", "//", "x/1", "vendor.logger/3", "vendor.logger", "x/1"), strict=True)
    )
    assert Book(read_folder(folder), asked).unknown() == ["//", "senml/2", "vendor.logger/3", "x/1"]


def test_schemas_of_channels_come_from_the_registry() -> None:
    """Those of readings; other channels are not decoded."""
    rules = (ChannelRule(Channel.READING, schema="a/1"), ChannelRule(Channel.STATUS, schema="b/1"))
    kind = DeviceClass("k", rules, publish=("free/topic",))
    registry = Registry(
        (kind,),
        (Device("one", "k", ("door", "shelf")),),
        (),
    )
    with pytest.raises(OperatorError, match="free/topic"):
        Policy("lab", (), registry)
    registry = Registry((DeviceClass("k", rules),), registry.devices)
    topics = [TOPIC, TOPIC.replace("door", "shelf")]
    assert expected_of(Policy("lab", (), registry)) == dict.fromkeys(topics, "a/1")


def test_a_version_of_the_projects_own_that_is_newer_keeps_all_that_is_known() -> None:
    """With its digits."""
    found = decode_newer(NEWER)
    assert (found.seq, found.boot, found.taken_at) == (3, "b1", "2026-11-22T05:00:00Z")
    assert [each[:3] for each in found.quantities] == [("a", "Cel", "4.70")]


def test_a_newer_version_may_leave_out_what_version_1_may() -> None:
    """Sequence, run and time are optional there, too."""
    found = decode_newer(b'{"v":3,"q":[{"n":"a","u":"Cel","v":1}]}')
    assert (found.seq, found.boot, found.taken_at, found.schema) == (None, "", "", "coldseal-reading/3")


def test_channels_that_ask_for_what_nobody_has_written_down_are_said(tmp_path: Path) -> None:
    """Once, when the gateway starts; without a folder a reload changes nothing."""
    access.write_registry(tmp_path / "registry.toml")
    registry = tmp_path / "registry.toml"
    registry.write_text(registry.read_text().replace("coldseal-reading/1", "vendor.logger/1"))
    path = tmp_path / "gateway.toml"
    path.write_text(f'{GATEWAY}\n[topics]\nregistry = "registry.toml"\n')
    config = load_gateway(path)
    stream = io.StringIO()
    configure(stream=stream)
    try:
        book = open_book(config, open_policy(config))
    finally:
        configure()
    assert '"event":"schema.unknown","schemas":["vendor.logger/1"]' in stream.getvalue()
    reload_book(config, book)
    assert book.unknown() == ["vendor.logger/1"]
    assert open_book(config).unknown() == []


async def test_an_entry_says_which_schema_it_was_in_canonical_form(tmp_path: Path) -> None:
    """Before the device's sequence and behind the transport's number, as the order of names wants it."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        for number, each in enumerate((NEWER, b'{"v":2,"q":[{"n":"a","u":"Cel","v":1}]}', SENML, OWN)):
            parts.pipeline.submit(answers.to(str(number), each, hands=hands, packet_id=number))
        await parts.settle()
        entries = parts.entries("reading")
        assert set(faults_of(parts)) <= {"tail-not-anchored", "not-witnessed"}
    named = ["coldseal-reading/2", "coldseal-reading/2", "senml/1", None]
    assert [entry.src.get("schema") for entry in entries] == named
    assert [sorted(entry.src) == list(entry.src) for entry in entries] == [True] * 4
    assert [entry.data.get("flags") for entry in entries] == [["schema-newer"], ["schema-newer"], None, None]


BAD_FILES: dict[str, tuple[tuple[str, str], str]] = {
    "an unknown key": (("version = 2", "version = 2\nversoin = 3"), "versoin is not a known key"),
    "an unknown key of a member": (('type = "number"', 'type = "number"\nmin = 3'), "members.min is not"),
    "a type that is none": (('type = "number"', 'type = "float"'), "members[0].type is 'float'"),
    "a missing name": (('name = "vendor.logger"', ""), "name is missing"),
    "a version as a text": (("version = 2", 'version = "2"'), "version is '2'"),
    "an unknown unit": (('"Cel"', '"C"'), "quantities.unit is 'C', expected one of Cel"),
    "a quantity of no member": (('member = "temp"', 'member = "warmth"'), "quantities.member is 'warmth'"),
    "no TOML": (("[[members]]", "[[members"), "not TOML"),
}


@pytest.mark.parametrize("name", sorted(BAD_FILES))
def test_a_bad_file_is_refused_with_file_key_value_and_what_was_expected(name: str, folder: Path) -> None:
    """And nothing of the folder is taken."""
    (old, new), expected = BAD_FILES[name]
    path = folder / "logger-2.toml"
    path.write_text(path.read_text().replace(old, new, 1))
    book = Book()
    with pytest.raises(OperatorError) as caught:
        book.take(read_folder(folder))
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert said(book, TWO.replace(b"/2", b"/4")) == "schema"


def test_two_files_of_one_version_are_refused(folder: Path) -> None:
    """Which one would count?"""
    (folder / "other.toml").write_text(TEXT.format(version=4))
    with pytest.raises(OperatorError, match=r"version is 4, which .*logger-4\.toml has for vendor\.logger"):
        read_folder(folder)


def test_a_folder_or_file_that_is_not_there_is_named(folder: Path) -> None:
    """With the key that names it."""
    with pytest.raises(OperatorError, match=r"schemas\.directory"):
        read_folder(folder / "nowhere")
    for name, content in (("gone.json", None), ("bad.json", "{"), ("odd.json", "{}"), ("gone.toml", None)):
        if content is not None:
            (folder / name).write_text(content)
        with pytest.raises(OperatorError, match=name.replace(".", r"\.")):
            read_schema(folder / name)


def test_a_version_that_was_in_use_cannot_change(folder: Path, book: Book) -> None:
    """All stays as it was; the same again, and one more, is taken."""
    path = folder / "logger-2.toml"
    text = path.read_text()
    path.write_text(text.replace('"Cel"', '"K"'))
    with pytest.raises(OperatorError, match=r"vendor\.logger/2 is not what it was"):
        book.take(read_folder(folder))
    assert said(book, TWO) == ("vendor.logger/2", ())
    path.write_text(text)
    (folder / "logger-5.toml").write_text(TEXT.format(version=5))
    book.take(read_folder(folder))
    assert said(book, TWO.replace(b"/2", b"/5")) == ("vendor.logger/5", ())


FIXED = {
    "coldseal-reading/1": "4d669fcd7536e63f52d19da8d1fb6ebd82bf4eb903bbc081ad8c5eac871cc3c4",
    "senml/1": "759d8046fd65ebba11a5182fe343c5db6ffa90db3d537d8cc2f26641866259e7",
}
"""SHA-256 of each published schema: a version, once published, stays as it is."""


def test_published_versions_stay_as_they_are_and_each_follows_the_one_before() -> None:
    """By their bytes; and a new one is compatible, or has another name."""
    found = {
        str(read_schema(path)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(PUBLISHED.glob("*.json"))
    }
    assert found == FIXED
    published = sorted(read_published(), key=lambda each: (each.name, each.version))
    for old, new in pairwise(published):
        if old.name == new.name:
            assert compare(old, new).is_compatible(Mode.FULL)
    assert {document_of(each)["$id"] for each in published} == {
        f"urn:coldseal:schema:{each.name}:{each.version}" for each in published
    }
