"""`coldseal gateway time` and `time-config`: how this machine's time stands, and what should keep it.

Both only read; what is written is printed, to be put in place by whoever installs the machine.
"""

from pathlib import Path
from typing import Literal

from coldseal.cli.output import print_facts, print_json, print_lines


def time(config: Path, /, *, set_: list[str] | None = None, as_json: bool = False) -> int:
    """Say how far this machine's time may be trusted, and who keeps it; the exit code is 1 when it may not.

    Args:
        config: gateway.toml; a gateway need not run.
        set_: one setting to override, as table.key=value; may be given several times.
        as_json: answer with one JSON object.
    """
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.timekeeping import open_clock
    from coldseal.gateway.timekeeping.supervisor import describe

    settings = load_gateway(config, set_ or ())
    clock = open_clock(settings.time)
    status = clock.status()
    found = describe(status, clock, "")
    (print_json if as_json else print_facts)(found)
    return 0 if status.state == "synchronised" else 1


def time_config(
    service: Literal["chrony", "ntpsec"], config: Path, /, *, set_: list[str] | None = None
) -> int:
    """Print a hardened configuration for the service that keeps this machine's time.

    Args:
        service: chrony (chrony.conf) or ntpsec (ntp.conf).
        config: gateway.toml, with time.servers.
        set_: one setting to override, as table.key=value; may be given several times.
    """
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.timekeeping.hardened import render_chrony, render_ntpsec

    settings = load_gateway(config, set_ or ()).time
    text = render_chrony(settings) if service == "chrony" else render_ntpsec(settings)
    print_lines(text.rstrip("\n"))
    return 0
