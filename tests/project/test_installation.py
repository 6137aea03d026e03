"""Claims about what is installed: pinned by hash, from nowhere in particular, and no more than needed."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.project.tree import ROOT, tracked

SETS = ["build", "runtime", "bulk", "alarms", "hardware", "tpm", "dev"]

EXTRAS = {"bulk": "bulk", "tpm": "tpm", "pkcs11": "hardware", "alarms": "alarms"}
"""The set in which the packages of an extra are, where that is not the runtime set."""

# Written so that this file does not contain what it forbids.
REGISTRIES = re.compile(
    r"py[p]i\.org|python[h]osted\.org|npm[j]s\.(?:org|com)|deb\.[d]ebian\.org|(?<!emit-)ind[e]x-url"
)
MACHINE = re.compile(r"(?<![\w.])/(?:ro[o]t|wo[r]k|home/\w+)/|/tmp/[b]rief|\.\./[s]hared")


def pins(name: str) -> dict[str, str]:
    """Return one requirement set as package → version."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    return dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", text, re.MULTILINE))


def asked(name: str) -> set[str]:
    """Return the packages that a requirement set is compiled from."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"]] if name in {"runtime", "bulk", "alarms"} else []
    for extra, packages in project["optional-dependencies"].items():
        lines += packages if EXTRAS.get(extra, "runtime") == name else []
    source = ROOT / "requirements" / f"{name}.in"
    if source.exists():
        lines += [
            line for line in source.read_text(encoding="utf-8").splitlines() if line and line[0] not in "#-"
        ]
    return {re.split(r"[<>=! ]", line)[0].lower() for line in lines}


def imports(path: Path) -> Iterator[str]:
    """Yield the top-level modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


@pytest.mark.parametrize("name", SETS)
def test_every_package_is_pinned_to_a_version_and_its_hashes(name: str) -> None:
    """One requirement, one version, at least one SHA-256; nothing else in the file."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        assert re.fullmatch(r"[a-z0-9._-]+==\S+(?: ; [^-]+)?(?:\s+--hash=sha256:[0-9a-f]{64})+\s*", line), (
            line
        )


@pytest.mark.parametrize("name", SETS)
def test_every_requirement_that_was_asked_for_is_pinned(name: str) -> None:
    """The compiled set has not fallen behind what it is compiled from."""
    assert asked(name) - pins(name).keys() == set()


@pytest.mark.parametrize(
    ("folders", "sets"),
    [
        (["coldseal"], ["runtime", "bulk", "alarms", "tpm", "hardware"]),
        (["tests", "tools", "bench"], ["runtime", "dev", "tpm", "hardware"]),
    ],
)
def test_every_package_that_is_imported_is_asked_for(folders: list[str], sets: list[str]) -> None:
    """Nothing is used that is here only because something else happened to need it."""
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    here = packages_distributions()
    imported = {module for path in paths for module in imports(path) if module in here}
    needed = {re.sub(r"[._]", "-", here[module][0]).lower() for module in imported} - {"coldseal"}
    assert needed - {name for each in sets for name in asked(each)} == set()


def test_a_package_in_two_sets_has_one_version() -> None:
    """One environment holds them all, so they must agree."""
    seen: dict[str, str] = {}
    for name in SETS:
        for package, version in pins(name).items():
            assert seen.setdefault(package, version) == version, package


def test_the_demonstration_installs_only_what_runs() -> None:
    """`make demo` on a fresh machine takes no test tool."""
    made = subprocess.run(
        ["make", "--dry-run", "VENV=.venv-absent", "demo"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert "requirements/runtime.txt" in made.stdout
    assert "requirements/dev.txt" not in made.stdout
    assert {"pytest", "mypy", "ruff"} & pins("runtime").keys() == set()


def test_no_tracked_file_names_a_registry_or_this_machine() -> None:
    """Any mirror serves, and any machine: no host of a registry, no path of ours, is written down."""
    for path in tracked():
        text = path.read_bytes().decode(errors="replace")
        assert not REGISTRIES.search(text), path
        assert not MACHINE.search(text), path


def test_continuous_integration_runs_what_a_person_runs() -> None:
    """The script is executable, stops at the first failure, and calls make, nothing of its own."""
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert script.stat().st_mode & 0o111 == 0o111
    assert "set -euo pipefail" in text
    assert "make test " in text
    subprocess.run(["bash", "-n", str(script)], check=True)


def test_make_alone_lists_every_task() -> None:
    """Each task that a person may want is named with what it does."""
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for task in ("demo", "test", "check", "bench", "docs", "soak", "clean"):
        assert re.search(rf"^  make {task} +\S", shown, re.MULTILINE), task
