"""Reads and writes profiles as TOML, and gives the examples that come with coldseal.

Promise: what is wrong is named with file, key, value and what was expected; numbers keep their digits.
Whether a profile is on record, or in force, is not known here.
"""

from __future__ import annotations

from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from coldseal.core.coldchain.document import render_milli, render_span
from coldseal.core.coldchain.profile import parse_profile
from coldseal.errors import OperatorError
from coldseal.settings import parse_toml

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.core.coldchain.product import Limit, ProductProfile, QuantityRule

MAX_BYTES: Final = 262_144
"""A file that is longer is no profile."""

_FOLDER: Final = "profiles"
_SUFFIX: Final = ".toml"


def read_profile(path: Path) -> ProductProfile:
    """Read a profile from a file.

    Raises:
        OperatorError: the file cannot be read, or is no TOML.
        ProfileError: it is no profile; carries all that is wrong.
    """
    try:
        content = path.read_bytes()
        if len(content) > MAX_BYTES:
            raise OperatorError(f"{path} has {len(content)} bytes", f"A profile has at most {MAX_BYTES}")
    except OSError as error:
        raise OperatorError(f"{path}: {error.strerror}", "Name a profile's file that is readable") from error
    return parse_profile(parse_toml(path, content, Decimal), where=str(path))


def render_toml(profile: ProductProfile) -> str:
    """Write a profile as a file that reads as the same, such as to begin its next version with."""
    title = profile.title.replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        f'name = "{profile.name}"',
        f"version = {profile.version}",
        f'title = "{title}"',
        f'interval = "{render_span(profile.interval_s)}"',
        f'silence = "{render_span(profile.silence_s)}"',
        f"guard_band = {'true' if profile.guard_band else 'false'}",
    ]
    for rule in profile.quantities:
        place = f'quantities."{rule.quantity}"'
        lines += ["", f"[{place}]", *_rule_lines(rule)]
        for limit in rule.limits:
            lines += ["", f"[[{place}.limits]]", *_limit_lines(limit)]
        if rule.mkt is not None:
            lines += ["", f"[{place}.mkt]", f"limit = {render_milli(rule.mkt.limit)}"]
            lines += [
                f'window = "{render_span(rule.mkt.window_s)}"',
                f"delta_h = {render_milli(rule.mkt.delta_h)}",
            ]
    return "\n".join(lines) + "\n"


def _rule_lines(rule: QuantityRule) -> list[str]:
    """Write what is asked of a quantity, but for limits and mean kinetic temperature."""
    bounds = (("low", rule.low), ("high", rule.high))
    return [
        f'unit = "{rule.unit}"',
        *(f"{name} = {render_milli(bound)}" for name, bound in bounds if bound is not None),
        f"hysteresis = {render_milli(rule.hysteresis)}",
        f"recover_after = {rule.recover_after}",
        f'door_open = "{render_span(rule.door_open_s)}"',
        f'alarm_delay_low = "{render_span(rule.alarm_delay_low_s)}"',
        f'alarm_delay_high = "{render_span(rule.alarm_delay_high_s)}"',
    ]


def _limit_lines(limit: Limit) -> list[str]:
    """Write a limit of time."""
    times = (("single", limit.single_s), ("cumulative", limit.cumulative_s))
    return [
        f'direction = "{limit.direction.value}"',
        f"at = {render_milli(limit.at)}",
        f'tier = "{limit.tier.value}"',
        *(f'{name} = "{render_span(span)}"' for name, span in times if span is not None),
    ]


def example_names() -> list[str]:
    """Give the names of the examples, sorted."""
    folder = files("coldseal") / _FOLDER
    return sorted(each.name.removesuffix(_SUFFIX) for each in folder.iterdir() if each.name.endswith(_SUFFIX))


def example(name: str) -> str:
    """Give an example as TOML text, with its comments.

    Raises:
        OperatorError: there is none of this name.
    """
    known = example_names()
    if name not in known:
        raise OperatorError(f"there is no example {name!r}", f"There are: {', '.join(known)}")
    return (files("coldseal") / _FOLDER / f"{name}{_SUFFIX}").read_text(encoding="utf-8")
