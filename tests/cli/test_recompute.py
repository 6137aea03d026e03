"""`coldseal evidence recompute` computes the values of a bundle once more, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.core.log.record import Chain
from tests.cli.conftest import answer, coldseal
from tests.core.coldchain.test_recomputation import DAMP, DEW, FORM, WARM
from tests.core.log.example_log import ORIGIN, time_quality
from tests.evidence.parts import make_bundle, seal_log

if TYPE_CHECKING:
    from pathlib import Path


def sealed(*data: tuple[str, dict[str, canonical.Value]]) -> list[bytes]:
    """Seal entries behind one another."""
    chain, src = Chain(ORIGIN, "0" * 16), b'{"dev":"dev-1","sha256":"s"}'
    t = "2026-03-04T05:06:07.089Z"
    return [chain.seal(kind, t, time_quality(1), src, canonical.encode(each), None) for kind, each in data]


def test_a_bundle_whose_values_follow_is_good(tmp_path: Path) -> None:
    """Counted by how they came about; also one of readings without any calibration."""
    calibration: dict[str, canonical.Value] = {"calibration": FORM, "who": "Eva", "why": "yearly"}
    reading: dict[str, canonical.Value] = {"q": [WARM, DAMP, DEW], "sensor": "door"}
    entries = sealed(("calibration", calibration), ("reading", reading))
    counts = answer("evidence", "recompute", make_bundle(tmp_path / "a", entries))
    assert counts == {
        "readings": 1,
        "corrected": 1,
        "converted": 0,
        "derived": 1,
        "as_sent": 1,
        "not_known": 0,
        "different": 0,
        "differences": [],
    }
    shown = coldseal("evidence", "recompute", make_bundle(tmp_path / "b", seal_log(10)))
    assert (shown.returncode, "as sent" in shown.stdout) == (0, True)


def test_a_value_that_does_not_follow_is_named_with_its_entry(tmp_path: Path) -> None:
    """Exit code 1; the bundle need not be a forged one for that: the gateway may have been wrong."""
    calibration: dict[str, canonical.Value] = {"calibration": FORM, "who": "Eva", "why": "yearly"}
    wrong: dict[str, canonical.Value] = {"q": [{**WARM, "v": "5.061"}], "sensor": "door"}
    path = make_bundle(tmp_path / "a", sealed(("calibration", calibration), ("reading", wrong)))
    done = coldseal("evidence", "recompute", path)
    assert done.returncode == 1
    assert "entry 1: temperature is 5.061, expected 5.060" in done.stdout
