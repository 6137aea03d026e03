"""Whatever network and service do: nothing is lost, nothing is doubled, and it goes on when they are back."""

from __future__ import annotations

import io
import shutil

import pytest

from coldseal.core.log.checkpoint import open_checkpoint
from coldseal.core.log.delivery.sender import Phase
from coldseal.identity.contexts import server_context
from coldseal.signing.keys import Ed25519Signer, generate_interop_key
from tests.faulty import Fault, Proxy
from tests.gateway.uplink.deliveries import delivering, grown
from tests.sealed import ORIGIN, WITNESS, SealedLog
from tests.trial import Site
from tests.waiting import until


def port_of(address: str) -> int:
    """Give the port of host:port."""
    return int(address.rpartition(":")[2])


def ending_tls(site: Site, port: int, **rest: object) -> Proxy:
    """Give a proxy that holds both sides' certificates."""
    certificate = site.certificates["service"]
    inner = server_context(certificate, certificate.with_suffix(".key"), site.trust)
    proxy = Proxy(port, inner, site.context())
    for name, value in rest.items():
        setattr(proxy, name, value)
    return proxy


async def verify_delivered(site: Site, log: SealedLog) -> None:
    """Hold what the service stored against the log: all of it, once, in order."""
    async with site.ledger() as ledger:
        assert ledger.entries(ORIGIN, 0, 2**40) == log.entries[: max(log.notes)]


async def test_a_backlog_drains_in_merged_batches(site: Site, log: SealedLog) -> None:
    """Many small checkpoints become few batches; each receipt is kept and verifies."""
    grown(log, *[10] * 40)
    await site.store(log)
    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        await up.published(401)

    await verify_delivered(site, log)
    async with delivering(site, 1) as up:
        sizes = [receipt.size for receipt in up.receipts.all()]
        assert sizes == [91, 191, 291, 391, 401]
        for receipt in up.receipts.all():
            assert open_checkpoint(receipt.note, [site.witness])[0].size == receipt.size


async def test_new_entries_are_delivered_as_they_come(site: Site, log: SealedLog) -> None:
    """The bell rings, and the next batch goes out."""
    await site.store(grown(log, 5))
    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        await up.published(6)
        for size in (16, 26, 36):
            await site.store(grown(log, 10))
            up.bell.grow()
            await up.published(size)

    await verify_delivered(site, log)


async def test_entries_behind_the_last_checkpoint_wait_for_the_next(site: Site, log: SealedLog) -> None:
    """Only what is signed for goes up."""
    grown(log, 5).grow(3)
    await site.store(log)
    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        await up.published(6)

    await verify_delivered(site, log)


async def test_a_service_that_is_down_is_waited_for(site: Site, log: SealedLog, lines: io.StringIO) -> None:
    """The outage is told once when it begins and once when it ends."""
    await site.store(grown(log, 50))
    proxy = Proxy(1)
    async with proxy.running(), delivering(site, proxy.port) as up:
        await until(lambda: up.uplink.delivery.failures > 3)
        async with site.running() as service:
            proxy.target = port_of(service.address)
            await up.published(51)
        status = up.receipts.status()

    await verify_delivered(site, log)
    assert status.failed["unreachable"] > 3
    assert (status.failures, status.fault, status.failed_since_ms) == (0, "", 0)
    said = lines.getvalue()
    assert (said.count("uplink.lost"), said.count("uplink.restored")) == (1, 1)


async def test_a_connection_refused_by_the_network_is_waited_out(site: Site, log: SealedLog) -> None:
    """Cut at once, again and again."""
    await site.store(grown(log, 50))
    async with site.running() as service:
        proxy = Proxy(port_of(service.address), fault=Fault.REFUSE)
        async with proxy.running(), delivering(site, proxy.port) as up:
            await until(lambda: proxy.hits > 3)
            proxy.heal()
            await up.published(51)

    await verify_delivered(site, log)


async def test_a_batch_cut_in_the_middle_is_sent_again(site: Site, log: SealedLog) -> None:
    """Wherever the cut falls, the service stores all of a batch or nothing."""
    await site.store(grown(log, 80))
    async with site.running() as service:
        proxy = Proxy(port_of(service.address), is_once=True)
        async with proxy.running(), delivering(site, proxy.port) as up:
            for cut_after in (5_000, 20_000, 40_000):
                proxy.fault, proxy.cut_after, hits = Fault.CUT_REQUEST, cut_after, proxy.hits
                await site.store(grown(log, 80))
                up.bell.grow()
                await up.published(log.size)
                assert proxy.hits > hits

    await verify_delivered(site, log)


@pytest.mark.parametrize("fault", [Fault.CUT_ANSWER, Fault.HALF_ANSWER])
async def test_an_answer_that_is_lost_doubles_nothing(site: Site, log: SealedLog, fault: Fault) -> None:
    """The batch was stored; sent again it changes nothing and gets its receipt."""
    await site.store(grown(log, 50))
    async with site.running() as service:
        proxy = ending_tls(site, port_of(service.address), fault=fault, is_once=True)
        async with proxy.running(), delivering(site, proxy.port) as up:
            await up.published(51)
            assert proxy.hits == 1
        assert service._metrics.registry.get_sample_value(
            "coldseal_service_batches_total", {"result": "repeated"}
        )

    await verify_delivered(site, log)


async def test_a_slow_service_is_not_waited_for_for_ever(site: Site, log: SealedLog) -> None:
    """Its late answer counts for nothing; the batch is sent again."""
    await site.store(grown(log, 50))
    async with site.running() as service:
        proxy = ending_tls(site, port_of(service.address), fault=Fault.DELAY_ANSWER)
        async with proxy.running(), delivering(site, proxy.port, timeout_s=0.3) as up:
            await until(lambda: up.uplink.delivery.failures > 1)
            assert up.receipts.status().failed["timeout"] > 1
            proxy.heal()
            await up.published(51)

    await verify_delivered(site, log)


async def test_a_service_that_takes_everything_and_says_nothing_times_out(site: Site, log: SealedLog) -> None:
    """A silent peer holds nothing up but the time-out."""
    await site.store(grown(log, 50))
    async with site.running() as service:
        proxy = ending_tls(site, port_of(service.address), fault=Fault.SILENT)
        async with proxy.running(), delivering(site, proxy.port, timeout_s=0.2) as up:
            await until(lambda: up.uplink.delivery.failures > 1)
            assert up.uplink.delivery.halvings > 0
            proxy.heal()
            await up.published(51)

    await verify_delivered(site, log)


@pytest.mark.parametrize(
    "canned",
    [
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nlate",
        b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n<html>OK</html>",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nxyz",
        b"\x00\xff garbage",
        b"",
    ],
    ids=["500", "503", "redirect", "html", "empty-json", "sizeless", "endless", "gzip", "garbage", "nothing"],
)
async def test_an_answer_that_is_none_is_waited_out(site: Site, log: SealedLog, canned: bytes) -> None:
    """Errors, proxies' pages and rubbish move nothing and accuse nobody."""
    await site.store(grown(log, 50))
    async with site.running() as service:
        proxy = ending_tls(site, port_of(service.address), fault=Fault.SPEAK, canned=canned)
        async with proxy.running(), delivering(site, proxy.port) as up:
            await until(lambda: up.uplink.delivery.failures > 2)
            assert up.uplink.delivery.published == 0
            proxy.heal()
            await up.published(51)

    await verify_delivered(site, log)


async def test_a_service_that_answers_twice_confuses_nobody(site: Site, log: SealedLog) -> None:
    """The second answer is never taken for the one to the next batch."""
    await site.store(grown(log, *[30] * 12))
    async with site.running() as service:
        proxy = ending_tls(site, port_of(service.address), fault=Fault.DOUBLE_ANSWER)
        async with proxy.running(), delivering(site, proxy.port) as up:
            await until(lambda: proxy.hits > 3)
            proxy.heal()
            await up.published(361)

    await verify_delivered(site, log)


async def test_a_request_that_arrives_twice_is_stored_once(site: Site, log: SealedLog) -> None:
    """A network that repeats old requests doubles nothing."""
    await site.store(grown(log, *[30] * 4))
    async with site.running() as service:
        proxy = ending_tls(site, port_of(service.address), fault=Fault.DOUBLE_REQUEST)
        async with proxy.running():
            async with delivering(site, proxy.port) as up:
                await up.published(121)
            await until(lambda: proxy.hits > 0)

    await verify_delivered(site, log)


async def test_a_service_restarted_in_the_middle_goes_on(site: Site, log: SealedLog) -> None:
    """What it gave receipts for is still there; the rest is sent again."""
    await site.store(grown(log, *[50] * 4))
    proxy = Proxy(1)
    async with proxy.running(), delivering(site, proxy.port, batch_entries=50) as up:
        for upto in (51, 201):
            async with site.running() as service:
                proxy.target = port_of(service.address)
                await up.has_published(upto)

    await verify_delivered(site, log)


async def test_an_uplink_restarted_at_any_time_goes_on_from_its_receipts(site: Site, log: SealedLog) -> None:
    """Nothing is sent that has a receipt."""
    await site.store(grown(log, *[30] * 6))
    async with site.running() as service:
        port = port_of(service.address)
        async with delivering(site, port, batch_entries=30) as up:
            await until(lambda: up.uplink.delivery.published >= 31)
        async with delivering(site, port, batch_entries=30) as up:
            assert up.uplink.delivery.published >= 31
            await up.published(181)

    await verify_delivered(site, log)


async def test_lost_receipts_are_given_again(site: Site, log: SealedLog) -> None:
    """The uplink's own file can be lost without losing anything else."""
    await site.store(grown(log, *[30] * 3))
    async with site.running() as service:
        port = port_of(service.address)
        async with delivering(site, port) as up:
            await up.published(91)
        for path in site.gateway.glob("uplink.db*"):
            path.unlink()
        async with delivering(site, port) as up:
            await up.published(91)
            assert up.receipts.newest() is not None

    await verify_delivered(site, log)


async def test_a_service_restored_from_a_backup_is_alarmed_and_filled_again(
    site: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """The receipts prove what it lost; delivery goes back to where it is."""
    await site.store(grown(log, 30))
    data, backup = site.service / "data", site.service / "backup"
    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        await up.published(31)
    shutil.copytree(data, backup)
    await site.store(grown(log, 30))
    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        await up.published(61)
    shutil.rmtree(data)
    shutil.copytree(backup, data)
    await site.store(grown(log, 30))

    async with site.running() as service, delivering(site, port_of(service.address)) as up:
        await up.published(91)
        (kept,) = up.receipts.cosignatures.evidence()

    await verify_delivered(site, log)
    assert "uplink.rolled-back" in lines.getvalue()
    assert (kept.verdict, kept.witness) == ("witness-rolled-back", "")
    assert open_checkpoint(kept.held, [site.witness])[0].size == 61


async def test_a_fork_is_held_and_never_sent_again(site: Site, log: SealedLog, lines: io.StringIO) -> None:
    """A gateway started from a copied disk: its log is refused, kept as evidence, and waits for a person."""
    twin = log.copy()
    await site.store(grown(log, 30))
    async with site.running() as service:
        port = port_of(service.address)
        async with delivering(site, port) as up:
            await up.published(31)
        shutil.rmtree(site.gateway)
        site.gateway.mkdir()
        twin.grow(40, text="probe-2").checkpoint()
        await site.store(twin)
        async with delivering(site, port) as up:
            await until(lambda: up.uplink.delivery.phase is Phase.HELD)
            taken = service._ingest.finished
            up.bell.grow()
            await until(lambda: up.receipts.status().phase == "held")
            assert service._ingest.finished == taken
            assert up.receipts.status().fault == "fork"
            up.bell.nudge()
            await until(lambda: service._ingest.finished > taken)

    await verify_delivered(site, log)
    async with site.ledger() as ledger:
        (kept,) = ledger.evidence(ORIGIN)
        assert (kept.evidence.verdict, kept.times) == ("fork", 2)
    assert "uplink.refused" in lines.getvalue()


async def test_a_receipt_by_another_witness_is_held(site: Site, log: SealedLog) -> None:
    """Only the configured key counts, even behind the right certificate."""
    await site.store(grown(log, 30))
    stranger = Ed25519Signer(generate_interop_key()).verifier_key(WITNESS, cosigner=True)
    honest, site.witness = site.witness, stranger
    async with site.running() as service:
        async with delivering(site, port_of(service.address)) as up:
            await until(lambda: up.uplink.delivery.phase is Phase.HELD)
            assert up.uplink.delivery.published == 0
            (kept,) = up.receipts.cosignatures.evidence()
            assert open_checkpoint(kept.note, [honest])[0].size == 31
            assert (kept.verdict, kept.held) == ("unknown-key", b"")
        site.witness = honest
        async with delivering(site, port_of(service.address)) as up:
            await up.published(31)


async def test_one_bad_entry_is_delivered_named_and_stalls_nothing(
    site: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """The service stores it, and the gateway is told which one it is."""
    log.grow(3)
    log.forge_signature()
    await site.store(grown(log, 3))
    async with (
        site.running('verify.signatures="first"') as service,
        delivering(site, port_of(service.address)) as up,
    ):
        await up.published(8)
        await site.store(grown(log, 3))
        up.bell.grow()
        await up.published(11)
        status = up.receipts.status()

    await verify_delivered(site, log)
    assert (status.refuted, status.signatures_verified) == ((4,), 11)
    assert lines.getvalue().count("uplink.refuted") == 1
