"""Claims about readings from tables and logs: nothing is passed over, a fault names its line and column."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldseal.core.coldchain.effects import Measured
from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.coldchain.series import Row, of_entries, parse_table
from coldseal.core.log import canonical
from coldseal.core.log.record import Chain, Entry, parse_entry
from coldseal.errors import InputError
from tests.core.coldchain.profiles import VACCINE, profile

if TYPE_CHECKING:
    from coldseal.core.coldchain.series import Series

HUMIDITY = '\n[quantities.humidity]\nunit = "%RH"\nhigh = 60\n'
BUNDLE = "seq,time,device,sensor,quantity,value,unit\n"
TWO = profile(f"{VACCINE}{HUMIDITY}")
ONE = profile()
NOON = moment_ms("2026-03-04T12:00:00Z")


def table(text: str, *, two: bool = False) -> Series:
    """Read a table that has one sensor."""
    (found,) = parse_table(text, TWO if two else ONE, where="a.csv")
    return found


def celsius(value: int, t_ms: int = NOON) -> Measured:
    """Give a temperature."""
    return Measured("temperature", "Cel", value, t_ms)


@pytest.mark.parametrize(
    "text",
    [
        "time,value\n2026-03-04T12:00:00Z,4.71\n",
        "time,temperature\r\n2026-03-04T12:00:00Z,4.71\r\n",
        "\ufefftime ; temperature\n2026-03-04 13:00:00+01:00 ; 4,71\n\n",
        "temperature\ttime\n4,71\t2026-03-04T12:00:00.000Z",
    ],
)
def test_a_table_may_be_written_in_many_ways(text: str) -> None:
    """Separators, a byte order mark, line ends, zones, and a decimal comma where it cannot part columns."""
    assert table(text).rows == [Row(NOON, (celsius(4710),))]


def test_each_column_of_the_profile_is_a_quantity_and_others_are_named() -> None:
    """An empty field is a quantity that was not measured then; a row of none of them is none."""
    text = "time,humidity,temperature,door\n2026-03-04T12:00:00Z,45.3,4.71,0\n2026-03-04T12:00:01Z,,5,1\n"
    found = table(f"{text}2026-03-04T12:00:02Z,,,1\n", two=True)
    humid = Measured("humidity", "%RH", 45_300, NOON)
    assert found.rows == [Row(NOON, (humid, celsius(4710))), Row(NOON + 1000, (celsius(5000, NOON + 1000),))]
    assert (found.sensor, found.left_out) == ("", ("door",))


def test_a_bundles_table_gives_one_series_for_each_sensor() -> None:
    """Quantities of one entry come together; further columns are no hindrance."""
    text = (
        "seq,time,device,sensor,quantity,value,unit,flags,indication,calibration\n"
        "7,2026-03-04T12:00:00.000Z,truck,left,temperature,4.71,Cel,,4.6,c1\n"
        '7,2026-03-04T12:00:00.000Z,truck,left,humidity,45.3,%RH,"a b",,\n'
        "8,2026-03-04T12:00:01.000Z,truck,right,temperature,5,Cel,,,\n"
        "9,2026-03-04T12:00:02.000Z,truck,left,temperature,4.8,Cel,,,\n"
    )
    left, right = parse_table(text, ONE, where="readings.csv")
    assert (left.sensor, right.sensor) == ("truck/left", "truck/right")
    assert left.rows == [
        Row(NOON, (celsius(4710), Measured("humidity", "%RH", 45_300, NOON))),
        Row(NOON + 2000, (celsius(4800, NOON + 2000),)),
    ]
    assert right.rows == [Row(NOON + 1000, (celsius(5000, NOON + 1000),))]


@pytest.mark.parametrize(
    ("text", "two", "said"),
    [
        ("", False, "line 1 is '', expected a column 'time', and temperature"),
        ("day,value\n", False, "line 1 is 'day,value', expected a column 'time'"),
        ("time,door\n", False, "line 1 is 'time,door', expected a column for what the profile judges: temp"),
        ("time,value\n", True, "line 1 is 'time,value', expected a column for what the profile judges: humi"),
        (
            "time,value\n2026-03-04T12:00:00Z\n",
            False,
            "line 2 is ['2026-03-04T12:00:00Z'], expected 2 columns",
        ),
        (
            "time,value\n2026-03-04T12:00:00,4\n",
            False,
            "line 2, time is '2026-03-04T12:00:00', expected a time with",
        ),
        ("time,value\n\nsoon,4\n", False, "line 3, time is 'soon', expected a time with its zone"),
        (
            "time,value\n2026-03-04T12:00:00Z,4.7.1\n",
            False,
            "line 2, value is '4.7.1', expected a decimal number",
        ),
        (
            "time,temperature\n2026-03-04T12:00:00Z,nan\n",
            False,
            "line 2, temperature is 'nan', expected a dec",
        ),
        ("time,value\n0001-01-01T00:00:00+23:59,1\n", False, "line 2, time is '0001-01-01T00:00:00+23:59'"),
        (
            "time,value,\x1b[2J\n",
            False,
            "line 1 is ['time', 'value', '\\x1b[2J'], expected names without control",
        ),
        (
            f"{BUNDLE}1,2026-03-04T12:00:00Z,a\x1b,b,c,1,Cel\n",
            False,
            "line 2, device is 'a\\x1b/b', expected names",
        ),
        (f"time,value\n{'x' * 140_000},1\n", False, "table is 'field larger than field limit (131072)'"),
        (
            "time;value\n2026-03-04T12:00:00Z;4,7,1\n",
            False,
            "line 2, value is '4,7,1', expected a decimal number",
        ),
    ],
    ids=range(14),
)
def test_what_cannot_be_read_is_named_with_its_line(text: str, two: bool, said: str) -> None:
    """The first one; nothing is passed over."""
    with pytest.raises(InputError) as caught:
        table(text, two=two)
    assert str(caught.value).startswith(f"a.csv: {said}"), str(caught.value)


@given(st.text('time,value;\n\t"+-:.Z0123456789TFna \x00', max_size=60), st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_table_or_an_input_error(text: str, has_head: bool) -> None:
    """Nobody's file ends a program."""
    with suppress(InputError):
        parse_table(f"time,value\n{text}" if has_head else text, ONE, where="drawn")


def entry(chain: Chain, t: str, data: dict[str, canonical.Value], src: dict[str, canonical.Value]) -> Entry:
    """Seal a reading."""
    tq: dict[str, canonical.Value] = {"boot": "00000001", "err": 1, "mono": 1, "off": 0, "s": "synchronised"}
    quality, source, said = (canonical.encode(part) for part in (tq, src, data))
    return parse_entry(chain.seal("reading", t, quality, source, said, None))


def test_the_log_gives_the_readings_of_one_sensor_with_the_times_by_which_they_are_judged() -> None:
    """The quantity's own time, else the device's, else that of the entry."""
    chain = Chain("example.com/gw", "0123456789abcdef")
    said: dict[str, canonical.Value] = {"n": "temperature", "u": "Cel", "v": "4.71"}
    own: canonical.Value = {**said, "t": "2026-03-04T11:00:00Z"}
    left: dict[str, canonical.Value] = {"q": [said, own], "sensor": "left"}
    at = "2026-03-04T12:00:00.000Z"
    entries = [
        entry(chain, at, left, {"dev": "truck"}),
        entry(chain, at, {**left, "flags": ["clock"]}, {"dev": "truck", "t": "2026-03-04T11:59:00Z"}),
        entry(chain, at, left, {"dev": "van"}),
        entry(chain, at, {**left, "sensor": "right"}, {"dev": "truck"}),
        entry(chain, at, {"q": "none", "sensor": "left"}, {"dev": "truck"}),
    ]
    found = of_entries(entries, "truck", "left")
    hour = celsius(4710, NOON - 3_600_000)
    assert found.sensor == "truck/left"
    assert found.rows == [
        Row(NOON, (celsius(4710), hour)),
        Row(NOON, (celsius(4710, NOON - 60_000), hour)),
        Row(NOON, ()),
    ]
