"""`coldseal gateway asset`: what sensors watch (fridge, pallet, vehicle, lot ...), and by which profile.

Each change is an entry of the log and holds from a moment on; what was judged before stays as it was judged.
The running gateway seals it; without one, the command does.
"""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.registered import register_of
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.core.coldchain.register import Register
    from coldseal.core.coldchain.standing import Asset
    from coldseal.core.log.canonical import Value


def assign(
    config: Path,
    asset: str,
    /,
    *,
    why: str,
    sensor: str = "",
    profile: str = "",
    kind: str = "",
    from_: str = "",
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Let a sensor watch an asset, or let a profile hold for one, from now or from a later moment on.

    A sensor watches one asset at a time, and one version of one profile holds for an asset. A new version
    of a profile holds for nothing before it is assigned.

    Args:
        config: gateway.toml.
        asset: its name, such as fridge-7, truck-12 or lot-2026-113.
        why: why.
        sensor: the sensor that watches it, as DEVICE/SENSOR.
        profile: the profile that holds for it, as NAME (its newest version) or NAME/VERSION.
        kind: what it is, where the asset is new: fridge, freezer, room, container, vehicle, pallet or lot.
        from_: from when on, such as 2026-03-04T05:06:07Z; without it, from now on. Never in the past.
        who: who says so; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    if bool(sensor) is bool(profile):
        raise OperatorError("it is not said what to assign", "Give either --sensor or --profile")
    said: dict[str, Value] = {"asset": asset}
    if kind:
        said["asset_kind"] = kind
    if sensor:
        said |= _sensor(sensor)
    else:
        said |= _profile(config, set_, profile)
    return _seal(config, set_, {"assign": {**said, **_moment("from", from_)}}, who, why, as_json=as_json)


def release(
    config: Path,
    asset: str,
    /,
    *,
    why: str,
    sensor: str = "",
    profile: str = "",
    at: str = "",
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Let a sensor or the profile leave an asset; with neither, all of them.

    What the asset has used up of its times stays with it. An open excursion of it is closed as released.

    Args:
        config: gateway.toml.
        asset: its name.
        why: why.
        sensor: only this sensor, as DEVICE/SENSOR.
        profile: only this profile, by its name.
        at: from when on, such as 2026-03-04T05:06:07Z; without it, from now on. Never in the past.
        who: who says so; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    said: dict[str, Value] = {"asset": asset}
    if sensor:
        said |= _sensor(sensor)
    if profile:
        said["profile"] = profile
    return _seal(config, set_, {"release": {**said, **_moment("at", at)}}, who, why, as_json=as_json)


def list_(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """List the assets: what they are, which sensors watch them, and which profile holds.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    register, now_ms = register_of(config, set_)
    found = [_now(register, name, now_ms) for name in sorted(register.assets)]
    if as_json:
        print_json({"assets": found})
        return 0
    if not found:
        print_lines("no asset is known")
    for each in found:
        sensors = ", ".join(each["sensors"]) or "no sensor"
        print_lines(f"{each['asset']}  {each['kind']}  {each['profile'] or 'no profile'}  {sensors}")
    return 0


def show(config: Path, asset: str, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show one asset: what watches it now, and what was and will be assigned to it, with the times.

    Args:
        config: gateway.toml.
        asset: its name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.settings import nearest

    register, now_ms = register_of(config, set_)
    found = register.assets.get(asset)
    if found is None:
        raise OperatorError(f"no asset is called {asset!r}", nearest(asset, [*register.assets] or ["none"]))
    now, history = _now(register, asset, now_ms), _history(register, asset, found)
    if as_json:
        print_json({**now, "history": history})
        return 0
    sensors = ", ".join(now["sensors"]) or "none"
    print_facts(
        {"asset": asset, "kind": now["kind"], "profile": now["profile"] or "none", "sensors": sensors}
    )
    print_lines("", *(f"{each['from']}  {each['what']}" for each in history))
    return 0


def _sensor(text: str) -> "dict[str, Value]":
    """Read DEVICE/SENSOR, or the topic of its readings."""
    from coldseal.evidence.selection import parse_sensor

    found = parse_sensor(text)
    return {"device": found.device, "sensor": found.name}


def _profile(config: Path, overrides: list[str] | None, text: str) -> "dict[str, Value]":
    """Read NAME/VERSION, or NAME for the newest version."""
    name, slash, number = text.partition("/")
    if slash and number.isdecimal():
        return {"profile": name, "version": int(number)}
    hint = "Write it as NAME/VERSION, such as refrigerated/2"
    if slash:
        raise OperatorError(f"{text!r} names no version of a profile", hint)
    register, _ = register_of(config, overrides)
    found = register.latest(name)
    if found is None:
        known = ", ".join(sorted({each for each, _ in register.profiles})) or "none"
        raise OperatorError(f"no profile {name!r} is on record", f"There are: {known}")
    return {"profile": name, "version": found.version}


def _moment(key: str, text: str) -> "dict[str, Value]":
    """Read an option that is a time; nothing where it was not given."""
    from coldseal.evidence.selection import parse_moment

    return {key: parse_moment(text)} if text else {}


def _seal(
    config: Path,
    overrides: list[str] | None,
    said: "dict[str, Value]",
    who: str,
    why: str,
    *,
    as_json: bool,
) -> int:
    """Put it on record, and say where."""
    from coldseal.gateway.assigning import require_registered
    from coldseal.gateway.changing import seal_change
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.governance import open_policy
    from coldseal.gateway.persons import name_of

    settings = load_gateway(config, overrides or ())
    data: dict[str, Value] = {**said, "who": who or name_of(os.getuid()), "why": why}
    require_registered(open_policy(settings), data)
    sealed = seal_change(settings, "config", data)
    (print_json if as_json else print_facts)({**sealed._asdict(), **_flat(said)})
    return 0


def _flat(said: "dict[str, Value]") -> dict[str, object]:
    """Give what was said without its outer name."""
    (inner,) = said.values()
    return {**inner} if isinstance(inner, dict) else {}


def _now(register: "Register", name: str, now_ms: int) -> dict[str, Any]:
    """Say how an asset stands now."""
    from coldseal.core.coldchain.standing import at

    asset = register.assets[name]
    profile = at(asset.profiles, now_ms, None)
    return {
        "asset": name,
        "kind": asset.kind,
        "profile": "" if profile is None else f"{profile.name}/{profile.version}",
        "sensors": ["/".join(key) for key in register.watching(name, now_ms)],
    }


def _history(register: "Register", name: str, asset: "Asset") -> list[dict[str, str]]:
    """Give what changed for an asset and will change, in order of time."""
    from coldseal.core.coldchain.changes import moment

    found = [
        (
            from_ms,
            "no profile holds" if profile is None else f"profile {profile.name}/{profile.version} holds",
        )
        for from_ms, profile in asset.profiles
    ]
    for key, watched in sorted(register.sensors.items()):
        before = ""
        for from_ms, watching in watched.assets:
            if watching == name:
                found.append((from_ms, f"{'/'.join(key)} watches it"))
            elif before == name:
                found.append((from_ms, f"{'/'.join(key)} leaves it"))
            before = watching
    return [{"from": moment(from_ms), "what": what} for from_ms, what in sorted(found)]


COMMANDS: Final = (assign, release, list_, show)
