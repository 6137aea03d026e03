"""The verbs of `coldseal gateway` that let entries go, or keep them: prune and hold.

Nothing goes that is not witnessed, archived and free of holds; the log says what went, and who said so.
"""

from contextlib import closing
from pathlib import Path

from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import OperatorError

DAY_MS = 86_400_000


def prune(
    config: Path,
    /,
    *,
    archive: Path,
    who: str,
    why: str,
    before: int | None = None,
    keep_days: int | None = None,
    legal_hold_checked: bool = False,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Let old segments go that an evidence bundle holds; their hashes stay, so that it can be proven.

    Args:
        config: gateway.toml.
        archive: the bundle, as `coldseal evidence export` wrote it; keep it, it is the only copy here.
        who: who says so.
        why: why they may go.
        before: only entries below this one.
        keep_days: only segments that ended more than so many days ago.
        legal_hold_checked: somebody has asked whether these records must be kept.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.cli.archive import BundleArchive
    from coldseal.evidence.compression import unpacked
    from coldseal.gateway.clock import Clock, render_time
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.pruning import prune as prune_now

    settings = load_gateway(config, set_ or ())
    if (before is None) == (keep_days is None):
        raise OperatorError("it is not said what may go", "Use either --before SEQ or --keep-days N")
    if not legal_hold_checked:
        hint = "Ask who answers for records, then say --legal-hold-checked"
        raise OperatorError("nobody has said that no law or dispute holds these records", hint)
    until = None
    if keep_days is not None:
        until = render_time(Clock().now().t_ms - keep_days * DAY_MS)
    with unpacked(archive) as plain:
        found = BundleArchive(plain, packed=archive)
        done = prune_now(settings, found, who=who, why=why, before=before, until=until)
    if as_json:
        print_json(done)
    else:
        print_lines(f"entries {done['first']} to {done['last']} are in {archive} alone now")
        print_lines(f"the log says so in entry {done['seq']}, leaf hash {done['leaf']}")
        if done["left"]:
            print_lines(f"they still take their room until the next start: {done['left']}")
    return 0


def hold(
    config: Path,
    /,
    *,
    add: str = "",
    remove: str = "",
    list_: bool = False,
    who: str = "",
    why: str = "",
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Keep a range of entries from being pruned, lift that, or list what is kept.

    Args:
        config: gateway.toml.
        add: the range to keep, as FIRST-LAST.
        remove: the range whose hold is lifted, as it was set.
        list_: list the holds that are in force.
        who: who says so.
        why: why.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.holds import holds_of
    from coldseal.gateway.records import open_reader, seal_record

    settings = load_gateway(config, set_ or ())
    if sum(map(bool, (add, remove, list_))) != 1:
        raise OperatorError("it is not said what to do", "Use one of --add, --remove and --list")
    if list_:
        with closing(open_reader(settings)) as reader:
            found = [each._asdict() for each in holds_of(reader)]
        if as_json:
            print_json({"holds": found})
        else:
            lines = (f"{each['first']}-{each['last']}  {each['why']} ({each['who']})" for each in found)
            print_lines(*(lines if found else ("nothing is on hold",)))
        return 0
    first, last = _range(add or remove)
    change = {"action": "add" if add else "remove", "first": first, "last": last}
    sealed = seal_record(settings, "config", {"hold": {**change}, "who": who, "why": why})
    (print_json if as_json else print_facts)({**sealed._asdict(), **change})
    return 0


def _range(text: str) -> tuple[int, int]:
    """Read FIRST-LAST."""
    first, _, last = text.partition("-")
    if not (first.isdecimal() and last.isdecimal()):
        raise OperatorError(f"{text!r} is no range of entries", "Write it as FIRST-LAST, such as 0-4095")
    return int(first), int(last)
