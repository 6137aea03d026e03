"""Which log is in force stands in the data folder, for every program that loads the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.continued import NAME, RECEIPT, in_force, read_continued, write_continued
from coldseal.gateway.tables.identity import Gateway

if TYPE_CHECKING:
    from pathlib import Path

NOTE = b"a receipt"


def table(data: Path, origin: str = "example.com/gw") -> Gateway:
    """Give the table of a configuration."""
    return Gateway(origin=origin, site="s", data=data)


def test_without_the_file_the_configuration_counts(tmp_path: Path) -> None:
    """As it is for almost every gateway, for ever."""
    assert read_continued(tmp_path) is None
    assert in_force(table(tmp_path)) == table(tmp_path)
    assert in_force(table(tmp_path / "missing")).origin == "example.com/gw"


@pytest.mark.parametrize("following", ["example.com/gw/2", "example.com/gw/3"])
def test_a_log_of_the_same_succession_takes_over(tmp_path: Path, following: str) -> None:
    """Origin and the receipt that it cites."""
    write_continued(tmp_path, following, NOTE)
    found = in_force(table(tmp_path))
    assert (found.origin, found.after) == (following, f"file:{tmp_path / RECEIPT}")
    assert (tmp_path / RECEIPT).read_bytes() == NOTE


@pytest.mark.parametrize("configured", ["example.com/gw/2", "example.com/gw/10", "example.com/other"])
def test_a_configuration_that_says_so_itself_is_left_alone(tmp_path: Path, configured: str) -> None:
    """The same origin, a later one, or another log."""
    write_continued(tmp_path, "example.com/gw/2", NOTE)
    assert in_force(table(tmp_path, configured)).origin == configured


def test_a_name_too_long_to_go_on_ends_the_search(tmp_path: Path) -> None:
    """Whatever stands in the file."""
    (tmp_path / NAME).write_bytes(b'{"origin":"%s/2","after":"x"}' % (b"a" * 255))
    assert in_force(table(tmp_path, "a" * 255)).origin == "a" * 255


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"origin":1,"after":""}'])
def test_a_file_that_cannot_be_read_stops_everything(tmp_path: Path, content: bytes) -> None:
    """Else an old origin would be written again."""
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(OperatorError, match="cannot be read"):
        in_force(table(tmp_path))


def test_no_file_elsewhere_is_cited(tmp_path: Path) -> None:
    """The receipt stands beside it."""
    (tmp_path / NAME).write_bytes(b'{"origin":"example.com/gw/2","after":"../x"}')
    with pytest.raises(OperatorError, match="names"):
        in_force(table(tmp_path))


def test_what_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    """The caller is told."""
    with pytest.raises(UnavailableError):
        write_continued(tmp_path / "missing", "example.com/gw/2", NOTE)
