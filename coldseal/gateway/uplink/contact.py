"""The first word with the service: does it know more of our log, or another one, than we hold ourselves?

Promises that nothing is delivered before that is answered, and that only a proof counts: a checkpoint of this
log that the witness cosigned, and the log's own keys where it bears a line of theirs. Asks within a bounded
time, with the standard library alone: the intake asks too, before it takes readings.
"""

from __future__ import annotations

import asyncio
import ssl
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import (
    Algorithm,
    open_checkpoint,
    parse_checkpoint_text,
    parse_note,
    parse_vkey,
)
from coldseal.core.log.delivery.wire import MAX_ANSWER, Answer, Receipt, Refused, Unavailable
from coldseal.core.log.keys import KeyChangeError, history_of
from coldseal.errors import InputError, OperatorError, TrustError, UnavailableError
from coldseal.gateway.egress import Guard, RefusedError
from coldseal.gateway.endpoints import endpoint_of
from coldseal.gateway.refusal import Refusal, RolledBackError, write_refusal
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.guarded import connect
from coldseal.gateway.uplink.names import guard_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from coldseal.core.log.checkpoint import VerifierKey
    from coldseal.gateway.uplink.runner import Post

SERVICE: Final = "service"
RECEIPTS: Final = "receipts"

_WHAT: Final = "the service"


class Contact:
    """What is sent goes through here: at each new contact with the service, the logs are compared first.

    Args:
        post: sends a batch.
        ask: gives the service's newest receipt of this log, None if it has given none; blocks.
        open_reader: opens the log.
        origin: its name.
        witness: the configured witness.
        data: where a refusal is written down.
        now_ms: wall time, Unix milliseconds.
    """

    def __init__(
        self,
        post: Post,
        ask: Callable[[], bytes | None],
        open_reader: Callable[[], LogReader],
        *,
        origin: str,
        witness: VerifierKey,
        data: Path,
        now_ms: Callable[[], int],
    ) -> None:
        """Begin without contact."""
        self._post, self._ask, self._open_reader = post, ask, open_reader
        self._origin, self._witness, self._data, self._now_ms = origin, witness, data, now_ms
        self._is_met = False

    async def post(self, body: bytes, left: asyncio.Event) -> Answer:
        """Send a batch, unless the service proves that this log was put back to an older state."""
        if not self._is_met:
            refused = await asyncio.to_thread(self._compare)
            if refused is not None:
                return refused
        answer = await self._post(body, left)
        self._is_met = self._is_met and not isinstance(answer, Unavailable)
        if not isinstance(answer, Receipt | Unavailable):  # the service knows something else than we thought
            await asyncio.to_thread(self._compare)
        return answer

    def _compare(self) -> Refused | None:
        """Ask, and write down what follows; a service that is away is asked again."""
        try:
            note = self._ask()
            with closing(self._open_reader()) as reader:
                found = None if note is None else self._judge(reader, note)
        except (UnavailableError, InputError):
            return None
        except TrustError as fault:
            return Refused(fault.verdict, str(fault))
        self._is_met = found is None
        if found is None:
            return None
        write_refusal(self._data, found)
        return Refused(RolledBackError.verdict, found.why)

    def _judge(self, reader: LogReader, note: bytes) -> Refusal | None:
        """Hold the service's receipt against the log."""
        return disagreement(reader, self._origin, note, self._witness, source=SERVICE, now_ms=self._now_ms())


def open_key(where: str, text: str) -> VerifierKey:
    """Read a witness's key from the configuration.

    Raises:
        OperatorError: it is none, or no cosigner's.
    """
    hint = f"Set {where} to the line that `coldseal service init` prints"
    try:
        key = parse_vkey(text)
    except InputError as error:
        raise OperatorError(f"{where}: {error}", hint) from error
    if key.algorithm != Algorithm.COSIGNATURE:
        raise OperatorError(f"{where} {text!r} is no cosigner's key", hint)
    return key


def ask_note(
    url: str, origin: str, context: ssl.SSLContext, *, timeout_s: float, guard: Guard | None = None
) -> bytes | None:
    """Ask the service for its newest receipt of a log; blocks.

    Args:
        url: the service, as ``https://host:port``.
        origin: the log.
        context: shows our certificate and trusts only the service's CA.
        timeout_s: bound of each wait.
        guard: the list of ways out; None allows the service and nothing else.

    Returns:
        The note, unverified; None if it gave no receipt yet.

    Raises:
        UnavailableError: it is away, is no service, or its answer makes no sense.
    """
    try:
        endpoint = endpoint_of(url)
        connection = HTTPConnection(endpoint.host, endpoint.port, timeout=timeout_s)
        with closing(connection):
            connection.sock = connect(
                guard or guard_for(url), endpoint, context, SERVICE, timeout_s=timeout_s
            )
            connection.request("GET", f"/v1/log?origin={quote(origin, safe='')}")
            with connection.getresponse() as response:
                body = response.read(MAX_ANSWER)
                if response.status != HTTPStatus.OK:
                    raise UnavailableError(_WHAT, f"status {response.status}")
        note = canonical.parse(body, where="answer").get("checkpoint")
    except TimeoutError as fault:
        raise UnavailableError(_WHAT, "no answer in time") from fault
    except (OSError, HTTPException, InputError, RefusedError) as fault:
        raise UnavailableError(_WHAT, str(fault) or type(fault).__name__) from fault
    return note.encode() if isinstance(note, str) else None


def disagreement(
    reader: LogReader, origin: str, note: bytes, witness: VerifierKey | None, *, source: str, now_ms: int
) -> Refusal | None:
    """Hold a receipt against the log on disk.

    Args:
        reader: the log; what it holds is looked at now, so the note must be from before.
        origin: its name; a receipt of another log says nothing.
        note: a checkpoint with the witness's cosignature.
        witness: the configured witness; None for a receipt that was verified before.
        source: who had it: `SERVICE` or `RECEIPTS`.
        now_ms: UTC now, Unix milliseconds.

    Returns:
        Why the log must not go on; None if the receipt is of a state that the log has been in.

    Raises:
        InputError: the note is malformed.
        CheckpointSignatureError: the witness did not cosign it, or the log's own key did not sign it.
        UnavailableError, TrustError: the log cannot be read.
    """
    if witness is not None:
        open_checkpoint(note, [witness], [witness])
    checkpoint = parse_checkpoint_text(parse_note(note).text)
    if checkpoint.origin != origin:
        return None
    verify_own_lines(note, own_keys(reader, origin))
    held = reader.size()
    try:
        if checkpoint.size <= held and reader.root(checkpoint.size) == checkpoint.root:
            return None
    except LostError:  # over a hole that the log states: there is nothing to compare
        return None
    return Refusal(
        origin=origin,
        found_ms=now_ms,
        held=held,
        known=checkpoint.size,
        root=checkpoint.root.hex(),
        source=source,
        note=note.decode(),
    )


def own_keys(reader: LogReader, origin: str) -> tuple[VerifierKey, ...]:
    """Give all checkpoint keys that a log names; none where it holds no genesis that can be read."""
    try:
        history = history_of(origin, reader.settings() or reader.read(0, max_entries=1))
    except (InputError, KeyChangeError):
        return ()
    return tuple(key for keys in history.all() for key in keys.checkpoint)


def verify_own_lines(note: bytes, keys: Sequence[VerifierKey]) -> int:
    """Check the lines of a log's known keys in a note; a line of another key of that log is passed over.

    Returns:
        How many there are.

    Raises:
        CheckpointSignatureError: one does not verify.
    """
    parsed = parse_note(note)
    known = {(key.name, key.id): key for key in keys}
    found = 0
    for line in parsed.signatures:
        key = known.get((line.name, line.key_id))
        if key is not None:
            key.verify(parsed.text, line)
            found += 1
    return found
