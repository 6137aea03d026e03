"""Signatures become command lines, the same with cyclopts and with the standard library alone."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coldseal.cli.commands import Group, program, run_commands
from coldseal.errors import OperatorError

CALLS: list[object] = []


def show_it(
    config: Path,
    names: list[str],
    /,
    *,
    seq: int | None = None,
    rate: float = 1.5,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Show what was given.

    Args:
        config: a file.
        names: some names.
        seq: a number.
        rate: another number.
        set_: may be given several times.
        as_json: a switch.
    """
    CALLS.append((config, list(names), seq, rate, list(set_ or ()), as_json))
    return 7


def must(*, origin: str) -> int:
    """Need an option."""
    CALLS.append(origin)
    return 0


def maybe(path: Path = Path("here"), more: list[str] | None = None, /) -> int:
    """Need nothing."""
    CALLS.append((path, list(more or ())))
    return 0


def noun(*, seconds: float = 2.0) -> int:
    """Do it without a verb."""
    CALLS.append(seconds)
    return 0


@program
def serve(config: Path, /, *, set_: list[str] | None = None) -> int:
    """Run until stopped."""
    CALLS.append((config, list(set_ or ())))
    return 3


WORD = Group("word", "does other things", (must, maybe))


@pytest.fixture(params=["cyclopts", "argparse"])
def parse(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Parse with each of the two."""
    if request.param == "argparse":
        monkeypatch.setitem(sys.modules, "cyclopts", None)  # an import of it fails now
    CALLS.clear()

    def run(*arguments: str) -> int:
        """Run the nouns above."""
        if arguments[:1] == ("noun",):
            return run_commands("noun", "does things", (noun,), arguments[1:])
        return run_commands("thing", "does things", (show_it, must, maybe, serve, WORD), arguments)

    return run


def test_arguments_and_options_reach_the_function_with_their_types(parse: Callable[..., int]) -> None:
    """Paths, numbers, lists, switches; the result is the exit code."""
    given = (
        "show-it",
        "a.toml",
        "x",
        "y",
        "--seq",
        "3",
        "--rate",
        "2",
        "--set",
        "a.b=1",
        "--set",
        "c.d=e",
        "--json",
    )
    assert parse(*given) == 7
    assert [(Path("a.toml"), ["x", "y"], 3, 2.0, ["a.b=1", "c.d=e"], True)] == CALLS


def test_options_left_out_have_their_defaults(parse: Callable[..., int]) -> None:
    """As the function says."""
    assert parse("show-it", "a.toml", "x") == 7
    assert [(Path("a.toml"), ["x"], None, 1.5, [], False)] == CALLS


def test_arguments_may_have_defaults_too(parse: Callable[..., int]) -> None:
    """Given or not."""
    assert parse("maybe") == parse("maybe", "there", "x", "y") == 0
    assert [(Path("here"), []), (Path("there"), ["x", "y"])] == CALLS


def test_a_noun_without_verb_takes_its_options_directly(parse: Callable[..., int]) -> None:
    """Such as `coldseal demo --seconds 5`."""
    assert parse("noun") == parse("noun", "--seconds", "5") == 0
    assert CALLS == [2.0, 5.0]


def test_a_program_takes_its_arguments_like_any_verb(parse: Callable[..., int]) -> None:
    """In any order."""
    assert parse("serve", "--set", "a.b=1", "a.toml", "--set", "c.d=e") == 3
    assert [(Path("a.toml"), ["a.b=1", "c.d=e"])] == CALLS


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("serve",), "config"),
        (("serve", "a.toml", "--se", "a.b=1"), "--se"),
        (("serve", "a.toml", "--unknown"), "--unknown"),
        (("must",), "origin"),
        (("nothing",), "nothing"),
        (("show-it",), "config"),
        (("show-it", "a", "b", "--seq", "x"), "seq"),
        (("show-it", "a", "b", "--unknown"), "--unknown"),
        (("show-it", "a", "b", "--no-json"), "--no-json"),
        (("must", "--origin"), "origin"),
    ],
)
def test_wrong_usage_raises_and_names_what_is_wrong(
    parse: Callable[..., int], arguments: tuple[str, ...], named: str
) -> None:
    """With the help to read."""
    with pytest.raises(OperatorError) as caught:
        parse(*arguments)
    assert named in caught.value.what.lower()
    assert caught.value.hint.startswith("See: coldseal thing")
    assert CALLS == []


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("show-it", "--help"), ("serve", "--help"), ("serve", "a", "-h"), ("noun", "--help")],
)
def test_help_is_plain_without_a_terminal(
    parse: Callable[..., int], arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """No colour, no box; and nothing is done."""
    assert parse(*arguments) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "─" not in text
    assert CALLS == []


def test_help_of_a_verb_shows_its_docstring_and_options(
    parse: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """In the words of the function."""
    parse("show-it", "--help")
    text = capsys.readouterr().out
    for words in ("Show what was given.", "--seq", "--set", "--json"):
        assert words in text


def test_a_noun_s_help_lists_its_verbs(parse: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """With their first lines."""
    parse("--help")
    text = capsys.readouterr().out
    for words in ("show-it", "Show what was given.", "must", "Need an option."):
        assert words in text


def test_a_group_of_verbs_stands_behind_a_word_of_its_own(
    parse: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as `coldseal identity ca issue`: called, listed, helped and refused like any verb."""
    assert parse("word", "must", "--origin", "x") == parse("word", "maybe", "there") == 0
    assert ["x", (Path("there"), [])] == CALLS
    assert parse("--help") == 0
    assert "does other things" in capsys.readouterr().out
    assert parse("word", "--help") == 0
    assert "Need an option" in capsys.readouterr().out
    with pytest.raises(OperatorError) as caught:
        parse("word", "must")
    assert caught.value.hint.startswith("See: coldseal thing word")
