"""Certificates that ended in an outage are renewed under a running uplink, and no batch is lost by it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

import pytest

from coldseal.cli.main import run as run_command
from coldseal.errors import UnavailableError
from coldseal.gateway.tables.outward import FurtherWitness
from coldseal.gateway.tables.outward import Uplink as UplinkSettings
from coldseal.gateway.uplink.https import Channel
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.renewal import Renewal
from coldseal.gateway.uplink.witnesses import _renewal
from coldseal.identity.authority import create_authority
from coldseal.service.app import Service
from coldseal.settings import KeyPlace
from tests.gateway.uplink.deliveries import Delivering, delivering_by, grown
from tests.gateway.uplink.test_faults import port_of, verify_delivered
from tests.gateway.uplink.test_process import configure as write_configuration
from tests.gateway.uplink.test_process import program, published
from tests.sealed import SealedLog
from tests.trial import STORE_KEY, Site, now
from tests.waiting import until

LONG_AGO = timedelta(days=90)


def renewal_of(site: Site, certificate: Path | None = None) -> Renewal:
    """Open what the gateway shows."""
    path = certificate or site.certificates["gateway"]
    return Renewal(path, path.with_suffix(".key"), site.trust, now_ms=lambda: int(now().timestamp() * 1000))


@asynccontextmanager
async def renewing(site: Site, service: Service) -> AsyncIterator[Delivering]:
    """Run an uplink that looks at its files."""
    where = f"https://localhost:{port_of(service.address)}"
    async with (
        Channel(where, renewal_of(site).context, timeout_s=5) as channel,
        delivering_by(site, channel.post) as up,
    ):
        yield up


async def test_an_expired_certificate_is_renewed_under_way(
    site: Site, log: SealedLog, lines: io.StringIO
) -> None:
    """Nothing is restarted; the loss is said once, the renewal once, the return once."""
    path = site.certificates["gateway"]
    site.authority.renew(path, now=now() - LONG_AGO)
    await site.store(grown(log, *[40] * 5))
    async with site.running() as service, renewing(site, service) as up:
        await until(lambda: up.uplink.delivery.failures > 2)
        assert up.receipts.status().published == 0
        site.authority.renew(path, now=now())
        await up.published(201)

    await verify_delivered(site, log)
    said = lines.getvalue()
    assert [said.count(each) for each in ("uplink.lost", "certificate.reloaded", "uplink.restored")] == [
        1,
        1,
        1,
    ]


async def test_a_renewal_between_two_batches_costs_none(site: Site, log: SealedLog) -> None:
    """While a backlog drains: what is under way ends, what follows has the new certificate."""
    await site.store(grown(log, *[40] * 25))
    async with site.running() as service, renewing(site, service) as up:
        for size in range(201, 1001, 200):
            await up.has_published(size)
            site.authority.renew(site.certificates["gateway"], now=now())
        await up.published(1001)
        assert up.receipts.status().failed == {}

    await verify_delivered(site, log)


async def test_a_service_of_a_new_ca_is_trusted_once_the_file_names_it(site: Site, log: SealedLog) -> None:
    """And before that, nothing is sent to it."""
    other = create_authority(site.folder / "other", now=now())
    certificate = other.issue("service", "service-1", now=now())
    await site.store(grown(log, 50))
    settings = (f"tls.certificate={certificate}", f"tls.key={certificate.with_suffix('.key')}")
    trusted = site.folder / "trusted.pem"
    trusted.write_bytes(site.trust.read_bytes())
    both = site.trust.read_bytes() + (site.folder / "other" / "root.pem").read_bytes()
    async with site.running(*settings) as service:
        site.trust = trusted
        async with renewing(site, service) as up:
            await until(lambda: up.uplink.delivery.failures > 1)
            assert service._ingest.finished == 0
            trusted.write_bytes(both)
            await up.published(51)

    await verify_delivered(site, log)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b"rubbish"),
        lambda path: path.unlink(),
        lambda path: path.with_suffix(".key").write_text("-----BEGIN"),
        lambda path: path.with_suffix(".key").chmod(0o644),
    ],
    ids=["rubbish", "missing", "cut key", "open key"],
)
async def test_files_that_cannot_be_used_leave_what_was_in_use(
    site: Site, lines: io.StringIO, harm: Callable[[Path], None]
) -> None:
    """Said once, however often they are looked at; put right, they are taken."""
    path = site.authority.issue("gateway", "gw-0002", now=now())
    renewal = renewal_of(site, path)
    before = renewal.context()
    good, key = path.read_bytes(), path.with_suffix(".key").read_bytes()
    harm(path)
    assert [renewal.context() for _ in range(3)] == [before] * 3
    path.with_suffix(".key").chmod(0o600)
    path.with_suffix(".key").write_bytes(key)
    path.write_bytes(good)
    assert renewal.context() is not before
    assert lines.getvalue().count("certificate.kept") <= 1
    assert lines.getvalue().count("certificate.reloaded") == 1


async def test_what_is_shown_to_a_further_witness_is_renewed_too(site: Site) -> None:
    """With the uplink's files where it has none of its own."""
    path = site.certificates["gateway"]
    settings = UplinkSettings(certificate=path, key=KeyPlace(str(path.with_suffix(".key"))), ca=site.trust)
    renewal = _renewal(settings, FurtherWitness(url="https://w1", key="w1"), lambda: 0)
    before = renewal.context()
    site.authority.renew(path, now=now())
    assert renewal.context() is not before


async def test_the_process_takes_a_renewed_certificate(site: Site, log: SealedLog) -> None:
    """By the command that renews, as by any other hand; and one that is refused goes on by itself."""
    path = site.certificates["gateway"]
    site.authority.renew(path, now=now() - LONG_AGO)
    await site.store(grown(log, 50))
    async with (
        site.running() as service,
        program(str(write_configuration(site, port_of(service.address)))) as process,
    ):
        await until(lambda: failures(site) > 1)
        assert published(site) == 0
        assert run_command(["identity", "renew", str(site.folder / "pki")]) == 0
        await until(lambda: published(site) == 51)
        assert process.returncode is None

    await verify_delivered(site, log)


def failures(site: Site) -> int:
    """Read how often the process has failed."""
    try:
        with closing(Receipts(site.gateway, STORE_KEY, readonly=True)) as receipts:
            return receipts.status().failures
    except UnavailableError:
        return 0
