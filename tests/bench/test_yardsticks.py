"""The yardsticks measure something, and leave nothing behind."""

from __future__ import annotations

from pathlib import Path

from bench.yardsticks import fdatasync_us, signing_rate, verifying_rate, verifying_rate_all_cores


def test_signing_and_verifying_have_a_rate() -> None:
    """A short measurement is enough to see that both run."""
    assert signing_rate(0.02) > 0
    assert verifying_rate(0.02) > 0


def test_all_cores_verify_at_the_same_time() -> None:
    """Each adds its rate."""
    assert verifying_rate_all_cores(0.02) > 0


def test_the_durable_write_is_timed_and_its_file_removed(tmp_path: Path) -> None:
    """The probe does not grow the folder that is measured."""
    assert fdatasync_us(tmp_path, 0.02) > 0
    assert list(tmp_path.iterdir()) == []
