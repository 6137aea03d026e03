"""Every entry that goes gets to its sink at least once and in order, whatever the sink does meanwhile."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from coldseal.core.log.merkle import leaf_hash
from coldseal.gateway.routing import runner
from coldseal.gateway.routing.kept import Position
from coldseal.gateway.routing.report import read_board
from coldseal.gateway.uplink.receipts import Receipts, UplinkStatus
from tests.core.routing.entries import EXCURSION, READING, SOURCE
from tests.gateway.routing.rig import Grounds
from tests.trial import STORE_KEY
from tests.waiting import until


async def test_each_entry_arrives_once_in_order_with_its_own_key(grounds: Grounds) -> None:
    """By itself, in the form of the article, from which its leaf hash follows."""
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url)
        await grounds.grow(4)
        async with grounds.routing() as running:
            await running.at("erp", 5)
            await grounds.grow(2)
            await running.at("erp", 7)
    assert sink.seqs == [0, 1, 2, 3, 4, 5, 6]
    assert [each.key for each in sink.posted] == grounds.keys(range(7))
    said = json.loads(sink.posted[3].body)
    raw = b'{"body":%b,"sig":"%b"}' % (said["canonical"].encode(), said["sig"].encode())
    assert sink.posted[3].key.endswith(leaf_hash(raw).hex())
    assert grounds.position("erp") == 7


async def test_lists_carry_many_and_the_next_process_goes_on_behind_them(grounds: Grounds) -> None:
    """Nothing goes twice where nothing failed."""
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url, batch=4)
        await grounds.grow(9)
        async with grounds.routing() as running:
            await running.at("erp", 10)
        await grounds.grow(3)
        async with grounds.routing() as running:
            await running.at("erp", 13)
            assert running.status("erp").delivered == 13
    assert sink.seqs == [*range(13)]
    assert [len(each.seqs) for each in sink.posted][:3] == [4, 4, 2]
    assert len({each.key for each in sink.posted}) == len(sink.posted)


async def test_a_sink_that_was_away_gets_all_that_it_missed(grounds: Grounds) -> None:
    """It is said once that it is away, and once that it is back; each attempt is counted."""
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url, batch=4)
        await grounds.grow(3)
        await sink.stop()
        async with grounds.routing() as running:
            await running.until(lambda: "erp" in running.routes.board.routes)
            await running.until(lambda: running.status("erp").failed.get("unreachable", 0) > 2)
            assert running.status("erp").waiting_ms
            await grounds.grow(5)
            await sink.start()
            await running.at("erp", 9)
            assert not running.status("erp").fault
            assert not running.status("erp").waiting_ms
    assert sink.seqs == [*range(9)]


@pytest.mark.parametrize("status", [302, 403, 429, 500])
async def test_an_answer_that_is_not_about_the_entry_is_asked_for_again(
    grounds: Grounds, status: int
) -> None:
    """Nothing is put aside, and nothing goes in front of it."""
    async with grounds.endpoint() as sink:
        answers = [200, status, status]
        sink.answer = lambda _body: answers.pop() if answers else 200
        sink.more = {"Location": sink.url}
        grounds.route("erp", sink.url)
        await grounds.grow(2)
        async with grounds.routing() as running:
            await running.at("erp", 3)
            assert running.status("erp").aside == 0
            assert sum(running.status("erp").failed.values()) == 2
    assert sink.seqs == [0, 1, 2]
    assert [each.key for each in sink.posted][:3] == 3 * grounds.keys([0])


@pytest.mark.parametrize(("batch", "status"), [(1, 422), (7, 413), (50, 400)])
async def test_the_culprits_are_put_aside_alone_and_the_others_go_on(
    grounds: Grounds, batch: int, status: int
) -> None:
    """Also two neighbours, the first and the last."""
    culprits = {0, 5, 6, 12}
    async with grounds.endpoint() as sink:
        sink.answer = lambda body: status if culprits.intersection(seqs_of(body)) else 201
        sink.text = "no such\nasset"
        grounds.route("erp", sink.url, batch=batch)
        await grounds.grow(12)
        async with grounds.routing() as running:
            await running.at("erp", 13)
            assert running.status("erp").aside == 4
    assert sink.seqs == [seq for seq in range(13) if seq not in culprits]
    with closing(grounds.kept()) as kept:
        aside = kept.aside("erp")
        assert [each.seq for each in aside] == sorted(culprits)
        assert {(each.status, each.detail) for each in aside} == {(str(status), "no such asset")}
        assert [each.kind for each in aside] == ["genesis", "reading", "reading", "reading"]
        assert kept.position("erp") == Position(13, delivered=9)


def seqs_of(body: bytes) -> list[int]:
    """Give the places in a body of the article form."""
    found = json.loads(body)
    return [each["seq"] for each in (found if isinstance(found, list) else [found])]


async def test_a_slow_sink_and_a_dead_one_hold_up_nobody_else(grounds: Grounds) -> None:
    """Each has a position of its own."""
    async with grounds.endpoint() as good, grounds.endpoint() as slow, grounds.endpoint() as dead:
        slow.answer = lambda _body: 0
        await dead.stop()
        for name, sink in (("good", good), ("slow", slow), ("dead", dead)):
            grounds.route(name, sink.url)
        await grounds.grow(20)
        async with grounds.routing() as running:
            await running.at("good", 21)
            assert running.status("slow").position == running.status("dead").position == 0
            await slow.stop()
    assert good.seqs == [*range(21)]
    assert (grounds.position("slow"), grounds.position("dead")) == (0, 0)


async def test_a_full_quarantine_holds_the_route_until_a_person_decides(grounds: Grounds) -> None:
    """Then nothing more is put aside, and nothing is lost."""
    async with grounds.endpoint() as sink:
        sink.answer = lambda _body: 422
        grounds.route("erp", sink.url, "quarantine_max = 2")
        await grounds.grow(3)
        async with grounds.routing() as running:
            await running.until(lambda: "erp" in running.routes.board.routes)
            await running.until(lambda: running.status("erp").is_held)
            assert running.status("erp").position == 2
            sink.answer = lambda _body: 200
            with closing(grounds.kept()) as kept:
                kept.want("erp", [1])
            running.routes.decide()
            await running.at("erp", 4)
            assert not running.status("erp").is_held
            assert running.status("erp").aside == 1
    assert sink.seqs == [1, 2, 3]


async def test_what_is_sent_again_has_its_key_and_may_be_refused_again(grounds: Grounds) -> None:
    """What was taken leaves the quarantine, what was refused stays, with the newest answer."""
    async with grounds.endpoint() as sink:
        bad = {1, 2, 3}
        sink.answer = lambda body: 422 if bad.intersection(seqs_of(body)) else 200
        grounds.route("erp", sink.url, batch=10)
        await grounds.grow(4)
        async with grounds.routing() as running:
            await running.at("erp", 5)
            bad -= {1, 3}
            sink.text = "still"
            with closing(grounds.kept()) as kept:
                kept.want("erp", [1, 2, 3])
            running.routes.decide()
            await running.until(lambda: running.status("erp").aside == 1)
            assert running.status("erp").delivered == 4
    assert [each.key for each in sink.taken][-2:] == grounds.keys([1, 3])
    with closing(grounds.kept()) as kept:
        (left,) = kept.aside("erp")
    assert (left.seq, left.detail, left.is_wanted) == (2, "still", False)


async def test_what_is_sent_again_waits_for_a_sink_that_is_away(grounds: Grounds) -> None:
    """And goes as soon as that is back."""
    async with grounds.endpoint() as sink:
        sink.answer = lambda _body: 422
        grounds.route("erp", sink.url)
        async with grounds.routing() as running:
            await grounds.commit()
            await running.at("erp", 1)
            with closing(grounds.kept()) as kept:
                kept.want("erp", [0])
            sink.answer = lambda _body: 503
            running.routes.decide()
            await running.until(lambda: running.status("erp").failed.get("busy", 0) > 1)
            sink.answer = lambda _body: 200
            await running.until(lambda: running.status("erp").aside == 0)
    assert sink.seqs == [0]


async def test_an_entry_that_a_person_gives_up_is_passed_over(grounds: Grounds) -> None:
    """One that the sink neither takes nor refuses, for example; the others behind it go."""
    async with grounds.endpoint() as sink:
        sink.answer = lambda body: 500 if 1 in seqs_of(body) else 200
        grounds.route("erp", sink.url)
        await grounds.grow(3)
        async with grounds.routing() as running:
            await running.at("erp", 1)
            await running.until(lambda: running.status("erp").failed.get("fault", 0) > 1)
            with closing(grounds.kept()) as kept:
                kept.give_up("erp", 1)
            running.routes.decide()
            await running.at("erp", 4)
    assert sink.seqs == [0, 2, 3]
    with closing(grounds.kept()) as kept:
        assert not kept.given_up("erp")


async def test_a_route_can_begin_with_what_is_sealed_from_now_on(grounds: Grounds) -> None:
    """Now is its first start."""
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url, 'from = "now"')
        await grounds.grow(3)
        async with grounds.routing() as running:
            await running.at("erp", 4)
            await grounds.grow(1)
            await running.at("erp", 5)
    assert sink.seqs == [4]


async def test_a_log_with_another_origin_is_another_log(grounds: Grounds) -> None:
    """Its entries have places from 0 on again, and so has the route."""
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url)
        await grounds.grow(2)
        with closing(grounds.kept()) as kept:
            kept.begin("erp", "of.another/log", 0)
            kept.advance("erp", 2, delivered=2)
        async with grounds.routing() as running:
            await running.at("erp", 3)
    assert sink.seqs == [0, 1, 2]


async def test_a_route_can_wait_for_the_receipt(grounds: Grounds) -> None:
    """What the service has not confirmed does not go anywhere else."""
    async with grounds.endpoint() as sink, grounds.endpoint() as other:
        grounds.route("erp", sink.url, 'after = "receipt"')
        grounds.route("board", other.url)
        certificate = grounds.site.certificates["gateway"]
        uplink = (
            f'[uplink]\nurl = "https://localhost:1"\nca = "{grounds.site.trust}"\n'
            f'certificate = "{certificate}"\nkey = "{certificate.with_suffix(".key")}"\n'
            f'witness = "{grounds.site.witness.encode()}"\n'
        )
        await grounds.grow(4)
        async with grounds.routing(more=uplink) as running:
            await running.at("board", 5)
            assert running.status("erp").position == 0
            with closing(Receipts(grounds.data, STORE_KEY)) as receipts:
                receipts.note(UplinkStatus(published=3))
            await running.at("erp", 3)
            await grounds.grow(1)
            await running.at("board", 6)
            assert running.status("erp").position == 3
    assert sink.seqs == [0, 1, 2]


async def test_rules_choose_what_goes(grounds: Grounds) -> None:
    """The position moves on over what does not, and is written now and then."""
    async with grounds.endpoint() as sink:
        rule = '[[routes.rules]]\nkinds = ["excursion"]\ntiers = ["excursion", "critical"]'
        grounds.route("erp", sink.url, rule)
        await grounds.grow(3)
        place = await grounds.seal("excursion", EXCURSION)
        await grounds.seal("excursion", EXCURSION | {"tier": "warning"})
        async with grounds.routing() as running:
            await running.at("erp", 6)
            assert grounds.position("erp") == place + 1
    assert sink.seqs == [place]


async def test_a_position_over_what_does_not_go_is_written_after_a_while(
    grounds: Grounds, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a start does not look through everything again."""
    monkeypatch.setattr(runner, "SKIPPED_ENTRIES", 3)
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url, '[[routes.rules]]\nkinds = ["alarm"]')
        await grounds.grow(3)
        async with grounds.routing() as running:
            await running.at("erp", 4)
            await until(lambda: grounds.position("erp") == 4)
            monkeypatch.setattr(runner, "SKIPPED_S", 0.0)
            await grounds.grow(1)
            await running.at("erp", 5)
            await until(lambda: grounds.position("erp") == 5)
    assert not sink.posted


async def test_other_forms_go_as_what_they_are(grounds: Grounds) -> None:
    """By themselves, or as the list that each form has."""
    async with grounds.endpoint() as sink:
        grounds.route("one", f"{sink.url}/one", sink="cloudevents")
        grounds.route("many", f"{sink.url}/many", sink="cloudevents", batch=9)
        grounds.route("event", f"{sink.url}/event", sink="epcis")
        grounds.route("capture", f"{sink.url}/capture", sink="epcis", batch=9)
        await grounds.seal("reading", READING, SOURCE)
        await grounds.seal("gap", {"cause": "power"})
        async with grounds.routing() as running:
            for name in ("one", "many", "event", "capture"):
                await running.at(name, 3)
    found = {each.path: each for each in sink.posted}
    types = {path.rpartition("/")[2]: each.headers["Content-Type"] for path, each in found.items()}
    assert types == {
        "one": "application/cloudevents+json",
        "many": "application/cloudevents-batch+json",
        "event": "application/ld+json",
        "capture": "application/ld+json",
    }
    assert [each["type"] for each in json.loads(found["/in/many"].body)] == [
        "coldseal.genesis.v1",
        "coldseal.reading.v1",
        "coldseal.gap.v1",
    ]
    document = json.loads(found["/in/capture"].body)
    assert [each["coldseal:seq"] for each in document["epcisBody"]["eventList"]] == [1]
    assert json.loads(found["/in/event"].body)["coldseal:seq"] == 1
    assert found["/in/event"].headers["GS1-EPCIS-Version"] == "2.0"
    assert found["/in/event"].key == grounds.keys([1])[0]


async def test_how_routes_stand_is_written_down_for_the_gateway(grounds: Grounds) -> None:
    """In a file that is replaced as a whole."""
    async with grounds.endpoint() as sink:
        grounds.route("erp", sink.url)
        await grounds.grow(1)
        async with grounds.routing() as running:
            await running.at("erp", 2)
    found = read_board(grounds.data)["erp"]
    assert (found.position, found.delivered, found.fault) == (2, 2, "")
