"""How certificates stand: alarms by the life that is left, figures of renewals, and the request for one."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from coldseal.core.renewal import Phase
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.enrolling import Certificates, renew_handler
from coldseal.gateway.uplink.companion import Companion
from coldseal.gateway.uplink.renewals import KEPT, Standing, read_standings, write_standings
from coldseal.identity.authority import Authority, create_authority
from coldseal.observe.metrics import GatewayMetrics

BEGAN = datetime(2027, 1, 1, tzinfo=UTC)
DAY_MS = 86_400_000
URL = "https://localhost:8444"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Make a CA with a gateway whose certificate lives for ten days."""
    made = create_authority(tmp_path / "pki", now=BEGAN)
    made.issue("gateway", "gw-1", now=BEGAN, days=10)
    return made


def write(folder: Path, more: str = "") -> Path:
    """Write a configuration."""
    certificate = folder / "pki" / "gateway" / "gw-1.pem"
    named = f'certificate = "{certificate}"\nkey = "{certificate.with_suffix(".key")}"\n'
    path = folder / "gateway.toml"
    path.write_text(
        f'[gateway]\norigin = "example.com/gw-1"\nsite = "lab"\n[mqtt]\n{named}'
        f'client_ca = "{folder / "pki" / "root.pem"}"\n'
        f'[uplink]\nurl = "https://localhost:1"\nwitness = "w+1+A"\nca = "root.pem"\n{named}'
        f"[enrolment]\n{more}"
    )
    return path


def load(folder: Path) -> GatewayConfig:
    """Load a configuration with an enrolment server."""
    config = load_gateway(write(folder, f'url = "{URL}"\n'))
    config.gateway.data.mkdir(exist_ok=True)
    return config


def at(days: float) -> int:
    """Give a moment so many days behind the beginning, milliseconds."""
    return round(BEGAN.timestamp() * 1000 + days * DAY_MS)


def test_each_step_nearer_to_the_end_is_said_once(
    tmp_path: Path, authority: Authority, lines: io.StringIO
) -> None:
    """Warning, critical, expired; and nothing more until it was renewed."""
    metrics = GatewayMetrics()
    found = Certificates(load(tmp_path), metrics)
    alarms = []
    for days in (1, 5, 7.4, 7.6, 7.7, 9.1, 9.2, 10.1, 10.2, 30):
        found.refresh(at(days))
        alarms.append(found.status(at(days))["uplink"]["alarm"])
    assert alarms == ["", "", "", "warning", "warning", "critical", "critical", *["expired"] * 3]
    said = lines.getvalue()
    events = ("certificate.expires", "certificate.critical", "certificate.expired")
    assert [said.count(f'"{event}"') for event in events] == [2, 2, 2]  # of listener and uplink
    shown = metrics.registry.get_sample_value("coldseal_gateway_certificate_alarm", {"certificate": "uplink"})
    assert shown == 3
    renewed = BEGAN + timedelta(days=30)
    authority.renew(tmp_path / "pki" / "gateway" / "gw-1.pem", now=renewed, days=10)
    found.refresh(at(30))
    assert found.status(at(30))["uplink"]["alarm"] == ""
    found.refresh(at(38))
    assert lines.getvalue().count('"certificate.expires"') == 4


def test_what_the_uplink_writes_down_is_shown_and_counted(tmp_path: Path, authority: Authority) -> None:
    """Failures since the start of this program, by cause; a file that is none shows nothing."""
    assert authority.trusted()
    metrics, config = GatewayMetrics(), load(tmp_path)
    found, kept = Certificates(config, metrics), config.gateway.data / KEPT
    found.refresh(at(1))
    assert set(found.status(at(1))["uplink"]) == {"days", "alarm"}
    write_standings(kept, {"uplink": Standing(failed={"timeout": 7}, failures=7, phase=Phase.FAILING)})
    found.refresh(at(1))
    later = Standing(
        failed={"timeout": 9, "refused": 1},
        failures=3,
        fault="status 403",
        phase=Phase.FAILING,
        renewals=2,
        renewed_s=at(1) / 1000 - 60,
        next_s=at(1) / 1000 + 30,
    )
    write_standings(kept, {"uplink": later})
    found.refresh(at(1))
    found.refresh(at(1))
    row: Any = found.status(at(1))["uplink"]
    assert (row["phase"], row["renewals"], row["renewed_s"], row["next_s"]) == ("failing", 2, 60, 30)
    assert (row["failures"], row["fault"]) == (3, "status 403")
    assert found.status(at(1))["listener"] == row, "both show the same files"

    def counted(cause: str) -> float | None:
        name = "coldseal_gateway_certificate_renewal_failures_total"
        return metrics.registry.get_sample_value(name, {"cause": cause})

    assert (counted("timeout"), counted("refused"), counted("bad")) == (2, 1, 0)
    assert read_standings(tmp_path / "away") == {}
    kept.write_bytes(b"rubbish")
    found.refresh(at(1))
    assert "phase" not in found.status(at(1))["uplink"]
    write_standings(tmp_path / "no" / "folder", {})


def test_a_request_is_passed_on_or_says_what_is_missing() -> None:
    """No server is named, or nobody is there who would ask it."""
    told: list[dict[str, object]] = []
    with pytest.raises(OperatorError, match=r"enrolment\.url is empty"):
        renew_handler("", None)({}, told.append)
    for absent in (None, Companion(["gateway.toml"], bytes(32))):
        with pytest.raises(UnavailableError, match="being started again"):
            renew_handler(URL, absent)({}, told.append)
    assert told == []


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('url = "http://localhost:1"\n', "expected https"),
        ('factory_certificate = "x.pem"\n', "alone"),
        ('url = "https://localhost:1"\n[uplinks]\n', "uplinks"),
        ("renew_at = 0.3\n", "renew_at"),
    ],
    ids=["plain", "half a factory", "unknown", "too early"],
)
def test_an_enrolment_that_cannot_be_is_refused_with_the_cure(tmp_path: Path, more: str, said: str) -> None:
    """Before anything is opened."""
    with pytest.raises(OperatorError, match=said):
        load_gateway(write(tmp_path, more))


def test_an_enrolment_needs_the_uplink_that_asks(tmp_path: Path) -> None:
    """Nobody else of the gateway speaks to other machines."""
    path = write(tmp_path, f'url = "{URL}"\n')
    with pytest.raises(OperatorError, match=r"enrolment\.url is set, but uplink\.url is not"):
        load_gateway(path, ["uplink.url="])
