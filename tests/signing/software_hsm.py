"""A real PKCS#11 token in software: SoftHSM, one for each process that runs tests.

Its library reads its configuration once: so there is one token, and each test names keys of its own.
"""

from __future__ import annotations

import atexit
import itertools
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

PIN = "734921"
_LIBRARIES = (Path("/usr/lib/softhsm/libsofthsm2.so"), Path("/usr/lib64/pkcs11/libsofthsm2.so"))
_CONFIG = "directories.tokendir = {folder}\nobjectstore.backend = file\nlog.level = ERROR\n"
_numbers = itertools.count()


@dataclass(frozen=True)
class SoftwareToken:
    """One token.

    Attributes:
        module: its library.
        folder: where it keeps its objects.
        pin_file: holds the PIN, mode 0600.
    """

    module: Path
    folder: Path
    pin_file: Path

    def uri(self, name: str, *, label: str = "coldseal") -> str:
        """Name a key of the token."""
        return f"pkcs11:token={label};object={name}?{self.options}"

    def new_uri(self) -> str:
        """Name a key that is not there yet."""
        return self.uri(f"key-{os.getpid()}-{next(_numbers)}")

    @property
    def options(self) -> str:
        """Give the second half of a URI."""
        return f"module-path={self.module}&pin-source=file:{self.pin_file}"


@cache
def software_hsm() -> SoftwareToken:
    """Give the token of this process; without its parts, the test is skipped."""
    module = next((path for path in _LIBRARIES if path.exists()), None)
    if module is None or shutil.which("softhsm2-util") is None:
        pytest.skip("no SoftHSM: apt-get install softhsm2")
    folder = Path(tempfile.mkdtemp(prefix="coldseal-hsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    tokens, pin_file = folder / "tokens", folder / "pin"
    tokens.mkdir()
    (folder / "softhsm2.conf").write_text(_CONFIG.format(folder=tokens))
    pin_file.write_text(PIN + "\n")
    pin_file.chmod(0o600)
    os.environ["SOFTHSM2_CONF"] = str(folder / "softhsm2.conf")
    subprocess.run(
        ["softhsm2-util", "--init-token", "--free", "--label", "coldseal", "--so-pin", PIN, "--pin", PIN],
        check=True,
        capture_output=True,
    )
    return SoftwareToken(module, tokens, pin_file)
