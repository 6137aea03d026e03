"""What a chip certified of its counter goes into bundles, and is verified there with public keys alone."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from coldseal.cli.export import gather
from coldseal.cli.main import run
from coldseal.cli.sources import GatewaySource
from coldseal.core.log.checkpoint import parse_note
from coldseal.core.log.evidence import Verdict
from coldseal.core.log.layout import make_layout
from coldseal.evidence.selection import Wish
from coldseal.evidence.source import Blocks, Count
from coldseal.evidence.verification import Question, verify_bundle
from coldseal.evidence.writer import Contents, write_bundle
from tests.core.log.test_evidence import make_note, sign, signers
from tests.core.statements import statement
from tests.evidence.parts import MemorySource, rewrite, seal_log
from tests.gateway.test_counting import Counter, _looks_often, counter, run_segments
from tests.gateway.test_hardware import chip, load, path, pki

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["_looks_often", "chip", "counter", "path", "pki"]

ENTRIES = seal_log(12)
NOTES = [make_note(ENTRIES[:4], is_cosigned=False), make_note(ENTRIES[:8], is_cosigned=False)]
NOTES.append(make_note(ENTRIES))


def count(size: int, value: int) -> Count:
    """Certify as a chip would that holds the log's checkpoint key."""
    note = NOTES[size // 4 - 1]
    attest = statement(value, hashlib.sha256(parse_note(note).text).digest())
    return Count(size, note, attest, sign(signers().checkpoint, attest))


def bundle(path: Path, *counts: Count) -> Path:
    """Write a bundle with certifications."""
    source = MemorySource(ENTRIES, NOTES)
    blocks = Blocks(source)
    contents = Contents(
        source.policy,
        make_layout(12, [(0, 12)], blocks.nodes),
        blocks.entries,
        NOTES,
        counts={each.size: (each.attest, each.signature) for each in counts},
    )
    write_bundle(path, contents)
    return path


def test_certifications_that_rise_hold_and_the_verdict_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their values need not follow on each other: a chip may have counted what is not in here."""
    made = bundle(tmp_path / "x.coldseal", count(4, 1), count(8, 2), count(12, 9))
    assert run(["evidence", "verify", str(made)]) == 0
    shown = capsys.readouterr().out
    assert "ok    counter of segments certified and rising" in shown
    assert "3 certifications of the chip's counter hold" in shown


@pytest.mark.parametrize(
    ("values", "seq"), [((5, 4, 6), 7), ((5, 5, 6), 7), ((5, 6, 6), 11)], ids=["falls", "repeats", "late"]
)
def test_a_counter_that_falls_or_repeats_is_a_fault_of_its_own(
    tmp_path: Path, values: tuple[int, int, int], seq: int
) -> None:
    """At the last entry that the checkpoint covers; what came before holds."""
    counts = [count(size, value) for size, value in zip((4, 8, 12), values, strict=True)]
    answer = verify_bundle(bundle(tmp_path / "x.coldseal", *counts), Question())
    (fault,) = answer.report.faults
    assert (fault.verdict, fault.seq, answer.counts) == (Verdict.COUNTER, seq, 2)


def test_a_certification_counts_for_its_own_checkpoint_only(tmp_path: Path) -> None:
    """Under the name of another, of one that is not here, or with one of its two files."""
    true = count(4, 1)
    for number, (edit, seq) in enumerate(
        (
            (lambda files: [files.update({f"counter/8.{s}": files[f"counter/4.{s}"]}) for s in ENDS], 7),
            (lambda files: [files.update({f"counter/5.{s}": files[f"counter/4.{s}"]}) for s in ENDS], 4),
            (lambda files: files.pop("counter/4.sig"), 3),
            (lambda files: files.pop("counter/4.attest"), 3),
            (lambda files: files.update({"counter/4.attest": statement(2, bytes(32))}), 3),
        )
    ):
        made = rewrite(bundle(tmp_path / str(number), true), edit, is_mended=True)
        (fault,) = verify_bundle(made, Question()).report.faults
        assert (fault.verdict, fault.seq) == (Verdict.COUNTER, seq)


ENDS = ("attest", "sig")


async def test_what_a_chip_certified_is_exported_and_holds(
    path: Path, counter: Counter, tmp_path: Path
) -> None:
    """A real chip's word, over each ended segment; openssl says the same; a choice has what it can prove."""
    await run_segments(path, counter, 3)
    made = tmp_path / "x.coldseal"
    with closing(GatewaySource(load(path, *counter.settings))) as source:
        whole, _ = gather(source, Wish(), is_tail=True)
        part, _ = gather(source, Wish(first=8), is_tail=True)
    write_bundle(made, whole)
    answer = verify_bundle(made, Question())
    assert {fault.verdict for fault in answer.report.faults} == {Verdict.UNWITNESSED}  # nobody was asked
    assert answer.counts == 3
    assert set(part.counts) < set(whole.counts)
    write_bundle(tmp_path / "part", part)
    assert verify_bundle(tmp_path / "part", Question()).counts == len(part.counts) > 0
    assert openssl_says(made, whole, tmp_path) == b"Verified OK\n"


def openssl_says(made: Path, contents: Contents, folder: Path) -> bytes:
    """Verify the newest certification in a bundle with openssl, and the key that the log began with."""
    size = max(contents.counts)
    key = load_der_public_key(contents.policy.checkpoint_keys[0].public)
    (folder / "key.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with zipfile.ZipFile(made) as archive:
        archive.extractall(folder / "out")
    files = [str(folder / "out/counter" / f"{size}.{end}") for end in ("sig", "attest")]
    command = ["openssl", "dgst", "-sha256", "-verify", str(folder / "key.pem"), "-signature", *files]
    return subprocess.run(command, check=True, capture_output=True).stdout


async def test_a_disk_that_was_put_back_and_went_on_shows_a_repeated_count(
    path: Path, counter: Counter, tmp_path: Path
) -> None:
    """Whoever mends the book by hand has the chip's word against him, or none."""
    await run_segments(path, counter, 2)
    first, second = counter.counts()[-2:]
    counter.keep(second._replace(attest=first.attest, signature=first.signature))
    with closing(GatewaySource(load(path, *counter.settings))) as source:
        contents, _ = gather(source, Wish(), is_tail=True)
    write_bundle(tmp_path / "x", contents)
    faults = verify_bundle(tmp_path / "x", Question()).report.faults
    assert (Verdict.COUNTER, second.size - 1) in {(fault.verdict, fault.seq) for fault in faults}


async def test_a_gateway_that_counts_nothing_exports_no_certifications(path: Path, counter: Counter) -> None:
    """Without a counter, and with one that never certified anything."""
    await run_segments(path, counter)
    without = tuple(each for each in counter.settings if "counter" not in each)
    with closing(GatewaySource(load(path, *without))) as source:
        assert source.counts(source.size) == []
    for file in counter.data.glob("counter.db*"):
        file.unlink()
    with closing(GatewaySource(load(path, *counter.settings))) as source:
        assert source.counts(source.size) == []
