"""`coldseal gateway calibration`: certificates of calibration, from the file to what corrects readings.

`check` needs no gateway. `apply` puts calibrations on record: the running gateway seals them, or the command
does where none runs. `list` and `show` read the log. Nothing that is on record is ever changed.
"""

from collections.abc import Iterable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from coldseal.cli.changes import at_moment, signed
from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.cli.registered import check_files, naming_the_first, register_of
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.log.canonical import Value
    from coldseal.gateway.config import GatewayConfig

_DAY_MS: Final = 86_400_000


def check(files: list[Path], /, *, as_json: bool = False) -> int:
    """Check certificates: names each fault with key, value and expectation; ends with 1 if there is one.

    A file has the keys device, sensor, quantity, unit, certificate, laboratory, calibrated, due, uncertainty,
    coverage (the factor k, usually 2), and either points, as pairs of indication and true value, or offset
    and slope. For several sensors or quantities, each has a table [[calibrations]]; what stands above these
    holds for all.

    Args:
        files: TOML files.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.calibrations import read_calibrations

    def look(path: Path) -> tuple[dict[str, object], str]:
        said = [form for _, form in read_calibrations(path)]
        names = (f"{each['device']}/{each['sensor']} {each['quantity']} {each['id']}" for each in said)
        return {"calibrations": said}, ", ".join(names)

    return check_files(files, "certificates", look, as_json=as_json)


def apply(
    config: Path,
    file: Path,
    /,
    *,
    why: str,
    from_: str = "",
    who: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Put the calibrations of a file on record; readings taken from then on are corrected by them.

    Readings that were taken before keep the calibration that was in force then. All of the file is checked,
    also against what is on record, before any of it is sealed.

    Args:
        config: gateway.toml.
        file: the certificate, TOML.
        why: why they apply, such as "yearly calibration".
        from_: from when on, such as 2026-03-04T05:06:07Z; without it, from now on. Never in the past.
        who: who says so; without it, the user's name.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.assigning import require_registered
    from coldseal.gateway.changing import seal_changes
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.governance import open_policy

    settings = load_gateway(config, set_ or ())
    begin, by = at_moment("from", from_), signed(who, why)
    asked: list[dict[str, Value]] = [{"calibration": {**form, **begin}, **by} for form in _forms(file)]
    policy = open_policy(settings)
    for data in asked:
        require_registered(policy, data)
    _require_fitting(settings, asked)
    done = seal_changes(settings, "calibration", asked, why)
    said = [{**sealed._asdict(), **_inner(data)} for sealed, data in zip(done, asked, strict=True)]
    if as_json:
        print_json({"calibrations": said})
    for each in () if as_json else said:
        print_lines(
            f"entry {each['seq']}: {each['device']}/{each['sensor']} {each['quantity']}: {each['id']}, "
            f"certificate {each['certificate']}, due {each['due']}"
        )
    return 0


def list_(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """List the calibrations in force: for each sensor and quantity, which one, and when it is due.

    A calibration is due soon within coldchain.calibration_warning_days of gateway.toml.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway

    warning_days = load_gateway(config, set_ or ()).coldchain.calibration_warning_days
    register, now_ms = register_of(config, set_)
    plans = (register.plan(*key, now_ms) for key in sorted(register.sensors))
    found = [_facts(each, now_ms, warning_days) for plan in plans for each in plan.calibrations]
    if as_json:
        print_json({"calibrations": found})
        return 0
    for each in found:
        print_lines(
            f"{each['sensor']}  {each['quantity']}  {each['id']}  certificate {each['certificate']}  "
            f"due {each['due']}  {each['state']}"
        )
    due = sum(each["state"] != "good" for each in found)
    print_lines(f"{len(found)} calibrations are in force; {due} are due or overdue")
    return 0


def show(config: Path, calibration: str, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show one calibration as it stands on record, and what it makes of indications.

    Args:
        config: gateway.toml.
        calibration: its id, as in readings; `list` tells those in force.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway

    found = list(_on_record(load_gateway(config, set_ or ()), calibration))
    if not found:
        raise OperatorError(
            f"no calibration {calibration!r} is on record", "See: coldseal gateway calibration list"
        )
    if as_json:
        print_json({"calibrations": found})
        return 0
    for each in found:
        corrected = each.pop("corrected")
        print_facts(each)
        print_lines("", *(f"{indication} becomes {value}" for indication, value in corrected))
    return 0


def _forms(file: Path) -> "list[dict[str, Value]]":
    """Read a file.

    Raises:
        OperatorError: something is wrong; of several faults it names the first, and how to see all.
    """
    from coldseal.gateway.calibrations import read_calibrations

    with naming_the_first(f"coldseal gateway calibration check {file}"):
        return [form for _, form in read_calibrations(file)]


def _require_fitting(config: "GatewayConfig", asked: "list[dict[str, Value]]") -> None:
    """Hold what is asked for against what is on record, where this user may look; the gateway does, too."""
    from coldseal.core.coldchain.register import Register
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.records import is_open_to_me, open_reader
    from coldseal.gateway.routing.placing import register_of as made_of

    register = Register()
    if is_open_to_me(config):
        with closing(open_reader(config)) as reader:
            register = made_of(reader.settings())
    for data in asked:
        register = register.with_entry("calibration", data, Clock().now().t_ms)


def _inner(data: "dict[str, Value]") -> "dict[str, Value]":
    """Give what an entry says of a calibration."""
    return cast("dict[str, Value]", data["calibration"])


def _facts(calibration: "Calibration", now_ms: int, warning_days: int) -> dict[str, Any]:
    """Say what a person asks of a calibration in force."""
    from coldseal.core.coldchain.changes import day, moment
    from coldseal.core.coldchain.document import render_milli

    left = (calibration.due_ms - now_ms) // _DAY_MS
    state = "overdue" if calibration.is_due(now_ms) else "due soon" if left < warning_days else "good"
    return {
        "sensor": f"{calibration.device}/{calibration.sensor}",
        "quantity": calibration.quantity,
        "unit": calibration.unit,
        "id": calibration.id,
        "certificate": calibration.certificate,
        "laboratory": calibration.laboratory,
        "calibrated": day(calibration.calibrated_ms),
        "due": day(calibration.due_ms - 1),
        "from": moment(calibration.from_ms),
        "uncertainty": render_milli(calibration.uncertainty),
        "state": state,
    }


def _on_record(config: "GatewayConfig", name: str) -> Iterable[dict[str, Any]]:
    """Give what the log says of a calibration, also of one that is no longer in force."""
    from coldseal.core.coldchain.calibration import correct
    from coldseal.core.coldchain.certificate import parse_calibration
    from coldseal.core.log.record import parse_entry
    from coldseal.gateway.records import open_reader

    with closing(open_reader(config)) as reader:
        entries = [parse_entry(raw) for raw in reader.settings()]
    for entry in entries:
        form = entry.data.get("calibration")
        if entry.kind == "calibration" and isinstance(form, dict) and form.get("id") == name:
            table = {key: value for key, value in form.items() if key != "from"}
            read = parse_calibration(table, where=f"entry {entry.seq}")
            shown = [f"{point + Decimal('0.00'):f}" for point, _ in read.points] or ["0.00", "10.00"]
            corrected = [(each, correct(read, each, read.unit)) for each in shown]
            signed = {key: entry.data.get(key) for key in ("who", "why")}
            yield {"entry": entry.seq, "from": entry.t, **form, **signed, "corrected": corrected}


COMMANDS: Final = (check, apply, list_, show)
