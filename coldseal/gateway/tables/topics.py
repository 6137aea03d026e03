"""The registry of topics: which devices there are, what each may say, how much and how often."""

from __future__ import annotations

from msgspec import Struct


class Topics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The registry of topics: which devices there are, what each may say, how much and how often."""
