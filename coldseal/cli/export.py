"""``coldseal evidence export`` and ``prove``: take evidence out of a gateway's log or a service's copy."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.cli.output import print_json, print_lines
from coldseal.cli.sources import is_gateway, open_source
from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.layout import join_runs, make_layout
from coldseal.core.log.merkle import inclusion_proof
from coldseal.core.log.proof import encode_proof
from coldseal.core.log.record import parse_entry
from coldseal.errors import OperatorError
from coldseal.evidence.selection import Wish, choose, parse_moment, parse_sensor, read_shipment
from coldseal.evidence.source import Blocks, is_cosigned, size_of
from coldseal.evidence.writer import Contents, writing
from coldseal.page import page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.layout import Run
    from coldseal.evidence.source import Source

MAX_SELECTION: Final = 4096
"""Characters of a choice of sensors that still go on record word by word."""


def export(
    config: Path,
    output: Path,
    *,
    origin: str = "",
    sensor: list[str] | None = None,
    device: list[str] | None = None,
    from_: str = "",
    to: str = "",
    first: int = 0,
    last: int | None = None,
    shipment: str = "",
    assignments: Path | None = None,
    tail: bool = False,
    who: str = "",
    why: str = "not stated",
    json: bool = False,
) -> int:
    """Write an evidence bundle from a gateway's log or from a service's copy; either may be running.

    What a gateway exports is put on record in its log.

    Args:
        config: gateway.toml or service.toml.
        output: the new file; must not exist.
        origin: which log of a service; may be left out where it keeps one.
        sensor: readings of this sensor: DEVICE/SENSOR or its topic; may be given several times.
        device: readings of all sensors of this device; may be given several times.
        from_: accepted at this time or later, such as 2026-03-04 or 2026-03-04T05:06:07Z.
        to: accepted before this time.
        first: least seq.
        last: greatest seq; the bundle proves its entries in the log as the first receipt over them saw it.
        shipment: sensors and period of this shipment; needs --assignments.
        assignments: TOML file that says which sensors went with which shipment, and when.
        tail: take entries in that have no receipt yet, all that a running gateway has sealed; a verdict on
            them is "tail-not-anchored".
        who: who exports; without it, the user's name.
        why: what for.
        json: print one JSON object.
    """
    wish = _wish(sensor or [], device or [], shipment, assignments)
    since, before = (parse_moment(text) if text else "" for text in (from_, to))
    wish = replace(wish, since=since or wish.since, before=before or wish.before, first=first, last=last)
    if is_gateway(config):
        _fix(config)
    with closing(open_source(config, origin)) as source:
        contents, left = gather(source, wish, is_tail=tail)
        try:
            with writing(output, contents) as digest:
                seq = _record(config, contents, digest, who, why)
        except OSError as error:
            what = f"{output} cannot be written: {error.strerror}"
            raise OperatorError(what, "Name another file") from error
    _say(contents, output, {"left_out": left, "on_record": seq, "sha256": digest.hex()}, as_json=json)
    return 0


def _fix(config: Path) -> None:
    """Have a running gateway make a checkpoint over what it has sealed so far."""
    from coldseal.gateway.administration import place_of_control
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.control import ask

    ask(place_of_control(load_gateway(config)), {"do": "checkpoint"})


def _say(contents: Contents, output: Path, made: dict[str, int | str | None], *, as_json: bool) -> None:
    """Answer what was exported."""
    size, count = contents.layout.size, sum(end - first for first, end in contents.layout.runs)
    if as_json:
        origin = contents.policy.origin
        print_json({"bundle": output, "entries": count, "origin": origin, "size": size, **made})
        return
    print_lines(f"{output}: {count} entries, proven in the log's first {size}")
    if made["left_out"]:
        print_lines(f"{made['left_out']} more have no receipt yet; export again later, or use --tail")


def prove(config: Path, seq: int, output: Path, *, origin: str = "", json: bool = False) -> int:
    """Write the proof of one entry as a text file (C2SP tlog-proof), with the entry in it.

    Args:
        config: gateway.toml or service.toml.
        seq: the entry's place.
        output: the new file; must not exist.
        origin: which log of a service; may be left out where it keeps one.
        json: print one JSON object.
    """
    with closing(open_source(config, origin)) as source:
        _require_kept(source, seq)
        note = _anchor(source, list(source.notes()), seq + 1, is_tail=False)
        if not 0 <= seq < source.size or note is None or size_of(note) <= seq:
            raise OperatorError(
                f"entry {seq} has no receipt", f"The log has the entries 0 to {source.size - 1}"
            )
        blocks, size = Blocks(source), size_of(note)
        (raw,) = blocks.entries(seq, seq + 1)
        proof = encode_proof(seq, inclusion_proof(seq, size, blocks.nodes), note, raw)
    try:
        with output.open("xb") as file:
            file.write(proof)
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}", "Name another file") from error
    if json:
        print_json({"origin": source.policy.origin, "proof": str(output), "seq": seq, "size": size})
    else:
        print_lines(f"{output}: entry {seq}, proven in the log's first {size}")
    return 0


def _require_kept(source: Source, seq: int) -> None:
    """Refuse an entry that was pruned."""
    if 0 <= seq < source.begin:
        raise OperatorError(
            f"entry {seq} was pruned; the log begins at {source.begin}",
            "Look in the archive, or at the service",
        )


def _wish(sensors: list[str], devices: list[str], shipment: str, assignments: Path | None) -> Wish:
    """Read whose readings are wanted."""
    if bool(shipment) != (assignments is not None):
        raise OperatorError("--shipment and --assignments belong together", "Give both, or neither")
    if assignments is None:
        return Wish(frozenset(map(parse_sensor, sensors)), frozenset(devices))
    if sensors or devices:
        raise OperatorError("--shipment says which sensors", "Leave --sensor and --device out")
    return read_shipment(assignments, shipment)


def gather(source: Source, wish: Wish, *, is_tail: bool) -> tuple[Contents, int]:
    """Choose entries and put everything together; gives it, and how many entries had to be left out.

    Raises:
        OperatorError: there are none, or none with a receipt.
    """
    runs = choose(source, wish)
    notes = list(source.notes())
    anchor = _anchor(source, notes, runs[-1][1] if runs else 0, is_tail=is_tail)
    size = 0 if anchor is None else size_of(anchor)
    wanted = sum(end - first for first, end in runs)
    runs = [(first, min(end, size)) for first, end in runs if first < size]
    if wish.last is not None:
        _require_kept(source, wish.last)
    if not runs:
        raise OperatorError(
            f"there are no such entries to export: {wanted} were found, {size} in all have a receipt",
            "Ask for others, wait for a receipt, or use --tail to export what has none",
        )
    kept = sum(end - first for first, end in runs)
    places = (parse_entry(raw).seq for raw in source.settings())
    runs = join_runs([*runs, *((seq, seq + 1) for seq in places if seq < size)])
    blocks = Blocks(source)
    stamped = [each for each in source.timestamps(size) if _is_within(each.size, runs, size)]
    chosen = {note: None for note in notes if _is_within(size_of(note), runs, size)}
    chosen |= dict.fromkeys(each.note for each in stamped)
    counted = [each for each in source.counts(size) if _is_within(each.size, runs, size)]
    chosen |= dict.fromkeys(each.note for each in counted)
    contents = Contents(
        source.policy,
        make_layout(size, runs, blocks.nodes),
        blocks.entries,
        list(chosen),
        {**wish.describe()},
        source.certificates(),
        source.device_certificate,
        {each.size: each.response for each in stamped},
        source.timestamp_ca() if stamped else b"",
        page(),
        {each.size: (each.attest, each.signature) for each in counted},
    )
    return contents, wanted - kept


def _anchor(source: Source, notes: Sequence[bytes], end: int, *, is_tail: bool) -> bytes | None:
    """Give the first receipt over ``end`` entries, else the newest; without witnesses checkpoints count."""
    policy = source.policy
    counted = [note for note in notes if not policy.witnesses or is_cosigned(note, policy)]
    over = [note for note in counted if size_of(note) >= end]
    if over:
        return min(over, key=size_of)
    return max(notes if is_tail else counted, key=size_of, default=None)


def _is_within(place: int, runs: Sequence[Run], size: int) -> bool:
    """Whether the root at a size follows from the entries that are there."""
    return place == size or any(first < place <= end for first, end in runs)


def _record(config: Path, contents: Contents, digest: bytes, who: str, why: str) -> int | None:
    """Put an export of a gateway on record; gives its seq."""
    if not is_gateway(config):
        return None
    import os
    import pwd

    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.continued import LAST
    from coldseal.gateway.records import seal_record

    settings = load_gateway(config)
    if (settings.gateway.data / LAST).exists():  # another log goes on: nothing is sealed onto this one
        return None
    runs, selection = contents.layout.runs, dict(contents.selection)
    if len(str(selection)) > MAX_SELECTION:
        selection = {name: value for name, value in selection.items() if name not in {"sensors", "devices"}}
    sealed = seal_record(
        settings,
        "export",
        {
            "bundle": encode_base64(digest),
            "first": runs[0][0],
            "last": runs[-1][1] - 1,
            "selection": selection,
            "size": contents.layout.size,
            "who": who or pwd.getpwuid(os.getuid()).pw_name,
            "why": why,
        },
    )
    return sealed.seq
