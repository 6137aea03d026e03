"""The HTTPS way to a sink: parcels are posted, and its answer is read as a verdict.

Promises that nothing is sent before the peer has proven, over TLS 1.3, to be the allowed endpoint; that
each wait has an end; and that the key goes along. The token is in no error. What an EPCIS repository takes to
look at later is asked after. Retries nothing.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin

import aiohttp
import msgspec

from coldseal.core.routing import epcis
from coldseal.errors import ColdsealError, InputError, OperatorError
from coldseal.gateway.endpoints import endpoint_of
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
_GOOD, _LATER, _REDIRECT, _CLIENT, _SERVER = 200, 202, 300, 400, 500
_FIRST_LOOK_S: Final = 0.05
_LONGEST_LOOK_S: Final = 2.0


class Job(msgspec.Struct):
    """What an EPCIS repository says of a capture job (EPCIS 2.0, 12.6.2)."""

    success: bool
    running: bool = False
    errors: Any = None


_job: Final = msgspec.json.Decoder(Job)


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
        self._url, self._form, self._wait_s = route.url, form, route.timeout_s
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
                wait, job = (response.headers.get(name, "") for name in ("Retry-After", "Location"))
                verdict = self._judge(response.status, answer, wait, len(parcels))
                is_later = bool(self._more and job) and response.status == _LATER
            return await self._outcome(urljoin(self._url, job), verdict) if is_later else verdict
        except TimeoutError as fault:
            return Verdict(0, Away("timeout", str(fault) or "no answer in time"))
        except InputError as fault:
            return Verdict(0, Away("answer", str(fault)))
        except OperatorError as fault:
            return Verdict(0, Away("settings", str(fault)))
        except (aiohttp.ClientError, ColdsealError, OSError) as fault:
            return Verdict(0, Away("unreachable", str(fault) or type(fault).__name__))

    async def _outcome(self, url: str, taken: Verdict) -> Verdict:
        """Ask after a capture job until it has ended; where it cannot be, the 202 has taken all."""
        loop, pause = asyncio.get_running_loop(), _FIRST_LOOK_S
        until = loop.time() + self._wait_s
        while loop.time() < until and endpoint_of(url) == self._endpoint:
            async with self._session.get(
                url, headers=self._allowed(), allow_redirects=False, ssl=self.tls()
            ) as response:
                answer = await read_answer(response, MAX_ANSWER)
            try:
                job = _job.decode(answer)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                return taken
            if not job.running:
                said = shorten(msgspec.json.encode(job.errors))
                return taken if job.success else Verdict(0, Refused("capture", said, taken.taken))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_LOOK_S)
        return taken

    async def close(self) -> None:
        """Close its connection."""
        if self._is_open:
            self._is_open = False
            await self.__aexit__(None, None, None)

    def _headers(self, body: Body) -> Mapping[str, str]:
        """Say what is posted, by whom, and by which key it is known."""
        return {"Content-Type": body.media_type, "Idempotency-Key": f'"{body.key}"', **self._allowed()}

    def _allowed(self) -> Mapping[str, str]:
        """Say who asks, and what is understood."""
        if self._read_token is not None and not self._token:
            self._token = self._read_token()
        allowed = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        return {"Accept": "application/json", "User-Agent": "coldseal", **self._more, **allowed}

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
