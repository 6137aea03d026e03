"""`coldseal gateway asset`: what sensors watch (fridge, pallet, vehicle, lot ...), and by which profile.

Each change is an entry of the log and holds from a moment on; what was judged before stays as it was judged.
The running gateway seals it; without one, the command does.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.changes import at_moment, of_sensor, seal_config, signed
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.registered import register_of
from coldseal.errors import InputError, OperatorError

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
        said |= of_sensor(sensor)
    else:
        said |= _profile(config, set_, profile)
    said |= at_moment("from", from_)
    return seal_config(config, set_, "assign", said, signed(who, why), as_json=as_json)


def assign_all(
    config: Path,
    file: Path,
    /,
    *,
    why: str,
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Assign all that a table says, from now on: many sensors at once, such as those of a new site.

    The table is CSV. Its first line names the columns, in any order: asset, kind, sensor (DEVICE/SENSOR) and
    profile (NAME or NAME/VERSION). All of it is checked, also against what is on record, before any of it is
    sealed; 200 changes at a time are in force together or not at all. What is so already is left out: a
    command that was interrupted can be given again.

    Args:
        config: gateway.toml.
        file: the table.
        why: why.
        who: who says so; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.register import Register
    from coldseal.gateway.assigning import require_registered
    from coldseal.gateway.assignments import read_assignments
    from coldseal.gateway.changing import seal_changes
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.governance import open_policy
    from coldseal.gateway.records import is_open_to_me

    settings, rows = load_gateway(config, set_ or ()), read_assignments(file)
    is_open, by = is_open_to_me(settings), signed(who, why)
    register, now_ms = register_of(config, set_) if is_open else (Register(), 0)
    policy, asked = open_policy(settings), list["dict[str, Value]"]()
    for row in rows:
        asset = {"asset": row.asset, **({"asset_kind": row.kind} if row.kind else {})}
        try:
            for said in (of_sensor(row.sensor) if row.sensor else {}, _held(register, row.profile)):
                if said and not _is_so(register, row.asset, said, now_ms):
                    data: dict[str, Value] = {"assign": {**asset, **said}, **by}
                    require_registered(policy, data)
                    register = register.with_entry("config", data, now_ms) if is_open else register
                    asked.append(data)
        except OperatorError as error:
            raise OperatorError(f"{file}: line {row.line}: {error.what}", error.hint) from error
        except InputError as error:
            raise OperatorError(f"{file}: line {row.line}: {error}", "Nothing has changed") from error
    sealed = seal_changes(settings, "config", asked, why) if asked else []
    print_made = print_json if as_json else print_facts
    print_made({"file": str(file), "assigned": len(sealed), "lines": len(rows)})
    return 0


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
        said |= of_sensor(sensor)
    if profile:
        said["profile"] = profile
    said |= at_moment("at", at)
    return seal_config(config, set_, "release", said, signed(who, why), as_json=as_json)


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


def _profile(config: Path, overrides: list[str] | None, text: str) -> "dict[str, Value]":
    """Read NAME/VERSION, or NAME for the newest version."""
    name, slash, number = text.partition("/")
    if slash and number.isdecimal():
        return {"profile": name, "version": int(number)}
    hint = "Write it as NAME/VERSION, such as refrigerated/2"
    if slash:
        raise OperatorError(f"{text!r} names no version of a profile", hint)
    return _held(register_of(config, overrides)[0], name)


def _held(register: "Register", text: str) -> "dict[str, Value]":
    """Read the same, given what is on record; nothing where nothing is said."""
    name, _, number = text.partition("/")
    if number or not name:
        return {"profile": name, "version": int(number)} if number else {}
    found = register.latest(name)
    if found is None:
        known = ", ".join(sorted({each for each, _ in register.profiles})) or "none"
        raise OperatorError(f"no profile {name!r} is on record", f"There are: {known}")
    return {"profile": name, "version": found.version}


def _is_so(register: "Register", asset: str, said: "dict[str, Value]", now_ms: int) -> bool:
    """Whether a sensor watches an asset already, or that version of a profile holds for it."""
    from coldseal.core.coldchain.standing import Asset, Watched, at

    if "device" in said:
        watched = register.sensors.get((str(said["device"]), str(said["sensor"])), Watched())
        return at(watched.assets, now_ms, "") == asset
    profile = at(register.assets.get(asset, Asset()).profiles, now_ms, None)
    return profile is not None and (profile.name, profile.version) == (said["profile"], said["version"])


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


COMMANDS: Final = (assign, assign_all, release, list_, show)
