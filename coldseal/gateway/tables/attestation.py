"""What the gateway proves about itself: its TPM and what was booted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from coldseal.settings import Reference, Seconds


class Attestation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the gateway proves to its service about itself: its TPM and what was booted."""

    key: Reference | None = None
    """Attestation key at a persistent handle of the TPM, such as `tpm:0x81010a01`, made when it is not there;
    empty: this gateway does not attest."""
    pcrs: tuple[Annotated[int, Meta(ge=0, le=23)], ...] = (0, 2, 4, 7, 8, 9, 14)
    """PCRs that are quoted, of the SHA-256 bank; they must be covered by the event log."""
    event_log: Path = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
    """The firmware's event log; a service that is not root is given it by systemd's `LoadCredential=`."""
    interval_h: Annotated[float, Meta(gt=0)] = 1
    """A quote is sent when the uplink starts, and then so often."""
    retry_s: Seconds = 60
    """Longest wait after a failure; the wait is drawn at random below it."""
