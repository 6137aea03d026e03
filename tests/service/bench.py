"""An ingest of real parts without HTTP: files, ledger, keys and certificates, and a clock to set."""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.core.log.delivery.wire import Receipt
from coldseal.identity.peer import Role
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.admission import Admission
from coldseal.service.ingest import Ingest, Witness
from coldseal.service.ledger import Ledger
from coldseal.service.storage.values import KeptEvidence
from coldseal.service.verification import Verifier
from tests.sealed import COSIGNED, ORIGIN, WITNESS, SealedLog, witness
from tests.trial import Site

LEDGER_KEY = bytes(32)


class Bench:
    """Everything that `take` needs."""

    def __init__(self, site: Site, ledger: Ledger, verifier: Verifier, *, is_verified_first: bool) -> None:
        """Put the parts together."""
        self.site = site
        self.ledger = ledger
        self.verifier = verifier
        self.metrics = ServiceMetrics()
        self.admission = Admission(site.service / "data" / "logs")
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

    def admit(self, log: SealedLog) -> SealedLog:
        """Admit a log."""
        self.site.admit(log)
        self.admission.refresh()
        return log

    def certificate(self, role: Role = "gateway") -> bytes:
        """Give a caller's certificate as TLS shows it."""
        path = self.site.certificates[role]
        return x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)

    async def take(self, body: bytes, role: Role = "gateway") -> Receipt:
        """Send a batch."""
        return await self.ingest.take(self.certificate(role), body)

    async def evidence(self, origin: str = ORIGIN) -> list[KeptEvidence]:
        """Give what is kept against a log."""
        return await self.ledger.evidence(origin)

    async def entries(self, origin: str = ORIGIN) -> list[bytes]:
        """Give everything that is held of a log."""
        return await self.ledger.entries(origin, 0, 2**40)

    def counted(self, name: str, **labels: str) -> float:
        """Read a counter."""
        return self.metrics.registry.get_sample_value(f"coldseal_service_{name}_total", labels) or 0.0
