"""A real TPM 2.0 in software: swtpm with endorsement keys and their certificates, on loopback.

`software_tpm` makes one in a folder, starts it, and stops it by its process. Its own CA is in the folder
too: another folder's chip has an endorsement certificate of a stranger.
"""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from coldseal.demo.programs import free_ports

_PARTS = ("swtpm", "swtpm_setup", "swtpm_localca")
_LOCAL_CA = """statedir = {ca}
signingkey = {ca}/signkey.pem
issuercert = {ca}/issuercert.pem
certserial = {ca}/certserial
"""
_SETUP = """create_certs_tool = {tool}
create_certs_tool_config = {folder}/localca.conf
create_certs_tool_options = {folder}/localca.options
active_pcr_banks = sha256
"""
_WITHIN_S = 30.0


class SoftwareTpm:
    """One chip: its state stays in a folder while it is off.

    Args:
        folder: empty, or with the state of a chip that was made before.
        ca: folder of the CA that certifies it; its own if left out.

    Attributes:
        tcti: the way to it, while it is on.
        ek_root: certificate of the CA's root, PEM.
        state: the folder of its state.
        ek_issuer: certificate of the CA that signed the endorsement certificates, PEM.
    """

    def __init__(self, folder: Path, *, ca: Path | None = None) -> None:
        """Make the chip, unless the folder holds one."""
        self.state = folder / "state"
        own = ca or folder / "ca"
        self.ek_root, self.ek_issuer = own / "swtpm-localca-rootca-cert.pem", own / "issuercert.pem"
        self._port = _two_free_ports()
        self.tcti = f"swtpm:host=127.0.0.1,port={self._port}"
        self._handles = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        if not self.state.exists():
            self.state.mkdir(parents=True)
            own.mkdir(parents=True, exist_ok=True)
            self._make(folder, own)

    @property
    def pid(self) -> int:
        """Its process, while it is on."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Switch it on: its PCRs are as after a reset."""
        self._process = subprocess.Popen(
            [
                *("swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self.state.resolve()}"),
                *("--server", f"type=tcp,port={self._port},bindaddr=127.0.0.1"),
                *("--ctrl", f"type=tcp,port={self._port + 1},bindaddr=127.0.0.1"),
                *("--flags", "not-need-init,startup-clear"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        last = time.monotonic() + _WITHIN_S
        while not _listens(self._port + 1):
            assert self._process.poll() is None, "swtpm has ended"
            assert time.monotonic() < last, "swtpm does not listen"

    def stop(self) -> None:
        """Switch it off, without a word before: as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(_WITHIN_S)
            self._process = None

    def restart(self) -> None:
        """Reset it."""
        self.stop()
        self.start()

    def new_handle(self) -> int:
        """Give a persistent handle that no test has had."""
        return 0x81008000 + next(self._handles)

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend a PCR of the SHA-256 bank."""
        from coldseal.signing.tpm.door import open_tpm, tss  # noqa: PLC0415 # the chip serves without it too

        with open_tpm(self.tcti) as tpm:
            value = tss.TPMT_HA(hashAlg=tss.TPM2_ALG.SHA256, digest=tss.TPMU_HA(sha256=digest))
            tpm.esys.pcr_extend(tss.ESYS_TR(pcr), tss.TPML_DIGEST_VALUES([value]))

    @staticmethod
    def _make(folder: Path, ca: Path) -> None:
        """Manufacture it: endorsement keys, and their certificates by the CA."""
        tool = shutil.which("swtpm_localca")
        (folder / "setup.conf").write_text(_SETUP.format(folder=folder.resolve(), tool=tool))
        (folder / "localca.conf").write_text(_LOCAL_CA.format(ca=ca.resolve()))
        (folder / "localca.options").write_text(
            "--platform-manufacturer Trial\n--platform-version 1\n--platform-model Trial\n"
        )
        subprocess.run(
            [
                *("swtpm_setup", "--tpm2", "--tpmstate", str(folder / "state"), "--createek"),
                *("--create-ek-cert", "--create-platform-cert", "--config", str(folder / "setup.conf")),
            ],
            check=True,
            capture_output=True,
        )


@contextmanager
def software_tpm(folder: Path, *, ca: Path | None = None) -> Iterator[SoftwareTpm]:
    """Make a chip in a folder, switch it on, and off at the end; without its parts, the test is skipped."""
    missing = [part for part in _PARTS if shutil.which(part) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}: apt-get install swtpm swtpm-tools")
    chip = SoftwareTpm(folder, ca=ca)
    try:
        chip.start()
        yield chip
    finally:
        chip.stop()


def _two_free_ports() -> int:
    """Find a port that is free with the one above it: the driver looks for the second one there."""
    for port in free_ports(64):
        with socket.socket() as above, suppress(OSError):
            above.bind(("127.0.0.1", port + 1))
            return port
    raise AssertionError("no two free ports beside each other")


def _listens(port: int) -> bool:
    """Whether somebody takes a connection."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False
