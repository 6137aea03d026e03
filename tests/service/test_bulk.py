"""The bulk tier in a folder: what is written, what is caught, and the way back."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from coldseal.cli.main import run
from coldseal.core.log import canonical
from coldseal.core.log.note import Note, parse_note
from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError, TrustError, UnavailableError
from coldseal.service.bulk import Tier, folder_of
from coldseal.service.config import Bulk, load_service
from coldseal.service.storage import bulk_objects
from coldseal.service.storage.bulk_manifest import BulkDamagedError, encode_manifest, parse_manifest
from coldseal.service.storage.bulk_table import decode_table, encode_table
from coldseal.service.storage.sqlite import SqliteLedger
from coldseal.signing.keys import Ed25519Signer, generate_interop_key, open_ed25519
from coldseal.signing.secrets import read_symmetric_key
from tests.sealed import ORIGIN, WITNESS, SealedLog, rolled_over
from tests.service.layout import send
from tests.trial import Site

SIZES = (1, 300, 857)
RANGES = [(0, 255), (256, 511), (512, 767)]
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def log() -> SealedLog:
    """A log whose record key changed on the way, with some entries that are no readings."""
    return rolled_over(SIZES, 300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, log: SealedLog) -> Site:
    """A service that took the log in, and stopped."""
    made = Site(tmp_path_factory.mktemp("site"))
    made.admit(log)

    async def deliver() -> None:
        async with made.running() as service:
            for first, size in zip((0, *SIZES), SIZES, strict=False):
                await send(made, service, log, first, size)

    asyncio.run(deliver())
    return made


@dataclass
class Trial:
    """A service with a bulk tier in a folder of its own."""

    site: Site
    folder: Path

    def command(self, action: str, *options: str) -> int:
        """Run `coldseal service bulk`."""
        settings = (f"bulk.url=file://{self.folder}", "bulk.range_entries=256")
        more = [part for each in settings for part in ("--set", each)]
        return run(["service", "bulk", action, str(self.site.service / "service.toml"), *options, *more])

    @property
    def files(self) -> list[Path]:
        """What lies there."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())

    def file(self, first: int, suffix: str) -> Path:
        """Find a range's file."""
        (found,) = [
            path for path in self.files if path.name.startswith(f"{first:012d}-") and path.suffix == suffix
        ]
        return found

    @property
    def signer(self) -> Ed25519Signer:
        """The service's witness key."""
        return open_ed25519("file:witness.pem", base=self.site.service)

    @property
    def tier(self) -> Tier:
        """The tier as the service opens it."""
        config = Bulk(url=f"file://{self.folder}", range_entries=256)
        return Tier(config, self.signer.verifier_key(WITNESS, cosigner=True))


@pytest.fixture(scope="module")
def written(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tier that has all that is closed."""
    folder = tmp_path_factory.mktemp("written") / "bulk"
    assert Trial(site, folder).command("run") == 0
    return folder


@pytest.fixture
def trial(site: Site, written: Path, tmp_path: Path) -> Trial:
    """A copy of it to spoil."""
    shutil.copytree(written, tmp_path / "bulk")
    return Trial(site, tmp_path / "bulk")


def test_each_closed_range_becomes_a_table_under_a_signed_manifest(trial: Trial, log: SealedLog) -> None:
    """One row for each quantity, and the entries byte for byte; what is not closed stays out."""
    assert {path.parent.name for path in trial.files} == {folder_of(ORIGIN)}
    manifests = list(trial.tier.manifests(ORIGIN))
    assert [(each.first, each.last) for each in manifests] == RANGES
    assert [raw for each in manifests for raw in trial.tier.entries(each)] == log.entries[:768]
    assert {each.receipt().size for each in manifests} == {857}
    table = pyarrow.parquet.read_table(trial.file(256, ".parquet"))
    rows = table.to_pylist()
    assert table.column_names == [
        *("seq", "t", "device", "sensor", "quantity", "value", "unit", "flags", "kind"),
        *("indication", "calibration", "leaf", "entry"),
    ]
    entry = parse_entry(log.entries[257])
    assert (rows[1]["seq"], rows[1]["value"], rows[1]["unit"]) == (257, "4.71", "Cel")
    assert (rows[1]["sensor"], rows[1]["quantity"], rows[1]["kind"]) == ("probe-1", "temperature", "reading")
    assert (rows[1]["leaf"], rows[1]["entry"]) == (entry.leaf_hash, entry.raw)
    assert rows[1]["t"] == datetime.fromisoformat(entry.t)
    assert rows[300 - 256]["kind"] == "key"


def test_a_message_with_several_quantities_has_as_many_rows_and_one_entry() -> None:
    """What cannot be read has its bytes alone."""
    log = SealedLog()
    items: list[canonical.Value] = [{"n": name, "u": "Cel", "v": "4"} for name in ("t1", "t2")]
    log.seal("reading", {"flags": ["implausible", "sequence"], "q": items, "sensor": "door"})
    log.seal("reading", {"q": ["odd"], "sensor": 5})
    log.entries.append(b"no entry")
    data = encode_table(0, log.entries)
    assert decode_table(data, 0, "x") == log.entries
    assert data == encode_table(0, log.entries)
    rows = pyarrow.parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    assert [row["seq"] for row in rows] == [0, 1, 1, 2, 3]
    assert [row["quantity"] for row in rows] == [None, "t1", "t2", None, None]
    assert [row["entry"] for row in rows[1:3]] == [log.entries[1], None]
    assert rows[1]["flags"] == "implausible sequence"
    assert (rows[4]["kind"], rows[4]["entry"]) == (None, b"no entry")
    assert decode_table(encode_table(0, []), 0, "x") == []


def test_a_corrected_value_stands_beside_what_the_sensor_showed() -> None:
    """With the unit of that, and the calibration; a table from before that has neither is whole as well."""
    log = SealedLog()
    items: list[canonical.Value] = [
        {"c": "c17c95a6", "i": "40.10", "iu": "[degF]", "n": "t1", "u": "Cel", "v": "4.56"},
        {"c": "c17c95a6", "i": "4.50", "n": "t2", "u": "Cel", "v": "4.56"},
        {"n": "t3", "u": "Cel", "v": "4"},
    ]
    log.seal("reading", {"q": items, "sensor": "door"})
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(encode_table(0, log.entries)))
    assert table.column("indication").to_pylist()[1:] == ["40.10 [degF]", "4.50", None]
    assert table.column("calibration").to_pylist()[1:] == ["c17c95a6", "c17c95a6", None]
    before, half = pyarrow.BufferOutputStream(), pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table.drop_columns(["indication", "calibration"]), before)
    assert decode_table(before.getvalue().to_pybytes(), 0, "x") == log.entries
    pyarrow.parquet.write_table(table.drop_columns(["calibration"]), half)
    with pytest.raises(BulkDamagedError, match="something else"):
        decode_table(half.getvalue().to_pybytes(), 0, "x")


def test_a_second_run_writes_what_has_come_since(trial: Trial, capsys: pytest.CaptureFixture[str]) -> None:
    """And what is missing: a range without a manifest is written once more, under another name."""
    assert trial.command("run") == 0
    assert "nothing is closed" in capsys.readouterr().out
    for first in (512, 0, 256):
        trial.file(first, ".manifest").unlink()
        trial.file(first, ".parquet").unlink()
        assert trial.command("run", "--json") == 0
        (made,) = json.loads(capsys.readouterr().out)["written"]
        assert (made["log"], made["first"], made["last"]) == (ORIGIN, first, first + 255)
        assert trial.command("verify", "--json") == 0
        capsys.readouterr()
    assert trial.command("run", "--set", "bulk.range_entries=300") == 0
    assert "nothing is closed" in capsys.readouterr().out


def test_what_is_there_verifies_without_the_ledger(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the witness key alone; and becomes a bundle that anybody verifies."""
    bare = tmp_path / "bare"
    bare.mkdir()
    for name in ("service.toml", "witness.pem"):
        shutil.copy(trial.site.service / name, bare / name)
    site = Site.__new__(Site)
    site.service = bare
    alone = Trial(site, trial.folder)
    assert alone.command("verify", "--json") == 0
    (found,) = json.loads(capsys.readouterr().out)["logs"]
    assert found == {"log": ORIGIN, "entries": 768, "verdict": "good", "detail": ""}
    bundle = tmp_path / "back.coldseal"
    assert alone.command("restore", "--output", str(bundle)) == 0
    assert "768 entries" in capsys.readouterr().out
    assert run(["evidence", "verify", str(bundle)]) == 0
    assert alone.command("restore", "--output", str(bundle), "--origin", ORIGIN) == 2
    assert alone.command("run") == 2
    bundle.unlink()
    assert alone.command("restore", "--output", str(bundle), "--json") == 0


def flip(path: Path) -> None:
    """Change a byte in the midst of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def swap(trial: Trial, suffix: str) -> None:
    """Put one range's file in the place of another's."""
    shutil.copy(trial.file(0, suffix), trial.file(256, suffix))


SPOILT: dict[str, Callable[[Trial], object]] = {
    "a byte of a table": lambda trial: flip(trial.file(256, ".parquet")),
    "a byte of a manifest": lambda trial: flip(trial.file(256, ".manifest")),
    "a table is gone": lambda trial: trial.file(256, ".parquet").unlink(),
    "a manifest is gone": lambda trial: trial.file(256, ".manifest").unlink(),
    "the first manifest is gone": lambda trial: trial.file(0, ".manifest").unlink(),
    "another range's table": lambda trial: swap(trial, ".parquet"),
    "another range's manifest": lambda trial: swap(trial, ".manifest"),
    "no manifest": lambda trial: trial.file(256, ".manifest").write_bytes(b"x"),
}


@pytest.mark.parametrize("how", SPOILT)
def test_whatever_is_changed_in_the_tier_is_noticed(
    trial: Trial, how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `verify`, with the log and how far it is good, and nothing of it is brought back."""
    SPOILT[how](trial)
    assert trial.command("verify", "--json") == 1
    (found,) = json.loads(capsys.readouterr().out)["logs"]
    assert (found["verdict"], found["entries"]) == ("bad", 0 if "first" in how else 256)
    assert trial.command("restore", "--output", str(tmp_path / "back")) == 1
    assert not (tmp_path / "back").exists()


def test_a_manifest_of_another_folder_is_no_manifest_of_this_one(
    trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though the service has signed it."""
    trial.folder.joinpath(folder_of(ORIGIN)).rename(trial.folder / "other-00000000")
    assert trial.command("verify") == 1
    assert f"it is of {ORIGIN}" in capsys.readouterr().out


def changed(trial: Trial, signer: Ed25519Signer | None = None, **fields: object) -> bytes:
    """Sign another manifest."""
    manifest = next(trial.tier.manifests(ORIGIN))
    values: dict[str, Any] = {name: getattr(manifest, name) for name in manifest.__struct_fields__}
    return encode_manifest(type(manifest)(**{**values, **fields}), signer or trial.signer, WITNESS)


def test_only_what_the_service_has_signed_and_cosigned_counts(trial: Trial) -> None:
    """Another key, another text, another log's checkpoint, a checkpoint nobody cosigned, too few hashes."""
    witness = trial.tier.witness
    stranger = Ed25519Signer(generate_interop_key())
    note = next(trial.tier.manifests(ORIGIN)).checkpoint
    bare = parse_note(note.encode())
    unsigned = Note(bare.text, tuple(line for line in bare.signatures if line.name != WITNESS)).encode()
    for data, said in (
        (changed(trial, stranger), "has not signed"),
        (Note(b"x\n", (trial.signer.note_signature(WITNESS, b"x\n"),)).encode(), "no manifest"),
        (changed(trial, log="example.com/other"), "its checkpoint is of"),
        (changed(trial, checkpoint=unsigned.decode()), "has not signed"),
        (changed(trial, proof=()), "proof"),
    ):
        with pytest.raises(TrustError, match=said):
            parse_manifest(data, witness, "m")
    assert parse_manifest(changed(trial), witness, "m").log == ORIGIN


def test_entries_that_lead_to_another_root_are_refused(trial: Trial, log: SealedLog) -> None:
    """Whoever signed: one entry in another's place, or one too few."""
    manifest = next(trial.tier.manifests(ORIGIN))
    with pytest.raises(BulkDamagedError, match="do not lead to the root"):
        manifest.verify_entries([log.entries[1], log.entries[0], *log.entries[2:256]])
    with pytest.raises(BulkDamagedError, match="255 entries"):
        manifest.verify_entries(log.entries[:255])


def test_a_column_that_says_something_else_than_its_entry_is_refused(log: SealedLog) -> None:
    """A table for analysts is held against the signed bytes; so is what is no table."""
    table = pyarrow.parquet.read_table(pyarrow.BufferReader(encode_table(0, log.entries[:20])))
    at = table.column_names.index("value")
    values = ["9.99" if value else None for value in table.column("value").to_pylist()]
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(table.set_column(at, "value", pyarrow.array(values, pyarrow.string())), sink)
    with pytest.raises(BulkDamagedError, match="something else"):
        decode_table(sink.getvalue().to_pybytes(), 0, "x")
    with pytest.raises(BulkDamagedError, match="cannot be read"):
        decode_table(b"PAR1", 0, "x")


def test_an_object_is_written_once(trial: Trial) -> None:
    """The same again is no change; something else under its name is refused."""
    name = trial.file(0, ".parquet").name
    tier, data = trial.tier, trial.file(0, ".parquet").read_bytes()
    tier._put(ORIGIN, name, data, NOW)
    with pytest.raises(BulkDamagedError, match="something else has that name"):
        tier._put(ORIGIN, name, b"x", NOW)
    assert trial.file(0, ".parquet").read_bytes() == data
    assert tier.objects.lock(f"{folder_of(ORIGIN)}/{name}").mode == ""
    assert tier.objects.get("none") is None


def test_a_folder_that_cannot_be_used_is_unavailable(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """For now: what is there stays, and the next run goes on."""
    with monkeypatch.context() as patched:
        patched.setattr(bulk_objects, "sync_directory", _fail)
        with pytest.raises(UnavailableError, match="planted"):
            trial.tier.objects.put("a", b"x")
    (trial.folder / "plain").write_bytes(b"")
    with pytest.raises(UnavailableError):
        trial.tier.objects.put("plain/a", b"x")
    with pytest.raises(UnavailableError):
        trial.tier.objects.get("plain/a")
    del tmp_path


def _fail(_path: Path) -> None:
    """Be a disk that fails."""
    raise OSError(5, "planted")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("copy",), "cannot 'copy'"),
        (("restore",), "where the bundle goes"),
        (("restore", "--output", "x", "--origin", "example.com/none"), "holds nothing"),
        (("run", "--origin", "example.com/none"), "keeps no log"),
    ],
)
def test_what_is_not_said_clearly_is_asked_for(
    trial: Trial, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    assert trial.command(*arguments) == 2
    assert said in capsys.readouterr().err


def test_a_log_without_a_receipt_is_not_written(trial: Trial, site: Site) -> None:
    """Nothing of it is closed; and a bucket needs keys."""
    key = read_symmetric_key("file:store.key", site.service)
    with closing(SqliteLedger(site.service / "data" / "ledger.db", key, limit_bytes=2**30)) as ledger:
        assert list(trial.tier.write(ledger, "example.com/none", trial.signer, NOW)) == []
    with pytest.raises(OperatorError, match="access_key"):
        Tier(Bulk(url="s3://bucket"), trial.tier.witness)


def test_an_empty_tier_is_said_so(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rather than called good."""
    empty = Trial(site, tmp_path / "none")
    assert empty.command("verify") == 2
    assert empty.command("restore", "--output", str(tmp_path / "x")) == 2
    assert run(["service", "bulk", "verify", str(site.service / "service.toml")]) == 2
    assert "no bulk tier is configured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("bulk.url=http://x",), "expected file:///"),
        (("bulk.url=s3://b/p",), "bulk.access_key or"),
        (("bulk.url=s3://b", "bulk.endpoint=http://10.0.0.1:80"), "http:// only reaches"),
        (("bulk.url=file:///x", "bulk.object_lock_days=1"), "Only S3 can lock"),
    ],
)
def test_settings_that_could_never_do_are_refused(site: Site, settings: tuple[str, ...], said: str) -> None:
    """With the cure."""
    with pytest.raises(OperatorError, match=said):
        load_service(site.service / "service.toml", settings)


def test_the_service_starts_without_the_packages_of_the_tier(trial: Trial) -> None:
    """They are loaded when the tier is used, and then named where they are missing."""
    code = (
        "import sys\n"
        "import coldseal.service.app, coldseal.cli.service, coldseal.service.bulk\n"
        "assert not {'pyarrow', 'obstore'} & set(sys.modules)\n"
        "sys.modules[sys.argv[1]] = None\n"
        "from coldseal.cli.main import run\n"
        "sys.exit(run(sys.argv[2:]))\n"
    )
    toml, url = str(trial.site.service / "service.toml"), f"bulk.url=file://{trial.folder}"
    for package in ("pyarrow", "obstore"):
        command = [sys.executable, "-c", code, package, "service", "bulk", "verify", toml, "--set", url]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stderr + done.stdout
        assert "coldseal[bulk]" in said, said
