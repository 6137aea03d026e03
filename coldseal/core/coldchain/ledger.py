"""What an asset has used up over all its sensors and legs of custody, and what waits for a person.

Promise: of several sensors, the one that is worst off counts; what an earlier leg used up is added to all,
and no part of it twice, whichever way it comes. An excursion that a person must decide about is kept until
then. Frozen; judges nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from coldseal.core.coldchain import mkt
from coldseal.core.log.canonical import Value, encode_base64, parse_base64
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coldseal.core.coldchain.mkt import Kinetic
    from coldseal.core.coldchain.track import Track

WAITING: Final = 1000
"""Excursions of one asset that can wait for a disposition; of more, the oldest are in the log alone."""

LEGS: Final = 100
"""Assets of logs that an account can be made up of."""

Used: TypeAlias = dict[str, int]
"""Milliseconds by limit."""

_SECOND: Final = 1000
_LEG: Final = re.compile(r"[^ ]+ [^ ]+").fullmatch
_KEY: Final = re.compile(r".+/(?:high|low)/-?[0-9]+(?:\.[0-9]+)?/(?:warning|excursion|critical)").fullmatch


class Ledger(msgspec.Struct, frozen=True, array_like=True):
    """One asset's account.

    Args:
        totals: milliseconds at or beyond each limit, of sensors that are gone, and carried in.
        carried: those of them that were carried in.
        kinetic: sums of windows that the next sensor goes on with, packed; by quantity and window.
        waiting: data of excursions that wait for a disposition, by id.
        legs: of what was carried in, what each asset of each log has used up itself, by log and asset.
    """

    totals: dict[str, int] = {}
    carried: dict[str, int] = {}
    kinetic: dict[str, bytes] = {}
    waiting: dict[str, bytes] = {}
    legs: dict[str, dict[str, int]] = {}


EMPTY: Final = Ledger()


def with_totals(ledger: Ledger, track: Track) -> Ledger:
    """Give the account with what one sensor has used up: per limit, the more of the two."""
    totals = merge(ledger.totals, zip(track.law.keys, track.totals, strict=True))
    return ledger if totals == ledger.totals else msgspec.structs.replace(ledger, totals=totals)


def merge(totals: Mapping[str, int], more: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Give the greater one for each limit."""
    found = dict(totals)
    for key, used_ms in more:
        if used_ms > found.get(key, 0):
            found[key] = used_ms
    return found


def window_key(track: Track) -> str:
    """Name the window whose sums another sensor can go on with; empty where none is asked for."""
    window = track.law.window
    return "" if window is None else f"{track.law.rule.quantity}/{window.key}"


def with_window(ledger: Ledger, track: Track) -> Ledger:
    """Give the account with the sums of a window that ended later than what is kept."""
    key = window_key(track)
    if not key or track.kinetic is None:
        return ledger
    kept = ledger.kinetic.get(key)
    if kept is not None and mkt.unpack(kept, where=key).until_ms > track.kinetic.until_ms:
        return ledger
    return msgspec.structs.replace(ledger, kinetic={**ledger.kinetic, key: track.kinetic.pack()})


def window_of(ledger: Ledger, key: str) -> Kinetic | None:
    """Give the sums of a window to go on with; None if there are none."""
    kept = ledger.kinetic.get(key)
    return None if kept is None else mkt.unpack(kept, where=key)


def with_waiting(ledger: Ledger, excursion: str, data: bytes) -> Ledger:
    """Give the account with one more excursion that waits, or with newer data of it."""
    waiting = {**ledger.waiting, excursion: data}
    if len(waiting) > WAITING:
        del waiting[next(iter(waiting))]
    return msgspec.structs.replace(ledger, waiting=waiting)


def without_waiting(ledger: Ledger, excursion: str) -> Ledger:
    """Give the account without one that is decided."""
    waiting = {known: data for known, data in ledger.waiting.items() if known != excursion}
    return msgspec.structs.replace(ledger, waiting=waiting)


def with_leg(ledger: Ledger, leg: Ledger, more: Mapping[str, int], legs: Mapping[str, Used]) -> Ledger:
    """Give the account with what an earlier leg used up added to it.

    Args:
        ledger: the account.
        leg: what was stated there; of its windows those are kept that ended later.
        more: what it adds, by limit, as `unknown` says.
        legs: the parts of all that was carried in then, as `unknown` says.
    """
    kinetic = dict(leg.kinetic)
    for key, kept in ledger.kinetic.items():
        other = kinetic.get(key)
        if other is None or mkt.unpack(kept, where=key).until_ms >= mkt.unpack(other, where=key).until_ms:
            kinetic[key] = kept
    return Ledger(
        totals=_add(ledger.totals, more),
        carried=_add(ledger.carried, more),
        kinetic=kinetic,
        waiting=ledger.waiting,
        legs=dict(legs),
    )


def unknown(account: Ledger, leg: Ledger, source: str, here: str) -> tuple[Used, dict[str, Used]]:
    """Find what of an earlier leg is not counted yet: of each part what is beyond what is known of it.

    Args:
        account: an asset's account, with what its sensors have counted since.
        leg: what was stated elsewhere.
        source: log and asset that stated it.
        here: log and asset of the account; what it used up itself may come back within a leg.

    Returns:
        What is to be added, and all parts of what was carried in then.
    """
    added: Used = {}
    legs = dict(account.legs)
    parts = {**leg.legs, source: _add(_own(leg), leg.legs.get(source, {}))}
    for name, part in sorted(parts.items()):
        known = legs.get(name, {})
        own = _own(account) if name == here else {}
        found = {key: used_ms - own.get(key, 0) for key, used_ms in part.items()}
        beyond = {key: used_ms for key, used_ms in found.items() if used_ms > known.get(key, 0)}
        if beyond:
            legs[name] = {**known, **beyond}
            added = _add(added, {key: used_ms - known.get(key, 0) for key, used_ms in beyond.items()})
    return added, legs


def _own(ledger: Ledger) -> Used:
    """Give what was used up here, and not carried in."""
    return {key: used_ms - ledger.carried.get(key, 0) for key, used_ms in ledger.totals.items()}


def _add(totals: Mapping[str, int], more: Mapping[str, int]) -> Used:
    """Add limit by limit."""
    return {key: totals.get(key, 0) + more.get(key, 0) for key in {**totals, **more}}


def is_higher(track: Track, other: Track) -> bool:
    """Whether the mean of one window is higher than that of another of the same length."""
    one, two = track.kinetic, other.kinetic
    return one is not None and two is not None and one.total * two.total_ms > two.total * one.total_ms


def totals_data(ledger: Ledger) -> list[dict[str, Value]]:
    """Give what is used up of each limit, in whole seconds."""
    found: list[dict[str, Value]] = []
    for key, used_ms in sorted(ledger.totals.items()):
        quantity, direction, at, tier = key.rsplit("/", 3)
        found.append(
            {
                "at": at,
                "carried": ledger.carried.get(key, 0) // _SECOND,
                "direction": direction,
                "quantity": quantity,
                "tier": tier,
                "total": used_ms // _SECOND,
            }
        )
    return found


def leg_data(ledger: Ledger) -> dict[str, Value]:
    """Write an account down for the next in the chain of custody; canonical JSON holds it."""
    return {
        "carried": {key: used_ms for key, used_ms in sorted(ledger.carried.items()) if used_ms},
        "legs": {name: dict(sorted(part.items())) for name, part in sorted(ledger.legs.items())},
        "mkt": {key: encode_base64(kept) for key, kept in sorted(ledger.kinetic.items())},
        "totals": {key: used_ms for key, used_ms in sorted(ledger.totals.items()) if used_ms},
    }


def parse_leg(leg: Mapping[str, object], *, where: str) -> Ledger:
    """Read what `leg_data` wrote.

    Raises:
        InputError: a member is missing, or is not what it should be.
    """
    totals = _parse_totals(leg, "totals", where)
    kinetic: dict[str, bytes] = {}
    windows = leg.get("mkt")
    if not isinstance(windows, dict):
        raise InputError(where, "mkt", windows, "an object of windows")
    for key, text in windows.items():
        kinetic[key] = parse_base64(text if isinstance(text, str) else "", where=where, field=f"mkt.{key}")
        mkt.unpack(kinetic[key], where=where)
    carried, legs = _parse_totals(leg, "carried", where), _parse_legs(leg.get("legs", {}), where)
    told: Used = {}
    for part in legs.values():
        told = _add(told, part)
    if any(told.get(key, 0) != carried.get(key, 0) for key in {**told, **carried}):
        raise InputError(where, "legs", told, f"parts that add up to what was carried in, {carried}")
    for key, used_ms in carried.items():
        if used_ms > totals.get(key, 0):
            raise InputError(where, f"carried.{key}", used_ms, f"no more than in all, {totals.get(key, 0)}")
    return Ledger(totals=totals, carried=carried, kinetic=kinetic, legs=legs)


def _parse_legs(given: object, where: str) -> dict[str, Used]:
    """Read what each asset of each log has used up itself."""
    if not isinstance(given, dict) or len(given) > LEGS:
        raise InputError(where, "legs", given, f"an object of at most {LEGS} logs and assets")
    for name in given:
        if _LEG(name) is None:
            raise InputError(where, "legs", name, "a log and an asset, with a space between")
    return {name: _parse_totals(given, name, where) for name in given}


def _parse_totals(leg: Mapping[str, object], name: str, where: str) -> dict[str, int]:
    """Read milliseconds by limit."""
    given = leg.get(name)
    if not isinstance(given, dict):
        raise InputError(where, name, given, "an object of limits and milliseconds")
    for key, used_ms in given.items():
        if type(used_ms) is not int or used_ms < 0:
            raise InputError(where, f"{name}.{key}", used_ms, "whole milliseconds, not below 0")
        if _KEY(key) is None:
            raise InputError(where, name, key, "a limit such as temperature/high/8/excursion")
    return dict(given)
