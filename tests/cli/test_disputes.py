"""What a gateway and a service keep against each other, and a log's witnesses, can be seen and handed on."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from coldseal.core.log.checkpoint import open_checkpoint
from coldseal.gateway.uplink.cosignatures import UplinkEvidence
from coldseal.gateway.uplink.receipts import Receipts
from tests.cli.conftest import coldseal
from tests.gateway.uplink.test_process import configure
from tests.sealed import ORIGIN, SealedLog, cosigned
from tests.service.test_witnessing import post, request, watch
from tests.trial import STORE_KEY, Site

WITNESS = "w2.example+5a1b0c22"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give a folder for both programs."""
    return Site(tmp_path)


@pytest.fixture
async def disputed(site: Site) -> Path:
    """Give a service that has witnessed a log, and then saw two other histories of it, one of them twice."""
    log, fork = SealedLog().grow(19), SealedLog().grow(24, text="probe-2")
    watch(site, log)
    async with site.running() as service:
        for body in (request(log, 0, 20), *2 * [request(fork, 20, 20)], request(fork, 20, 25)):
            await post(site, service, body)
    return site.service / "service.toml"


def test_a_service_hands_out_both_signed_histories(site: Site, disputed: Path, tmp_path: Path) -> None:
    """In words, as JSON, and as files that a tool of others can open; the exit code says that there are."""
    done = coldseal("evidence", "disputes", disputed)
    assert done.returncode == 1
    assert f"fork  {ORIGIN}: at size 20" in done.stdout
    assert ", 2 times\n" in done.stdout
    assert done.stdout.endswith("2 kept\n")

    folder = tmp_path / "out"
    shown = coldseal("evidence", "disputes", disputed, "--output", folder, "--json")
    assert shown.returncode == 1
    first, second = json.loads(shown.stdout)["disputes"]
    assert (first["verdict"], second["verdict"], second["times"]) == ("fork", "inconsistent", 1)
    keys = SealedLog().admitted.checkpoint_keys
    ours, _ = open_checkpoint((folder / "0001-fork.held").read_bytes(), [*keys, site.witness])
    theirs, _ = open_checkpoint((folder / "0001-fork.note").read_bytes(), keys)
    assert (ours.size, theirs.size) == (20, 20)
    assert ours.root != theirs.root
    assert (folder / "0002-inconsistent.entry").read_text() == second["parts"]["entry"]
    assert second["parts"]["entry"].startswith("old 20\n")


def test_a_gateway_hands_out_what_it_keeps(site: Site, tmp_path: Path) -> None:
    """Against a further witness, and against the service by its name; an empty part is no file."""
    note = SealedLog().grow(4).checkpoint()
    with closing(Receipts(site.gateway, STORE_KEY)) as receipts:
        for witness, held in ((WITNESS, cosigned(note)), ("", b"")):
            receipts.cosignatures.keep_evidence(
                UplinkEvidence(
                    t_ms=1, witness=witness, verdict="fork", size=5, detail="why", note=note, held=held
                )
            )
    config, folder = configure(site, 1), tmp_path / "out"

    done = coldseal("evidence", "disputes", config, "--output", folder)
    assert done.returncode == 1
    assert f"1970-01-01T00:00:00.001Z  fork  {WITNESS}: why\n" in done.stdout
    assert f"fork  {site.witness.name}+{site.witness.id.hex()}: why\n" in done.stdout
    assert done.stdout.endswith(f"2 kept, written to {folder}\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        "0001-fork.held": cosigned(note),
        "0001-fork.note": note,
        "0002-fork.note": note,
    }
    again = coldseal("evidence", "disputes", config, "--output", folder)
    assert (again.returncode, "exists already" in again.stderr) == (2, True)
    (tmp_path / "file").touch()
    below = coldseal("evidence", "disputes", config, "--output", tmp_path / "file" / "out")
    assert (below.returncode, below.stdout) == (3, "")


async def test_where_nothing_is_kept_that_is_said(site: Site) -> None:
    """Before the programs ran, and behind it; exit code 0."""
    config = configure(site, 1)
    for _ in range(2):
        done = coldseal("evidence", "disputes", config)
        assert (done.returncode, done.stdout) == (0, "nothing is kept against anybody\n")
        with closing(Receipts(site.gateway, STORE_KEY)):
            pass
    async with site.running():
        pass
    for _ in range(2):
        found = coldseal("evidence", "disputes", site.service / "service.toml", "--json")
        assert (found.returncode, json.loads(found.stdout)) == (0, {"count": 0, "disputes": []})
        (site.service / "data" / "ledger.db").unlink(missing_ok=True)
    wrong = coldseal("evidence", "disputes", site.folder / "absent.toml")
    assert (wrong.returncode, "gateway.toml or service.toml" in wrong.stderr) == (2, True)
