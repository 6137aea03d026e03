"""False times: each function changes the clocks of an honest story and gives the first bad entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from coldseal.core.log.canonical import Value
from coldseal.core.log.checkpoint import parse_note
from tests.page.builder import WITNESSES, Story


def stepped(hours: int) -> Callable[[Story], int]:
    """The wall clock jumps, and no entry says so."""

    def mutate(story: Story) -> int:
        story.offset_ms += hours * 3_600_000
        seq = story.read("ramp", "5.00")
        if hours > 0:
            story.now_ms += hours * 3_600_000  # the witnesses are an hour later too
        story.note()
        return seq

    return mutate


def later_than_witnesses(story: Story) -> int:
    """The log says that its clock was put forward by an hour, but the witnesses know better."""
    story.offset_ms += 3_600_000
    states: dict[str, Value] = {
        "from": "holdover",
        "to": "synchronised",
        "off": 0,
        "err": 12,
        "step": 3_600_000,
    }
    seq = story.seal("clock", states)
    story.note()
    return seq


def other_boot(story: Story) -> int:
    """The machine was started anew, and no entry says so."""
    story.restart()
    seq = story.read("ramp", "5.00")
    story.note()
    return seq


def silent(story: Story) -> int:
    """Nothing for longer than the heartbeats that were promised."""
    story.pass_time(600)
    seq = story.read("ramp", "5.00")
    story.note()
    return seq


def silent_behind_a_sensor(story: Story) -> int:
    """The same, and then a gap that is only a sensor's."""
    story.pass_time(600)
    seq = story.seal("gap", {"asset": "fridge-7", "cause": "silent", "device": "probe", "sensor": "ramp"})
    story.note()
    return seq


def witness_ahead(story: Story) -> int:
    """The clock is put forward by an hour with a `clock` entry, and one of two witnesses agrees."""
    story.offset_ms += 3_600_000
    step: dict[str, Value] = {"err": 12, "from": "holdover", "off": 0, "step": 3_600_000}
    seq = story.seal("clock", {**step, "to": "synchronised"})
    note = parse_note(story.note())
    line = story.witnesses[1].cosign(WITNESSES[1], note.text, story.now_ms // 1000 + 3_600)
    story.notes[-1] = replace(note, signatures=(*note.signatures[:3], line)).encode()
    return seq


def down_on_one_boot(story: Story, behind: str = "reading") -> int:
    """Nothing for an hour in which the clock has stepped; what follows the word on the step is no start."""
    story.pass_time(3_600)
    story.offset_ms -= 5_000
    step: dict[str, Value] = {"err": 12, "from": "holdover", "off": 0, "step": -5_000}
    seq = story.seal("clock", {**step, "to": "synchronised"})
    story.seal(behind, {"last": story.chain.head, "software": "coldseal 0.1.0"})
    story.note()
    return seq


def booted_in_1970(story: Story) -> int:
    """The machine wakes up without its time, seals readings all the same, and is told the time later.

    Gives the first reading; it was sealed 10 s behind the start.
    """
    story.pass_time(60)
    story.restart()
    story.state, story.offset_ms = "unsynchronised", 5_000 - story.now_ms
    boot = story.seal("boot", {"last": story.chain.head, "software": "coldseal 0.1.0"})
    seq = story.read("ramp", "5.00", "clock")
    story.read("ramp", "5.10", "clock")
    story.note()
    step, story.offset_ms = -story.offset_ms, 0
    said: dict[str, Value] = {"err": 12, "off": -3, "step": step, "auth": "nts", "source": "192.0.2.7"}
    story.state = "synchronised"
    story.seal("clock", {**said, "first": boot, "from": "unsynchronised", "to": "synchronised"})
    story.read("ramp", "5.20")
    story.note()
    return seq
