"""`coldseal gateway alarms`: what people are told, who sees to it, and all that was ever said of it.

`list` and `show` ask the running gateway, and make the alarms from the log where none runs; `log` reads the
log; `acknowledge` puts on record that a person sees to one.
"""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.changes import signed
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coldseal.core.log.record import Entry
    from coldseal.gateway.config import GatewayConfig

_MARKS: Final = (b',"kind":"alarm",', b',"kind":"ack",')


def list_(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Name the alarms that are not over, and say how those can be reached who are told; 1 if there is one.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask

    settings = load_gateway(config, set_ or ())
    answer = ask(place_of_control(settings), {"do": "alarms"})
    found: list[dict[str, Any]] = _made(settings) if answer is None else answer["alarms"]
    recipients: dict[str, Any] = {} if answer is None else answer["recipients"]
    if as_json:
        print_json({"alarms": found, "recipients": recipients})
        return 1 if found else 0
    print_lines(*map(_line, found) if found else ("there is no alarm",))
    for name, each in recipients.items():
        state = f"cannot be reached: {each['fault']}" if each["failures"] else f"{each['handed']} handed over"
        print_lines(f"recipient {name}: {state}")
    return 1 if found else 0


def show(config: Path, alarm: str, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show one alarm that is not over: how it stands, and who was told.

    Args:
        config: gateway.toml.
        alarm: its id, as `list` names it.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask

    settings = load_gateway(config, set_ or ())
    answer = ask(place_of_control(settings), {"do": "alarms", "about": alarm})
    found = {each["about"]: each for each in _made(settings)} if answer is None else {alarm: answer["alarm"]}
    if alarm not in found:
        raise OperatorError(f"there is no alarm about {alarm!r}", "See: coldseal gateway alarms list CONFIG")
    (print_json if as_json else print_facts)(found[alarm])
    return 0


def log(config: Path, /, *, about: str = "", set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show what the log says of alarms, the oldest first: raised, told to whom, acknowledged by whom, over.

    Args:
        config: gateway.toml.
        about: one alarm's id; by default all.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    found = [each for each in _entries(settings) if not about or each.data.get("about") == about]
    if as_json:
        print_json({"entries": [{"seq": e.seq, "t": e.t, "kind": e.kind, **e.data} for e in found]})
    else:
        print_lines(*(f"{each.seq:>9}  {each.t}  {_said(each)}" for each in found))
    return 0


def acknowledge(
    config: Path,
    alarm: str,
    /,
    *,
    why: str,
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Put on record that a person sees to an alarm: it is not told again, unless it grows worse.

    Args:
        config: gateway.toml of the running gateway.
        alarm: its id, as `list` names it.
        why: what was found, or is being done.
        who: who sees to it; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.changing import REQUEST
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask_running

    settings = load_gateway(config, set_ or ())
    said = {"about": alarm, **signed(who, why)}
    answer = ask_running(place_of_control(settings), {"do": REQUEST, "kind": "ack", "data": said})
    if as_json:
        print_json({"seq": answer["seq"], "leaf": answer["leaf"], **said})
    else:
        print_lines(f"{alarm}: acknowledged by {said['who']}, on record as entry {answer['seq']}")
    return 0


def _made(config: "GatewayConfig") -> list[dict[str, Any]]:
    """Make the alarms from the log, as a gateway does when it starts."""
    from coldseal.core.coldchain.alarm import State
    from coldseal.core.coldchain.alarms import Alarms
    from coldseal.gateway.alarming.index import KEPT, facts, read_index
    from coldseal.gateway.alarming.words import shown
    from coldseal.gateway.records import open_reader

    alarms = Alarms(lambda _data: 0)
    with closing(open_reader(config)) as reader:
        size = reader.size()
        index = read_index(config.gateway.data / KEPT, size, config.gateway.origin)
        for stretch in facts(reader, index, size):
            for fact in stretch:
                alarms.learn(fact)
    return [{**shown(each), "handed": each.handed} for each in alarms if each.state is not State.OVER]


def _entries(config: "GatewayConfig") -> "Iterator[Entry]":
    """Read the entries about alarms that are still here."""
    from coldseal.core.log.record import parse_entry
    from coldseal.gateway.projection import surviving
    from coldseal.gateway.records import open_reader

    with closing(open_reader(config)) as reader:
        for raw in surviving(reader, 0, reader.size()):
            if any(mark in raw for mark in _MARKS):
                entry = parse_entry(raw)
                if entry.kind in {"alarm", "ack"}:
                    yield entry


def _line(alarm: "Mapping[str, Any]") -> str:
    """Say in two lines how an alarm stands."""
    by = f" by {alarm['by']}: {alarm['why']}" if alarm.get("by") else ""
    return f"{alarm['about']}\n  {alarm['tier']}, {alarm['state']}{by}; {alarm['text']}"


def _said(entry: "Entry") -> str:
    """Say in a line what an entry says."""
    data = entry.data
    if entry.kind == "ack":
        return f"{data['about']}: acknowledged by {data['who']}: {data['why']}"
    if data["action"] == "notified":
        return f"{data['about']}: notice {data['n']} handed over for {data['to']}"
    due = f", told from {data['due']} on" if "due" in data else ""
    return f"{data['about']}: {data['action']}, {data['tier']}{due}; {data['text']}"


COMMANDS: Final = (list_, show, log, acknowledge)
