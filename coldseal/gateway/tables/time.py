"""Where time comes from, and how far it is trusted."""

from __future__ import annotations

from msgspec import Struct


class Time(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where time comes from, and how far it is trusted."""
