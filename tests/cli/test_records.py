"""`coldseal gateway correct` and `import`: what people state is put on record."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import pytest

from coldseal.gateway.app import Gateway
from coldseal.gateway.config import load_gateway
from tests.cli.conftest import answer, coldseal
from tests.gateway.test_app import entries_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway that has run once."""
    folder = tmp_path_factory.mktemp("site")
    answer("identity", "dev-ca", folder / "pki", "--devices", "1", "--gateway", "gw")
    options = ("--origin", "example.com/gw", "--site", "s", "--pki", folder / "pki")
    answer("gateway", "init", folder / "gw", *options)
    path = folder / "gw" / "gateway.toml"

    async def run_once() -> None:
        gateway = await Gateway.open(load_gateway(path, ("mqtt.listen=127.0.0.1:0", "http.listen=")), [])
        stop = asyncio.Event()
        stop.set()
        await gateway.serve(stop)
        await gateway.close()

    asyncio.run(run_once())
    return path


def test_a_correction_points_at_the_entry_and_changes_nothing(config: Path) -> None:
    """It names the leaf hash, so that nobody can say it meant another."""
    before = entries_of(config)
    made = answer(
        "gateway", "correct", config, "1", "--reason", "typo", "--who", "Eva", "--value", '{"v":"4"}'
    )
    entries = entries_of(config)
    assert entries[: len(before)] == before
    kinds = [each.kind for each in entries[len(before) :] if each.kind != "config"]  # of the first one
    assert kinds == ["boot", "access", "correction", "shutdown"]
    assert made == {"seq": len(entries) - 2, "leaf": entries[made["seq"]].leaf_hash.hex(), "corrects": 1}
    assert entries[made["seq"]].data == {
        "leaf": before[1].leaf_hash.hex(),
        "reason": "typo",
        "seq": 1,
        "value": {"v": "4"},
        "who": "Eva",
    }


def test_a_file_is_put_on_record_by_its_hash(config: Path, tmp_path: Path) -> None:
    """As `sha256sum` prints it in the answer, in base64 in the entry."""
    file = tmp_path / "certificate.pdf"
    file.write_bytes(b"x" * 3_000_000)
    made = answer("gateway", "import", config, file, "--who", "Eva", "--why", "calibration of probe 7")
    entry = entries_of(config)[made["seq"]]
    assert (made["sha256"], made["bytes"]) == (hashlib.sha256(file.read_bytes()).hexdigest(), 3_000_000)
    assert (entry.kind, entry.data["name"], entry.data["bytes"]) == ("import", "certificate.pdf", 3_000_000)
    shown = coldseal("gateway", "import", config, file, "--who", "Eva", "--why", "once more")
    assert (shown.returncode, "sha256" in shown.stdout) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("correct", "0"), "genesis"),
        (("correct", "9999"), "no entry 9999"),
        (("correct", "-1"), "no entry -1"),
        (("correct", "1", "--value", "[1]"), "no JSON object"),
        (("correct", "1", "--value", "[" * 5000), "no JSON object"),
        (("correct", "1", "--value", '{"v":4.7}'), "4.7"),
        (("import", "nowhere.pdf"), "cannot be read"),
        (("import", "."), "cannot be read"),
    ],
)
def test_what_cannot_be_put_on_record_is_refused(config: Path, arguments: tuple[str, ...], said: str) -> None:
    """Exit code 2, and the log stays as it is."""
    before = len(entries_of(config))
    verb, target, *options = arguments
    why = ("--reason", "x") if verb == "correct" else ("--why", "x")
    done = coldseal("gateway", verb, *why, "--who", "Eva", *options, "--", str(config), target)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert len(entries_of(config)) == before
