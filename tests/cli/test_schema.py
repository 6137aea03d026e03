"""`coldseal schema`: versions are held against each other, shown and tried from the command line."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coldseal.cli.main import run
from coldseal.gateway.schemas import PUBLISHED
from tests.gateway.test_schemas import TEXT

Captured = pytest.CaptureFixture[str]


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """Two versions; the new one has a lower bound and another unit."""
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(TEXT.format(version=1))
    text = TEXT.format(version=2).replace('"number"', '"number"\nminimum = 0').replace('"Cel"', '"K"')
    new.write_text(text)
    return str(old), str(new)


def asked(capsys: Captured, *arguments: str) -> tuple[int, Any]:
    """Ask with --json; gives exit code and answer."""
    code = run(["schema", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_verdict_for_each_rule_and_what_breaks_it(files: tuple[str, str], capsys: Captured) -> None:
    """Exit code 1 where what is asked for does not hold."""
    assert run(["schema", "check", *files]) == 1
    shown = capsys.readouterr().out
    assert "BROKEN  minimum" in shown
    assert "temp: any is sent, 0 is taken" in shown
    assert "ok      maximum" in shown
    assert shown.endswith("vendor.logger/2 is not backward compatible with vendor.logger/1\n")
    code, found = asked(capsys, "check", *files, "--mode", "forward")
    assert (code, found["compatible"], list(found["rules"])) == (1, False, ["forward"])
    assert [name for name, is_good in found["rules"]["forward"].items() if not is_good] == ["unit"]
    assert [each["rule"] for each in found["faults"]] == ["unit"]


def test_a_version_that_fits_ends_with_0(tmp_path: Path, files: tuple[str, str], capsys: Captured) -> None:
    """In the direction that is asked for."""
    third = tmp_path / "third.toml"
    third.write_text(TEXT.format(version=3).replace('"number"', '"number"\nminimum = 0'))
    assert run(["schema", "check", files[0], str(third), "--mode", "forward"]) == 0
    assert "is forward compatible with" in capsys.readouterr().out
    assert run(["schema", "check", files[0], str(third), "--mode", "full"]) == 1
    assert run(["schema", "check", files[0], str(third), "--mode", "sideways"]) == 2
    assert "backward, forward, full" in capsys.readouterr().err


def test_every_published_version_follows_the_one_before(capsys: Captured) -> None:
    """As the command says, which is what a site asks in its own integration."""
    paths = sorted(PUBLISHED.glob("*.json"))
    assert len(paths) >= 2
    for old, new in pairwise(paths):
        if old.stem.rpartition("-")[0] == new.stem.rpartition("-")[0]:
            assert run(["schema", "check", str(old), str(new), "--mode", "full"]) == 0
    for path in paths:
        code, found = asked(capsys, "check", str(path), str(path), "--mode", "full")
        assert (code, {each["rule"] for each in found["faults"]}) == (1, {"name"})


def test_what_is_shown_is_json_schema(files: tuple[str, str], capsys: Captured) -> None:
    """And it is the published bytes for the project's own."""
    for named in (*files, "senml/1", "coldseal-reading/1", str(PUBLISHED / "senml-1.json")):
        assert run(["schema", "show", named]) == 0
        jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))
    assert run(["schema", "show", "senml/2"]) == 2
    assert "senml/2" in capsys.readouterr().err


def test_all_that_are_known_are_listed(files: tuple[str, str], capsys: Captured) -> None:
    """A folder is checked by it."""
    folder = Path(files[0]).parent
    assert asked(capsys, "list")[1]["schemas"][0]["schema"] == "coldseal-reading/1"
    assert run(["schema", "list", str(folder)]) == 0
    assert "vendor.logger/2" in capsys.readouterr().out
    Path(files[1]).write_text("name = 3")
    assert run(["schema", "list", str(folder)]) == 2


def test_a_payload_is_tried_before_a_device_sends_it(files: tuple[str, str], capsys: Captured) -> None:
    """Read as the gateway would, with the reason where it would be rejected."""
    payload = Path(files[0]).with_name("payload.json")
    payload.write_text('{"temp":4.70,"battery":3}')
    assert run(["schema", "try", files[0], str(payload)]) == 0
    assert capsys.readouterr().out == "temperature  4.70 Cel\n"
    code, found = asked(capsys, "try", files[0], str(payload))
    assert (code, found["quantities"]) == (0, [["temperature", "Cel", "4.70"]])
    payload.write_text('{"temp":"warm"}')
    assert run(["schema", "try", files[0], str(payload)]) == 1
    assert "JSON is 'Expected `float`, got `str`" in capsys.readouterr().out
    assert asked(capsys, "try", files[0], str(payload))[0] == 1
    payload.write_text('{"v":1,"seq":2,"t":"2026-11-22T05:00:00Z","q":[{"n":"a","u":"Cel","v":1}]}')
    assert run(["schema", "try", "coldseal-reading/1", str(payload)]) == 0
    assert "2026-11-22T05:00:00Z" in capsys.readouterr().out
    assert run(["schema", "try", "coldseal-reading/1", str(payload.with_name("none"))]) == 2
