"""`coldseal evidence` gives the right verdict on a file, whatever was done to it, and needs little to run."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.bundle import ENTRIES_PER_FILE, open_bundle, read_entries, write_bundle
from coldseal.cli.main import run
from coldseal.core.log import canonical
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.core.log.record import frame, parse_frames
from coldseal.errors import InputError
from tests.core.log.test_evidence import ORIGIN, WITNESS, make_entries, make_note, signers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def make_bundle(path: Path, entries: Sequence[bytes], notes: Sequence[bytes], *, first: int = 0) -> Path:
    """Write a bundle over ``entries`` from ``first`` on."""
    prior = CompactRange()
    for entry in entries[:first]:
        prior.append(leaf_hash(entry))
    runs = [frame(entries[at : at + ENTRIES_PER_FILE]) for at in range(first, len(entries), ENTRIES_PER_FILE)]
    write_bundle(path, signers().policy, prior, len(entries), runs=runs, notes=notes)
    return path


def rewrite(path: Path, edit: Callable[[dict[str, bytes]], None]) -> None:
    """Change files of a bundle; the manifest's sums are not mended."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    edit(files)
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A good bundle of ten entries."""
    entries = make_entries(10)
    return make_bundle(tmp_path / "good.coldseal", entries, [make_note(entries)])


def test_a_good_bundle_is_good_and_the_verdict_says_what_it_rests_on(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 0; the keys are named."""
    assert run(["evidence", "verify", str(bundle)]) == 0
    shown = capsys.readouterr().out
    assert "GOOD: nothing missing, changed, moved or added" in shown
    assert "FAIL" not in shown
    assert "named by the bundle itself" in shown
    assert WITNESS in shown


def test_the_verdict_for_scripts_is_one_json_object(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With ``--json``."""
    assert run(["evidence", "verify", str(bundle), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["good"], found["size"], found["kinds"], found["keys"]) == (
        True,
        10,
        {"genesis": 1, "reading": 9},
        "bundle",
    )


def test_a_bad_entry_is_named_with_its_verdict_and_the_exit_code_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Here somebody with the bundle, but without the keys, changed a reading and the sums."""
    entries = make_entries(10)
    note = make_note(entries)
    entries[4] = entries[4].replace(b'"dev":"d"', b'"dev":"e"')
    path = make_bundle(tmp_path / "bad.coldseal", entries, [note])
    assert run(["evidence", "verify", str(path)]) == 1
    assert "NOT GOOD: bad-signature, first at entry 4" in capsys.readouterr().out
    assert run(["evidence", "verify", str(path), "--json"]) == 1
    faults = json.loads(capsys.readouterr().out)["faults"]
    assert (faults[0]["verdict"], faults[0]["seq"]) == ("bad-signature", 4)


def test_keys_of_ones_own_are_taken_from_a_policy_file_and_a_witness_from_an_option(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A gateway's admission file names no witness; without one nothing is witnessed."""
    policy = signers().policy
    found = {
        "origin": ORIGIN,
        "record_key": canonical.encode_base64(policy.record_key),
        "checkpoint_keys": [key.encode() for key in policy.checkpoint_keys],
        "gateway": "gw-0001",
    }
    path = tmp_path / "admission.json"
    path.write_text(f"{found}".replace("'", '"'), encoding="utf-8")
    command = ["evidence", "verify", str(bundle), "--policy", str(path)]
    assert run(command) == 1
    assert "not-witnessed" in capsys.readouterr().out
    assert run([*command, "--witness", policy.witnesses[0].encode()]) == 0
    assert str(path) in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"origin":"a","record_key":"?"}'])
def test_a_policy_file_that_is_none_is_said_to_be(bundle: Path, tmp_path: Path, content: str | None) -> None:
    """Exit code 2."""
    path = tmp_path / "policy.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert run(["evidence", "verify", str(bundle), "--policy", str(path)]) == 2


def test_a_later_range_is_verified_with_the_hashes_of_what_came_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The entries before it need not be there."""
    entries = make_entries(300)
    path = make_bundle(tmp_path / "later.coldseal", entries, [make_note(entries)], first=256)
    assert run(["evidence", "verify", str(path), "--workers", "1"]) == 0
    assert "Entries    256 to 299" in capsys.readouterr().out
    assert open_bundle(path).files == ("tile/entries/001.p/44",)


def test_entries_are_shown_one_a_line_or_one_alone_and_whole(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read is shown too."""
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
    assert "entries 0 to 9" in capsys.readouterr().err


def test_an_unreadable_entry_is_shown_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not hide the others."""
    entries = make_entries(3)
    entries[1] = b"?"
    path = make_bundle(tmp_path / "odd.coldseal", entries, [])
    assert run(["evidence", "show", str(path)]) == 0
    assert "not readable" in capsys.readouterr().out.splitlines()[1]


def _cut_manifest(files: dict[str, bytes]) -> None:
    del files["manifest.json"]


def _add_file(files: dict[str, bytes]) -> None:
    files["more.txt"] = b"?"


def _remove_file(files: dict[str, bytes]) -> None:
    del files["record-key.pem"]


def _change_file(files: dict[str, bytes]) -> None:
    files["READ-ME.txt"] += b"Trust me.\n"


def _manifest(**changes: object) -> Callable[[dict[str, bytes]], None]:
    def edit(files: dict[str, bytes]) -> None:
        manifest = canonical.parse(files["manifest.json"], where="test")
        for name, value in changes.items():
            if value is None:
                del manifest[name]
            else:
                manifest[name] = value  # type: ignore[assignment] # a wrong type is the point
        files["manifest.json"] = canonical.encode(manifest)

    return edit


BAD_BUNDLES: list[tuple[Callable[[dict[str, bytes]], None], str]] = [
    (_cut_manifest, "file"),
    (_add_file, "files"),
    (_remove_file, "files"),
    (_change_file, "READ-ME.txt"),
    (_manifest(format=2), "format"),
    (_manifest(files=[]), "files"),
    (_manifest(first=-1), "first"),
    (_manifest(first=3), "first"),
    (_manifest(size="10"), "size"),
    (_manifest(prior=["00"]), "hashes"),
    (_manifest(prior=["zz"]), "prior"),
    (_manifest(prior=[1]), "prior"),
    (_manifest(prior=None), "prior"),
    (_manifest(origin=None), "origin"),
    (_manifest(record_key=None), "record_key"),
    (_manifest(quorum=0), "quorum"),
    (_manifest(mode="none"), "mode"),
    (_manifest(checkpoint_keys=["x"]), "verifier key"),
]


@pytest.mark.parametrize(
    ("edit", "field"), BAD_BUNDLES, ids=[f"{n}-{case[1]}" for n, case in enumerate(BAD_BUNDLES)]
)
def test_a_bundle_that_is_not_what_its_manifest_says_is_refused_by_name(
    bundle: Path, edit: Callable[[dict[str, bytes]], None], field: str
) -> None:
    """Nothing of it is judged."""
    rewrite(bundle, edit)
    with pytest.raises(InputError) as caught:
        open_bundle(bundle)
    assert field in str(caught.value)
    assert run(["evidence", "verify", str(bundle)]) == 2


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive at all"])
def test_what_is_no_archive_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    """So is a file that is not there."""
    path = tmp_path / "x.coldseal"
    path.write_bytes(content)
    for name in (path, tmp_path / "missing"):
        with pytest.raises(InputError, match="an evidence bundle"):
            open_bundle(name)


def test_a_file_is_not_read_beyond_what_it_may_hold(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bundle from a stranger must not fill the memory."""
    monkeypatch.setattr("coldseal.cli.bundle.MAX_FILE", 100)
    with pytest.raises(InputError, match="more than 100 bytes"):
        open_bundle(bundle)


def test_evidence_is_never_overwritten(bundle: Path) -> None:
    """The writer insists on a new file."""
    with pytest.raises(FileExistsError):
        make_bundle(bundle, make_entries(2), [])


@pytest.mark.parametrize(
    ("index", "name"), [(0, "000"), (999, "999"), (1000, "x001/000"), (1_234_067, "x001/x234/067")]
)
def test_entry_files_stand_where_the_tile_layout_has_them(tmp_path: Path, index: int, name: str) -> None:
    """C2SP tlog-tiles: groups of three digits, all but the last with an x."""
    first = index * ENTRIES_PER_FILE
    prior = CompactRange.from_hashes(first, [b"\0" * 32] * first.bit_count())
    path = tmp_path / "x.coldseal"
    entries = make_entries(2)
    write_bundle(path, signers().policy, prior, first + 2, runs=[frame(entries)], notes=[])
    assert open_bundle(path).files == (f"tile/entries/{name}.p/2",)
    assert parse_frames(read_entries(path, f"tile/entries/{name}.p/2")) == entries


def test_a_large_bundle_is_examined_by_several_processes_with_the_same_verdict(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal progress is shown."""
    entries = make_entries(300)
    path = make_bundle(tmp_path / "long.coldseal", entries, [make_note(entries)])
    monkeypatch.setattr("coldseal.cli.evidence.INLINE_FILES", 1)
    monkeypatch.setattr("coldseal.cli.evidence.FILES_PER_TASK", 1)
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    assert run(["evidence", "verify", str(path), "--workers", "2"]) == 0
    assert "verifying 100 %" in terminal.getvalue()
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


def test_the_record_key_in_the_bundle_is_one_that_openssl_reads(bundle: Path, tmp_path: Path) -> None:
    """And with it openssl verifies an entry by the bundle's own instructions."""
    with zipfile.ZipFile(bundle) as archive:
        archive.extract("record-key.pem", tmp_path)
        instructions = archive.read("READ-ME.txt").decode()
    assert "openssl dgst -sha256 -verify record-key.pem -signature sig.der body.json" in instructions
    raw = parse_frames(read_entries(bundle, "tile/entries/000.p/10"))[3]
    body, signature = raw.removeprefix(b'{"body":').removesuffix(b'"}').split(b',"sig":"')
    (tmp_path / "body.json").write_bytes(body)
    (tmp_path / "sig.der").write_bytes(canonical.parse_base64(signature.decode(), where="test", field="sig"))
    command = instructions[instructions.index("openssl dgst") :].splitlines()[0].split()
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "Verified OK" in answer.stdout, answer.stderr


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
