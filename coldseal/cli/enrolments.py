"""`coldseal service enrolments`: one-time tokens, requests that wait for a person, and the history.

The service may be running: it sees at once what is written here. A token is printed this once.
"""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.commands import Group
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.service.enrolments import Enrolments

SHOWN = 50


def token(
    config: Path,
    role: str,
    name: str,
    /,
    *,
    hosts: list[str] | None = None,
    minutes: int = 60,
    output: Path | None = None,
    as_json: bool = False,
) -> int:
    """Make a one-time token for one holder; it is given this once and kept as a hash.

    Args:
        config: service.toml.
        role: device, gateway or operator, as far as est.roles has it.
        name: the holder's name, which is the user name beside the token.
        hosts: a name or address it is reached by, beside loopback; may be given several times.
        minutes: how long it counts.
        output: a new file for it, mode 0600; without it, it is printed.
        as_json: answer with one JSON object.
    """
    from coldseal.service.config import load_service
    from coldseal.signing.private_files import write_private_file

    roles = load_service(config).est.roles
    found = next((each for each in roles if each == role), None)
    if found is None:
        raise OperatorError(f"a {role} is not enrolled here", f"est.roles has: {', '.join(roles)}")
    with _opened(config) as enrolments:
        text = enrolments.make_token(
            found, name, tuple(hosts or ()), now=_now(), life_s=minutes * 60, maker=getpass.getuser()
        )
    if output is not None:
        write_private_file(output, f"{text}\n".encode())
        print_lines(f"{output}: for {role} {name}, {minutes} minutes")
    elif as_json:
        print_json({"name": name, "token": text, "minutes": minutes})
    else:
        print_lines(text)
    return 0


def list_(config: Path, /, *, as_json: bool = False) -> int:
    """Show requests that wait for a decision, and tokens that may still be used.

    Args:
        config: service.toml.
        as_json: answer with one JSON object.
    """
    with _opened(config) as enrolments:
        waiting, tokens = enrolments.waiting(), enrolments.tokens(now=_now())
    requests = [
        {
            "id": each.id,
            "since": _time(each.t),
            "role": each.role,
            "name": each.name,
            "hosts": list(each.hosts),
            "factory": each.factory,
            "key": each.spki.hex()[:16],
            "address": each.address,
        }
        for each in waiting
    ]
    usable = [
        {"role": each.role, "name": each.name, "ends": _time(each.expires_t), "maker": each.maker}
        for each in tokens
    ]
    if as_json:
        print_json({"waiting": requests, "tokens": usable})
        return 0
    for request in requests:
        print_facts(request)
        print_lines("")
    print_lines(f"{len(requests)} requests wait", f"{len(usable)} tokens may be used")
    print_lines(*(f"  {each['ends']}  {each['role']} {each['name']}, by {each['maker']}" for each in usable))
    return 0


def approve(config: Path, request: str, /, *, reason: str) -> int:
    """Grant a request: its sender gets the certificate when it asks again.

    Args:
        config: service.toml.
        request: its id, as `list` shows it.
        reason: why; kept in the history.
    """
    return _decide(config, request, reason, is_approved=True)


def refuse(config: Path, request: str, /, *, reason: str) -> int:
    """Decline a request.

    Args:
        config: service.toml.
        request: its id, as `list` shows it.
        reason: why; kept in the history.
    """
    return _decide(config, request, reason, is_approved=False)


def history(config: Path, /, *, name: str | None = None, limit: int = SHOWN, as_json: bool = False) -> int:
    """Show what was issued, refused and decided, newest first.

    Args:
        config: service.toml.
        name: this holder alone.
        limit: so many lines.
        as_json: answer with one JSON object.
    """
    with _opened(config) as enrolments:
        lines = enrolments.history(name=name, limit=limit)
    if as_json:
        fields = ("what", "way", "role", "name", "serial", "who", "address", "detail")
        rows = [{"t": _time(line.t)} | {each: getattr(line, each) for each in fields} for line in lines]
        print_json({"history": rows})
        return 0
    for line in lines:
        said = (line.role, line.name, line.serial, line.way, line.who, line.address, line.detail)
        print_lines(f"{_time(line.t)}  {line.what:<8}  {'  '.join(each for each in said if each)}")
    return 0


def _decide(config: Path, id_: str, reason: str, *, is_approved: bool) -> int:
    """Decide about a request."""
    with _opened(config) as enrolments:
        found = enrolments.decide(
            id_, is_approved=is_approved, who=getpass.getuser(), reason=reason, now=_now()
        )
    print_lines(f"{found.state} {found.role} {found.name} ({found.factory})")
    return 0


@contextmanager
def _opened(config: Path) -> Iterator["Enrolments"]:
    """Open the enrolments of a service's data folder."""
    from coldseal.service.config import load_service
    from coldseal.service.enrolments import Enrolments
    from coldseal.signing.secrets import read_symmetric_key

    settings = load_service(config)
    enrolments = Enrolments.open(settings.service.data, read_symmetric_key(settings.store.key, Path()))
    try:
        yield enrolments
    finally:
        enrolments.close()


def _time(t: int) -> str:
    """Write a time for people."""
    return f"{datetime.fromtimestamp(t, UTC):%Y-%m-%d %H:%M:%S}"


def _now() -> int:
    """This moment, Unix seconds."""
    from coldseal.gateway.clock import Clock

    return Clock().now().t_ms // 1000


ENROLMENTS = Group(
    "enrolments",
    "one-time tokens, requests that wait, and what was issued",
    (token, list_, approve, refuse, history),
)
