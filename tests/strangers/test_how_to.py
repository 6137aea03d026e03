"""Claim: what docs/how-to/check-with-other-tools.md shows can be typed, and finds what it says it finds."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.project.tree import ROOT, blocks
from tests.sealed import witness_key
from tests.strangers import tampering
from tests.strangers.conftest import require
from tests.strangers.long_log import SIZE, Publication
from tests.strangers.tampering import Tampering, tampered
from tools.strangers import FOLDER

PAGE = ROOT / "docs" / "how-to" / "check-with-other-tools.md"


def follow(folder: Path, published: Publication, log: Path) -> subprocess.CompletedProcess[str]:
    """Type the commands of the page one after the other."""
    for program in (FOLDER / "witness" / "bin" / "aics-tlog", shutil.which("go") or "go"):
        require(program)
    (folder / "published").symlink_to(log)
    shown = list(blocks(PAGE))
    (folder / "check.go").write_text(next(block.text for block in shown if block.language == "go"))
    p256, ed25519 = published.keys[SIZE]
    keys = {"P256": p256.encode(), "ED25519": ed25519.encode(), "WITNESS": witness_key().encode()}
    path = f"{FOLDER / 'witness' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    script = "\n".join(block.text for block in shown if block.mark == "strangers")
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, **keys, "PATH": path, "GOCACHE": str(FOLDER / "go" / "cache")},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


def test_a_reader_of_the_page_gets_through(published: Publication, tmp_path: Path) -> None:
    """With a good log, to the end."""
    done = follow(tmp_path, published, published.folder)
    assert done.returncode == 0, done.stderr
    assert "Verified OK" in done.stdout
    assert done.stdout.count('"ok": true}\n') == 3
    assert (tmp_path / "entry.json").read_bytes() == published.log.entries[2]
    assert f"entry 2 of {SIZE} verified by {published.log.origin}" in done.stdout


@pytest.mark.parametrize(
    "how", [tampering.sign_with_other_keys, tampering.lie_about_the_root, tampering.cut_the_tree]
)
def test_a_tampered_log_stops_the_reader(how: Tampering, published: Publication, tmp_path: Path) -> None:
    """At the tool that sees it first."""
    done = follow(tmp_path, published, tampered(published, tmp_path / "tampered", how))
    assert done.returncode != 0
    assert "entry 2 of" not in done.stdout
