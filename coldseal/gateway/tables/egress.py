"""Where this gateway may connect to; nowhere else."""

from __future__ import annotations

from msgspec import Struct


class Egress(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where this gateway may connect to; nowhere else."""
