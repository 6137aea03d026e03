"""Find a second interpreter, so that the tests run under both Pythons that we promise.

Looks on the PATH and among pyenv's versions, and believes only an interpreter that starts.
Prints its path; prints nothing and exits 1 when there is none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

#: The oldest Python we support and the newest we test, the likelier second one first.
PROMISED = ("3.13", "3.11")

_PROBE = "import ensurepip, ssl, sys; print('%d.%d' % sys.version_info[:2])"


def candidates(version: str, environment: Mapping[str, str]) -> Iterator[Path]:
    """Yield where an interpreter of that version may be, likeliest first."""
    on_path = shutil.which(f"python{version}", path=environment.get("PATH", ""))
    if on_path:
        yield Path(on_path)
    pyenv = Path(environment.get("PYENV_ROOT") or Path(environment.get("HOME", "/")) / ".pyenv")
    yield from sorted(pyenv.glob(f"versions/{version}.*/bin/python"), reverse=True)


def is_version(interpreter: Path, version: str) -> bool:
    """Tell whether the file starts, is that version, and can make an environment."""
    try:
        probe = subprocess.run(
            [interpreter, "-c", _PROBE], capture_output=True, text=True, check=False, timeout=30
        )
    except OSError:
        return False
    return probe.stdout.strip() == version


def find(current: str, environment: Mapping[str, str]) -> Path | None:
    """Return an interpreter of a promised version other than the current one."""
    for version in PROMISED:
        if version == current:
            continue
        for interpreter in candidates(version, environment):
            if is_version(interpreter, version):
                return interpreter
    return None


def main(environment: Mapping[str, str]) -> int:
    """Print the interpreter's path; return 0 when there is one."""
    found = find("{}.{}".format(*sys.version_info[:2]), environment)
    if found is None:
        return 1
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(os.environ))
