"""A small world of network namespaces: a device, a gateway, a service and an intruder, each by itself.

The device is alone with the gateway on the OT side; service and intruder are with it on the other one, and
the service is where everything else in the world would be. Made and removed by a test; names are unique.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import pytest

Result = TypeVar("Result")

DEVICE, SERVICE, INTRUDER = "10.88.1.2", "10.88.2.2", "10.88.2.66"
GATEWAY_OT, GATEWAY_UP = "10.88.1.1", "10.88.2.1"
DEVICE_6, SERVICE_6, INTRUDER_6 = "fd88:1::2", "fd88:2::2", "fd88:2::66"
GATEWAY_OT_6, GATEWAY_UP_6 = "fd88:1::1", "fd88:2::1"
OT, UP = "ot0", "up0"

_CLONE_NEWNET: Final = 0x40000000
_FOLDER: Final = Path("/run/netns")
_NEEDED: Final = ("ip", "nft")


def require_namespaces() -> None:
    """Skip where namespaces cannot be made: it needs root, iproute2 and nftables."""
    missing = [name for name in _NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        pytest.skip(f"needs root and {', '.join(_NEEDED)}")


@dataclass(frozen=True)
class World:
    """The names of the four namespaces, and of the network between three of them."""

    device: str
    gateway: str
    service: str
    intruder: str
    network: str

    def load(self, rules: str) -> None:
        """Load a rule set in the gateway's namespace."""
        command = ("ip", "netns", "exec", self.gateway, "nft", "-f", "-")
        subprocess.run(command, input=rules, text=True, check=True, capture_output=True)

    def counter(self, name: str) -> int:
        """Read a named counter of the gateway's rule set."""
        command = ("ip", "netns", "exec", self.gateway, "nft", "list", "counter", "inet", "coldseal", name)
        found = subprocess.run(command, text=True, check=True, capture_output=True).stdout
        return int(found.partition("packets ")[2].split()[0])


@contextmanager
def world() -> Iterator[World]:
    """Make it, and remove all of it."""
    require_namespaces()
    run = f"cs{os.getpid()}{secrets.token_hex(3)}"
    made = World(*(f"{run}-{name}" for name in ("dev", "gw", "svc", "int", "net")))
    names = (made.device, made.gateway, made.service, made.intruder, made.network)
    try:
        for name in names:
            _ip("netns", "add", name)
            _in(name, "link", "set", "lo", "up")
        _join(made)
        yield made
    finally:
        for name in names:
            subprocess.run(("ip", "netns", "del", name), check=False, capture_output=True)


def inside(namespace: str, work: Callable[[], Result]) -> Result:
    """Run a function in a namespace; the sockets that it opens stay there.

    Raises:
        OSError: whatever the function raises.
    """

    def enter() -> Result:
        _enter(namespace)
        return work()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter).result()


def _enter(namespace: str) -> None:
    """Move this thread into a namespace.

    Raises:
        OSError: it cannot.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    with (_FOLDER / namespace).open() as file:
        if libc.setns(file.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns to {namespace}")


def sniffer(namespace: str, interface: str = "eth0") -> socket.socket:
    """Open a socket that sees every frame which comes to an interface."""

    def make() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        made.setsockopt(socket.SOL_SOCKET, 33, 1 << 24)  # SO_RCVBUFFORCE
        made.bind((interface, 0))
        made.settimeout(0.3)
        return made

    return inside(namespace, make)


def taken(sniffing: socket.socket) -> Iterator[bytes]:
    """Give what came until there is silence."""
    while True:
        try:
            frame, origin = sniffing.recvfrom(65_536)
        except TimeoutError:
            return
        if origin[2] != socket.PACKET_OUTGOING:
            yield frame


def _join(made: World) -> None:
    """Lay the cables, give addresses and routes."""
    _cable(made.device, "eth0", made.gateway, OT)
    _in(made.network, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
    _in(made.network, "link", "set", "br0", "up")
    for number, (name, interface) in enumerate(
        ((made.gateway, UP), (made.service, "eth0"), (made.intruder, "eth0"))
    ):
        _cable(name, interface, made.network, f"p{number}")
        _in(made.network, "link", "set", f"p{number}", "master", "br0")
    for name, interface, *addresses in (
        (made.device, "eth0", DEVICE, DEVICE_6),
        (made.gateway, OT, GATEWAY_OT, GATEWAY_OT_6),
        (made.gateway, UP, GATEWAY_UP, GATEWAY_UP_6),
        (made.service, "eth0", SERVICE, SERVICE_6),
        (made.intruder, "eth0", INTRUDER, INTRUDER_6),
    ):
        for address in addresses:
            size = "64" if ":" in address else "24"
            _in(
                name,
                "addr",
                "add",
                f"{address}/{size}",
                "dev",
                interface,
                *(["nodad"] if ":" in address else []),
            )
    for name, door, door_6 in (
        (made.device, GATEWAY_OT, GATEWAY_OT_6),
        (made.gateway, SERVICE, SERVICE_6),
        (made.service, GATEWAY_UP, GATEWAY_UP_6),
        (made.intruder, GATEWAY_UP, GATEWAY_UP_6),
    ):
        _in(name, "route", "add", "default", "via", door)
        _in(name, "-6", "route", "add", "default", "via", door_6)
    inside(made.gateway, _route)  # so that only the rules keep it from being a router


def _cable(one: str, interface: str, other: str, far: str) -> None:
    """Join two namespaces."""
    _ip("link", "add", interface, "netns", one, "type", "veth", "peer", "name", far, "netns", other)
    for name, end in ((one, interface), (other, far)):
        _in(name, "link", "set", end, "up")


def _route() -> None:
    """Let this thread's network forward: what stands below /proc/sys/net is of whoever opens it."""
    for name in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        Path(f"/proc/sys/net/{name}").write_text("1")


def _in(namespace: str, *arguments: str) -> None:
    """Run ``ip`` for a namespace."""
    _ip("-n", namespace, *arguments)


def _ip(*arguments: str) -> None:
    """Run ``ip``."""
    subprocess.run(("ip", *arguments), check=True, capture_output=True)
