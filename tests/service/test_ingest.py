"""The main path: a receipt is given for what is verified and durable, and everything else leaves evidence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from coldseal.core.log.checkpoint import (
    Checkpoint,
    CheckpointSignatureError,
    cosigned_at,
    open_checkpoint,
    parse_note,
)
from coldseal.core.log.delivery.receiver import (
    BrokenChainError,
    ForkError,
    GapError,
    RootMismatchError,
    StaleError,
)
from coldseal.core.log.delivery.wire import Receipt, encode_batch
from coldseal.core.log.record import frame
from coldseal.errors import InputError, TrustError, UnavailableError
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.admission import Admission
from coldseal.service.ingest import Ingest, NotAdmittedError, Witness
from coldseal.service.ledger import Ledger
from coldseal.service.storage.values import KeptEvidence
from coldseal.service.verification import Verifier
from tests.sealed import COSIGNED, GATEWAY, ORIGIN, WITNESS, SealedLog, new_keys, witness, witness_key
from tests.trial import Site

LEDGER_KEY = bytes(32)


class Bench:
    """An ingest with real parts and no HTTP."""

    def __init__(self, site: Site, ledger: Ledger, verifier: Verifier, *, is_verified_first: bool) -> None:
        """Put the parts together."""
        self.site = site
        self.ledger = ledger
        self.metrics = ServiceMetrics()
        self.admission = Admission(site.service / "data" / "logs")
        self.certificate = der(site.certificates["gateway"])
        self.now = COSIGNED
        self.ingest = Ingest(
            self.admission,
            ledger,
            verifier,
            Witness(WITNESS, witness()),
            now=lambda: self.now,
            metrics=self.metrics,
            is_verified_first=is_verified_first,
        )

    async def take(self, body: bytes) -> Receipt:
        """Send a batch as the gateway."""
        return await self.ingest.take(self.certificate, body)

    async def evidence(self, origin: str = ORIGIN) -> list[KeptEvidence]:
        """Give what is kept against the log."""
        return await self.ledger.evidence(origin)

    def counted(self, name: str, label: str = "") -> float:
        """Read a counter."""
        labels = {"result": label} if name == "batches" else {"error": label} if label else {}
        return self.metrics.registry.get_sample_value(f"coldseal_service_{name}_total", labels) or 0.0


def der(path: Path) -> bytes:
    """Read a leaf certificate."""
    return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
