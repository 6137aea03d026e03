"""What the service has fills the holes of a damaged log; what it has not is carried over to the next one."""

from __future__ import annotations

from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.succession import link_of
from coldseal.gateway.recovery import recover
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.survey import Outcome
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.writer import Run
from tests.gateway.uplink.deliveries import delivering
from tests.gateway.wrecks import STORE_KEY, Wreck, cut, flip, make_wreck
from tests.sealed import ORIGIN
from tests.trial import Site, url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from coldseal.service.app import Service

GROUPS = (50, 1, 200, 3, 300, 2, 100, 5)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give the files of a trial."""
    return Site(tmp_path)


async def make(site: Site) -> Wreck:
    """Make a log at the site's gateway, and admit it."""
    wreck = await make_wreck(site.folder / "gw", GROUPS, rolls=(2, 4))
    site.gateway = wreck.folder / "data"
    site.admit(wreck.log)
    return wreck


def connect(site: Site, wreck: Wreck, address: str) -> None:
    """Let the gateway know its service."""
    certificate = site.certificates["gateway"]
    path = wreck.folder / "gateway.toml"
    path.write_text(
        path.read_text().partition("[uplink]")[0]
        + f'[uplink]\nurl = "{address}"\ncertificate = "{certificate}"\n'
        f'key = "{certificate.with_suffix(".key")}"\nca = "{site.trust}"\n'
        f'witness = "{site.witness.encode()}"\ntimeout_s = 5\n'
    )


@asynccontextmanager
async def delivered(site: Site, wreck: Wreck) -> AsyncIterator[Service]:
    """Run the service, and have it take the log up to its newest checkpoint."""
    async with site.running() as service:
        connect(site, wreck, url(service))
        async with delivering(site, int(url(service).rpartition(":")[2])) as uplink:
            await uplink.published(max(wreck.log.notes))
        yield service


async def test_holes_are_filled_from_the_service_and_the_log_is_whole(site: Site) -> None:
    """Byte by byte, under its own name; the gap says what came from there."""
    wreck = await make(site)
    async with delivered(site, wreck):
        flip(wreck.segment(0), 50_000)
        flip(wreck.segment(1), 100_000)
        cut(wreck.wal, 60_000)
        plan = await recover(wreck.config)
    assert (plan.outcome, plan.origin, plan.lost) == (Outcome.WHOLE, ORIGIN, [])
    assert plan.filled == plan.unreadable != []
    assert wreck.entries()[: wreck.log.size] == wreck.log.entries
    (gap,) = [entry for entry in wreck.parsed() if entry.data.get("cause") == "damage"]
    assert gap.data["filled"] == [
        {"count": last - first + 1, "first": first, "last": last} for first, last in plan.filled
    ]


async def test_a_lost_log_comes_back_from_the_service_alone(site: Site) -> None:
    """Every file of it is gone, but the head's."""
    wreck = await make(site)
    async with delivered(site, wreck):
        for path in wreck.store.glob("*.db*"):
            path.unlink()
        plan = await recover(wreck.config)
    assert (plan.outcome, plan.size) == (Outcome.WHOLE, wreck.log.size)
    assert wreck.entries()[: wreck.log.size] == wreck.log.entries


async def test_without_the_service_a_hole_below_the_last_receipt_waits_for_it(site: Site) -> None:
    """The log goes on with it; once the service is there again, a second recovery fills it."""
    wreck = await make(site)
    async with delivered(site, wreck):
        pass
    connect(site, wreck, "https://localhost:1")
    flip(wreck.segment(1), 100_000)
    plan = await recover(wreck.config)
    assert (plan.outcome, plan.service) == (Outcome.PARTLY, None)
    async with site.running() as service:
        connect(site, wreck, url(service))
        again = await recover(wreck.config)
    assert (again.outcome, again.filled) == (Outcome.WHOLE, plan.lost)
    assert wreck.entries()[: wreck.log.size] == wreck.log.entries


async def test_what_nobody_has_makes_the_next_log_behind_the_last_receipt(site: Site) -> None:
    """It cites the receipt, the old receipts go into quarantine, and what had none is carried over."""
    wreck = await make(site)
    async with delivered(site, wreck):
        published = max(wreck.log.notes)
        async with Run.open(wreck.config) as run:
            for _ in range(30):
                await run.append([run.journal.draft("heartbeat", b"{}", run.clock.now())])
        with closing(LogReader(wreck.store, STORE_KEY)) as reader:
            before = list(reader.read_from(0))
        for path in wreck.store.glob("*-wal"):
            path.unlink()
        for page in range(1, 11):  # some of them hold nothing but the log's state
            flip(wreck.last, wreck.last.stat().st_size - page * 4096 + 2000)
        plan = await recover(wreck.config)
    if plan.outcome is Outcome.WHOLE:  # what was flipped stood below the receipt
        pytest.fail("the harm did not reach what had no receipt")
    assert plan.published == published
    genesis = next(wreck.parsed())
    cited = link_of(genesis)
    assert cited is not None
    assert (cited.cited.origin, cited.cited.size) == (ORIGIN, published)
    carried = {str(entry.data["entry"]).encode() for entry in wreck.parsed() if entry.kind == "import"}
    lost = {seq for first, last in plan.lost for seq in range(first, last + 1)}
    assert carried == {raw for seq, raw in enumerate(before) if seq >= published and seq not in lost}
    assert not list((wreck.folder / "data").glob("uplink.db*"))
    assert list((wreck.folder / "data" / "quarantine" / plan.quarantine).glob("uplink.db"))
    with closing(Receipts(wreck.folder / "data", STORE_KEY)) as receipts:
        assert receipts.newest() is None


async def test_a_service_that_never_had_the_log_is_as_good_as_none(site: Site) -> None:
    """What has no receipt there must go up, so a hole in it makes the next log, which cites nothing."""
    wreck = await make(site)
    async with site.running() as service:
        connect(site, wreck, url(service))
        flip(wreck.segment(1), 100_000)
        plan = await recover(wreck.config)
    assert (plan.outcome, plan.service, plan.published) == (Outcome.SUCCESSOR, 0, 0)
    assert "after" not in next(wreck.parsed()).data
    lost = sum(last - first + 1 for first, last in plan.lost)
    assert plan.carried == wreck.log.size - lost
