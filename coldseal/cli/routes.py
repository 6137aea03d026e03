"""`coldseal gateway routes`: how routes to other systems stand, and what becomes of what their sinks refuse.

Looks at the routes' own files beside a running gateway, or asks it where this user may not. What is decided
is put on record, and the route follows it at once.
"""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldseal.cli.output import print_facts, print_json, print_lines, render_span
from coldseal.errors import OperatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.routing.decisions import Decision


def status(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show where each route stands; ends with 1 if a sink does not take entries or has refused some.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    found = _states(settings)
    is_good = all(not each["fault"] and not each["aside"] and not each["is_held"] for each in found)
    if as_json:
        print_json({"routes": found})
        return 0 if is_good else 1
    if not found:
        print_lines("no route is configured: see [[routes]] in gateway.toml")
    now_ms = Clock().now().t_ms
    for each in found:
        print_lines(f"{each['name']}  {each['sink']}  {each['url']}")
        facts: dict[str, object] = {
            "  position": f"{each['position']} of {each['size']}",
            "  delivered": each["delivered"],
            "  put aside": each["aside"],
        }
        if each["missed"]:
            facts["  missed"] = each["missed"]
        if each["waiting_ms"]:
            facts["  oldest waits"] = render_span(max(0, now_ms - each["waiting_ms"]) / 1000)
        if each["is_held"]:
            facts["  stands still"] = "decide about what is put aside"
        facts["  sink"] = each["fault"] or "takes entries, as far as is known"
        print_facts(facts)
    return 0 if is_good else 1


def quarantine(
    config: Path, route: str = "", /, *, set_: list[str] | None = None, as_json: bool = False
) -> int:
    """Show what sinks refused for good, with their answers; ends with 1 if there is any.

    Args:
        config: gateway.toml.
        route: only that of one route.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.clock import render_time
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    names = [each.name for each in settings.routes]
    if route and route not in names:
        raise OperatorError(f"there is no route {route!r}", f"There are: {', '.join(names) or 'none'}")
    found = _aside(settings, [route] if route else names)
    if as_json:
        print_json({"quarantine": found})
    else:
        for each in found:
            again = "  goes again" if each["is_wanted"] else ""
            said = f"{each['status']} {each['detail']}".rstrip()
            print_lines(
                f"{each['route']}  {each['seq']}  {each['kind']}  {render_time(each['t_ms'])}  {said}{again}"
            )
        if not found:
            print_lines("nothing is put aside")
    return 1 if found else 0


def retry(
    config: Path,
    route: str,
    seq: list[int] | None = None,
    /,
    *,
    who: str,
    why: str,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Send entries again that a sink refused, once its fault or the route is mended.

    Args:
        config: gateway.toml.
        route: the route.
        seq: the entries; without any, all that are put aside on that route.
        who: who says so.
        why: why; it is put on record.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    asked = {"action": "retry", "route": route, "seqs": seq or [], "who": who, "why": why}
    return _decide(config, asked, set_, as_json=as_json)


def skip(
    config: Path,
    route: str,
    seq: list[int],
    /,
    *,
    who: str,
    why: str,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Give entries up: they do not go to this sink, be they put aside or still before it. The log keeps them.

    Args:
        config: gateway.toml.
        route: the route.
        seq: the entries.
        who: who says so.
        why: why; it is put on record.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    asked = {"action": "skip", "route": route, "seqs": seq, "who": who, "why": why}
    return _decide(config, asked, set_, as_json=as_json)


def _decide(path: Path, asked: "Mapping[str, object]", set_: list[str] | None, *, as_json: bool) -> int:
    """Have a decision put on record and followed."""
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask
    from coldseal.gateway.routing.decisions import REQUEST, parse_decision

    settings = load_gateway(path, set_ or ())
    decision = parse_decision(asked)
    if not decision.why.strip():
        raise OperatorError("it is not said why", "Say it with --why: it is put on record")
    answer = ask(place_of_control(settings), {"do": REQUEST, **asked})
    done = dict(answer) if answer is not None else asyncio.run(_decide_alone(settings, decision, asked))
    done.pop("ok", None)
    if as_json:
        print_json(done)
    else:
        verb = "go again" if decision.action == "retry" else "are given up"
        entries = ", ".join(map(str, done["entries"])) or "none: nothing is put aside"
        print_lines(f"on the route {decision.route} these {verb}: {entries}")
    return 0


async def _decide_alone(
    config: "GatewayConfig", decision: "Decision", asked: "Mapping[str, object]"
) -> dict[str, Any]:
    """Do it where no gateway runs, in a run of its own."""
    from coldseal.core.access import Action
    from coldseal.gateway.persons import Asked
    from coldseal.gateway.routing.decisions import REQUEST, decide
    from coldseal.gateway.writer import Run
    from coldseal.signing.secrets import read_symmetric_key

    async with Run.open(config, Asked(Action.ROUTE, decision.why, {"do": REQUEST, **asked})) as run:
        key = read_symmetric_key(config.store.key, Path())
        return dict(decide(config, key, decision, run.log.size))


def _states(config: "GatewayConfig") -> list[dict[str, Any]]:
    """Say where every route stands: from their files, or by the running gateway."""
    import msgspec

    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.control import ask_running
    from coldseal.gateway.records import is_open_to_me, open_reader
    from coldseal.gateway.routing.report import look_up
    from coldseal.signing.secrets import read_symmetric_key

    names = [each.name for each in config.routes]
    if is_open_to_me(config):
        with closing(open_reader(config)) as reader:
            size = reader.size()
        found = look_up(config.gateway.data, read_symmetric_key(config.store.key, Path()), names)
        shown = {name: msgspec.to_builtins(each) for name, each in found.items()}
    else:
        told = ask_running(place_of_control(config), {"do": "status"})["status"]
        shown, size = told["routes"], told["size"]
    return [
        {"name": each.name, "sink": each.sink, "url": each.url, "size": size, **shown[each.name]}
        for each in config.routes
    ]


def _aside(config: "GatewayConfig", routes: list[str]) -> list[dict[str, Any]]:
    """Give what is put aside; only the gateway's own user may look at it."""
    from coldseal.gateway.records import is_open_to_me
    from coldseal.gateway.routing.kept import FOLDER, NAME, Kept
    from coldseal.signing.secrets import read_symmetric_key

    data = config.gateway.data
    if not is_open_to_me(config):
        raise UnavailableError(str(data), "it is not there, or not open to this user")
    if not (data / FOLDER / NAME).exists():
        return []
    key = read_symmetric_key(config.store.key, Path())
    with closing(Kept(data, key, readonly=True)) as kept:
        return [{"route": name, **each._asdict()} for name in routes for each in kept.aside(name)]


COMMANDS = (status, quarantine, retry, skip)
