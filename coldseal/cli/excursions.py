"""`coldseal gateway excursions`: which products were out of their conditions, and what was decided.

`list` asks the running gateway and reads the log where none runs; `show` reads the log; `dispose` puts a
person's decision on record.
"""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.output import print_json, print_lines, render_duration
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coldseal.core.log.record import Entry
    from coldseal.gateway.config import GatewayConfig

_MARK: Final = b',"kind":"excursion",'
_OVER: Final = frozenset({"closed", "retrospective"})


def list_(
    config: Path, /, *, all_: bool = False, set_: list[str] | None = None, as_json: bool = False
) -> int:
    """Name the excursions that are under way or wait for a decision, and what each asset has used up.

    Where no gateway runs, the log says the first; what is used up is not known then (null in JSON).

    Args:
        config: gateway.toml.
        all_: those that are closed as well; reads the whole log, and leaves out what is used up.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask

    settings = load_gateway(config, set_ or ())
    answer = None if all_ else ask(place_of_control(settings), {"do": "excursions"})
    if answer is None:
        newest: dict[str, Mapping[str, Any]] = {}
        for entry in _entries(settings):
            newest[str(entry.data["id"])] = entry.data
        rows = [each for each in newest.values() if all_ or each["action"] not in _OVER]
        totals: Mapping[str, Any] | None = None
    else:
        rows, totals = answer["excursions"], answer["totals"]
    if as_json:
        print_json({"excursions": rows, "totals": totals})
        return 0
    print_lines(*map(_line, rows) if rows else ("no excursion is open",))
    if totals is None:
        print_lines("", "what each asset has used up, a running gateway says when it is asked without --all")
        return 0
    for asset, used in totals.items():
        print_lines("", f"{asset} has used up:")
        print_lines(*(f"  {_limit(each)}" for each in used) if used else ("  nothing",))
    return 0


def show(config: Path, excursion: str, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show one excursion from its first reading to the decision, as the log has it.

    Args:
        config: gateway.toml.
        excursion: its id, as `list` names it.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    found = [entry for entry in _entries(settings) if entry.data.get("id") == excursion]
    if not found:
        raise OperatorError(f"the log has no excursion {excursion}", "See: coldseal gateway excursions list")
    if as_json:
        print_json({"entries": [{"seq": entry.seq, "t": entry.t, **entry.data} for entry in found]})
        return 0
    for entry in found:
        print_lines(f"{entry.seq:>9}  {entry.t}  {_line(entry.data)}")
        print_lines(*(f"{'':11}{name}: {_text(value)}" for name, value in entry.data.items()))
    return 0


def dispose(
    config: Path,
    excursion: str,
    /,
    *,
    verdict: str,
    who: str,
    why: str,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Put on record what was decided about the product; the excursion is closed by that.

    Args:
        config: gateway.toml.
        excursion: its id, as `list` names it; it must have recovered.
        verdict: accept, reject, quarantine or release.
        who: who decides.
        why: on what grounds.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.changing import seal_change
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    said = {"excursion": excursion, "verdict": verdict, "who": who, "why": why}
    sealed = seal_change(settings, "disposition", {**said})
    if as_json:
        print_json({**sealed._asdict(), **said})
    else:
        print_lines(f"{excursion}: {verdict}, on record as entry {sealed.seq}")
    return 0


def _entries(config: "GatewayConfig") -> "Iterator[Entry]":
    """Read the excursion entries that are still here."""
    from coldseal.core.log.record import parse_entry
    from coldseal.gateway.projection import surviving
    from coldseal.gateway.records import open_reader

    with closing(open_reader(config)) as reader:
        for raw in surviving(reader, 0, reader.size()):
            if _MARK in raw:
                yield parse_entry(raw)


def _line(said: "Mapping[str, Any]") -> str:
    """Say in a line how an excursion stands."""
    lasted = render_duration(int(said["duration"]))
    what = f"{said['quantity']} {said['direction']}, extreme {said['extreme']} {said['unit']}, {lasted}"
    return f"{said['id']}\n  {said['action']}: {said['asset']}, {said['tier']}, {what}"


def _limit(used: "Mapping[str, Any]") -> str:
    """Say in a line what was used up of a limit."""
    return ", ".join(f"{name} {_text(value)}" for name, value in used.items())


def _text(value: object) -> str:
    """Write a value for people."""
    import msgspec

    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


COMMANDS: Final = (list_, show, dispose)
