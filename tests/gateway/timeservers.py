"""Real time services for tests: chronyd and ntpd on loopback, none of which could set this machine's clock.

Each runs without CAP_SYS_TIME, which is taken from it before it starts; chronyd with `-x`, ntpd with
`disable ntp` besides. What listens on a fixed port does so in a network namespace made for it.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

from coldseal.demo.programs import free_ports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Result = TypeVar("Result")

NTPD: Final = Path(__file__).parents[2] / ".parts/ntpsec/usr/sbin/ntpd"
AWAY: Final = "10.9.0.2"
HERE: Final = "10.9.0.1"
_HARMLESS: Final = ("setpriv", "--bounding-set", "-sys_time", "--inh-caps", "-sys_time")
_CLONE_NEWNET: Final = 0x4000_0000


def require_parts(*names: str) -> None:
    """Skip where a program is missing, or where this is not root."""
    missing = [name for name in names if shutil.which(name) is None and not Path(name).is_file()]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: run python -m tools.system_parts")
    if os.geteuid() != 0:
        pytest.skip("needs root: a time service drops its rights by itself, and namespaces are made")


class Certificate:
    """A key and a certificate for a time server on loopback, and in the namespace."""

    def __init__(self, folder: Path) -> None:
        """Make both."""
        self.key, self.path = folder / "server.key", folder / "server.pem"
        name = f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{AWAY}"
        _run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-keyout", str(self.key), "-out", str(self.path), "-subj", "/CN=time", "-addext", name,
             "-days", "2")  # fmt: skip


class Service:
    """A time service that runs, as a process with a folder of its own."""

    def __init__(self, folder: Path, name: str, lines: list[str]) -> None:
        """Write its configuration."""
        self.folder = folder / name
        self.folder.mkdir()
        self.folder.chmod(0o770)
        self.socket, self._config = self.folder / "chronyd.sock", self.folder / "config"
        self.lines = lines
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, fake: str = "", namespace: int = 0) -> None:
        """Start chronyd.

        Args:
            fake: by how much its own clock is wrong, such as ``-3.5s``.
            namespace: a process in whose network namespace it runs.
        """
        own = [f"bindcmdaddress {self.socket}", f"pidfile {self.folder / 'pid'}", "cmdport 0"]
        self._config.write_text("\n".join([*self.lines, *own, ""]))
        self._begin(
            ["chronyd", "-x", "-d", "-u", "root", "-f", str(self._config)], fake=fake, namespace=namespace
        )

    def start_ntpd(self, *, namespace: int) -> None:
        """Start ntpd."""
        log = f"logfile {self.folder / 'log'}"
        self._config.write_text("\n".join([*self.lines, "disable ntp", "disable kernel", log, ""]))
        self._begin([str(NTPD), "-n", "-N", "-g", "-c", str(self._config)], namespace=namespace)

    def _begin(self, command: list[str], *, fake: str = "", namespace: int) -> None:
        """Start it without the right to set a clock."""
        enter = ["nsenter", "-t", str(namespace), "-n"] if namespace else []
        wrong = ["faketime", "-f", fake] if fake else []
        with (self.folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                [*enter, *_HARMLESS, *wrong, *command],
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End it, and wait until it has; with faketime it is a process behind ours."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGTERM)
            self._process.wait()
            self._process = None
            (self.folder / "pid").unlink(missing_ok=True)


class Servers:
    """Time servers and clients in one folder."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet."""
        self.folder = folder
        self.certificate = Certificate(folder)
        self.ntp, self.nts = free_ports(2)
        self.services: list[Service] = []

    def server(self, name: str = "server", *, is_nts: bool = True) -> Service:
        """Describe a chronyd that others follow."""
        lines = [f"port {self.ntp}", "bindaddress 127.0.0.1", "allow 127.0.0.1", "local stratum 1"]
        return self._described(name, lines + (self._nts(self.nts) if is_nts else []))

    def away(self) -> Service:
        """Describe a chronyd on the well-known ports of a namespace, at the address `AWAY`."""
        return self._described("away", [*self._nts(4460), "port 123", "allow", "local stratum 1"])

    def astray(self, offset_s: float) -> tuple[Service, Service]:
        """Describe the same, led astray by so much by a server of its own; gives that one and it."""
        lines = [f"port {self.ntp}", "bindaddress 127.0.0.1", "allow 127.0.0.1", "local stratum 1"]
        leads = f"server 127.0.0.1 port {self.ntp} iburst minpoll -3 maxpoll -3 offset {offset_s}"
        return self._described("leader", lines), self._described(
            "astray", [leads, *self._nts(4460), "port 123", "allow"]
        )

    def _nts(self, port: int) -> list[str]:
        """Say how NTS is served."""
        certificate = self.certificate
        files = [f"ntsserverkey {certificate.key}", f"ntsservercert {certificate.path}"]
        return [*files, f"ntsport {port}", "ntsprocesses 0"]

    def client(self, name: str = "client", *, is_nts: bool = True, offset_s: float = 0) -> Service:
        """Describe a chronyd that follows the server, and finds this machine's clock off by some seconds."""
        nts = f"nts ntsport {self.nts}" if is_nts else ""
        poll = "iburst minpoll -3 maxpoll -3"
        return self._described(
            name,
            [
                f"server localhost port {self.ntp} {nts} {poll} offset {offset_s}",
                f"ntstrustedcerts {self.certificate.path}",
                "port 0",
            ],
        )

    def ntpd(self, *, is_nts: bool = True) -> Service:
        """Describe an ntpd that follows the server at `AWAY`."""
        nts = f"nts ca {self.certificate.path}" if is_nts else ""
        restrictions = ["restrict default ignore", f"restrict {AWAY} nomodify noquery", "restrict 127.0.0.1"]
        lines = [f"server {AWAY} {nts} iburst minpoll 0 maxpoll 0", "tos minsane 1", *restrictions]
        return self._described("ntpd", lines)

    def _described(self, name: str, lines: list[str]) -> Service:
        """Keep a service, to stop it in the end."""
        self.services.append(Service(self.folder, name, lines))
        return self.services[-1]


@contextmanager
def time_servers(folder: Path) -> Iterator[Servers]:
    """Give a folder for time services, and stop whatever still runs in the end."""
    servers = Servers(folder)
    try:
        yield servers
    finally:
        for service in servers.services:
            service.stop()


@contextmanager
def namespaces() -> Iterator[tuple[int, int]]:
    """Make two network namespaces with a line between them; gives a process in each, here and away."""
    holders = [
        subprocess.Popen(
            ["unshare", "-n", "sh", "-c", "echo; read line"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    try:
        for holder in holders:
            assert holder.stdout is not None
            holder.stdout.readline()
        here, away = (holder.pid for holder in holders)
        _inside(here, "ip", "link", "add", "line", "type", "veth", "peer", "name", "line", "netns", str(away))
        for pid, address in ((here, HERE), (away, AWAY)):
            _inside(pid, "ip", "link", "set", "lo", "up")
            _inside(pid, "ip", "address", "add", f"{address}/24", "dev", "line")
            _inside(pid, "ip", "link", "set", "line", "up")
        yield here, away
    finally:
        for holder in holders:
            holder.communicate()


def run_inside(namespace: int, work: Callable[[], Result]) -> Result:
    """Do something in a thread of its own, which is in the network namespace of a process."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_enter, namespace).result()
        return pool.submit(work).result()


def _enter(namespace: int) -> None:
    """Take this thread into a namespace, for good."""
    with Path(f"/proc/{namespace}/ns/net").open("rb") as file:
        assert ctypes.CDLL(None, use_errno=True).setns(file.fileno(), _CLONE_NEWNET) == 0


def _inside(pid: int, *command: str) -> None:
    """Run a command in a namespace."""
    _run("nsenter", "-t", str(pid), "-n", *command)


def _run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)
