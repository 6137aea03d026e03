"""Claims about the shape gate: each rule finds its planted fault, and the tree keeps them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import shape

ROOT = Path(__file__).parent.parent.parent


def findings(source: str, path: str = "coldseal/gateway/thing.py") -> list[str]:
    """Return the texts of what the gate finds in the source."""
    return [finding.text for finding in shape.check_source(path, source)]


def test_the_tree_keeps_its_shape() -> None:
    """The gate finds nothing in the project as it stands."""
    assert [finding.render() for finding in shape.check_tree(ROOT)] == []


def test_a_plain_module_is_left_in_peace() -> None:
    """A small module with a short function and our words has no finding."""
    assert findings('"""Readings."""\n\n\ndef seal(reading: str) -> str:\n    return reading\n') == []


@pytest.mark.parametrize("path", shape.MAIN_PATH)
def test_a_main_path_file_stays_under_200_lines(path: str) -> None:
    """The 200th line is one too many; the 199th is not."""
    assert findings("x = 1\n" * 199, path) == []
    assert findings("x = 1\n" * 200, path) == ["200 lines, at most 199"]


def test_any_other_module_stays_within_400_lines() -> None:
    """The 401st line is one too many; the 400th is not."""
    assert findings("x = 1\n" * 400) == []
    assert findings("x = 1\n" * 401) == ["401 lines, at most 400"]


def test_a_module_of_tests_stays_within_500_lines() -> None:
    """Claims are many and short, but a file of them has an end too."""
    assert findings("x = 1\n" * 500, "tests/test_thing.py") == []
    assert findings("x = 1\n" * 501, "tests/test_thing.py") == ["501 lines, at most 500"]


@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_a_function_stays_within_60_lines(keyword: str) -> None:
    """The whole function counts, from its first line to its last."""
    fits = f"{keyword} f() -> None:\n" + "    x = 1\n" * 59
    assert findings(fits) == []
    assert findings(fits + "    x = 1\n") == ["f() has 61 lines, at most 60"]


@pytest.mark.parametrize(
    "path",
    [
        "coldseal/utils.py",
        "coldseal/gateway/helpers.py",
        "coldseal/common/reading.py",
        "coldseal/service/base.py",
        "coldseal/session_manager.py",
        "tests/test_helper.py",
    ],
)
def test_a_name_that_says_nothing_is_refused(path: str) -> None:
    """A file or folder is named after what it holds, in every folder of the project."""
    (text,) = findings("x = 1\n", path)
    assert "not what the module holds" in text


def test_a_name_that_only_contains_such_a_word_is_fine() -> None:
    """The words are compared whole: a database is not a base."""
    assert findings("x = 1\n", "coldseal/gateway/store/database.py") == []


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: S603",
        "# noqa",
        "# type: ignore[arg-type]",
        "# type: ignore",
        "# pragma: no cover",
        "# pragma: no branch",
        "# noqa: S603, S607",
        "# noqa: S603 - why",
    ],
)
def test_a_rule_switched_off_without_a_reason_is_found(comment: str) -> None:
    """One word is no reason."""
    (text,) = findings(f"x = 1  {comment}\n")
    assert text.endswith("gives no reason on its line")


@pytest.mark.parametrize(
    "comment",
    [
        "# noqa: S603 - the program is ours",
        "# noqa: S603, S607  # found on the PATH of the person",
        "# type: ignore[arg-type]  # the stub is wrong here",
        "# pragma: no cover  # only without orjson",
    ],
)
def test_a_rule_switched_off_with_its_reason_is_accepted(comment: str) -> None:
    """The reason stands on the same line."""
    assert findings(f"x = 1  {comment}\n") == []


def test_a_directive_inside_a_string_is_no_directive() -> None:
    """Only comments are looked at."""
    assert findings('x = "# noqa: S603"\n') == []


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("def send_telemetry() -> None: ...\n", "send_telemetry"),
        ("class TelemetryStore: ...\n", "TelemetryStore"),
        ("def f(datapoints: int) -> None: ...\n", "datapoints"),
        ("def f() -> None:\n    breach = 1\n", "breach"),
        ("class A:\n    synced: bool\n", "synced"),
        ("def f(self: object) -> None:\n    self.last_incident = 1\n", "last_incident"),
        ("for datapoint in ():\n    pass\n", "datapoint"),
    ],
)
def test_a_word_that_has_a_better_one_is_found(source: str, name: str) -> None:
    """Every name that the module gives is looked at: functions, classes, parameters, variables, fields."""
    (text,) = findings(source)
    assert text.startswith(f"{name!r} says")


def test_a_module_named_with_a_refused_word_is_found() -> None:
    """A module's own name counts too."""
    (text,) = findings("x = 1\n", "coldseal/core/telemetry.py")
    assert text == "'telemetry' says 'telemetry'; our word is 'reading'"


def test_other_peoples_names_are_their_own() -> None:
    """What a library calls its things is used as it is called; so are tests and tools."""
    assert findings("import x\n\ny = x.datapoint(x.telemetry)\n") == []
    assert findings("telemetry = 1\n", "tests/test_thing.py") == []


def test_the_report_shows_place_and_text_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """An editor can jump to the finding, and make stops."""
    assert shape.report([shape.Finding("coldseal/a.py", 7, "too long")]) == 1
    assert capsys.readouterr().out == "coldseal/a.py:7: too long\nshape: 1 to mend\n"


def test_nothing_found_is_success(capsys: pytest.CaptureFixture[str]) -> None:
    """The gate says that it ran."""
    assert shape.report([]) == 0
    assert capsys.readouterr().out == "shape: kept\n"
