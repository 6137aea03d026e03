"""Claims about the gates: each one finds a fault that is planted for it.

A gate that was never seen to fail proves nothing. The faults go into a copy of the tree.
"""

from __future__ import annotations

import re
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
    return copied(tmp_path)


def copied(folder: Path) -> Path:
    """Copy it into a folder."""
    shutil.copytree(ROOT / "coldseal", folder / "coldseal", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    shutil.copy(ROOT / "tools" / "cycles.toml", folder)
    return folder


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


FORBIDDEN = [
    ("core/topics.py", "import time", "time"),
    ("mqtt/packets.py", "import asyncio", "asyncio"),
    ("core/log/merkle.py", "import msgspec", "msgspec"),
    ("core/log/record.py", "from coldseal.signing import keys", "coldseal.signing.keys"),
    ("gateway/clock.py", "from coldseal.service import config", "coldseal.service.config"),
    ("service/config.py", "from coldseal.gateway import config", "coldseal.gateway.config"),
    ("gateway/clock.py", "from coldseal.gateway import pipeline", "coldseal.gateway.pipeline"),
    ("gateway/pipeline.py", "import apsw", "apsw"),
    ("service/ingest.py", "import aiohttp", "aiohttp"),
    ("service/app.py", "import starlette", "starlette"),
    ("gateway/app.py", "import prometheus_client", "prometheus_client"),
]


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give what is said of a copy with all forbidden imports in it."""
    folder = copied(tmp_path_factory.mktemp("forbidden"))
    for module, line, _ in FORBIDDEN:
        path = folder / "coldseal" / module
        path.write_text(path.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    found = lint_imports(folder)
    assert found.returncode == 1, found.stdout
    return found.stdout


@pytest.mark.parametrize(("module", "line", "target"), FORBIDDEN)
def test_an_import_that_breaks_a_layer_is_found(judged: str, module: str, line: str, target: str) -> None:
    """Upwards, sideways, out of the law, or past a driver's one door; each by its own name."""
    del line
    _, _, broken = judged.partition("Broken contracts")
    importer = f"coldseal.{module.removesuffix('.py').replace('/', '.')}"
    assert re.search(rf"{re.escape(importer)} -> {re.escape(target)}\s", " ".join(broken.split()) + " ")


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


@pytest.mark.parametrize("ci", ["", "true"])
def test_a_skip_is_a_failure_under_ci_and_nowhere_else(tmp_path: Path, ci: str) -> None:
    """A missing part can be passed over by a person, never by CI; the reason is shown, wherever it skips."""
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    for where, text in SKIPPING.items():
        (tmp_path / f"test_{where}.py").write_text(text, encoding="utf-8")
    options = ["-q", "-rsfE", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-c", "/dev/null"]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={"CI": ci, "PATH": str(BIN), "PYTHONPATH": str(ROOT)},
    )
    assert (run.returncode != 0) == (ci == "true"), run.stdout + run.stderr
    for where in SKIPPING:
        said = [line for line in run.stdout.splitlines() if f"test_{where}.py" in line]
        words = ("FAILED", "ERROR") if ci else ("SKIPPED",)
        assert any(line.startswith(words) for line in said), (where, run.stdout)
    assert run.stdout.count("no broker here") >= len(SKIPPING)
