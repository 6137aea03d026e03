"""What an asset has used up, handed from one gateway to the next: stated by an entry, proven by its log.

Promise: a leg is believed only as an `export` entry of the log that it names, signed by that log's keys and
in the tree of its checkpoint. What is taken over names that entry, so that the same leg is known again. Adds
up nothing: that is the evaluation's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coldseal.core.log.authorship import verify_entry
from coldseal.core.log.canonical import encode_base64, parse_base64
from coldseal.core.log.checkpoint import ORIGIN, open_checkpoint, parse_checkpoint_text, parse_note
from coldseal.core.log.keys import KeyHistory, Keys
from coldseal.core.log.merkle import verify_inclusion
from coldseal.core.log.proof import parse_proof
from coldseal.core.log.record import parse_entry
from coldseal.core.log.verifier import parse_vkey
from coldseal.errors import InputError, TrustError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.core.log.canonical import Value
    from coldseal.core.log.record import Entry

CUSTODY: Final = "custody"
"""Member of `export` and `import` entries."""

WHERE: Final = "custody file"
MODES: Final = ("record", "checkpoint")
"""Sealing modes."""

_ENTRY: Final = "import entry"
_ASSET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII).fullmatch
_LEAF: Final = re.compile(r"[0-9a-f]{64}").fullmatch


class FalseLegError(TrustError):
    """A leg of custody is not what the log that it names has stated."""

    def __init__(self, why: str) -> None:
        """Keep the reason."""
        super().__init__(f"the custody file proves nothing: {why}")


class Leg(NamedTuple):
    """What one log has stated of an asset.

    Attributes:
        origin: the log.
        seq: the entry that states it.
        leaf: its leaf hash, hex.
        t: its time.
        asset: its name there.
        said: all that the entry says of it.
        size: entries of the log that the checkpoint covers.
        signers: names on the checkpoint, such as those of witnesses.
        kid: id of the record key that signed the entry.
    """

    origin: str
    seq: int
    leaf: str
    t: str
    asset: str
    said: Mapping[str, Any]
    size: int
    signers: tuple[str, ...]
    kid: str


class Carried(NamedTuple):
    """What an `import` entry takes over.

    Attributes:
        asset: its name here.
        source: the entry that stated it, as ``origin:seq``.
        figures: what it has used up.
        there: the log and the asset that stated it, with a space between.
        here: this log and asset.
    """

    asset: str
    source: str
    figures: Mapping[str, Any]
    there: str
    here: str


def open_leg(data: bytes, history: KeyHistory, mode: str) -> Leg:
    """Read a custody file and hold it against the keys of the log that it names.

    Args:
        data: the file: the proof of one entry, with the entry in it.
        history: the log's keys, known beforehand.
        mode: its sealing mode.

    Raises:
        InputError: it is malformed, or of another log.
        FalseLegError: a signature or the proof does not hold.
    """
    proof = parse_proof(data)
    entry = parse_entry(proof.extra)
    if entry.log != history.origin:
        raise InputError(WHERE, "log", entry.log, f"{history.origin}, whose keys were given")
    said = require_statement(entry)
    size = parse_checkpoint_text(parse_note(proof.note).text).size
    try:
        checkpoint, note = open_checkpoint(proof.note, history.at(size).checkpoint)
        verify_inclusion(entry.leaf_hash, proof.seq, checkpoint.size, proof.hashes, checkpoint.root)
    except TrustError as error:
        raise FalseLegError(str(error)) from error
    if (checkpoint.origin, proof.seq) != (entry.log, entry.seq):
        raise FalseLegError("the checkpoint is of another log, or the entry of another place")
    fault = verify_entry(history.at(entry.seq).record, mode, entry)
    if fault is not None:
        raise FalseLegError(fault)
    signers = tuple(dict.fromkeys(line.name for line in note.signatures))
    return Leg(
        entry.log,
        entry.seq,
        entry.leaf_hash.hex(),
        entry.t,
        str(said["asset"]),
        said,
        checkpoint.size,
        signers,
        history.at(entry.seq).kid,
    )


def claim_data(data: bytes, history: KeyHistory, mode: str, asset: str) -> dict[str, Value]:
    """Give what asks a gateway to take a leg over: the custody file, and the keys to hold it against.

    Args:
        data: the file, that `open_leg` has read.
        history: the log's keys.
        mode: its sealing mode.
        asset: the asset's name at that gateway.
    """
    proof = parse_proof(data)
    signing = history.at(proof.seq).record
    over = history.at(parse_checkpoint_text(parse_note(proof.note).text).size).checkpoint
    keys: dict[str, Value] = {
        "checkpoint": [each.encode() for each in over],
        "mode": mode,
        "record": encode_base64(signing),
    }
    return {"asset": asset, "file": data.decode(), "keys": keys}


def open_claim(said: Mapping[str, Any], to: str) -> dict[str, Value]:
    """Give what an `import` entry says, from a custody file and from nothing else.

    Args:
        said: what `claim_data` gave.
        to: the log that takes the leg over.

    Raises:
        InputError: it is malformed, or this log's own statement.
        FalseLegError: the file does not hold against the keys.
    """
    if said.keys() != {"asset", "file", "keys"}:
        raise InputError(_ENTRY, CUSTODY, sorted(said), "asset, file and keys: figures come from the file")
    file, keys = said["file"], said["keys"]
    if not isinstance(file, str):
        raise InputError(_ENTRY, "custody.file", file, "the text of a custody file")
    if not isinstance(keys, dict) or keys.keys() != {"checkpoint", "mode", "record"}:
        raise InputError(_ENTRY, "custody.keys", keys, "checkpoint, mode and record")
    lines, mode = keys["checkpoint"], keys["mode"]
    if not isinstance(lines, list) or not all(isinstance(each, str) for each in lines):
        raise InputError(_ENTRY, "custody.keys.checkpoint", lines, "verifier keys")
    if mode not in MODES:
        raise InputError(_ENTRY, "custody.keys.mode", mode, " or ".join(MODES))
    record = parse_base64(str(keys["record"]), where=_ENTRY, field="custody.keys.record")
    content = file.encode(errors="replace")
    origin = parse_entry(parse_proof(content).extra).log
    leg = open_leg(content, KeyHistory(origin, Keys(record, tuple(map(parse_vkey, lines)))), mode)
    if leg.origin == to:
        raise InputError(
            _ENTRY, "custody.file", leg.origin, "another log's statement: this one counts already"
        )
    return carried_data(leg, str(said["asset"]), to)


def require_statement(entry: Entry) -> Mapping[str, Any]:
    """Give what an entry states of an asset.

    Raises:
        InputError: it states nothing.
    """
    said = entry.data.get(CUSTODY)
    if entry.kind != "export" or not isinstance(said, dict) or not said.keys() >= {"asset", "figures"}:
        raise InputError(WHERE, "entry", entry.kind, "an export entry that states what an asset has used up")
    return said


def carried_data(leg: Leg, asset: str, to: str) -> dict[str, Value]:
    """Give what an `import` entry says that takes a leg over, for an asset of this gateway.

    Args:
        leg: what was stated.
        asset: its name here.
        to: the log that takes it over.
    """
    source: dict[str, Value] = {
        "asset": leg.asset,
        "kid": leg.kid,
        "leaf": leg.leaf,
        "log": leg.origin,
        "seq": leg.seq,
        "t": leg.t,
    }
    return {"asset": asset, "figures": leg.said["figures"], "source": source, "to": to}


def parse_carried(said: object) -> Carried:
    """Read what an `import` entry takes over.

    Raises:
        InputError: it is not of its form.
    """
    where = _ENTRY
    if not isinstance(said, dict) or said.keys() != {"asset", "figures", "source", "to"}:
        raise InputError(where, CUSTODY, said, "asset, figures, source and to")
    asset, figures, source, to = said["asset"], said["figures"], said["source"], said["to"]
    if not isinstance(asset, str) or _ASSET(asset) is None:
        raise InputError(where, "custody.asset", asset, "the name of an asset")
    if not isinstance(figures, dict):
        raise InputError(where, "custody.figures", figures, "an object")
    known_keys = {"asset", "leaf", "log", "seq", "t"}  # the first releases did not name the key
    if not isinstance(source, dict) or source.keys() - {"kid"} != known_keys:
        raise InputError(where, "custody.source", source, "asset, leaf, log, seq and t")
    leaf, log, seq, named = source["leaf"], source["log"], source["seq"], source["asset"]
    for key, name, known in (
        ("source.asset", named, _ASSET),
        ("source.log", log, ORIGIN.fullmatch),
        ("to", to, ORIGIN.fullmatch),
    ):
        if not isinstance(name, str) or known(name) is None:
            raise InputError(where, f"custody.{key}", name, "the name of an asset, or of a log")
    if not isinstance(leaf, str) or _LEAF(leaf) is None:
        raise InputError(where, "custody.source", source, "an entry's log and leaf hash")
    if not isinstance(seq, int) or isinstance(seq, bool) or seq < 0:
        raise InputError(where, "custody.source.seq", seq, "an entry's place")
    return Carried(asset, f"{log}:{seq}", figures, f"{log} {named}", f"{to} {asset}")
