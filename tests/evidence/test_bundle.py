"""A bundle is whole or refused, the same bytes for the same evidence, and nothing more than was chosen."""

from __future__ import annotations

import io
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.layout import Run, join_runs, make_layout
from coldseal.core.log.record import parse_frames
from coldseal.errors import InputError, OperatorError
from coldseal.evidence import reader
from coldseal.evidence.files import LOOSE, EntryFile, entry_files
from coldseal.evidence.policies import parse_policy, read_policy
from coldseal.evidence.reader import Archive, DamagedBundleError, open_bundle
from coldseal.evidence.selection import Wish, choose
from coldseal.evidence.source import Blocks
from coldseal.evidence.verification import Question, verify_bundle
from coldseal.evidence.work import cut, split_frames
from coldseal.evidence.writer import Contents, write_bundle, writing
from tests.core.log.test_evidence import make_note, signers, spki
from tests.evidence.parts import MemorySource, make_bundle, rewrite, seal_log

Edit = Callable[[dict[str, bytes]], None]

LOG = seal_log(300)
NOTE = make_note(LOG)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A good bundle of ten entries."""
    return make_bundle(tmp_path / "good.coldseal", seal_log(10))


def entries_of(path: Path) -> list[bytes]:
    """Read all entries that a bundle holds."""
    found = open_bundle(path)
    archive = Archive(path)
    try:
        return [raw for file in found.files for raw in parse_frames(archive.read(file.name))]
    finally:
        archive.close()


@st.composite
def choices(draw: st.DrawFn) -> list[Run]:
    """Choose runs of the log; the genesis is always there."""
    chosen = draw(st.sets(st.integers(0, len(LOG) - 1), max_size=12))
    longer = draw(st.integers(0, 60))
    return join_runs(
        [(0, 1), *((first, min(len(LOG), first + 1 + longer % (first + 2))) for first in chosen)]
    )


@given(choices())
def test_any_choice_of_runs_is_written_and_verifies_and_holds_nothing_else(runs: list[Run]) -> None:
    """The proof stands for all that is left out."""
    with tempfile.TemporaryDirectory() as folder:
        path = make_bundle(Path(folder) / "x.coldseal", LOG, [NOTE], runs=runs)
        answer = verify_bundle(path, Question())
        assert answer.report.is_good, answer.report.faults
        assert answer.entries == sum(end - first for first, end in runs)
        assert entries_of(path) == [raw for first, end in runs for raw in LOG[first:end]]


def test_the_same_evidence_is_the_same_bytes(tmp_path: Path) -> None:
    """Whenever and wherever it is written."""
    one, other = (make_bundle(tmp_path / name, LOG, [NOTE]) for name in ("one", "other"))
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("size", "runs", "files"),
    [
        (10, [(0, 10)], [EntryFile("tile/entries/000.p/10", ((0, 10),))]),
        (
            600,
            [(0, 600)],
            [
                EntryFile("tile/entries/000", ((0, 256),)),
                EntryFile("tile/entries/001", ((256, 512),)),
                EntryFile("tile/entries/002.p/88", ((512, 600),)),
            ],
        ),
        (
            600,
            [(0, 1), (512, 600)],
            [EntryFile("entries/000000", ((0, 1),)), EntryFile("tile/entries/002.p/88", ((512, 600),))],
        ),
        (600, [(0, 1), (512, 599)], [EntryFile("entries/000000", ((0, 1), (512, 599)))]),
        (
            9000,
            [(0, 1), (3, LOOSE + 5), (6000, 6001)],
            [
                EntryFile("entries/000000", ((0, 1), (3, LOOSE + 2))),
                EntryFile("entries/000001", ((LOOSE + 2, LOOSE + 5), (6000, 6001))),
            ],
        ),
        (2 * LOOSE + 1, [(1, LOOSE + 1)], [EntryFile("entries/000000", ((1, LOOSE + 1),))]),
        (
            1_234_068 * 256,
            [(1_234_067 * 256, 1_234_068 * 256)],
            [EntryFile("tile/entries/x001/x234/067", ((1_234_067 * 256, 1_234_068 * 256),))],
        ),
    ],
)
def test_where_an_entry_stands_follows_from_the_runs(
    size: int, runs: Sequence[Run], files: list[EntryFile]
) -> None:
    """Tiles for a range to the end of the log, full files for all else."""
    assert entry_files(size, runs) == files


def test_a_short_file_is_cut_into_what_is_there() -> None:
    """What is missing is a gap; what is too much, too."""
    file = EntryFile("entries/000000", ((3, 5), (8, 9)))
    data = b"\0\1a\0\1b\0\1c"
    assert cut(file, data) == ([((3, 5), [b"a", b"b"]), ((8, 9), [b"c"])], [])
    pieces, faults = cut(file, data[:3])
    assert pieces == [((3, 5), [b"a"])]
    assert [(fault.verdict.value, fault.seq) for fault in faults] == [("gap", 4)]
    assert [fault.seq for fault in cut(file, data + b"\0\1d")[1]] == [9]
    assert [fault.seq for fault in cut(file, data + b"\0")[1]] == [9]


@pytest.mark.parametrize("data", [b"\0\1a\0\0\0\1b", b"\0\1a\0\5b", b"\0\1a\0"])
def test_frames_are_given_as_far_as_they_are_whole(data: bytes) -> None:
    """An empty entry, or a cut one, ends them."""
    assert split_frames(data) == ([b"a"], True)


def test_nothing_that_is_there_is_overwritten_and_nothing_is_left_half_written(tmp_path: Path) -> None:
    """Neither under the bundle's name nor beside it."""
    source = MemorySource(LOG, [NOTE])
    blocks = Blocks(source)
    contents = Contents(source.policy, make_layout(300, [(0, 300)], blocks.nodes), blocks.entries, [NOTE])
    path = tmp_path / "x.coldseal"
    path.write_bytes(b"mine")
    with pytest.raises(FileExistsError):
        write_bundle(path, contents)
    assert path.read_bytes() == b"mine"
    path.unlink()

    def fail(first: int, end: int) -> list[bytes]:
        raise OperatorError(f"cannot read {first} to {end}", "Try again")

    with pytest.raises(OperatorError):
        write_bundle(path, Contents(source.policy, contents.layout, fail, [NOTE]))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), writing(path, contents):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_the_record_key_in_the_bundle_is_one_that_openssl_reads(bundle: Path, tmp_path: Path) -> None:
    """And with it openssl verifies an entry by the bundle's own instructions."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("keys/record.pem", tmp_path)
        instructions = archive.read("READ-ME.txt").decode()
    command = "openssl dgst -sha256 -verify keys/record.pem -signature sig.der body.json"
    assert command in instructions
    body, signature = entries_of(bundle)[3].removeprefix(b'{"body":').removesuffix(b'"}').split(b',"sig":"')
    (tmp_path / "body.json").write_bytes(body)
    (tmp_path / "sig.der").write_bytes(canonical.parse_base64(signature.decode(), where="test", field="sig"))
    answer = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified OK" in answer.stdout, answer.stderr


def cut_manifest(files: dict[str, bytes]) -> None:
    """Take the manifest out."""
    del files["manifest.json"]


def add_file(files: dict[str, bytes]) -> None:
    """Put a file in."""
    files["more.txt"] = b"?"


def remove_file(files: dict[str, bytes]) -> None:
    """Take a file out."""
    del files["keys/record.pem"]


def change_text(files: dict[str, bytes]) -> None:
    """Add a line to a text."""
    files["READ-ME.txt"] += b"Trust me.\n"


def change_table(files: dict[str, bytes]) -> None:
    """Change the table."""
    files["readings.csv"] += b"?"


def blank_sums(files: dict[str, bytes]) -> None:
    """Leave the sums of the entries empty, as if there were nothing to compare."""
    found = canonical.parse(files["manifest.json"], where="test")
    sums = found["files"]
    assert isinstance(sums, dict)
    for name in sums:
        if name.startswith("tile/"):
            sums[name] = ""
    files["manifest.json"] = canonical.encode(found)


def manifest(**changes: object) -> Edit:
    """Change fields of the manifest; None takes one out."""

    def edit(files: dict[str, bytes]) -> None:
        found = canonical.parse(files["manifest.json"], where="test")
        for name, value in changes.items():
            if value is None:
                del found[name]
            else:
                found[name] = value  # type: ignore[assignment] # a wrong type is the point
        files["manifest.json"] = canonical.encode(found)

    return edit


KEY = spki(signers().record)
NO_KEYS = (
    b"",
    b"no key",
    KEY[:-1],
    KEY[:-1] + bytes([KEY[-1] ^ 1]),
    spki(ec.generate_private_key(ec.SECP384R1())),
)
"""What is no P-256 key, down to one bit of a good one."""

BAD: list[tuple[Edit, str]] = [
    (cut_manifest, "manifest.json is missing"),
    (add_file, "more.txt"),
    (remove_file, "keys/record.pem"),
    (change_text, "READ-ME.txt"),
    (change_table, "readings.csv"),
    (manifest(format=1), "format"),
    (manifest(format=None), "format"),
    (manifest(files=[]), "files"),
    (manifest(files={"a": 1}), "a"),
    (blank_sums, "tile/entries/000"),
    (manifest(size="10"), "size"),
    (manifest(size=True), "size"),
    (manifest(size=0), "size"),
    (manifest(runs=[]), "runs"),
    (manifest(runs="all"), "runs"),
    (manifest(runs=[5]), "runs"),
    (manifest(runs=[[0, 0]]), "runs"),
    (manifest(runs=[[0, 11]]), "runs"),
    (manifest(runs=[[0, 1], [1, 9]]), "runs"),
    (manifest(runs=[[True, 10]]), "runs"),
    (manifest(runs=[[0, 1]]), "entries"),
    (manifest(runs=[[0, 1]], entries=["entries/000000"]), "entries/000000"),
    (manifest(entries=[]), "entries"),
    (manifest(origin=None), "origin"),
    (manifest(record_key=None), "record_key"),
    *((manifest(record_key=canonical.encode_base64(key)), "record_key") for key in NO_KEYS),
    (manifest(quorum=0), "quorum"),
    (manifest(quorum=True), "quorum"),
    (manifest(mode="none"), "mode"),
    (manifest(checkpoint_keys=["x"]), "name+8 hex digits"),
    (manifest(checkpoint_keys=[1]), "checkpoint_keys"),
    (manifest(witnesses={}), "witnesses"),
]


@pytest.mark.parametrize(("edit", "named"), BAD, ids=[f"{n}-{case[1]}" for n, case in enumerate(BAD)])
def test_a_bundle_that_is_not_what_its_manifest_says_is_damaged(bundle: Path, edit: Edit, named: str) -> None:
    """By the name of what is wrong; nothing of it is judged."""
    rewrite(bundle, edit)
    with pytest.raises(DamagedBundleError) as caught:
        open_bundle(bundle)
    assert named in str(caught.value)
    (fault,) = verify_bundle(bundle, Question()).report.faults
    assert (fault.verdict.value, fault.seq) == ("bundle-damaged", 0)


@pytest.mark.parametrize("is_signature_checked", [True, False])
def test_a_table_without_its_sum_is_damage_wherever_the_sum_is_checked(
    bundle: Path, is_signature_checked: bool
) -> None:
    """Who opens a bundle may check that sum later; a verdict never comes without it."""
    rewrite(bundle, change_table)
    assert open_bundle(bundle, later="readings.csv").sums["readings.csv"]
    (fault,) = verify_bundle(bundle, Question(is_signature_checked=is_signature_checked)).report.faults
    assert (fault.verdict.value, "readings.csv" in fault.detail) == ("bundle-damaged", True)


@pytest.mark.parametrize("change", [-1, 32])
def test_a_proof_of_another_length_is_damage(tmp_path: Path, change: int) -> None:
    """It would stand for something else."""

    def edit(files: dict[str, bytes]) -> None:
        proof = files["proof"] + bytes(32)
        files["proof"] = proof[: len(files["proof"]) + change]

    path = make_bundle(tmp_path / "x.coldseal", LOG, [NOTE], runs=[(0, 1), (7, 9)])
    rewrite(path, edit, is_mended=True)
    with pytest.raises(DamagedBundleError, match="proof"):
        open_bundle(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_what_is_no_archive_is_damage_and_what_is_not_there_is_a_wrong_name(
    tmp_path: Path, content: bytes
) -> None:
    """The one is a verdict, the other a usage error."""
    path = tmp_path / "x.coldseal"
    path.write_bytes(content)
    with pytest.raises(DamagedBundleError, match="no ZIP"):
        open_bundle(path)
    for name in (tmp_path / "missing", tmp_path):
        with pytest.raises(OperatorError, match="cannot be read"):
            open_bundle(name)


def test_a_file_is_not_read_beyond_what_it_may_hold(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle from a stranger must not fill the memory."""
    monkeypatch.setattr(reader, "MAX_MANIFEST", 100)
    with pytest.raises(DamagedBundleError, match="more than 100 bytes"):
        open_bundle(bundle)


def test_damage_below_the_files_is_damage_too(bundle: Path) -> None:
    """Bytes of the archive itself: whatever the library says of them."""
    data = bytearray(bundle.read_bytes())
    for name in (b"readings.csv", b"READ-ME.txt", b"manifest.json"):
        changed = data.copy()
        at = changed.index(name) + len(name)
        changed[at : at + 20] = b"?" * 20
        bundle.write_bytes(changed)
        with pytest.raises(DamagedBundleError):
            open_bundle(bundle)


def test_deflated_files_are_read_and_other_ways_of_packing_are_not(bundle: Path) -> None:
    """And each name stands once."""
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}

    def packed(method: int) -> Path:
        with zipfile.ZipFile(bundle, "w", method) as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return bundle

    assert verify_bundle(packed(zipfile.ZIP_DEFLATED), Question()).report.is_good
    with pytest.raises(DamagedBundleError, match="packed"):
        open_bundle(packed(zipfile.ZIP_LZMA))
    packed(zipfile.ZIP_STORED)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(bundle, "a") as archive:
        archive.writestr("READ-ME.txt", files["READ-ME.txt"])
    with pytest.raises(DamagedBundleError, match="twice"):
        open_bundle(bundle)


def test_a_directory_that_points_beyond_the_file_is_damage(bundle: Path) -> None:
    """Whether a file begins there, or only ends there."""
    data = bundle.read_bytes()
    at = data.rindex(b"manifest.json") - 4  # where the directory says that the file begins
    for place in (len(data) - 3, len(data) - 40):
        bundle.write_bytes(data[:at] + place.to_bytes(4, "little") + data[at + 4 :])
        with pytest.raises(DamagedBundleError, match=r"manifest\.json"):
            open_bundle(bundle)


def test_a_truncated_deflate_stream_is_damage(bundle: Path) -> None:
    """Of the table, which is read in parts, as of any other file."""
    for name in ("readings.csv", "manifest.json"):
        with zipfile.ZipFile(bundle) as archive:
            files = {each: archive.read(each) for each in archive.namelist()}
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
            for each, data in files.items():
                archive.writestr(each, data)
            start = archive.getinfo(name).header_offset + 30 + len(name)
        changed = bytearray(made.getvalue())
        changed[start : start + 4] = b"\xff" * 4
        path = bundle.with_name(f"{name}.coldseal")
        path.write_bytes(changed)
        with pytest.raises(DamagedBundleError, match=name):
            open_bundle(path)


@pytest.mark.parametrize("content", [None, "{", "[]", "[" * 100_000])
def test_a_policy_file_that_is_none_is_a_usage_error(tmp_path: Path, content: str | None) -> None:
    """With what to do."""
    path = tmp_path / "policy.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(OperatorError, match=r"policy\.json"):
        read_policy(path)


def test_a_policy_says_which_field_is_wrong() -> None:
    """The rest of the fields is the bundle's tests' matter."""
    with pytest.raises(InputError, match="origin"):
        parse_policy({}, where="x")


def test_a_log_that_ends_too_soon_is_said_to() -> None:
    """A source may give fewer entries than it has said."""
    source = MemorySource(LOG, [NOTE])
    with pytest.raises(InputError, match="at least 301"):
        list(Blocks(source).entries(299, 301))


def test_small_hashes_are_made_of_one_reading() -> None:
    """A choice of many single entries must not read the log once for each."""
    source = MemorySource(LOG, [NOTE])
    blocks = Blocks(source)
    made = make_layout(300, [(at, at + 1) for at in range(0, 300, 4)], blocks.nodes)
    assert source.reads <= 6
    assert made == make_layout(300, [(at, at + 1) for at in range(0, 300, 4)], source.nodes)


def test_what_was_pruned_is_proven_by_its_hashes_and_settings_are_kept() -> None:
    """The genesis entry comes from where the log keeps its settings, hashes from its tree."""
    log = seal_log(9000)
    source = MemorySource(log, [])
    whole = Blocks(source)
    settings = source.settings()
    source.begin = 4500
    source.settings = lambda: settings  # type: ignore[method-assign] # as a log that keeps them apart
    blocks = Blocks(source)
    runs = [(0, 1), (4600, 4610), (5000, 9000)]
    assert make_layout(9000, runs, blocks.nodes) == make_layout(9000, runs, source.nodes)
    assert [raw for run in runs for raw in blocks.entries(*run)] == [log[0], *log[4600:4610], *log[5000:]]
    assert choose(source, Wish()) == [(4500, 9000)]
    assert choose(source, Wish(since="2026-01-01T01:00:00.000Z")) == [(4500, 9000)]
    assert whole.nodes(3, 7) == source.nodes(3, 7)
