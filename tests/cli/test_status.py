"""`status`: a running program's answer in words, and an exit code that can be trusted."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from coldseal.cli.main import run
from coldseal.cli.output import print_facts, render_bytes, render_duration, render_span
from coldseal.observe.health import Health, HealthServer, Views
from coldseal.settings import Address
from tests.cli.conftest import Site, coldseal

STATUS: Mapping[str, object] = {
    "origin": "example.com/s1/gw-0001",
    "size": 1_234_567,
    "published": 1_234_000,
    "backlog": 567,
    "backlog_s": 90.2,
    "receipt_age_s": None,
    "checkpoint_age_s": 4000,
    "store_bytes": 5_000_000,
    "witnesses": {"w1+00": "cosigns, up to 7", "w2+00": "no route, up to 0"},
    "silent": {"freezer-2": 7300.0, "freezer-3": 60},
    "egress_refused": {"https://service.example:443": "pin: another key"},
    "clock": None,
    "house_rule": "none",
}


@contextmanager
def program(health: Health, status: Mapping[str, object] = STATUS) -> Iterator[Address]:
    """Serve a status as a running program does, in a thread of its own."""
    views = Views(lambda: health, lambda: health, lambda: b"", lambda: status)
    started, stop = threading.Event(), asyncio.Event()
    found: list[tuple[asyncio.AbstractEventLoop, Address]] = []

    async def serve() -> None:
        """Serve until told to stop."""
        server = HealthServer(views)
        found.append((asyncio.get_running_loop(), await server.start(Address("127.0.0.1:0"))))
        started.set()
        await stop.wait()
        await server.stop()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert started.wait(10)
        yield found[0][1]
    finally:
        found[0][0].call_soon_threadsafe(stop.set)
        thread.join(10)


def test_a_well_program_is_described_in_words(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers with their units, ages as ages, an unknown value under its own name."""
    with program(Health()) as address:
        assert run(["gateway", "status", str(site.gateway), "--set", f"http.listen={address}"]) == 0
    text = capsys.readouterr().out
    for words in (
        "entries                 1,234,567",
        "without receipt         567",
        "oldest without receipt  90 s",
        "last receipt            never",
        "last checkpoint         67 min ago",
        "store                   4.8 MiB",
        "further witnesses       w1+00: cosigns, up to 7, w2+00: no route, up to 0",
        "silent sensors          freezer-2 (2 h), freezer-3 (60 s)",
        "ways out refused        https://service.example:443 (pin: another key)",
        "clock                   unknown",
        "house rule              none",
        "The gateway is well.",
    ):
        assert words in text


def test_a_program_that_is_not_well_says_why_and_exits_with_1(site: Site) -> None:
    """As a process, in words and as JSON."""
    with program(Health(("the disk is full",)), {"size": 1, "silent": {}, "witnesses": {}}) as address:
        option = f"http.listen={address}"
        done = coldseal("service", "status", site.service, "--set", option)
        assert done.returncode == 1
        assert "The service is NOT WELL.\n  the disk is full\n" in done.stdout
        assert "silent sensors     none" in done.stdout
        assert "further witnesses  none" in done.stdout
        done = coldseal("service", "status", site.service, "--set", option, "--json")
    assert done.returncode == 1
    expected = {"ok": False, "reasons": ["the disk is full"], "size": 1, "silent": {}, "witnesses": {}}
    assert json.loads(done.stdout) == expected


def test_nobody_there_is_unavailable(site: Site) -> None:
    """Exit code 3: it may come back."""
    done = coldseal("gateway", "status", site.gateway, "--set", "http.listen=127.0.0.1:1")
    assert done.returncode == 3
    assert "the gateway at 127.0.0.1:1 is unavailable: Connection refused" in done.stderr


def test_a_status_page_that_is_switched_off_is_named(site: Site) -> None:
    """Exit code 2: the configuration says so."""
    done = coldseal("gateway", "status", site.gateway, "--set", "http.listen=")
    assert done.returncode == 2
    assert "http.listen is empty" in done.stderr


@contextmanager
def stranger(answer: bytes) -> Iterator[str]:
    """Listen as some other program would, and answer whatever comes with the same bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            """Answer once."""
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http.listen=127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_something_else_on_the_port_is_unavailable(
    site: Site, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    """Not a crash."""
    with stranger(answer) as option:
        assert run(["gateway", "status", str(site.gateway), "--set", option]) == 3
    assert "something else answers there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (1024**3 - 1, "1024.0 MiB"),
        (1024**3, "1.0 GiB"),
        (5 * 1024**4, "5.0 TiB"),
    ],
)
def test_bytes_are_rendered_in_binary_units(count: float, text: str) -> None:
    """As disks and limits are."""
    assert render_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7_199, "120 min"), (7_200, "2 h"), (172_800, "2 days")],
)
def test_spans_are_rendered_in_their_largest_fitting_unit(seconds: float, text: str) -> None:
    """Nobody reads 172800 s."""
    assert render_span(seconds) == text


def test_no_facts_print_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """An empty table has no width."""
    print_facts({})
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (30_300, "8 h 25 min"),
        (86_399, "23 h 59 min 59 s"),
        (86_400, "1 d"),
        (2_628_001, "30 d 10 h 1 s"),
    ],
)
def test_a_figure_on_record_is_shown_whole(seconds: int, text: str) -> None:
    """Time out of range is held against a limit: it is not rounded for people."""
    assert render_duration(seconds) == text
