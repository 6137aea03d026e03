"""Bundles as compressed files: the ordinary program opens them, and what is cut or swollen is refused."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import zstandard

from coldseal.core.log.evidence import Verdict
from coldseal.errors import OperatorError
from coldseal.evidence import compression
from coldseal.evidence.compression import pack, unpacked
from coldseal.evidence.reader import DamagedBundleError
from coldseal.evidence.verification import Question, verify_bundle

CONTENT = b"entry " * 5_000


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A compressed file."""
    (tmp_path / "plain").write_bytes(CONTENT)
    digest = pack(tmp_path / "plain", tmp_path / "packed")
    assert digest == hashlib.sha256((tmp_path / "packed").read_bytes()).digest()
    return tmp_path / "packed"


def test_what_is_packed_is_unpacked_for_as_long_as_it_is_needed(packed: Path, tmp_path: Path) -> None:
    """A plain file is given as it is."""
    with unpacked(packed, folder=tmp_path) as plain:
        assert (plain.read_bytes(), plain.parent) == (CONTENT, tmp_path)
    assert not plain.exists()
    with unpacked(tmp_path / "plain") as plain:
        assert plain == tmp_path / "plain"


def test_the_ordinary_program_opens_it(packed: Path) -> None:
    """`zstd`, which Debian has; and it finds the checksum right."""
    done = subprocess.run(["zstd", "-dc", "--", packed], check=True, capture_output=True)
    assert done.stdout == CONTENT
    assert b"XXH64" in subprocess.run(["zstd", "-lv", packed], check=True, capture_output=True).stdout


def test_what_the_ordinary_program_packed_is_opened(tmp_path: Path) -> None:
    """Also from a pipe, where no length is written down."""
    done = subprocess.run(["zstd", "-c"], input=CONTENT, check=True, capture_output=True)
    (tmp_path / "piped").write_bytes(done.stdout)
    with unpacked(tmp_path / "piped") as plain:
        assert plain.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-5], "is cut"),
        (lambda data: data[:20] + bytes([data[20] ^ 8]) + data[21:], "cannot be unpacked"),
        (lambda data: data[:-1] + bytes([data[-1] ^ 1]), "cannot be unpacked"),
        (lambda data: data + b"x", "something behind"),
        (lambda data: data + b"x" * 2000, "something behind"),
    ],
    ids=["cut", "flipped", "checksum flipped", "byte behind", "more behind"],
)
def test_what_is_not_whole_is_refused(packed: Path, change: object, said: str) -> None:
    """With a verdict, where a bundle is verified."""
    assert callable(change)
    packed.write_bytes(change(packed.read_bytes()))
    with pytest.raises(DamagedBundleError, match=said), unpacked(packed):
        pytest.fail("it was opened")
    report = verify_bundle(packed, Question()).report
    assert [fault.verdict for fault in report.faults] == [Verdict.DAMAGED]


def test_a_small_file_cannot_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may unpack to so much and no more."""
    (tmp_path / "bomb").write_bytes(zstandard.compress(bytes(1 << 22)))
    with unpacked(tmp_path / "bomb") as plain:
        assert plain.stat().st_size == 1 << 22
    monkeypatch.setattr(compression, "MIN_LIMIT", 1 << 20)
    with pytest.raises(DamagedBundleError, match="more than 64 times"), unpacked(tmp_path / "bomb"):
        pytest.fail("it was opened")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """As one that cannot be read."""
    with pytest.raises(OperatorError, match="none cannot be read"), unpacked(tmp_path / "none"):
        pytest.fail("it was opened")


def test_a_bare_installation_says_how_to_do_without_the_package(packed: Path) -> None:
    """And needs it for nothing else."""
    code = (
        "import sys; sys.modules['zstandard'] = None\n"
        "from coldseal.cli.main import run\n"
        f"sys.exit(run(['evidence', 'verify', {str(packed)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "zstd -d" in done.stderr
