"""The TPM or HSM of this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeVar

from msgspec import Meta, Struct

from coldseal.settings import Reference, Seconds
from coldseal.signing.uris import KERNEL, complete

Named = TypeVar("Named", bound=Reference)
NvIndex = Annotated[str, Meta(pattern=r"^(0x01[89a-bA-B][0-9a-fA-F]{5})?$")]


class Hardware(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The TPM or HSM of this machine."""

    tcti: str = KERNEL
    """The way to the TPM for every `tpm:` reference; by default behind the kernel's resource manager."""
    module: Path | None = None
    """Library of the PKCS#11 token for every `pkcs11:` reference."""
    fallback: Reference = Reference("file:fallback.pem")
    """Software key for checkpoints while chip or token is away; made when it is needed, marked in the log."""
    former: tuple[Reference, ...] = ()
    """Checkpoint keys that the log may still name: the one before a change from file to chip, or in it."""
    patience_s: Seconds = 30
    """How long chip or token may be away before checkpoints are signed by the fallback key."""
    pause_s: Annotated[float, Meta(ge=0, le=60)] = 5
    """Least time between two checkpoints by chip or token that are due for their number of entries."""
    counter: NvIndex = ""
    """NV index that counts ended segments, such as `0x01800010`; empty: no roll-back counter."""

    def full(self, reference: Named) -> Named:
        """Give a reference with the way to the chip, or the token's library, written out."""
        return type(reference)(complete(reference, tcti=self.tcti, module=self.module))
