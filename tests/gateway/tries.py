"""Forbidden tries of every kind in a world of namespaces, and the count of those that got through.

What got through is seen where it would arrive: on the wire of the other machines, and in the gateway by
sockets that stand behind its rules. Draws everything from a seed.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial

from tests.gateway.namespaces import (
    DEVICE,
    DEVICE_6,
    GATEWAY_OT,
    GATEWAY_OT_6,
    GATEWAY_UP,
    GATEWAY_UP_6,
    INTRUDER,
    INTRUDER_6,
    SERVICE,
    SERVICE_6,
    World,
    inside,
    sniffer,
    taken,
)

SEED = 20_260_805
ELSEWHERE = ("198.51.100.7", "203.0.113.9", "10.88.1.77", "10.0.0.1")
ELSEWHERE_6 = ("2001:db8::7", "fd00::1")


class Campaign:
    """Forbidden tries of every kind, and the count of those that got through.

    Args:
        made: the namespaces, with a rule set loaded.
        seed: draws targets and ports.
        silence_s: nothing more comes once nothing came for so long.
        is_busy: the real programs speak too: their two ways are not counted.
    """

    def __init__(
        self, made: World, seed: int = SEED, silence_s: float = 0.1, *, is_busy: bool = False
    ) -> None:
        """Draw the tries."""
        self.silence_s, self.is_busy = silence_s, is_busy
        self.made, self.chance = made, random.Random(seed)
        self.tried: Counter[str] = Counter()
        self.passed: Counter[str] = Counter()

    def run(self, rounds: int = 130) -> None:
        """Try from inside the gateway, from the device through and into it, and from the intruder into it."""
        with ExitStack() as stack:
            nets = {
                name: stack.enter_context(sniffer(name))
                for name in (self.made.service, self.made.intruder, self.made.device)
            }
            sinks = [stack.enter_context(sink) for sink in inside(self.made.gateway, open_sinks)]
            for opened in (*nets.values(), *sinks):
                opened.settimeout(self.silence_s)
            for name, tries in (
                (self.made.gateway, self._from_gateway),
                (self.made.device, self._from_device),
                (self.made.intruder, self._from_intruder),
            ):
                inside(name, partial(self._do, list(tries(rounds))))
            for sniffing in nets.values():
                self.passed.update(
                    each
                    for frame in taken(sniffing)
                    if (each := judge_frame(frame)) and not (self.is_busy and is_of_programs(frame))
                )
            for sink in sinks:
                self.passed.update(
                    f"into the gateway {sink.proto}"
                    for packet in received(sink)
                    if not (self.is_busy and is_of_programs(bytes(14) + packet))
                )

    def _do(self, tries: Sequence[tuple[str, Callable[[], None]]]) -> None:
        """Make each try; being refused by the system at once is fine."""
        for name, attempt in self.chance.sample(tries, len(tries)):
            self.tried[name] += 1
            with suppress(OSError):
                attempt()

    def _port(self, *likely: int) -> int:
        """Draw a port, often one that somebody listens on."""
        return self.chance.choice((*likely, 53, 123, 443, 4460, 1883, self.chance.randint(1, 65_535)))

    def _from_gateway(self, rounds: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """Give what a program on the gateway could try."""
        for number in range(rounds):
            to = self.chance.choice((SERVICE, INTRUDER, DEVICE, *ELSEWHERE))
            to_6 = self.chance.choice((SERVICE_6, INTRUDER_6, DEVICE_6, *ELSEWHERE_6))
            tcp = self._port(80, 8444) if to == SERVICE else self._port(8443)
            tcp_6 = self._port(80, 8444) if to_6 == SERVICE_6 else self._port(8443)
            yield "tcp", partial(call, to, tcp)
            yield "tcp6", partial(call, to_6, tcp_6)
            yield "udp", partial(post, to, self._port(8443))
            yield "udp6", partial(post, to_6, self._port(8443))
            yield "dns", partial(post, to, 53, question(number))
            yield "icmp", partial(echo, to)
            yield "icmp6", partial(echo, to_6)
            yield "spoofed", partial(spoof, f"10.88.2.{number % 99 + 100}", SERVICE, 8443)
        yield "broadcast", partial(post, "10.88.2.255", 9, is_broadcast=True)
        yield "multicast", partial(post, "224.0.0.251", 5353)
        yield "tunnel", partial(raw, SERVICE, 47)

    def _from_device(self, rounds: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """Give what a device could try: through the gateway, and into it beside the listener."""
        for number in range(rounds // 2):
            to = self.chance.choice((SERVICE, INTRUDER, GATEWAY_UP, *ELSEWHERE))
            yield "through", partial(call, to, self._port(8443))
            yield "through", partial(post, to, self._port(8443))
            yield "through", partial(echo, to)
            to_6 = self.chance.choice((SERVICE_6, INTRUDER_6, *ELSEWHERE_6))
            yield "through6", partial(call, to_6, self._port(8443))
            yield "into", partial(call, GATEWAY_OT, self._port(22, 9464))
            yield "into6", partial(post, GATEWAY_OT_6, self._port(22, 9464))
            yield "as another", partial(spoof, f"10.88.2.{number % 99 + 100}", GATEWAY_OT, 8883)

    def _from_intruder(self, rounds: int) -> Iterator[tuple[str, Callable[[], None]]]:
        """Give what somebody on the other network could try: also as a device."""
        for number in range(rounds // 2):
            yield "from outside", partial(call, GATEWAY_UP, self._port(8883, 8883, 22))
            yield "from outside", partial(call, GATEWAY_UP_6, self._port(8883))
            yield "from outside", partial(call, GATEWAY_OT, self._port(8883))
            yield "from outside", partial(post, GATEWAY_UP, self._port(9))
            yield "to a device", partial(post, DEVICE, self._port(9))
            yield "ping", partial(echo, GATEWAY_UP)
            yield "as a device", partial(spoof, f"10.88.1.{number % 99 + 100}", GATEWAY_UP, 8883)


def open_sinks() -> list[socket.socket]:
    """Open sockets that get what the rules let into a machine, before anybody listens on a port."""
    found = []
    for family, protocols in (
        (socket.AF_INET, (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_ICMP)),
        (socket.AF_INET6, (socket.IPPROTO_TCP, socket.IPPROTO_UDP)),
    ):
        for protocol in protocols:
            made = socket.socket(family, socket.SOCK_RAW, protocol)
            made.settimeout(0.2)
            found.append(made)
    return found


def received(sink: socket.socket) -> Iterator[bytes]:
    """Give what a sink got from other machines."""
    while True:
        try:
            found, origin = sink.recvfrom(65_536)
        except TimeoutError:
            return
        if origin[0] not in {"127.0.0.1", "::1", GATEWAY_UP, GATEWAY_OT, GATEWAY_UP_6, GATEWAY_OT_6}:
            yield found


def judge_frame(frame: bytes) -> str:
    """Name what a frame at another machine is, unless it must be there: neighbours, and their like."""
    kind = int.from_bytes(frame[12:14])
    if kind == 0x0800:
        packet = frame[14:]
        return f"out: IPv4 protocol {packet[9]} to {socket.inet_ntoa(packet[16:20])}"
    if kind == 0x86DD:
        packet = frame[14:]
        is_neighbour = packet[6] == socket.IPPROTO_ICMPV6 and packet[40] in {133, 134, 135, 136}
        is_listener = packet[6] == 0 and packet[48] in {131, 143}
        if not is_neighbour and not is_listener:
            return f"out: IPv6 protocol {packet[6]} to {socket.inet_ntop(socket.AF_INET6, packet[24:40])}"
    return ""


def is_of_programs(frame: bytes) -> bool:
    """Whether it is of the uplink's own connection to the service, or a device's to the listener."""
    packet = frame[14:]
    ends = {socket.inet_ntoa(packet[12:16]), socket.inet_ntoa(packet[16:20])}
    ports = set(struct.unpack(">HH", packet[20:24]))
    ways = (({GATEWAY_UP, SERVICE}, 8443), ({GATEWAY_OT, DEVICE}, 8883))
    return packet[9] == socket.IPPROTO_TCP and any(ends == way and port in ports for way, port in ways)


def family_of(to: str) -> socket.AddressFamily:
    """Give the family of an address."""
    return socket.AF_INET6 if ":" in to else socket.AF_INET


def call(to: str, port: int) -> None:
    """Begin a TCP connection."""
    with socket.socket(family_of(to), socket.SOCK_STREAM) as made:
        made.setblocking(False)
        with suppress(BlockingIOError):
            made.connect((to, port))


def post(to: str, port: int, content: bytes = b"forbidden", *, is_broadcast: bool = False) -> None:
    """Send a datagram."""
    with socket.socket(family_of(to), socket.SOCK_DGRAM) as made:
        if is_broadcast:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        made.setblocking(False)
        made.sendto(content, (to, port))


def question(number: int) -> bytes:
    """Write a DNS question that carries something out in its name."""
    label = f"secret-{number}".encode()
    return (
        struct.pack(">6H", number, 0x0100, 1, 0, 0, 0) + bytes([len(label)]) + label + b"\x00\x00\x01\x00\x01"
    )


def echo(to: str) -> None:
    """Send an ICMP echo request."""
    is_v6 = ":" in to
    protocol = socket.IPPROTO_ICMPV6 if is_v6 else socket.IPPROTO_ICMP
    with socket.socket(family_of(to), socket.SOCK_RAW, protocol) as made:
        made.setblocking(False)
        made.sendto(struct.pack(">BBHHH", 128 if is_v6 else 8, 0, 0 if is_v6 else 0xF7FE, 1, 0), (to, 0))


def raw(to: str, protocol: int) -> None:
    """Send a packet of another protocol."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol) as made:
        made.setblocking(False)
        made.sendto(b"forbidden", (to, 0))


def spoof(source: str, to: str, port: int) -> None:
    """Send a TCP SYN under another address."""
    addresses = socket.inet_aton(source) + socket.inet_aton(to)
    segment = struct.pack(">HHIIBBHHH", 40_000, port, 1, 0, 0x50, 0x02, 1024, 0, 0)
    total = sum(struct.unpack(">16H", addresses + struct.pack(">HH", 6, 20) + segment))
    total = (total & 0xFFFF) + (total >> 16)
    segment = segment[:16] + struct.pack(">H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + segment[18:]
    head = struct.pack(">BBHHHBBH", 0x45, 0, 40, 1, 0, 64, 6, 0) + addresses
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as made:
        made.setblocking(False)
        made.sendto(head + segment, (to, 0))
