"""The TOML loader: every error names file, key, value and cure."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import pytest

from coldseal.errors import OperatorError
from coldseal.settings import Address, Count, Reference, load, nearest, require_loopback


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table."""

    file: Annotated[Path, msgspec.Meta(description="said for a reader")] = Path("default.pem")
    other: Path | None = None
    key: Reference = Reference("file:store.key")
    listen: Address | None = Address("127.0.0.1:1")
    count: Count = 3


class Colour(StrEnum):
    """One of a few."""

    RED = "red"
    BLUE = "blue"


class Row(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A row of an array of tables."""

    name: str
    way: Literal["up", "down"] | None = None
    colours: tuple[Colour, ...] = ()
    weight: float = 1.0


class Whole(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A file."""

    must: Inner
    may: Inner = msgspec.field(default_factory=Inner)
    rows: tuple[Row, ...] = ()


def write(folder: Path, text: str) -> Path:
    """Write a configuration file."""
    path = folder / "x.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refuse(path: Path, overrides: tuple[str, ...] = ()) -> OperatorError:
    """Load a file that must be refused, and give the error."""
    with pytest.raises(OperatorError) as caught:
        load(path, Whole, overrides)
    return caught.value


def test_relative_paths_and_references_are_relative_to_the_file(tmp_path: Path) -> None:
    """Those written in it."""
    path = write(tmp_path, '[must]\nfile = "a/b.pem"\nkey = "file:k"\nother = "/etc/x"\n')
    loaded = load(path, Whole).must
    assert loaded.file == tmp_path / "a/b.pem"
    assert loaded.other == Path("/etc/x")
    assert loaded.key == f"file:{tmp_path}/k"


def test_defaults_are_relative_to_the_file_too(tmp_path: Path) -> None:
    """In tables that are there and in tables that are not."""
    loaded = load(write(tmp_path, "[must]\n"), Whole)
    assert loaded.must == loaded.may
    assert loaded.may.file == tmp_path / "default.pem"
    assert loaded.may.key == f"file:{tmp_path}/store.key"
    assert loaded.may.listen == "127.0.0.1:1"


def test_a_file_named_from_another_folder_counts_from_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from where the program was started."""
    write(tmp_path, "[must]\n")
    monkeypatch.chdir(tmp_path.parent)
    assert load(Path(tmp_path.name) / "x.toml", Whole).must.file == tmp_path / "default.pem"


def test_a_passphrase_s_file_is_relative_to_the_file_too(tmp_path: Path) -> None:
    """It stands inside the key's reference."""
    path = write(tmp_path, '[must]\nkey = "file:k?passphrase=file:p"\n')
    assert load(path, Whole).must.key == f"file:{tmp_path}/k?passphrase=file:{tmp_path}/p"


def test_references_that_are_no_files_stay_as_they_are(tmp_path: Path) -> None:
    """Nothing is made relative in them."""
    assert load(write(tmp_path, '[must]\nkey = "env:K"\n'), Whole).must.key == "env:K"


def test_an_empty_string_switches_off_what_may_be_absent(tmp_path: Path) -> None:
    """TOML has no null."""
    loaded = load(write(tmp_path, '[must]\nother = ""\nlisten = ""\n'), Whole).must
    assert loaded.other is None
    assert loaded.listen is None


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[must]\nfiel = 1\n", ["must.fiel", "'file'"]),
        ("[must]\n[mya]\n", ["mya", "'may'"]),
        ("[must]\n[[rows]]\nnane = 1\n", ["rows.nane", "'name'"]),
        ("[must]\nqqqq = 1\n", ["must.qqqq", "Known here: count, file, key, listen, other"]),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest_known_one(
    tmp_path: Path, text: str, names: list[str]
) -> None:
    """A typing error is no silent default."""
    path = write(tmp_path, text)
    error = refuse(path)
    for name in [str(path), *names]:
        assert name in str(error)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("[must]\ncount = 0\n", ["must.count is 0", ">= 1"]),
        ('[must]\ncount = "3"\n', ["must.count is '3'", "`int`"]),
        ("[must]\nfile = 3\n", ["must.file is 3", "a string, got int"]),
        ('[must]\nlisten = "here"\n', ["must.listen is 'here'", "host:port"]),
        ("[must]\n[[rows]]\nname = 1\n", ["rows[0].name is 1", "`str`"]),
        ("[must]\n[[rows]]\n", ["rows[0].name is missing"]),
        ("must = 1\n", ["must is 1", "`object`"]),
        ("[must]\nrows = 1\n", ["must.rows"]),
        ("rows = 1\n[must]\n", ["rows is 1", "`array`"]),
        ("", ["must is missing", "Add must"]),
    ],
)
def test_a_wrong_value_is_named_with_file_key_value_and_what_was_expected(
    tmp_path: Path, text: str, names: list[str]
) -> None:
    """Whatever is wrong with it."""
    path = write(tmp_path, text)
    error = refuse(path)
    for name in [str(path), *names]:
        assert name in str(error)


def test_a_secret_written_where_a_reference_belongs_is_not_repeated(tmp_path: Path) -> None:
    """The message may go to a log."""
    error = refuse(write(tmp_path, '[must]\nkey = "hunter2hunter2"\n'))
    assert "must.key" in str(error)
    assert "reference" in str(error)
    assert "hunter2" not in str(error)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """With what the system says."""
    error = refuse(tmp_path / "absent.toml")
    assert "absent.toml: No such file" in str(error)


@pytest.mark.parametrize("content", [b"[must\n", b"a = 1\na = 2\n", b"\xff\xfe"])
def test_what_is_not_toml_is_named(tmp_path: Path, content: bytes) -> None:
    """With the parser's own words, which hold the line."""
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    assert f"{path}: not TOML" in str(refuse(path))


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    """Read as TOML where that is possible, else as a string; tables are made where they are missing."""
    path = write(tmp_path, "[must]\ncount = 1\n")
    loaded = load(path, Whole, ("must.count=7", "may.file = other.pem", 'may.other="x"', "may.listen="))
    assert loaded.must.count == 7
    assert loaded.may.file == tmp_path / "other.pem"
    assert loaded.may.other == tmp_path / "x"
    assert loaded.may.listen is None


@pytest.mark.parametrize("override", ["count=1", "must.count", "must.=1", "=1", "must.count.x=1"])
def test_a_malformed_override_is_refused(tmp_path: Path, override: str) -> None:
    """With the form that it should have."""
    error = refuse(write(tmp_path, "[must]\ncount = 1\n"), (override,))
    assert override in str(error)
    assert "table.key=value" in error.hint


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:0", "127.0.0.1", 0, True),
        ("127.8.0.1:1", "127.8.0.1", 1, True),
        ("[::1]:8883", "::1", 8883, True),
        ("localhost:65535", "localhost", 65535, True),
        ("0.0.0.0:8883", "0.0.0.0", 8883, False),  # noqa: S104 # the case
        ("[::]:8883", "::", 8883, False),
        ("127.evil.example:1", "127.evil.example", 1, False),
        ("gw.example:1", "gw.example", 1, False),
    ],
)
def test_an_address_is_host_and_port(text: str, host: str, port: int, *, is_loopback: bool) -> None:
    """With brackets around IPv6; loopback is what only this machine reaches."""
    address = Address(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, is_loopback)
    assert address == text


@pytest.mark.parametrize("text", ["", "host", "host:", ":80", "host:65536", "host:-1", "host:x", "host:²"])
def test_a_malformed_address_is_refused(text: str) -> None:
    """With an example of a good one."""
    with pytest.raises(ValueError, match="host:port"):
        Address(text)


def test_a_listener_without_tls_may_only_be_on_loopback() -> None:
    """None is one that is switched off."""
    require_loopback(None, "here")
    require_loopback(Address("127.0.0.1:1"), "here")
    with pytest.raises(OperatorError, match=r"here is '10.0.0.1:80'.*127.0.0.1:80"):
        require_loopback(Address("10.0.0.1:80"), "here")


def test_nearest_names_all_when_none_is_near() -> None:
    """Better than a wild guess."""
    assert nearest("limt_mb", ["limit_mb", "key"]) == "Did you mean 'limit_mb'?"
    assert nearest("zzz", ["limit_mb", "key"]) == "Known here: key, limit_mb"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('way = "left"', "rows[0].way is 'left': expected one of 'down', 'up'"),
        ('colours = ["red", "green"]', "rows[0].colours[1] is 'green': expected one of 'red', 'blue'"),
        ("weight = inf", "rows[0].weight is inf: expected a finite number"),
        ("weight = -nan", "rows[0].weight is nan: expected a finite number"),
        ("way = 5", "rows[0].way is 5: expected `str | null`, got `int`"),
    ],
)
def test_what_would_have_been_taken_is_said(tmp_path: Path, line: str, said: str) -> None:
    """Of one of a few values, all of them; of numbers, that they end."""
    path = write(tmp_path, f'[must]\n[[rows]]\nname = "x"\n{line}\n')
    assert refuse(path).what == f"{path}: {said}"


def test_a_mark_that_an_editor_puts_in_front_is_no_fault(tmp_path: Path) -> None:
    """Nobody sees it."""
    assert load(write(tmp_path, "\ufeff[must]\ncount = 4\n"), Whole).must.count == 4


def test_nesting_without_end_and_endless_numbers_are_refused_as_other_faults_are(tmp_path: Path) -> None:
    """Neither ends the program by an error of its own."""
    deep = write(tmp_path, f"x = {'[' * 20_000}\n")
    assert refuse(deep).what == f"{deep}: its arrays or tables stand in each other too often"
    assert "not TOML" in refuse(write(tmp_path, f"[must]\ncount = {'9' * 5_000}\n")).what
