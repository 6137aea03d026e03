"""Rejected messages are taken in once their schema is known: once each, flagged, and judged as late ones."""

from __future__ import annotations

import asyncio
import base64
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.core.coldchain.forms import Form
from coldseal.core.coldchain.schema import Meaning, Member, Schema, Source, make_schema
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.gateway import replaying
from coldseal.gateway.message import Outcome
from coldseal.gateway.replaying import Parked, Replaying, rejected_of, replayed_of
from coldseal.gateway.schemas import Book
from coldseal.gateway.store.reader import LogReader
from tests.gateway.judged import assign_all, changing_of
from tests.gateway.parts import KEY, TOPIC, Answers, Hands, digest, faults_of, open_parts, payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from tests.gateway.parts import Parts

PARKED = b'{"schema":"vendor.logger/1","temp":4.70}'
NUMBERED = b'{"schema":"vendor.logger/1","temp":12.5,"n":7,"at":1799999999}'


def schema() -> Schema:
    """Give the schema that was missing."""
    whole = Form(frozenset({"integer"}))
    members = (
        Member("temp", Form(frozenset({"number"})), is_required=True),
        Member("n", whole, is_required=False),
        Member("at", whole, is_required=False),
    )
    meaning = Meaning((Source("temp", "temperature", "Cel"),), seq="n", time="at", time_form="unix-s")
    return make_schema("vendor.logger", 1, members, meaning, source="here")


def replays(parts: Parts, hands: Hands, folder: Path, *, is_known: bool = True) -> Replaying:
    """Make what replays, as the program does; the folder of schemas has the one that was missing."""
    book = Book()
    return Replaying(
        book,
        reload=lambda: book.take([schema()] if is_known else []),
        open_reader=lambda: LogReader(folder, KEY),
        evaluator=parts.projection.evaluator,
        journal=parts.journal,
        pipeline=parts.pipeline,
        clock=hands.clock(),
    )


@asynccontextmanager
async def committing(parts: Parts) -> AsyncIterator[None]:
    """Let the pipeline run."""
    running = asyncio.ensure_future(parts.pipeline.run())
    try:
        yield
    finally:
        parts.pipeline.stop()
        await running


async def park(parts: Parts, hands: Hands, *payloads: bytes, **changes: object) -> list[int]:
    """Have payloads rejected, each in a message of its own; gives the places of their entries."""
    answers = Answers()
    before = len(parts.entries("rejected"))
    for number, each in enumerate(payloads):
        parts.pipeline.submit(
            answers.to(str(number), each, hands=hands, **{"packet_id": number + 1, **changes})
        )
    await answers.reach(len(payloads))
    assert {outcome for _, outcome in answers.outcomes} == {Outcome.REJECTED}
    return [entry.seq for entry in parts.entries("rejected")][before:]


async def test_what_was_parked_becomes_a_reading_that_names_it(tmp_path: Path) -> None:
    """With the time of its receipt, or the device's own; the log verifies."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        seqs = await park(parts, hands, PARKED, NUMBERED)
        hands.pass_ms(86_400_000)
        answer: Mapping[str, Any] = await replays(parts, hands, tmp_path).work({"why": "the schema is here"})
        assert (answer["kept"], answer["after"], answer["rest"]) == ([], None, 0)
        rejected, readings = parts.entries("rejected"), parts.entries("reading")
        assert [each["rejected"] for each in answer["replayed"]] == seqs
        for old, new, sent in zip(rejected, readings, (PARKED, NUMBERED), strict=True):
            assert old.data["reason"] == "schema"
            assert base64.b64decode(str(old.src["payload"])) == sent
            assert new.data["flags"] == ["replayed"]
            assert new.src["replay"] == {"leaf": old.leaf_hash.hex(), "seq": old.seq}
            assert (new.src["schema"], new.src["sha256"]) == ("vendor.logger/1", digest(sent))
            assert new.src["fp"] == old.src["fp"]
        assert (readings[0].src["t"], readings[0].src["pid"]) == (rejected[0].t, 1)
        assert (readings[1].src["t"], readings[1].src["seq"]) == ("2027-01-15T07:59:59.000Z", 7)
        assert "pid" not in readings[1].src
        assert readings[0].data["q"] == [{"n": "temperature", "u": "Cel", "v": "4.70"}]
        assert faults_of(parts) in ([], ["tail-not-anchored"])


async def test_nothing_is_replayed_twice_not_even_after_a_restart(tmp_path: Path) -> None:
    """What the log says counts; whoever asks for that one is told where it is."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        (seq,) = await park(parts, hands, PARKED)
        first = replays(parts, hands, tmp_path)
        both: Sequence[Mapping[str, Any]] = await asyncio.gather(first.work({}), first.work({}))
        assert [len(each["replayed"]) for each in both] == [1, 0]
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        again = replays(parts, hands, tmp_path)
        assert (await again.work({"seq": None}))["replayed"] == []
        with pytest.raises(OperatorError, match=f"entry {seq} was replayed already"):
            await again.work({"seq": seq})
        assert len(parts.entries("reading")) == 1


async def test_a_replay_is_no_message_that_a_device_could_repeat(tmp_path: Path) -> None:
    """The memory of messages is after a restart what it was before."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        await park(parts, hands, NUMBERED)
        await replays(parts, hands, tmp_path).work({})
        known = parts.redelivery.snapshot()
    async with open_parts(tmp_path, hands) as parts:
        assert parts.redelivery.snapshot() == known


async def test_what_is_still_not_understood_stays_and_is_said(tmp_path: Path) -> None:
    """It can be asked for again."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        seqs = await park(parts, hands, PARKED, b"{oops")
        without: Mapping[str, Any] = await replays(parts, hands, tmp_path, is_known=False).work({})
        assert [each["rejected"] for each in without["kept"]] == seqs
        found: Mapping[str, Any] = await replays(parts, hands, tmp_path).work({})
        assert [each["rejected"] for each in found["kept"]] == seqs[1:]
        assert len(parts.entries("reading")) == 1


async def test_only_what_is_asked_for_is_replayed(tmp_path: Path) -> None:
    """By device, by reason, by place."""
    hands = Hands()
    other = TOPIC.replace("dev-1", "dev-2")
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        first, second = await park(parts, hands, PARKED, NUMBERED)
        (third,) = await park(parts, hands, PARKED, device="dev-2", topic=other)
        part = replays(parts, hands, tmp_path)
        for asked, expected in (
            ({"reason": "payload"}, []),
            ({"device": "dev-2"}, [third]),
            ({"seq": second}, [second]),
            ({"device": "dev-1", "reason": "schema"}, [first]),
        ):
            answer: Mapping[str, Any] = await part.work(asked)
            assert [each["rejected"] for each in answer["replayed"]] == expected


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"device": 3}, "device is 3"),
        ({"reason": ["schema"]}, "reason is"),
        ({"reason": "not-authorised"}, "cannot be replayed"),
        ({"seq": "4"}, "seq is '4'"),
        ({"seq": -1}, "seq is -1"),
        ({"after": None}, "after is None"),
        ({"seq": 0}, "entry 0 is no rejected message"),
    ],
    ids=["device", "reason", "another reason", "seq", "negative", "after", "no such entry"],
)
async def test_what_cannot_be_asked_is_refused(tmp_path: Path, asked: dict[str, Any], said: str) -> None:
    """Before anything is sealed."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        await park(parts, hands, PARKED, topic=TOPIC)
        before = parts.log.size
        wanted = {**asked, "seq": before} if asked == {"seq": 0} else asked
        with pytest.raises(OperatorError, match=said.replace("entry 0", f"entry {before}")):
            await replays(parts, hands, tmp_path).work(wanted)
        assert parts.log.size == before


async def test_what_could_not_be_sealed_can_be_asked_for_again(tmp_path: Path) -> None:
    """A full disk leaves nothing behind."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        await park(parts, hands, PARKED)
        part = replays(parts, hands, tmp_path)
        parts.log.close_room(True)  # as an exercise does
        with pytest.raises(UnavailableError):
            await part.work({})
        parts.log.close_room(False)  # the same
        later: Mapping[str, Any] = await part.work({})
        assert len(later["replayed"]) == 1


async def test_many_are_taken_in_part_by_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no request takes long; the answer says where to go on."""
    monkeypatch.setattr(replaying, "AT_ONCE", 2)
    monkeypatch.setattr(replaying, "LOOKED_AT", 3)
    hands, answers = Hands(), list[Any]()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        seqs = await park(
            parts, hands, *(b'{"schema":"vendor.logger/1","temp":%d}' % each for each in range(5))
        )
        part = replays(parts, hands, tmp_path)
        while not answers or answers[-1]["after"] is not None:
            answers.append(await part.work({"after": answers[-1]["after"] if answers else -1}))
        assert [each["rest"] > 0 for each in answers][:2] == [True, False]
        replayed = [each["rejected"] for answer in answers for each in answer["replayed"]]
        assert replayed == seqs


async def test_a_replayed_reading_is_judged_as_one_that_came_late(tmp_path: Path) -> None:
    """What it shows is an entry behind it, marked as late."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        assign_all(changing_of(parts, hands))
        hands.pass_ms(1_000)
        await park(parts, hands, b'{"schema":"vendor.logger/1","temp":19.5}')
        hands.pass_ms(60_000)
        parts.pipeline.submit(answers.to("now", payload(1), hands=hands))
        await answers.reach(1)
        await replays(parts, hands, tmp_path).work({})
        kinds = [entry.kind for entry in parts.entries()]
        assert kinds[-2:] == ["reading", "excursion"]
        assert parts.entries("excursion")[0].data["from"] == parts.entries("rejected")[0].t


async def test_payloads_without_a_schema_are_kept_whole_and_others_up_to_256_bytes(tmp_path: Path) -> None:
    """What is longer is kept by its hash, and cannot be replayed."""
    hands = Hands()
    long, longer = (b'{"schema":"x/1","a":"%b"}' % (b"a" * (size - 23)) for size in (8192, 8193))
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        await park(parts, hands, long, longer, b"{" * 256, b"{" * 257)
        kept = [
            len(base64.b64decode(str(entry.src.get("payload", "")))) for entry in parts.entries("rejected")
        ]
        assert kept == [8192, 0, 256, 0]
        parked = Parked()
        with_reader = LogReader(tmp_path, KEY)
        assert parked.look(with_reader, 100) == 0
        with_reader.close()
        assert len(parked.waiting) == 2


async def test_entries_that_only_look_like_it_are_left_alone(tmp_path: Path) -> None:
    """A text that holds the words is no rejected entry, and no replay."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts, committing(parts):
        parts.pipeline.record("config", b'{"note":{"kind":"rejected","replay":{"seq":1}},"who":"x"}')
        parts.pipeline.record("config", b'{"kind":"rejected","replay":{"seq":1},"who":"x"}')
        (seq,) = await park(parts, hands, PARKED)
        raws = list(parts.log.reader.read_from(0))
        assert [found.seq for raw in raws if (found := rejected_of(raw)) is not None] == [seq]
        assert [replayed_of(raw) for raw in raws] == [None] * len(raws)
        found = rejected_of(raws[seq])
        assert found is not None
        with pytest.raises(InputError, match="topic"):
            await replays(parts, hands, tmp_path)._enter(found._replace(topic="plant/x"))
