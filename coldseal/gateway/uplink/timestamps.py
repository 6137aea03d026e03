"""Has each segment-closing checkpoint stamped by a timestamp authority (RFC 3161), oldest first.

Only what has been verified is kept. An authority that is away holds up nothing: delivery goes on beside it,
and what has no timestamp gets one later. Reads the log and never writes it.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
from cryptography.x509 import Certificate

from coldseal.core.log.checkpoint import parse_note
from coldseal.core.log.delivery.sender import RetryPolicy
from coldseal.core.log.delivery.wire import Kind, Unavailable
from coldseal.core.log.timestamp import (
    NONCE_BYTES,
    BadTimestampError,
    Timestamp,
    encode_request,
    parse_response,
    parse_roots,
    verify_timestamp,
)
from coldseal.errors import ColdsealError, InputError, OperatorError
from coldseal.gateway.egress import Guard
from coldseal.gateway.endpoints import endpoint_of
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.authority import AuthorityChannel
from coldseal.gateway.uplink.tokens import StoredTimestamp, TimestampStatus, Tokens
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from coldseal.gateway.store.file_keys import StoreKey
    from coldseal.gateway.tables.outward import Timestamp as Settings

POLL_S: Final = 5.0
"""Pause before the log is looked at again for the end of a segment."""
RETRY: Final = RetryPolicy(initial_s=1.0, max_s=300.0)
BAD: Final = "bad"
"""Cause of a failure: the timestamp does not hold."""
STORE: Final = "store"
"""Cause of a failure: the log or the timestamps on disk cannot be read or written."""

Result = TypeVar("Result")

Post = Callable[[bytes], Awaitable[bytes | Unavailable]]
"""Posts a request to the authority and gives its answer; never raises."""

_log = Log("uplink.timestamps")


class _Due(NamedTuple):
    """A checkpoint that has no timestamp yet."""

    size: int
    text: bytes


class _Failure(NamedTuple):
    """Why there is no timestamp."""

    cause: str
    detail: str
    size: int = 0  # of the checkpoint whose timestamp does not hold


class Stamping:
    """Has one log's segment ends stamped by one authority.

    Args:
        reader: the log; for this object's own thread.
        tokens: where timestamps and state are kept; likewise.
        post: posts a request and gives the answer; never raises.
        roots: certificates that the authority must descend from.
        chance: gives a number in [0, 1) for each wait.
        draw: gives that many random bytes.
        now_ms: wall time, Unix milliseconds.
        retry: how long to wait after a failure.
        poll_s: how long to wait where nothing is due.
    """

    def __init__(
        self,
        reader: LogReader,
        tokens: Tokens,
        post: Post,
        roots: tuple[Certificate, ...],
        *,
        chance: Callable[[], float],
        draw: Callable[[int], bytes],
        now_ms: Callable[[], int],
        retry: RetryPolicy = RETRY,
        poll_s: float = POLL_S,
    ) -> None:
        """Take the parts, and go on from the state that was written last."""
        self._reader, self._tokens, self._post, self._roots = reader, tokens, post, roots
        self._chance, self._draw, self._now_ms = chance, draw, now_ms
        self._retry, self._poll_s = retry, poll_s
        self._settled: set[int] = set()
        self._failures = 0
        self.status = tokens.status()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="uplink-timestamps")

    async def close(self) -> None:
        """Let what is being read or written end; files may be closed then."""
        await asyncio.to_thread(self._thread.shutdown)

    async def run(self) -> None:
        """Have what is due stamped, for ever."""
        while True:
            pause_s = await self.step()
            await asyncio.sleep(pause_s)

    async def step(self) -> float:
        """Have the oldest checkpoint stamped that is due; give the pause before the next, in seconds."""
        try:
            due = await self._aside(self._find)
            if due is None:
                return self._poll_s
            found = await self._stamp(due)
            if isinstance(found, Timestamp):
                return 0.0
        except ColdsealError as fault:  # also a damaged segment: delivery says so where it meets it
            found = _Failure(STORE, str(fault))
        self._failures += 1
        self._fail(found)
        try:
            await self._aside(self._tokens.note, self.status)
        except ColdsealError as fault:
            self._fail(_Failure(STORE, str(fault)))
        return self._retry.delay(self._failures, self._chance())

    async def _aside(self, work: Callable[..., Result], *arguments: object) -> Result:
        """Run a function in the one thread that uses this log and these timestamps."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _find(self) -> _Due | None:
        """Find the oldest segment end that can be stamped now, and note which one has waited longest.

        Raises:
            ColdsealError: all that wait cannot be read.
        """
        self._settled |= self._tokens.sizes()
        found, waiting, damage = None, 0, None
        for size in self._reader.segment_ends():
            if size in self._settled:
                continue
            try:
                stored = self._reader.checkpoint_at_most(size)
            except ColdsealError as fault:  # those behind a damaged segment are stamped all the same
                waiting, damage = waiting or size, damage or fault
                continue
            if stored is not None and stored.size == size:
                found, waiting = _Due(size, parse_note(stored.note).text), waiting or size
                break
            self._settled.add(size)  # an end without a checkpoint of its own: none is to be stamped
        if waiting != self.status.waiting:
            self.status = msgspec.structs.replace(self.status, waiting=waiting)
            self._tokens.note(self.status)
        if found is None and damage is not None:
            raise damage
        return found

    async def _stamp(self, due: _Due) -> Timestamp | _Failure:
        """Ask for a timestamp, verify it, and keep it.

        Raises:
            ColdsealError: it cannot be kept.
        """
        nonce = int.from_bytes(self._draw(NONCE_BYTES))
        answer = await self._post(encode_request(due.text, nonce))
        if isinstance(answer, Unavailable):
            return _Failure(answer.kind, answer.cause)
        try:
            response = parse_response(answer)
            if response.token is None:
                return _Failure(Kind.REFUSED, response.reason)
            found = verify_timestamp(answer, due.text, self._roots, nonce=nonce)
        except (InputError, BadTimestampError) as fault:
            return _Failure(BAD, str(fault), due.size)
        before = self.status
        status = TimestampStatus(kept=before.kept + 1, failed=before.failed)
        stored = StoredTimestamp(due.size, round(found.t.timestamp() * 1000), answer)
        await self._aside(self._tokens.keep, stored, status)
        self.status, self._failures = status, 0
        _log.emit(events.TIMESTAMP_KEPT, size=due.size, t=found.t.isoformat(), authority=found.tsa)
        if before.failed_since_ms:
            lost_s = (self._now_ms() - before.failed_since_ms) / 1000
            _log.emit(events.TIMESTAMPS_RESTORED, lost_s=lost_s)
        return found

    def _fail(self, failure: _Failure) -> None:
        """Note a failure; an outage is said once, an answer that does not hold each time."""
        before, cause = self.status, str(failure.cause)
        self.status = msgspec.structs.replace(
            before,
            failed=before.failed | {cause: before.failed.get(cause, 0) + 1},
            fault=failure.detail,
            failed_since_ms=before.failed_since_ms or self._now_ms(),
        )
        if cause == BAD:
            _log.emit(events.TIMESTAMP_BAD, size=failure.size, detail=failure.detail)
        elif not before.failed_since_ms:
            _log.emit(events.TIMESTAMPS_LOST, cause=cause, detail=failure.detail)


async def stamp_segments(
    settings: Settings, directory: Path, log: Path, key: StoreKey, *, guard: Guard | None = None
) -> None:
    """Have the segment ends of one log stamped until cancelled; return at once where no authority is set.

    Args:
        settings: the authority.
        directory: the gateway's data folder, where the receipts' file is already.
        log: the log's folder.
        key: the store key.
        guard: the list of ways out.

    Raises:
        OperatorError: the certificates cannot be read.
        UnavailableError: the receipts' file cannot be opened.
    """
    if not settings.url:
        return
    roots = load_roots(settings.ca)
    with closing(LogReader(log, key)) as reader, closing(Tokens(directory, key)) as tokens:
        async with AuthorityChannel(
            settings.url, timeout_s=settings.timeout_s, ca=_address_ca(settings.url, guard), guard=guard
        ) as channel:
            stamping = Stamping(
                reader,
                tokens,
                channel.post,
                roots,
                chance=random.SystemRandom().random,
                draw=secrets.token_bytes,
                now_ms=lambda: time.time_ns() // 10**6,
            )
            try:
                await stamping.run()
            finally:
                await stamping.close()


def _address_ca(url: str, guard: Guard | None) -> Path | None:
    """Give the CA of the authority's address, where the list of ways out names one.

    Raises:
        OperatorError: its file cannot be read.
    """
    path = None if guard is None else guard.rule(endpoint_of(url)).ca
    if path is not None and not path.is_file():
        raise OperatorError(f"egress.allow of {url}: {path} cannot be read", "Name a PEM file with its CA")
    return path


def load_roots(path: Path | None) -> tuple[Certificate, ...]:
    """Read the certificates that the authority must descend from.

    Raises:
        OperatorError: they are missing or malformed.
    """
    hint = "Set timestamp.ca to a PEM file with the authority's root certificate"
    if path is None:
        raise OperatorError("timestamp.ca is missing, but timestamp.url is set", hint)
    try:
        return parse_roots(path.read_bytes())
    except (OSError, InputError) as fault:
        raise OperatorError(f"timestamp.ca {path}: {fault}", hint) from fault
