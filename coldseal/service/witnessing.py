"""The service as a witness that is asked: a checkpoint with its proof comes in, a cosignature goes out.

Promises that what is cosigned extends what was cosigned before, and is durable first. A log whose entries
are taken in here is cosigned only as far as they are held. Two histories of one log are kept as evidence
and alarmed. Speaks no HTTP: that is `api`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.core.log.checkpoint import add_signature
from coldseal.core.log.delivery.receiver import history_at
from coldseal.core.log.merkle import ConsistencyError
from coldseal.core.log.witness import (
    Cosigned,
    StaleSizeError,
    TwoRootsError,
    UnknownOriginError,
    answer_cosigned,
    answer_fault,
    judge,
    parse_request,
    verify_signed,
)
from coldseal.errors import InputError, TrustError, UnavailableError
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.storage.values import Evidence, Receipted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldseal.core.log.checkpoint import NoteSignature, VerifierKey
    from coldseal.core.log.delivery.receiver import AdmittedLog, Head
    from coldseal.core.log.witness import Answer, Request
    from coldseal.observe.metrics import ServiceMetrics
    from coldseal.service.admission import Admission
    from coldseal.service.ingest import Witness
    from coldseal.service.ledger import Ledger

_log = Log("service.witnessing")


class Witnessing:
    """Cosigns checkpoints that are posted, one at a time for each log.

    Args:
        admission: logs whose entries are taken in.
        witnessed: logs that are only witnessed.
        ledger: what is held of both.
        witness: the key that cosigns.
        now: wall time, Unix seconds.
        metrics: what is counted.
    """

    def __init__(
        self,
        admission: Admission,
        witnessed: Admission,
        ledger: Ledger,
        witness: Witness,
        *,
        now: Callable[[], int],
        metrics: ServiceMetrics,
    ) -> None:
        """Take the parts."""
        self._admission = admission
        self._witnessed = witnessed
        self._ledger = ledger
        self._witness = witness
        self._now = now
        self._metrics = metrics

    async def add(self, body: bytes) -> Answer:
        """Judge a request and answer it, whatever it is; cosigned is only what is durable by then."""
        try:
            answer = answer_cosigned([await self._add(body)])
        except (InputError, StaleSizeError, TrustError, UnavailableError) as fault:
            answer = answer_fault(fault)
        self._metrics.checkpoints.labels(str(answer.status.value)).inc()
        return answer

    async def logs(self) -> list[tuple[AdmittedLog, Receipted | None]]:
        """Give the logs that are only witnessed, each with what was cosigned last."""
        watched = [log for log in self._witnessed.all() if self._admission.find(log.origin) is None]
        return [(log, await self._ledger.witnessed(log.origin)) for log in watched]

    async def _add(self, body: bytes) -> NoteSignature:
        """Find the log, and judge under its lock."""
        request = parse_request(body)
        origin = request.checkpoint.origin
        admitted = self._admission.find(origin)
        log = admitted or self._witnessed.find(origin)
        if log is None:
            raise UnknownOriginError(origin)
        async with self._ledger.lock(origin):
            cosign = self._cosign_watched if admitted is None else self._cosign_held
            return await cosign(log, request, body)

    async def _cosign_held(self, log: AdmittedLog, request: Request, body: bytes) -> NoteSignature:
        """Cosign what the ledger holds, and nothing beyond: a cosignature of ours is a receipt."""
        origin, size = log.origin, request.checkpoint.size
        head, newest = await self._ledger.head(origin), await self._ledger.receipt(origin)
        there = await self._ledger.receipt(origin, size) if size < head.size else None
        held = Cosigned(head.size, head.root, newest.note if newest else b"")
        found = await self._judge(request, body, held, keys_of(log, head, size), there)
        if found.size > head.size:
            raise UnavailableError("the witness", f"entries {head.size} to {found.size} must come first")
        return self._cosign(request, self._now())

    async def _cosign_watched(self, log: AdmittedLog, request: Request, body: bytes) -> NoteSignature:
        """Cosign what extends the checkpoint cosigned last, once it is on disk."""
        before = await self._ledger.witnessed(log.origin)
        held = Cosigned(before.size, before.root, before.note) if before else Cosigned()
        found = await self._judge(request, body, held, log.checkpoint_keys, None)
        now = self._now()
        line = self._cosign(request, now)
        if before is None or found.size > before.size:
            kept = Receipted(found.size, now, found.root, add_signature(found.note, line))
            await self._ledger.witness(log.origin, before.size if before else None, kept)
        return line

    async def _judge(
        self,
        request: Request,
        body: bytes,
        held: Cosigned,
        keys: Sequence[VerifierKey],
        there: Receipted | None,
    ) -> Cosigned:
        """Judge, and keep the proof if the log shows two histories."""
        try:
            return judge(request, held, keys, known=there.root if there else None)
        except (TwoRootsError, ConsistencyError) as fault:
            known = there.note if there else held.note
            note = verify_signed(request, keys)
            await self._keep(request, fault, note=note, held=known, body=body)
            raise

    def _cosign(self, request: Request, now: int) -> NoteSignature:
        """Sign with the time."""
        return self._witness.signer.cosign(self._witness.name, request.checkpoint.text(), now)

    async def _keep(
        self, request: Request, fault: TrustError, *, note: bytes, held: bytes, body: bytes
    ) -> None:
        """Keep the proof of two histories and raise the alarm."""
        origin, size = request.checkpoint.origin, request.checkpoint.size
        evidence = Evidence(
            origin=origin,
            verdict=fault.verdict,
            t=self._now(),
            detail=str(fault),
            note=note,
            held=held,
            entry=body,
        )
        is_kept = await self._ledger.keep(evidence)
        if is_kept:
            self._metrics.evidence.labels(fault.verdict).inc()
        _log.emit(events.CHECKPOINT_REFUSED, origin=origin, error=fault.verdict, detail=str(fault))
        _log.emit(events.FORK_FOUND, origin=origin, size=size, kept=is_kept)


def keys_of(log: AdmittedLog, head: Head, size: int) -> Sequence[VerifierKey]:
    """Give the keys that must sign a checkpoint of ``size``, as far as the entries held tell."""
    return history_at(log, head.settings).at(size).checkpoint
