"""Every way in which a bundle can be false, each with the verdict that it must end with.

`CASES`: name → (what is done to an honest story, which gives the first bad entry; the verdict). The same
table serves the page and the command line.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.core.log.canonical import Value, encode_base64
from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.core.log.record import parse_entry
from tests.core.log.stamps import Stamp, authority, root
from tests.page import false_counts, false_notes, false_times
from tests.page.builder import CHECKPOINT, RECORD, Files, Story, table_of, without_calibrations

AT = 100
"""The entry that is tampered with: a reading, far from either end."""

LATE = 200
"""The same behind the last change of keys, so that what moves is not taken for another key's work as well."""

Mutate = Callable[[Story], int]


class Case(NamedTuple):
    """One false bundle.

    Attributes:
        mutate: changes an honest story; gives the first bad entry.
        verdict: the most fundamental fault.
    """

    mutate: Mutate
    verdict: str


def flipped_byte(story: Story) -> int:
    """One bit of a value is another one."""
    raw = story.entries[AT]
    place = raw.index(b'"v":"') + 5
    story.entries[AT] = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
    return AT


def changed_value(story: Story) -> int:
    """A colder reading, written as canonically as before."""
    story.entries[AT] = story.entries[AT].replace(b'"v":"4.', b'"v":"2.').replace(b'"v":"7.', b'"v":"5.')
    return AT


def flipped_frame(story: Story) -> int:
    """One byte of an entry's form is another one."""
    story.entries[AT] = story.entries[AT].replace(b'"kind"', b'"kinD"')
    return AT


def deleted(story: Story) -> int:
    """One entry is gone."""
    del story.entries[LATE]
    return LATE


def inserted(story: Story) -> int:
    """One entry more, sealed with the real key for the place behind the end."""
    other = story.copy()
    other.read("ramp", "5.00")
    story.entries.insert(LATE, other.entries[-1])
    return LATE


def swapped(story: Story) -> int:
    """Two neighbours have changed places."""
    story.entries[AT], story.entries[AT + 1] = story.entries[AT + 1], story.entries[AT]
    return AT


def doubled(story: Story) -> int:
    """One entry comes twice."""
    story.entries.insert(LATE + 1, story.entries[LATE])
    return LATE + 1


def cut_tail(story: Story) -> int:
    """The end is gone, and the manifest knows nothing of it; the checkpoints are still there."""
    size = story.anchors[-3][0]
    del story.entries[size:]
    story.size = size
    return size


def cut_tail_alone(story: Story) -> int:
    """The last entries are gone, and the manifest still speaks of them."""
    del story.entries[-5:]
    return len(story.entries)


def surplus(story: Story) -> int:
    """One entry more behind the end, of which the manifest does not speak."""
    other = story.copy()
    story.entries.append(other.entries[other.read("ramp", "5.00")])
    return len(story.sealed)


def cut_within(story: Story) -> int:
    """The last entry is not whole."""

    def change(frames: Files) -> None:
        last = max(frames)
        frames[last] = frames[last][:-3]

    story.reframe.append(change)
    return len(story.entries) - 1


def bytes_behind(story: Story) -> int:
    """Something stands behind the last entry that is none."""

    def change(frames: Files) -> None:
        frames[max(frames)] += b"\x00"

    story.reframe.append(change)
    return len(story.entries)


def loose_tail(story: Story) -> int:
    """Newer entries have a checkpoint of the log, but no witness has seen it."""
    seq = story.read("ramp", "5.00")
    story.note(cosigners=0)
    return seq


def old_key(story: Story) -> int:
    """Sealed with the key that was rolled over, under its own name."""
    current, story.chain.kid = story.chain.kid, story.first_record.kid
    seq = story.seal("correction", {"why": "none"}, sign=story.first_record.sign)
    story.chain.kid = current
    story.note()
    return seq


def new_key_early(story: Story) -> int:
    """An old entry, changed and sealed anew with the key that came later."""
    entry = parse_entry(story.entries[AT])
    body = entry.body.replace(entry.kid.encode(), story.record.kid.encode())
    story.entries[AT] = signed(body, story.record.sign)
    return AT


def foreign_signature(story: Story) -> int:
    """The active key's name over another key's signature."""
    seq = story.seal("correction", {"why": "none"}, sign=story.checkpoint.ecdsa.sign)
    story.note()
    return seq


def unproven_change(story: Story) -> int:
    """A new record key that somebody else may hold: the old one signed, the new one did not."""
    proof = story.record.sign(b"something else")
    seq = story.roll_record(proof=proof)
    story.note()
    return seq


def high_s(story: Story) -> int:
    """The twin signature that anybody can make without the key."""
    entry = parse_entry(story.entries[AT])
    assert entry.sig is not None
    story.entries[AT] = signed(entry.body, lambda _: false_notes.twin(entry.sig or b""))
    return AT


def forged_body(change: Callable[[bytes], bytes]) -> Mutate:
    """Have the real key sign, in order and anchored, a body that is not canonical."""

    def mutate(story: Story) -> int:
        probe = story.copy()
        probe.seal("correction", {"why": "MARK"})
        body = parse_entry(probe.entries[-1]).body
        seq = story.forge(signed(change(body), story.record.sign))
        story.note()
        return seq

    return mutate


def unsigned(story: Story) -> int:
    """An entry of a log in mode "record" without a signature."""
    probe = story.copy()
    probe.seal("correction", {"why": "none"})
    seq = story.forge(b'{"body":%b}' % parse_entry(probe.entries[-1]).body)
    story.note()
    return seq


def deleted_before_roll_over(story: Story) -> int:
    """One entry is gone, and behind it the record key changes."""
    del story.entries[AT]
    return AT


def foreign_link(story: Story) -> int:
    """The genesis entry cites a log that goes on under another name."""
    other = Story(continues="coldseal.example/site-7/gw-0002").grow(20)
    other.note()
    story.__dict__.update(other.__dict__)
    return 0


def changed_cell(story: Story) -> int:
    """One cell of the table is another one."""
    row = f"\n{AT},".encode()
    before, _, after = table_of(story.entries).partition(row)
    story.table = before + row + after.replace(b".", b"0.", 2)
    return AT


def changed_table_of_before(story: Story) -> int:
    """The table is of the shape from before calibration was known, and one of its cells is another one."""
    seq = changed_cell(story)
    assert story.table is not None
    story.table = without_calibrations(story.table)
    return seq


def dropped_row(story: Story) -> int:
    """The last row of the table is gone."""
    table = table_of(story.entries)
    story.table = table[: table.rindex(b"\n", 0, -1) + 1]
    return int(table[len(story.table) :].split(b",")[0])


def revoked_record(story: Story) -> int:
    """The first record key was stolen before it was rolled over."""
    size, t = story.anchors[1]
    data: dict[str, Value] = {
        "action": "revoke",
        "key": story.first_record.kid,
        "reason": "stolen",
        "since": _time(t),
        "use": RECORD,
    }
    story.seal("key", data)
    story.note()
    return size


def revoked_checkpoint(story: Story) -> int:
    """The first checkpoint keys were stolen before they were rolled over."""
    size, t = story.anchors[3]
    data: dict[str, Value] = {
        "action": "revoke",
        "key": story.first_checkpoint.ids,
        "reason": "stolen",
        "since": _time(t),
        "use": CHECKPOINT,
    }
    story.seal("key", data)
    story.note()
    return size


def wrong_sum(story: Story) -> int:
    """A file changes once the sums were taken."""

    def change(files: Files) -> None:
        files["READ-ME.txt"] += b"And more.\n"

    story.damage.append(change)
    return 0


def extra_file(story: Story) -> int:
    """A file that the manifest does not name."""
    story.damage.append(lambda files: files.update({"more.txt": b"more"}))
    return 0


def other_file(story: Story) -> int:
    """A second table of readings lies in the bundle under another name, and its sum fits."""
    story.extra["temperatures.csv"] = b"seq,time,value\n1,2026-03-04T05:00:10.000Z,5.00\n"
    return 0


def missing_file(story: Story) -> int:
    """A file that the manifest names is not there."""

    def drop(files: Files) -> None:
        del files["READ-ME.txt"]

    story.damage.append(drop)
    return 0


def broken_manifest(story: Story) -> int:
    """The manifest is JSON, but not the canonical one."""
    story.damage.append(lambda files: files.update({"manifest.json": b" " + files["manifest.json"]}))
    return 0


def foreign_log(story: Story) -> int:
    """One entry is of another log."""
    story.chain.log = "coldseal.example/site-8/gw-0001"
    seq = story.read("ramp", "5.00")
    story.note()
    return seq


def other_genesis_key(story: Story) -> int:
    """The manifest names other checkpoint keys than the genesis entry."""
    keys: list[Value] = [key.encode() for key in story.checkpoint.verifiers]
    story.manifest["checkpoint_keys"] = keys
    return 0


def broken_chain(story: Story) -> int:
    """An entry in order and signed, that names another one before it."""
    story.chain.head = "00" * 32
    seq = story.read("ramp", "5.00")
    story.note()
    return seq


def pruned(last: int, *, root: bytes | None = None, receipt: str = "") -> Mutate:
    """Have the log say that it was pruned up to an entry, with the true root or another."""

    def mutate(story: Story) -> int:
        archive: dict[str, Value] = {"name": "archive-1", "sha256": "00"}
        archive["receipt"] = receipt or story.notes[2].decode()
        true = MerkleTree(map(leaf_hash, story.sealed[: last + 1])).root()
        data: dict[str, Value] = {"archive": archive, "first": 0, "hold": "none", "last": last}
        data |= {"root": encode_base64(true if root is None else root), "who": "a", "why": "b"}
        seq = story.seal("prune", data)
        story.note()
        return seq

    return mutate


def pruned_without_receipt(story: Story) -> int:
    """Entries were pruned without an archive's receipt."""
    return pruned(9, receipt="none")(story)


def false_timestamp(story: Story) -> int:
    """A timestamp that is none, of an authority that is known."""
    story.extra["timestamps/ca.pem"] = root().certificate.public_bytes(Encoding.PEM)
    story.extra[f"timestamps/{len(story.entries)}.tsr"] = b"\x30\x03\x02\x01\x00"
    return len(story.entries) - 1


def foreign_timestamp(story: Story) -> int:
    """A timestamp on another text, of an authority that nobody knows."""
    story.extra[f"timestamps/{len(story.entries)}.tsr"] = Stamp.by(authority(root())).response()
    return len(story.entries) - 1


def lonely_timestamp(story: Story) -> int:
    """A timestamp for a checkpoint that is not there."""
    story.extra["timestamps/77.tsr"] = Stamp.by(authority(root())).response()
    return 76


def signed(body: bytes, sign: Callable[[bytes], bytes]) -> bytes:
    """Make an entry of a body."""
    return b'{"body":%b,"sig":"%b"}' % (body, encode_base64(sign(body)).encode())


def _time(seconds: int) -> str:
    """Write a moment as entries do."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _mark(new: bytes) -> Callable[[bytes], bytes]:
    """Put something in the place of the data."""
    return lambda body: body.replace(b'{"why":"MARK"}', new)


CASES: dict[str, Case] = {
    "flipped byte": Case(flipped_byte, "bad-signature"),
    "changed value, canonical again": Case(changed_value, "bad-signature"),
    "flipped byte of the form": Case(flipped_frame, "malformed"),
    "deleted entry": Case(deleted, "gap"),
    "deleted entry before a roll-over": Case(deleted_before_roll_over, "gap"),
    "inserted entry": Case(inserted, "gap"),
    "swapped entries": Case(swapped, "gap"),
    "doubled entry": Case(doubled, "gap"),
    "cut tail, checkpoints left": Case(cut_tail, "gap"),
    "cut tail": Case(cut_tail_alone, "gap"),
    "entry more than the manifest says": Case(surplus, "gap"),
    "cut within an entry": Case(cut_within, "malformed"),
    "bytes behind the last entry": Case(bytes_behind, "gap"),
    "tail not anchored": Case(loose_tail, "tail-not-anchored"),
    "new entry with the old key": Case(old_key, "wrong-key"),
    "old entry with the new key": Case(new_key_early, "wrong-key"),
    "signed by another key": Case(foreign_signature, "bad-signature"),
    "key change without proof": Case(unproven_change, "bad-key-change"),
    "wrong root": Case(false_notes.wrong_root, "root-mismatch"),
    "fork": Case(false_notes.forked, "root-mismatch"),
    "extension line": Case(false_notes.extension_line, "bad-checkpoint"),
    "leading zero": Case(false_notes.leading_zero, "bad-checkpoint"),
    "stray bits in base64": Case(false_notes.bad_base64, "bad-checkpoint"),
    "17 signatures": Case(false_notes.seventeen_signatures, "bad-checkpoint"),
    "unknown key under a known name": Case(false_notes.unknown_key, "unknown-key"),
    "unknown key under a witness's name": Case(false_notes.unknown_witness, "unknown-key"),
    "checkpoint signed by one key only": Case(false_notes.one_key_only, "bad-checkpoint"),
    "checkpoint with the old keys": Case(false_notes.old_checkpoint_keys, "unknown-key"),
    "high-S twin": Case(high_s, "malformed"),
    "high-S twin on a checkpoint": Case(false_notes.high_s_checkpoint, "bad-checkpoint"),
    "duplicate JSON key": Case(forged_body(_mark(b'{"why":"a","why":"a"}')), "malformed"),
    "2^53+1": Case(forged_body(_mark(b'{"why":9007199254740993}')), "malformed"),
    "float": Case(forged_body(_mark(b'{"why":5.0}')), "malformed"),
    "NaN": Case(forged_body(_mark(b'{"why":NaN}')), "malformed"),
    "lone surrogate": Case(forged_body(_mark(b'{"why":"\\ud800"}')), "malformed"),
    "needless escape": Case(forged_body(_mark(b'{"why":"\\u0041"}')), "malformed"),
    "not UTF-8": Case(forged_body(_mark(b'{"why":"\xff"}')), "malformed"),
    "keys out of order": Case(forged_body(_mark(b'{"why":1,"a":2}')), "malformed"),
    "day that does not exist": Case(forged_body(lambda b: b.replace(b"-03-04T", b"-02-30T")), "malformed"),
    "unsigned entry": Case(unsigned, "unsigned"),
    "missing witness": Case(false_notes.missing_witness, "not-witnessed"),
    "clock one hour ahead": Case(false_times.stepped(1), "clock-step"),
    "clock one hour back": Case(false_times.stepped(-1), "clock-step"),
    "clock later than the cosignature": Case(false_times.later_than_witnesses, "clock-drift"),
    "clock that only one witness agrees with": Case(false_times.witness_ahead, "clock-drift"),
    "started anew without a word": Case(false_times.other_boot, "clock-step"),
    "silence": Case(false_times.silent, "silence"),
    "silence behind a sensor's gap": Case(false_times.silent_behind_a_sensor, "silence"),
    "silence before a word on the clock": Case(false_times.down_on_one_boot, "silence"),
    "continues another log": Case(foreign_link, "broken-link"),
    "CSV cell changed": Case(changed_cell, "csv-mismatch"),
    "CSV cell changed in a table of before": Case(changed_table_of_before, "csv-mismatch"),
    "CSV row dropped": Case(dropped_row, "csv-mismatch"),
    "revoked record key": Case(revoked_record, "revoked-key"),
    "revoked checkpoint keys": Case(revoked_checkpoint, "revoked-key"),
    "pruned without receipt": Case(pruned_without_receipt, "pruned-unproven"),
    "pruned under another root": Case(pruned(9, root=bytes(32)), "pruned-unproven"),
    "pruned beyond itself": Case(pruned(10_000), "pruned-unproven"),
    "false timestamp": Case(false_timestamp, "bad-timestamp"),
    "timestamp on another text": Case(foreign_timestamp, "bad-timestamp"),
    "timestamp without its checkpoint": Case(lonely_timestamp, "bad-timestamp"),
    "manifest's sum is wrong": Case(wrong_sum, "bundle-damaged"),
    "file of a name that no bundle has": Case(other_file, "bundle-damaged"),
    "extra file": Case(extra_file, "bundle-damaged"),
    "missing file": Case(missing_file, "bundle-damaged"),
    "manifest not canonical": Case(broken_manifest, "bundle-damaged"),
    "entry of another log": Case(foreign_log, "foreign-log"),
    "manifest with other keys": Case(other_genesis_key, "genesis-mismatch"),
    "broken chain": Case(broken_chain, "broken-chain"),
    **{name: Case(mutate, "bad-counter") for name, mutate in false_counts.CASES.items()},
}
