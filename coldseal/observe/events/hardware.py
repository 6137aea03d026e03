"""Events of the TPM or HSM and what it attests."""

from __future__ import annotations
