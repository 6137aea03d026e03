"""The TPM or HSM of this machine."""

from __future__ import annotations

from msgspec import Struct


class Hardware(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The TPM or HSM of this machine."""
