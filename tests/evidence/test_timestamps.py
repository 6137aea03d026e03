"""Timestamps of a real authority in a bundle: they hold, or the verdict says they do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run
from coldseal.core.log.checkpoint import parse_note
from coldseal.core.log.layout import make_layout
from coldseal.core.log.timestamp import encode_request, parse_roots
from coldseal.evidence.source import Blocks
from coldseal.evidence.verification import Question, verify_bundle
from coldseal.evidence.writer import Contents, write_bundle
from tests.core.log.test_evidence import make_note
from tests.evidence.parts import MemorySource, seal_log
from tests.tsa import Authority

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENTRIES = seal_log(10)
NOTES = [make_note(ENTRIES[:6], is_cosigned=False), make_note(ENTRIES)]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A timestamp authority."""
    return Authority(tmp_path_factory.mktemp("tsa"))


@pytest.fixture(scope="module")
def stamp(authority: Authority) -> bytes:
    """Its answer for the first of the checkpoints."""
    return authority.reply(encode_request(parse_note(NOTES[0]).text, 7))


def make(path: Path, timestamps: Mapping[int, bytes], ca: bytes = b"") -> Path:
    """Write a bundle with timestamps."""
    source = MemorySource(ENTRIES, NOTES)
    blocks = Blocks(source)
    layout = make_layout(10, [(0, 10)], blocks.nodes)
    contents = Contents(source.policy, layout, blocks.entries, NOTES, timestamps=timestamps, timestamp_ca=ca)
    write_bundle(path, contents)
    return path


def test_a_timestamp_holds_with_the_roots_in_the_bundle_or_with_ones_own(
    tmp_path: Path, authority: Authority, stamp: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """And openssl says the same of the file in it."""
    ca = authority.ca.read_bytes()
    answer = verify_bundle(make(tmp_path / "with", {6: stamp}, ca), Question())
    assert (answer.report.faults, answer.timestamps, answer.untested) == ((), 1, 0)
    assert authority.accepts(stamp, parse_note(NOTES[0]).text)
    path = make(tmp_path / "without", {6: stamp})
    assert verify_bundle(path, Question(roots=parse_roots(ca))).timestamps == 1
    assert run(["evidence", "verify", str(path), "--timestamp-ca", str(authority.ca)]) == 0
    assert "1 timestamps hold" in capsys.readouterr().out


def test_without_a_root_a_timestamp_is_neither_good_nor_bad(
    tmp_path: Path, stamp: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said that it was not tested."""
    path = make(tmp_path / "x.coldseal", {6: stamp})
    assert run(["evidence", "verify", str(path)]) == 0
    assert "1 timestamps not tested" in capsys.readouterr().out


def test_without_a_root_what_is_stamped_must_still_be_the_checkpoint(tmp_path: Path, stamp: bytes) -> None:
    """For another checkpoint, for none, or no timestamp at all: who signed it does not matter then."""
    for number, (size, found, seq) in enumerate(
        [(10, stamp, 9), (7, stamp, 6), (6, b"0\x00", 5), (6, b"?", 5)]
    ):
        answer = verify_bundle(make(tmp_path / str(number), {6: stamp, size: found}), Question())
        (fault,) = answer.report.faults
        assert (fault.verdict.value, fault.seq, answer.timestamps) == ("bad-timestamp", seq, 0)
        assert answer.untested == int(size != 6)


def test_a_timestamp_that_does_not_hold_is_bad(tmp_path: Path, authority: Authority, stamp: bytes) -> None:
    """For another checkpoint, for none, of another authority, or no timestamp at all."""
    ca, other = authority.ca.read_bytes(), Authority(tmp_path / "other").ca.read_bytes()
    for number, (timestamps, roots, seq) in enumerate(
        [({10: stamp}, ca, 9), ({7: stamp}, ca, 6), ({6: stamp}, other, 5), ({6: b"?"}, ca, 5)]
    ):
        answer = verify_bundle(make(tmp_path / str(number), timestamps, roots), Question())
        (fault,) = answer.report.faults
        assert (fault.verdict.value, fault.seq, answer.timestamps) == ("bad-timestamp", seq, 0)


def test_roots_that_cannot_be_read_are_a_fault_of_the_bundle_or_of_the_command(
    tmp_path: Path, stamp: bytes
) -> None:
    """A verdict in the one case, a usage error in the other."""
    path = make(tmp_path / "x.coldseal", {6: stamp}, b"no certificate")
    (fault,) = verify_bundle(path, Question()).report.faults
    assert fault.verdict.value == "bad-timestamp"
    for name in ("missing", "x.coldseal"):
        command = ["evidence", "verify", str(path), "--timestamp-ca", str(tmp_path / name)]
        assert run(command) == 2
