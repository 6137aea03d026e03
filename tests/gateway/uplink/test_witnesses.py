"""Two services as two witnesses of one gateway, over real TLS: what they sign, forget and refuse."""

from __future__ import annotations

import asyncio
import io
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import pytest

from coldseal.cli.sources import GatewaySource
from coldseal.cli.tiles import newest_note
from coldseal.core.log.checkpoint import open_checkpoint
from coldseal.core.log.cosigning import Answer
from coldseal.evidence.source import is_cosigned, size_of
from coldseal.gateway.config import load_gateway
from coldseal.gateway.uplink import rounds as module
from coldseal.gateway.uplink.rounds import Rounds
from coldseal.gateway.uplink.runner import Bell
from coldseal.gateway.uplink.witness_http import WitnessChannel
from coldseal.gateway.uplink.witnesses import Cosigner, Peer
from coldseal.service.admission import encode_log_file
from tests.gateway.uplink.deliveries import RETRY, Delivering, delivering, grown
from tests.gateway.uplink.test_faults import port_of
from tests.gateway.uplink.test_process import configure
from tests.sealed import COSIGNED, ORIGIN, SealedLog
from tests.trial import Site
from tests.waiting import until

SECOND = "second.example"
NAMED = f"service.name={SECOND}"
INTERVAL_S = 0.02


@pytest.fixture
def second(tmp_path: Path, log: SealedLog) -> Site:
    """Give the site of somebody else, with a CA of its own, who only witnesses the log."""
    folder = tmp_path / "second"
    folder.mkdir()
    site = Site(folder)
    site.witness = replace(site.witness, name=SECOND)
    logs = site.service / "data" / "witnessed"
    logs.mkdir(parents=True)
    (logs / "log.json").write_bytes(encode_log_file(log.admitted))
    return site


@asynccontextmanager
async def asking(up: Delivering, site: Site, second: Site, port: int) -> AsyncIterator[Cosigner]:
    """Ask the second witness for cosignatures on what is delivered to the first one."""
    with closing(site.reader()) as reader:
        async with WitnessChannel(
            f"https://localhost:{port}/v1/witness", second.context(), timeout_s=5
        ) as channel:
            cosigner = Cosigner(
                Peer(second.witness, channel.post),
                Rounds(reader, up.receipts, INTERVAL_S),
                reader,
                up.receipts,
                up.uplink.aside,
                retry=RETRY,
                bell=Bell(),
                chance=lambda: 0.5,
                now_ms=lambda: COSIGNED * 1000,
            )
            running = asyncio.ensure_future(cosigner.run())
            try:
                yield cosigner
            finally:
                running.cancel()
                await asyncio.wait([running])
                await up.uplink.aside(bool)  # behind what the one thread still reads


@asynccontextmanager
async def both(site: Site, second: Site) -> AsyncIterator[tuple[Delivering, Cosigner]]:
    """Run two services and a gateway that delivers to one and asks the other."""
    async with (
        site.running() as service,
        second.running(NAMED) as witness,
        delivering(site, port_of(service.address)) as up,
        asking(up, site, second, port_of(witness.address)) as cosigner,
    ):
        yield up, cosigner


async def brought_to(cosigner: Cosigner, size: int) -> None:
    """Wait until the second witness has cosigned so much; the bell shortens the wait."""

    def is_there() -> bool:
        cosigner._bell.grow()
        return cosigner.standing.cosigned == size

    await until(is_there)


async def disputed(cosigner: Cosigner) -> None:
    """Wait until nothing is posted any more."""

    def is_held() -> bool:
        cosigner._bell.grow()
        return cosigner.standing.is_held

    await until(is_held)


def cosigned_by_both(up: Delivering, site: Site, second: Site) -> list[int]:
    """Give the sizes of the receipts that carry both witnesses' lines, which must verify."""
    keys = [site.witness, second.witness]
    notes = [receipt.note for receipt in up.receipts.all() if SECOND.encode() in receipt.note]
    return [open_checkpoint(note, keys)[0].size for note in notes]


async def test_one_note_carries_both_cosignatures(site: Site, second: Site, log: SealedLog) -> None:
    """From the first receipt on, each time the log has grown."""
    await site.store(grown(log, 20))
    async with both(site, second) as (up, cosigner):
        for size in (21, 31, 44):
            await up.published(size)
            await brought_to(cosigner, size)
            await site.store(grown(log, {21: 10, 31: 13, 44: 1}[size]))
            up.bell.grow()

        assert {21, 31, 44} <= set(cosigned_by_both(up, site, second))
        assert up.receipts.cosignatures.evidence() == []


async def test_a_witness_that_is_down_holds_up_no_delivery(
    site: Site, second: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """It is told once, and brought to the newest receipt when it is back, without those between."""
    await site.store(grown(log, 20))
    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        async with asking(up, site, second, 1) as cosigner:
            for size in (21, 31, 41):
                await up.published(size)
                await site.store(grown(log, 10))
                up.bell.grow()
            await until(lambda: cosigner.standing.failures > 2)
            status = up.receipts.cosignatures.statuses()[cosigner.name]
            assert (status.cosigned, status.failures > 0) == (0, True)
        async with second.running(NAMED) as witness:
            async with asking(up, site, second, port_of(witness.address)) as cosigner:
                await up.published(51)
                await brought_to(cosigner, 51)
            assert up.receipts.cosignatures.statuses()[cosigner.name].describe() == "cosigns, up to 51"
        async with asking(up, site, second, port_of(witness.address)) as cosigner:
            await site.store(grown(log, 10))
            up.bell.grow()
            await until(lambda: cosigner.standing.failures > 1)
            cosigner._peer = Peer(second.witness, _never)
    assert lines.getvalue().count("witness.lost") == 2


async def _never(_body: bytes) -> Answer:
    """Give no answer at all."""
    await asyncio.Event().wait()
    raise AssertionError


async def test_a_witness_that_is_back_is_told_once(
    site: Site, second: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """Within the same run."""
    await site.store(grown(log, 20))
    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        await up.published(21)
        async with asking(up, site, second, 1) as cosigner:
            await until(lambda: cosigner.standing.failures > 2)
            async with second.running(NAMED) as witness:
                way = f"https://localhost:{port_of(witness.address)}/v1/witness"
                async with WitnessChannel(way, second.context(), timeout_s=5) as channel:
                    cosigner._peer = Peer(second.witness, channel.post)
                    await brought_to(cosigner, 21)
                    cosigner._peer = Peer(second.witness, _never)
    assert lines.getvalue().count("witness.lost") == 1
    assert lines.getvalue().count("witness.restored") == 1


async def test_a_witness_restored_from_an_earlier_copy_is_noticed(
    site: Site, second: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """Its own earlier cosignature is the evidence, and it is brought forward again."""
    await site.store(grown(log, 20))
    data, backup = second.service / "data", second.service / "backup"
    async with both(site, second) as (up, cosigner):
        await up.published(21)
        await brought_to(cosigner, 21)
    shutil.copytree(data, backup)
    await site.store(grown(log, 10))
    async with both(site, second) as (up, cosigner):
        await up.published(31)
        await brought_to(cosigner, 31)
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    await site.store(grown(log, 10))

    async with both(site, second) as (up, cosigner):
        await up.published(41)
        await brought_to(cosigner, 41)
        (kept,) = up.receipts.cosignatures.evidence()

    assert (kept.verdict, kept.witness) == ("witness-rolled-back", cosigner.name)
    proven, _ = open_checkpoint(kept.held, [second.witness])
    assert proven.size == 31
    assert lines.getvalue().count("witness.rolled-back") == 1
    assert "witness.disputes" not in lines.getvalue()


async def test_a_fork_given_to_both_is_refused_by_the_one_that_holds_the_other(
    site: Site, second: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """The first witness was emptied by whoever forged; the second one was not. Both ends keep evidence."""
    twin = log.copy()
    await site.store(grown(log, 20))
    async with both(site, second) as (up, cosigner):
        await up.published(21)
        await brought_to(cosigner, 21)
    shutil.rmtree(site.gateway / "log")
    (site.service / "data" / "ledger.db").unlink()
    for path in (*site.service.glob("data/ledger.db*"), *site.gateway.glob("uplink.db*")):
        path.unlink()
    twin.grow(40, text="probe-2").checkpoint()
    await site.store(twin)

    async with both(site, second) as (up, cosigner):
        await up.published(41)
        await disputed(cosigner)
        (kept,) = up.receipts.cosignatures.evidence()
        posted = second_posts(lines)
        cosigner._bell.grow()
        await site.store(grown(twin, 5))
        up.bell.grow()
        await up.published(46)
        assert second_posts(lines) == posted
        cosigner._bell.nudge()
        await until(lambda: second_posts(lines) > posted)

    assert (kept.verdict, kept.size) == ("fork", 41)
    assert open_checkpoint(kept.note, log.admitted.checkpoint_keys)[0].size == 41
    async with second.ledger() as ledger:
        found = ledger.evidence(ORIGIN)
    assert {each.evidence.verdict for each in found} == {"inconsistent"}
    held, _ = open_checkpoint(found[0].evidence.held, [second.witness])
    assert (held.size, held.root) == (21, log.chain_at(21).tree.root())
    assert {"witness.disputes", "ingest.fork", "witnessing.refused"} <= set(events_in(lines))


def events_in(lines: io.StringIO) -> list[str]:
    """Name the events that were written."""
    return [line.partition('"event":"')[2].partition('"')[0] for line in lines.getvalue().splitlines()]


def second_posts(lines: io.StringIO) -> int:
    """Count what the second witness refused."""
    return events_in(lines).count("witnessing.refused")


async def test_lost_cosignatures_are_asked_for_again_without_an_alarm(
    site: Site, second: Site, log: SealedLog
) -> None:
    """The witness says where it is, and the next proof starts there."""
    await site.store(grown(log, 20))
    async with both(site, second) as (up, cosigner):
        await up.published(21)
        await brought_to(cosigner, 21)
    for path in site.gateway.glob("uplink.db*"):
        path.unlink()

    async with both(site, second) as (up, cosigner):
        await up.published(21)
        await brought_to(cosigner, 21)
        assert up.receipts.cosignatures.evidence() == []
        assert cosigned_by_both(up, site, second) == [21]


async def test_a_log_restored_from_an_old_copy_is_noticed_by_its_witness(
    site: Site, second: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """The witness has cosigned more than there is."""
    await site.store(grown(log, 20))
    shutil.copytree(site.gateway / "log", site.folder / "backup")
    await site.store(grown(log, 20))
    async with both(site, second) as (up, cosigner):
        await up.published(41)
        await brought_to(cosigner, 41)
    shutil.rmtree(site.gateway)
    shutil.copytree(site.folder / "backup", site.gateway / "log")

    async with (
        second.running(NAMED) as witness,
        delivering(site, 1) as up,
        asking(up, site, second, port_of(witness.address)) as cosigner,
    ):
        await disputed(cosigner)
        assert cosigner.standing.fault == "witness-ahead"
    assert "witness.disputes" in lines.getvalue()


async def test_without_a_service_checkpoints_are_cosigned_all_the_same(
    site: Site, second: Site, log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Less often; the receipt that comes later carries that cosignature too."""
    monkeypatch.setattr(module, "LONGEST_S", 0.05)
    await site.store(grown(log, 20))
    async with (
        second.running(NAMED) as witness,
        delivering(site, 1) as up,
        asking(up, site, second, port_of(witness.address)) as cosigner,
    ):
        await brought_to(cosigner, 21)
        await site.store(grown(log, 10))
        await brought_to(cosigner, 31)
        assert up.receipts.all() == []

    async with both(site, second) as (up, cosigner):
        await up.published(31)
        assert cosigned_by_both(up, site, second) == [31]


async def test_what_is_cosigned_without_a_service_goes_into_an_export(
    site: Site, second: Site, log: SealedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rising, among the receipts: a bundle is as much witnessed as the gateway says that it is."""
    monkeypatch.setattr(module, "LONGEST_S", 0.05)
    await site.store(grown(log, 20))
    async with both(site, second) as (up, cosigner):
        await up.published(21)
        await brought_to(cosigner, 21)
    async with (
        second.running(NAMED) as witness,
        delivering(site, 1) as up,
        asking(up, site, second, port_of(witness.address)) as cosigner,
    ):
        for size in (31, 41):
            await site.store(grown(log, 10))
            await brought_to(cosigner, size)
        assert up.receipts.cosignatures.witnessed(1) == 41

    config = configure(site, 1)
    with config.open("a") as file:
        file.write(f'[[uplink.witnesses]]\nurl = "https://w2"\nkey = "{second.witness.encode()}"\n')
    with closing(GatewaySource(load_gateway(config))) as source:
        notes = list(source.notes())
        assert [size_of(note) for note in notes if is_cosigned(note, source.policy)] == [21, 31, 41]
        assert newest_note(source) == notes[2]
        open_checkpoint(notes[2], [*log.admitted.checkpoint_keys, second.witness])


async def test_an_empty_store_is_waited_for(site: Site, second: Site, log: SealedLog) -> None:
    """The uplink may be there before the first commit."""
    async with both(site, second) as (up, cosigner):
        cosigner._bell.grow()
        await until(lambda: not cosigner._bell._grown.is_set())
        await site.store(grown(log, 20))
        up.bell.grow()
        await up.published(21)
        await brought_to(cosigner, 21)
