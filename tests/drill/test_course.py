"""How drills go, and what their reports show, by a gateway that is played: refusals, bad verdicts, texts."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.drill.course import Check, Record, Stage
from coldseal.drill.faults import full_disk, is_dead, partition, power
from coldseal.drill.report import html, markdown, write_report
from coldseal.drill.restore import restore
from coldseal.errors import OperatorError
from coldseal.gateway.control import ControlServer
from coldseal.gateway.records import Sealed
from tests.gateway.parts import Hands
from tests.gateway.test_config import LEAST, load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from coldseal.gateway.control import Answer

ORIGIN = "coldseal.example/site-7/gw-1"
DATA = {
    "began": "2026-01-01T00:00:00.000Z",
    "checks": [
        Check("published while cut", "0", "0", ok=True)._asdict(),
        Check("a <check> | of all", "1", "2", ok=False)._asdict(),
    ],
    "drill": "partition",
    "ended": "2026-01-01T00:00:20.000Z",
    "software": "coldseal 0",
    "verdict": "bad",
    "who": "A. <Person>",
    "why": "Q1",
}
RECORD = Record(DATA, Sealed(42, "ab" * 32))


class Played:
    """A gateway's control channel with scripted answers, served beside the test."""

    def __init__(self, folder: Path, *statuses: dict[str, Any]) -> None:
        """Answer `status` with one after the other, and the last one for ever."""
        self.folder, self.statuses, self.asked = folder, list(statuses), list[str]()
        self.handlers = {"status": self.tell, "exercise": self.play, "checkpoint": self.refuse}

    def tell(self, _request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """Say how it is."""
        answer({"status": self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]})

    def play(self, request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """Note what shall be played."""
        self.asked.append(request["fault"])
        answer({})

    def refuse(self, _request: Mapping[str, Any], _answer: Callable[[Answer], None]) -> None:
        """Take nothing in, not even the log's own."""
        raise OperatorError("there is no room at all", "Make room")

    @contextmanager
    def serving(self) -> Iterator[Played]:
        """Serve in a thread with a loop of its own until the block ends."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        server = ControlServer(self.folder, self.handlers)
        try:
            asyncio.run_coroutine_threadsafe(server.start(), loop).result()
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()


def status(**changes: object) -> dict[str, object]:
    """Give a status: all is well, unless said otherwise."""
    well = {"accepted": 0, "full": False, "pid": 1, "published": 10, "size": 10, "uplink": "idle"}
    return {**well, "clock": "synchronised", **changes}


def stage(tmp_path: Path, *, uplink: bool = True) -> Stage:
    """Give a stage on which no time passes but that which is waited for."""
    hands = Hands()
    lines = (
        '[uplink]\nurl = "https://localhost:1"\ncertificate = "a"\nkey = "b"\nca = "c"\nwitness = "w+1+A"\n'
        if uplink
        else ""
    )
    config = load(tmp_path, LEAST + lines)
    config.gateway.data.mkdir(exist_ok=True)
    return Stage(config, 2.0, 5.0, clock=hands.clock(), wait=lambda s: hands.pass_ms(round(s * 1000)))


def test_without_a_running_gateway_there_is_no_drill(tmp_path: Path) -> None:
    """Whatever it is."""
    for drill in (partition, full_disk, power, restore):
        with pytest.raises(OperatorError, match=r"no gateway runs on .* needs the live system"):
            drill(stage(tmp_path))


def test_a_fault_that_is_there_already_is_no_drill(tmp_path: Path) -> None:
    """Nothing is played then."""
    place = stage(tmp_path)
    with Played(
        place.config.gateway.data, status(uplink="waiting (unreachable)", full=True)
    ).serving() as played:
        with pytest.raises(OperatorError, match="the uplink is waiting"):
            partition(place)
        with pytest.raises(OperatorError, match="full already"):
            full_disk(place)
        with pytest.raises(OperatorError, match="--entries is 0"):
            restore(place, entries=0)
    assert played.asked == []


def test_where_no_service_is_configured_nothing_can_be_cut(tmp_path: Path) -> None:
    """It says so."""
    place = stage(tmp_path, uplink=False)
    with (
        Played(place.config.gateway.data, status()).serving(),
        pytest.raises(OperatorError, match="nothing to cut"),
    ):
        partition(place)


def test_a_gateway_that_nobody_would_start_again_is_not_ended(tmp_path: Path) -> None:
    """Its parent is this test, which is no service manager."""
    place = stage(tmp_path)
    for pid in (os.getpid(), 2**22):
        with (
            Played(place.config.gateway.data, status(pid=pid)).serving(),
            pytest.raises(OperatorError, match=rf"nobody would start the gateway {pid} again"),
        ):
            power(place)
    assert not is_dead(os.getpid())
    assert is_dead(2**22)


def test_what_is_not_delivered_after_a_cut_is_a_bad_verdict(tmp_path: Path) -> None:
    """Readings came in, but the uplink did not come back, and delivered while it was cut."""
    place = stage(tmp_path)
    lives = [status(), status(accepted=1), status(accepted=2), status(accepted=2)]
    end = status(accepted=2, published=11, size=20, uplink="waiting (unreachable)")
    with Played(place.config.gateway.data, *lives, end).serving() as played:
        checks = {each.check: each.ok for each in partition(place)}
    assert played.asked == ["partition"]
    assert checks == {
        "published while cut": False,
        "readings acknowledged while cut": False,
        "entries that waited": True,
        "seconds until all of them had a receipt": False,
        "the uplink afterwards": False,
    }


def test_a_report_says_what_the_entry_says_in_both_forms(tmp_path: Path) -> None:
    """Nothing in it can become markup."""
    for text in (markdown(ORIGIN, RECORD), html(ORIGIN, RECORD)):
        assert "NOT OK" in text
        assert "42, leaf hash abab" in text
        assert "bad" in text
    assert "A. &lt;Person&gt;" in html(ORIGIN, RECORD)
    assert "a <check> \\| of all" in markdown(ORIGIN, RECORD)
    assert "<check>" not in html(ORIGIN, RECORD)
    paths = write_report(tmp_path / "reports", ORIGIN, RECORD)
    assert [path.name for path in paths] == ["000000000042-partition.md", "000000000042-partition.html"]
    assert not RECORD.is_good
