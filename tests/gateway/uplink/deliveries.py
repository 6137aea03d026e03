"""A running uplink to look at: real store, real receipts, real TLS, short waits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass

from coldseal.core.log.delivery.sender import RetryPolicy, Terms
from coldseal.gateway.uplink.https import Channel
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.runner import Bell, Post, Uplink
from tests.sealed import COSIGNED, SealedLog
from tests.trial import STORE_KEY, Site
from tests.waiting import until

RETRY = RetryPolicy(initial_s=0.01, max_s=0.05)


@dataclass
class Delivering:
    """An uplink that runs."""

    uplink: Uplink
    receipts: Receipts
    bell: Bell

    async def published(self, size: int) -> None:
        """Wait until so many entries have a receipt."""
        await until(lambda: self.uplink.delivery.published == size)

    async def has_published(self, size: int) -> None:
        """Wait until at least so many entries have a receipt."""
        await until(lambda: self.uplink.delivery.published >= size)


@asynccontextmanager
async def delivering(
    site: Site, port: int, *, timeout_s: float = 5.0, batch_entries: int = 100
) -> AsyncIterator[Delivering]:
    """Run an uplink to a port of loopback."""
    async with (
        Channel(f"https://localhost:{port}", site.context(), timeout_s=timeout_s) as channel,
        delivering_by(site, channel.post, batch_entries=batch_entries) as found,
    ):
        yield found


@asynccontextmanager
async def delivering_by(site: Site, post: Post, *, batch_entries: int = 100) -> AsyncIterator[Delivering]:
    """Run an uplink over any way to the service."""
    with closing(site.reader()) as reader, closing(Receipts(site.gateway, STORE_KEY)) as receipts:
        bell = Bell()
        uplink = Uplink(
            reader,
            receipts,
            post,
            Terms(site.witness, batch_entries, RETRY),
            bell=bell,
            chance=lambda: 0.5,
            now_ms=lambda: COSIGNED * 1000,
        )
        running = asyncio.ensure_future(uplink.run())
        try:
            yield Delivering(uplink, receipts, bell)
        finally:
            running.cancel()
            await asyncio.wait([running])
            await uplink.close()


def grown(log: SealedLog, *counts: int) -> SealedLog:
    """Grow a log by groups, each with a checkpoint over it."""
    for count in counts:
        log.grow(count).checkpoint()
    return log
