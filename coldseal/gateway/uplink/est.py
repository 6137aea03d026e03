"""The way to an enrolment server: asks for its CA certificates and for certificates of ours (RFC 7030).

Promises that nothing is sent before the server has proven, over TLS 1.3, to be a service of the trusted CA;
that whatever comes back becomes one of three answers; and that a certificate which is given fits what was
asked for. Retries nothing, writes nothing.
"""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Final, NamedTuple

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from coldseal.errors import InputError, TrustError
from coldseal.gateway.egress import Guard
from coldseal.gateway.uplink.http import Context, Way, read_answer
from coldseal.identity import est
from coldseal.identity.peer import Role, identity_of
from coldseal.identity.trust import ChainError, chain_of

_LONGEST_TEXT: Final = 200
_BUSY: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
_RETRY_S: Final = 60.0


class Issued(NamedTuple):
    """A certificate came: the chain as TLS shows it, and what the server shows as its CAs."""

    chain: Sequence[x509.Certificate]
    authorities: Sequence[x509.Certificate]


class Lists(NamedTuple):
    """The revocation lists, PEM, and what the server shows as its CAs."""

    pem: bytes
    authorities: Sequence[x509.Certificate]


class PutOff(NamedTuple):
    """A person must approve; the same request is to be sent again after so many seconds."""

    retry_after_s: float


class Nothing(NamedTuple):
    """Nothing came: a cause of `renewals.CAUSES`, and the reason in words."""

    cause: str
    why: str


class Holder(NamedTuple):
    """For whom a certificate is asked."""

    role: Role
    name: str
    hosts: tuple[str, ...] = ()


class EstWay(Way):
    """A way to one enrolment server; used as ``async with``.

    Args:
        url: the server, as ``https://host:port``.
        context: trusts the server's CA, and shows who asks, if anybody.
        timeout_s: time for one request and its answer.
        guard: the list of ways out.
    """

    def __init__(
        self,
        url: str,
        context: Context | ssl.SSLContext,
        *,
        timeout_s: float,
        guard: Guard | None = None,
    ) -> None:
        """Prepare it; nothing is connected yet."""
        self._url = url.rstrip("/")
        super().__init__(url, timeout_s=timeout_s, context=context, role="service", guard=guard)

    async def renew(
        self, shown: x509.Certificate, key: ec.EllipticCurvePrivateKey, *, now: datetime
    ) -> Issued | PutOff | Nothing:
        """Ask for a certificate in place of the one that this way shows: same subject, same names."""
        return await self._ask(est.SIMPLEREENROLL, lambda: request_like(shown, key), {}, now)

    async def enrol(
        self, holder: Holder, key: ec.EllipticCurvePrivateKey, *, token: bytes | None, now: datetime
    ) -> Issued | PutOff | Nothing:
        """Ask for a first certificate, by a token or by the certificate that this way shows."""
        headers = {}
        if token is not None:
            pair = b64encode(holder.name.encode() + b":" + token).decode()
            headers["Authorization"] = f"Basic {pair}"
        asked = holder.role, holder.name, holder.hosts
        return await self._ask(est.SIMPLEENROLL, lambda: est.make_request(key, *asked), headers, now)

    async def lists(self) -> Lists | Nothing:
        """Ask for the revocation lists; never raises."""
        try:
            authorities = await self._authorities()
            if isinstance(authorities, Nothing):
                return authorities
            status, pem, _ = await self._send("GET", est.LISTS)
            return Lists(pem, authorities) if status == HTTPStatus.OK else _refusal(status, pem)
        except TimeoutError as fault:
            return Nothing("timeout", str(fault) or "no answer in time")
        except InputError as fault:
            return Nothing("bad", str(fault))
        except (aiohttp.ClientError, OSError) as fault:
            return Nothing("unreachable", str(fault) or type(fault).__name__)

    async def _ask(
        self,
        path: str,
        make: Callable[[], x509.CertificateSigningRequest],
        headers: dict[str, str],
        now: datetime,
    ) -> Issued | PutOff | Nothing:
        """Ask; never raises."""
        try:
            return await self._exchange(path, make(), headers, now)
        except TimeoutError as fault:
            return Nothing("timeout", str(fault) or "no answer in time")
        except (InputError, TrustError) as fault:
            return Nothing("bad", str(fault))
        except (aiohttp.ClientError, OSError) as fault:
            return Nothing("unreachable", str(fault) or type(fault).__name__)

    async def _exchange(
        self,
        path: str,
        request: x509.CertificateSigningRequest,
        headers: dict[str, str],
        now: datetime,
    ) -> Issued | PutOff | Nothing:
        """Ask for the CAs, then for the certificate."""
        body = est.encode_request(request)
        authorities = await self._authorities()
        if isinstance(authorities, Nothing):
            return authorities
        headers = {**headers, "Content-Type": est.REQUEST_TYPE, **est.ENCODING}
        status, answer, retry_after = await self._send("POST", path, body, headers)
        if status == HTTPStatus.ACCEPTED:
            return PutOff(float(retry_after) if retry_after.isdecimal() else _RETRY_S)
        if status != HTTPStatus.OK:
            return _refusal(status, answer)
        issued = est.parse_certificates(answer)
        try:
            return Issued(_fitting(issued, authorities, request, now), authorities)
        except ChainError:  # the CA was rolled over between the two answers
            authorities = await self._authorities()
            if isinstance(authorities, Nothing):
                return authorities
            return Issued(_fitting(issued, authorities, request, now), authorities)

    async def _authorities(self) -> list[x509.Certificate] | Nothing:
        """Ask for what the server shows as its CAs.

        Raises:
            InputError: the answer holds no certificates.
        """
        status, shown, _ = await self._send("GET", est.CACERTS)
        return est.parse_certificates(shown) if status == HTTPStatus.OK else _refusal(status, shown)

    async def _send(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, str]:
        """Send one request; gives status, body and Retry-After."""
        async with self._session.request(
            method, self._url + path, data=body, headers=headers, allow_redirects=False, ssl=self.tls()
        ) as response:
            found = await read_answer(response, est.MAX_CERTIFICATES)
            return response.status, found, response.headers.get("Retry-After", "")


def request_like(shown: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """Ask for the same subject and names that a certificate has (RFC 7030 4.2.2).

    Raises:
        InputError: the certificate carries no identity.
    """
    identity_of(shown)
    names = shown.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    builder = x509.CertificateSigningRequestBuilder().subject_name(shown.subject)
    return builder.add_extension(names, critical=False).sign(key, hashes.SHA256())


def _refusal(status: int, body: bytes) -> Nothing:
    """Say what the server said."""
    text = body[:_LONGEST_TEXT].decode(errors="replace").strip().replace("\n", " ")
    return Nothing("busy" if status in _BUSY else "refused", f"status {status}: {text}")


def _fitting(
    issued: Sequence[x509.Certificate],
    authorities: Sequence[x509.Certificate],
    request: x509.CertificateSigningRequest,
    now: datetime,
) -> list[x509.Certificate]:
    """Find the certificate that was asked for, and its chain.

    Raises:
        InputError: none is for the key, or it is somebody else's, or does not count now.
        ChainError: it does not descend from a CA that the server shows.
    """
    leaf = next((each for each in issued if each.public_key() == request.public_key()), None)
    if leaf is None:
        raise InputError("enrolment", "certificate", "for another key", "for the key that asked")
    if identity_of(leaf) != identity_of(request):
        raise InputError("enrolment", "certificate", identity_of(leaf), str(identity_of(request)))
    if not leaf.not_valid_before_utc <= now < leaf.not_valid_after_utc:
        span = f"{leaf.not_valid_before_utc} to {leaf.not_valid_after_utc}"
        raise InputError("enrolment", "validity", span, f"one that holds now, {now}")
    return chain_of(leaf, [*issued, *authorities], now=now)
