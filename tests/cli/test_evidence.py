"""`coldseal evidence verify` and `show` answer people and programs, and need little to run."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run
from coldseal.core.log import canonical
from coldseal.evidence.policies import describe_policy
from tests.core.log.test_evidence import WITNESS, make_entries, make_note, signers
from tests.evidence.parts import make_bundle, seal_log
from tests.page.builder import honest
from tests.page.false_times import booted_in_1970

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A good bundle of ten entries."""
    return make_bundle(tmp_path / "good.coldseal", seal_log(10))


def test_a_good_bundle_is_good_and_the_verdict_says_what_it_rests_on(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0; the keys are named."""
    assert run(["evidence", "verify", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "Entries    0 to 9: 9 reading, 1 genesis" in shown
    assert "GOOD: nothing missing, changed, moved or added" in shown
    assert "FAIL" not in shown
    assert "named by the bundle itself" in shown
    assert WITNESS in shown


def test_a_selection_says_of_how_many_it_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It proves what is in it, in a log that has more."""
    path = make_bundle(tmp_path / "some.coldseal", seal_log(300), runs=[(0, 1), (7, 9)])
    assert run(["evidence", "verify", str(path)]) == 0
    assert "Entries    3 of the log's first 300: 2 reading, 1 genesis" in capsys.readouterr().out
    assert run(["evidence", "show", str(path)]) == 0
    assert [int(line.split()[0]) for line in capsys.readouterr().out.splitlines()] == [0, 7, 8]
    assert run(["evidence", "show", str(path), "--seq", "3"]) == 2
    assert "It holds the entries 0 to 0, 7 to 8" in capsys.readouterr().err


def test_the_verdict_for_scripts_is_one_json_object(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--json``."""
    assert run(["evidence", "verify", str(bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["good"], found["size"], found["entries"], found["kinds"], found["keys"]) == (
        True,
        10,
        10,
        {"genesis": 1, "reading": 9},
        "bundle",
    )


def test_what_is_no_bundle_is_a_verdict_and_a_name_that_is_wrong_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1 and 2; also for programs."""
    path = tmp_path / "x.coldseal"
    path.write_bytes(b"no bundle")
    assert run(["evidence", "verify", str(path)]) == 1
    shown = capsys.readouterr().out
    assert "NOT GOOD: bundle-damaged" in shown
    assert "--    hash chain unbroken" in shown, "nothing else could be looked at"
    assert run(["evidence", "verify", str(path), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["faults"][0]["verdict"] == "bundle-damaged"
    assert run(["evidence", "show", str(path)]) == 1
    assert run(["evidence", "verify", str(tmp_path / "missing")]) == 2


def test_keys_of_ones_own_are_taken_from_a_policy_file_and_a_witness_from_an_option(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway's admission file names no witness; without one nothing is witnessed."""
    policy = signers().policy
    found = {**describe_policy(policy), "gateway": "gw-0001"}
    del found["witnesses"], found["quorum"], found["mode"]
    path = tmp_path / "admission.json"
    path.write_bytes(canonical.encode(found))
    command = ["evidence", "verify", str(bundle), "--policy", str(path)]
    assert run(command) == 1
    assert "not-witnessed" in capsys.readouterr().out
    assert run([*command, "--witness", policy.witnesses[0].encode()]) == 0
    assert str(path) in capsys.readouterr().out


def test_a_policy_of_another_log_is_met_by_nothing(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The bundle's own keys count for nothing then."""
    path = tmp_path / "policy.json"
    path.write_bytes(canonical.encode({**describe_policy(signers().policy), "origin": "other.example/log"}))
    assert run(["evidence", "verify", str(bundle), "--policy", str(path)]) == 1
    assert "foreign-log" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"origin":"a","record_key":"?"}'])
def test_a_policy_file_that_is_none_is_said_to_be(bundle: Path, tmp_path: Path, content: str | None) -> None:
    """Exit code 2."""
    path = tmp_path / "policy.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert run(["evidence", "verify", str(bundle), "--policy", str(path)]) == 2


def test_a_number_of_processes_that_is_none_is_refused(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong usage, whatever the bundle is."""
    assert run(["evidence", "verify", str(bundle), "--workers", "-1"]) == 2
    assert "--workers is -1" in capsys.readouterr().err


def test_a_policy_with_a_key_that_is_no_witness_blames_the_file_and_not_the_evidence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Be it the key of a log, or none at all: file, field and what is expected are named."""
    path = tmp_path / "policy.json"
    policy = signers().policy
    for text, expected in ((policy.checkpoint_keys[0].encode(), "cosigners"), ("x+1", "8 hex digits")):
        path.write_bytes(canonical.encode({**describe_policy(policy), "witnesses": [text]}))
        assert run(["evidence", "verify", str(bundle), "--policy", str(path)]) == 2
        told = capsys.readouterr().err
        assert all(part in told for part in (str(path), "witnesses", text[:60], expected)), told


def test_entries_are_shown_one_a_line_or_one_alone_and_whole(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they were sealed, for programs."""
    assert run(["evidence", "show", str(bundle)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10
    assert "genesis" in lines[0]
    assert run(["evidence", "show", str(bundle), "--seq", "3"]) == 0
    (raw,) = capsys.readouterr().out.splitlines()
    assert json.loads(raw)["body"]["seq"] == 3
    assert run(["evidence", "show", str(bundle), "--json"]) == 0
    assert [json.loads(line)["body"]["seq"] for line in capsys.readouterr().out.splitlines()] == list(
        range(10)
    )
    assert run(["evidence", "show", str(bundle), "--seq", "10"]) == 2
    assert "It holds the entries 0 to 9" in capsys.readouterr().err


def test_a_time_that_was_wrong_is_shown_with_the_right_one_behind_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As sealed, and by the `clock` entry that came later; a line that needs none has none."""
    story = honest()
    seq = booted_in_1970(story)
    path = tmp_path / "dawn.coldseal"
    path.write_bytes(story.bundle())
    assert run(["evidence", "show", str(path)]) == 0
    lines = {int(line.split()[0]): line for line in capsys.readouterr().out.splitlines()}
    assert "  1970-01-01T00:00:15.000Z  reading" in lines[seq]
    assert lines[seq].endswith(f"Z ± 17 ms, by {seq + 2}]")
    assert "[2026-03-04T" in lines[seq]
    assert "[20" not in "".join(line for place, line in lines.items() if place > seq + 1)
    assert run(["evidence", "show", str(path), "--seq", str(seq)]) == 0
    assert "±" not in capsys.readouterr().out


def test_an_unreadable_entry_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not hide the others."""
    entries = seal_log(3)
    note = make_note(entries)
    entries[1] = b"?"
    path = make_bundle(tmp_path / "odd.coldseal", entries, [note])
    assert run(["evidence", "show", str(path)]) == 0
    assert "not readable" in capsys.readouterr().out.splitlines()[1]


@pytest.mark.parametrize("has_thread", [True, False])
def test_a_large_bundle_is_examined_by_several_processes_with_the_same_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, has_thread: bool
) -> None:
    """Copies of this one, or new ones where it has threads. On a terminal progress is shown."""
    monkeypatch.setattr("coldseal.evidence.work.INLINE_ENTRIES", 1)
    monkeypatch.setattr("coldseal.evidence.work.ENTRIES_PER_TASK", 256)
    path = make_bundle(tmp_path / "long.coldseal", seal_log(600))
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    if has_thread:
        thread.start()
    try:
        assert run(["evidence", "verify", str(path), "--workers", "2"]) == 0
    finally:
        end.set()
    assert "verifying  14 %" in terminal.getvalue()
    assert "verifying 100 %\n" in terminal.getvalue()
    assert "GOOD" in capsys.readouterr().out


def test_colours_are_for_terminals_that_want_them(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NO_COLOR is heeded."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.delenv("NO_COLOR", raising=False)
    run(["evidence", "verify", str(bundle)])
    assert "\x1b[32;1mGOOD" in capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    run(["evidence", "verify", str(bundle)])
    assert "\x1b[" not in capsys.readouterr().out


def test_an_entry_of_a_clock_that_was_not_synchronised_is_a_note_not_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is to be known."""
    path = make_bundle(tmp_path / "x.coldseal", make_entries(3, state=b"unsynchronised"))
    assert run(["evidence", "verify", str(path)]) == 0
    assert "3 entries were sealed with a clock not synchronised" in capsys.readouterr().out


def test_verifying_loads_no_other_command(bundle: Path) -> None:
    """Its time from start to end counts, and exporting needs much."""
    program = """
import sys
from coldseal.cli.main import run
code = run(["evidence", "verify", sys.argv[1]])
sys.exit(code or sum(f"coldseal.cli.{name}" in sys.modules for name in ("evidence", "export", "tiles")))
"""
    answer = subprocess.run([sys.executable, "-c", program, str(bundle)], capture_output=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, b"")


def test_verifying_needs_no_more_than_a_bare_installation(bundle: Path) -> None:
    """With every optional package made unimportable, verify and show still work."""
    program = """
import sys
for name in "apsw msgspec orjson cyclopts rich structlog uvloop aiohttp cbor2".split():
    sys.modules[name] = None
from coldseal.cli.main import run
sys.exit(run(["evidence", "verify", sys.argv[1]]) or run(["evidence", "show", sys.argv[1], "--seq", "1"]))
"""
    answer = subprocess.run(
        [sys.executable, "-c", program, str(bundle)], capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    assert "GOOD" in answer.stdout
