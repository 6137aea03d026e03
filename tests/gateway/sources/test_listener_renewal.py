"""Devices whose certificates ended are let in again once they are renewed; the others notice nothing."""

from __future__ import annotations

import ssl
from datetime import timedelta

import pytest

from coldseal.identity.contexts import client_context
from coldseal.mqtt.packets import Connect, ReasonCode
from tests.gateway.sources.rig import Site, running


async def test_a_renewed_device_gets_in_while_others_stay(site: Site) -> None:
    """Its certificate ended in the outage; the listener renews its own at the same time."""
    late = site.certificate("came-late")
    site.authority.renew(late, now=site.now - timedelta(days=90))
    async with running(site, passwords=None, plain_listen=None) as rig:
        stays = await rig.tls_peer(site.device("stays"))
        assert (await stays.connect(Connect("one"))).reason is ReasonCode.SUCCESS
        refused = await rig.tls_peer(client_context(late, late.with_suffix(".key"), site.trust))
        refused.send(Connect("two"))
        with pytest.raises((ssl.SSLError, ConnectionError, AssertionError)):
            await refused.next()
        site.authority.renew(late, now=site.now)
        site.renew_gateway()
        rig.listener.reload()
        peer = await rig.tls_peer(client_context(late, late.with_suffix(".key"), site.trust))
        assert (await peer.connect(Connect("two"))).reason is ReasonCode.SUCCESS
        await stays.expect_nothing()
        assert await stays.publish("coldseal/v1/lab/stays/reading/t", b"x", 1) is ReasonCode.SUCCESS
