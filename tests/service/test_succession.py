"""A log that continues another one is taken in if it proves that; the one before takes no more entries."""

from __future__ import annotations

import pytest

from coldseal.core.log.canonical import Value, encode_base64
from coldseal.core.log.checkpoint import Checkpoint
from coldseal.core.log.succession import BrokenLinkError, after_of, next_origin
from coldseal.service.storage.values import Link
from coldseal.service.succession import SucceededError
from tests.sealed import ORIGIN, SealedLog, cosigned, new_keys
from tests.service.bench import Bench
from tests.service.conftest import OpenBench
from tests.trial import Site, url

SECOND, THIRD = f"{ORIGIN}/2", f"{ORIGIN}/3"


async def hold(bench: Bench, log: SealedLog, first: int = 0) -> bytes:
    """Admit a log and take it in; gives its newest receipt."""
    return (await bench.take(bench.admit(log).body(first))).note


def successor(note: bytes, /, **changes: Value) -> SealedLog:
    """Begin the log that cites a note, on another machine."""
    after = {**after_of(note).data(), **changes}
    return SealedLog(origin=next_origin(after_of(note).cited.origin), keys=new_keys(), after=after).grow(2)


async def is_refused(bench: Bench, log: SealedLog, named: str) -> None:
    """Take a log in that must be refused, with its evidence kept and nothing stored."""
    with pytest.raises(BrokenLinkError, match=named):
        await bench.take(bench.admit(log).body())
    (kept,) = await bench.evidence(log.origin)
    assert (kept.evidence.verdict, kept.evidence.entry) == ("broken-link", log.entries[0])
    assert await bench.entries(log.origin) == []
    assert await bench.ledger.links() == []
    assert bench.counted("refused", error="broken-link") == 1


async def test_a_log_that_continues_another_one_is_linked_to_it(bench: Bench) -> None:
    """By the receipt that the service itself gave; both stay as they are."""
    old = SealedLog().grow(6)
    new = successor(await hold(bench, old))

    await hold(bench, new)

    assert await bench.ledger.links() == [Link(SECOND, ORIGIN, 7)]
    assert await bench.ledger.successor(ORIGIN) == SECOND
    assert await bench.entries(SECOND) == new.entries
    assert await bench.entries(ORIGIN) == old.entries


async def test_the_link_is_there_after_a_restart(open_bench: OpenBench) -> None:
    """It was stored with the first batch."""
    old = SealedLog().grow(6)
    async with open_bench() as bench:
        await hold(bench, successor(await hold(bench, old)))
    async with open_bench() as bench:
        assert await bench.ledger.links() == [Link(SECOND, ORIGIN, 7)]
        with pytest.raises(SucceededError):
            await bench.take(old.grow(1).body(7))


async def test_an_origin_that_is_continued_takes_no_more_entries(bench: Bench) -> None:
    """The old disk is running again: its batch is refused and kept, the new log goes on."""
    old = SealedLog().grow(6)
    note = await hold(bench, old)
    new = successor(note)
    await hold(bench, new)

    with pytest.raises(SucceededError, match=f"it goes on as {SECOND}"):
        await bench.take(old.grow(3).body(7))

    (kept,) = await bench.evidence(ORIGIN)
    assert (kept.evidence.verdict, kept.evidence.note, kept.evidence.held) == (
        "succeeded",
        old.notes[10],
        note,
    )
    assert len(await bench.entries(ORIGIN)) == 7
    assert bench.counted("refused", error="succeeded") == 1
    assert (await bench.take(new.grow(1).body(3))).size == 4


async def test_what_had_a_receipt_before_gets_it_again(bench: Bench) -> None:
    """A repetition is no new entry."""
    old = SealedLog().grow(6)
    body = bench.admit(old).body()
    first = await bench.take(body)
    await hold(bench, successor(first.note))

    assert (await bench.take(body)).note == first.note
    assert await bench.evidence(ORIGIN) == []


async def test_entries_behind_the_citation_stay_and_the_citation_holds(bench: Bench) -> None:
    """The receipt was fetched before the old gateway was heard for the last time."""
    old = SealedLog().grow(6)
    note = await hold(bench, old)
    await bench.take(old.grow(4).body(7))

    await hold(bench, successor(note))

    assert await bench.ledger.links() == [Link(SECOND, ORIGIN, 7)]
    assert await bench.entries(ORIGIN) == old.entries


async def test_a_chain_of_three_is_linked_one_by_one(bench: Bench) -> None:
    """Only the last of them takes entries."""
    first = SealedLog().grow(2)
    second = successor(await hold(bench, first))
    third = successor(await hold(bench, second))
    await hold(bench, third)

    assert await bench.ledger.links() == [Link(SECOND, ORIGIN, 3), Link(THIRD, SECOND, 3)]
    for log in (first, second):
        with pytest.raises(SucceededError):
            await bench.take(log.grow(1).body(3))
    assert (await bench.take(third.grow(1).body(3))).size == 4


async def test_a_change_of_keys_in_the_log_before_is_followed(bench: Bench) -> None:
    """Its last receipt is signed by its newer keys."""
    old = SealedLog().grow(2)
    old.roll_over("checkpoint")
    old.roll_over("record")
    await hold(bench, successor(await hold(bench, old.grow(2))))
    assert await bench.ledger.successor(ORIGIN) == SECOND


async def test_a_log_before_in_mode_checkpoint_is_followed(bench: Bench) -> None:
    """Its notes carry a third line."""
    await hold(bench, successor(await hold(bench, SealedLog(mode="checkpoint").grow(2))))
    assert await bench.ledger.successor(ORIGIN) == SECOND


async def test_a_predecessor_that_is_not_held_is_refused(bench: Bench) -> None:
    """The service gave no such receipt, whoever says so."""
    await is_refused(
        bench, successor(cosigned(SealedLog().grow(6).checkpoint())), "no receipt was given here"
    )


async def test_a_size_without_a_receipt_is_refused(bench: Bench) -> None:
    """Here the citation is of a checkpoint that was never delivered."""
    old = SealedLog().grow(2)
    await hold(bench, old)
    await is_refused(bench, successor(cosigned(old.grow(1).checkpoint())), "at size 4")


async def test_another_root_is_refused(bench: Bench) -> None:
    """Two histories of the log before; whoever has its keys could sign the other one."""
    old = SealedLog().grow(2)
    copied = old.copy().grow(1, text="probe-2")
    await hold(bench, old.grow(1))
    await is_refused(bench, successor(cosigned(copied.checkpoint())), f"the root held of {ORIGIN} is")


async def test_a_note_without_the_service_s_cosignature_is_refused(bench: Bench) -> None:
    """Root and size alone are known to whoever has the old disk."""
    old = SealedLog().grow(2)
    await hold(bench, old)
    await is_refused(bench, successor(old.notes[3]), "0 of 1 known witnesses")


async def test_a_wrong_predecessor_is_refused(bench: Bench) -> None:
    """Its name does not lead to this one."""
    note = await hold(bench, SealedLog().grow(2))
    log = SealedLog(origin=THIRD, keys=new_keys(), after=after_of(note).data()).grow(1)
    await is_refused(bench, log, f"goes on as {SECOND}")


@pytest.mark.parametrize("changes", [{"size": 2}, {"root": encode_base64(bytes(32))}, {"note": "x"}])
async def test_a_citation_that_contradicts_itself_is_refused(bench: Bench, changes: dict[str, Value]) -> None:
    """Before anything is looked up."""
    await is_refused(
        bench, successor(await hold(bench, SealedLog().grow(2)), **changes), r"genesis|note: form"
    )


async def test_a_refused_link_closes_nothing(bench: Bench) -> None:
    """Nobody can stop a log by naming it."""
    old = SealedLog().grow(2)
    await hold(bench, old)
    forged = successor(old.sign(Checkpoint(ORIGIN, 3, old.chain.tree.root())))
    await is_refused(bench, forged, "known witnesses")
    assert (await bench.take(old.grow(1).body(3))).size == 4


async def test_status_and_metrics_show_both_ends(site: Site) -> None:
    """Over HTTP, on a running service."""
    old = SealedLog().grow(2)
    site.admit(old)
    async with site.running() as service, site.caller() as gateway, site.caller("operator") as operator:
        headers = {"Content-Type": "application/vnd.coldseal.batch"}

        async def send(log: SealedLog, first: int = 0) -> tuple[int, dict[str, str]]:
            """Send what a log has."""
            async with gateway.post(
                url(service, "/v1/entries"), data=log.body(first), headers=headers
            ) as answer:
                found: dict[str, str] = await answer.json()
                return answer.status, found

        _, receipt = await send(old)
        new = successor(receipt["receipt"].encode())
        site.admit(new)
        await service._watch_once()  # as it does each second
        assert (await send(new))[0] == 200
        status, refusal = await send(old.grow(1), 3)
        assert (status, refusal["error"]) == (422, "succeeded")
        await service._watch_once()  # as it does each second
        async with operator.get(url(service, "/v1/logs")) as answer:
            logs = (await answer.json())["logs"]
        assert [(each["origin"], each["predecessor"], each["successor"]) for each in logs] == [
            (ORIGIN, None, SECOND),
            (SECOND, {"origin": ORIGIN, "size": 3}, None),
        ]
        async with gateway.get(f"http://{service.health_address}/status") as answer:
            assert (await answer.json())["succeeded_logs"] == {ORIGIN: SECOND}
        async with gateway.get(f"http://{service.health_address}/metrics") as answer:
            assert "coldseal_service_succeeded_logs 1.0" in await answer.text()
