"""Real time services, right, wrong, forged and gone: what the gateway's clock makes of each, and how soon.

No service here could set this machine's clock: see `timeservers`. Ten seconds are allowed for each change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from coldseal.cli.main import run as run_command
from coldseal.core.log import canonical
from coldseal.gateway.clock import Clock
from coldseal.gateway.tables.time import Time
from coldseal.gateway.timekeeping import Timekeeper, open_clock
from coldseal.gateway.timekeeping.services import demands_of
from coldseal.observe.metrics import GatewayMetrics
from tests.gateway.parts import payload
from tests.gateway.test_app import ask, entries_of, publish, running
from tests.gateway.timeservers import (
    NTPD,
    Servers,
    Service,
    namespaces,
    require_parts,
    run_inside,
    time_servers,
)
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WITHIN_S: Final = 10.0
SETTLED_MS: Final = 100
OFFSETS_S: Final = (0.0, 0.5, -0.5, 1.1, -1.1, 3.5, -3.5, 3_600.0, -3_600.0)


class Watched:
    """A gateway's clock and the timekeeper that looks after it."""

    def __init__(self, service: Service) -> None:
        """Follow a chronyd; the kernel is not asked, for nobody keeps its clock here."""
        settings = Time(source="chrony", chrony=service.socket, kernel_must_agree=False)
        self.shift_ms = 0
        real = Clock()
        self.clock = Clock(
            demands=demands_of(settings), wall_ns=lambda: (real.now().t_ms + self.shift_ms) * 1_000_000
        )
        self.sealed: list[dict[str, canonical.Value]] = []
        self.metrics = GatewayMetrics()
        self.keeper = Timekeeper(settings, clock=self.clock, metrics=self.metrics, seal=self._seal)

    async def _seal(self, kind: str, data: bytes) -> bytes:
        """Keep what would be sealed."""
        self.sealed.append({"kind": kind, **canonical.parse(data, where="data")})
        return b""

    async def becomes(self, state: str, reason: str = "") -> None:
        """Look until the clock is so, and where its offset is known, until the bound of that is small."""

        async def look() -> bool:
            await self.keeper.look()
            status = self.clock.status()
            is_settled = status.error_ms < SETTLED_MS or reason not in {"", "offset"}
            return is_settled and (status.state, status.reason) == (state, reason)

        await until(look, within_s=WITHIN_S)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    """Give time services in a folder, which end with the test."""
    require_parts("chronyd", "faketime", "setpriv", "openssl")
    with time_servers(tmp_path) as servers:
        yield servers


async def test_each_offset_is_known_for_what_it_is_and_flagged_beyond_a_second(servers: Servers) -> None:
    """Half a second is within the limit; 1.1 s, 3.5 s and an hour are not, fast or slow."""
    servers.server().start()
    watched = {}
    for place, offset_s in enumerate(OFFSETS_S):
        client = servers.client(f"client-{place}", offset_s=offset_s)
        client.start()
        watched[offset_s] = Watched(client)
    for offset_s, each in watched.items():
        is_good = abs(offset_s) < 1
        await each.becomes("synchronised" if is_good else "unsynchronised", "" if is_good else "offset")
        status = each.clock.status()
        assert abs(status.offset_ms) == pytest.approx(abs(offset_s) * 1000, abs=50)
        assert each.clock.doubts == (() if is_good else ("clock",))
        assert each.clock.provenance["auth"] == "nts"
    signs = [each.clock.status().offset_ms > 0 for offset, each in watched.items() if offset]
    assert signs in ([True, False] * 4, [False, True] * 4)


async def test_a_server_whose_clock_is_wrong_makes_ours_look_wrong_by_as_much(servers: Servers) -> None:
    """Its clock is 3.5 s behind: by its word ours is fast."""
    servers.server().start(fake="-3.5s")
    client = servers.client()
    client.start()
    watched = Watched(client)
    await watched.becomes("unsynchronised", "offset")
    assert watched.clock.status().offset_ms == pytest.approx(-3_500, abs=50)


async def test_a_lost_source_is_holdover_and_its_return_ends_it(servers: Servers) -> None:
    """And so is a time service that ends."""
    server, client = servers.server(), servers.client()
    server.start()
    client.start()
    watched = Watched(client)
    await watched.becomes("synchronised")
    server.stop()
    await watched.becomes("holdover", "no-source")
    client.stop()  # it would ask for new keys in a minute or so
    server.start()
    client.start()
    await watched.becomes("synchronised")
    client.stop()
    await watched.becomes("holdover", "service-silent")
    assert watched.metrics.render().count(b"coldseal_gateway_time_service_up 0.0") == 1
    client.start()
    await watched.becomes("synchronised")
    assert watched.metrics.render().count(b"coldseal_gateway_time_service_up 1.0") == 1
    assert watched.metrics.render().count(b"coldseal_gateway_time_authenticated 1.0") == 1


async def test_a_source_without_nts_is_not_synchronised_where_that_is_required(servers: Servers) -> None:
    """However right it is: anybody on the way could have said the same."""
    servers.server(is_nts=False).start()
    client = servers.client(is_nts=False)
    client.start()
    watched = Watched(client)
    await watched.becomes("unsynchronised", "not-authenticated")
    assert watched.clock.doubts == ("clock",)
    assert watched.clock.provenance["source"] == "127.0.0.1"


async def test_who_forges_ntp_on_the_way_is_never_followed(servers: Servers) -> None:
    """The server is gone, and somebody else answers in its place, an hour behind and without its keys."""
    server, forger, client = servers.server(), servers.server("forger", is_nts=False), servers.client()
    server.start()
    client.start()
    watched = Watched(client)
    await watched.becomes("synchronised")
    server.stop()
    forger.start(fake="-3600s")
    await watched.becomes("holdover", "no-source")
    assert abs(watched.clock.status().offset_ms) < 100


@pytest.mark.parametrize("step_ms", [-3_600_000, -1_100, 1_100])
async def test_a_step_of_our_own_clock_is_seen_at_the_next_look(servers: Servers, step_ms: int) -> None:
    """The service has not measured yet; that wall time moved against the boot clock is certain."""
    servers.server().start()
    client = servers.client()
    client.start()
    watched = Watched(client)
    await watched.becomes("synchronised")
    client.stop()
    watched.shift_ms = step_ms
    await watched.becomes("unsynchronised", "service-silent")
    assert watched.clock.status().offset_ms == pytest.approx(-step_ms, abs=50)


async def test_a_running_gateway_has_its_time_server_on_record(servers: Servers, tmp_path: Path) -> None:
    """Who it is, and that it was lost; a reading shortly after is within a second all the same."""
    server, client = servers.server(), servers.client()
    server.start()
    client.start()
    await Watched(client).becomes("synchronised")
    command = ["identity", "dev-ca", str(tmp_path / "ca"), "--devices", "2", "--gateway", "gw-1"]
    assert run_command([*command, "--service", "service"]) == 0
    config = tmp_path / "gateway" / "gateway.toml"
    command = ["gateway", "init", str(config.parent), "--origin", "example.com/site-7/gw-1"]
    assert run_command([*command, "--site", "site-7", "--pki", str(tmp_path / "ca")]) == 0
    followed = ("time.source=chrony", f"time.chrony={client.socket}", "time.kernel_must_agree=false")
    async with running(config, *followed, "time.interval_s=0.05") as gateway:
        await publish(tmp_path / "ca", gateway.listener.port, payload(1))
        server.stop()
        client.stop()
        await until(lambda: gateway.log.size > 0 and entries_of(config)[-1].data.get("to") == "holdover")
        found = await ask(gateway, "/status")
        await publish(tmp_path / "ca", gateway.listener.port, payload(2))
        assert "coldseal_gateway_time_service_up 0.0" in await ask(gateway, "/metrics")
    assert (found["time"]["reason"], found["time"]["flagged"]) == ("service-silent", False)
    said = [entry.data for entry in entries_of(config) if entry.kind == "clock"]
    assert [(data["to"], data["auth"], data["source"]) for data in said] == [
        ("synchronised", "nts", "127.0.0.1"),
        ("holdover", "none", ""),
    ]
    readings = [entry for entry in entries_of(config) if entry.kind == "reading"]
    assert [(entry.tq["s"], entry.data.get("flags")) for entry in readings] == [
        ("synchronised", None),
        ("holdover", None),
    ]


async def test_ntpsec_tells_a_wrong_clock_under_nts(tmp_path: Path) -> None:
    """Its answer is read by its own protocol; the pair of it runs in namespaces, as NTP's port is fixed."""
    require_parts("chronyd", "faketime", "setpriv", "openssl", "nsenter", "unshare", "ip", str(NTPD))
    settings = Time(source="ntpsec", kernel_must_agree=False)
    with namespaces() as (here, away), time_servers(tmp_path) as servers:
        servers.away().start(fake="-3.5s", namespace=away)
        servers.ntpd().start_ntpd(namespace=here)
        found: list[Clock] = []

        def look() -> bool:
            clock = run_inside(here, lambda: open_clock(settings))
            found.append(clock)
            return clock.status().reason == "offset"

        assert look() is False
        await until(look, within_s=3 * WITHIN_S)
        assert found[-1].provenance == {"auth": "nts", "service": "ntpsec", "source": "10.9.0.2"}
        assert found[-1].status().offset_ms == pytest.approx(-3_500, abs=100)
