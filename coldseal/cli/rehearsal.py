"""`coldseal gateway profile try`: a profile on readings that are there, and what it would have raised.

The judging is that of a running gateway. Nothing is put on record, and nobody is told.
"""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.cli.output import print_json, print_lines, render_duration
from coldseal.cli.registered import read, register_of
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coldseal.cli.plot import Point, Span
    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.coldchain.product import ProductProfile, QuantityRule
    from coldseal.core.coldchain.rehearsal import Event, Excursion
    from coldseal.core.coldchain.series import Series
    from coldseal.core.log.record import Entry
    from coldseal.evidence.selection import Wish
    from coldseal.evidence.source import Source

_NARROWEST: Final = 40
_BESIDE: Final = 22
_TALLEST: Final = 15


class _Readings(NamedTuple):
    """What is tried on, and what is known of the sensor."""

    series: "Series"
    calibrations: "tuple[Calibration, ...]" = ()


def try_(
    profile: Path,
    table: Path | None = None,
    /,
    *,
    config: Path | None = None,
    sensor: str = "",
    from_: str = "",
    to: str = "",
    origin: str = "",
    svg: Path | None = None,
    as_json: bool = False,
) -> int:
    """Try a profile on readings: show what it would have raised, with a plot. Nothing is put on record.

    A table has a line of names above it: time and value, or time and one column for each quantity, such as
    time,temperature,humidity; or it is the readings.csv of an evidence bundle. Times need a zone.

    Args:
        profile: TOML file.
        table: CSV file; without it, stored readings are taken: --config and --sensor.
        config: gateway.toml or service.toml, whose stored readings are taken.
        sensor: DEVICE/SENSOR; in a table only where it holds several.
        from_: readings accepted at this time or later, such as 2026-03-04 or 2026-03-04T05:06:07Z.
        to: readings accepted before this time.
        origin: which log of a service; may be left out where it keeps one.
        svg: new file for the plot; with several quantities, one file for each.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.rehearsal import rehearse

    asked = read(profile)
    if (table is None) is (config is None):
        raise OperatorError("it is not said which readings to try it on", "Give either a table or --config")
    if table is not None:
        readings = _tabled(table, asked, sensor, from_, to)
    else:
        readings = _stored(Path(str(config)), origin, sensor, from_, to)
    series = readings.series
    if not series.rows:
        raise OperatorError("there are no readings to try it on", "Look at --sensor, --from and --to")
    events = rehearse(asked, series.rows, readings.calibrations)
    drawn = _draw(asked, series, events, svg) if svg is not None else []
    if as_json:
        print_json({**_facts(asked, series, events), "svg": drawn})
    else:
        _tell(asked, series, events)
        print_lines(*(f"drawn: {path}" for path in drawn))
    return 0


def _tabled(table: Path, profile: "ProductProfile", sensor: str, from_: str, to: str) -> _Readings:
    """Read a table."""
    from coldseal.core.coldchain.series import parse_table

    try:
        text = table.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"{table} cannot be read: {error}", "Name a CSV file in UTF-8") from error
    found = {each.sensor: each for each in parse_table(text, profile, where=str(table))}
    if sensor or len(found) != 1:
        if sensor not in found:
            what = f"{table} holds no sensor {sensor!r}" if sensor else f"{table} holds several sensors"
            raise OperatorError(what, f"Give --sensor, one of: {', '.join(found) or 'none'}")
        series = found[sensor]
    else:
        (series,) = found.values()
    since, before = (_moment_ms(text) for text in (from_, to))
    rows = [
        row
        for row in series.rows
        if (since is None or row.received_ms >= since) and (before is None or row.received_ms < before)
    ]
    return _Readings(series._replace(rows=rows))


def _moment_ms(text: str) -> int | None:
    """Read an option that is a time; None where it was not given."""
    from coldseal.core.coldchain.measured import moment_ms
    from coldseal.evidence.selection import parse_moment

    return moment_ms(parse_moment(text)) if text else None


def _stored(config: Path, origin: str, sensor: str, from_: str, to: str) -> _Readings:
    """Read what a log holds of a sensor."""
    from coldseal.cli.sources import is_gateway, open_source
    from coldseal.core.coldchain.series import of_entries
    from coldseal.evidence.selection import Wish, parse_moment, parse_sensor

    if not sensor:
        raise OperatorError("it is not said whose readings", "Give --sensor DEVICE/SENSOR")
    found = parse_sensor(sensor)
    since, before = (parse_moment(text) if text else "" for text in (from_, to))
    with closing(open_source(config, origin)) as source:
        wish = Wish(frozenset({found}), since=since, before=before)
        series = of_entries(_entries(source, wish), found.device, found.name)
    if not is_gateway(config):
        return _Readings(series)
    register, now_ms = register_of(config, None)
    return _Readings(series, register.plan(found.device, found.name, now_ms).calibrations)


def _entries(source: "Source", wish: "Wish") -> "Iterator[Entry]":
    """Give the chosen entries, one after the other."""
    from coldseal.core.log.record import parse_entry
    from coldseal.evidence.selection import choose
    from coldseal.evidence.source import Blocks

    blocks = Blocks(source)
    for first, end in choose(source, wish):
        yield from map(parse_entry, blocks.entries(first, end))


def _points(series: "Series", rule: "QuantityRule") -> "list[Point]":
    """Give the values of one quantity, in order of time."""
    from coldseal.cli.plot import Point

    return sorted(
        Point(each.taken_ms, each.value)
        for row in series.rows
        for each in row.measured
        if (each.name, each.unit) == (rule.quantity, rule.unit)
    )


def _spans(events: "Sequence[Event]", rule: "QuantityRule", last_ms: int) -> "list[Span]":
    """Give what is marked beside the values: each stretch by the tier that it had then, and silences."""
    from coldseal.cli.plot import MARKS, SILENT, Span
    from coldseal.core.coldchain.measured import moment_ms
    from coldseal.core.coldchain.product import Tier
    from coldseal.core.coldchain.rehearsal import excursions_of, silences_of

    found = []
    for each in excursions_of(events):
        if each.last["quantity"] != rule.quantity:
            continue
        steps = [(each.from_ms, Tier(str(each.events[0].data["tier"])))]
        steps += [
            (moment_ms(str(event.data["to"])), Tier(str(event.data["tier"])))
            for event in each.events[1:]
            if event.data["action"] == "escalated"
        ]
        ends = [*(start for start, _ in steps[1:]), each.to_ms if each.is_over else last_ms]
        found += [Span(start, end, MARKS[tier]) for (start, tier), end in zip(steps, ends, strict=True)]
    for gap in silences_of(events):
        found.append(Span(moment_ms(str(gap.data["from"])), moment_ms(str(gap.data["to"])), SILENT))
    return found


def _judged(profile: "ProductProfile", series: "Series") -> "Iterator[tuple[QuantityRule, list[Point]]]":
    """Give the quantities of which there are values."""
    for rule in profile.quantities:
        points = _points(series, rule)
        if points:
            yield rule, points


def _tell(profile: "ProductProfile", series: "Series", events: "Sequence[Event]") -> None:
    """Show it to a person."""
    import os
    import shutil
    import sys

    from coldseal.cli.plot import render_plot
    from coldseal.core.coldchain.rehearsal import excursions_of, silences_of

    is_coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    width = max(_NARROWEST, shutil.get_terminal_size().columns - _BESIDE)
    last_ms = max(row.received_ms for row in series.rows)
    name = f"{series.sensor}: " if series.sensor else ""
    print_lines(f"{name}{len(series.rows)} readings by {profile.name} version {profile.version}")
    if series.left_out:
        print_lines(f"not judged by this profile: {', '.join(series.left_out)}")
    for rule, points in _judged(profile, series):
        print_lines("", _range_line(rule, points), _mkt_line(profile, rule, points))
        spans = _spans(events, rule, last_ms)
        print_lines(*render_plot(points, rule, spans, width=width, height=_TALLEST, is_coloured=is_coloured))
    found = excursions_of(events)
    print_lines("", f"{len(found) or 'no'} excursion{'s' * (len(found) != 1)}")
    for each in found:
        print_lines(*_lines_of(each))
    gaps = silences_of(events)
    print_lines(*(f"silent from {gap.data['from']} to {gap.data['to']}" for gap in gaps))


def _range_line(rule: "QuantityRule", points: "Sequence[Point]") -> str:
    """Say in a line what the values of a quantity are."""
    from coldseal.cli.plot import is_beyond
    from coldseal.core.coldchain.document import render_milli

    values = [point.value for point in points]
    beyond = sum(is_beyond(value, rule) for value in values)
    least, most = render_milli(min(values)), render_milli(max(values))
    return f"{rule.quantity}, {rule.unit}: {least} to {most}, {beyond} of {len(values)} readings out of range"


def _mkt_line(profile: "ProductProfile", rule: "QuantityRule", points: "Sequence[Point]") -> str:
    """Say the mean kinetic temperature at the end."""
    from coldseal.core.coldchain.document import render_milli
    from coldseal.core.coldchain.document import render_span as render_window
    from coldseal.core.coldchain.rehearsal import warmth_of

    if rule.mkt is None:
        return "mean kinetic temperature: not applicable"
    found = warmth_of(rule.mkt, points, profile.interval_s)
    value, worst, limit = (render_milli(each) for each in (found.value, found.worst, rule.mkt.limit))
    window = f"the last {render_window(rule.mkt.window_s)} ({found.covered / 10:.1f} % covered)"
    return f"mean kinetic temperature of {window}: {value}, worst window {worst}, at most {limit} {rule.unit}"


def _lines_of(excursion: "Excursion") -> list[str]:
    """Say all of one excursion."""
    last, unit = excursion.last, excursion.last["unit"]
    state = "" if excursion.is_over else ", still open"
    tolerated = ", tolerated" if last.get("tolerated") else ""
    duration, gaps = (render_duration(int(str(last[name]))) for name in ("duration", "gap"))
    what = f"{last['quantity']} {last['direction']}, {last['tier']}{tolerated}{state}"
    extreme = f"extreme {last['extreme']} {unit}"
    area = f", area {last['area']} {unit}·min" if "area" in last else ""
    lines = [f"  {what}: from {last['from']}, {duration}, {extreme}{area}, gaps {gaps}"]
    lines += [
        f"    {each.data['to']}  {each.data['action']}, {each.data['tier']}" for each in excursion.events
    ]
    used = last.get("limits")
    for each in used if isinstance(used, list) else ():
        if isinstance(each, dict) and each["total"]:
            single, total = (render_duration(int(str(each[name]))) for name in ("single", "total"))
            lines.append(f"    limit {each['at']} {unit}, {each['tier']}: {single} in it, {total} in all")
    mkt = last["mkt"]
    if isinstance(mkt, dict):
        figures = f"{mkt['v']} {unit}, worst window {mkt['worst']} {unit}"
        lines.append(f"    mean kinetic temperature then {figures}")
    return lines


def _facts(profile: "ProductProfile", series: "Series", events: "Sequence[Event]") -> dict[str, object]:
    """Say it to a script."""
    from coldseal.cli.plot import is_beyond
    from coldseal.core.coldchain.changes import moment
    from coldseal.core.coldchain.document import render_milli
    from coldseal.core.coldchain.rehearsal import excursions_of, silences_of, warmth_of

    quantities = []
    for rule, points in _judged(profile, series):
        values = [point.value for point in points]
        about: dict[str, object] = {"quantity": rule.quantity, "unit": rule.unit, "readings": len(values)}
        about["out_of_range"] = sum(is_beyond(value, rule) for value in values)
        about["mkt"] = "not applicable"
        if rule.mkt is not None:
            warmth = warmth_of(rule.mkt, points, profile.interval_s)
            about["mkt"] = {name: render_milli(value) for name, value in warmth._asdict().items()}
        quantities.append({**about, "least": render_milli(min(values)), "most": render_milli(max(values))})
    times = [row.received_ms for row in series.rows]
    return {
        "profile": {"name": profile.name, "version": profile.version, "sha256": profile.sha256},
        "sensor": series.sensor,
        "readings": len(series.rows),
        "from": moment(min(times)),
        "to": moment(max(times)),
        "left_out": series.left_out,
        "quantities": quantities,
        "excursions": [
            {**each.last, "entries": [dict(event.data) for event in each.events]}
            for each in excursions_of(events)
        ],
        "silences": [dict(each.data) for each in silences_of(events)],
    }


def _draw(profile: "ProductProfile", series: "Series", events: "Sequence[Event]", path: Path) -> list[str]:
    """Write one SVG file for each quantity, and give their names."""
    from coldseal.cli.svg import render_svg
    from coldseal.core.coldchain.rehearsal import excursions_of

    judged = [*_judged(profile, series)]
    last_ms, found = max(row.received_ms for row in series.rows), []
    for rule, points in judged:
        of_rule = [each for each in excursions_of(events) if each.last["quantity"] == rule.quantity]
        facts = [f"{_range_line(rule, points)}.", f"{_mkt_line(profile, rule, points)}."]
        facts.append(f"{len(of_rule) or 'No'} excursion{'s' * (len(of_rule) != 1)}.")
        facts += [" ".join(" ".join(_lines_of(each)).split()) + "." for each in of_rule]
        file = path if len(judged) == 1 else path.with_stem(f"{path.stem}-{rule.quantity.replace('/', '-')}")
        text = render_svg(
            points,
            rule,
            _spans(events, rule, last_ms),
            title=f"{series.sensor or 'Readings'}: {rule.quantity} by {profile.name} {profile.version}",
            facts=facts,
            gap_ms=2000 * profile.interval_s,
        )
        try:
            with file.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise OperatorError(f"{file} cannot be written: {error.strerror}", "Name another file") from error
        found.append(str(file))
    return found
