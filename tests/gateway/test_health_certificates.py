"""A certificate that ended is said once and shown as long as that lasts; its files may be replaced."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from coldseal.identity.authority import open_authority
from coldseal.observe.logs import configure
from tests.gateway.test_health_witnesses import Shown, clocked, shown_with

HOUR_MS = 3_600_000


def renew(shown: Shown, folder: Path, *, days_ago: int) -> Path:
    """Write the uplink's certificate anew, as it was made so many days ago; it lives for 7."""
    path = shown.instruments._config.uplink.certificate
    assert path is not None
    made = datetime.fromtimestamp(shown.hands.wall_ms / 1000 - days_ago * 86_400, UTC)
    open_authority(folder / "pki").renew(path, now=made)
    return path


async def test_a_certificate_that_ended_is_said_once_until_it_is_renewed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hour after hour nothing more is said; a second end is said again."""
    stream = io.StringIO()
    async for shown in shown_with(tmp_path, "https://localhost:1"):
        configure(stream=stream, is_readable=False)
        renew(shown, tmp_path, days_ago=90)
        for _ in range(30):
            clocked(shown, HOUR_MS)
        assert stream.getvalue().count("certificate.expired") == 1
        assert "certificate.expires" not in stream.getvalue()
        status = shown.instruments.status()
        assert (status["uplink_certificate_days"], status["certificate_days"]) == (-84.2, 0)
        renew(shown, tmp_path, days_ago=0)
        clocked(shown, HOUR_MS)
        assert shown.instruments.status()["uplink_certificate_days"] == pytest.approx(7, abs=0.1)
        renew(shown, tmp_path, days_ago=8)
        clocked(shown, HOUR_MS)
        assert stream.getvalue().count("certificate.expired") == 2
    configure()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nMII", None])
async def test_a_file_that_is_being_replaced_stops_nothing(tmp_path: Path, content: bytes | None) -> None:
    """Cut, empty or away when it is looked at: the last look stands, and the gateway goes on."""
    async for shown in shown_with(tmp_path, "https://localhost:1"):
        path = renew(shown, tmp_path, days_ago=0)
        clocked(shown, 1_000)
        left = shown.gauge("certificate_expiry_seconds", certificate="uplink")
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        clocked(shown, 1_000)
        assert shown.gauge("certificate_expiry_seconds", certificate="uplink") == left
        assert shown.instruments.status()["uplink_certificate_days"] == 0
