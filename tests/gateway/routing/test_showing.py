"""What routes tell the gateway of themselves, and what they know of sensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.core.coldchain.measured import moment_ms
from coldseal.gateway.routing.kept import FOLDER
from coldseal.gateway.routing.placing import Placing
from coldseal.gateway.routing.report import Board, RouteStatus, RouteWatch, read_board
from coldseal.observe.metrics import GatewayMetrics
from tests.core.routing.entries import READING, SOURCE, seal
from tests.gateway.judged import holding_data, profile_data, sensor_data
from tests.gateway.routing.rig import Grounds
from tests.sealed import TIME, SealedLog

if TYPE_CHECKING:
    from pathlib import Path


def board_of(grounds: Grounds) -> Board:
    """Give the board of a gateway whose routes have run."""
    (grounds.data / FOLDER).mkdir(exist_ok=True)
    return Board(grounds.data / FOLDER)


def shown(metrics: GatewayMetrics) -> list[str]:
    """Give what metrics show of routes."""
    return [line for line in metrics.render().decode().splitlines() if "_route_" in line and line[0] != "#"]


def test_counts_go_on_over_restarts_of_either_side(grounds: Grounds) -> None:
    """What was counted before is not counted again; a smaller count is that of a new process."""
    grounds.route("erp", "https://localhost:1/in")
    board, metrics = board_of(grounds), GatewayMetrics()
    board.routes["erp"] = RouteStatus(position=3, delivered=3, failed={"busy": 4})
    board.routes["gone"] = RouteStatus(position=9)
    board.write()
    watch = RouteWatch(grounds.config(), metrics)
    watch.tick(10, 5_000)
    board.routes["erp"] = RouteStatus(
        position=5, delivered=5, failed={"busy": 1}, fault="busy: no", waiting_ms=2_000, aside=2, missed=1
    )
    board.write()
    watch.tick(10, 5_000)
    lines = shown(metrics)
    assert 'coldseal_gateway_route_delivered_total{route="erp"} 2.0' in lines
    assert 'coldseal_gateway_route_failures_total{cause="busy"} 1.0' in lines
    assert 'coldseal_gateway_route_backlog_entries{route="erp"} 5.0' in lines
    assert 'coldseal_gateway_route_oldest_seconds{route="erp"} 3.0' in lines
    assert 'coldseal_gateway_route_aside_entries{route="erp"} 2.0' in lines
    assert 'coldseal_gateway_route_missed_entries{route="erp"} 1.0' in lines
    assert 'coldseal_gateway_route_up{route="erp"} 0.0' in lines
    assert not any("gone" in line for line in lines)
    assert list(watch.status()) == ["erp"]


def test_a_board_that_cannot_be_read_or_written_is_no_fault(grounds: Grounds, tmp_path: Path) -> None:
    """It is told anew in a moment."""
    assert read_board(grounds.data) == {}
    board = board_of(grounds)
    (grounds.data / FOLDER / "status.json").write_bytes(b"{")
    assert read_board(grounds.data) == {}
    board.write()
    assert read_board(grounds.data) == {}
    away = Board(tmp_path / "nowhere")
    away.routes["erp"] = RouteStatus()
    away.write()


def test_what_a_sensor_watches_is_known_as_soon_as_the_log_says_it() -> None:
    """And stays what it was for what was measured before."""
    log = SealedLog()
    placing = Placing(lambda: [raw for raw in log.entries if b'"kind":"reading"' not in raw])
    now = moment_ms(TIME)
    seal(log, "reading", READING, SOURCE)
    placing.look(0, log.entries)
    assert placing("dev-1", "door", now) == ("", "")
    seal(log, "profile", profile_data())
    seal(log, "config", sensor_data())
    seal(log, "config", {"assign": "nonsense", "who": "Ada", "why": "a fault"})
    seal(log, "config", holding_data())
    placing.look(0, log.entries[:1])
    assert placing("dev-1", "door", now) == ("", "")
    placing.look(1, log.entries[1:])
    assert placing("dev-1", "door", now) == ("fridge-1", "vaccine")
    assert placing("dev-1", "door", now - 1) == ("", "")
    assert placing("dev-2", "door", now) == ("", "")
