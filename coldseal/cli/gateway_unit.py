"""`coldseal gateway unit`: the gateway's unit for systemd, written from its configuration."""

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
    resolve: bool = False,
    set_: list[str] | None = None,
) -> int:
    """Write a unit: no privileges, one folder to write, secrets as credentials, only configured peers.

    Args:
        config: gateway.toml, at the place where the unit will find it.
        peers: a network at which devices are, such as 10.20.0.0/16; may be given several times.
        user: an existing user that owns the data folder; without it systemd makes one.
        program: the `coldseal` command; without it, the one that is found here.
        resolve: ask for the addresses of names now; without it each name needs addresses in egress.allow.
        set_: one setting to override, as table.key=value; may be given several times.
    """
    from coldseal.cli.units import begin, gateway_unit, reached_by, read_networks, render
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.uplink.names import names_of

    settings = load_gateway(config, set_ or ())
    ask = names_of(settings.egress) if resolve else None
    networks = [*read_networks("--peers", peers), *reached_by(settings, ask)]
    about = f"coldseal gateway {settings.gateway.origin}"
    begun = begin("gateway", about, config, program=program, user=user)
    sys.stdout.write(render(gateway_unit(settings, begun, networks)))
    return 0


UNIT_COMMANDS = Group("unit", "how the gateway is run by the system", (systemd,))
