"""Claims about the gates: each one finds a fault that is planted for it.

A gate that was never seen to fail proves nothing. The faults go into a copy of the tree.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.project.tree import ROOT

BIN = Path(sys.executable).parent


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of the package with the configuration of its gates."""
    shutil.copytree(ROOT / "coldseal", tmp_path / "coldseal", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    shutil.copy(ROOT / "tools" / "cycles.toml", tmp_path)
    return tmp_path


def lint_imports(folder: Path, config: str = "pyproject.toml") -> subprocess.CompletedProcess[str]:
    """Judge the layers of the copy."""
    return subprocess.run(
        [BIN / "lint-imports", "--no-logo", "--no-cache", "--config", config],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(folder), "PATH": str(BIN)},
    )


def test_the_layers_are_kept(copy: Path) -> None:
    """The copy, as it is, breaks no contract."""
    judged = lint_imports(copy)
    assert judged.returncode == 0, judged.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("core/topics.py", "import time"),
        ("mqtt/packets.py", "import asyncio"),
        ("core/log/merkle.py", "import msgspec"),
        ("core/log/record.py", "from coldseal.signing import keys"),
        ("gateway/clock.py", "from coldseal.service import config"),
        ("service/config.py", "from coldseal.gateway import config"),
        ("gateway/clock.py", "from coldseal.gateway import pipeline"),
        ("gateway/pipeline.py", "import apsw"),
        ("service/ingest.py", "import aiohttp"),
        ("service/app.py", "import starlette"),
        ("gateway/app.py", "import prometheus_client"),
    ],
)
def test_an_import_that_breaks_a_layer_is_found(copy: Path, module: str, line: str) -> None:
    """Upwards, sideways, out of the law, or past a driver's one door."""
    path = copy / "coldseal" / module
    path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    judged = lint_imports(copy)
    assert judged.returncode == 1, judged.stdout
    assert "BROKEN" in judged.stdout


def test_a_cycle_is_found(copy: Path) -> None:
    """Two modules beside each other, each needing the other when it runs."""
    assert lint_imports(copy, "cycles.toml").returncode == 0
    path = copy / "coldseal" / "core" / "log" / "merkle.py"
    line = "\nfrom coldseal.core.log import record\n"
    path.write_text(path.read_text(encoding="utf-8") + line, encoding="utf-8")
    judged = lint_imports(copy, "cycles.toml")
    assert judged.returncode == 1, judged.stdout
    assert "merkle" in judged.stdout


@pytest.mark.parametrize("container", ["", "gateway", "service"])
def test_a_package_that_no_layer_names_is_found(copy: Path, container: str) -> None:
    """A new package must say where it stands."""
    newcomer = copy / "coldseal" / container / "newcomer"
    newcomer.mkdir()
    (newcomer / "__init__.py").touch()
    judged = lint_imports(copy)
    assert judged.returncode == 1, judged.stdout
    assert "newcomer" in judged.stdout


SKIPPING = {
    "inside": "import pytest\n\ndef test_it():\n    pytest.skip('no broker here')\n",
    "marked": "import pytest\n\n@pytest.mark.skip(reason='no broker here')\ndef test_it(): ...\n",
    "module": "import pytest\n\npytest.skip('no broker here', allow_module_level=True)\n",
}


@pytest.mark.parametrize("where", SKIPPING)
@pytest.mark.parametrize(("ci", "status"), [("", {0, 5}), ("true", {1, 2})])
def test_a_skip_is_a_failure_under_ci_and_nowhere_else(
    tmp_path: Path, where: str, ci: str, status: set[int]
) -> None:
    """A missing part can be passed over by a person, never by CI; the reason is shown."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "test_part.py").write_text(SKIPPING[where], encoding="utf-8")
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "-c", "/dev/null", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"CI": ci, "PATH": str(BIN), "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode in status, run.stdout + run.stderr
    assert "no broker here" in run.stdout
