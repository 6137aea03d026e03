"""The service's HTTP face: batches in, receipts and sizes out, over verified client certificates.

Promises bounded memory and time for each caller: a body is read only after its announced length fits, in
room shared by all. Rights follow the certificate's role and the request's path. Decides nothing about a
batch: that is `ingest`. The format is described by `openapi.json` and `docs/specs/delivery.md`.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from http import HTTPStatus
from importlib.resources import files
from typing import Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coldseal.core.attestation.messages import MEDIA_TYPE
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import CheckpointSignatureError
from coldseal.core.log.delivery.notices import MAX_BODY, NOTICE_TYPE
from coldseal.core.log.delivery.receiver import GapError, StaleError
from coldseal.core.log.delivery.wire import ANSWER_TYPE, BATCH_TYPE, encode_receipt, encode_refusal
from coldseal.core.log.tiles import ENTRIES
from coldseal.core.log.witness import MAX_REQUEST
from coldseal.errors import InputError, TrustError, UnavailableError
from coldseal.identity.peer import Peer, peer
from coldseal.service import bodies
from coldseal.service.admission import Admission
from coldseal.service.attestation.office import Office
from coldseal.service.callers import NotAdmittedError
from coldseal.service.ingest import Ingest
from coldseal.service.ledger import Ledger
from coldseal.service.notices import Notices
from coldseal.service.publishing import Publishing
from coldseal.service.room import BodyError, Room
from coldseal.service.storage.values import KeptEvidence
from coldseal.service.witnessing import Witnessing

SHARED_BODY_BYTES: Final = 256 * 1024 * 1024
"""Bytes of bodies that may be in memory at one time; a further one waits, unread."""

NOTICE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of notices that may be in memory at one time: they do not wait behind batches."""

RETRY_AFTER_S: Final = 2
"""What a caller that is put off should wait at least; it adds a wait drawn at random."""

SHOWN: Final = 100
"""Announced entries of one log that are shown: the newest."""

CHECKPOINT_HEADERS: Final = {
    "Cache-Control": "private, no-cache",
    "Content-Type": "text/plain; charset=utf-8",
}
TILE_HEADERS: Final = {
    "Cache-Control": "private, max-age=31536000, immutable",
    "Content-Type": "application/octet-stream",
}
"""A tile never changes, a partial one neither; but only who was let in here may keep it."""
GZIP_LEVEL: Final = 1
"""Least work: higher ones gain little on signatures and hashes."""

Endpoint = Callable[[Request], Awaitable[Response]]


class Api:
    """The routes over ingest, witnessing and ledger.

    Args:
        ingest: takes batches in.
        notices: takes notices in.
        witnessing: cosigns checkpoints.
        publishing: gives logs as static files.
        attestation: knows which machines are what they should be.
        admission: which logs belong to whom.
        ledger: how far they are.
        max_batch_bytes: a larger body is refused unread.
        max_bodies: of so many that are being taken in, a further one is put off unread.
        timeout_s: time for a body to arrive whole.
    """

    def __init__(
        self,
        ingest: Ingest,
        notices: Notices,
        witnessing: Witnessing,
        publishing: Publishing,
        attestation: Office,
        *,
        admission: Admission,
        ledger: Ledger,
        max_batch_bytes: int,
        max_bodies: int,
        timeout_s: float,
    ) -> None:
        """Take the parts."""
        self._ingest = ingest
        self._notices = notices
        self._witnessing = witnessing
        self._publishing = publishing
        self._attestation = attestation
        self._admission = admission
        self._ledger = ledger
        self._max_batch_bytes = max_batch_bytes
        self._timeout_s = timeout_s
        self._room = Room(SHARED_BODY_BYTES, max_bodies)
        self._side_room = Room(NOTICE_BYTES, max_bodies)

    def app(self) -> Starlette:
        """Give the ASGI application."""
        return Starlette(
            routes=[
                Route("/v1/entries", _answering(self.take), methods=["POST"]),
                Route("/v1/notices", _answering(self.announce), methods=["POST"]),
                Route("/v1/witness/add-checkpoint", _answering(self.cosign), methods=["POST"]),
                Route("/v1/attestation", _answering(self.show_attestation), methods=["GET"]),
                Route("/v1/attestation/{what}", _answering(self.attest), methods=["POST"]),
                Route("/v1/log", _answering(self.show_log), methods=["GET"]),
                Route("/v1/logs", _answering(self.show_logs), methods=["GET"]),
                Route("/logs/{path:path}", _answering(self.show_file), methods=["GET"]),
                Route("/v1/openapi.json", show_description, methods=["GET"]),
            ]
        )

    async def take(self, request: Request) -> Response:
        """Take one batch in and answer with its receipt."""
        bodies.require_type(request, BATCH_TYPE)
        self._attestation.require_unheld(_certificate(request))
        size = bodies.announced(request, self._max_batch_bytes)
        async with self._room.take(size):
            receipt = await self._ingest.take(_certificate(request), await self._body(request, size))
        return _json(HTTPStatus.OK, encode_receipt(receipt))

    async def announce(self, request: Request) -> Response:
        """Take notices in: urgent entries told ahead of their order."""
        bodies.require_type(request, NOTICE_TYPE)
        size = bodies.announced(request, MAX_BODY)
        async with self._side_room.take(size):
            body = await self._body(request, size)
        return _json(HTTPStatus.OK, await self._notices.take(_certificate(request), body))

    async def attest(self, request: Request) -> Response:
        """Bind a gateway's chip, or verify what it states."""
        bodies.require_type(request, MEDIA_TYPE)
        what = request.path_params["what"]
        size = bodies.announced(request, self._attestation.limit(what))
        async with self._side_room.take(size):
            body = await self._body(request, size)
            return _json(HTTPStatus.OK, await self._attestation.answer(what, _certificate(request), body))

    async def show_attestation(self, request: Request) -> Response:
        """Show an operator how all gateways stand."""
        _caller(request, "operator")
        return _json(HTTPStatus.OK, canonical.encode(self._attestation.show_all()))

    async def cosign(self, request: Request) -> Response:
        """Judge a checkpoint that a gateway wants cosigned (C2SP tlog-witness)."""
        size = bodies.announced(request, MAX_REQUEST)
        async with self._room.take(size):
            body = await self._body(request, size)
        _caller(request, "gateway")
        answer = await self._witnessing.add(body)
        return Response(answer.body, answer.status, {"Content-Type": answer.media_type})

    async def show_file(self, request: Request) -> Response:
        """Give a file of a log in the static layout (C2SP tlog-tiles)."""
        found = await self._publishing.file(_peer(request), request.path_params["path"])
        if found is None:
            body = encode_refusal("not-found", detail="no such file of a log, or not yet")
            return _json(HTTPStatus.NOT_FOUND, body, {"Cache-Control": "no-store"})
        if found.tile is None:
            return Response(found.content, headers=CHECKPOINT_HEADERS)
        headers, content = dict(TILE_HEADERS), found.content
        if found.tile.level == ENTRIES:
            headers["Vary"] = "Accept-Encoding"
            if _takes_gzip(request.headers.get("accept-encoding", "")):
                headers["Content-Encoding"] = "gzip"
                content = await asyncio.to_thread(gzip.compress, content, GZIP_LEVEL, mtime=0)
        return Response(content, headers=headers)

    async def _body(self, request: Request, size: int) -> bytes:
        """Read a body within its time."""
        return await bodies.read(request, size, timeout_s=self._timeout_s)

    async def show_log(self, request: Request) -> Response:
        """Show a gateway how far its log is here, with the newest receipt."""
        caller = _caller(request, "gateway")
        logs = self._admission.of_gateway(caller.name)
        wanted = request.query_params.get("origin")
        log = next((log for log in logs if wanted in {None, log.origin}), None)
        if log is None:
            raise NotAdmittedError(f"no such log is admitted from {caller.name}")
        summary, refuted = await self._ledger.summary(log.origin)
        receipt = await self._ledger.receipt(log.origin)
        body: dict[str, canonical.Value] = {
            "checkpoint": receipt.note.decode() if receipt else None,
            "origin": log.origin,
            "refuted": list(refuted),
            "signatures_verified": summary.verified,
            "size": summary.size,
        }
        return _json(HTTPStatus.OK, canonical.encode(body))

    async def show_logs(self, request: Request) -> Response:
        """Show an operator how far all logs are and what is kept against them."""
        _caller(request, "operator")
        logs: list[canonical.Value] = []
        links = await self._ledger.links()
        before: dict[str, canonical.Value] = {
            link.origin: {"origin": link.predecessor, "size": link.size} for link in links
        }
        behind = {link.predecessor: link.origin for link in links}
        for log in self._admission.all():
            summary, _ = await self._ledger.summary(log.origin)
            receipt = await self._ledger.receipt(log.origin)
            kept = await self._ledger.evidence(log.origin)
            logs.append(
                {
                    "attestation": self._attestation.show(log.gateway),
                    "announced": [
                        {"kind": each.kind, "seq": each.seq, "since": each.since, "t": each.t}
                        for each in await self._ledger.announced(log.origin, limit=SHOWN)
                    ],
                    "evidence": _shown(kept),
                    "gateway": log.gateway,
                    "origin": log.origin,
                    "predecessor": before.get(log.origin),
                    "receipt_t": receipt.t if receipt else None,
                    "refuted": summary.refuted,
                    "signatures_verified": summary.verified,
                    "site": log.site,
                    "size": summary.size,
                    "successor": behind.get(log.origin),
                }
            )
        witnessed: list[canonical.Value] = [
            {
                "cosigned_t": newest.t if newest else None,
                "evidence": _shown(await self._ledger.evidence(log.origin)),
                "gateway": log.gateway,
                "origin": log.origin,
                "site": log.site,
                "size": newest.size if newest else 0,
            }
            for log, newest in await self._witnessing.logs()
        ]
        return _json(HTTPStatus.OK, canonical.encode({"logs": logs, "witnessed": witnessed}))


def _shown(kept: Sequence[KeptEvidence]) -> list[canonical.Value]:
    """Write what is kept against a log."""
    return [
        {
            "detail": each.evidence.detail,
            "first_t": each.evidence.t,
            "last_t": each.last_t,
            "times": each.times,
            "verdict": each.evidence.verdict,
        }
        for each in kept
    ]


async def show_description(_request: Request) -> Response:
    """Show the OpenAPI description."""
    return _json(HTTPStatus.OK, files("coldseal.service").joinpath("openapi.json").read_bytes())


def _answering(endpoint: Endpoint) -> Endpoint:
    """Turn what an endpoint raises into the answer that the format has for it."""

    @wraps(endpoint)
    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except BodyError as fault:
            # what was not read cannot be told from a next request: the connection ends
            body = encode_refusal(fault.error, detail=fault.detail)
            return _json(fault.status, body, {"Connection": "close"})
        except (StaleError, GapError) as fault:
            return _json(HTTPStatus.CONFLICT, encode_refusal(fault.error, size=fault.size))
        except (TrustError, InputError, UnavailableError) as fault:
            status, error = _judge(fault)
            return _json(status, encode_refusal(error, detail=str(fault)))

    return answer


def _judge(fault: TrustError | InputError | UnavailableError) -> tuple[HTTPStatus, str]:
    """Give status and error for a fault."""
    match fault:
        case NotAdmittedError() | CheckpointSignatureError():
            return HTTPStatus.FORBIDDEN, fault.verdict
        case TrustError():
            return HTTPStatus.UNPROCESSABLE_ENTITY, fault.verdict
        case InputError():
            return HTTPStatus.BAD_REQUEST, "malformed"
        case UnavailableError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"


def _json(status: HTTPStatus, body: bytes, headers: dict[str, str] | None = None) -> Response:
    """Make an answer; one that puts the caller off says until when."""
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        headers = {"Retry-After": str(RETRY_AFTER_S)} | (headers or {})
    return Response(body, status, headers, ANSWER_TYPE)


def _certificate(request: Request) -> bytes | None:
    """Give the certificate that the server put into the scope."""
    found = request.scope.get("extensions", {}).get("coldseal.certificate")
    return found if isinstance(found, bytes) else None


def _peer(request: Request) -> Peer:
    """Read who calls."""
    certificate = _certificate(request)
    try:
        return peer(certificate or b"")
    except InputError as fault:
        raise NotAdmittedError(str(fault)) from fault


def _caller(request: Request, role: str) -> Peer:
    """Read who calls and insist on its role."""
    caller = _peer(request)
    if caller.role != role:
        raise NotAdmittedError(f"{caller.name} is a {caller.role}, expected a {role}")
    return caller


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header allows gzip by its name."""
    codings = (part.replace(" ", "").lower().partition(";q=") for part in accepted.split(","))
    return any(name == "gzip" and (not weighted or weight.strip("0.")) for name, weighted, weight in codings)
