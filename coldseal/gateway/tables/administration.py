"""Who may administer this gateway, by operating-system user."""

from __future__ import annotations

from msgspec import Struct


class Administration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may administer this gateway, by operating-system user."""
