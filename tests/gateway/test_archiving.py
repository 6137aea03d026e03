"""Ended segments in the archive, and what leaves the gateway: by the whole command, on a real log."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coldseal.cli.archives import BundleTools
from coldseal.cli.main import run
from coldseal.core.log.record import parse_entry
from coldseal.core.log.table import HEADER
from coldseal.errors import OperatorError, UnavailableError
from coldseal.evidence.compression import pack, unpacked
from coldseal.gateway import archiving
from coldseal.gateway.archives import BadArchiveError, examine, survey
from coldseal.gateway.config import load_gateway
from coldseal.gateway.pruning import NotArchivedError
from coldseal.gateway.records import open_reader, seal_record
from coldseal.gateway.retention import DAY_MS
from coldseal.gateway.store.pruned import PrunedError
from tests.cli.test_prune import spoil
from tests.gateway.archives import LATER_MS, NOW_MS, RETENTION, Trial, archived, kept, made, start, trial
from tests.gateway.test_pruning import SET, forget_receipts, receive, segments

__all__ = ["archived", "kept", "made", "trial"]


def test_each_ended_and_witnessed_segment_becomes_a_bundle_that_verifies_by_itself(
    archived: Path, tmp_path: Path
) -> None:
    """As it lies there, and after the ordinary `zstd`; the log says that it was written."""
    trial = Trial(archived)
    index = trial.index()
    assert [(each.first, each.last + 1) for each in index] == [part[:2] for part in segments(trial.config)]
    assert trial.files() == [each.name for each in index]
    for each in index:
        path = trial.archive / each.name
        assert run(["evidence", "verify", str(path), "--json"]) == 0
        plain = tmp_path / "plain"
        subprocess.run(["zstd", "-dqf", path, "-o", plain], check=True)
        assert run(["evidence", "verify", str(plain), "--json"]) == 0
    with closing(open_reader(trial.config)) as reader:
        entries = [parse_entry(raw) for raw in reader.read_from(index[-1].last)]
    exports = [entry.data for entry in entries if entry.kind == "export"]
    assert [(each["bundle"], each["last"]) for each in exports] == [
        (each.sha256, each.last) for each in index
    ]
    assert "segment" in index[0].kinds
    assert index[0].ended == index[0].ended[:23] + "Z"


def test_a_second_round_finds_nothing_to_do(archived: Path, tmp_path: Path) -> None:
    """Nor does one without its index: it finds everything again."""
    trial = start(archived, tmp_path / "gw")
    before = trial.index()
    assert trial.round() == ([], [], 0, [])
    (trial.config.gateway.data / "archives.json").write_text("{")
    (trial.archive / ".coldseal-draft-x").write_text("left by a crash")
    (trial.archive / ".coldseal-old").write_text("a copy that a crash has left")
    os.utime(trial.archive / ".coldseal-old", (0, 0))
    (trial.archive / ".coldseal-new").write_text("a copy that is in use")
    assert trial.round(NOW_MS + 5) == ([], [], 0, [])
    after = trial.index()
    assert [(each.sha256, each.kinds, each.root) for each in after] == [
        (each.sha256, each.kinds, each.root) for each in before
    ]
    assert trial.files() == [".coldseal-new", *(each.name for each in before)]


def test_what_no_witness_has_cosigned_waits(trial: Trial) -> None:
    """Without any receipt, all of it; behind the newest one, what came since."""
    forget_receipts(trial.config)
    assert trial.round() == ([], [], 3, [])
    assert trial.files() == []
    receive(trial.config)
    trial.grow()
    forget_receipts(trial.config)
    with closing(open_reader(trial.config)) as reader:
        ended = [end for _, end, _ in reader.closed_segments()]
    done = trial.round()
    assert done.waiting == len(ended)
    receive(trial.config)
    assert len(trial.round().archived) == len(ended)


def test_an_archive_that_is_absent_is_caught_up_later(trial: Trial) -> None:
    """It is never made: an empty mount point is no archive."""
    trial.archive.rmdir()
    with pytest.raises(UnavailableError, match="no such folder"):
        trial.round()
    assert not trial.archive.exists()
    trial.archive.mkdir()
    assert len(trial.round().archived) == 3


def test_a_disk_that_is_full_leaves_nothing_half(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file has a bundle's name that is not one."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(archiving, "sync_directory", fail)
        with pytest.raises(UnavailableError, match="No space left"):
            trial.round()
    assert trial.index() == []
    assert len(trial.round().archived) == 2  # the first had its name: it was found, and verified
    assert len(trial.index()) == 3


def test_one_round_at_a_time(trial: Trial) -> None:
    """The other one is told."""
    with archiving._alone(trial.config.gateway.data), pytest.raises(UnavailableError, match="under way"):
        trial.round()


def damage(path: Path) -> None:
    """Change a byte in the midst of a file, and its length."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data) + b"x")


def test_a_damaged_bundle_is_put_aside_and_made_again(archived: Path, tmp_path: Path) -> None:
    """As long as the segment is still here; nothing is deleted."""
    trial = start(archived, tmp_path / "gw")
    name = trial.index()[1].name
    for number in (1, 2):
        damage(trial.archive / name)
        done = trial.round()
        assert ([each.name for each in done.archived], done.damaged) == ([name], [f"{name}.damaged-{number}"])
        assert done.damaged[0] in trial.files()
    assert trial.command("verify") == 0


def test_a_bundle_of_another_range_under_this_name_is_put_aside(archived: Path, tmp_path: Path) -> None:
    """It verifies by itself, but does not hold the segment."""
    trial = start(archived, tmp_path / "gw")
    first, second, _ = trial.index()
    shutil.copy(trial.archive / first.name, trial.archive / second.name)
    assert [each.first for each in trial.round().archived] == [second.first]


def test_what_is_archived_and_past_its_window_is_pruned(kept: Trial) -> None:
    """Not before; and the log names the bundle that has it."""
    assert kept.round(NOW_MS).pruned == []
    ended = kept.index()[0].ended
    pruned = kept.round(LATER_MS).pruned
    assert [each.first for each in pruned] == kept.pruned() == [each.first for each in kept.index()]
    with closing(open_reader(kept.config)) as reader:
        with pytest.raises(PrunedError, match=kept.index()[0].name):
            reader.read(7)
        entries = [parse_entry(raw) for raw in reader.read_from(pruned[-1].last + 1)]
    (first, *_) = (entry.data for entry in entries if entry.kind == "prune")
    assert str(first["why"]).startswith("rest: past its window, which ended ")
    assert ended < str(first["why"])[-24:]
    assert kept.command("verify") == 0
    assert kept.round(LATER_MS) == ([], [], 0, [])


def test_a_clock_that_is_ahead_prunes_nothing(archived: Path, tmp_path: Path) -> None:
    """The witness's time counts too, which stands in the newest receipt: 2027, whatever ours says."""
    trial = start(archived, tmp_path / "gw", RETENTION.replace("30", "200"))
    assert trial.round(NOW_MS + 5000 * DAY_MS).pruned == []


def test_nothing_is_pruned_that_nobody_has_said_may_go(archived: Path, tmp_path: Path) -> None:
    """Without retention nothing; with a class for some kinds alone, nothing that holds another."""
    trial = start(archived, tmp_path / "a")
    assert trial.round(LATER_MS).pruned == []
    trial = start(archived, tmp_path / "b", RETENTION + 'kinds = ["heartbeat"]\n')
    assert trial.round(LATER_MS).pruned == []


def test_a_hold_keeps_a_segment_and_those_behind_it(kept: Trial) -> None:
    """What is pruned is always the beginning of the log."""
    first, second, _ = kept.index()
    hold: dict[str, Any] = {"hold": {"action": "add", "first": second.first + 1, "last": second.first + 1}}
    seal_record(kept.config, "config", {**hold, "who": "Legal", "why": "case 7"})
    assert [each.first for each in kept.round(LATER_MS).pruned] == [first.first]
    with closing(open_reader(kept.config)) as reader:
        standing = survey(kept.config, reader, LATER_MS)
    assert [(each.state, each.hold) for each in standing] == [
        ("pruned", ""),
        ("archived", "case 7"),
        ("archived", ""),
    ]


def test_nothing_is_pruned_whose_bundle_is_not_what_it_was(kept: Trial) -> None:
    """Of the same length, so that only its hash tells: it is made anew, and the next round goes on."""
    first = kept.index()[0]
    path = kept.archive / first.name
    path.write_bytes(bytes(first.size))
    done = kept.round(LATER_MS)
    assert (done.pruned, done.damaged) == ([], [f"{first.name}.damaged-1"])
    assert [each.first for each in done.archived] == [0]
    assert len(kept.round(LATER_MS).pruned) == 3


def test_nothing_is_pruned_while_its_bundle_is_away(kept: Trial, tmp_path: Path) -> None:
    """Such as on a disk that lies in a safe: what is not in the folder is archived there once more."""
    for path in kept.archive.iterdir():
        path.rename(tmp_path / path.name)
    kept.archive.rmdir()
    with pytest.raises(UnavailableError):
        kept.round(LATER_MS)
    assert kept.pruned() == []
    kept.archive.mkdir()
    assert len(kept.round(LATER_MS).archived) == 3


def test_a_bundle_must_hold_each_entry_of_its_segment(kept: Trial) -> None:
    """Hashes of the log decide, which are there when the entries are not."""
    first, second, _ = kept.index()
    tools = BundleTools(kept.config)
    with closing(open_reader(kept.config)) as reader, tools.verified(kept.archive / second.name) as archive:
        with pytest.raises(NotArchivedError, match=r"entry \d+ .*missing"):
            examine(reader, archive, first.first, first.last)
        archive.entries = lambda *_: iter([b"x"] * 4096)  # type: ignore[method-assign] # entries of nobody
        with pytest.raises(NotArchivedError, match="is another one"):
            examine(reader, archive, second.first, second.last)


def repack(path: Path, folder: Path, *, is_changed: bool) -> None:
    """Compress a bundle once more; changed, its table is not what its entries give, with right sums."""
    plain = folder / "plain"
    with unpacked(path) as found:
        shutil.copy(found, plain)
    if is_changed:
        spoil(plain, "readings.csv", HEADER.encode() + b"1,2,3,4,5,6,7,8,9,10\n", has_sum=True)
    path.unlink()
    pack(plain, path, level=1)


@pytest.mark.parametrize(
    ("is_changed", "said"), [(True, "csv-mismatch"), (False, "not the one that was archived")]
)
def test_a_bundle_that_was_made_anew_is_not_the_one_that_was_archived(
    kept: Trial, tmp_path: Path, is_changed: bool, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where all its sums are right."""
    repack(kept.archive / kept.index()[1].name, tmp_path, is_changed=is_changed)
    assert kept.command("verify", "--json") == 1
    found = json.loads(capsys.readouterr().out)["archives"]
    assert [each["verdict"] for each in found] == ["good", "bad", "good"]
    assert said in found[1]["detail"]


def test_the_list_says_how_each_segment_stands(kept: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """For people and for scripts."""
    second = kept.index()[1]
    (kept.archive / second.name).unlink()
    hold: dict[str, Any] = {"hold": {"action": "add", "first": 0, "last": 0}, "who": "Legal", "why": "case 7"}
    seal_record(kept.config, "config", hold)
    assert kept.command("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "archived  rest until " in lines[0]
    assert "on hold: case 7" in lines[0]
    assert "file not here" in lines[1]
    assert kept.command("list", "--json") == 0
    found = json.loads(capsys.readouterr().out)["segments"]
    assert [each["is_present"] for each in found] == [True, False, True]


def test_a_round_by_command(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what it did."""
    assert trial.command("list") == 0
    assert "waiting  kept" in capsys.readouterr().out
    assert trial.command("run", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["archived"]) == 3
    (trial.archive / trial.index()[0].name).unlink()
    damage(trial.archive / trial.index()[1].name)
    assert trial.command("run") == 0
    found = capsys.readouterr().out
    assert "archived 0-" in found
    assert "damaged, put aside: " in found
    assert trial.command("run") == 0
    assert "0 ended segments wait" in capsys.readouterr().out
    assert trial.command("verify") == 0
    assert capsys.readouterr().out.count("good") == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fetch",), "cannot 'fetch'"),
        (("restore",), "which segment"),
        (("restore", "--segment", "0"), "nobody says who"),
        (("restore", "--segment", "5", "--output", "x"), "no archived segment"),
        (("verify", "--segment", "5"), "nothing like that"),
        (("run", "--set", "archive.directory="), "no archive is configured"),
    ],
)
def test_what_is_not_said_clearly_is_asked_for(
    archived: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    assert Trial(archived).command(*arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('[archive]\ndirectory = "x"\n', "no witness"),
        ('[[retention]]\nname = "a"\ndays = 1\n', "archive.directory is not set"),
        ('[[retention]]\nname = "a"\ndays = 1\nkinds = ["readings"]\n', "'readings'"),
    ],
)
def test_settings_that_could_never_do_anything_are_refused(
    made: Path, tmp_path: Path, more: str, said: str
) -> None:
    """With the cure."""
    text = (made / "gateway.toml").read_text()
    if "directory" in more:
        text = text.replace(SET[1].partition("=")[2], "")
    path = tmp_path / "gateway.toml"
    path.write_text(text + more)
    with pytest.raises(OperatorError, match=said):
        load_gateway(path)


def test_verdicts_of_the_archive_have_names() -> None:
    """Tools and people know them by these."""
    assert (BadArchiveError("a", "b").verdict, NotArchivedError.verdict) == (
        "archive-damaged",
        "pruned-unproven",
    )
