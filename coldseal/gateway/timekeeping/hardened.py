"""Writes the configuration of a time service: authenticated servers only, nothing open to others.

Promise: what is written here follows nobody without NTS and answers nobody but this machine. It is text for
another program; nothing is installed, and no clock is set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.tables.time import Time

_CHRONY: Final = """\
# Made by `coldseal gateway time-config chrony`. A change belongs into gateway.toml.
{servers}
# Who is not authenticated is never selected; so many must agree.
authselectmode require
minsources {minimum}

# Wall time steps at the start only, and is pulled gently ever after. Every step is on the gateway's record.
makestep 0.5 3
# A machine that wakes up in 1970 cannot check the dates of a certificate: its first update is exempt.
nocerttimecheck 1
maxslewrate 500
rtcsync
leapsectz right/UTC

# No port is open: neither for clients nor for commands. The gateway asks over this socket, whose folder only
# the group of chronyd may enter (mode 0770).
port 0
cmdport 0
bindcmdaddress {socket}

driftfile /var/lib/chrony/drift
ntsdumpdir /var/lib/chrony
logdir /var/log/chrony
log tracking statistics selection
logchange 0.25
lock_all
"""

_NTPSEC: Final = """\
# Made by `coldseal gateway time-config ntpsec`. A change belongs into gateway.toml.
{servers}
# So many must agree.
tos minsane {minimum} minclock {minimum}

# More than 1000 s stop ntpd once it runs; start it with -g, so that the first update may be any. NTPsec knows
# no step "at the start only": a later one is on the gateway's record.
tinker panic 1000

# Port 123 is open, because NTP needs it, but answers nobody: only replies of the servers come in, and only
# this machine may ask, and not change anything.
restrict default ignore
restrict -6 default ignore
restrict source nomodify noquery
restrict 127.0.0.1 nomodify
restrict ::1 nomodify

driftfile /var/lib/ntpsec/ntp.drift
leapfile /usr/share/zoneinfo/leap-seconds.list
logfile /var/log/ntpsec/ntpd.log
logconfig =syncall +clockall +sysall
"""

_POLLS: Final = "minpoll 4 maxpoll 7"  # every 16 to 128 s: a lost source is known within minutes


def render_chrony(settings: Time) -> str:
    """Write chrony.conf.

    Raises:
        OperatorError: the configuration names no servers, or fewer than must agree.
    """
    servers = [f"server {name} iburst nts {_POLLS}" for name in _servers(settings)]
    return _CHRONY.format(
        servers="\n".join(servers), minimum=settings.minimum_sources, socket=settings.chrony
    )


def render_ntpsec(settings: Time) -> str:
    """Write ntp.conf of NTPsec.

    Raises:
        OperatorError: the configuration names no servers, or fewer than must agree.
    """
    names = _servers(settings)
    return _NTPSEC.format(
        servers="\n".join(f"server {name} nts iburst {_POLLS}" for name in names),
        minimum=settings.minimum_sources,
    )


def _servers(settings: Time) -> Sequence[str]:
    """Give the servers, if they are enough."""
    if not settings.servers:
        raise OperatorError("time.servers names nobody", "Name NTS servers; of four, one may be wrong")
    if len(settings.servers) < settings.minimum_sources:
        what = f"time.minimum_sources is {settings.minimum_sources}, but there are {len(settings.servers)}"
        raise OperatorError(f"{what} time.servers", "Lower it, or name more servers")
    return settings.servers
