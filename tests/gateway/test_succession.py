"""A new gateway continues a lost log: what its genesis entry cites, and what is refused."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import TYPE_CHECKING

import pytest

from coldseal.cli.main import run as run_command
from coldseal.core.log.succession import After, after_of, link_of
from coldseal.errors import OperatorError
from coldseal.gateway.app import Gateway
from coldseal.gateway.config import load_gateway
from coldseal.gateway.writer import Run
from tests.gateway.test_app import entries_of
from tests.sealed import ORIGIN, SealedLog, cosigned, witness, witness_key

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.core.log.record import Entry

SECOND = f"{ORIGIN}/2"
QUIET = ("mqtt.listen=127.0.0.1:0", "http.listen=")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A development CA with a gateway."""
    folder = tmp_path_factory.mktemp("pki")
    command = ["identity", "dev-ca", str(folder / "ca"), "--devices", "1", "--gateway", "gw-0001"]
    assert run_command(command) == 0
    return folder / "ca"


@pytest.fixture
def receipt(tmp_path: Path) -> Path:
    """The last receipt of the lost log."""
    path = tmp_path / "last.receipt"
    path.write_bytes(cosigned(SealedLog().grow(6).checkpoint()))
    return path


def init(folder: Path, pki: Path, *options: object) -> Path:
    """Set a gateway up; gives its configuration."""
    command = ["gateway", "init", str(folder), "--site", "s", "--pki", str(pki), *map(str, options)]
    assert run_command(command) == 0
    return folder / "gateway.toml"


def begin(config: Path, *overrides: str) -> list[Entry]:
    """Run a gateway once; gives its log."""

    async def once() -> None:
        gateway = await Gateway.open(load_gateway(config, (*QUIET, *overrides)), [])
        stop = asyncio.Event()
        stop.set()
        try:
            await gateway.serve(stop)
        finally:
            await gateway.close()

    asyncio.run(once())
    return entries_of(config)


def refusal(config: Path, *overrides: str) -> OperatorError:
    """Give why a gateway does not start."""
    with pytest.raises(OperatorError) as caught:
        begin(config, *overrides)
    return caught.value


def cited(config: Path) -> After | None:
    """Give what a log's genesis entry cites."""
    return link_of(entries_of(config)[0])


def test_a_new_gateway_cites_the_last_receipt_of_the_lost_one(
    tmp_path: Path, pki: Path, receipt: Path
) -> None:
    """Under the next origin, with keys of its own, and the same gateway's name."""
    config = init(tmp_path / "gw", pki, "--after", receipt, "--witness", witness_key().encode())
    settings = load_gateway(config)
    assert settings.gateway.origin == SECOND
    assert settings.gateway.after == f"file:{tmp_path / 'gw' / 'predecessor.receipt'}"
    assert stat.S_IMODE((tmp_path / "gw" / "predecessor.receipt").stat().st_mode) == 0o600
    admission = json.loads((tmp_path / "gw" / "admission.json").read_bytes())
    assert (admission["origin"], admission["gateway"]) == (SECOND, "gw-0001")

    genesis = begin(config)[0]

    assert genesis.log == SECOND
    assert genesis.data["after"] == after_of(receipt.read_bytes()).data()


def test_a_log_that_has_begun_needs_the_receipt_no_more(tmp_path: Path, pki: Path, receipt: Path) -> None:
    """It is in the genesis entry; commands that write to the log start as well."""
    config = init(tmp_path / "gw", pki, "--after", receipt)
    begin(config)
    assert [entry.kind for entry in begin(config)][:3] == ["genesis", "shutdown", "boot"]
    (tmp_path / "gw" / "predecessor.receipt").unlink()
    begin(config)

    async def write() -> None:
        async with Run.open(load_gateway(config)):
            pass

    asyncio.run(write())
    assert cited(config) == after_of(receipt.read_bytes())


def test_without_a_receipt_a_log_continues_none(tmp_path: Path, pki: Path) -> None:
    """The setting is there, and empty."""
    config = init(tmp_path / "gw", pki, "--origin", ORIGIN)
    assert load_gateway(config).gateway.after is None
    assert "after" not in begin(config)[0].data


def test_a_log_is_not_taken_for_the_successor_of_another_one(
    tmp_path: Path, pki: Path, receipt: Path
) -> None:
    """Nor of none, once it has begun."""
    alone = init(tmp_path / "one", pki, "--origin", SECOND)
    begin(alone)
    error = refusal(alone, f"gateway.after=file:{receipt}")
    assert f"is of {ORIGIN} at size 7, but the log began behind no log" in error.what
    config = init(tmp_path / "two", pki, "--after", receipt)
    begin(config)
    other = tmp_path / "other.receipt"
    other.write_bytes(cosigned(SealedLog().grow(8).checkpoint()))
    error = refusal(config, f"gateway.after=file:{other}")
    assert f"at size 9, but the log began behind {ORIGIN} at size 7" in error.what
    assert cited(config) == after_of(receipt.read_bytes())


def test_an_origin_that_is_not_the_next_one_is_refused(
    tmp_path: Path, pki: Path, receipt: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By `init`, and where somebody wrote it into the file; then no log is begun."""
    command = ["gateway", "init", str(tmp_path / "gw"), "--site", "s", "--after", str(receipt)]
    assert run_command([*command, "--origin", f"{ORIGIN}/3"]) == 2
    assert f"{ORIGIN} goes on as {SECOND}" in capsys.readouterr().err
    assert not (tmp_path / "gw").exists()
    config = init(tmp_path / "gw", pki, "--after", receipt)
    error = refusal(config, "gateway.origin=example.com/other")
    assert f"which goes on as {SECOND}" in error.what
    assert begin(config)[0].log == SECOND


@pytest.mark.parametrize(
    ("content", "named"),
    [(None, "cannot be read"), (b"text", "is no receipt"), (SealedLog().checkpoint(), "no cosignature")],
)
def test_what_is_no_receipt_is_named(
    tmp_path: Path, pki: Path, receipt: Path, content: bytes | None, named: str
) -> None:
    """Missing, something else, or a checkpoint that nobody cosigned."""
    config = init(tmp_path / "gw", pki, "--after", receipt)
    other = tmp_path / "other"
    if content is not None:
        other.write_bytes(content)
    error = refusal(config, f"gateway.after=file:{other}")
    assert named in error.what
    assert "coldseal service receipt" in error.hint


def test_a_reference_that_is_no_file_is_refused(tmp_path: Path, pki: Path, receipt: Path) -> None:
    """A receipt is no secret."""
    config = init(tmp_path / "gw", pki, "--after", receipt)
    assert "gateway.after names no file" in refusal(config, "gateway.after=env:RECEIPT").what


def test_the_configured_witness_must_have_cosigned(tmp_path: Path, pki: Path, receipt: Path) -> None:
    """Else the service would refuse the log, when it is too late."""
    config = init(tmp_path / "gw", pki, "--after", receipt)
    other = witness().verifier_key("other.example", cosigner=True).encode()
    assert "not cosigned by uplink.witness, other.example" in refusal(config, f"uplink.witness={other}").what
    assert "uplink.witness" in refusal(config, "uplink.witness=nonsense").what


def test_init_needs_an_origin_or_a_receipt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One of the two names the log."""
    assert run_command(["gateway", "init", str(tmp_path / "gw"), "--site", "s"]) == 2
    assert "--origin is missing" in capsys.readouterr().err
