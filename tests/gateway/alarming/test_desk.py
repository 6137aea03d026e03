"""Claims about a gateway's alarms: they are on record, follow from the log after any start, and are shown."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from coldseal.core.coldchain.alarms import Condition
from coldseal.core.coldchain.profile import Tier
from coldseal.errors import OperatorError
from coldseal.gateway.alarming.desk import _beside
from coldseal.gateway.alarming.index import KEPT
from tests.gateway.alarming.site import EXCURSION, Room, open_room
from tests.gateway.parts import Hands
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from coldseal.core.coldchain.alarms import Fact

TOPIC = "coldseal/v1/site-7/dev-1/alarm/door"
GAP = {
    "id": "gap-1",
    "cause": "silent",
    "device": "dev-1",
    "sensor": "door",
    "from": "2027-01-15T08:00:00.000Z",
}
FULL = Condition("storage", "storage", Tier.EXCURSION, "full soon", "", "gw-1", "storage")


async def ask(room: Room, **request: object) -> Mapping[str, Any]:
    """Ask as the control channel does."""
    answered: asyncio.Future[Mapping[str, Any]] = asyncio.get_running_loop().create_future()
    room.desk.handlers()["alarms"](request, answered.set_result)
    return await answered


async def acknowledge(room: Room, about: str = "one") -> None:
    """Acknowledge as a person does."""
    data = {"about": about, "who": "ann", "why": "moved the goods"}
    room.desk.require_fitting(data)
    await room.seal("ack", **data)


async def test_an_excursion_becomes_an_alarm_on_record(tmp_path: Path) -> None:
    """Directly behind it, without anybody's look; its end, too."""
    async with open_room(tmp_path) as room:
        await room.excursion("opened")
        await room.reach("raised")
        (raised,) = room.parts.entries("alarm")
        assert raised.data["seq"] == room.parts.entries("excursion")[0].seq
        assert (raised.data["tier"], raised.data["n"], raised.data["asset"]) == ("warning", 1, "fridge-3")
        await room.excursion("escalated", tier="excursion")
        await room.reach("raised", "escalated")
        await room.excursion("recovered", tier="excursion")
        await room.reach("raised", "escalated", "cleared")


async def test_the_record_says_until_when_telling_is_put_off(tmp_path: Path) -> None:
    """The delay stands in the entry; displays show it at once."""
    async with open_room(tmp_path) as room:
        room.delay_ms = room.hands.wall_ms + 600_000
        await room.excursion("opened")
        await room.reach("raised")
        (raised,) = room.parts.entries("alarm")
        assert raised.data["due"] == "2027-01-15T08:10:00.000Z"
        assert (await ask(room, about="one"))["alarm"]["state"] == "waiting"
        room.later(10)
        assert (await ask(room, about="one"))["alarm"]["state"] == "told"


async def test_time_brings_escalation_and_repetition_until_a_person_acknowledges(tmp_path: Path) -> None:
    """All of it is on record, and nothing more comes after that."""
    people = '[alarms]\nescalate_s = 600\nrepeat_s = 900\n[[alarms.recipients]]\nname = "head"\nstep = 1\n'
    people += 'tiers = ["critical"]\nurl = "env:NOBODY"\nendpoints = ["https://hook.example"]\n'
    async with open_room(tmp_path, people) as room:
        await room.excursion("opened")
        await room.reach("raised")
        room.later(9)
        room.later(1)
        await room.reach("raised", "escalated")
        assert room.parts.entries("alarm")[-1].data["step"] == 1
        room.later(15)
        await room.reach("raised", "escalated", "repeated")
        await acknowledge(room)
        for _ in range(5):
            room.later(60)
        assert (await ask(room, about="one"))["alarm"]["state"] == "acknowledged"
        await room.excursion("recovered")
        await room.reach("raised", "escalated", "repeated", "cleared")


async def test_acknowledging_is_checked_before_anything_is_sealed(tmp_path: Path) -> None:
    """What there is not, what is acknowledged, and words that say nothing."""
    async with open_room(tmp_path) as room:
        await room.excursion("opened")
        await room.reach("raised")
        for data, expected in (
            ({"about": "two", "who": "ann", "why": "x"}, "there is no alarm about 'two'"),
            ({"about": 7, "who": "ann", "why": "x"}, "there is no alarm about 7"),
            ({"about": "one", "who": "ann"}, "says about, who and why"),
            ({"about": "one", "who": "ann", "why": " "}, "says about, who and why"),
            ({"about": "one", "who": "ann", "why": "x" * 301}, "says about, who and why"),
        ):
            with pytest.raises(OperatorError, match=expected):
                room.desk.require_fitting(data)
        await acknowledge(room)
        await until(lambda: len(room.parts.entries("ack")) == 1)
        with pytest.raises(OperatorError, match="ann has acknowledged one: moved the goods"):
            room.desk.require_fitting({"about": "one", "who": "bob", "why": "me too"})
        assert (await ask(room, about="two"))["error"] == "there is no alarm about 'two'"


async def test_displays_get_what_stands_and_nothing_when_it_is_over(tmp_path: Path) -> None:
    """One retained message a sensor; those of an earlier run are put right at the first look."""
    old = "coldseal/v1/site-7/dev-9/alarm/old"
    left = [old, "coldseal/v1/site-7/dev-9/cmd/blink", "coldseal/v1/site-8/dev-9/alarm/x"]
    async with open_room(tmp_path, left=left) as room:
        assert room.shown == {old: b""}
        await room.excursion("opened")
        await room.excursion("opened", name="two", quantity="humidity", tier="critical")
        await until(lambda: b'"two"' in room.shown.get(TOPIC, b""))
        found = msgspec.json.decode(room.shown[TOPIC])
        assert [(each["about"], each["state"]) for each in found["alarms"]] == [
            ("one", "told"),
            ("two", "told"),
        ]
        await room.excursion("recovered")
        await room.excursion("recovered", name="two", tier="critical")
        await until(lambda: b"latched" in room.shown[TOPIC])
        await acknowledge(room, "two")
        await until(lambda: not room.shown[TOPIC])


async def test_displays_can_be_switched_off(tmp_path: Path) -> None:
    """Nothing is published then; names that cannot stand in a topic never are."""
    async with open_room(tmp_path, "[alarms]\nmqtt = false\n") as room:
        await room.excursion("opened")
        await room.reach("raised")
        assert room.shown == {}


async def test_a_silent_sensor_is_an_alarm_until_it_is_heard(tmp_path: Path) -> None:
    """The desk asks who was heard."""
    async with open_room(tmp_path) as room:
        await room.seal("gap", **GAP)
        await room.reach("raised")
        room.later(1)
        room.is_heard = True
        room.later(1)
        await room.reach("raised", "cleared")


async def test_the_gateway_itself_can_raise_alarms(tmp_path: Path) -> None:
    """While something is so; the topic is that of the gateway."""
    async with open_room(tmp_path) as room:
        room.conditions = [FULL]
        for _ in range(10):
            room.later(0)
        await room.reach("raised")
        assert "seq" not in room.parts.entries("alarm")[0].data
        await until(lambda: bool(room.shown.get("coldseal/v1/site-7/gw-1/alarm/storage")))
        room.conditions = []
        for _ in range(10):
            room.later(0)
        await room.reach("raised", "cleared")


async def test_what_hurries_is_looked_at_without_waiting(tmp_path: Path) -> None:
    """A tick alone changes nothing; one with something new does."""
    async with open_room(tmp_path) as room:
        room.conditions = [FULL]
        room.desk.tick()
        assert (await ask(room))["alarms"] == []
        room.hurry += 1
        room.desk.tick()
        await room.reach("raised")


def places_after_a_look(room: Room, kept: Path) -> int:
    """Let the desk look, and count the places that it wrote down."""
    room.later(0)
    return len(msgspec.json.decode(kept.read_bytes())["seqs"])


@pytest.mark.parametrize("damage", ["", "lost", "torn", "old", "ahead"])
async def test_a_start_makes_the_same_alarms_again(tmp_path: Path, damage: str) -> None:
    """From the places that were written down, or without them from the whole log."""
    hands = Hands()
    async with open_room(tmp_path, hands=hands) as room:
        await room.excursion("opened")
        await room.excursion("opened", name="two", tier="critical")
        await room.excursion("opened", name="three")
        await room.reach("raised", "raised", "raised")
        kept = tmp_path / "data" / KEPT
        for _ in range(2):
            room.later(0)
        old = kept.read_bytes()
        await acknowledge(room)
        await room.excursion("recovered", name="two", tier="critical")
        await room.excursion("recovered", name="three")
        await room.reach("raised", "raised", "raised", "cleared")
        await until(lambda: places_after_a_look(room, kept) == 6)
        before = await ask(room)
    if damage == "lost":
        kept.unlink()
    elif damage:
        contents = {"torn": b'{"up', "old": old, "ahead": b'{"upto":999,"seqs":[998]}'}
        kept.write_bytes(contents[damage])
    async with open_room(tmp_path, hands=hands) as room:
        assert await ask(room) == before
        assert [each["state"] for each in before["alarms"]] == ["acknowledged", "latched"]
        assert room.done() == ["raised", "raised", "raised", "cleared"]


async def test_what_was_not_put_on_record_before_the_end_is_after_the_start(tmp_path: Path) -> None:
    """An excursion is on disk and the gateway is killed: its alarm is raised by the next run."""
    hands = Hands()
    async with open_room(tmp_path, hands=hands) as room:
        room.is_deaf = True  # as if killed directly behind the commit
        await room.excursion("opened")
        assert room.done() == []
    async with open_room(tmp_path, hands=hands) as room:
        await room.reach("raised")


async def test_a_question_before_the_log_was_read_is_answered_later(tmp_path: Path) -> None:
    """Rather than with half of the truth."""
    async with open_room(tmp_path) as room:
        room.desk._is_ready = False
        room.desk.tick()
        assert "still being made" in (await ask(room))["error"]


async def test_an_end_waits_until_nobody_reads_the_log() -> None:
    """A reader that is closed while a thread reads is an error of the database, and ends the program."""
    began, may_end = threading.Event(), threading.Event()
    ended: list[bool] = []

    def read() -> Iterator[Sequence[Fact]]:
        began.set()
        ended.append(may_end.wait(20))
        yield ()

    reading = asyncio.ensure_future(_beside(read()))
    await until(began.is_set)
    reading.cancel()
    asyncio.get_running_loop().call_soon(may_end.set)
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert ended == [True]


def _look(room: Room) -> int:
    """Let the desk look, and count what it has put on record."""
    room.later(0)
    return len(room.done())


async def test_many_alarms_at_once_are_dealt_with_in_parts_once_a_second(tmp_path: Path) -> None:
    """A gateway that comes back from an outage has them all; each is raised once."""
    async with open_room(tmp_path) as room:
        drafts = [
            room.parts.journal.draft(
                "excursion",
                msgspec.json.encode({**EXCURSION, "action": "opened", "id": f"x{n}"}, order="sorted"),
                room.hands.clock().now(),
            )
            for n in range(600)
        ]
        await room.parts.pipeline.enter(drafts, None)
        await until(lambda: _look(room) == 600)
        room.later(0)
        assert room.desk.status()["warning"] == 600
        assert len(room.done()) == 600
