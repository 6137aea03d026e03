"""Product profiles: under which conditions a product is good, as data and never as code.

Promise: a profile that passes here is whole and does not contradict itself; a number is exact, in thousandths
of its unit. All that is wrong is told, with key, value and what was expected. Judges no reading.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.coldchain.contradictions import contradictions
from coldseal.core.coldchain.document import Bounds, Document, DocumentError, render_milli
from coldseal.core.coldchain.product import (
    DELTA_H,
    MILLI,
    Direction,
    Limit,
    MktRule,
    ProductProfile,
    QuantityRule,
    Tier,
)
from coldseal.core.coldchain.reading import UNITS
from coldseal.core.log import canonical
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MILLI",
    "Direction",
    "Limit",
    "MktRule",
    "ProductProfile",
    "ProfileError",
    "QuantityRule",
    "Tier",
    "canonical_form",
    "digest",
    "is_same",
    "parse_profile",
]

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_TITLE: Final = re.compile(r".{0,200}")
_CONVERTED: Final = frozenset({"[degF]", "K"})
_UNITS: Final = tuple(unit for unit in UNITS if unit not in _CONVERTED)
_UNIT: Final = re.compile("|".join(map(re.escape, _UNITS)))
_DIRECTION: Final = re.compile("|".join(Direction))
_TIER: Final = re.compile("|".join(tier for tier in Tier if tier is not Tier.NOMINAL))
_QUANTITY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9:._/-]{0,63}")
_RULE_KEYS: Final = (
    *("unit", "low", "high", "hysteresis", "recover_after", "door_open"),
    *("alarm_delay_low", "alarm_delay_high", "limits", "mkt"),
)
_DAY: Final = 86_400
_YEARS: Final = 3660 * _DAY
_MOST_QUANTITIES: Final = 16
_MOST_LIMITS: Final = 16

_VERSION: Final = Bounds(1, 2**31 - 1, "a whole number from 1, one more for each change")
_VALUE: Final = Bounds(-(10**12), 10**12, "a number with at most three decimals, such as 8 or -0.5")
_NOT_NEGATIVE: Final = Bounds(0, 10**9, "a number of at least 0 with at most three decimals, such as 0.5")
_READINGS: Final = Bounds(1, 1000, "a whole number of readings, 1 to 1000")
_INTERVAL: Final = Bounds(1, _DAY, 'a span of 1 s to 24 h, such as "5 min"')
_SILENCE: Final = Bounds(1, 30 * _DAY, 'a span of 1 s to 30 d, such as "15 min"')
_DELAY: Final = Bounds(0, _DAY, 'a span of at most 24 h, such as "10 min"')
_DURATION: Final = Bounds(0, _YEARS, 'a span such as "24 h", "30 min" or "90 s"')
_WINDOW: Final = Bounds(3600, 366 * _DAY, 'a span of 1 h to 366 d, such as "24 h" or "30 d"')
_ENERGY: Final = Bounds(10_000, 1_000_000, "kJ/mol, 10 to 1000, such as 83.144")


class ProfileError(DocumentError):
    """A profile is not whole, or contradicts itself."""


def parse_profile(document: Mapping[str, object], *, where: str) -> ProductProfile:
    """Read a profile, as it stands in a TOML file or in an entry.

    Args:
        document: numbers as such or as text; spans of time as ``"30 min"``, or in seconds.
        where: what is being read, such as the file's name; for errors.

    Raises:
        ProfileError: it is not whole, or contradicts itself; it carries all that is wrong.
    """
    found = Document(document, where=where)
    profile = _read(found)
    if not found.faults:
        found.faults += [InputError(where, *each) for each in contradictions(profile)]
    if found.faults:
        raise ProfileError(found.faults)
    return msgspec.structs.replace(profile, sha256=digest(profile))


def canonical_form(profile: ProductProfile) -> dict[str, canonical.Value]:
    """Give a profile as an entry holds it: every value written out, also where it is the usual one."""
    return {
        "guard_band": profile.guard_band,
        "interval": profile.interval_s,
        "name": profile.name,
        "quantities": {each.quantity: _form_of(each) for each in profile.quantities},
        "silence": profile.silence_s,
        "title": profile.title,
        "version": profile.version,
    }


def digest(profile: ProductProfile) -> str:
    """Give the SHA-256 of a profile's canonical form, in hex."""
    return hashlib.sha256(canonical.encode(canonical_form(profile))).hexdigest()


def is_same(one: ProductProfile, other: ProductProfile) -> bool:
    """Whether two versions say the same, but for their number."""
    return digest(msgspec.structs.replace(other, version=one.version)) == digest(one)


def _form_of(rule: QuantityRule) -> canonical.Value:
    """Give what is asked of one quantity; what is not asked is absent."""
    form: dict[str, canonical.Value] = {
        "alarm_delay_high": rule.alarm_delay_high_s,
        "alarm_delay_low": rule.alarm_delay_low_s,
        "door_open": rule.door_open_s,
        "hysteresis": render_milli(rule.hysteresis),
        "limits": [_limit_form(each) for each in rule.limits],
        "recover_after": rule.recover_after,
        "unit": rule.unit,
    }
    if rule.low is not None:
        form["low"] = render_milli(rule.low)
    if rule.high is not None:
        form["high"] = render_milli(rule.high)
    if rule.mkt is not None:
        form["mkt"] = {
            "delta_h": render_milli(rule.mkt.delta_h),
            "limit": render_milli(rule.mkt.limit),
            "window": rule.mkt.window_s,
        }
    return form


def _limit_form(limit: Limit) -> canonical.Value:
    """Give one limit of time."""
    form: dict[str, canonical.Value] = {
        "at": render_milli(limit.at),
        "direction": limit.direction.value,
        "tier": limit.tier.value,
    }
    if limit.single_s is not None:
        form["single"] = limit.single_s
    if limit.cumulative_s is not None:
        form["cumulative"] = limit.cumulative_s
    return form


def _read(found: Document) -> ProductProfile:
    """Read a profile, noting what is not as asked for."""
    found.only(("name", "version", "title", "interval", "silence", "guard_band", "quantities"))
    quantities = found.inner("quantities")
    rules: list[QuantityRule] = []
    names = quantities.names() if quantities else []
    for name in names:
        inner = quantities.inner(name) if quantities else None
        if inner is not None:
            rules.append(_read_rule(name, inner))
    usual = ProductProfile(name="", version=1)
    if not 1 <= len(names) <= _MOST_QUANTITIES:
        expected = f"1 to {_MOST_QUANTITIES} tables, such as [quantities.temperature]"
        found.fault("quantities", names, expected)
    title = found.text("title", _TITLE, "a line of at most 200 characters", "")
    if not title.isprintable():  # it is shown in terminals
        found.fault("title", title, "characters that can be seen")
    return ProductProfile(
        name=found.text("name", _NAME, "1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit"),
        version=found.count("version", _VERSION),
        title=title,
        interval_s=found.seconds("interval", _INTERVAL, usual.interval_s),
        silence_s=found.seconds("silence", _SILENCE, usual.silence_s),
        guard_band=found.flag("guard_band", default=True),
        quantities=tuple(rules),
    )


def _read_rule(name: str, found: Document) -> QuantityRule:
    """Read what is asked of one quantity."""
    found.only(_RULE_KEYS)
    if _QUANTITY.fullmatch(name) is None:
        found.fault("", name, "a quantity's name: 1 to 64 letters, digits or :._/-")
    mkt = found.inner("mkt")
    return QuantityRule(
        quantity=name,
        unit=found.text("unit", _UNIT, f"one of {', '.join(_UNITS)}; [degF] and K are converted to Cel"),
        low=found.number_or_none("low", _VALUE),
        high=found.number_or_none("high", _VALUE),
        hysteresis=found.number("hysteresis", _NOT_NEGATIVE, 0),
        recover_after=found.count("recover_after", _READINGS, 1),
        door_open_s=found.seconds("door_open", _DELAY, 0),
        alarm_delay_low_s=found.seconds("alarm_delay_low", _DELAY, 0),
        alarm_delay_high_s=found.seconds("alarm_delay_high", _DELAY, 0),
        limits=tuple(_read_limit(each) for each in found.several("limits", _MOST_LIMITS)),
        mkt=None if mkt is None else _read_mkt(mkt),
    )


def _read_limit(found: Document) -> Limit:
    """Read one limit of time."""
    found.only(("direction", "at", "tier", "single", "cumulative"))
    direction = found.text("direction", _DIRECTION, "low or high")
    tier = found.text("tier", _TIER, "warning, excursion or critical")
    return Limit(
        direction=Direction(direction or Direction.HIGH),
        at=found.number("at", _VALUE),
        tier=Tier(tier or Tier.WARNING),
        single_s=found.seconds_or_none("single", _DURATION),
        cumulative_s=found.seconds_or_none("cumulative", _DURATION),
    )


def _read_mkt(found: Document) -> MktRule:
    """Read the limit of mean kinetic temperature."""
    found.only(("limit", "window", "delta_h"))
    return MktRule(
        limit=found.number("limit", _VALUE),
        window_s=found.seconds("window", _WINDOW),
        delta_h=found.number("delta_h", _ENERGY, DELTA_H),
    )
