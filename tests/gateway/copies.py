"""A gateway's configuration at a trial site, and what a test needs to have the service hold a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.gateway.config import GatewayConfig, load_gateway
from tests.gateway.uplink.deliveries import delivering
from tests.trial import url

if TYPE_CHECKING:
    from coldseal.service.app import Service
    from tests.sealed import SealedLog
    from tests.trial import Site


def gateway_config(site: Site, service_url: str, *overrides: str, origin: str = "") -> GatewayConfig:
    """Write and load a gateway's configuration; only its uplink is of interest."""
    certificate = site.certificates["gateway"]
    path = site.gateway / "gateway.toml"
    path.write_text(
        f'[gateway]\norigin = "{origin or "coldseal.example/site-7/gw-0001"}"\nsite = "site-7"\n'
        f'[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:1"\npasswords = "passwords"\n'
        f'[uplink]\nurl = "{service_url}"\ncertificate = "{certificate}"\n'
        f'key = "{certificate.with_suffix(".key")}"\nca = "{site.trust}"\n'
        f'witness = "{site.witness.encode()}"\n'
    )
    return load_gateway(path, overrides)


async def delivered(site: Site, service: Service, log: SealedLog) -> None:
    """Have the service take a log up to its newest checkpoint, by the real uplink."""
    await site.store(log)
    async with delivering(site, int(url(service).rpartition(":")[2])) as uplink:
        await uplink.published(max(log.notes))
