"""How certificates come and are renewed: by EST (RFC 7030)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from coldseal.settings import Reference, Seconds


class Enrolment(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the certificates of uplink, listener and broker are renewed: by EST (RFC 7030)."""

    url: str = ""
    """The enrolment server, as `https://host:port`; empty: other hands renew. Needs `uplink.url`."""
    ca: Path | None = None
    """CA certificates that this server must descend from, PEM; empty: those of `uplink`."""
    renew_at: Annotated[float, Meta(ge=0.5, le=0.6)] = 0.5
    """Share of a certificate's life after which it is renewed."""
    jitter: Annotated[float, Meta(ge=0, le=0.1)] = 0.1
    """Further share, of which each renewal draws a part, so that not all gateways ask at once."""
    new_key: bool = True
    """Each renewal makes a new key; `false` keeps the old one."""
    retry_initial_s: Seconds = 60
    """Longest first wait after a failure; it doubles each time."""
    retry_max_s: Seconds = 3_600
    """Longest wait after a failure, and while a person must approve."""
    timeout_s: Seconds = 30
    """Time for one request and its answer."""
    factory_certificate: Path | None = None
    """Certificate that speaks for this gateway when its own has ended, PEM; such as the maker's."""
    factory_key: Path | None = None
    """The key of that certificate, PEM, mode 0600."""
    token: Reference | None = None
    """One-time token for the same case, where there is no such certificate: `file:PATH`, read when needed."""
