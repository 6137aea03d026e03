"""The main path: a batch comes in, a receipt goes out; in between it is verified and durable.

Promises that a receipt is given only for entries that are chained, covered by the log's signed checkpoint,
and committed to disk. The same batch again changes nothing and gets its receipt again. What a proof
refutes is refused, kept as evidence and alarmed. Speaks no HTTP: that is `api`.
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from coldseal.core.log.checkpoint import add_signature
from coldseal.core.log.delivery.receiver import BrokenChainError, ForkError, history_at
from coldseal.core.log.delivery.wire import Receipt, origin_of, parse_batch
from coldseal.core.log.succession import BrokenLinkError
from coldseal.errors import TrustError
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.callers import NotAdmittedError, identify
from coldseal.service.storage.values import Evidence, Receipted
from coldseal.service.succession import Succession

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.core.log.delivery.receiver import Accepted, AdmittedLog
    from coldseal.core.log.delivery.wire import Batch
    from coldseal.observe.metrics import ServiceMetrics
    from coldseal.service.admission import Admission
    from coldseal.service.ledger import Ledger
    from coldseal.service.verification import Verifier
    from coldseal.signing.keys import Ed25519Signer

__all__ = ["Ingest", "NotAdmittedError", "Witness"]

_log = Log("service.ingest")
_PLACED = (ForkError, BrokenChainError, BrokenLinkError)


class Witness(NamedTuple):
    """The key that cosigns, and the name under which it is known."""

    name: str
    signer: Ed25519Signer


class Ingest:
    """Takes batches in, one at a time for each log.

    Args:
        admission: which logs are taken from which gateways.
        ledger: where they are kept.
        verifier: checks entries' own signatures.
        witness: signs receipts.
        now: wall time, Unix seconds.
        metrics: what is counted.
        is_verified_first: signatures are checked before the receipt, not behind it.
    """

    def __init__(
        self,
        admission: Admission,
        ledger: Ledger,
        verifier: Verifier,
        witness: Witness,
        *,
        now: Callable[[], int],
        metrics: ServiceMetrics,
        is_verified_first: bool,
    ) -> None:
        """Take the parts."""
        self._admission = admission
        self._ledger = ledger
        self._verifier = verifier
        self._witness = witness
        self._succession = Succession(ledger, witness.signer.verifier_key(witness.name, cosigner=True))
        self._now = now
        self._metrics = metrics
        self._is_verified_first = is_verified_first
        self.running = 0
        """Batches that are being taken in now."""
        self.finished = 0
        """Batches that have got an answer, whatever it was."""

    async def take(self, certificate: bytes | None, body: bytes) -> Receipt:
        """Verify, store and cosign a batch.

        Args:
            certificate: the caller's certificate, DER, as TLS verified it.
            body: the batch as it came.

        Returns:
            The receipt: also for a batch that is held already.

        Raises:
            NotAdmittedError: the caller may not send this log.
            InputError: the batch is malformed.
            GapError, StaleError: the caller must begin elsewhere.
            TrustError: a proof fails; kept as evidence.
            UnavailableError: not stored, or unknown; the same batch again is right.
        """
        self.running += 1
        try:
            return await self._take(certificate, body)
        finally:
            self.running -= 1
            self.finished += 1

    async def _take(self, certificate: bytes | None, body: bytes) -> Receipt:
        """Walk the path: identify, verify, store, cosign, answer."""
        began = perf_counter()
        batch = parse_batch(body)
        log = identify(self._admission, certificate, origin_of(batch))
        async with self._ledger.lock(log.origin):
            try:
                accepted, known = await self._verify(log, batch)
            except TrustError as fault:
                await self._keep(log, batch, fault)
                raise
            receipt = known or await self._store(log, batch, accepted)
        answer = await self._answer(log, receipt)
        self._metrics.batches.labels("repeated" if known else "stored").inc()
        self._metrics.ingest_seconds.observe(perf_counter() - began)
        return answer

    async def _verify(self, log: AdmittedLog, batch: Batch) -> tuple[Accepted, Receipted | None]:
        """Hold the batch against what is held; a receipt comes with it if nothing in it is new."""
        head = await self._ledger.head(log.origin)
        end = batch.first + len(batch.entries)
        held: list[bytes] = []
        if batch.first < head.size:
            held = await self._ledger.entries(log.origin, batch.first, min(end, head.size))
        known = await self._ledger.receipt(log.origin, end) if end <= head.size else None
        return await self._succession.accept(log, head, batch, held=held, known=known), known

    async def _store(self, log: AdmittedLog, batch: Batch, accepted: Accepted) -> Receipted:
        """Store what is new, with the receipt over it, in one transaction."""
        refuted = list(accepted.refuted)
        if self._is_verified_first:
            keys = history_at(log, accepted.head.settings).record_keys
            mode, first = accepted.head.mode, accepted.first
            refuted += await self._verifier.refute(keys, mode, first, accepted.frames)
        now, checkpoint = self._now(), accepted.checkpoint
        line = self._witness.signer.cosign(self._witness.name, checkpoint.text(), now)
        receipt = Receipted(checkpoint.size, now, checkpoint.root, add_signature(batch.note, line))
        await self._ledger.append(log.origin, accepted, receipt, refuted, is_verified=self._is_verified_first)
        self._metrics.entries.inc(accepted.count)
        first, count = accepted.first, accepted.count
        _log.emit(events.BATCH_STORED, origin=log.origin, first=first, size=receipt.size, entries=count)
        if self._is_verified_first:
            self._metrics.verified.inc(accepted.count - len(refuted))
            self._verifier.report(log.origin, refuted)
        return receipt

    async def _answer(self, log: AdmittedLog, receipt: Receipted) -> Receipt:
        """Say with the receipt how far signatures are checked and which entries failed."""
        summary, refuted = await self._ledger.summary(log.origin)
        return Receipt(receipt.note, receipt.size, summary.verified, refuted)

    async def _keep(self, log: AdmittedLog, batch: Batch, fault: TrustError) -> None:
        """Keep the proof of fault and raise the alarm."""
        newest = await self._ledger.receipt(log.origin)
        at = fault.seq - batch.first if isinstance(fault, _PLACED) else -1
        evidence = Evidence(
            origin=log.origin,
            verdict=fault.verdict,
            t=self._now(),
            detail=str(fault),
            note=batch.note,
            held=newest.note if newest else b"",
            entry=batch.entries[at] if 0 <= at < len(batch.entries) else b"",
        )
        is_kept = await self._ledger.keep(evidence)
        self._metrics.batches.labels("refused").inc()
        self._metrics.refused.labels(fault.verdict).inc()
        if is_kept:
            self._metrics.evidence.labels(fault.verdict).inc()
        _log.emit(events.BATCH_REFUSED, origin=log.origin, error=fault.verdict, detail=str(fault))
        if isinstance(fault, ForkError):
            _log.emit(events.FORK_FOUND, origin=log.origin, size=fault.seq, kept=is_kept)
