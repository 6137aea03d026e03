"""Claims about several changes at once: in force together, or none of them; also where no gateway runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.gateway.administration import action_of
from coldseal.gateway.changing import REQUEST
from tests.gateway.judged import assign_all, changing_of, holding_data, profile_data, send, sensor_data
from tests.gateway.parts import Answers, Hands, open_parts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from coldseal.gateway.store.log import Group


def request(*several: Mapping[str, Any]) -> dict[str, Any]:
    """Give what asks for several."""
    return {"do": REQUEST, "kind": "config", "several": [*several], "why": "a new site"}


async def test_several_changes_are_in_force_together_behind_one_another(tmp_path: Path) -> None:
    """Each has its own entry, and the answer says where it is."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        changing = changing_of(parts, hands)
        entered = [changing.enter("profile", profile_data())]
        asked = request(sensor_data("door"), sensor_data("core"), holding_data())
        answering = asyncio.ensure_future(changing.work(asked))
        await asyncio.sleep(0)
        send(parts, hands, answers, 1, "9.0")
        await parts.settle()
        entries = parts.entries("config", "reading", "excursion")
        assert [each.kind for each in entries] == ["config", "config", "config", "reading", "excursion"]
        assert len(await entered[0]) == 1
        assert await answering == {
            "sealed": [{"seq": each.seq, "leaf": each.leaf_hash.hex()} for each in entries[:3]]
        }


async def test_of_several_changes_none_is_in_force_where_one_is_refused(tmp_path: Path) -> None:
    """The register is what it was, an excursion that a change would have ended is open, nothing is sealed."""
    hands, answers = Hands(), Answers()
    async with open_parts(tmp_path, hands) as parts:
        changing = changing_of(parts, hands)
        entered = assign_all(changing)
        send(parts, hands, answers, 1, "9.0")
        await parts.settle()
        assert len(await asyncio.gather(*entered)) == 3
    async with open_parts(tmp_path, hands) as parts:
        changing, evaluator = changing_of(parts, hands), parts.projection.evaluator
        register, open_ = evaluator.register, evaluator.evaluation.open_excursions()
        assert len(open_) == 1
        moved, wrong = sensor_data("door", "fridge-2"), holding_data(version=7)
        with pytest.raises(InputError, match=r"profile is 'vaccine/7', expected one on record: vaccine/1"):
            await changing.work(request(moved, sensor_data("core"), wrong))
        assert evaluator.register is register
        assert evaluator.evaluation.open_excursions() == open_
        assert len(parts.entries("config")) == 2


async def test_several_changes_that_cannot_be_sealed_are_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is asked for alone."""
    hands = Hands()
    async with open_parts(tmp_path, hands) as parts:
        entered = changing_of(parts, hands).enter("profile", profile_data())
        await parts.settle()
        assert len(await entered) == 1
    async with open_parts(tmp_path, hands) as parts:
        changing, evaluator = changing_of(parts, hands), parts.projection.evaluator
        register = evaluator.register

        async def refuse(_group: Group, *, is_own: bool = False) -> None:
            raise UnavailableError("the log", f"planted: {is_own}")

        monkeypatch.setattr(parts.log, "commit", refuse)
        asked = request(sensor_data("door"), sensor_data("core"), holding_data())
        answering = asyncio.ensure_future(changing.work(asked))
        await asyncio.sleep(0)
        assert evaluator.register is not register
        await parts.settle()
        with pytest.raises(UnavailableError):
            await answering
        assert evaluator.register is register


@pytest.mark.parametrize(
    "several",
    [None, [], [sensor_data(), {"maintenance": {}}], [{"maintenance": {}}], ["x"], [sensor_data(), None]],
    ids=range(6),
)
def test_only_what_is_one_and_the_same_action_can_be_asked_for_at_once(several: object) -> None:
    """Roles, reasons and second persons are about one action; which ones, a table says."""
    with pytest.raises(OperatorError):
        action_of(REQUEST, {"kind": "config", "several": several})
    assert action_of(REQUEST, request(sensor_data())).value == "assign"
