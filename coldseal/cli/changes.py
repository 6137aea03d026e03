"""What commands say that change something about a sensor: of whom, from when on, who asks and why.

What a change means, the entry's law decides; here options become what an entry says. Holds no rule.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.cli.output import print_facts, print_json

if TYPE_CHECKING:
    from coldseal.core.log.canonical import Value


def signed(who: str, why: str) -> "dict[str, Value]":
    """Say who asks, the user where nobody is named, and why."""
    from coldseal.gateway.persons import name_of

    return {"who": who or name_of(os.getuid()), "why": why}


def of_sensor(text: str) -> "dict[str, Value]":
    """Read DEVICE/SENSOR, or the topic of its readings.

    Raises:
        OperatorError: it is neither.
    """
    from coldseal.evidence.selection import parse_sensor

    found = parse_sensor(text)
    return {"device": found.device, "sensor": found.name}


def at_moment(key: str, text: str) -> "dict[str, Value]":
    """Read an option that is a time; nothing where it was not given.

    Raises:
        OperatorError: it is no time.
    """
    from coldseal.evidence.selection import parse_moment

    return {key: parse_moment(text)} if text else {}


def seal_config(
    config: Path,
    overrides: list[str] | None,
    form: str,
    said: "dict[str, Value]",
    by: "dict[str, Value]",
    *,
    as_json: bool,
) -> int:
    """Put a `config` entry on record, and tell where.

    Args:
        config: gateway.toml.
        overrides: settings to override.
        form: what is changed: assign, release or maintenance.
        said: what is said of it.
        by: who and why, as `signed` gives them.
        as_json: answer with one JSON object.

    Returns:
        The exit code.

    Raises:
        OperatorError: the gateway has no such sensor, or refuses.
        UnavailableError: it cannot be sealed now.
    """
    from coldseal.gateway.assigning import require_registered
    from coldseal.gateway.changing import seal_change
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.governance import open_policy

    settings = load_gateway(config, overrides or ())
    data: dict[str, Value] = {form: said, **by}
    require_registered(open_policy(settings), data)
    sealed = seal_change(settings, "config", data)
    (print_json if as_json else print_facts)({**sealed._asdict(), **said})
    return 0
