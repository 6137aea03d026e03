"""`coldseal service unit`: the service's unit for systemd, written from its configuration."""

import sys
from pathlib import Path

from coldseal.cli.commands import Group


def systemd(
    config: Path,
    /,
    *,
    peers: list[str],
    user: str = "",
    program: str = "",
    set_: list[str] | None = None,
) -> int:
    """Write a unit: no privileges, one folder to write, secrets as credentials, only configured peers.

    Args:
        config: service.toml, at the place where the unit will find it.
        peers: a network at which gateways, readers or an object store are; may be given several times.
        user: an existing user that owns the data folder; without it systemd makes one.
        program: the `coldseal` command; without it, the one that is found here.
        set_: one setting to override, as table.key=value; may be given several times.
    """
    from coldseal.cli.units import begin, read_networks, render, service_unit
    from coldseal.service.config import load_service

    settings = load_service(config, set_ or ())
    about = f"coldseal service {settings.service.name}"
    begun = begin("service", about, config, program=program, user=user)
    begun = begun._replace(networks=tuple(read_networks("--peers", peers)))
    sys.stdout.write(render(service_unit(settings, begun)))
    return 0


UNIT_COMMANDS = Group("unit", "how the service is run by the system", (systemd,))
