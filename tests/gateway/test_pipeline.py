"""What is answered SEALED is on disk, once, in order; what cannot be taken is on record."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.checkpoint import open_checkpoint
from coldseal.errors import UnavailableError
from coldseal.gateway.message import Outcome
from coldseal.gateway.store.log import Group, StoreFailedError
from coldseal.gateway.store.space import Limits
from tests.gateway.parts import KEYS, ORIGIN, Answers, Hands, digest, faults_of, open_parts, payload
from tests.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

SEALED, DUPLICATE, REJECTED, REFUSED, BUSY, LIMITED = Outcome


async def test_a_reading_is_on_disk_before_its_device_is_answered(tmp_path: Path) -> None:
    """At the moment of the answer another connection already reads the entry."""
    hands, seen = Hands(), []
    async with open_parts(tmp_path, hands) as parts:
        answers = Answers()
        message = answers.to("one", payload(1), hands=hands)
        watched = message.__class__(
            **{name: getattr(message, name) for name in message.__struct_fields__ if name != "acknowledge"},
            acknowledge=lambda *_: seen.append([entry.src["seq"] for entry in parts.entries("reading")]),
        )
        parts.pipeline.submit(watched)
        await parts.settle()
    assert seen == [[1]]


async def test_the_entry_says_what_was_sent_by_whom_and_when(tmp_path: Path) -> None:
    """Digits, source and time arrive unchanged."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        sent = payload(17, "4.70", "a1")
        parts.pipeline.submit(answers.to("one", sent, hands=hands))
        await parts.settle()
        (entry,) = parts.entries("reading")
    assert entry.data == {"q": [{"n": "temperature", "u": "Cel", "v": "4.70"}], "sensor": "door"}
    assert entry.src == {
        "boot": "a1",
        "dev": "dev-1",
        "fp": "ab" * 8,
        "seq": 17,
        "sha256": digest(sent),
    }
    assert (entry.t, entry.tq["mono"], entry.tq["s"]) == ("2027-01-15T08:00:00.000Z", 1000, "synchronised")
    assert len(entry.raw) < 700


@pytest.mark.parametrize("mode", ["record", "checkpoint"])
async def test_groups_large_and_small_keep_order_and_verify(tmp_path: Path, mode: str) -> None:
    """Answers come in the order of submission, and so do the entries."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands, mode=mode) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(300):
            parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
            if number % 50 == 0:
                await asyncio.sleep(0)
        parts.pipeline.stop()
        await running
        assert [entry.src["seq"] for entry in parts.entries("reading")] == list(range(300))
        assert faults_of(parts, mode) == ["tail-not-anchored"] * (parts.log.checkpoint_size < 300)
        assert mode == "record" or parts.log.checkpoint_size == 300
    assert answers.outcomes == [(str(number), SEALED) for number in range(300)]


async def test_a_redelivered_reading_is_answered_again_and_sealed_once(tmp_path: Path) -> None:
    """Within a group, across groups and across restarts; with a device sequence, DUP does not matter."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        for name in ("first", "same group"):
            parts.pipeline.submit(answers.to(name, payload(1), hands=hands))
        await parts.settle()
    sequences: list[object] = []
    for start in ("replayed", "from snapshot"):
        async with open_parts(tmp_path, hands, snapshot_entries=1) as parts:
            parts.pipeline.submit(answers.to(start, payload(1), hands=hands, packet_id=99))
            parts.pipeline.submit(answers.to("new", payload(2 if start == "replayed" else 3), hands=hands))
            await parts.settle()
            assert (parts.log.snapshot is None) == (start == "replayed")
            sequences = [entry.src["seq"] for entry in parts.entries("reading")]
    assert sequences == [1, 2, 3]
    assert answers.outcomes == [
        ("first", SEALED),
        ("same group", DUPLICATE),
        ("replayed", DUPLICATE),
        ("new", SEALED),
        ("from snapshot", DUPLICATE),
        ("new", SEALED),
    ]


async def test_without_a_device_sequence_only_dup_with_the_same_packet_id_is_a_duplicate(
    tmp_path: Path,
) -> None:
    """Two equal readings are two readings."""
    hands, answers, sent = Hands(), Answers(), payload(None)
    async with open_parts(tmp_path, hands) as parts:
        submit = parts.pipeline.submit
        submit(answers.to("first", sent, hands=hands, packet_id=1))
        submit(answers.to("equal", sent, hands=hands, packet_id=2))
        submit(answers.to("again", sent, hands=hands, packet_id=1, redelivered=True))
        submit(answers.to("lost first delivery", sent, hands=hands, packet_id=3, redelivered=True))
        await parts.settle()
        assert [entry.src["pid"] for entry in parts.entries("reading")] == [1, 2, 3]
    assert [outcome for _, outcome in answers.outcomes] == [SEALED, SEALED, DUPLICATE, SEALED]


async def test_a_sequence_that_falls_back_with_other_bytes_is_sealed_and_flagged(tmp_path: Path) -> None:
    """A counter may be reset; losing a reading would be worse than asking a question."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        for number, value in ((5, "1"), (6, "1"), (5, "2")):
            parts.pipeline.submit(answers.to("x", payload(number, value), hands=hands))
        await parts.settle()
        assert [entry.data.get("flags") for entry in parts.entries("reading")] == [None, None, ["sequence"]]
    assert {outcome for _, outcome in answers.outcomes} == {SEALED}


async def test_what_is_not_understood_is_sealed_as_rejected_with_hash_source_and_reason(
    tmp_path: Path,
) -> None:
    """The device is told why; small payloads are kept whole."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        parts.pipeline.submit(answers.to("small", b"{oops", hands=hands))
        parts.pipeline.submit(answers.to("again", b"{oops", hands=hands, redelivered=True))
        parts.pipeline.submit(answers.to("large", b"x" * 300, hands=hands, packet_id=8, fingerprint=""))
        await parts.settle()
        small, large = parts.entries("rejected")
    assert small.data["reason"] == "payload"
    assert "JSON" in str(small.data["detail"])
    assert small.src["sha256"] == digest(b"{oops")
    assert base64.b64decode(str(small.src["payload"])) == b"{oops"
    assert (small.src["fp"], small.src["topic"]) == ("ab" * 8, "coldseal/v1/site-7/dev-1/reading/door")
    assert large.src["sha256"] == digest(b"x" * 300)
    assert "payload" not in large.src
    assert "fp" not in large.src
    assert answers.outcomes == [("small", REJECTED), ("again", REJECTED), ("large", REJECTED)]
    assert all(reason for _, _, reason in answers.given)


async def test_what_is_forbidden_is_refused_and_sealed(tmp_path: Path) -> None:
    """The source has judged; the log remembers."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        parts.pipeline.submit(answers.to("x", payload(1), hands=hands, refused="not-authorised", topic="a/b"))
        await parts.settle()
        (entry,) = parts.entries("rejected")
    assert (entry.data["reason"], entry.src["topic"]) == ("not-authorised", "a/b")
    assert answers.outcomes == [("x", REFUSED)]


async def test_a_flood_of_rejections_becomes_one_entry_that_counts_and_is_answered_after_it(
    tmp_path: Path,
) -> None:
    """Two single entries, then one for the rest; answers wait for it, but at QoS 0 nobody waits."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands, per_minute=2) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(5):
            parts.pipeline.submit(answers.to(str(number), b"?%d" % number, hands=hands, packet_id=number + 1))
        parts.pipeline.submit(answers.to("qos 0", b"!", hands=hands, qos=0, packet_id=None))
        await answers.reach(3)
        assert [name for name, _ in answers.outcomes] == ["qos 0", "0", "1"]
        parts.pipeline.stop()
        await running
        entries = parts.entries("rejected")
    assert [entry.data.get("count") for entry in entries] == [None, None, 4]
    assert entries[2].src["dev"] == "dev-1"
    assert answers.outcomes[1:] == [(str(number), REJECTED) for number in range(5)]


async def test_topics_that_carry_no_reading_are_passed_on_and_not_sealed(tmp_path: Path) -> None:
    """A device's status is no record."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        parts.pipeline.submit(answers.to("x", b"on", hands=hands, topic="coldseal/v1/site-7/dev-1/status"))
        await parts.settle()
        assert parts.entries() == []
    assert answers.outcomes == [("x", SEALED)]


async def test_a_full_disk_answers_busy_and_the_same_message_is_sealed_when_there_is_room(
    tmp_path: Path,
) -> None:
    """Nothing is remembered of what was not sealed."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands, limits=Limits(limit_mb=1, reserve_mb=1)) as parts:
        parts.pipeline.submit(answers.to("full", payload(1), hands=hands))
        parts.pipeline.submit(answers.to("twice", payload(1), hands=hands))
        await parts.settle()
        assert parts.entries() == []
    async with open_parts(tmp_path, hands) as parts:
        parts.pipeline.submit(answers.to("room", payload(1), hands=hands))
        await parts.settle()
        assert len(parts.entries("reading")) == 1
    assert answers.outcomes == [("full", BUSY), ("twice", BUSY), ("room", SEALED)]


async def test_entries_of_the_logs_own_go_with_the_next_group(tmp_path: Path) -> None:
    """A heartbeat waits for nobody."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts:
        parts.pipeline.record("heartbeat", b'{"accepted":0}')
        await parts.settle()
        (entry,) = parts.entries("heartbeat")
    assert entry.data == {"accepted": 0}


async def test_a_checkpoint_is_made_when_enough_entries_or_enough_time_have_passed(tmp_path: Path) -> None:
    """Signed by both checkpoint keys; nothing new, no checkpoint."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands, checkpoint_entries=10) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(12):
            parts.pipeline.submit(answers.to("x", payload(number), hands=hands))
        await answers.reach(12)
        assert parts.journal.checkpoint_size == 12
        parts.pipeline.submit(answers.to("x", payload(50), hands=hands))
        await answers.reach(13)
        assert parts.journal.checkpoint_size == 12
        for _ in range(2):
            hands.pass_ms(60_000)
            parts.pipeline.tick()
            await asyncio.sleep(0.05)
        parts.pipeline.stop()
        await running
        notes = parts.log.reader.checkpoints(0, 100)
        assert [found.size for found in notes] == [12, 13]
    keys = (KEYS.checkpoint.verifier_key(ORIGIN), KEYS.interop.verifier_key(ORIGIN))
    assert open_checkpoint(notes[1].note, keys)[0].size == 13


async def test_a_segment_ends_with_an_entry_and_a_checkpoint(tmp_path: Path) -> None:
    """By count here; the log goes on in the next file without a break."""
    hands, answers = Hands(), Answers()
    async with open_parts(
        tmp_path, hands, limits=Limits(limit_mb=64, reserve_mb=1, segment_entries=5)
    ) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(12):
            parts.pipeline.submit(answers.to("x", payload(number), hands=hands))
            await answers.reach(number + 1)
        parts.pipeline.stop()
        await running
        segments = parts.entries("segment")
        assert [entry.data for entry in segments] == [
            {"first": 0, "last": 5, "reason": "entries"},
            {"first": 6, "last": 11, "reason": "entries"},
        ]
        assert [found.size for found in parts.log.reader.checkpoints(0, 100)] == [6, 12]
        assert parts.log.segment_first == 12
        assert faults_of(parts) == ["tail-not-anchored"]


async def test_a_segment_ends_with_the_day(tmp_path: Path) -> None:
    """Within a tick of midnight, also when nothing comes in; an empty segment goes on."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        hands.pass_ms(86_400_000)
        parts.pipeline.tick()
        parts.pipeline.submit(answers.to("x", payload(1), hands=hands))
        await answers.reach(1)
        assert parts.log.segment_first in {0, 2}
        hands.pass_ms(86_400_000)
        parts.pipeline.tick()
        await until(lambda: parts.log.segment_first > 0)
        parts.pipeline.stop()
        await running
        reasons = [entry.data["reason"] for entry in parts.entries("segment")]
    assert set(reasons) == {"day"}


async def test_when_a_commit_fails_what_was_sealed_behind_it_is_given_back_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing may be chained to what is not on disk; afterwards everything is sealed, once and in order."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        commit, failures = parts.log.commit, iter([UnavailableError("the log", "planted")])

        async def fail_once(group: Group, *, is_own: bool = False) -> None:
            await asyncio.sleep(0.01)  # the next group is sealed meanwhile
            for error in failures:
                raise error
            await commit(group, is_own=is_own)

        monkeypatch.setattr(parts.log, "commit", fail_once)
        running = asyncio.create_task(parts.pipeline.run())
        parts.pipeline.record("heartbeat", b"{}")
        for number in range(600):
            parts.pipeline.submit(answers.to(str(number), payload(number), hands=hands))
        await answers.reach(600)
        busy = [name for name, outcome in answers.outcomes if outcome is BUSY]
        assert len(busy) >= 256
        for name in busy:
            parts.pipeline.submit(answers.to(name, payload(int(name)), hands=hands))
        parts.pipeline.stop()
        await running
        readings = parts.entries("reading")
        assert {entry.src["seq"] for entry in readings} == set(range(600))
        assert len(readings) == 600
        assert len(parts.entries("heartbeat")) == 1
        assert faults_of(parts) == ["tail-not-anchored"]
    assert [name for name, outcome in answers.outcomes if outcome is SEALED] == [
        *(str(number) for number in range(600) if str(number) not in busy),
        *busy,
    ]


async def test_a_crash_right_after_a_snapshot_loses_no_message_that_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The snapshot knows only what is sealed: the others' redeliveries are new."""
    hands, answers = Hands(), Answers()
    sent = [(str(turn), payload(turn), f"dev-{place}") for turn in range(60) for place in range(10)]
    async with open_parts(tmp_path, hands, snapshot_entries=1) as parts:
        commit, turns = parts.log.commit, iter(range(1))

        async def commit_once(group: Group, *, is_own: bool = False) -> None:
            for _ in turns:
                await commit(group, is_own=is_own)
                return
            raise StoreFailedError("planted: the power is gone")

        monkeypatch.setattr(parts.log, "commit", commit_once)
        for name, found, device in sent:
            parts.pipeline.submit(answers.to(name, found, hands=hands, device=device))
        with pytest.raises(ExceptionGroup):
            await parts.pipeline.run()
        sealed = len(answers.given)
        assert 0 < sealed < len(sent)
    async with open_parts(tmp_path, hands) as parts:
        assert parts.log.snapshot is not None
        for _, found, device in sent:
            parts.pipeline.submit(answers.to("again", found, hands=hands, device=device, redelivered=True))
        await parts.settle()
        readings = parts.entries("reading")
    assert [(entry.src["seq"], entry.src["dev"]) for entry in readings] == [
        (int(name), device) for name, _, device in sent
    ]
    assert [entry for entry in readings if "flags" in entry.data] == []
    again = [outcome for name, outcome in answers.outcomes if name == "again"]
    assert again == [DUPLICATE] * sealed + [SEALED] * (len(sent) - sealed)


async def test_where_the_next_segment_cannot_be_begun_the_log_goes_on_in_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was committed is answered all the same; a later group tries again."""
    hands, answers = Hands(), Answers()
    async with open_parts(
        tmp_path, hands, limits=Limits(limit_mb=64, reserve_mb=1, segment_entries=5)
    ) as parts:
        roll, failures = parts.log.roll, iter([UnavailableError("the log", "planted")])

        async def fail_once(now_ms: int) -> None:
            for error in failures:
                raise error
            await roll(now_ms)

        monkeypatch.setattr(parts.log, "roll", fail_once)
        running = asyncio.create_task(parts.pipeline.run())
        for number in range(8):
            parts.pipeline.submit(answers.to("x", payload(number), hands=hands))
            await answers.reach(number + 1)
        parts.pipeline.stop()
        await running
        assert [entry.seq for entry in parts.entries("segment")][:2] == [5, 7]
        assert parts.log.segment_first >= 8
        assert faults_of(parts) in ([], ["tail-not-anchored"])


async def test_a_source_is_told_when_too_much_waits(tmp_path: Path) -> None:
    """Back-pressure begins at the limit."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands, max_pending=2) as parts:
        full = []
        for number in range(3):
            full.append(parts.pipeline.is_full)
            parts.pipeline.submit(answers.to("x", payload(number), hands=hands))
        await parts.settle()
        assert full == [False, False, True]
        assert not parts.pipeline.is_full
