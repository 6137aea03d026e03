"""What the gateway proves about itself: its TPM and what was booted."""

from __future__ import annotations

from msgspec import Struct


class Attestation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the gateway proves about itself: its TPM and what was booted."""
