"""The peers' own environments, pinned by hash, made when they are first needed; and the versions of all."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from bench.programs import MeasurementError

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".venv-peers"


def environment(name: str, folder: Path = FOLDER) -> Path:
    """Give a peer's environment; it is made where it is not there or not current.

    Raises:
        MeasurementError: its packages cannot be had.
    """
    target, source = folder / name, ROOT / "requirements" / f"peers-{name}.txt"
    stamp = target / ".made-from"
    if stamp.is_file() and stamp.read_bytes() == source.read_bytes():
        return target
    print(f"making {target.name} of {folder.name}, pinned by hash; this happens once", file=sys.stderr)
    pip = (target / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "-q", "-q")
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", target], check=True)
        subprocess.run([*pip, "install", "--require-hashes", "-r", source], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MeasurementError(f"its packages could not be installed: {error}") from error
    shutil.copyfile(source, stamp)
    return target


def pinned(name: str) -> str:
    """Give the version of a peer's first requirement."""
    text = (ROOT / "requirements" / f"peers-{name}.in").read_text()
    found = re.search(r"==(\S+)", text)
    return found[1] if found else ""


def mosquitto_version() -> str:
    """Give the version of the installed Mosquitto; empty without one."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        return ""
    said = subprocess.run([program, "-h"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\S+)", said)
    return found[1] if found else ""
