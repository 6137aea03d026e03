"""Claims about where the strangers live: apart from us, pinned by hash, made once, never silently absent."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.project.test_installation import asked, pins
from tests.project.test_set_up import program
from tools import strangers
from tools.strangers import FOLDER, NEEDS, ROOT, interpreter, is_current, main

SETS = [f"strangers-{name}" for name in NEEDS]


@pytest.mark.parametrize("name", SETS)
def test_every_package_is_pinned_to_a_version_and_its_hashes(name: str) -> None:
    """One requirement, one version, at least one SHA-256; all that was asked for, and nothing else."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==\S+(?: ; [^-]+)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*", line), (
            line
        )
    assert asked(name) - pins(name).keys() == set()


def test_none_of_them_is_among_our_own() -> None:
    """They are asked for their judgement; nothing of ours runs on them."""
    theirs = {name for each in SETS for name in asked(each)}
    assert theirs & {*pins("runtime"), *pins("dev")} == set()


def test_an_interpreter_that_is_new_enough_is_taken() -> None:
    """No other is looked for."""
    assert interpreter((3, 11), {}) == Path(sys.executable)


def test_else_the_other_promised_one_is_looked_for(tmp_path: Path) -> None:
    """On the PATH, and believed only when it starts."""
    version = "3.13" if sys.version_info[:2] != (3, 13) else "3.11"
    found = program(tmp_path, f"python{version}", f"echo {version}")
    assert interpreter((3, 99), {"PATH": str(tmp_path), "HOME": str(tmp_path)}) == found
    assert interpreter((3, 99), {"PATH": "", "HOME": str(tmp_path)}) is None


def test_what_is_made_from_the_same_file_is_current(tmp_path: Path) -> None:
    """A new pin makes it anew."""
    source, stamp = tmp_path / "source", tmp_path / "stamp"
    source.write_text("one")
    assert not is_current(stamp, source)
    stamp.write_text("one")
    assert is_current(stamp, source)
    source.write_text("two")
    assert not is_current(stamp, source)


@pytest.mark.parametrize(("ci", "status"), [("true", 1), ("", 0)])
def test_a_stranger_that_cannot_be_had_is_named_and_fails_ci(
    ci: str,
    status: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Here without Go and without a Python for the witness."""
    monkeypatch.setattr(strangers, "NEEDS", {"witness": (3, 99)})
    environment = {"PATH": "", "HOME": str(tmp_path), "CI": ci}
    assert main(environment, tmp_path) == status
    said = capsys.readouterr().err
    assert "missing: Python 3.99" in said
    assert "missing: go" in said
    assert "missing: npm" in said
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone() -> None:
    """A second run starts nothing."""
    before = {path: path.stat().st_mtime_ns for path in FOLDER.glob("*/*made-from")}
    if len(before) < len(NEEDS) + 1:
        pytest.skip("not all strangers are here: make strangers")
    for name in NEEDS:
        strangers.make_environment(name, Path("no such program"))
    strangers.make_go_program()
    assert {path: path.stat().st_mtime_ns for path in FOLDER.glob("*/*made-from")} == before
