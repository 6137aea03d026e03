"""What all runs of one process share: keys that sign the same bytes the same way, a certificate, a folder.

Making them costs more than a run. They are fixed, known to everybody, and good for nothing else.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from typing_extensions import override

from coldseal.core.log.delivery.receiver import AdmittedLog
from coldseal.core.log.signature import low_s
from coldseal.gateway.store.sealing import Keys
from coldseal.identity.authority import create_authority
from coldseal.observe.metrics import GatewayMetrics, ServiceMetrics
from coldseal.service.ingest import Witness
from coldseal.service.verification import Verifier
from coldseal.signing.keys import EcdsaSigner, Ed25519Signer

if TYPE_CHECKING:
    from collections.abc import Iterator

ORIGIN: Final = "world.example/site-1/gw-1"
SITE: Final = "site-1"
GATEWAY: Final = "gw-1"
WITNESS: Final = "witness.example"
STORE_KEY: Final = bytes(range(32))
EPOCH_S: Final = 1_800_057_600
"""Midnight UTC, when worlds begin, or shortly before."""

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- a file system in memory, where there is one
_STEADY: Final = ec.ECDSA(hashes.SHA256(), deterministic_signing=True)
_MADE: Final = datetime(2026, 1, 1, tzinfo=UTC)


class SteadySigner(EcdsaSigner):
    """Signs the same bytes the same way (RFC 6979)."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Keep the key."""
        super().__init__(key)
        self._steady = key

    @override
    def sign(self, data: bytes) -> bytes:
        """Sign bytes."""
        return low_s(self._steady.sign(data, _STEADY))


def _steady(number: int) -> SteadySigner:
    """Give the key of a number."""
    return SteadySigner(ec.derive_private_key(number, ec.SECP256R1()))


def _edwards(number: int) -> Ed25519Signer:
    """Give the key of a number."""
    return Ed25519Signer(ed25519.Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))


@dataclass(frozen=True, slots=True)
class Stage:
    """What is shared.

    Attributes:
        folder: where runs put their files.
        keys: the log's keys.
        witness: the service's.
        admitted: the log as the service's operator admits it.
        certificate: the gateway's, DER.
        verifier: checks signatures, within the loop's thread.
        gateway_metrics: count, and are shown to nobody.
        service_metrics: the same.
    """

    folder: Path
    keys: Keys
    witness: Witness
    admitted: AdmittedLog
    certificate: bytes
    verifier: Verifier
    gateway_metrics: GatewayMetrics
    service_metrics: ServiceMetrics


@contextmanager
def open_stage() -> Iterator[Stage]:
    """Make everything, and remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="coldseal-world-", dir=_MEMORY if _MEMORY.is_dir() else None))
    metrics = ServiceMetrics()
    verifier = Verifier(1, metrics)
    try:
        keys = Keys(_steady(2), _steady(3), _edwards(4))
        path = create_authority(folder / "pki", now=_MADE).issue("gateway", GATEWAY, now=_MADE)
        certificate = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)
        signs = (keys.checkpoint.verifier_key(ORIGIN), keys.interop.verifier_key(ORIGIN))
        yield Stage(
            folder,
            keys,
            Witness(WITNESS, _edwards(5)),
            AdmittedLog(ORIGIN, GATEWAY, keys.record.spki, signs, SITE),
            certificate,
            verifier,
            GatewayMetrics(),
            metrics,
        )
    finally:
        verifier.close()
        shutil.rmtree(folder, ignore_errors=True)
