"""`coldseal gateway prune` and `hold`: what may go, and what must stay."""

from __future__ import annotations

import asyncio
import hashlib
import json
import zipfile
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.archive import BundleArchive
from coldseal.cli.main import run
from coldseal.cli.sources import open_source
from coldseal.core.log import canonical
from coldseal.core.log.merkle import leaf_hash
from coldseal.errors import OperatorError
from coldseal.evidence.reader import DamagedBundleError
from coldseal.evidence.source import Blocks
from coldseal.gateway.records import open_reader
from coldseal.gateway.store.pruned import PrunedError
from tests.gateway.test_app import load
from tests.gateway.test_pruning import SET, grow, segments

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig

OPTIONS = tuple(part for each in SET for part in ("--set", each))
WHO = ("--who", "Eva", "--why", "retention")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> GatewayConfig:
    """A gateway that nothing is pruned of."""
    return make(tmp_path_factory.mktemp("site"))


def make(folder: Path) -> GatewayConfig:
    """Make a gateway whose log has three closed segments and a receipt over all of them."""
    assert run(["identity", "dev-ca", str(folder / "ca"), "--devices", "1", "--gateway", "gw-1"]) == 0
    command = ["gateway", "init", str(folder), "--origin", "example.com/gw-1", "--site", "s"]
    assert run([*command, "--pki", str(folder / "ca")]) == 0
    path = folder / "gateway.toml"
    path.write_text(path.read_text().replace('witness = ""', f'witness = "{SET[1].partition("=")[2]}"'))
    found = load(path, *SET)
    asyncio.run(grow(found))
    return found


def toml(config: GatewayConfig) -> str:
    """Name the configuration's file."""
    return str(config.gateway.data.parent / "gateway.toml")


def export(config: GatewayConfig, path: Path, *options: str) -> Path:
    """Write a bundle, as a person would."""
    assert run(["evidence", "export", toml(config), str(path), *options, *WHO]) == 0
    return path


def entries_of(config: GatewayConfig, first: int = 0) -> list[bytes]:
    """Read the log, whole or from an entry on."""
    with closing(open_reader(config)) as reader:
        return list(reader.read_from(first))


def test_an_archive_gives_the_entries_of_a_bundle(config: GatewayConfig, tmp_path: Path) -> None:
    """As far as they are there; a selection ends at its first gap."""
    entries = entries_of(config)
    path = export(config, tmp_path / "a.coldseal", "--first", "0", "--last", "700")
    archive = BundleArchive(path)
    assert (archive.name, archive.origin) == ("a.coldseal", "example.com/gw-1")
    assert archive.sha256 == canonical.encode_base64(hashlib.sha256(path.read_bytes()).digest())
    assert list(archive.entries(0, 700)) == entries[:701]
    assert list(archive.entries(250, 255)) == entries[250:256]
    assert list(archive.entries(600, 9999)) == entries[600:701]
    part = BundleArchive(export(config, tmp_path / "b.coldseal", "--first", "300", "--last", "310"))
    assert list(part.entries(0, 310)) == entries[:1]
    assert list(part.entries(305, 310)) == entries[305:311]
    assert list(part.entries(250, 310)) == []


def spoil(path: Path, name: str, data: bytes, *, has_sum: bool) -> None:
    """Put other bytes into a file of a bundle, with or without their right sum."""
    with zipfile.ZipFile(path) as archive:
        files = {each: archive.read(each) for each in archive.namelist()}
    files[name] = data
    if has_sum:
        manifest = canonical.parse(files["manifest.json"], where="manifest")
        sums = manifest["files"]
        assert isinstance(sums, dict)
        sums[name] = hashlib.sha256(data).hexdigest()
        files["manifest.json"] = canonical.encode(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        for each, content in files.items():
            archive.writestr(each, content)


@pytest.mark.parametrize("has_sum", [True, False])
def test_an_archive_that_is_not_what_it_says_is_refused(
    config: GatewayConfig, tmp_path: Path, has_sum: bool
) -> None:
    """A file changed, or with fewer entries than the manifest says."""
    path = export(config, tmp_path / "a.coldseal", "--first", "0", "--last", "300")
    spoil(path, "entries/000000", b"\0\1x", has_sum=has_sum)
    with pytest.raises(
        DamagedBundleError, match=r"entries/000000 (does not have its|holds 1 entries, not 301)"
    ):
        list(BundleArchive(path).entries(0, 300))


def test_what_is_no_bundle_is_refused(tmp_path: Path) -> None:
    """With the file's name."""
    (tmp_path / "text").write_text("no zip")
    with pytest.raises(DamagedBundleError, match="text"):
        BundleArchive(tmp_path / "text")
    with pytest.raises(OperatorError, match="cannot be read"):
        BundleArchive(tmp_path / "none")


def test_holds_and_pruning_by_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a hold over its lifting to what is gone."""
    config = make(tmp_path)
    bundle = export(config, tmp_path / "old.coldseal", "--first", "0")
    end = segments(config)[0][1]
    hold = ["gateway", "hold", toml(config), *OPTIONS]
    prune = ["gateway", "prune", toml(config), "--archive", str(bundle), *WHO, *OPTIONS]
    capsys.readouterr()
    assert run([*hold, "--list"]) == 0
    assert "nothing is on hold" in capsys.readouterr().out
    assert run([*hold, "--add", "0-5", *WHO]) == 0
    assert run([*hold, "--list"]) == 0
    assert "0-5  retention (Eva)" in capsys.readouterr().out
    assert run([*hold, "--list", "--json"]) == 0
    assert [each["last"] for each in json.loads(capsys.readouterr().out)["holds"]] == [5]
    assert run([*prune, "--before", str(end), "--legal-hold-checked"]) == 2
    assert "on hold" in capsys.readouterr().err
    assert run([*hold, "--remove", "0-5", *WHO, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["action"] == "remove"
    assert run([*prune, "--keep-days", "1", "--legal-hold-checked"]) == 2
    assert "no whole segment" in capsys.readouterr().err
    assert run([*prune, "--before", str(end), "--legal-hold-checked"]) == 0
    assert f"entries 0 to {end - 1}" in capsys.readouterr().out
    assert run([*prune, "--keep-days", "0", "--legal-hold-checked", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["first"] == end
    assert run(["gateway", "correct", toml(config), "7", "--reason", "x", "--who", "Eva", *OPTIONS]) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hold",), "--add"),
        (("hold", "--list", "--add", "0-1"), "--add"),
        (("hold", "--add", "7", *WHO), "no range"),
        (("hold", "--add", "0-1"), "not well formed"),
        (("prune", "--archive", "x", *WHO, "--legal-hold-checked"), "--before"),
        (("prune", "--archive", "x", *WHO, "--before", "1", "--keep-days", "1"), "--before"),
        (("prune", "--archive", "x", *WHO, "--before", "1"), "--legal-hold-checked"),
    ],
)
def test_what_is_not_said_clearly_is_asked_for(
    config: GatewayConfig, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    verb, *options = arguments
    assert run(["gateway", verb, toml(config), *options, *OPTIONS]) == 2
    assert said in capsys.readouterr().err


def test_what_is_left_after_pruning_is_still_published_where_the_rest_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder that has what went goes on; a new one is refused, and nothing is written."""
    config = make(tmp_path)
    bundle = export(config, tmp_path / "old.coldseal", "--first", "0")
    begin = segments(config)[0][1]
    publish = ["evidence", "tiles", toml(config)]
    assert run([*publish, str(tmp_path / "published")]) == 0
    command = ["gateway", "prune", toml(config), "--archive", str(bundle), *WHO, *OPTIONS]
    assert run([*command, "--before", str(begin), "--legal-hold-checked"]) == 0
    assert run([*publish, str(tmp_path / "published")]) == 0
    capsys.readouterr()
    assert run([*publish, str(tmp_path / "new"), "--json"]) == 2
    refused = json.loads(capsys.readouterr().out)
    assert refused["error"] == f"entry 0 was pruned; the log begins at {begin}"
    assert "the service" in refused["hint"]
    assert not (tmp_path / "new").exists()


def test_what_is_left_after_pruning_is_still_exported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whole, in part, and entry by entry; what went is proven by the hashes that stayed."""
    config = make(tmp_path)
    bundle = export(config, tmp_path / "old.coldseal", "--first", "0")
    begin = segments(config)[0][1]
    command = ["gateway", "prune", toml(config), "--archive", str(bundle), *WHO, *OPTIONS]
    assert run([*command, "--before", str(begin), "--legal-hold-checked"]) == 0
    for name, options in {
        "rest": (),
        "later": ("--first", "700", "--last", "710"),
        "edge": ("--first", str(begin), "--last", str(begin + 1)),
    }.items():
        found = export(config, tmp_path / name, *options)
        capsys.readouterr()
        assert run(["evidence", "verify", str(found), "--json"]) == 0, capsys.readouterr().out
    assert run(["evidence", "prove", toml(config), str(begin), str(tmp_path / "one")]) == 0
    with closing(open_source(config.gateway.data.parent / "gateway.toml")) as source:
        source.begin = 0  # as one that was opened before
        blocks = Blocks(source)
        entries = entries_of(config, begin)
        assert list(blocks.entries(begin, begin + 20)) == entries[:20]
        assert blocks.nodes(0, begin) == leaf_hash(entries[0])
        with pytest.raises(PrunedError):
            list(blocks.entries(1, 2))
