"""Finds at the start that the log was put back to an older state, before anything is sealed onto it.

Promises that a log which has fewer entries than a receipt here covers, or others, is never written to; and
that the service, where it answers at once, is asked for its own word. Where it does not, the first contact of
the uplink finds the same. Writes down the proof; what follows is for a person to decide.
"""

from __future__ import annotations

import asyncio
from contextlib import closing
from typing import TYPE_CHECKING, Final

from coldseal.errors import InputError, UnavailableError
from coldseal.gateway.refusal import RolledBackError, write_refusal
from coldseal.gateway.uplink.contact import RECEIPTS, SERVICE, ask_note, disagreement, open_key
from coldseal.gateway.uplink.names import guard_of
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.identity.contexts import client_context

if TYPE_CHECKING:
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.refusal import Refusal
    from coldseal.gateway.store.reader import LogReader

START_S: Final = 0.5
"""Longest time that a start waits for the service's word; an outage delays it by no more."""


async def require_newest(
    config: GatewayConfig, reader: LogReader, store_key: bytes, now_ms: int, *, wait_s: float = START_S
) -> None:
    """Insist that nobody has seen more of this log than is on disk, or another one.

    Args:
        config: the gateway's configuration.
        reader: the log.
        store_key: opens the receipts.
        now_ms: UTC now, Unix milliseconds.
        wait_s: how long the service may take.

    Raises:
        RolledBackError: somebody has; it is on disk that this gateway refuses.
        UnavailableError, TrustError: the log cannot be read.
    """
    found = by_receipts(config, reader, store_key, now_ms)
    if found is None and config.uplink.url:
        found = await by_service(config, reader, now_ms, wait_s)
    if found is not None:
        write_refusal(config.gateway.data, found)
        raise RolledBackError(found)


def by_receipts(config: GatewayConfig, reader: LogReader, store_key: bytes, now_ms: int) -> Refusal | None:
    """Compare with the newest receipt that was kept here."""
    try:
        with closing(Receipts(config.gateway.data, store_key, readonly=True)) as receipts:
            newest = receipts.newest()
    except UnavailableError:  # nothing was ever delivered
        return None
    if newest is None:
        return None
    origin = config.gateway.origin
    return disagreement(reader, origin, newest.note, None, source=RECEIPTS, now_ms=now_ms)


async def by_service(config: GatewayConfig, reader: LogReader, now_ms: int, wait_s: float) -> Refusal | None:
    """Compare with what the service has; one that does not answer at once is asked by the uplink."""
    uplink, origin = config.uplink, config.gateway.origin
    if uplink.certificate is None or uplink.key is None or uplink.ca is None:
        return None
    context = client_context(uplink.certificate, uplink.transport, uplink.ca)
    try:
        async with asyncio.timeout(wait_s):
            note = await asyncio.to_thread(
                ask_note, uplink.url, origin, context, timeout_s=wait_s, guard=guard_of(config)
            )
        if note is None:
            return None
        witness = open_key("uplink.witness", uplink.witness)
        return disagreement(reader, origin, note, witness, source=SERVICE, now_ms=now_ms)
    except (UnavailableError, InputError, TimeoutError):
        return None
