"""Claims about judging on the way of a reading: where its entries stand, and that nothing half-done stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from coldseal.core.coldchain.evaluation import Evaluation
from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.message import Outcome
from coldseal.gateway.projection import Projection
from coldseal.gateway.store.space import Limits
from tests.gateway.judged import assign_all, changing_of, holding_data, profile_data, send, sensor_data
from tests.gateway.parts import Answers, Hands, faults_of, open_parts, payload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway.parts import Parts

WARM = ("4.7", "9.1", "9.3", "9.2", "9.4", "9.0", "9.1", "9.2", "5.0", "5.1", "5.0")
"""A minute each: an excursion begins, is escalated after five minutes, and ends."""


def kinds(parts: Parts) -> list[str]:
    """Give the kinds of all entries that matter here, excursions with their action."""
    return [
        str(entry.data["action"]) if entry.kind == "excursion" else entry.kind
        for entry in parts.entries()
        if entry.kind not in {"segment", "clock"}
    ]


async def test_an_excursion_stands_directly_behind_the_reading_that_shows_it(tmp_path: Path) -> None:
    """With the same time; it names profile, asset and sensor, and the log verifies."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        assign_all(changing_of(parts, hands))
        for seq, value in enumerate(WARM):
            send(parts, hands, answers, seq, value)
        await parts.settle()
        assert kinds(parts) == [
            *("profile", "config", "config", "reading", "reading", "opened"),
            *("reading",) * 5,
            *("escalated", "reading", "reading", "reading", "recovered", "reading"),
        ]
        entries = parts.entries()
        for at, entry in enumerate(entries):
            if entry.kind == "excursion":
                assert (entry.t, entries[at - 1].kind) == (entries[at - 1].t, "reading")
                assert entry.data["asset"] == "fridge-1"
                assert entry.data["profile"]["sha256"] == profile_data()["sha256"]  # type: ignore[index, call-overload] # an object
        assert faults_of(parts) in ([], ["tail-not-anchored"])
    assert {outcome for _, outcome in answers.outcomes} == {Outcome.SEALED}


async def test_a_change_holds_for_what_comes_behind_its_entry_and_nothing_before(tmp_path: Path) -> None:
    """Messages and changes keep the order in which they came, within one group too."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        changing = changing_of(parts, hands)
        send(parts, hands, answers, 0, "12.0")
        _ = changing.enter("profile", profile_data())
        _ = changing.enter("config", sensor_data())
        send(parts, hands, answers, 1, "12.0")
        _ = changing.enter("config", holding_data())
        send(parts, hands, answers, 2, "12.0")
        await parts.settle()
        assert kinds(parts) == [
            *("reading", "profile", "config", "reading", "config", "reading", "opened"),
        ]


async def test_whoever_asks_for_a_change_is_given_its_entries_once_they_are_on_disk(tmp_path: Path) -> None:
    """In the midst of messages; and a change that contradicts what is there leaves nothing."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        changing = changing_of(parts, hands)
        send(parts, hands, answers, 0, "4.0")
        waiting = assign_all(changing)
        send(parts, hands, answers, 1, "4.0")
        with pytest.raises(InputError, match="vaccine"):
            _ = changing.enter("config", holding_data(version=2))
        with pytest.raises(InputError, match="the next one"):
            _ = changing.enter("profile", profile_data(version=3))
        await parts.settle()
        found = [each.result() for each in waiting]
        entries = [entry.raw for entry in parts.entries("profile", "config")]
        assert found == [[raw] for raw in entries]


async def test_what_could_not_be_committed_has_never_been_judged(tmp_path: Path) -> None:
    """On a full disk; the same readings, sent again, give the same entries as if nothing had been."""
    hands, answers = Hands(), Answers()
    limits = Limits(limit_mb=64, reserve_mb=1)
    async with open_parts(tmp_path / "one", hands) as parts:
        assign_all(changing_of(parts, hands))
        for seq, value in enumerate(WARM):
            send(parts, hands, answers, seq, value)
        await parts.settle()
        expected = [entry.data for entry in parts.entries("excursion")]
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path / "two", hands, limits=limits) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        changing = changing_of(parts, hands)
        await asyncio.gather(*assign_all(changing))
        before = parts.projection.evaluator.snapshot()
        parts.log.close_room(True)  # the switch of a drill
        now = (hands.wall_ms, hands.mono_ms)
        waiting = changing.enter("config", sensor_data("other"))
        for seq, value in enumerate(WARM):
            send(parts, hands, answers, seq, value)
        with pytest.raises(UnavailableError):
            await waiting
        await answers.reach(len(WARM))
        assert {outcome for _, outcome in answers.outcomes} == {Outcome.BUSY}
        assert parts.projection.evaluator.snapshot() == before
        assert ("dev-1", "other") not in parts.projection.evaluator.register.sensors
        parts.log.close_room(False)  # the same
        hands.wall_ms, hands.mono_ms = now
        for seq, value in enumerate(WARM):
            send(parts, hands, answers, seq, value)
        parts.pipeline.stop()
        await running
        assert [entry.data for entry in parts.entries("excursion")] == expected


@pytest.mark.parametrize("snapshot_entries", [1, 16_384], ids=["from-snapshots", "from-entries"])
async def test_a_restart_at_any_place_changes_nothing(tmp_path: Path, snapshot_entries: int) -> None:
    """Nor does the number of them: what goes on is what would have gone on."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path / "one", hands) as parts:
        assign_all(changing_of(parts, hands))
        for seq, value in enumerate(WARM):
            send(parts, hands, answers, seq, value)
        await parts.settle()
        expected = [entry.data for entry in parts.entries("excursion")]
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path / "two", hands, snapshot_entries=snapshot_entries) as parts:
        assign_all(changing_of(parts, hands))
        await parts.settle()
    found: list[object] = []
    for seq, value in enumerate(WARM):
        async with open_parts(tmp_path / "two", hands, snapshot_entries=snapshot_entries) as parts:
            send(parts, hands, answers, seq, value)
            await parts.settle()
            found = [entry.data for entry in parts.entries("excursion")]
            again = Projection.restore(parts.log.reader, None, window=128)
            assert again.evaluator.snapshot() == parts.projection.evaluator.snapshot()
    assert found == expected


async def test_a_snapshot_leaves_out_what_still_waits(tmp_path: Path) -> None:
    """It is of the entries before it; what is under way is judged again after a crash."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        assign_all(changing_of(parts, hands))
        await parts.settle()
        before = parts.projection.evaluator.snapshot()
        items = []
        for seq, value in enumerate(WARM):
            hands.pass_ms(60_000)
            items.append(parts.preparation.prepare(answers.to("x", payload(seq, value), hands=hands)))
        assert parts.projection.evaluator.snapshot() != before
        snapshot = parts.preparation.snapshot(items)
        assert isinstance(snapshot, bytes)
        left = Projection.restore(parts.log.reader, snapshot, window=128)
        assert left.evaluator.snapshot() == before


@pytest.mark.parametrize("damage", ["judging", "all"])
async def test_a_damaged_snapshot_is_worked_out_anew_and_said(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the entries that are here; a start is never refused for it."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands, snapshot_entries=1) as parts:
        assign_all(changing_of(parts, hands))
        for seq, value in enumerate(WARM):
            send(parts, hands, answers, seq, value)
        await parts.settle()
        whole = parts.projection.snapshot()
        stamp = hands.clock().now()
        await parts.journal.append(
            [parts.journal.draft("heartbeat", b"{}", stamp)], parts.projection.snapshot
        )
        known = parts.projection.redelivery.snapshot()
        bad = known if damage == "all" else whole[:-9]
        assert parts.log.reader.snapshot_size() == parts.log.size
        found = Projection.restore(parts.log.reader, bad, window=128)
        assert found.evaluator.snapshot() == parts.projection.evaluator.snapshot()
        assert found.redelivery.snapshot() == known
    assert "judging.rebuilt" in capsys.readouterr().err


async def test_an_excursion_gets_a_checkpoint_at_once_and_those_who_listen_hear_of_it(tmp_path: Path) -> None:
    """A reading alone waits for its turn; changes and excursions are told in their order."""
    hands, answers, heard = Hands(), Answers(), list[bytes]()
    async with open_parts(tmp_path, hands, heard=heard.extend) as parts:
        running = asyncio.create_task(parts.pipeline.run())
        await asyncio.gather(*assign_all(changing_of(parts, hands)))
        size = parts.log.checkpoint_size
        hands.pass_ms(1_000)
        parts.pipeline.submit(answers.to("good", payload(1, "4.0"), hands=hands))
        await answers.reach(1)
        assert parts.log.checkpoint_size == size
        hands.pass_ms(1_000)
        parts.pipeline.submit(answers.to("warm", payload(2, "9.0"), hands=hands))
        await answers.reach(2)
        assert parts.log.checkpoint_size == parts.log.size
        for seq, value in ((3, "9.1"), (4, "4.0"), (5, "4.0"), (6, "4.0")):
            before = parts.log.checkpoint_size
            hands.pass_ms(1_000)
            parts.pipeline.submit(answers.to(f"{seq}", payload(seq, value), hands=hands))
            await answers.reach(seq)
            is_over = parts.entries()[-1].kind == "excursion"
            assert (parts.log.checkpoint_size == parts.log.size) is is_over
            assert (parts.log.checkpoint_size > before) is is_over
        actions = [entry.data["action"] for entry in parts.entries("excursion")]
        assert actions == ["opened", "recovered"]
        parts.pipeline.stop()
        await running
        assert heard == [entry.raw for entry in parts.entries("profile", "config", "excursion")]


async def test_without_anything_assigned_nothing_is_judged(tmp_path: Path) -> None:
    """Whatever a sensor says; and a sensor that watches nothing stays as it is beside one that does."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        send(parts, hands, answers, 0, "99")
        await parts.settle()
        assert kinds(parts) == ["reading"]
        assert parts.projection.evaluator.snapshot()[8:] == Evaluation().snapshot()


async def test_silence_is_sealed_once_and_taken_back_if_it_cannot_be(tmp_path: Path) -> None:
    """A gap with its cause; a replay knows of it."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        assign_all(changing_of(parts, hands))
        send(parts, hands, answers, 0, "4.0")
        evaluator = parts.projection.evaluator
        listening = hands.wall_ms - 60_000
        assert not evaluator.silent(hands.wall_ms, listening_ms=listening).effects
        hands.pass_ms(600_000)
        before = evaluator.snapshot()
        found = evaluator.silent(hands.wall_ms, listening_ms=listening)
        assert [effect.kind for effect in found.effects] == ["gap"]
        evaluator.undo(found.before)
        assert evaluator.snapshot() == before
        found = evaluator.silent(hands.wall_ms, listening_ms=listening)
        stamp = hands.clock().now()
        drafts = [parts.journal.draft(each.kind, each.data, stamp) for each in found.effects]
        _ = parts.pipeline.enter(drafts, found.before)
        await parts.settle()
        assert not evaluator.silent(hands.wall_ms, listening_ms=listening).effects
        (gap,) = parts.entries("gap")
        assert (gap.data["cause"], gap.data["sensor"]) == ("silent", "door")
        again = Projection.restore(parts.log.reader, None, window=128)
        assert again.evaluator.snapshot() == evaluator.snapshot()
