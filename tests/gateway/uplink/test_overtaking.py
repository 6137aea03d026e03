"""An excursion is known at the service at once, whatever waits before it; the log keeps its order."""

from __future__ import annotations

import asyncio

from coldseal.core.log.record import parse_entry
from coldseal.gateway.store.sealing import Keys
from coldseal.gateway.uplink.https import Channel, NoticeChannel
from tests.gateway.judged import assign_all, changing_of, send
from tests.gateway.parts import Answers, Hands, open_parts
from tests.gateway.uplink.deliveries import delivering_by, grown
from tests.gateway.uplink.test_faults import port_of
from tests.gateway.uplink.test_notices import Gate, announced, announcing
from tests.sealed import ORIGIN, SealedLog
from tests.trial import STORE_KEY, Site
from tests.waiting import until


async def test_an_excursion_overtakes_a_backlog_with_the_checkpoint_that_proves_it(
    site: Site, log: SealedLog
) -> None:
    """From the reading to the service, past 500 entries; then all come in order, and it is confirmed."""
    await site.store(grown(log, *[50] * 10))
    hands, answers = Hands(), Answers()
    async with site.running() as service:
        where = f"https://localhost:{port_of(service.address)}"
        async with (
            Channel(where, site.context(), timeout_s=5) as channel,
            NoticeChannel(where, site.context(), timeout_s=5) as side,
        ):
            gate, notes = Gate(channel.post), list[bytes]()

            async def post(body: bytes) -> object:
                notes.append(body)
                return await side.post(body)

            keys = Keys(log.keys.record, log.keys.checkpoint, log.keys.interop)
            async with delivering_by(site, gate.post) as up, announcing(site, up, post) as bell:
                async with open_parts(
                    site.gateway / "log", hands, keys=keys, origin=ORIGIN, store_key=STORE_KEY
                ) as parts:
                    running = asyncio.create_task(parts.pipeline.run())
                    await asyncio.gather(*assign_all(changing_of(parts, hands)))
                    send(parts, hands, answers, 1, "9.5")
                    await answers.reach(1)
                    (excursion,) = parts.entries("excursion")
                    assert parts.log.checkpoint_size == excursion.seq + 1
                    bell.grow()
                    await until(lambda: announced(service) == [excursion.seq])
                    assert (up.uplink.delivery.published, service._totals.size) == (0, 0)
                    parts.pipeline.stop()
                    await running
                    size = parts.log.size
                gate.is_open.set()
                up.bell.grow()
                await up.published(size)
                await until(lambda: announced(service) == [])
    metric = ("coldseal_service_notices_total", {"result": "confirmed"})
    assert service._metrics.registry.get_sample_value(*metric) == 1
    assert any(excursion.raw in body for body in notes)
    assert parse_entry(excursion.raw).data["action"] == "opened"
