"""A batch that was sent in the hope of a receipt may arrive before the one in front of it: no roll-back."""

from __future__ import annotations

import asyncio

from coldseal.core.log.delivery.wire import Answer, Gap
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.verification import Verifier
from tests.campaigns.schedules import Real
from tests.gateway.uplink.deliveries import delivering_by, grown
from tests.sealed import SealedLog, witness_key
from tests.trial import Site


async def test_a_batch_that_overtakes_is_sent_again_and_accuses_nobody(site: Site, log: SealedLog) -> None:
    """The service answered it before the one in front had come; seed 1 of the schedules found it."""
    site.witness = witness_key()
    await site.store(grown(log, *[10] * 20))
    verifier = Verifier(1, ServiceMetrics())
    service = Real(site, site.service / "data", verifier)
    overtook, calls = asyncio.Event(), 0
    gaps = []

    async def post(body: bytes, left: asyncio.Event) -> Answer:
        nonlocal calls
        calls += 1
        number = calls
        left.set()
        if number == 2:  # the first one that another follows before its answer
            await overtook.wait()
        answer = await service.take(body)
        if number == 3:
            overtook.set()
        gaps.extend([number] if isinstance(answer, Gap) else [])
        return answer

    async with delivering_by(site, post, batch_entries=20) as up:
        await up.published(201)
        status, evidence = up.receipts.status(), up.receipts.cosignatures.evidence()

    assert gaps == [3]
    assert evidence == []
    assert status.failed == {}
    assert await service.entries() == log.entries
    await service.close()
    verifier.close()
