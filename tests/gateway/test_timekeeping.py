"""Time services as the gateway asks them: their protocols, which one is followed, what goes on record."""

from __future__ import annotations

import json
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pytest

from coldseal.core.timekeeping import Report
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.clock import Clock, KernelClock
from coldseal.gateway.config import load_gateway
from coldseal.gateway.tables.time import Time
from coldseal.gateway.timekeeping import Services, Timekeeper, open_clock
from coldseal.gateway.timekeeping.chrony import ask_chrony
from coldseal.gateway.timekeeping.ntpsec import ask_ntpsec
from coldseal.gateway.timekeeping.services import demands_of
from coldseal.observe.metrics import GatewayMetrics
from coldseal.settings import Address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

REPORT: Final = Report("chrony", "192.0.2.7", "nts", -3, 12, "normal", "1")


def seconds() -> float:
    """Count up, by the boot clock."""
    return Clock().now().mono_ms / 1000


@contextmanager
def answering(link: socket.socket, answer: Callable[[bytes], list[bytes]]) -> Iterator[None]:
    """Answer datagrams until the end of the block."""
    link.settimeout(0.02)
    stop = threading.Event()

    def serve() -> None:
        while not stop.is_set():
            try:
                data, sender = link.recvfrom(2048)
            except TimeoutError:
                continue
            for each in answer(data):
                link.sendto(each, sender)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        link.close()


def packed(value: float) -> int:
    """Write one of chrony's 32-bit numbers."""
    exponent = 0
    while abs(value) >= 1 << 23:
        value, exponent = value / 2, exponent + 1
    while value and abs(value) < 1 << 22 and exponent > -39:
        value, exponent = value * 2, exponent - 1
    return (exponent + 25 & 0x7F) << 25 | int(value) & 0x1FF_FFFF


@dataclass
class Chronyd:
    """What a chronyd answers, as a test has it."""

    offset: float = 0.25
    leap: int = 0
    family: int = 1
    reference: bytes = b"GPS\0"
    sources: list[tuple[int, int, int]] = field(default_factory=lambda: [(0, 0, 2)])
    spoil: Callable[[int, bytes], bytes] = lambda _, answer: answer

    def __call__(self, request: bytes) -> list[bytes]:
        """Answer a request."""
        command, (index,) = struct.unpack_from("!H", request, 4)[0], struct.unpack_from("!I", request, 20)
        if command == 33:
            numbers = [self.offset, 0, 0, 0, 0, 0, 0.002, 0.003, 1]
            address = bytes([192, 0, 2, 7]).ljust(16, b"\0") if self.family == 1 else bytes(15) + b"\x01"
            data = self.reference + address + struct.pack("!HHHHIII", self.family, 0, 2, self.leap, 0, 7, 9)
            reply, data = 5, data + struct.pack("!9I", *map(packed, numbers))
        elif command == 14:
            reply, data = 2, struct.pack("!I", len(self.sources))
        elif command == 15:
            state, mode, _ = self.sources[index]
            fields = struct.pack("!HHhHHHHHIIII", 1, 0, 4, 1, state, mode, 0, 255, 0, 0, 0, 0)
            reply, data = 3, index.to_bytes(16, "big") + fields
        else:
            place = int.from_bytes(request[20:36], "big")
            reply, data = (
                20,
                struct.pack("!HHIHHIHHHH", self.sources[place][2], 15, 1, 256, 0, 0, 8, 100, 0, 0),
            )
        head = struct.pack("!BBBBHHHHHHIII", 6, 2, 0, 0, command, reply, 0, 0, 0, 0, 0, 0, 0)
        return [self.spoil(command, head + data)]

    @contextmanager
    def on(self, path: Path) -> Iterator[Path]:
        """Listen at a path."""
        link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        link.bind(str(path))
        with answering(link, self):
            yield path

    def ask(self, folder: Path) -> Report:
        """Have it asked."""
        with self.on(folder / "chronyd.sock") as path:
            return ask_chrony(path, timeout_s=0.5, clock=seconds)


def test_chrony_s_numbers_and_names_are_read(tmp_path: Path) -> None:
    """The offset is true time less ours, the bound half the delay and the dispersion."""
    assert Chronyd(-3_599.5).ask(tmp_path) == Report(
        "chrony", "192.0.2.7", "nts", -3_599_500, 4, "normal", "0.7.9"
    )
    assert not list(tmp_path.glob("coldseal*"))


@pytest.mark.parametrize(
    ("chronyd", "source", "authentication", "leap"),
    [
        (Chronyd(family=2), "::1", "nts", "normal"),
        (Chronyd(family=0, sources=[(0, 2, 0)]), "GPS", "local", "normal"),
        (Chronyd(sources=[(0, 0, 1)], leap=1), "192.0.2.7", "symmetric", "insert"),
        (Chronyd(sources=[(0, 0, 2), (4, 0, 0)]), "192.0.2.7", "none", "normal"),
        (Chronyd(sources=[(0, 0, 2), (5, 0, 0), (1, 0, 0)]), "192.0.2.7", "nts", "normal"),
        (Chronyd(sources=[(1, 0, 2)]), "", "none", "normal"),
        (Chronyd(sources=[]), "", "none", "normal"),
        (Chronyd(leap=3), "", "nts", "alarm"),
        (Chronyd(leap=9), "", "nts", "alarm"),
    ],
    ids=["IPv6", "receiver", "key", "combined", "not combined", "lost", "none", "unset", "odd leap"],
)
def test_what_chrony_follows_and_how_it_is_authenticated(
    tmp_path: Path, chronyd: Chronyd, source: str, authentication: str, leap: str
) -> None:
    """The weakest of those that it combines counts; what it does not follow does not."""
    found = chronyd.ask(tmp_path)
    assert (found.source, found.authentication, found.leap) == (source, authentication, leap)


def failing(command: int) -> Callable[[int, bytes], bytes]:
    """Give what answers one command with "not authorised"."""
    return lambda which, answer: answer[:8] + b"\0\2" + answer[10:] if which == command else answer


@pytest.mark.parametrize(
    "spoil",
    [
        failing(67),
        lambda _, answer: b"\5" + answer[1:],
        lambda _, answer: answer[:40],
        lambda _, answer: answer[:7] + b"\7" + answer[8:],
        lambda _, _answer: b"",
    ],
    ids=["not authorised", "other version", "cut", "other reply", "empty"],
)
def test_an_answer_of_chrony_that_is_none_is_silence(
    tmp_path: Path, spoil: Callable[[int, bytes], bytes]
) -> None:
    """Whoever cannot be understood vouches for nothing."""
    with pytest.raises(UnavailableError, match="no answer"):
        Chronyd(spoil=spoil).ask(tmp_path)


def test_a_chronyd_that_is_not_there_or_says_nothing_is_told_so(tmp_path: Path) -> None:
    """Within the time given for all answers."""
    with pytest.raises(UnavailableError, match="No such file"):
        ask_chrony(tmp_path / "absent.sock", timeout_s=0.5, clock=seconds)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        began = seconds()
        with pytest.raises(UnavailableError, match="timed out"):
            ask_chrony(tmp_path / "mute.sock", timeout_s=0.05, clock=seconds)
        assert seconds() - began < 5


PEER: Final = (
    b"srcadr=192.0.2.7, leap=0, rootdelay=1.000, rootdisp=2.000,\r\nreftime=0x1.0, delay=3.0, "
    b'offset=-250.4, jitter=0.5,\r\ndispersion=1.0, ntscookies=8, note="a, b=c"'
)


@dataclass
class Ntpd:
    """What an ntpd answers, as a test has it."""

    peers: dict[int, tuple[int, bytes]] = field(default_factory=lambda: {17: (0xF61A, PEER)})
    system: bytes = b"leap=0, stratum=2, reftime=0xeead8545.f5cbe5e2, rootdisp=1.0"
    part: int = 468
    spoil: Callable[[list[bytes]], list[bytes]] = lambda answers: answers

    def __call__(self, query: bytes) -> list[bytes]:
        """Answer a query, in parts."""
        _, operation, sequence, _, association, _, _ = struct.unpack("!BBHHHHH", query)
        if operation == 1:
            status, data = 0, b"".join(struct.pack("!HH", peer, said[0]) for peer, said in self.peers.items())
        else:
            status, data = self.peers[association] if association else (0, self.system)
        pieces = [data[at : at + self.part] for at in range(0, max(1, len(data)), self.part)]
        answers = []
        for place, piece in enumerate(pieces):
            code = 0x80 | operation | (0x20 if place < len(pieces) - 1 else 0)
            head = (0x16, code, sequence, status, association, place * self.part, len(piece))
            answers.append(struct.pack("!BBHHHHH", *head) + piece)
        return self.spoil(answers)

    @contextmanager
    def on(self) -> Iterator[Address]:
        """Listen on a free port."""
        link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        link.bind(("127.0.0.1", 0))
        address = Address(f"127.0.0.1:{link.getsockname()[1]}")
        with answering(link, self):
            yield address

    def ask(self) -> Report:
        """Have it asked."""
        with self.on() as address:
            return ask_ntpsec(address, timeout_s=0.5, clock=seconds)


def test_ntpsec_s_variables_are_read_in_whatever_parts_they_come() -> None:
    """Also when these come in another order; the bound is that of the peer it follows."""
    expected = Report("ntpsec", "192.0.2.7", "nts", -250, 6, "normal", "0xeead8545.f5cbe5e2")
    assert Ntpd().ask() == expected
    assert Ntpd(part=40, spoil=lambda answers: answers[::-1]).ask() == expected


@pytest.mark.parametrize(
    ("peers", "source", "authentication"),
    [
        ({1: (0xF61A, PEER), 2: (0xF41A, PEER)}, "192.0.2.7", "nts"),
        ({1: (0xF61A, PEER), 2: (0xB41A, PEER)}, "192.0.2.7", "none"),
        ({1: (0xF61A, PEER.replace(b"=8", b"=-1"))}, "192.0.2.7", "symmetric"),
        ({1: (0x961A, PEER.replace(b"192.0.2.7", b"127.127.20.0"))}, "127.127.20.0", "local"),
        ({1: (0xF31A, PEER)}, "", "none"),
        ({1: (0xF41A, PEER)}, "", "nts"),
        ({}, "", "none"),
    ],
    ids=["two", "one forged", "key", "receiver", "lost", "no system peer", "none"],
)
def test_what_ntpsec_follows_and_how_it_is_authenticated(
    peers: dict[int, tuple[int, bytes]], source: str, authentication: str
) -> None:
    """The weakest of those that it combines counts."""
    found = Ntpd(peers).ask()
    assert (found.source, found.authentication) == (source, authentication)


def test_an_ntpd_that_was_not_set_yet_says_so() -> None:
    """Leap is the alarm until its first update."""
    assert Ntpd(system=b"leap=3, reftime=0x0.0").ask().leap == "alarm"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda answers: [answers[0][:1] + bytes([answers[0][1] | 0x40]) + answers[0][2:]],
        lambda answers: [answers[0][:2] + b"\xff\xff" + answers[0][4:]] * 70,
        lambda answers: [answers[0][:5]],
        lambda answers: [answers[0].replace(b"reftime", b"reftemp")],
        lambda answers: [answers[0].replace(b"1.000", b"x.yyy")],
        lambda _: [],
    ],
    ids=["error", "others' answers", "cut", "variable missing", "no number", "silence"],
)
def test_an_answer_of_ntpsec_that_is_none_is_silence(spoil: Callable[[list[bytes]], list[bytes]]) -> None:
    """Whoever cannot be understood vouches for nothing."""
    with pytest.raises(UnavailableError, match="no answer"):
        Ntpd(spoil=spoil).ask()


def test_ntpsec_is_asked_over_ipv6_too() -> None:
    """Where nobody listens, that is known at once."""
    with pytest.raises(UnavailableError):
        ask_ntpsec(Address("[::1]:9"), timeout_s=0.2, clock=seconds)


def test_the_first_service_that_answers_is_followed_and_not_exchanged(tmp_path: Path) -> None:
    """An intruder who ends one must not be able to offer another."""
    with Ntpd().on() as address:
        settings = Time(chrony=tmp_path / "chronyd.sock", ntpsec=address)
        services = Services(settings, seconds)
        assert not services.is_expected
        with Chronyd().on(settings.chrony):
            report = services.ask()
            assert report is not None
            assert (report.service, services.is_expected, services.fault) == ("chrony", True, "")
        settings.chrony.unlink()
        assert services.ask() is None
        assert "chronyd" in services.fault
        other = Services(settings, seconds).ask()
        assert other is not None
        assert other.service == "ntpsec"


def test_a_clock_opened_by_a_configuration_has_heard_its_service(tmp_path: Path) -> None:
    """Before the first entry; where a service is named and silent, its silence counts."""
    settings = Time(source="chrony", chrony=tmp_path / "chronyd.sock", kernel_must_agree=False)
    assert open_clock(settings).status().reason == "service-silent"
    with Chronyd(0).on(settings.chrony):
        clock = open_clock(settings)
    assert clock.status().state == "synchronised"
    alone = open_clock(Time(source="kernel", require_authentication=False))
    assert alone.provenance == {}


@dataclass
class Kept:
    """A timekeeper on a clock that a test sets, and what it seals."""

    folder: Path
    has_room: bool = True
    sealed: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Put the parts together."""
        settings = Time(source="chrony", chrony=self.folder / "chronyd.sock", interval_s=0.05)
        self.settings, self.metrics = settings, GatewayMetrics()
        kernel = KernelClock(disciplined=True, offset_ms=0, error_ms=1)
        self.clock = Clock(kernel=lambda: kernel, demands=demands_of(settings))
        self.clock.follow(REPORT)
        self.keeper = Timekeeper(settings, clock=self.clock, metrics=self.metrics, seal=self.seal)

    async def seal(self, kind: str, data: bytes) -> bytes:
        """Keep what is sealed."""
        if not self.has_room:
            raise UnavailableError("the log", "no room")
        self.sealed.append({"kind": kind, **json.loads(data)})  # what was written as canonical JSON
        return b""

    async def look(self, chronyd: Chronyd | None) -> None:
        """Look once at a chronyd; None if none is there."""
        if chronyd is None:
            await self.keeper.look()
            return
        with chronyd.on(self.settings.chrony):
            await self.keeper.look()
        self.settings.chrony.unlink()


async def test_a_new_source_is_on_record_where_the_state_stays_the_same(tmp_path: Path) -> None:
    """Once; a change of state is told by the journal, which knows the source."""
    kept = Kept(tmp_path)
    for chronyd in (Chronyd(0), Chronyd(0), Chronyd(0, family=2)):
        await kept.look(chronyd)
    assert [(each["source"], each["auth"]) for each in kept.sealed] == [("192.0.2.7", "nts"), ("::1", "nts")]
    assert kept.sealed[0] == {
        "kind": "clock", "auth": "nts", "err": 4, "from": "synchronised", "off": 0, "service": "chrony",
        "source": "192.0.2.7", "step": 0, "to": "synchronised",
    }  # fmt: skip
    await kept.look(Chronyd(0, sources=[(0, 0, 0)]))
    await kept.look(None)
    await kept.look(Chronyd(0))
    assert kept.clock.status().state == "synchronised"
    assert [each["source"] for each in kept.sealed[2:]] == [""]


async def test_what_found_no_room_is_put_on_record_later(tmp_path: Path) -> None:
    """A full disk takes nothing else down."""
    kept = Kept(tmp_path, has_room=False)
    await kept.look(Chronyd(0))
    assert kept.sealed == []
    kept.has_room = True
    await kept.look(Chronyd(0))
    assert [each["source"] for each in kept.sealed] == ["192.0.2.7"]


async def test_people_are_told_once_when_time_is_lost_and_once_when_it_is_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The service's silence, and that readings are flagged."""
    kept = Kept(tmp_path)
    for chronyd in (Chronyd(0), None, None, Chronyd(9), Chronyd(9), Chronyd(0)):
        await kept.look(chronyd)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]  # log lines
    names = [line["event"] for line in lines if line["event"].startswith("time.")]
    assert [name for name in names if name != "time.source-changed"] == [
        "time.service-lost",
        "time.service-back",
        "time.doubted",
        "time.trusted",
    ]
    assert kept.keeper.status() == {
        "state": "synchronised", "reason": "", "offset_ms": 0, "error_ms": 4, "service": "chrony",
        "source": "192.0.2.7", "authentication": "nts", "leap": "normal", "fault": "", "flagged": False,
    }  # fmt: skip
    await kept.look(None)
    assert "No such file" in str(kept.keeper.status()["fault"])


async def test_metrics_show_how_time_stands(tmp_path: Path) -> None:
    """An unknown bound is not a number."""
    kept = Kept(tmp_path)
    await kept.look(Chronyd(0))
    shown = kept.metrics.render()
    for name, value in (
        ("clock_error_seconds", "0.004"),
        ("clock_doubted", "0.0"),
        ("time_service_up", "1.0"),
    ):
        assert f"coldseal_gateway_{name} {value}".encode() in shown
    await kept.look(Chronyd(0, sources=[(0, 0, 0)]))
    shown = kept.metrics.render()
    for name, value in (
        ("clock_error_seconds", "NaN"),
        ("clock_doubted", "1.0"),
        ("time_authenticated", "0.0"),
    ):
        assert f"coldseal_gateway_{name} {value}".encode() in shown


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ('source = "kernel"', "cannot say whether time is authenticated"),
        ('ntpsec = "192.0.2.1:123"', "reachable from the network"),
        ("limit_ms = 5000", "limit_ms"),
        ('servers = ["a b"]', "servers"),
    ],
    ids=["kernel", "remote", "limit", "server"],
)
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, line: str, match: str) -> None:
    """With the cure."""
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "a.example/gw-1"\nsite = "site-7"\n[mqtt]\nlisten = ""\n'
        f'plain_listen = "127.0.0.1:0"\npasswords = "passwords"\n[time]\n{line}\n'
    )
    with pytest.raises(OperatorError, match=match):
        load_gateway(path)
