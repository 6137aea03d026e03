"""Where this gateway may connect to; nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from coldseal.settings import Address

Host = Annotated[str, Meta(pattern=r"^[A-Za-z0-9.:_-]{1,253}$")]
Pin = Annotated[str, Meta(pattern=r"^[A-Za-z0-9+/]{43}=$")]


class Allowed(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One endpoint that may be reached."""

    host: Host
    """Its name or address, as the addresses of services, witnesses and authorities have it."""
    port: Annotated[int, Meta(ge=1, le=65_535)] = 443
    """Its port."""
    tls: bool = True
    """`false`: it is spoken to openly, which only a timestamp authority or a witness on loopback may be."""
    pins: tuple[Pin, ...] = ()
    """SHA-256 of public keys (SubjectPublicKeyInfo), in base64: one of them must stand in the verified chain;
    several for a roll-over; `[]`: none is asked for."""
    ca: Path | None = None
    """CA certificates, PEM: the verified chain must end in one of them; empty: what the way itself trusts."""
    addresses: tuple[str, ...] = ()
    """IP addresses of this name: no resolver is asked then; `[]`: it is asked."""
    networks: tuple[str, ...] = ()
    """Networks that an answer of the resolver must lie in, such as `10.0.0.0/8`; `[]`: any."""


class Egress(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where this gateway may connect to; nowhere else."""

    allow: tuple[Allowed, ...] = ()
    """The list, each a table `[[egress.allow]]`; `[]`: exactly what other settings name."""
    resolver: tuple[Address, ...] = ()
    """Name servers that are asked, and no other, such as `10.0.0.53:53`; `[]`: those of the system."""
    resolver_name: str = ""
    """Name in these servers' certificates: they are asked over TLS (RFC 7858); empty: openly."""
    resolver_ca: Path | None = None
    """CA certificates that these servers must descend from, PEM; needed for `resolver_name`."""
