"""`coldseal gateway firewall`: the rule set of the gateway's machine, written from its configuration."""

import sys
from pathlib import Path

from coldseal.cli.commands import Group
from coldseal.cli.output import print_lines


def nftables(
    config: Path,
    /,
    *,
    ot: str,
    uplink: str,
    admin: list[str] | None = None,
    resolve: bool = False,
    check: bool = False,
    output: Path | None = None,
    set_: list[str] | None = None,
) -> int:
    """Write a default-deny rule set: devices to the listener, this gateway to its endpoints, nothing else.

    Args:
        config: gateway.toml.
        ot: interface at which devices are.
        uplink: interface of everything else.
        admin: a network from which people may log in by SSH; may be given several times.
        resolve: ask for the addresses of names now; without it each name needs addresses in egress.allow.
        check: have nft read the rules before they are written; nothing is loaded.
        output: a new file for them; without it, they are printed.
        set_: one setting to override, as table.key=value; may be given several times.
    """
    from coldseal.cli.setup import write_new
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.firewall import make_plan, render, require_valid
    from coldseal.gateway.uplink.names import names_of

    settings = load_gateway(config, set_ or ())
    ask = names_of(settings.egress) if resolve else None
    text = render(make_plan(settings, ot=ot, uplink=uplink, admin=admin or (), resolve=ask))
    if check:
        require_valid(text)
    if output is None:
        sys.stdout.write(text)
    else:
        write_new(output, text.encode())
        print_lines(f"{output}: load it with: nft -f {output}")
    return 0


FIREWALL_COMMANDS = Group(
    "firewall", "what passes the gateway's machine, from its configuration", (nftables,)
)
