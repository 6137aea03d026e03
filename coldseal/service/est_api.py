"""The face of Enrolment over Secure Transport (RFC 7030): four operations, and the revocation lists.

Promises bounded bodies, memory and pace for each caller, and that a caller whose right does not count learns
nothing but that. Decides nothing about a request: the registrar does.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import time
from collections.abc import Awaitable, Callable
from functools import wraps
from http import HTTPStatus
from typing import Final

from cryptography import x509
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from coldseal.core.attestation.messages import MAX_BODY as MAX_QUOTE
from coldseal.core.attestation.messages import MEDIA_TYPE
from coldseal.core.attestation.quotes import AttestationError
from coldseal.core.log.delivery.wire import encode_refusal
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.identity import est
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service import bodies
from coldseal.service.enrolments import EnrolmentError, WaitingError, WrongTokenError
from coldseal.service.pace import Pace, PutOffError
from coldseal.service.registrar import Caller, Registrar
from coldseal.service.room import BodyError, Room

MAX_BODIES: Final = 64
"""Requests that are taken in at one time."""
BODY_TIMEOUT_S: Final = 10.0
MAX_SECRET: Final = 1_024
"""Bytes of an Authorization header."""
LISTS_TYPE: Final = "application/x-pem-file"
_CHALLENGE: Final = {"WWW-Authenticate": 'Basic realm="coldseal enrolment", charset="UTF-8"'}
_log = Log("service.est")

Endpoint = Callable[[Request], Awaitable[Response]]
Step = Callable[[bytes, Caller], x509.Certificate]
Recovery = Callable[[str, str, bytes], Awaitable[bytes]]


class EstApi:
    """The routes over the registrar.

    Args:
        registrar: enrols and renews.
        metrics: counts what becomes of requests.
        per_minute: requests that one caller may make in a minute.
        retry_after_s: what a caller that waits for a person is told.
        now_s: seconds that only go forward.
    """

    def __init__(
        self,
        registrar: Registrar,
        metrics: ServiceMetrics,
        *,
        per_minute: int,
        retry_after_s: int,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the parts."""
        self._registrar, self._metrics = registrar, metrics
        self._retry_after_s, self._now_s = retry_after_s, now_s
        self._pace = Pace(per_minute)
        self._room = Room(MAX_BODIES * est.MAX_REQUEST, MAX_BODIES)
        self._is_failing = False
        self.recovery: Recovery | None = None
        """Answers a gateway that proves itself by its chip: its name, the step, the message."""

    def app(self) -> Starlette:
        """Give the ASGI application."""
        routes = {
            ("GET", est.CACERTS): self.show_cacerts,
            ("GET", est.CSRATTRS): self.show_attributes,
            ("POST", est.SIMPLEENROLL): self.enrol,
            ("POST", est.SIMPLEREENROLL): self.reenrol,
            ("GET", est.LISTS): self.show_lists,
            ("POST", "/v1/recovery/{gateway}/{what}"): self.recover,
        }
        return Starlette(
            routes=[
                Route(path, self._answering(each), methods=[verb]) for (verb, path), each in routes.items()
            ]
        )

    async def show_cacerts(self, _request: Request) -> Response:
        """Give what callers are to trust; nobody has to prove who it is (RFC 7030 4.1.2)."""
        certificates = await asyncio.to_thread(self._registrar.cacerts)
        return Response(est.encode_certificates(certificates), 200, est.ENCODING, est.CACERTS_TYPE)

    async def show_attributes(self, _request: Request) -> Response:
        """Say what a request should have."""
        return Response(est.encode_attributes(), 200, est.ENCODING, est.CSRATTRS_TYPE)

    async def show_lists(self, _request: Request) -> Response:
        """Give the revocation lists."""
        return Response(await asyncio.to_thread(self._registrar.lists), 200, None, LISTS_TYPE)

    async def enrol(self, request: Request) -> Response:
        """Give a first certificate: simpleenroll."""
        caller = _caller(request, with_token=True)
        if caller.token is None and caller.certificate is None:
            return _refusal(HTTPStatus.UNAUTHORIZED, "a one-time token or a factory certificate", _CHALLENGE)
        return await self._issue(request, caller, self._registrar.enrol)

    async def reenrol(self, request: Request) -> Response:
        """Give a new certificate for one that is in force: simplereenroll."""
        caller = _caller(request, with_token=False)
        if caller.certificate is None:
            return _refusal(HTTPStatus.FORBIDDEN, "a renewal shows the certificate that is in force")
        return await self._issue(request, caller, self._registrar.reenrol)

    async def recover(self, request: Request) -> Response:
        """Give a one-time token to a gateway that proves itself by its chip (docs/specs/platform.md)."""
        caller = _caller(request, with_token=False)
        if self.recovery is None:
            return _refusal(HTTPStatus.NOT_FOUND, "no gateway is recovered by its chip here")
        bodies.require_type(request, MEDIA_TYPE)
        size = bodies.announced(request, MAX_QUOTE)
        async with self._room.take(size):
            body = await bodies.read(request, size, timeout_s=BODY_TIMEOUT_S)
            try:
                named = request.path_params
                answer = await self.recovery(named["gateway"], named["what"], body)
            except AttestationError as fault:
                self._metrics.attestation_refusals.labels(fault.verdict).inc()
                self._guessed(request, caller)
                return Response(encode_refusal(fault.verdict, detail=""), 422, media_type=MEDIA_TYPE)
        return Response(answer, 200, media_type=MEDIA_TYPE)

    async def _issue(self, request: Request, caller: Caller, step: Step) -> Response:
        """Read a request and have it decided, away from the loop: keys and disks take their time."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != est.REQUEST_TYPE:
            what = f"expected {est.REQUEST_TYPE}"
            raise BodyError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", what)
        size = bodies.announced(request, est.MAX_REQUEST)
        async with self._room.take(size):
            body = await bodies.read(request, size, timeout_s=BODY_TIMEOUT_S)
            try:
                leaf = await asyncio.to_thread(step, body, caller)
            except WrongTokenError:
                self._guessed(request, caller)
                raise
        self._pace.proved(_pace_name(request))
        self._is_failing = False
        self._metrics.enrolments.labels("issued").inc()
        return Response(est.encode_certificates([leaf]), 200, est.ENCODING, est.CERTIFICATES_TYPE)

    def _guessed(self, request: Request, caller: Caller) -> None:
        """Count a wrong token; the caller pauses."""
        pause = self._pace.guessed(_pace_name(request), self._now_s())
        if pause:
            _log.emit(events.ENROLMENT_PUT_OFF, address=caller.address, wait_s=round(pause))

    def _answering(self, endpoint: Endpoint) -> Endpoint:
        """Bound the pace, and turn what an endpoint raises into the answer that the protocol has for it."""

        @wraps(endpoint)
        async def answer(request: Request) -> Response:
            try:
                self._pace.require(_pace_name(request), self._now_s())
                return await endpoint(request)
            except PutOffError as fault:
                self._metrics.enrolments.labels("put-off").inc()
                after = {"Retry-After": str(round(fault.wait_s) + 1), "Connection": "close"}
                return _refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", after)
            except BodyError as fault:
                self._metrics.enrolments.labels("refused").inc()
                return _refusal(fault.status, fault.detail, {"Connection": "close"})
            except WaitingError:
                self._metrics.enrolments.labels("waiting").inc()
                return Response(b"", HTTPStatus.ACCEPTED, {"Retry-After": str(self._retry_after_s)})
            except (EnrolmentError, InputError) as fault:
                self._metrics.enrolments.labels("refused").inc()
                return _judge(fault)
            except (OperatorError, UnavailableError) as fault:
                self._metrics.enrolments.labels("failed").inc()
                if not self._is_failing:
                    _log.emit(events.ENROLMENT_FAILED, error=str(fault))
                self._is_failing = True
                after = {"Retry-After": str(self._retry_after_s)}
                return _refusal(HTTPStatus.SERVICE_UNAVAILABLE, "the issuing CA is away for now", after)

        return answer


def _judge(fault: EnrolmentError | InputError) -> Response:
    """Give the answer to a request that is refused."""
    if isinstance(fault, WrongTokenError):
        return _refusal(HTTPStatus.UNAUTHORIZED, "the token does not count", _CHALLENGE)
    if isinstance(fault, InputError):
        return _refusal(HTTPStatus.BAD_REQUEST, str(fault))
    return _refusal(HTTPStatus.FORBIDDEN, f"refused: {fault.reason}")


def _refusal(status: HTTPStatus, text: str, headers: dict[str, str] | None = None) -> Response:
    """Refuse in plain text (RFC 7030 4.2.3)."""
    return Response(f"{text}\n", status, headers, "text/plain")


def _address(request: Request) -> str:
    """Give the address that a request comes from."""
    return request.client.host if request.client is not None else ""


def _certificate(request: Request) -> bytes | None:
    """Give the certificate that TLS verified."""
    found = request.scope.get("extensions", {}).get("coldseal.certificate")
    return found if isinstance(found, bytes) else None


def _pace_name(request: Request) -> str:
    """Say whose pace counts: a certificate's, as many may share one address; else the address's."""
    certificate = _certificate(request)
    return _address(request) if certificate is None else hashlib.sha256(certificate).hexdigest()


def _caller(request: Request, *, with_token: bool) -> Caller:
    """Say who calls, by what TLS verified and by HTTP Basic."""
    header = request.headers.get("authorization", "") if with_token else ""
    return Caller(_address(request), _certificate(request), _parse_basic(header) if header else None)


def _parse_basic(header: str) -> tuple[str, str]:
    """Read name and token (RFC 7617); what is malformed counts as a wrong token."""
    scheme, _, text = header.partition(" ")
    if scheme.lower() != "basic" or len(header) > MAX_SECRET:
        return "", ""
    try:
        name, _, token = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return name, token
