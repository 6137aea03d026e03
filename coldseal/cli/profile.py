"""`coldseal gateway profile`: product profiles, from the file to what is in force.

`check`, `diff`, `example` and `try` with a table need no gateway. `apply` puts a version on record: the
running gateway seals it, or the command does where none runs. Nothing that is on record is ever changed.
"""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.cli.changes import signed
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.registered import check_files, read, register_of
from coldseal.cli.rehearsal import try_
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.core.coldchain.product import ProductProfile
    from coldseal.core.coldchain.register import Register
    from coldseal.core.coldchain.revision import Change
    from coldseal.core.log.canonical import Value
    from coldseal.gateway.config import GatewayConfig


def check(files: list[Path], /, *, as_json: bool = False) -> int:
    """Check profiles: each fault is named with key, value and what was expected; ends with 1 if there is one.

    Args:
        files: TOML files, one profile each.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.profiles import read_profile

    def look(path: Path) -> tuple[dict[str, object], str]:
        about = _about(read_profile(path))
        return about, f"{about['name']} version {about['version']}, {about['sha256']}"

    return check_files(files, "profiles", look, as_json=as_json)


def diff(old: Path, new: Path, /, *, as_json: bool = False) -> int:
    """Say what a profile changes against another, and what gets stricter or laxer by that.

    Args:
        old: TOML file.
        new: TOML file.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.revision import diff as changes_of

    changes = changes_of(read(old), read(new))
    if as_json:
        print_json({"changes": [each._asdict() for each in changes], **_counted(changes)})
        return 0
    _tell(changes)
    return 0


def example(name: str = "", /, *, as_json: bool = False) -> int:
    """Print an example to start from, as TOML; without a name, say which there are.

    Args:
        name: such as refrigerated.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.profiles import example as text_of
    from coldseal.gateway.profiles import example_names

    if name:
        text = text_of(name)
        if as_json:
            print_json({"name": name, "toml": text})
        else:
            print_lines(text.rstrip("\n"))
    elif as_json:
        print_json({"examples": example_names()})
    else:
        print_lines(*example_names())
    return 0


def apply(
    config: Path,
    file: Path,
    /,
    *,
    why: str,
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Put a version of a profile on record; assets have it once it is assigned to them.

    The version must be the next one, and say something new. With two persons configured, it waits for the
    second one: exit code 3.

    Args:
        config: gateway.toml.
        file: the profile, TOML.
        why: why it changes.
        who: who says so; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.profile import canonical_form
    from coldseal.core.coldchain.revision import diff as changes_of
    from coldseal.gateway.changing import seal_change
    from coldseal.gateway.config import load_gateway

    settings, profile = load_gateway(config, set_ or ()), read(file)
    before, holders = _before(settings, profile)
    data: dict[str, Value] = {"profile": canonical_form(profile), "sha256": profile.sha256}
    sealed = seal_change(settings, "profile", {**data, **signed(who, why)})
    changes = [] if before is None else changes_of(before, profile)
    if as_json:
        more = {"changes": [each._asdict() for each in changes], **_counted(changes)}
        print_json({**sealed._asdict(), **_about(profile), **more, "earlier": holders})
        return 0
    print_facts({"seq": sealed.seq, "leaf": sealed.leaf, **_about(profile)})
    if before is not None:
        _tell(changes)
    next_ = [
        f"  coldseal gateway asset assign {config} {asset} --profile {profile.name} --why ..."
        for asset in holders or ["ASSET"]
    ]
    print_lines("", "It holds for no asset yet. Next:", *next_)
    return 0


def list_(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """List the profiles on record: their versions, and for which assets each holds now.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    register, now_ms = register_of(config, set_)
    holds = _holders(register, now_ms)
    found = [(each, holds.get(key, [])) for key, each in sorted(register.profiles.items())]
    if as_json:
        print_json({"profiles": [{**_about(each), "assets": assets} for each, assets in found]})
        return 0
    if not found:
        print_lines("no profile is on record")
    for each, assets in found:
        held = ", ".join(assets) or "no asset"
        print_lines(f"{each.name} version {each.version}: {held}  {each.title}".rstrip())
    return 0


def show(
    config: Path,
    name: str,
    /,
    *,
    version: int = 0,
    toml: bool = False,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Show a profile as it is on record.

    Args:
        config: gateway.toml.
        name: of the profile.
        version: which one; without it, the newest.
        toml: write it as a file, to begin the next version with.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.core.coldchain.profile import canonical_form
    from coldseal.gateway.profiles import render_toml

    register, now_ms = register_of(config, set_)
    found = register.profiles.get((name, version)) if version else register.latest(name)
    if found is None:
        known = ", ".join(f"{each}/{number}" for each, number in sorted(register.profiles)) or "none"
        shown = f"{name} version {version}" if version else name
        raise OperatorError(f"{shown} is not on record", f"There are: {known}")
    assets = _holders(register, now_ms).get((found.name, found.version), [])
    if as_json:
        print_json({"profile": canonical_form(found), "sha256": found.sha256, "assets": assets})
        return 0
    if toml:
        print_lines(render_toml(found).rstrip("\n"))
        return 0
    print_lines(*_render(found))
    print_facts({"sha256": found.sha256, "holds for": ", ".join(assets) or "no asset"})
    return 0


def _before(
    settings: "GatewayConfig", profile: "ProductProfile"
) -> "tuple[ProductProfile | None, list[str]]":
    """Give the version before and the assets that have an earlier one, as far as this user may look.

    Raises:
        OperatorError: the profile says nothing new.
    """
    from coldseal.core.coldchain.profile import is_same
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.records import is_open_to_me, open_reader
    from coldseal.gateway.routing.placing import register_of as made_of

    if not is_open_to_me(settings):
        return None, []
    with closing(open_reader(settings)) as reader:
        register = made_of(reader.settings())
    before = register.latest(profile.name)
    if before is not None and is_same(before, profile):
        what = f"{profile.name} version {before.version} is on record and says the same"
        raise OperatorError(what, "Nothing has to be applied")
    holders = _holders(register, Clock().now().t_ms)
    return before, sorted(
        asset for (name, _), each in holders.items() if name == profile.name for asset in each
    )


def _about(profile: "ProductProfile") -> dict[str, object]:
    """Name a profile."""
    return {
        "name": profile.name,
        "version": profile.version,
        "title": profile.title,
        "sha256": profile.sha256,
    }


def _holders(register: "Register", now_ms: int) -> dict[tuple[str, int], list[str]]:
    """Give for each version the assets for which it holds now."""
    from coldseal.core.coldchain.standing import at

    found: dict[tuple[str, int], list[str]] = {}
    for name, asset in sorted(register.assets.items()):
        profile = at(asset.profiles, now_ms, None)
        if profile is not None:
            found.setdefault((profile.name, profile.version), []).append(name)
    return found


def _counted(changes: "list[Change]") -> dict[str, int]:
    """Count what gets stricter and laxer."""
    return {word: sum(each.effect == word for each in changes) for word in ("stricter", "laxer")}


def _tell(changes: "list[Change]") -> None:
    """Say differences in words."""
    from coldseal.core.coldchain.revision import render_change

    counted = _counted(changes)
    print_lines(*(render_change(each) for each in changes))
    print_lines(f"{len(changes)} changes: {counted['stricter']} stricter, {counted['laxer']} laxer")


def _render(profile: "ProductProfile") -> list[str]:
    """Say what a profile asks for, in lines for people."""
    from coldseal.core.coldchain.document import render_milli, render_span

    lines = [
        f"{profile.name} version {profile.version}  {profile.title}".rstrip(),
        f"a reading each {render_span(profile.interval_s)}, silent after {render_span(profile.silence_s)}",
        f"the sensor's uncertainty {'narrows the range' if profile.guard_band else 'is not looked at'}",
    ]
    for rule in profile.quantities:
        low = "" if rule.low is None else f" from {render_milli(rule.low)}"
        high = "" if rule.high is None else f" to {render_milli(rule.high)}"
        lines.append(f"{rule.quantity}:{low}{high} {rule.unit}")
        steady = f"{render_milli(rule.hysteresis)} {rule.unit} within, {rule.recover_after} readings"
        lines.append(f"  an excursion ends {steady}; a door may be open {render_span(rule.door_open_s)}")
        delays = f"low {render_span(rule.alarm_delay_low_s)}, high {render_span(rule.alarm_delay_high_s)}"
        lines.append(f"  alarms are told later by: {delays}")
        for limit in rule.limits:
            single = "" if limit.single_s is None else f" {render_span(limit.single_s)} at a time"
            total = "" if limit.cumulative_s is None else f" {render_span(limit.cumulative_s)} in all"
            both = " and" if single and total else ""
            side = f"{limit.direction.value} {render_milli(limit.at)} {rule.unit}"
            lines.append(f"  {side}:{single}{both}{total}, then {limit.tier.value}")
        if rule.mkt is None:
            lines.append("  mean kinetic temperature: not applicable")
        else:
            window, energy = render_span(rule.mkt.window_s), render_milli(rule.mkt.delta_h)
            limit_text = f"{render_milli(rule.mkt.limit)} {rule.unit} in {window} ({energy} kJ/mol)"
            lines.append(f"  mean kinetic temperature: at most {limit_text}")
    return lines


COMMANDS: Final = (check, diff, example, try_, apply, list_, show)
