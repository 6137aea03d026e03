"""`coldseal gateway profile` without a gateway: check, diff, example, and try on a table."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest

from coldseal.cli.main import run
from coldseal.gateway.profiles import example
from tests.core.coldchain.profiles import VACCINE

if TYPE_CHECKING:
    from pathlib import Path

START = datetime(2026, 3, 4, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"
HUMIDITY = '\n[quantities.humidity]\nunit = "%RH"\nhigh = 60\n'


@pytest.fixture
def vaccine(tmp_path: Path) -> Path:
    """Give the file of a good profile."""
    path = tmp_path / "vaccine.toml"
    path.write_text(VACCINE, encoding="utf-8")
    return path


def table(path: Path, *values: float, name: str = "value") -> str:
    """Write a table of readings five minutes apart."""
    times = (START + timedelta(minutes=5 * at) for at in range(len(values)))
    lines = (f"{t.isoformat()},{value}" for t, value in zip(times, values, strict=True))
    path.write_text("\n".join([f"time,{name}", *lines]), encoding="utf-8")
    return str(path)


def ask(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    """Run a verb with ``--json``, and give its answer."""
    assert run(["gateway", "profile", *arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_good_profile_ends_with_0_and_a_bad_one_with_1(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All faults of all files, for a person and for a script."""
    bad = tmp_path / "bad.toml"
    bad.write_text(
        VACCINE.replace("low = 2", "low = 9").replace("hysteresis", "hysterisis"), encoding="utf-8"
    )
    assert run(["gateway", "profile", "check", str(vaccine)]) == 0
    assert f"{vaccine}: good: vaccine-a version 1, " in capsys.readouterr().out
    assert run(["gateway", "profile", "check", str(vaccine), str(bad)]) == 1
    shown = capsys.readouterr().out
    assert f"  {bad}: quantities.temperature.hysterisis is '0.5', expected no such key; did you mean" in shown
    good, wrong = ask(capsys, "check", str(vaccine), str(bad), code=1)["profiles"]
    assert (good["good"], good["name"], good["version"], len(good["sha256"])) == (True, "vaccine-a", 1, 64)
    assert [each["key"] for each in wrong["faults"]] == ["quantities.temperature.hysterisis"]
    assert run(["gateway", "profile", "check", str(tmp_path / "none.toml")]) == 2
    assert "No such file" in capsys.readouterr().err


def test_another_verb_names_the_first_fault_and_how_to_see_all(
    vaccine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2: nothing was judged."""
    vaccine.write_text(VACCINE.replace("low = 2", "low = 9"), encoding="utf-8")
    assert run(["gateway", "profile", "diff", str(vaccine), str(vaccine)]) == 2
    assert "low is '9', expected less than high (8)\n hint: Correct that value" in capsys.readouterr().err
    vaccine.write_text(VACCINE.replace("low = 2", 'low = "x"\nmore = 1'), encoding="utf-8")
    assert run(["gateway", "profile", "diff", str(vaccine), str(vaccine)]) == 2
    assert f"2 faults in all: coldseal gateway profile check {vaccine}" in capsys.readouterr().err


def test_a_difference_is_told_in_words_and_counted(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what gets stricter, and what laxer."""
    new = tmp_path / "new.toml"
    text = VACCINE.replace("version = 1", "version = 2").replace('"1 h"', '"30 min"')
    new.write_text(text.replace('silence = "20 min"', 'silence = "1 h"'), encoding="utf-8")
    assert run(["gateway", "profile", "diff", str(vaccine), str(new)]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "version: 1 → 2"
    assert shown[1] == "silence: 20 min → 1 h (laxer)"
    assert shown[-1] == "3 changes: 1 stricter, 1 laxer"
    found = ask(capsys, "diff", str(vaccine), str(new))
    assert (found["stricter"], found["laxer"], len(found["changes"])) == (1, 1, 3)
    assert found["changes"][1]["effect"] == "laxer"


def test_an_example_can_be_taken_and_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As text, with its comments."""
    assert run(["gateway", "profile", "example"]) == 0
    names = capsys.readouterr().out.split()
    assert names == ask(capsys, "example")["examples"]
    assert run(["gateway", "profile", "example", "freezer"]) == 0
    path = tmp_path / "freezer.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert ask(capsys, "check", str(path))["profiles"][0]["name"] == "freezer"
    assert ask(capsys, "example", "freezer")["toml"] == example("freezer")
    assert run(["gateway", "profile", "example", "warm"]) == 2
    assert "There are: controlled-room-temperature-us, cool" in capsys.readouterr().err


def test_what_a_profile_would_have_raised_is_shown_with_a_plot(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour and ten minutes at 9 °C: opened, escalated after an hour, recovered; no colour in a file."""
    path = table(tmp_path / "r.csv", 5, 5, *[9] * 14, 7, 7, 5, *[5] * 20)
    assert run(["gateway", "profile", "try", str(vaccine), path]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("39 readings by vaccine-a version 1\n")
    assert "temperature, Cel: 5 to 9, 14 of 39 readings out of range" in shown
    weights = sum(count * math.exp(-10_000 / (273.15 + value)) for count, value in ((22, 5), (14, 9), (2, 7)))
    oracle = -10_000 / math.log(weights / 38) - 273.15
    assert f"mean kinetic temperature of the last 24 h (13.1 % covered): {oracle:.3f}" in shown
    assert "high 8" in shown
    assert "low 2" in shown
    assert "#" in shown
    assert re.search(r"w{6,}e+$", shown, re.MULTILINE)
    assert (
        "temperature high, excursion: from 2026-03-04T00:10:00.000Z, 1 h 10 min, extreme 9 Cel, area 70 Cel"
        in shown
    )
    assert "    2026-03-04T01:10:00.000Z  escalated, excursion\n" in shown
    assert "\x1b" not in shown
    found = ask(capsys, "try", str(vaccine), path)
    (excursion,) = found["excursions"]
    assert [each["action"] for each in excursion["entries"]] == ["opened", "escalated", "recovered"]
    assert (excursion["duration"], excursion["area"], excursion["extreme"]) == (4200, "70", "9")
    assert (found["readings"], found["silences"], found["svg"]) == (39, [], [])
    assert found["quantities"][0]["out_of_range"] == 14


def test_a_mean_above_its_limit_is_shown_as_an_excursion_of_its_own(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve hours at 9 °C: the mean of a day says so, without an area and without limits of time."""
    path = table(tmp_path / "r.csv", *[9] * 150)
    assert run(["gateway", "profile", "try", str(vaccine), path]) == 0
    shown = capsys.readouterr().out
    assert (
        "temperature mkt, excursion, still open: from 2026-03-04T12:00:00.000Z, 0 s, extreme 9 Cel, gaps"
        in shown
    )


def test_silence_and_what_is_still_open_are_told(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And which columns were not judged."""
    path = tmp_path / "r.csv"
    table(path, 5, 5, 5, 5, 5, 5, 5, 5, 9, 9, name="temperature")
    lines = path.read_text(encoding="utf-8").splitlines()
    kept = [f"{line},{'door' if at == 0 else 1}" for at, line in enumerate(lines) if not 3 <= at <= 7]
    path.write_text("\n".join(kept), encoding="utf-8")
    vaccine.write_text(VACCINE.partition("[quantities.temperature.mkt]")[0], encoding="utf-8")
    assert run(["gateway", "profile", "try", str(vaccine), str(path)]) == 0
    shown = capsys.readouterr().out
    assert "not judged by this profile: door" in shown
    assert "mean kinetic temperature: not applicable" in shown
    assert "warning, still open: from 2026-03-04T00:40:00.000Z" in shown
    assert "silent from 2026-03-04T00:05:00.000Z to 2026-03-04T00:35:00.000Z" in shown
    assert "?" in shown
    assert ask(capsys, "try", str(vaccine), str(path))["quantities"][0]["mkt"] == "not applicable"


def test_the_plot_is_drawn_as_svg_that_says_its_figures_in_words(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Well-formed, self-contained, with title and description, and no script."""
    path, svg = table(tmp_path / "r.csv", 5, 5, *[9] * 14, 7, 7, 5), tmp_path / "r.svg"
    assert ask(capsys, "try", str(vaccine), path, "--svg", str(svg))["svg"] == [str(svg)]
    text = svg.read_text(encoding="utf-8")
    root = ET.fromstring(text)  # noqa: S314 # what this program wrote a moment ago
    title, described = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert described is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {described.get('id')}"
    assert title.text == "Readings: temperature by vaccine-a 1"
    assert "extreme 9 Cel, area 70 Cel·min" in str(described.text)
    assert "14 of 19 readings out of range" in str(described.text)
    names = {each.text for each in root.iter(f"{SVG}title")}
    assert {"range from 2 to 8 Cel", "high 8 Cel", "low 2 Cel", "limit high 8 Cel: excursion"} <= names
    assert "warning: 2026-03-04 00:10Z to 2026-03-04 01:10Z" in names
    assert not {"script", "image", "style", "foreignObject"} & {
        each.tag.removeprefix(SVG) for each in root.iter()
    }
    assert text.count("http") == 1
    assert run(["gateway", "profile", "try", str(vaccine), path, "--svg", str(svg)]) == 2
    assert f"{svg} cannot be written: File exists" in capsys.readouterr().err


def test_several_quantities_are_several_drawings(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of those of which there are values."""
    vaccine.write_text(f"{VACCINE}{HUMIDITY}", encoding="utf-8")
    path = tmp_path / "r.csv"
    lines = (f"{(START + timedelta(minutes=5 * at)).isoformat()},5,{at % 70}" for at in range(3000))
    path.write_text("\n".join(["time,temperature,humidity", *lines]), encoding="utf-8")
    svg = tmp_path / "r.svg"
    found = ask(capsys, "try", str(vaccine), str(path), "--svg", str(svg))
    assert found["svg"] == [str(tmp_path / f"r-{name}.svg") for name in ("humidity", "temperature")]
    drawn = (tmp_path / "r-humidity.svg").read_text(encoding="utf-8")
    assert drawn.count("L") < 2600
    assert "range to 60 %RH" in drawn
    alone = table(tmp_path / "t.csv", 5, 6, name="temperature")
    assert ask(capsys, "try", str(vaccine), alone, "--svg", str(svg))["svg"] == [str(svg)]


def test_one_sensor_of_a_bundles_table_is_tried(
    vaccine: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And a part of the time, if wanted."""
    path = tmp_path / "readings.csv"
    lines = ["seq,time,device,sensor,quantity,value,unit,flags"]
    for at in range(40):
        t = (START + timedelta(minutes=5 * at)).isoformat(timespec="milliseconds")
        value = 5 + 4 * math.sin(at / 5)
        lines += [f"{2 * at},{t},truck,left,temperature,{value:.2f},Cel,"]
        lines += [f"{2 * at + 1},{t},truck,right,temperature,5,Cel,"]
    path.write_text("\n".join(lines), encoding="utf-8")
    assert run(["gateway", "profile", "try", str(vaccine), str(path)]) == 2
    assert "holds several sensors. Give --sensor, one of: truck/left, truck/right" in _flat(capsys)
    assert run(["gateway", "profile", "try", str(vaccine), str(path), "--sensor", "truck/rear"]) == 2
    assert "holds no sensor 'truck/rear'" in _flat(capsys)
    found = ask(capsys, "try", str(vaccine), str(path), "--sensor", "truck/left")
    assert (found["sensor"], found["readings"], len(found["excursions"])) == ("truck/left", 40, 3)
    times = ("--from", "2026-03-04T00:10:00Z", "--to", "2026-03-04T00:30:00Z")
    found = ask(capsys, "try", str(vaccine), str(path), "--sensor", "truck/right", *times)
    assert (found["from"], found["readings"]) == ("2026-03-04T00:10:00.000Z", 4)
    assert (
        run(
            [
                "gateway",
                "profile",
                "try",
                str(vaccine),
                str(path),
                "--sensor",
                "truck/left",
                "--to",
                "2020-01-01",
            ]
        )
        == 2
    )
    assert "there are no readings to try it on" in _flat(capsys)


def _flat(capsys: pytest.CaptureFixture[str]) -> str:
    """Give what was said on stderr, with its hint on the same line."""
    return capsys.readouterr().err.replace("\n hint:", ".")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "it is not said which readings to try it on"),
        (("r.csv", "--config", "gateway.toml"), "it is not said which readings to try it on"),
        (("none.csv",), "none.csv cannot be read"),
        (("--config", "none.toml"), "it is not said whose readings"),
        (("--config", "none.toml", "--sensor", "a/b"), "none.toml cannot be read"),
    ],
    ids=range(5),
)
def test_what_cannot_be_tried_is_a_wrong_usage(
    vaccine: Path, arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and what to give instead."""
    assert run(["gateway", "profile", "try", str(vaccine), *arguments]) == 2
    assert said in capsys.readouterr().err
