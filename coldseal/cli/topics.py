"""`coldseal gateway topics`: what devices may do by the policy in force, tried out and shown.

`check`, `show` and `asyncapi` read the configuration alone; `blocked` and `unblock` ask the running gateway.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.asyncapi import asyncapi
from coldseal.cli.output import print_facts, print_json, print_lines, render_bytes, render_span

if TYPE_CHECKING:
    from coldseal.core.cases import Case
    from coldseal.core.registry import Bounds
    from coldseal.core.topics import Policy

AGAINST: Final = 1
_WORDS: Final = {True: "allow", False: "deny"}


def check(
    config: Path, cases: Path | None = None, /, *, set_: list[str] | None = None, as_json: bool = False
) -> int:
    """Try a policy out: cases of a file, and those that every policy must refuse; exit code 1 on a mismatch.

    Always tried, for each registered device: to speak as another one, above its own branch, on a command or
    configuration topic, with wildcards, in $SYS, with a foreign will. A case of the file with the same
    device, action and topic stands in the place of one of these.

    Args:
        config: gateway.toml.
        cases: TOML file of [[cases]] with device, action (connect, publish, retain, will, subscribe), topic
            and expected (allow or deny).
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.cases import decide, gather

    policy = _policy(config, set_)
    tried = [(case, decide(policy, case)) for case in gather(policy, _read(cases) if cases else [])]
    wrong = [(case, found) for case, found in tried if found is not case.is_allowed]
    if as_json:
        print_json(
            {
                "tried": len(tried),
                "wrong": len(wrong),
                "cases": [_facts(case, is_allowed=found) for case, found in tried],
            }
        )
        return AGAINST if wrong else 0
    width = max(len(case.device) for case, _ in tried)
    for case, found in tried:
        if not case.is_builtin or found is not case.is_allowed:
            verdict = "ok   " if found is case.is_allowed else "WRONG"
            words = f"expected {_WORDS[case.is_allowed]:<5}  found {_WORDS[found]:<5}"
            print_lines(f"{verdict}  {case.device:<{width}}  {case.action:<9}  {words}  {case.topic}")
    builtin = sum(case.is_builtin for case, _ in tried)
    print_lines(
        f"{len(tried)} cases tried, {builtin} of them built in: {len(wrong)} answered otherwise than expected"
    )
    return AGAINST if wrong else 0


def show(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Print what each registered device may do, every topic written out.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    policy = _policy(config, set_)
    found = [_rights(policy, device) for device in policy.devices]
    if as_json:
        print_json({"site": policy.site, "strict": policy.is_strict, "devices": found})
        return 0
    for each in found:
        print_lines(f"{each['device']}")
        for topic in each["publish"]:
            print_lines(f"  publish    {topic['topic']}{_render(topic)}")
        print_lines(*(f"  subscribe  {each_filter}" for each_filter in each["subscribe"]))
    rest = "is refused" if policy.is_strict else "has its own branch, without bounds"
    print_lines(f"{len(found)} devices are registered; any other {rest}")
    return 0


def blocked(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Name the devices that a running gateway keeps out, why, and for how much longer.

    Args:
        config: gateway.toml of the running gateway.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    found = _ask(config, set_, {"do": "status"})["status"]["devices_blocked"]
    if as_json:
        print_json({"devices": found})
        return 0
    print_facts({each["device"]: f"{each['reason']}, {render_span(each['seconds'])} left" for each in found})
    print_lines(f"{len(found)} devices are kept out")
    return 0


def unblock(
    config: Path, device: str, /, *, why: str, set_: list[str] | None = None, as_json: bool = False
) -> int:
    """Let a device in again before its time.

    Args:
        config: gateway.toml of the running gateway.
        device: its name.
        why: why it may come back.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    _ask(config, set_, {"do": "unblock", "device": device, "reason": why})
    if as_json:
        print_json({"device": device})
    else:
        print_lines(f"{device} may connect again")
    return 0


def _policy(config: Path, overrides: list[str] | None) -> "Policy":
    """Compile the policy of a configuration."""
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.governance import open_policy

    return open_policy(load_gateway(config, overrides or ()))


def _read(path: Path) -> "list[Case]":
    """Read a file of cases."""
    from coldseal.gateway.governance import read_cases

    return read_cases(path)


def _facts(case: "Case", *, is_allowed: bool) -> dict[str, object]:
    """Give one answer for a script."""
    return {
        "device": case.device,
        "action": case.action.value,
        "topic": case.topic,
        "expected": _WORDS[case.is_allowed],
        "found": _WORDS[is_allowed],
        "builtin": case.is_builtin,
    }


def _rights(policy: "Policy", device: str) -> dict[str, Any]:
    """Write out what one device may do."""
    rights = policy.rights(device)
    listed = next(each for each in policy.listing() if each.device == device)
    publish = [
        {
            "topic": topic,
            "retain": rights.may_retain(topic),
            "will": rights.may_will(topic, retain=False),
            **_bounds(policy.bounds(device, topic)),
        }
        for topic in listed.publish
    ]
    return {"device": device, "publish": publish, "subscribe": list(listed.subscribe)}


def _bounds(bounds: "Bounds | None") -> dict[str, object]:
    """Write out how much may be published."""
    from dataclasses import asdict

    if bounds is None:
        return {}
    limits = {scope or "device": _set(asdict(limit)) for scope, limit in bounds.limits}
    return _set({"schema": bounds.schema, "max_payload_bytes": bounds.max_payload_bytes, "limits": limits})


def _set(values: dict[str, Any]) -> dict[str, object]:
    """Leave out what is not set."""
    return {name: value for name, value in values.items() if value}


def _render(topic: Mapping[str, Any]) -> str:
    """Write a topic's terms for a person."""
    said = [name for name in ("retain", "will") if topic[name]]
    if "schema" in topic:
        said.append(topic["schema"])
    if "max_payload_bytes" in topic:
        said.append(f"up to {render_bytes(topic['max_payload_bytes'])}")
    for scope, limit in topic.get("limits", {}).items():
        said.append(f"{scope}: " + " ".join(f"{name}={value:g}" for name, value in limit.items()))
    return f"  ({', '.join(said)})" if said else ""


def _ask(config: Path, overrides: list[str] | None, request: Mapping[str, object]) -> dict[str, Any]:
    """Ask the running gateway."""
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask_running

    return ask_running(place_of_control(load_gateway(config, overrides or ())), request)


COMMANDS: Final = (check, show, asyncapi, blocked, unblock)
