"""The HTTPS way to a sink: parcels are posted, and its answer is read as a verdict.

Promises that nothing is sent before the peer has proven, over TLS 1.3, to be the allowed endpoint; that
each wait has an end; and that the key goes along. The token is in no error. Retries nothing.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import aiohttp

from coldseal.core.routing import epcis
from coldseal.errors import ColdsealError, InputError, OperatorError
from coldseal.gateway.routing.sink import Away, Refused, Verdict
from coldseal.gateway.uplink.http import Way, read_answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.gateway.egress import Guard
    from coldseal.gateway.routing.form import Body, Form
    from coldseal.gateway.routing.sink import Parcel
    from coldseal.gateway.tables.routes import Route

MAX_ANSWER: Final = 65_536
MAX_DETAIL: Final = 300
"""Characters of an answer that are kept."""

_CAUSES: Final = {
    **dict.fromkeys((401, 403, 407), "denied"),
    **dict.fromkeys((404, 405, 410, 411, 415, 421, 426), "address"),
    **dict.fromkeys((408, 425, 429, 503), "busy"),
}
"""Answers about the way, not about an entry: another entry would get the same one. A later try may not."""

_EPCIS: Final = {
    "GS1-EPCIS-Version": epcis.VERSION,
    "GS1-CBV-Version": epcis.VERSION,
    "GS1-EPCIS-Capture-Error-Behaviour": "rollback",
}
_SECONDS: Final = re.compile(r"[0-9]{1,6}")
_GOOD, _REDIRECT, _CLIENT, _SERVER = 200, 300, 400, 500


class HttpSink(Way):
    """One sink; `send` opens its connection, and opens it again.

    Args:
        route: the route.
        form: its form.
        context: gives the TLS context for the next connection.
        token: gives the bearer token; None without one.
        guard: the list of ways out.
    """

    def __init__(
        self,
        route: Route,
        form: Form,
        *,
        context: Callable[[], ssl.SSLContext],
        token: Callable[[], str] | None,
        guard: Guard,
    ) -> None:
        """Prepare it; nothing is connected yet."""
        super().__init__(route.url, timeout_s=route.timeout_s, context=context, guard=guard)
        self._url, self._form = route.url, form
        self._more = _EPCIS if route.sink == "epcis" else {}
        self._read_token, self._token = token, ""
        self._is_open = False

    async def send(self, parcels: Sequence[Parcel]) -> Verdict:
        """Post them in one request."""
        body = self._form.body(parcels)
        try:
            if not self._is_open:
                await self.__aenter__()
                self._is_open = True
            headers = self._headers(body)
            async with self._session.post(
                self._url, data=body.content, headers=headers, allow_redirects=False, ssl=self.tls()
            ) as response:
                answer = await read_answer(response, MAX_ANSWER)
                wait = response.headers.get("Retry-After", "")
                return self._judge(response.status, answer, wait, len(parcels))
        except TimeoutError as fault:
            return Verdict(0, Away("timeout", str(fault) or "no answer in time"))
        except InputError as fault:
            return Verdict(0, Away("answer", str(fault)))
        except OperatorError as fault:
            return Verdict(0, Away("settings", str(fault)))
        except (aiohttp.ClientError, ColdsealError, OSError) as fault:
            return Verdict(0, Away("unreachable", str(fault) or type(fault).__name__))

    async def close(self) -> None:
        """Close its connection."""
        if self._is_open:
            self._is_open = False
            await self.__aexit__(None, None, None)

    def _headers(self, body: Body) -> Mapping[str, str]:
        """Say what is posted, by whom, and by which key it is known."""
        if self._read_token is not None and not self._token:
            self._token = self._read_token()
        allowed = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return {
            "Content-Type": body.media_type,
            "Accept": "application/json",
            "User-Agent": "coldseal",
            "Idempotency-Key": f'"{body.key}"',
            **self._more,
            **allowed,
        }

    def _judge(self, status: int, answer: bytes, wait: str, count: int) -> Verdict:
        """Read an answer."""
        if _GOOD <= status < _REDIRECT:
            return Verdict(count)
        said = f"status {status}: {shorten(answer)}".rstrip(": ")
        if status in _CAUSES or not _CLIENT <= status < _SERVER:
            self._token = ""  # it may have been changed
            cause = _CAUSES.get(status, "address" if status < _CLIENT else "fault")
            return Verdict(0, Away(cause, said, int(wait) if _SECONDS.fullmatch(wait) else 0))
        return Verdict(0, Refused(str(status), shorten(answer), count))


def shorten(answer: bytes) -> str:
    """Give the beginning of an answer as one line of text."""
    text = answer[: 4 * MAX_DETAIL].decode(errors="replace")
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:MAX_DETAIL]
