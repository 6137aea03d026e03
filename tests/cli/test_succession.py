"""A gateway is lost and replaced, by the commands that a person uses; the link is verified from bundles."""

from __future__ import annotations

import contextlib
import json
import signal
import time
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.cli.main import run
from coldseal.cli.report import as_text
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.evidence import Report
from coldseal.demo.programs import free_ports
from coldseal.evidence.verification import Answer
from tests.cli.conftest import answer, coldseal
from tests.cli.test_programs import running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST, SECOND, THIRD = (f"example.com/s1/gw-0001{number}" for number in ("", "/2", "/3"))


@dataclass(frozen=True)
class Replaced:
    """Three gateways, one after the other, at one service: the folder of each log's bundle and receipt."""

    folder: Path
    service: Path

    def bundle(self, number: int) -> str:
        """Name the bundle of a log: 1 is the first."""
        return str(self.folder / f"{number}.coldseal")


@contextlib.contextmanager
def serving(config: Path, port: int, log: Path) -> Iterator[None]:
    """Run the service."""
    overrides = [f"service.listen=127.0.0.1:{port}", f"http.listen=127.0.0.1:{free_ports(1)[0]}"]
    with running("service", config, overrides, log) as process:
        yield
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def deliver(config: Path, log: Path) -> None:
    """Run a gateway until everything that it sealed has a receipt; then it is lost."""
    http = f"http.listen=127.0.0.1:{free_ports(1)[0]}"
    overrides = ["mqtt.listen=127.0.0.1:0", http, "checkpoint.seconds=0.2"]
    with running("gateway", config, overrides, log) as process:
        deadline = time.monotonic() + 30
        while True:
            status = json.loads(coldseal("gateway", "status", config, "--set", http, "--json").stdout)
            if status["size"] and not status["backlog"]:
                break
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        process.kill()


@pytest.fixture(scope="module")
def replaced(tmp_path_factory: pytest.TempPathFactory) -> Replaced:
    """Lose two gateways, and continue each."""
    folder = tmp_path_factory.mktemp("replaced")
    (port,) = free_ports(1)
    answer("identity", "dev-ca", folder / "pki", "--devices", "1", "--gateway", "gw-0001")
    made = answer("service", "init", folder / "service", "--pki", folder / "pki")
    service = folder / "service" / "service.toml"
    uplink = ("--uplink", f"https://localhost:{port}", "--witness", made["witness"])
    known: tuple[str | Path, ...] = ("--origin", FIRST)
    with serving(service, port, folder / "service.log"):
        for number, origin in enumerate((FIRST, SECOND, THIRD), 1):
            gateway = folder / f"gw-{number}"
            options = (*known, "--site", "s", "--pki", folder / "pki", *uplink)
            assert answer("gateway", "init", gateway, *options)["origin"] == origin
            answer("service", "admit", service, gateway / "admission.json")
            deliver(gateway / "gateway.toml", folder / f"{number}.log")
            receipt = folder / f"{number}.receipt"
            done = coldseal("service", "receipt", service, origin, "--output", receipt)
            assert (done.returncode, done.stderr) == (0, "")
            answer("evidence", "export", service, folder / f"{number}.coldseal", "--origin", origin)
            known = ("--after", receipt)
    return Replaced(folder, service)


def verdict(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """Verify, and give exit code and answer."""
    capsys.readouterr()
    code = run(["evidence", "verify", *arguments, "--json"])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, found


def text(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Verify, and give what people read."""
    capsys.readouterr()
    run(["evidence", "verify", *arguments])
    return capsys.readouterr().out


def test_a_receipt_is_the_service_s_newest(replaced: Replaced, capsys: pytest.CaptureFixture[str]) -> None:
    """Printed, or in a file; nothing is overwritten."""
    capsys.readouterr()
    assert run(["service", "receipt", str(replaced.service), FIRST]) == 0
    found = capsys.readouterr().out.encode()
    path = replaced.folder / "1.receipt"
    assert found == path.read_bytes()
    assert parse_checkpoint_text(parse_note(found).text).origin == FIRST
    assert run(["service", "receipt", str(replaced.service), FIRST, "--output", str(path)]) == 2
    assert path.read_bytes() == found


def test_a_log_without_receipt_is_named(
    replaced: Replaced, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so is a service that has never run."""
    assert run(["service", "receipt", str(replaced.service), "example.com/other"]) == 2
    assert "no receipt was given for example.com/other" in capsys.readouterr().err
    assert run(["service", "init", str(tmp_path / "new")]) == 0
    assert run(["service", "receipt", str(tmp_path / "new" / "service.toml"), FIRST]) == 2
    assert "ledger.db is not there" in capsys.readouterr().err


def test_a_chain_of_three_is_good(replaced: Replaced, capsys: pytest.CaptureFixture[str]) -> None:
    """Each bundle with its own verdict, and the links followed."""
    one, two, three = map(replaced.bundle, (1, 2, 3))
    code, found = verdict(capsys, three, "--after", two, "--after", one)
    assert (code, found["good"], found["origin"]) == (0, True, THIRD)
    assert [each["origin"] for each in found["before"]] == [SECOND, FIRST]
    assert [each["after"] and each["after"]["followed"] for each in (found, *found["before"])] == [
        True,
        True,
        None,
    ]
    assert found["after"]["origin"] == SECOND
    assert found["after"]["size"] == found["before"][0]["size"]
    assert found["after"]["witnessed_at"] > 0


def test_a_link_that_is_not_followed_is_shown(replaced: Replaced, capsys: pytest.CaptureFixture[str]) -> None:
    """The later log is good by itself; what stands before it is said, and that nobody looked."""
    code, found = verdict(capsys, replaced.bundle(2))
    assert (code, found["after"]["followed"], found["before"]) == (0, False, [])
    said = text(capsys, replaced.bundle(2))
    assert f"continues {FIRST}, at size {found['after']['size']}, witnessed 20" in said
    assert "not followed: give its bundle with --after" in said
    assert "  --    continues the log that it cites" in said
    said = text(capsys, replaced.bundle(2), "--after", replaced.bundle(1))
    assert "not followed" not in said
    assert "  ok    continues the log that it cites" in said
    assert said.count("GOOD: nothing missing") == 2


def test_whom_a_policy_trusts_counts_for_the_logs_before(
    replaced: Replaced, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its witnesses and quorum; a bundle cannot name others for itself."""
    admission = json.loads((replaced.folder / "gw-2" / "admission.json").read_bytes())
    with zipfile.ZipFile(replaced.bundle(2)) as archive:
        witnesses = json.loads(archive.read("manifest.json"))["witnesses"]
    policy = tmp_path / "policy.json"
    policy.write_text(canonical.encode({**admission, "witnesses": witnesses}).decode(), encoding="utf-8")
    options = ("--policy", str(policy), "--after", replaced.bundle(1))
    assert verdict(capsys, replaced.bundle(2), *options)[0] == 0
    policy.write_text(
        canonical.encode({**admission, "witnesses": witnesses, "quorum": 2}).decode(), encoding="utf-8"
    )
    code, found = verdict(capsys, replaced.bundle(2), *options)
    assert code == 1
    assert [fault["verdict"] for fault in found["before"][0]["faults"]] == ["not-witnessed"]
    assert "broken-link" in [fault["verdict"] for fault in found["faults"]]
    assert "cosigned by no known witness" in text(
        capsys, replaced.bundle(2), "--policy", str(replaced.folder / "gw-2" / "admission.json")
    )


@pytest.mark.parametrize(
    ("new", "old", "named"),
    [
        (1, 2, "it cites no log before"),
        (3, 1, f"it cites {SECOND}, these are the keys of {FIRST}"),
        (2, 0, "the bundle of the log before cannot be read"),
    ],
)
def test_another_bundle_does_not_prove_the_link(
    replaced: Replaced, tmp_path: Path, capsys: pytest.CaptureFixture[str], new: int, old: int, named: str
) -> None:
    """Wrong order, one left out, or something else; whoever is trusted."""
    other = tmp_path / "other"
    other.write_bytes(b"no bundle")
    path = replaced.bundle(old) if old else str(other)
    policy = replaced.folder / f"gw-{new}" / "admission.json"
    for options in ((), ("--policy", str(policy))):
        code, found = verdict(capsys, replaced.bundle(new), "--after", path, *options)
        assert code == 1
        links = [fault for fault in found["faults"] if fault["verdict"] == "broken-link"]
        assert [(fault["seq"], fault["detail"]) for fault in links] == [(0, named)]
        assert found["after"] is None or found["after"]["followed"] is False


def test_a_time_beyond_the_calendar_is_still_shown() -> None:
    """A bundle may name a witness of its own, and that one may state anything."""
    answer_ = Answer(Report(0, 1, (), anchored_at=2**62), None)
    assert f"witnessed {2**62} s after 1970" in as_text([answer_], None, is_signature_checked=True)


def test_status_shows_the_logs_that_went_on(replaced: Replaced) -> None:
    """By their names."""
    overrides = ["service.listen=127.0.0.1:0", f"http.listen=127.0.0.1:{free_ports(1)[0]}"]
    with running("service", replaced.service, overrides, replaced.folder / "service.log"):
        options = [part for override in overrides for part in ("--set", override)]
        done = coldseal("service", "status", replaced.service, *options)
    assert f"{FIRST} as {SECOND}, {SECOND} as {THIRD}" in done.stdout
