"""What was pruned comes back out of the archive: into the log, or as a bundle for whoever is to see it."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from coldseal.cli.main import run
from coldseal.gateway.records import open_reader, seal_record
from tests.gateway.archives import LATER_MS, Trial, archived, kept, made

__all__ = ["archived", "kept", "made"]


def test_what_is_pruned_is_brought_back_and_held(kept: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest segments, entry by entry; the gateway goes on, and exports them again."""
    with closing(open_reader(kept.config)) as reader:
        whole = list(reader.read_from(0))
    kept.round(LATER_MS)
    _, second, third = kept.index()
    who = ("--who", "Eva", "--why", "inspection")
    assert kept.command("restore", "--segment", str(second.first), *who, "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"first": second.first, "last": third.last}
    assert kept.pruned() == [0]
    with closing(open_reader(kept.config)) as reader:
        assert list(reader.read_from(second.first))[: len(whole) - second.first] == whole[second.first :]
    bundle = kept.folder / "again.coldseal"
    options = ("--first", str(second.first), "--last", str(second.first + 50), *who)
    assert run(["evidence", "export", str(kept.toml), str(bundle), *options]) == 0
    assert run(["evidence", "verify", str(bundle)]) == 0
    kept.grow()
    assert kept.round(LATER_MS).pruned == []
    lift: dict[str, Any] = {"hold": {"action": "remove", "first": second.first, "last": third.last}}
    seal_record(kept.config, "config", {**lift, "who": "Eva", "why": "done"})
    assert [each.first for each in kept.round(LATER_MS).pruned][:2] == [second.first, third.first]
    bundle = kept.folder / "rest.coldseal"
    assert run(["evidence", "export", str(kept.toml), str(bundle), *who]) == 0
    assert run(["evidence", "verify", str(bundle)]) == 0


def test_what_cannot_be_brought_back_stays_pruned(
    kept: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No such segment, no file, a file that is not the one, no room."""
    kept.round(LATER_MS)
    *_, third = kept.index()
    back = ("restore", "--segment", str(third.first), "--who", "Eva", "--why", "x")
    path = kept.archive / third.name
    path.rename(tmp_path / "away")
    assert kept.command(*back) == 3
    assert kept.command("verify", "--segment", str(third.first)) == 3
    assert kept.command("restore", "--segment", str(third.first), "--output", str(tmp_path)) == 3
    shutil.copy(kept.archive / kept.index()[1].name, path)
    assert kept.command(*back) == 1
    assert kept.command("verify", "--json") == 1
    assert kept.command("restore", "--segment", str(third.first), "--output", str(tmp_path)) == 1
    path.unlink()
    (tmp_path / "away").rename(path)
    assert kept.command(*back, "--set", "store.limit_mb=2", "--set", "store.reserve_mb=1") == 0
    capsys.readouterr()
    assert kept.command(*back) == 2
    assert "no pruned segment begins" in capsys.readouterr().err


def test_restoring_needs_room(kept: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """What would leave none for readings is refused."""
    kept.round(LATER_MS)
    segment = ("--segment", str(kept.index()[-1].first), "--who", "Eva", "--why", "x")
    tight = ("--set", "store.limit_mb=65", "--set", "store.reserve_mb=64")
    filler = kept.config.gateway.data / "log" / "filler"
    filler.write_bytes(bytes(2 << 20))
    assert kept.command("restore", *segment, *tight) == 2
    assert "do not fit into store.limit_mb" in capsys.readouterr().err
    assert kept.pruned() == [each.first for each in kept.index()]


def test_a_bundle_is_copied_out_of_the_archive(kept: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """Verified and unpacked, for whoever is to see it."""
    first = kept.index()[0]
    folder = kept.folder / "out"
    assert kept.command("restore", "--segment", "0", "--output", str(folder), "--json") == 0
    made = Path(json.loads(capsys.readouterr().out)["bundle"])
    assert made == folder / first.name.removesuffix(".zst")
    assert run(["evidence", "verify", str(made)]) == 0
    assert kept.command("restore", "--segment", "0", "--output", str(folder)) == 2
    made.unlink()
    assert kept.command("restore", "--segment", "0", "--output", str(folder)) == 0
