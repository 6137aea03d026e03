"""How certificates come and are renewed: by EST (RFC 7030)."""

from __future__ import annotations

from msgspec import Struct


class Enrolment(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How certificates come and are renewed: by EST (RFC 7030)."""
