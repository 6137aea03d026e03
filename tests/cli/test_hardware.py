"""``coldseal identity key``: keys, sealed secrets and the counter, with a real TPM and a real token."""

from __future__ import annotations

import asyncio
import getpass
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coldseal.cli.main import run
from coldseal.errors import OperatorError
from coldseal.gateway.config import load_gateway
from coldseal.gateway.counting import Book, Counted, State
from coldseal.signing.keys import open_ecdsa, open_ed25519
from coldseal.signing.private_files import write_private_file
from coldseal.signing.secrets import read_secret, read_symmetric_key
from tests.gateway.test_hardware import entries_of, running
from tests.signing.software_hsm import software_hsm
from tests.signing.software_tpm import SoftwareTpm, software_tpm
from tests.waiting import until

UPDATE = b"\x22" * 32


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """Give a TPM."""
    with software_tpm(tmp_path_factory.mktemp("chip")) as made:
        yield made


def key(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Run a verb, and give its answer."""
    assert run(["identity", "key", *arguments, "--json"]) == 0
    answer: dict[str, str] = json.loads(capsys.readouterr().out)
    return answer


def test_a_key_is_made_and_shown(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the chip, wrapped by it, and in a token; each once."""
    token = software_hsm()
    uris = [
        f"tpm:{chip.new_handle():#x}?tcti={chip.tcti}",
        f"tpm:key={tmp_path}/k.tss?tcti={chip.tcti}",
        token.new_uri(),
    ]
    for uri in uris:
        made, shown = key(capsys, "make", uri), key(capsys, "show", uri)
        assert made["public"] == shown["public"]
        assert (shown["held"], shown["kid"]) == ("hardware", open_ecdsa(uri, base=tmp_path).kid)
        assert run(["identity", "key", "make", uri]) == 2
    interop = token.new_uri()
    key(capsys, "make", interop, "--kind", "Ed25519")
    assert open_ed25519(interop, base=tmp_path).is_held
    assert run(["identity", "key", "make", f"file:{tmp_path}/k.pem"]) == 2
    assert run(["identity", "key", "show", uris[0]]) == 0
    assert "hardware" in capsys.readouterr().out


def test_a_secret_is_sealed_and_sealed_anew_for_an_update(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named beforehand, the state after an update opens it; then the state before it no longer does."""
    chip.restart()
    secret, sealed, way = tmp_path / "store.key", tmp_path / "store.sealed", f"--tcti={chip.tcti}"
    write_private_file(secret, b"ab" * 32 + b"\n")
    assert key(capsys, "seal", str(secret), str(sealed), "--pcrs=0,7", way)["pcrs"] == "0,7"
    reference = f"tpm:seal={sealed}?tcti={chip.tcti}"
    assert read_symmetric_key(reference, tmp_path) == b"\xab" * 32
    coming = hashlib.sha256(bytes(32) + UPDATE).hexdigest()
    assert key(capsys, "reseal", str(sealed), f"--expect=7={coming}", way)["states"] == "2"
    chip.extend(7, UPDATE)
    assert read_symmetric_key(reference, tmp_path) == b"\xab" * 32
    assert key(capsys, "reseal", str(sealed), way)["states"] == "1"
    assert sealed.stat().st_mode & 0o777 == 0o600
    chip.restart()
    with pytest.raises(OperatorError, match="PCR 7"):
        read_secret(reference, tmp_path)
    assert run(["identity", "key", "seal", str(secret), str(sealed), way]) == 2  # never overwritten
    assert run(["identity", "key", "seal", str(secret), str(tmp_path / "2"), way]) == 0
    assert "escrowed copy" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ("seal", "--pcrs=0,x"),
        ("seal", "--pcrs=24"),
        ("reseal", "--expect=7"),
        ("reseal", "--expect=9=" + "0" * 64),
    ],
    ids=["no-number", "no-pcr", "no-value", "another-pcr"],
)
def test_a_wrong_state_is_refused(
    chip: SoftwareTpm, tmp_path: Path, arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written."""
    verb, option = arguments
    write_private_file(tmp_path / "s", b"open sesame")
    key(capsys, "seal", str(tmp_path / "s"), str(tmp_path / "sealed"), "--pcrs=7", f"--tcti={chip.tcti}")
    before = (tmp_path / "sealed").read_bytes()
    files = [str(tmp_path / "s"), str(tmp_path / "new")] if verb == "seal" else [str(tmp_path / "sealed")]
    assert run(["identity", "key", verb, *files, option, f"--tcti={chip.tcti}"]) == 2
    assert (tmp_path / "sealed").read_bytes() == before
    assert not (tmp_path / "new").exists()


def counted_gateway(chip: SoftwareTpm, tmp_path: Path) -> Path:
    """Make a gateway whose segments a chip counts, and give its configuration."""
    folder = tmp_path / "gateway"
    pki = tmp_path / "ca"
    assert run(["identity", "dev-ca", str(pki), "--gateway", "gw-1"]) == 0
    init = ["gateway", "init", str(folder), "--origin", "example.com/gw-1", "--site", "s", "--pki", str(pki)]
    assert run(init) == 0
    path = folder / "gateway.toml"
    assert run(["identity", "key", "count", str(path)]) == 2  # it names none
    handle = chip.new_handle()
    uri = f"tpm:{handle:#x}?tcti={chip.tcti}"
    assert run(["identity", "key", "make", uri]) == 0
    text = path.read_text()
    index = f"{0x01800000 + handle - 0x81008000:#010x}"
    text = re.sub(r"^checkpoint = .*$", f'checkpoint = "{uri}"', text, flags=re.MULTILINE)
    path.write_text(f'{text}\n[hardware]\ntcti = "{chip.tcti}"\ncounter = "{index}"\n')
    return path


async def counted(path: Path) -> None:
    """Run the gateway until it has looked at its chip."""
    async with running(path) as gateway:
        await until(lambda: "certified at 0" in str(gateway._perimeter.status()["segment_counter"]))


def test_the_counter_is_shown_and_taken_over(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the chip was replaced: the disk takes what the chip says; on record, and for a reason."""
    path = counted_gateway(chip, tmp_path)
    asyncio.run(counted(path))
    config = load_gateway(path)
    store_key = read_symmetric_key(config.store.key, Path())
    with closing(Book(config.gateway.data, store_key)) as book:
        book.keep(Counted(5_000, State.ACCEPTED, "example.com/gw-1", 0))
    capsys.readouterr()
    before = key(capsys, "count", str(path))
    assert (int(before["chip"]) < 5_000, before["disk"]) == (True, "5000")
    assert run(["identity", "key", "count", str(path), "--accept"]) == 2
    assert "without a reason" in capsys.readouterr().err
    taken = key(capsys, "count", str(path), "--accept", "--why", "a new board")
    assert taken["chip"] == taken["disk"] == before["chip"]
    (said,) = [each for each in entries_of(path) if each.kind == "access"]
    asked = {"chip": before["chip"], "disk": "5000", "do": "accept-counter", "size": before["size"]}
    assert (said.data["action"], said.data["outcome"], said.data["why"]) == (
        *("recover", "allowed"),
        "a new board",
    )
    assert said.data["asked"] == asked


def test_who_may_not_recover_does_not_take_the_counter_over(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The refusal is on record; neither disk nor chip is changed."""
    path = counted_gateway(chip, tmp_path)
    asyncio.run(counted(path))
    user = getpass.getuser()
    path.write_text(
        f'{path.read_text()}\n[[administration.assigned]]\nuser = "{user}"\nroles = ["quality"]\n'
    )
    capsys.readouterr()
    before = key(capsys, "count", str(path))
    assert run(["identity", "key", "count", str(path), "--accept", "--why", "a new board"]) == 2
    assert "may not recover" in capsys.readouterr().err
    assert key(capsys, "count", str(path)) == before
    (said,) = [each for each in entries_of(path) if each.kind == "access"]
    assert (said.data["outcome"], said.data["user"]) == ("refused", user)


def test_a_replaced_board_is_taken_over_step_by_step(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its key is gone for good: a person makes another, changes over to it, and takes the counter over."""
    path = counted_gateway(chip, tmp_path)
    asyncio.run(counted(path))
    with software_tpm(tmp_path / "board") as board:
        path.write_text(path.read_text().replace(chip.tcti, board.tcti))
        uri = load_gateway(path).keys.checkpoint
        with pytest.raises(OperatorError, match="holds no key"):
            asyncio.run(counted(path))
        capsys.readouterr()
        key(capsys, "make", uri)
        with pytest.raises(OperatorError, match="is the log's checkpoint key"):
            asyncio.run(counted(path))
        change = ["identity", "roll-over", str(path), "checkpoint", "--reason", "a new board", "--json"]
        assert run(change) == 0
        capsys.readouterr()
        taken = key(capsys, "count", str(path), "--accept", "--why", "a new board")
        assert taken["chip"] == taken["disk"] != "none"
        asyncio.run(counted(path))
    kinds = [each.kind for each in entries_of(path) if each.kind in {"key", "access"}]
    assert kinds == ["access", "key", "access"]
