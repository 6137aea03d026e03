"""Claims about the reference pages and the help texts: made from the source, whole, and current."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Mapping

import pytest

from coldseal.cli.main import NOUNS
from tools import reference

COMMANDS = [(verb, command) for noun in NOUNS for verb, command in reference.verbs(noun).items()]


@pytest.fixture(scope="module")
def pages() -> Mapping[str, str]:
    """Return the pages as the source gives them now."""
    return reference.pages()


def test_the_pages_are_current(pages: Mapping[str, str]) -> None:
    """What is written is what the source says; `make docs` writes it anew."""
    written = {path.name: path.read_text(encoding="utf-8") for path in reference.FOLDER.glob("*.md")}
    assert [name for name, text in pages.items() if written.get(name) != text] == []


def test_every_setting_has_a_meaning(pages: Mapping[str, str]) -> None:
    """No row of the configuration ends without saying what the setting is for."""
    rows = [line for line in pages["configuration.md"].splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert [row for row in rows if not row.split(" | ")[-1].rstrip(" |")] == []


def test_every_setting_has_a_default_or_is_required(pages: Mapping[str, str]) -> None:
    """Every limit is configuration with a documented default."""
    rows = [line for line in pages["configuration.md"].splitlines() if line.startswith("| `")]
    assert [row for row in rows if not row.split(" | ")[-2].strip()] == []


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    """A meaning may hold any character."""
    assert reference.table(("a",), [("x | y\nz",)]) == "| a |\n| --- |\n| x \\| y z |\n"


@pytest.mark.parametrize(
    ("verb", "command"), COMMANDS, ids=lambda each: " ".join(each) if isinstance(each, tuple) else ""
)
def test_every_command_explains_itself_and_each_of_its_options(
    verb: tuple[str, ...], command: Callable[..., int]
) -> None:
    """`--help` says what the command does and names every argument and option that it takes."""
    text = reference.help_text(verb)
    assert f"coldseal {' '.join(verb)}" in text
    assert len(text.splitlines()) > 3
    for parameter in inspect.signature(command).parameters.values():
        shown = f"--{parameter.name.removeprefix('as_').strip('_').replace('_', '-')}"
        assert shown in text or parameter.name.upper().replace("_", "-") in text, parameter.name


def test_the_version_is_shown() -> None:
    """A person can say which one they have."""
    shown = subprocess.run(
        [sys.executable, "-m", "coldseal.cli.main", "--version"], check=True, capture_output=True, text=True
    )
    assert shown.stdout.startswith("coldseal ")


def test_an_unknown_noun_is_a_usage_error_with_a_hint() -> None:
    """Exit code 2, nothing on standard output, the nearest noun named."""
    shown = subprocess.run(
        [sys.executable, "-m", "coldseal.cli.main", "evidense"], check=False, capture_output=True, text=True
    )
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "coldseal evidence" in shown.stderr
