"""Both programs by their command: started, asked, and ended in order."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldseal.demo.programs import free_ports
from tests.cli.conftest import COMMAND, Site, coldseal


@contextlib.contextmanager
def running(noun: str, config: Path, overrides: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program with its log in a file, until it says by its status that it is well."""
    options = [part for override in overrides for part in ("--set", override)]
    with log.open("wb") as output:
        process = subprocess.Popen([*COMMAND, noun, "run", str(config), *options], stderr=output)
    try:
        deadline = time.monotonic() + 30
        while coldseal(noun, "status", config, *options).returncode:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("noun", ["service", "gateway"])
def test_a_program_runs_answers_and_ends_with_0_on_sigterm(tmp_path: Path, site: Site, noun: str) -> None:
    """Set up by `init` alone; its log is JSON lines and holds no secret."""
    http = f"http.listen=127.0.0.1:{free_ports(1)[0]}"
    listen = f"{'mqtt' if noun == 'gateway' else 'service'}.listen=127.0.0.1:0"
    data = f"{noun}.data={tmp_path / 'data'}"
    config = site.gateway if noun == "gateway" else site.service
    log = tmp_path / "log"
    with running(noun, config, [http, listen, data], log) as process:
        done = coldseal(noun, "status", config, "--set", http, "--json")
        assert json.loads(done.stdout)["ok"] is True
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert f"{noun}.started" in [line["event"] for line in lines]
    assert lines[-1]["event"] == f"{noun}.stopped"
    key = (config.parent / "store.key").read_text(encoding="ascii").strip()
    assert key not in log.read_text(encoding="utf-8")


@pytest.mark.parametrize("noun", ["service", "gateway"])
def test_a_program_that_cannot_start_says_why_and_exits_with_2(site: Site, noun: str) -> None:
    """Here a secret is missing from the environment."""
    config = site.gateway if noun == "gateway" else site.service
    done = coldseal(noun, "run", config, "--set", "store.key=env:NOT_THERE")
    assert done.returncode == 2
    assert "NOT_THERE" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("noun", ["service", "gateway"])
def test_an_unknown_log_level_is_refused(site: Site, noun: str) -> None:
    """With the known ones."""
    config = site.gateway if noun == "gateway" else site.service
    done = coldseal(noun, "run", config, "--log-level", "loud")
    assert done.returncode == 2
    assert "debug, info, warning, error, critical" in done.stderr
