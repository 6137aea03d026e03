"""`coldseal evidence page` writes the page for a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.cli.main import run
from coldseal.page import page

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_page_is_written_alone_or_with_a_bundle_in_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same bytes as the one in every bundle; nothing is overwritten."""
    alone, carrying, bundle = (tmp_path / name for name in ("verify.html", "shipment.html", "a.coldseal"))
    bundle.write_bytes(b"evidence")
    assert run(["evidence", "page", str(alone)]) == 0
    assert run(["evidence", "page", str(carrying), "--bundle", str(bundle)]) == 0
    assert "with a.coldseal in it" in capsys.readouterr().out
    assert (alone.read_bytes(), carrying.read_bytes()) == (page(), page(b"evidence"))
    assert run(["evidence", "page", str(alone), "--bundle", str(bundle)]) == 2
    assert alone.read_bytes() == page()
    assert run(["evidence", "page", str(tmp_path / "x"), "--bundle", str(tmp_path / "none")]) == 2
    assert "cannot be read" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
