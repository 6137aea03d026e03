"""A gateway that was offline for longer than its certificate lived comes back by itself, and delivers."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from coldseal.gateway.uplink.renewals import read_standings
from coldseal.identity.peer import read_peer
from coldseal.service.app import Service
from coldseal.signing.private_files import write_private_file
from tests.gateway.uplink.deliveries import grown
from tests.gateway.uplink.test_faults import port_of, verify_delivered
from tests.gateway.uplink.test_process import configure, program, published
from tests.sealed import GATEWAY, SealedLog
from tests.trial import Site, now
from tests.waiting import until

LONG_AGO = timedelta(days=90)


def token(site: Site, service: Service) -> Path:
    """Have a one-time token made, in a file."""
    assert service.enrolling is not None
    moment = int(now().timestamp())
    text = service.enrolling.enrolments.make_token("gateway", GATEWAY, now=moment, life_s=600)
    path = site.folder / "token"
    write_private_file(path, text.encode())
    return path


async def test_an_ended_certificate_is_replaced_by_the_process_itself(site: Site, log: SealedLog) -> None:
    """By a token that lies ready; then everything that waited is delivered. Its next renewal needs none."""
    path = site.certificates["gateway"]
    site.authority.renew(path, now=now() - LONG_AGO)
    ended = read_peer(path).fingerprint
    await site.store(grown(log, 50))
    settings = ("est.listen=127.0.0.1:0", f"est.authority={site.folder / 'pki'}")
    async with site.running(*settings) as service:
        assert service.enrolling is not None
        enrolment = (
            f"enrolment.url=https://localhost:{port_of(service.enrolling.address)}",
            f"enrolment.token=file:{token(site, service)}",
            "enrolment.retry_initial_s=0.1",
        )
        async with program(str(configure(site, port_of(service.address))), *enrolment) as process:
            await until(lambda: published(site) == 51)
            back = read_peer(path)
            assert (back.name, back.fingerprint != ended) == (GATEWAY, True)
            assert process.stdin is not None
            process.stdin.write(b"renew\n")
            await until(lambda: read_standings(site.gateway / "enrolment.json")["uplink"].renewals == 2)
            assert process.returncode is None
        ways = [line.way for line in service.enrolling.enrolments.history(name=GATEWAY)]

    assert sorted(ways) == ["renewal", "token", "token"], "made, spent, renewed"
    assert read_peer(path).fingerprint != back.fingerprint
    await verify_delivered(site, log)
