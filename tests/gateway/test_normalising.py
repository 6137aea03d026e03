"""What devices send is converted and corrected on its way in, in the log's order; nothing else is kept."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import cbor2
import msgspec
import pytest

from coldseal.core.coldchain.certificate import canonical_form, parse_calibration
from coldseal.core.coldchain.changes import moment
from coldseal.core.coldchain.normalisation import recompute
from coldseal.errors import UnavailableError
from coldseal.gateway.changing import Changing
from tests.core.coldchain.bad_calibrations import GOOD
from tests.gateway.parts import Answers, Hands, Parts, digest, open_parts, payload

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coldseal.core.log.record import Entry
    from coldseal.gateway.store.log import Group

SIGNED = {"who": "Eva", "why": "yearly calibration"}
DAY = 86_400_000

Q = {"c", "d", "i", "iu", "n", "t", "u", "v"}
DATA = {"flags", "q", "sensor"}
SRC = {"boot", "dev", "fp", "pid", "schema", "seq", "sha256", "t"}
"""All that a reading holds: docs/specs/records.md."""


def calibration(hands: Hands, *, due_days: int = 300, **change: object) -> dict[str, Any]:
    """Say that the sensor of the tests was calibrated the day before."""
    days = {
        "calibrated": moment(hands.wall_ms - DAY)[:10],
        "due": moment(hands.wall_ms + due_days * DAY)[:10],
    }
    return {"calibration": {**canonical_form({**GOOD, **days, **change}, where="test")}, **SIGNED}


def maintenance(action: str) -> dict[str, Any]:
    """Begin or end the maintenance of the sensor of the tests."""
    return {"maintenance": {"action": action, "device": "dev-1", "sensor": "door"}, **SIGNED}


def enter(parts: Parts, hands: Hands, kind: str, data: dict[str, Any]) -> None:
    """Have a change sealed in its place; that it was, the log tells."""
    changing = Changing(parts.projection.evaluator, parts.journal, parts.pipeline, hands.clock())
    changing.enter(kind, data).add_done_callback(lambda done: done.result())


def values(parts: Parts) -> list[str]:
    """Give the value of each reading."""
    return [str(item["v"]) for entry in parts.entries("reading") for item in items(entry)]


def items(entry: Entry) -> list[Mapping[str, Any]]:
    """Give the quantities of a reading."""
    found: list[Mapping[str, Any]] = json.loads(msgspec.json.encode(entry.data["q"]))
    return found


async def test_a_calibration_holds_for_the_readings_behind_its_entry(tmp_path: Path) -> None:
    """Also within one commit, and after a restart; an old one stays for what was taken before."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        parts.pipeline.submit(answers.to("before", payload(1, "5.00"), hands=hands))
        enter(parts, hands, "calibration", calibration(hands))
        parts.pipeline.submit(answers.to("behind", payload(2, "5.00"), hands=hands))
        await parts.settle()
        assert values(parts) == ["5.00", "5.060"]
        assert [entry.kind for entry in parts.entries("reading", "calibration")] == [
            "reading",
            "calibration",
            "reading",
        ]
    hands.pass_ms(60_000)
    async with open_parts(tmp_path, hands) as parts:
        parts.pipeline.submit(answers.to("after a restart", payload(3, "5.00"), hands=hands))
        late = payload(4, "5.00").replace(b'"seq"', f'"t":"{moment(hands.wall_ms - 120_000)}","seq"'.encode())
        parts.pipeline.submit(answers.to("taken before", late, hands=hands))
        await parts.settle()
        assert values(parts) == ["5.00", "5.060", "5.060", "5.00"]


async def test_every_value_of_a_log_follows_from_its_indication_and_a_calibration_of_the_log(
    tmp_path: Path,
) -> None:
    """Whoever has the entries computes all of them once more: °F, K, two calibrations, a dew point."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        parts.projection.evaluator.with_dew_point = True
        for number in range(120):
            if number in {40, 80}:
                enter(parts, hands, "calibration", calibration(hands, due_days=200 + number))
            unit, value = (("Cel", "4.%02d"), ("[degF]", "40.%02d"), ("K", "277.%02d"))[number % 3]
            sent = (
                {"n": "temperature", "u": unit, "v": value % (number % 100)},
                {"n": "h", "u": "%RH", "v": "60"},
            )
            text = msgspec.json.encode({"v": 1, "seq": number, "q": sent})
            parts.pipeline.submit(answers.to(str(number), text, hands=hands))
        await parts.settle()
        forms = [entry.data["calibration"] for entry in parts.entries("calibration")]
        readings = parts.entries("reading")
    known = {found.id: found for found in (parse_calibration(each, where="entry") for each in forms)}  # type: ignore[arg-type] # an object
    assert len(known) == 2
    named = set()
    for entry in readings:
        for item in items(entry):
            if "d" not in item:
                assert recompute(item, known.get(item.get("c", ""))) == item["v"]
                named.add(item.get("c"))
        assert [item["n"] for item in items(entry)] == ["temperature", "h", "dew-point"]
    assert named == {None, *known}


async def test_a_reading_after_the_due_date_is_flagged_and_kept(tmp_path: Path) -> None:
    """Corrected as before: no better correction is known."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        enter(parts, hands, "calibration", calibration(hands, due_days=1))
        parts.pipeline.submit(answers.to("good", payload(1, "5.00"), hands=hands))
        hands.pass_ms(3 * DAY)
        parts.pipeline.submit(answers.to("due", payload(2, "5.00"), hands=hands))
        await parts.settle()
        assert values(parts) == ["5.060", "5.060"]
        assert [entry.data.get("flags") for entry in parts.entries("reading")] == [None, ["calibration-due"]]


async def test_a_sensor_in_maintenance_reports_flagged(tmp_path: Path) -> None:
    """From begin to end; both stand in the log with who and why."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        for number, action in enumerate(("", "begin", "end")):
            if action:
                enter(parts, hands, "config", maintenance(action))
            parts.pipeline.submit(answers.to(action, payload(number), hands=hands))
            hands.pass_ms(1_000)
        await parts.settle()
        assert [entry.data.get("flags") for entry in parts.entries("reading")] == [
            None,
            ["maintenance"],
            None,
        ]
        assert [entry.data["why"] for entry in parts.entries("config")] == [SIGNED["why"]] * 2


async def test_a_backlog_in_one_message_is_corrected_by_what_was_in_force_for_each_part(
    tmp_path: Path,
) -> None:
    """A pack of SenML with times of its own, over a calibration and a maintenance."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        enter(parts, hands, "calibration", calibration(hands))
        hands.pass_ms(10_000)
        enter(parts, hands, "config", maintenance("begin"))
        hands.pass_ms(10_000)
        pack = [{"n": "temperature", "u": "Cel", "v": 5.00, "t": back} for back in (-25, -15, -5)]
        text = msgspec.json.encode(pack)
        parts.pipeline.submit(answers.to("pack", text, hands=hands))
        await parts.settle()
        assert values(parts) == ["5.0", "5.06", "5.06"]
        assert parts.entries("reading")[0].data["flags"] == ["maintenance"]


async def test_an_entry_holds_what_the_specification_lists_and_nothing_else(tmp_path: Path) -> None:
    """Of all formats; what else a payload says stands for itself by its hash."""
    hands, answers = Hands(), Answers()
    taken = [
        payload(1, "5.00", "a1").replace(b'"seq"', b'"t":"2027-01-15T08:00:00Z","seq"'),
        b'{"v":1,"q":[{"n":"temperature","u":"[degF]","v":41.0},{"n":"humidity","u":"%RH","v":60}]}',
        b'[{"bn":"dev:","bver":10,"bu":"Cel"},{"n":"temperature","v":5,"ut":60}]',
        cbor2.dumps([{-2: "x:", 0: "temperature", 1: "K", 2: 278.5, 6: -5}]),
    ]
    refused = b'{"v":1,"secret":"of the maker","q":[{"n":"temperature","u":"Cel","v":5}]}'
    async with open_parts(tmp_path, hands) as parts:
        parts.projection.evaluator.with_dew_point = True
        enter(parts, hands, "calibration", calibration(hands))
        for number, sent in enumerate((*taken, refused)):
            parts.pipeline.submit(answers.to(str(number), sent, hands=hands, packet_id=number + 1))
        await parts.settle()
        readings = parts.entries("reading")
        (rejected,) = parts.entries("rejected")
    assert [entry.src["sha256"] for entry in readings] == [digest(each) for each in taken]
    for entry in readings:
        assert entry.data.keys() <= DATA
        assert entry.src.keys() <= SRC
        assert all(item.keys() <= Q for item in items(entry))
        assert entry.sig is not None
    assert all(word not in entry.raw for entry in readings for word in (b"bver", b"maker"))
    assert (rejected.data["reason"], rejected.src["sha256"]) == ("payload", digest(refused))


async def test_a_calibration_that_could_not_be_committed_corrects_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full for one commit: whoever asked is told, and may ask again."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        commit, failures = parts.log.commit, iter([UnavailableError("the log", "planted")])

        async def fail_once(group: Group, *, is_own: bool = False) -> None:
            for error in failures:
                raise error
            await commit(group, is_own=is_own)

        monkeypatch.setattr(parts.log, "commit", fail_once)
        running = asyncio.ensure_future(parts.pipeline.run())
        evaluator = parts.projection.evaluator
        changing = Changing(evaluator, parts.journal, parts.pipeline, hands.clock())
        asked = changing.enter("calibration", calibration(hands))
        before = evaluator.register
        with pytest.raises(UnavailableError):
            await asked
        assert (before.is_empty, evaluator.register.is_empty) == (False, True)
        parts.pipeline.submit(answers.to("not corrected", payload(1, "5.00"), hands=hands))
        again = changing.enter("calibration", calibration(hands))
        parts.pipeline.submit(answers.to("corrected", payload(2, "5.00"), hands=hands))
        await again
        parts.pipeline.stop()
        await running
        assert values(parts) == ["5.00", "5.060"]
