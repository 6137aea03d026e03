"""The comparison with others counts right, and its sensors lose nothing by themselves."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

import pytest

from bench.loading import Credentials
from bench.peers import cases
from bench.peers.cases import Outcome, Sizes
from bench.peers.counting import Count, count, spans
from bench.peers.page import BEGIN, END, table, write
from bench.peers.setups import mosquitto_bridge
from bench.peers.sink import parse_reading, parse_telemetry
from bench.programs import coldseal

SMALL = Sizes(400, 400, 400, 600, 200, 1.0, 10.0, 20.0)


def test_what_is_lost_doubled_and_out_of_order_is_counted() -> None:
    """A message that comes again breaks no order; one that was not acknowledged is not lost."""
    acknowledged = {"a": [(1, 4)], "b": [(7, 7)]}
    delivered = [("a", 1), ("a", 3), ("a", 2), ("a", 3), ("a", 9), ("b", 7), ("a", 1)]
    assert count(acknowledged, delivered) == Count(
        acknowledged=5, delivered=5, lost=1, doubled=2, order_breaks=1
    )


def test_numbers_are_written_as_spans() -> None:
    """However they came."""
    assert spans({5, 1, 2, 3, 9}) == [(1, 3), (5, 5), (9, 9)]
    assert spans([]) == []


def test_a_reading_is_known_by_its_topic_or_by_thingsboard_s_telemetry() -> None:
    """Other values of a device are not readings, and neither are other topics."""
    assert parse_reading("coldseal/v1/bench/sensor-001/reading/x", b'{"seq":7}') == [("sensor-001", 7)]
    telemetry = b'{"d1":[{"ts":1,"values":{"s8":8,"s9":"9"}}],"d2":[{"x":1}]}'
    assert parse_telemetry("v1/gateway/telemetry", telemetry) == [("d1", 8), ("d1", 9)]
    assert parse_telemetry("v1/gateway/connect", b"{}") == []


def test_a_loss_stands_out_and_what_did_not_run_has_no_figures(tmp_path: Path) -> None:
    """On the page, between its marks; the rest of it stays."""
    page = tmp_path / "peers.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    found = [
        Outcome("one", "burst", Count(1000, 998, 2, 0, 0), 5000.0, 1.0, 2.0, 30.0, 40.0, None, "a note"),
        Outcome("two", "burst", note="it did not start"),
    ]
    write(page, "a machine", found)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| burst | one | 1,000 | 998 | **2** | 0 | 0 | 5,000 | 1.0 ms | 2.0 ms | 30 MB | 40 µs |" in text
    stopped = Outcome(
        "three", "outage", Count(9, 8, 1, 0, 0), note="stopped after 9 s while it still delivered"
    )
    assert "| 9 | 8 | ≤ 1 | 0 |" in table([stopped])
    assert table(found[1:]).splitlines()[-1] == f"| burst | two | not run |{'  |' * 10} it did not start |"


@pytest.fixture(scope="module")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """Certificates of as many sensors as a trial has."""
    folder = tmp_path_factory.mktemp("peers") / "pki"
    names = ",".join(f"sensor-{number:03d}" for number in range(1, 21))
    coldseal("identity", "dev-ca", folder, "--devices", names)
    return Credentials(folder)


@pytest.mark.skipif(shutil.which("mosquitto") is None, reason="mosquitto is not installed: not run")
@pytest.mark.parametrize("case", ["paced", "outage", "killed"])
def test_a_trial_runs_from_sensors_to_the_sink(case: str, credentials: Credentials, tmp_path: Path) -> None:
    """With a peer that keeps what it was given while nobody kills it, nothing is lost."""
    peer = partial(mosquitto_bridge, is_saved_always=False)
    found = cases.run(peer, case, credentials, SMALL, tmp_path / "trial").count
    assert found is not None
    assert found.acknowledged == {"paced": 400, "outage": 400, "killed": 600}[case]
    assert found.order_breaks == 0
    assert case == "killed" or (found.lost, found.doubled) == (0, 0)
