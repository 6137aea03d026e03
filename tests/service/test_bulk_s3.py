"""The bulk tier on a real S3 server that enforces Object Lock: what is locked stays, whoever asks."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest

from coldseal.cli.main import run
from coldseal.errors import UnavailableError
from coldseal.service.bulk import folder_of
from coldseal.service.config import Bulk
from coldseal.service.storage.bulk_objects import Objects
from coldseal.settings import Reference
from tests.sealed import ORIGIN
from tests.service.test_bulk import RANGES, log, site
from tests.trial import Site
from tests.weed import KEY_ID, SECRET, Weed, serving

__all__ = ["log", "site"]

DAYS = 30


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    """A server with a bucket that locks what is written, and two that do not."""
    with serving(tmp_path_factory.mktemp("weed")) as made:
        made.make_bucket("locked", days=DAYS)
        made.make_bucket("open")
        made.make_bucket("plain")
        yield made


@dataclass
class Trial:
    """A service whose bulk tier is a bucket."""

    site: Site
    weed: Weed
    bucket: str = "locked"
    days: int = DAYS

    def command(self, action: str, *options: str) -> int:
        """Run `coldseal service bulk`."""
        settings = (
            f"bulk.url=s3://{self.bucket}/cold/chain",
            "bulk.range_entries=256",
            f"bulk.endpoint={self.weed.endpoint}",
            "bulk.access_key=env:BULK_KEY_ID",
            "bulk.secret_key=env:BULK_SECRET",
            f"bulk.object_lock_days={self.days}",
            f"bulk.ca={self.site.trust}",
        )
        more = [part for each in settings for part in ("--set", each)]
        return run(["service", "bulk", action, str(self.site.service / "service.toml"), *options, *more])


@pytest.fixture
def trial(site: Site, weed: Weed, monkeypatch: pytest.MonkeyPatch) -> Trial:
    """A service with the keys of the bucket in its environment."""
    monkeypatch.setenv("BULK_KEY_ID", KEY_ID)
    monkeypatch.setenv("BULK_SECRET", SECRET)
    return Trial(site, weed)


def test_ranges_in_a_bucket_are_locked_and_nobody_can_take_them_away(
    trial: Trial, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To delete a version or to shorten its lock is refused; what is put on top hides it, and no more."""
    assert trial.command("run", "--json") == 0
    written = json.loads(capsys.readouterr().out)["written"]
    assert [(each["first"], each["last"]) for each in written] == RANGES
    assert trial.command("verify") == 0
    assert "good" in capsys.readouterr().out
    key = f"cold/chain/{folder_of(ORIGIN)}/{written[1]['name']}"
    path = f"/locked/{quote(key)}"
    (version,) = trial.weed.versions("locked", key)
    whole = trial.weed.ask("GET", path, f"versionId={version}")
    assert whole.headers["X-Amz-Object-Lock-Mode"] == "COMPLIANCE"
    until = datetime.fromisoformat(whole.headers["X-Amz-Object-Lock-Retain-Until-Date"])
    today = datetime.now(UTC)  # noqa: TID251 # the server's clock is real
    assert until > today + timedelta(days=DAYS, minutes=-5)

    assert trial.weed.ask("DELETE", path, f"versionId={version}").status == 403
    bypass = {"x-amz-bypass-governance-retention": "true"}
    assert trial.weed.ask("DELETE", path, f"versionId={version}", headers=bypass).status == 403
    shorter = (
        '<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>COMPLIANCE</Mode>'
        f"<RetainUntilDate>{today + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}</RetainUntilDate></Retention>"
    )
    asked = trial.weed.ask("PUT", path, f"retention=&versionId={version}", shorter.encode())
    assert asked.status == 403

    assert trial.weed.ask("PUT", path, body=b"forged").status == 200  # a newer version, above the locked one
    assert trial.command("verify", "--json") == 1
    (found,) = json.loads(capsys.readouterr().out)["logs"]
    assert (found["verdict"], found["entries"]) == ("bad", 256)
    assert trial.command("restore", "--output", str(tmp_path / "x")) == 1
    assert trial.weed.ask("DELETE", path).status in {200, 204}  # a delete marker
    again = trial.weed.ask("GET", path, f"versionId={version}")
    assert hashlib.sha256(again.body).digest() == hashlib.sha256(whole.body).digest()

    for above in trial.weed.versions("locked", key):
        if above != version:  # the forged version is locked as well: nobody can take it away either
            assert trial.weed.ask("DELETE", path, f"versionId={above}").status == 403


def test_a_bucket_that_locks_nothing_is_found_out_before_a_manifest_is_written(
    trial: Trial, capsys: pytest.CaptureFixture[str]
) -> None:
    """And one that locks for too short."""
    trial.bucket = "open"
    assert trial.command("run") == 2
    assert "is locked as nothing" in capsys.readouterr().err
    assert trial.command("verify") == 2
    trial.days = 0
    assert trial.command("run") == 0
    assert trial.command("verify") == 0
    trial.days = DAYS
    assert trial.command("verify") == 1


def test_a_bundle_comes_back_out_of_a_bucket(trial: Trial, tmp_path: Path) -> None:
    """Verified on the way, and by anybody afterwards."""
    trial.bucket, trial.days = "plain", 0
    assert trial.command("run") == 0
    assert trial.command("restore", "--output", str(tmp_path / "back")) == 0
    assert run(["evidence", "verify", str(tmp_path / "back")]) == 0


def test_a_server_that_is_away_or_refuses_is_unavailable(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3: a later run goes on."""
    config = Bulk(
        url="s3://locked/cold",
        endpoint=trial.weed.endpoint,
        access_key=Reference("env:BULK_KEY_ID"),
        secret_key=Reference("env:BULK_SECRET"),
    )
    with pytest.raises(UnavailableError, match="404"):
        Objects(config).lock("none")
    monkeypatch.setenv("BULK_SECRET", "wrong")
    assert trial.command("verify", "--origin", ORIGIN) == 3
    assert trial.command("run") == 3
    assert "unavailable" in capsys.readouterr().err


def test_nothing_of_the_server_can_be_reached_past_its_locks(weed: Weed) -> None:
    """Whoever speaks to its filer knows no lock: it gives no file, and all that listens is on loopback."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = {port: address for address, port in (row[1].split(":") for row in rows if row[3] == "0A")}
    assert {listening[f"{port:04X}"] for port in weed.others.values()} == {"0100007F"}
    for method in ("GET", "DELETE"):
        address = f"http://127.0.0.1:{weed.others['filer']}/buckets/locked/?recursive=true"
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(urllib.request.Request(address, method=method))
        with caught.value as refused:
            assert refused.code == 404
