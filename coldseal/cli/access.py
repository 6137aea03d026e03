"""The verbs of `coldseal gateway` about who may administer it: access, pending, approve, withdraw.

Who somebody is, the kernel tells the running gateway; no option here says it.
"""

from pathlib import Path
from typing import Any

from coldseal.cli.output import print_facts, print_json, print_lines


def access(config: Path, /, *, user: str = "", set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show what each role may do, who has which role, and what one user may.

    Args:
        config: gateway.toml.
        user: an operating-system user; ends with 1 if that user may do nothing.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.access import TABLE
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.persons import Directory

    settings = load_gateway(config, set_ or ()).administration
    table = {action.value: sorted(rule.roles) for action, rule in TABLE.items()}
    assigned = [
        {"who": each.user or f"group {each.group}", "roles": [*each.roles]} for each in settings.assigned
    ]
    facts: dict[str, object] = {"table": table, "assigned": assigned, "two_person": [*settings.two_person]}
    if user:
        person = Directory(settings).named(user)
        allowed = [action.value for action in TABLE if person.may(action)]
        mine = {"user": user, "roles": sorted(person.roles), "may": allowed}
        if as_json:
            print_json({**facts, **mine})
        else:
            roles = ", ".join(sorted(person.roles)) or "none"
            print_facts({"user": user, "roles": roles, "may": ", ".join(allowed) or "nothing"})
        return 0 if allowed else 1
    if as_json:
        print_json(facts)
        return 0
    print_lines(*(f"{a:<11} {', '.join(sorted(r.roles)):<46} {r.meaning}" for a, r in TABLE.items()), "")
    if not assigned:
        print_lines("nobody is assigned: the gateway's own user and root have all roles")
    print_lines(*(f"{each['who']}: {', '.join(each['roles'])}" for each in assigned))
    if settings.two_person:
        print_lines(f"a second person must approve: {', '.join(settings.two_person)}")
    return 0


def pending(config: Path, /, *, as_json: bool = False) -> int:
    """Show what waits for a second person.

    Args:
        config: gateway.toml.
        as_json: answer with one JSON object.
    """
    found = _ask(config, {"do": "pending"})["waiting"]
    if as_json:
        print_json({"waiting": found})
    else:
        lines = [
            f"{each['number']}  {each['action']}  asked by {each['user']}: {each['why']}" for each in found
        ]
        print_lines(*(lines or ["nothing waits"]))
    return 0


def approve(config: Path, number: int, /, *, as_json: bool = False) -> int:
    """Approve what another person asked for; it is done at once.

    Args:
        config: gateway.toml.
        number: the request's number, as `pending` shows it.
        as_json: answer with one JSON object.
    """
    return _say(_ask(config, {"do": "approve", "number": number}), as_json=as_json)


def withdraw(config: Path, number: int, /, *, as_json: bool = False) -> int:
    """Take back what you asked for, before somebody approves it.

    Args:
        config: gateway.toml.
        number: the request's number, as `pending` shows it.
        as_json: answer with one JSON object.
    """
    return _say(_ask(config, {"do": "withdraw", "number": number}), as_json=as_json)


def _ask(path: Path, request: dict[str, object]) -> dict[str, Any]:
    """Ask the gateway that must be running."""
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask_running

    found = ask_running(place_of_control(load_gateway(path)), request)
    return {name: value for name, value in found.items() if name != "ok"}


def _say(facts: dict[str, object], *, as_json: bool) -> int:
    """Say what was done."""
    (print_json if as_json else print_facts)(facts)
    return 0


COMMANDS = (access, pending, approve, withdraw)
