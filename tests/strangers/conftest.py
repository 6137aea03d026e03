"""The long log, published once for all tests, and how a stranger is asked about a folder."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.strangers.long_log import Publication, make
from tools.strangers import FOLDER, ROOT

_ANYWHERE = str(FOLDER / "anywhere" / "bin" / "python")
_WITNESS = str(FOLDER / "witness" / "bin" / "python")
_DRIVERS = "tests.strangers.drivers"

STRANGERS: dict[str, Sequence[str]] = {
    "go sumdb": (str(FOLDER / "go" / "stranger"),),
    "aics-tlog": (_WITNESS, "-m", f"{_DRIVERS}.with_aics"),
    "sigstore": (_ANYWHERE, "-m", f"{_DRIVERS}.with_sigstore"),
    "pymerkle": (_ANYWHERE, "-m", f"{_DRIVERS}.with_pymerkle"),
    "tamperlog": (_ANYWHERE, "-m", f"{_DRIVERS}.with_tamperlog"),
}


@dataclass(frozen=True)
class Answer:
    """What a stranger says: how many of each check held, and the one that it refused, if any."""

    checked: dict[str, int]
    refused: dict[str, str] | None


def require(program: str | Path) -> None:
    """Skip the test where a stranger is not here; in CI that is a failure."""
    if not Path(program).exists():
        pytest.skip(f"{program} is not here: make strangers")


def ask(stranger: str, folder: Path) -> Answer:
    """Have a stranger check a folder."""
    command = STRANGERS[stranger]
    require(command[0])
    done = subprocess.run(
        [*command, folder], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode in {0, 1}, done.stderr
    found = Answer(**json.loads(done.stdout))
    assert done.returncode == (found.refused is not None)
    return found


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Publication:
    """Make the long log."""
    return make(tmp_path_factory.mktemp("published"))
