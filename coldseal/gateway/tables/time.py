"""Where time comes from, and how far it is trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from coldseal.settings import Address, Seconds

Server = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]{0,252}$")]


class Time(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where time comes from, and how far it is trusted."""

    source: Literal["auto", "chrony", "ntpsec", "kernel"] = "auto"
    """Whose word counts: a time service's, or the kernel's alone; `auto` follows the first that answers."""
    require_authentication: bool = True
    """Time from a source that nobody authenticates (by NTS, a key, a receiver here) is unsynchronised."""
    kernel_must_agree: bool = True
    """The kernel must say too that its clock is kept; off where the service may not set it: a container."""
    limit_ms: Annotated[int, Meta(ge=1, le=1_000)] = 1_000
    """Beyond this, offset and bound together, readings are flagged `clock`; in milliseconds."""
    max_age_s: Seconds = 900
    """A source that the service has not measured for so long is lost."""
    interval_s: Annotated[float, Meta(ge=0.05, le=5)] = 2
    """Time between two looks at the service."""
    chrony: Path = Path("/run/chrony/chronyd.sock")
    """chronyd's command socket; the gateway's user must be able to write to its folder."""
    ntpsec: Address = Address("127.0.0.1:123")
    """Where ntpd answers queries, on this machine."""
    servers: tuple[Server, ...] = ()
    """NTS servers, by name: for `coldseal gateway time-config`."""
    minimum_sources: Annotated[int, Meta(ge=1, le=16)] = 1
    """Servers that must agree before one is followed: for `coldseal gateway time-config`."""
