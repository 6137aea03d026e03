"""A log that was put back to an older state is found, refused, and goes on only by a person's decision."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from msgspec import structs

from coldseal.core.access import Role
from coldseal.core.log import canonical
from coldseal.core.log.delivery.sender import Phase
from coldseal.core.log.record import parse_entry
from coldseal.core.redelivery import Redelivery
from coldseal.errors import OperatorError
from coldseal.gateway import pruning
from coldseal.gateway.deciding import Decision
from coldseal.gateway.refusal import COUNTER, Refusal, RolledBackError, read_refusal, write_refusal
from coldseal.gateway.rollback import by_receipts, by_service
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.tables.administration import Administration, Assigned
from coldseal.gateway.writer import LOG_FOLDER, Run, open_log
from tests.gateway.test_pruning import ASKED, copy_of
from tests.gateway.yard import DEVICE, Yard
from tests.sealed import ORIGIN
from tests.trial import STORE_KEY, Site

if TYPE_CHECKING:
    from pathlib import Path

WHO, WHY = "J. Doe", "the disk was restored from a backup"


def quiet(_done: int, _total: int) -> None:
    """Be told nothing."""


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Give a gateway's folder whose log is admitted."""
    made = Yard(Site(tmp_path))
    made.admit(made.config())
    return made


async def test_an_old_image_is_refused_before_anything_is_sealed_where_the_service_answers(
    yard: Yard,
) -> None:
    """The start asks first; restored, the log is byte by byte what the service has, and goes on."""
    async with yard.site.running() as service:
        config = yard.online(service)
        image = await yard.age(config)
        before = yard.raw()
        yard.put_back(image)
        found = yard.raw()

        with pytest.raises(RolledBackError, match="the service holds 16 entries"):
            await yard.run(config, 1)
        assert yard.raw() == found
        with pytest.raises(RolledBackError):
            await yard.run(config, 1)

        done = await Decision(config, WHO, WHY, quiet).restore()
        assert (done.common, done.fetched, done.carried) == (len(found), len(before) - len(found), 0)
        assert yard.raw()[: len(before)] == before
        gap = next(entry for entry in yard.entries()[len(before) :] if entry.kind == "gap")
        assert gap.data["decision"] == "restore"
        assert (gap.data["who"], gap.data["why"]) == (WHO, WHY)
        assert (gap.data["first"], gap.data["last"]) == (len(found), len(before) - 1)
        assert read_refusal(yard.data) is None
        assert (done.quarantine / "refused.json").exists()
        await yard.run(config, 3)
        assert await yard.deliver(config) is Phase.IDLE
        assert await yard.held() == yard.raw()
        assert yard.readings() == list(range(1, 16))


async def test_what_was_sealed_behind_an_old_image_is_carried_over(yard: Yard) -> None:
    """Started offline, the gateway acknowledged readings; the first contact finds it, and none is lost."""
    offline = yard.config()
    async with yard.site.running() as service:
        config = yard.online(service)
        image = await yard.age(config)
        before = yard.raw()
        yard.put_back(image)
        await yard.run(offline, 2)
        conflicting = yard.raw()[len(yard.raw(image)) :]

        assert await yard.deliver(config) is Phase.HELD
        found = read_refusal(yard.data)
        assert found is not None
        assert (found.source, found.known) == ("service", len(before))
        assert await yard.held() == before
        async with yard.site.ledger() as ledger:
            assert ledger.evidence(ORIGIN) == []

        done = await Decision(config, WHO, WHY, quiet).restore()
        assert (done.common, done.carried) == (len(yard.raw(image)), len(conflicting))
        imports = [entry for entry in yard.entries() if entry.kind == "import"]
        carried = [str(each.data["entry"]).encode() for each in imports]
        assert carried == conflicting
        assert yard.raw(done.quarantine)[-len(conflicting) :] == conflicting
        assert await yard.deliver(config) is Phase.IDLE
        assert (await yard.held())[: len(before)] == before

    async with Run.open(config) as run:
        for raw in conflicting:
            entry = parse_entry(raw)
            if entry.kind == "reading":
                assert run.known.redelivery.is_known(DEVICE, Redelivery.key(str(entry.src["sha256"])))


async def test_a_person_may_leave_the_old_log_and_go_on_under_the_next_origin(yard: Yard) -> None:
    """The new log cites the last receipt, states why, and carries over what the old image had sealed."""
    offline, following = yard.config(), f"{ORIGIN}/2"
    async with yard.site.running() as service:
        config = yard.online(service)
        image = await yard.age(config)
        before = yard.raw()
        yard.put_back(image)
        await yard.run(offline, 2)
        conflicting = yard.raw()[len(yard.raw(image)) :]
        await yard.deliver(yard.online(service))

        done = await Decision(config, WHO, WHY, quiet).successor()
        assert done.origin == following
        config = yard.online(service)
        assert config.gateway.origin == following
        yard.admit(config)
        entries = yard.entries()
        assert [entry.kind for entry in entries[:4]] == ["genesis", "access", "gap", "import"]
        asked = {"choice": "successor", "do": "decide", "who": WHO}
        assert (entries[1].data["outcome"], entries[1].data["asked"]) == ("allowed", asked)
        after = entries[0].data["after"]
        assert isinstance(after, dict)
        assert (after["origin"], after["size"]) == (ORIGIN, len(before))
        carried = [each.data["name"] for each in entries if each.kind == "import"]
        assert carried == [f"{ORIGIN}#{parse_entry(raw).seq}" for raw in conflicting]
        await yard.run(config, 3)
        assert await yard.deliver(config) is Phase.IDLE
        assert await yard.held(following) == yard.raw()
        async with Run.open(config) as run:
            for number in range(1, yard.number + 1):
                digest = canonical.encode_base64(number.to_bytes(32, "big"))
                assert run.known.redelivery.is_known(DEVICE, Redelivery.key(digest))


async def test_receipts_beside_the_log_tell_without_the_service(yard: Yard) -> None:
    """Only the log was put back: the start needs nobody to know."""
    async with yard.site.running() as service:
        config = yard.online(service)
        image = await yard.age(config)
    yard.put_back(image, LOG_FOLDER)

    with pytest.raises(RolledBackError, match="a receipt here covers 16 entries"):
        await yard.run(yard.config(), 1)


async def test_a_log_that_is_gone_is_not_begun_anew_under_its_name(yard: Yard) -> None:
    """An empty folder is an old state too."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await yard.run(config, 5)
        await yard.deliver(config)
        before = yard.raw()
        shutil.rmtree(yard.data)
        with pytest.raises(RolledBackError, match="the log on disk has 0"):
            await yard.run(config, 1)
        await Decision(config, WHO, WHY, quiet).restore()
        assert yard.raw()[: len(before)] == before


async def test_another_history_of_the_same_length_is_found(yard: Yard) -> None:
    """Not the size tells, but the root."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await yard.run(config, 5)
        image = yard.image("old")
        await yard.run(config, 7)
        await yard.deliver(config)
        yard.put_back(image)
        await yard.run(yard.config(), 20)
        with pytest.raises(RolledBackError, match="other entries"):
            await yard.run(config, 1)


async def test_a_gateway_that_was_offline_is_not_refused(yard: Yard) -> None:
    """The service is behind: that is a backlog, and no old image."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await yard.run(config, 5)
        await yard.deliver(config)
        await yard.run(yard.config(), 20)
        await yard.run(config, 1)
        assert await yard.deliver(config) is Phase.IDLE
        assert await yard.held() == yard.raw()


async def test_a_decision_needs_something_to_decide(yard: Yard) -> None:
    """Whoever errs is told."""
    config = yard.config()
    await yard.run(config, 1)
    with pytest.raises(OperatorError, match="nothing to decide"):
        Decision(config, WHO, WHY, quiet)


async def test_only_who_may_recover_decides(yard: Yard) -> None:
    """Everything stays as it was: the gateway refuses, and nothing is written."""
    config = yard.config()
    await yard.run(config, 1)
    before = yard.raw()
    refusal = Refusal(
        origin=ORIGIN, found_ms=0, held=1, known=2, root="", source=COUNTER, note="", counted=2, certified=1
    )
    write_refusal(yard.data, refusal)
    someone = Assigned(user=getpass.getuser(), roles=(Role.QUALITY, Role.TECHNICIAN))
    config = structs.replace(config, administration=Administration(assigned=(someone,)))
    with pytest.raises(OperatorError, match="may not recover"):
        Decision(config, WHO, WHY, quiet)
    assert (read_refusal(yard.data), yard.raw()) == (refusal, before)


async def test_a_service_that_was_put_back_as_well_cannot_restore(yard: Yard) -> None:
    """Receipts here prove more than it has; the next origin cites what is proven."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await yard.run(config, 5)
        await yard.deliver(config)
        image = yard.image("old")
        ledger = yard.site.folder / "ledger"
    shutil.copytree(yard.site.service / "data", ledger)
    async with yard.site.running() as service:
        config = yard.online(service)
        await yard.run(config, 7)
        await yard.deliver(config)
    yard.put_back(image, LOG_FOLDER)
    shutil.rmtree(yard.site.service / "data")
    shutil.copytree(ledger, yard.site.service / "data")
    async with yard.site.running() as service:
        config = yard.online(service)
        with pytest.raises(RolledBackError):
            await yard.run(config, 1)
        with pytest.raises(OperatorError, match="the service has 7 entries, but 17 were witnessed"):
            await Decision(config, WHO, WHY, quiet).restore()
        done = await Decision(config, WHO, WHY, quiet).successor()
        genesis = yard.entries()[0]
    assert done.origin == f"{ORIGIN}/2"
    after = genesis.data["after"]
    assert isinstance(after, dict)
    assert after["size"] == 17


@pytest.mark.parametrize("choice", ["restore", "successor"])
async def test_a_decision_that_was_broken_off_at_its_end_is_only_finished(yard: Yard, choice: str) -> None:
    """The log was in its place already; nothing is done twice."""
    async with yard.site.running() as service:
        config = yard.online(service)
        image = await yard.age(config)
        yard.put_back(image)
        with pytest.raises(RolledBackError) as caught:
            await yard.run(config, 1)
        done = await getattr(Decision(config, WHO, WHY, quiet), choice)()
        entries = yard.raw()
        write_refusal(yard.data, caught.value.refusal)

        config = yard.online(service)
        again = await getattr(Decision(config, WHO, WHY, quiet), choice)()
    assert (again.origin, again.quarantine, again.carried) == (done.origin, done.quarantine, 0)
    assert yard.raw() == entries
    assert read_refusal(yard.data) is None


async def test_a_decision_waits_for_no_gateway_that_writes(yard: Yard) -> None:
    """Two writers would be the next disaster."""
    async with yard.site.running() as service:
        config = yard.online(service)
        image = await yard.age(config)
        yard.put_back(image)
        with pytest.raises(RolledBackError):
            await yard.run(config, 1)
        log = open_log(config, STORE_KEY, 0)
        try:
            with pytest.raises(OperatorError, match="in use"):
                await Decision(config, WHO, WHY, quiet).restore()
        finally:
            await log.close()


async def test_pruned_entries_come_from_the_service(tmp_path: Path) -> None:
    """What is not on the disk any more is fetched with what is missing."""
    yard = Yard(Site(tmp_path), segment_entries=6)
    yard.admit(yard.config())
    async with yard.site.running() as service:
        config = yard.online(service)
        for _ in range(4):
            await yard.run(config, 5)
        await yard.deliver(config)
        await asyncio.to_thread(pruning.prune, config, copy_of(config), before=10, **ASKED)
        image = yard.image("old")
        await yard.run(config, 7)
        await yard.deliver(config)
        before = await yard.held()
        yard.put_back(image)
        with pytest.raises(RolledBackError):
            await yard.run(config, 1)
        done = await Decision(config, WHO, WHY, quiet).restore()
        assert yard.raw()[: len(before)] == before
        assert done.fetched < len(before)


async def test_a_service_that_is_slow_or_new_delays_no_start(yard: Yard) -> None:
    """It is asked again by the uplink; one without a receipt has nothing against the log."""
    config = yard.config()
    await yard.run(config, 1)
    key = STORE_KEY
    with closing(LogReader(yard.data / LOG_FOLDER, key)) as reader:
        assert await by_service(config, reader, 1, 10) is None
        assert by_receipts(config, reader, key, 1) is None
        with socket.create_server(("127.0.0.1", 0)) as silent:
            slow = yard.config(silent.getsockname()[1])
            assert await by_service(slow, reader, 1, 0.05) is None
        async with yard.site.running() as service:
            assert await by_service(yard.online(service), reader, 1, 10) is None
