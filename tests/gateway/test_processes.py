"""Claims about processes beside the intake: how they end says whose fault it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from coldseal.errors import ColdsealError, OperatorError, UnavailableError
from coldseal.gateway.config import GatewayConfig
from coldseal.gateway.processes import run_beside
from coldseal.observe import events
from coldseal.observe.logs import Log
from tests.gateway.alarming.site import config_of

LOG = Log("uplink.process")


def run(folder: Path, fault: Exception | None) -> int:
    """Run one that ends with a fault."""

    async def serve(config: GatewayConfig) -> None:
        assert config.gateway.site
        if fault is not None:
            raise fault

    config_of(folder)
    return run_beside(
        [str(folder / "gateway.toml")], serve, part="uplink", log=LOG, failed=events.UPLINK_FAILED
    )


@pytest.mark.parametrize("is_in_group", [True, False])
@pytest.mark.parametrize(
    ("fault", "code"),
    [(OperatorError("a setting is wrong", "mend it"), 2), (UnavailableError("the log", "planted"), 3)],
    ids=["setting", "log"],
)
def test_a_fault_of_ours_is_said_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    fault: ColdsealError,
    code: int,
    is_in_group: bool,
) -> None:
    """With the exit code for it, alone or out of a group of tasks."""
    assert run(tmp_path, ExceptionGroup("tasks", [fault]) if is_in_group else fault) == code
    (line,) = [json.loads(each) for each in capsys.readouterr().err.splitlines()]
    assert (line["event"], line["error"]) == ("uplink.failed", str(fault))


def test_without_a_fault_it_ends_with_0(tmp_path: Path) -> None:
    """It did what it was there for."""
    assert run(tmp_path, None) == 0


@pytest.mark.parametrize("is_in_group", [True, False])
def test_a_fault_of_the_program_is_not_hidden(tmp_path: Path, is_in_group: bool) -> None:
    """What is not ours passes through, with its traceback."""
    fault = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        run(tmp_path, ExceptionGroup("tasks", [fault]) if is_in_group else fault)


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("coldseal.gateway.program", {"aiohttp", "apprise", "h11"}),
        ("coldseal.cli.running", {"argon2", "coldseal.cli.gateway", "coldseal.evidence", "cyclopts", "rich"}),
        (
            "coldseal.gateway.uplink.process",
            {
                "aiohttp",
                "coldseal.gateway.uplink.attestation",
                "coldseal.gateway.uplink.enrolment",
                "coldseal.gateway.uplink.timestamps",
                "coldseal.gateway.uplink.witnesses",
                "dns",
            },
        ),
    ],
    ids=["intake", "command", "uplink"],
)
def test_a_process_loads_nothing_that_it_can_do_without(program: str, unwanted: set[str]) -> None:
    """An HTTP client alone is ten megabytes; what is not configured stays away as well."""
    asked = f"import sys, {program}; print(*sorted({unwanted} & sys.modules.keys()))"
    found = subprocess.run([sys.executable, "-c", asked], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []
