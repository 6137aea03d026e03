"""Make the environments of the implementations by others that check our log (tests/strangers).

Each has its own, below .venv-strangers, pinned by hash like ours, because their pins and Pythons differ from
ours and from each other's. What is there and current stays. Where a part cannot be had, it says so, and in
CI that is a failure: see `tools.system_parts`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tools import other_python

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".venv-strangers"
NEEDS = {"anywhere": (3, 11), "witness": (3, 12)}
"""Each environment of Python packages and the oldest Python that it takes."""

GO_SOURCE = ROOT / "tests" / "strangers" / "go" / "main.go"
GO_PACKAGES = Path("/usr/share/gocode")
"""Where Debian puts the sources of Go packages."""

NODE_SOURCE = ROOT / "tests" / "strangers" / "node"
"""What is asked of npm, with the version and the hash of every package."""


def interpreter(oldest: tuple[int, int], environment: Mapping[str, str]) -> Path | None:
    """Return this interpreter if it is new enough, else the other one that we promise."""
    if sys.version_info[:2] >= oldest:
        return Path(sys.executable)
    return other_python.find("{}.{}".format(*sys.version_info[:2]), environment)


def is_current(stamp: Path, source: Path) -> bool:
    """Whether something was made from the source as it is now."""
    return stamp.is_file() and stamp.read_bytes() == source.read_bytes()


def make_environment(name: str, python: Path, folder: Path = FOLDER) -> None:
    """Install one requirement file into an environment of its own."""
    target, source = folder / name, ROOT / "requirements" / f"strangers-{name}.txt"
    stamp = target / ".made-from"
    if is_current(stamp, source):
        return
    print(f"making {target.relative_to(folder.parent)}, pinned by hash; this happens once")
    subprocess.run([python, "-m", "venv", "--clear", target], check=True)
    pip = (target / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "-q")
    subprocess.run(
        [*pip, "install", "--require-hashes", "--only-binary=:all:", "-r", source],
        check=True,
    )
    shutil.copyfile(source, stamp)


def make_go_program(folder: Path = FOLDER) -> None:
    """Build the Go program with Debian's packages; nothing is fetched."""
    target = folder / "go"
    stamp = target / "made-from"
    if is_current(stamp, GO_SOURCE):
        return
    target.mkdir(parents=True, exist_ok=True)
    settings = {"GO111MODULE": "off", "GOPATH": str(GO_PACKAGES), "GOCACHE": str(target / "cache")}
    subprocess.run(
        ["go", "build", "-o", target / "stranger", GO_SOURCE], env={**os.environ, **settings}, check=True
    )
    shutil.copyfile(GO_SOURCE, stamp)


def make_node_packages(folder: Path = FOLDER) -> None:
    """Install the packages that run under Node, each by its hash; none of their programs is run for it."""
    target, lock = folder / "node", NODE_SOURCE / "package-lock.json"
    stamp = target / "made-from"
    if is_current(stamp, lock):
        return
    print(f"making {target.relative_to(folder.parent)}, pinned by hash; this happens once")
    target.mkdir(parents=True, exist_ok=True)
    for path in (NODE_SOURCE / "package.json", lock):
        shutil.copyfile(path, target / path.name)
    subprocess.run(
        ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"], cwd=target, check=True
    )
    shutil.copyfile(lock, stamp)


def main(environment: Mapping[str, str], folder: Path = FOLDER) -> int:
    """Make what is missing; return 0 when all is there, or when it may be missing."""
    absent = []
    for name, oldest in NEEDS.items():
        python = interpreter(oldest, environment)
        if python is None:
            absent.append("Python {}.{} or later for the witness".format(*oldest))
        else:
            make_environment(name, python, folder)
    if shutil.which("go", path=environment.get("PATH", "")):
        make_go_program(folder)
    else:
        absent.append("go, of Debian's golang-go and golang-golang-x-mod-dev")
    if shutil.which("npm", path=environment.get("PATH", "")):
        make_node_packages(folder)
    else:
        absent.append("npm, of Debian's npm")
    for part in absent:
        print(f"missing: {part}; the tests that need it will say that they did not run", file=sys.stderr)
    return 1 if absent and environment.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
