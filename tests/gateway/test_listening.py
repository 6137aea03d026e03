"""Claims about silence: it is sealed once, only when somebody could have been heard; again if it failed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coldseal.gateway.clock import render_time
from coldseal.gateway.evaluating import Evaluator
from coldseal.gateway.listening import LOOK_MS, RETRY_MS, Listening
from tests.gateway.judged import WHO, assign_all, changing_of, send
from tests.gateway.parts import Answers, Hands, open_parts

if TYPE_CHECKING:
    from asyncio import Future
    from pathlib import Path

SILENCE_MS = 300_000


def sealing_of(listening: Listening) -> Future[list[bytes]] | None:
    """Give what is being sealed."""
    return listening._sealing


async def test_a_planned_release_closes_what_is_open_at_its_moment(tmp_path: Path) -> None:
    """Without a reading; behind a restart without a snapshot the same is known from the entries."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        changing = changing_of(parts, hands)
        await asyncio.gather(*assign_all(changing))
        listening = Listening(parts.projection.evaluator, parts.journal, parts.pipeline, hands.clock())
        send(parts, hands, answers, 1, "9.1")
        await answers.reach(1)
        at = render_time(hands.wall_ms + 90_000)
        said = {"asset": "fridge-1", "device": "dev-1", "sensor": "door", "at": at}
        await changing.enter("config", {"release": said, **WHO})
        hands.pass_ms(60_000)
        listening.tick()
        assert sealing_of(listening) is None
        hands.pass_ms(60_000)
        listening.tick()
        sealing = sealing_of(listening)
        assert sealing is not None
        await sealing
        parts.pipeline.stop()
        await running
        *_, closed = parts.entries("excursion")
        anew = Evaluator()
        for entry in parts.entries():
            anew.learn(entry.kind, entry.data, entry.src, entry.t)
        assert anew.snapshot() == parts.projection.evaluator.snapshot()
    assert (closed.data["reason"], closed.data["to"]) == ("released", at)


async def test_a_silent_sensor_is_told_once_until_it_is_heard(tmp_path: Path) -> None:
    """The reading that ends it says so; what could not be sealed is found again later."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        await asyncio.gather(*assign_all(changing_of(parts, hands)))
        listening = Listening(parts.projection.evaluator, parts.journal, parts.pipeline, hands.clock())
        send(parts, hands, answers, 1, "4.0")
        await answers.reach(1)
        listening.tick()
        assert parts.entries("gap") == []
        hands.pass_ms(SILENCE_MS + LOOK_MS)
        parts.log.close_room(True)
        listening.tick()
        sealing = sealing_of(listening)
        assert sealing is not None
        await asyncio.wait([sealing])
        parts.log.close_room(False)
        hands.pass_ms(LOOK_MS)
        listening.tick()  # it failed: the disk is left in peace for a while
        assert sealing_of(listening) is None
        hands.pass_ms(LOOK_MS)
        listening.tick()
        assert sealing_of(listening) is None
        hands.pass_ms(RETRY_MS)
        listening.tick()
        listening.tick()
        sealing = sealing_of(listening)
        assert sealing is not None
        assert len(await sealing) == 1
        hands.pass_ms(10 * LOOK_MS)
        listening.tick()
        assert sealing_of(listening) is None
        send(parts, hands, answers, 2, "4.0")
        await answers.reach(2)
        parts.pipeline.stop()
        await running
        silent, over = parts.entries("gap")
    assert (silent.data["cause"], silent.data.get("over")) == ("silent", None)
    assert (over.data["id"], over.data["over"]) == (silent.data["id"], True)
