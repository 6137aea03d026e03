"""`coldseal gateway rejected`: what was not taken, and what can be taken in after all.

`list` and `show` read the log; `replay` asks the running gateway, which reads the folder of schemas again
first.
"""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.cli.output import print_facts, print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.gateway.replaying import Rejected

SHOWN: Final = 100


def list_(
    config: Path,
    /,
    *,
    device: str = "",
    reason: str = "",
    last: int = SHOWN,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Name the rejected messages in the log, the newest last, and which of them were or can be replayed.

    Args:
        config: gateway.toml.
        device: only of this device.
        reason: only those rejected for this reason, such as schema.
        last: so many at most, the newest.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from collections import deque

    from coldseal.gateway.replaying import Wanted, rejected_of, replayed_of

    wanted = Wanted(device, reason)
    done: dict[int, int] = {}
    rows: deque[Rejected] = deque(maxlen=max(last, 1))
    count = 0
    for raw in _entries(config, set_):
        replayed, found = replayed_of(raw), rejected_of(raw)
        if replayed is not None:
            done[replayed[0]] = replayed[1]
        if found is not None and wanted.fits(found):
            count += 1
            rows.append(found)
    if as_json:
        print_json({"count": count, "rejected": [_facts(each, done) for each in rows]})
        return 0
    for each in rows:
        state = f"replayed as {done[each.seq]}" if each.seq in done else _can(each)
        print_lines(f"{each.seq:>10}  {each.t}  {each.device}  {each.reason}  {state}  {each.detail}")
    print_lines(f"{count} rejected entries" + (f", the last {len(rows)} shown" if count > len(rows) else ""))
    return 0


def show(config: Path, seq: int, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Show one rejected message with what was kept of it.

    Args:
        config: gateway.toml.
        seq: its place, as `list` names it.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.replaying import rejected_of, replayed_of

    entries = _entries(config, set_, seq)
    raw = next(entries, b"")
    found = rejected_of(raw) if raw else None
    if found is None or found.seq != seq:
        hint = "See: coldseal gateway rejected list CONFIG"
        raise OperatorError(f"entry {seq} is no rejected message that is still here", hint)
    done = dict(filter(None, map(replayed_of, entries)))
    facts = _facts(found, done)
    if as_json:
        print_json({**facts, "payload": found.payload.decode(errors="replace") if found.payload else None})
        return 0
    print_facts({name: value for name, value in facts.items() if value is not None})
    if found.payload is not None:
        print_lines("", found.payload.decode(errors="backslashreplace"))
    return 0


def replay(
    config: Path,
    /,
    *,
    why: str,
    device: str = "",
    reason: str = "",
    seq: int | None = None,
    set_: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Decode rejected messages again, and seal those that are understood now; exit code 1 if one is not.

    Each becomes a reading with the flag `replayed` that names its rejected entry; none is replayed twice.
    The gateway must be running. It reads the folder of schemas again first.

    Args:
        config: gateway.toml of the running gateway.
        why: why they are taken in.
        device: only those of this device.
        reason: only those rejected for this reason: schema or payload.
        seq: only this one.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask_running

    place = place_of_control(load_gateway(config, set_ or ()))
    request: dict[str, object] = {"do": "replay", "why": why, "device": device, "reason": reason}
    if seq is not None:
        request["seq"] = seq
    replayed: list[Any] = []
    kept: list[Any] = []
    after: int | None = -1
    while after is not None:
        answer = ask_running(place, {**request, "after": after})
        replayed += answer["replayed"]
        kept += answer["kept"]
        after = answer["after"]
    if as_json:
        print_json({"replayed": replayed, "kept": kept})
        return 1 if kept else 0
    print_lines(*(f"{each['rejected']:>10}  is entry {each['seq']} now" for each in replayed))
    print_lines(*(f"{each['rejected']:>10}  stays rejected: {each['reason']}" for each in kept))
    print_lines(f"{len(replayed)} taken in, {len(kept)} not understood")
    return 1 if kept else 0


def _entries(config: Path, overrides: list[str] | None, first: int = 0) -> "Iterator[bytes]":
    """Give the entries that are still here, from one on."""
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.projection import surviving
    from coldseal.gateway.records import open_reader

    with closing(open_reader(load_gateway(config, overrides or ()))) as reader:
        yield from surviving(reader, max(first, 0), reader.size())


def _can(found: "Rejected") -> str:
    """Say whether it can be replayed."""
    return "can be replayed" if found.is_replayable else "cannot be replayed"


def _facts(found: "Rejected", done: dict[int, int]) -> dict[str, Any]:
    """Give one for a script."""
    return {
        "seq": found.seq,
        "leaf": found.leaf,
        "t": found.t,
        "device": found.device,
        "topic": found.topic,
        "reason": found.reason,
        "detail": found.detail,
        "messages": found.stands_for,
        "bytes": None if found.payload is None else len(found.payload),
        "replayable": found.is_replayable and found.seq not in done,
        "replayed_as": done.get(found.seq),
    }


COMMANDS: Final = (list_, show, replay)
