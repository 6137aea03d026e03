"""What no verdict tells, made with real keys like the attacks: a verifier that is given this says good.

Each stands in the threat model, with what does help. Whoever closes one sees its test fail, and changes both.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from coldseal.core.log.canonical import Value
from coldseal.core.log.evidence import Policy
from coldseal.core.log.keys import RECORD, revocation
from coldseal.core.log.layout import join_runs, make_layout
from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.evidence.verification import Question, verify_bundle
from coldseal.evidence.writer import Contents, write_bundle
from coldseal.gateway.clock import render_time
from tests.attacks.attack import Caught, Play, Stage
from tests.attacks.bundles import (
    CREEP_MS,
    fork,
    made_anew,
    offline,
    rewind,
    rewritten_from_the_start,
    size_of,
    trust,
    without,
)
from tests.attacks.stores import cut_with_head, start
from tests.page.builder import Story, honest, with_lines
from tests.page.cases import LATE, Mutate


class Open(NamedTuple):
    """One thing that stays open.

    Attributes:
        how: it is made here.
        play: makes it; the verdict is empty.
    """

    how: str
    play: Play


def ends_early(story: Story) -> int:
    """All that lies behind an older anchor is left out: entries, checkpoints and receipts."""
    size = story.anchors[-3][0]
    story.notes = [note for note in story.notes if size_of(note) <= size]
    del story.entries[size:], story.sealed[size:]
    return size


def tail_rewritten(story: Story) -> int:
    """With all software keys, what no witness has seen yet is sealed anew; then a receipt is fetched."""
    size = len(story.entries)
    story.read("ramp", "9.90")
    rewind(story, size)
    story.read("ramp", "5.00")
    story.note()
    return size


def before_the_first_receipt(story: Story) -> int:
    """With all software keys, the whole log is made anew before any witness has seen it."""
    rewritten_from_the_start(story)
    story.notes = []
    story.note()
    return 0


def colluding(story: Story) -> int:
    """Enough witnesses cosign a new history beside the old one, and only the new one is shown."""
    size = len(story.entries)
    rewind(story, LATE)
    while len(story.entries) < size:
        story.read("ramp", "5.00")
    story.notes = [note for note in story.notes if size_of(note) <= LATE]
    story.note()
    return LATE


def split(story: Story) -> int:
    """Where one witness is enough, each of two is shown a history of its own; one of them is shown here."""
    other = fork(story)
    story.entries, story.sealed = other.entries, other.sealed
    story.notes = [with_lines(note, without(2)) for note in other.notes if size_of(note) <= LATE]
    story.notes.append(with_lines(other.notes[-1], without(2)))
    return LATE


def drifting_behind(story: Story) -> int:
    """The clock runs 2 % slow for three hours: the last entries are dated back by some three minutes."""
    for _ in range(1_000):
        story.offset_ms -= CREEP_MS
        story.read("ramp", "5.00")
    story.note()
    return 0


def put_back_with_a_word(story: Story) -> int:
    """The clock is put back by an hour, and a `clock` entry says so: an entry to read, not a fault."""
    story.offset_ms -= 3_600_000
    step: dict[str, Value] = {"err": 12, "from": "holdover", "off": 0, "step": -3_600_000}
    seq = story.seal("clock", {**step, "to": "unsynchronised"})
    story.note()
    return seq


def false_sensor(story: Story) -> int:
    """A sensor lies in a cold box beside the goods: all that it says is sealed as it says it."""
    seq = story.read("ramp", "5.00")
    story.note()
    return seq


def put_back_over_a_restart(story: Story) -> int:
    """The clock is put back by an hour while the machine is off: its own clock begins anew, too."""
    story.restart()
    story.offset_ms -= 3_600_000
    seq = story.seal("boot", {"last": story.chain.head, "software": "coldseal 0.1.0"})
    story.read("ramp", "5.00")
    story.note()
    return seq


def other_page(story: Story) -> int:
    """The page in the bundle is one that says good of everything, and its sum fits."""
    story.extra["verify.html"] = b"<!doctype html><title>GOOD</title><h1>GOOD</h1>"
    return 0


async def reading_left_out(stage: Stage) -> Caught:
    """Out of a choice of readings, the one that was too warm is left out, with a proof that fits."""
    story = honest()
    path = stage.folder / "false.coldseal"
    path.write_bytes(story.bundle([(150, 160), (161, 170)]))
    return judged(path, trust(story))


async def revocation_left_out(stage: Stage) -> Caught:
    """A choice holds what a stolen key signed, but not the entry that revokes it."""
    story = honest()
    size, t = story.anchors[1]
    stolen = story.first_record.kid
    hidden = story.seal("key", revocation(RECORD, stolen, since=render_time(t * 1000), reason="stolen"))
    story.note()
    keys = [(seq, seq + 1) for seq, raw in enumerate(story.sealed) if parse_entry(raw).kind == "key"]
    runs = join_runs([(0, size + 10), *(run for run in keys if run[0] != hidden)])
    layout = make_layout(len(story.sealed), runs, MerkleTree(map(leaf_hash, story.sealed)).nodes)
    path = stage.folder / "false.coldseal"
    write_bundle(
        path, Contents(trust(story), layout, lambda first, end: story.sealed[first:end], story.notes)
    )
    return judged(path, trust(story))


async def keys_of_the_bearer(stage: Stage) -> Caught:
    """The forger's own log is verified with the keys that it came with."""
    story = honest()
    made_anew(story)
    path = stage.folder / "false.coldseal"
    path.write_bytes(story.bundle())
    return judged(path, None)


def judged(path: Path, policy: Policy | None) -> Caught:
    """Verify a bundle; without a policy, with the keys in it."""
    faults = verify_bundle(path, Question(policy=policy)).report.faults
    return Caught(faults[0].verdict.value if faults else "")


def of(made: Callable[..., object], play: Play) -> Open:
    """Take a case."""
    return Open(" ".join((made.__doc__ or "").split()), play)


def good(mutate: Mutate, quorum: int = 2) -> Open:
    """Take a bundle."""
    return of(mutate, offline(mutate, quorum=quorum))


OPEN: dict[str, Open] = {
    "bundle that ends at an older anchor": good(ends_early),
    "tail rewritten before its receipt": good(tail_rewritten),
    "log rewritten before its first receipt": good(before_the_first_receipt),
    "tail cut in the store, head made to fit": of(cut_with_head, start(cut_with_head)),
    "quorum that colludes": good(colluding),
    "two histories where one witness is enough": good(split, quorum=1),
    "clock that drifts behind": good(drifting_behind),
    "clock put back, with a word": good(put_back_with_a_word),
    "clock put back over a restart": good(put_back_over_a_restart),
    "sensor that lies": good(false_sensor),
    "reading left out of a choice": of(reading_left_out, reading_left_out),
    "revocation left out of a choice": of(revocation_left_out, revocation_left_out),
    "keys that came with the bundle": of(keys_of_the_bearer, keys_of_the_bearer),
    "page that came with the bundle": good(other_page),
}
