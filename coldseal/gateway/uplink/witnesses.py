"""Asks further witnesses to cosign: posts the newest checkpoints, keeps their cosignatures beside receipts.

Follows the pure machine `coldseal.core.log.cosigning`. All witnesses are asked for the same checkpoints, so
that one note carries all cosignatures. A witness that is away or disputes this log holds up nobody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

from coldseal.core.log.checkpoint import (
    Checkpoint,
    VerifierKey,
    add_signature,
    parse_checkpoint_text,
    parse_note,
)
from coldseal.core.log.cosigning import (
    CORRECTED,
    Answer,
    Standing,
    Step,
    WitnessRolledBackError,
    begin,
    resume,
    settle,
)
from coldseal.core.log.delivery.sender import RetryPolicy
from coldseal.core.log.merkle import consistency_proof
from coldseal.core.log.witness import encode_request
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.config import GatewayConfig
from coldseal.gateway.egress import Guard
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.tables.outward import FurtherWitness
from coldseal.gateway.tables.outward import Uplink as UplinkSettings
from coldseal.gateway.uplink.contact import open_key
from coldseal.gateway.uplink.cosignatures import StoredCosignature, UplinkEvidence, WitnessStatus
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.renewal import Renewal
from coldseal.gateway.uplink.rounds import Rounds
from coldseal.gateway.uplink.runner import POLL_S, Bell, Uplink
from coldseal.gateway.uplink.witness_http import WitnessChannel
from coldseal.observe import events
from coldseal.observe.logs import Log

Result = TypeVar("Result")


class Aside(Protocol):
    """Runs a function in the one thread that uses log and receipts."""

    def __call__(self, work: Callable[..., Result], /, *arguments: object) -> Awaitable[Result]:
        """Give what the function gives."""


Post = Callable[[bytes], Coroutine[None, None, Answer]]
"""Posts a request and gives the answer; never raises."""

_log = Log("uplink.witnesses")


@dataclass(frozen=True, slots=True)
class Peer:
    """One witness.

    Attributes:
        key: what its cosignatures verify with.
        post: posts to it.
    """

    key: VerifierKey
    post: Post


class _Posting(NamedTuple):
    """One request, ready to be posted."""

    note: bytes
    checkpoint: Checkpoint
    body: bytes
    log_size: int


class Cosigner:
    """Brings one witness forward, for ever.

    Args:
        peer: the witness.
        rounds: says which checkpoint is wanted.
        reader: gives the proofs.
        receipts: where cosignatures, evidence and state are kept.
        aside: runs what reads and writes.
        retry: how long to wait after a failure.
        bell: rings when the log has grown, or a person wants to go on.
        chance: gives a number in [0, 1) for each wait.
        now_ms: wall time, Unix milliseconds.
    """

    def __init__(
        self,
        peer: Peer,
        rounds: Rounds,
        reader: LogReader,
        receipts: Receipts,
        aside: Aside,
        *,
        retry: RetryPolicy,
        bell: Bell,
        chance: Callable[[], float],
        now_ms: Callable[[], int],
    ) -> None:
        """Begin where the newest kept cosignature of this witness ended."""
        self._peer = peer
        self._rounds = rounds
        self._reader = reader
        self._receipts = receipts
        self._aside = aside
        self._retry = retry
        self._bell = bell
        self._chance = chance
        self._now_ms = now_ms
        self._standing = Standing()
        self._is_lost = False

    @property
    def standing(self) -> Standing:
        """How far the witness is."""
        return self._standing

    @property
    def name(self) -> str:
        """The witness as it is named in files and events: name and key id."""
        return f"{self._peer.key.name}+{self._peer.key.id.hex()}"

    async def run(self) -> None:
        """Ask, for ever.

        Raises:
            UnavailableError: a cosignature or the state cannot be written.
            TrustError: the log is damaged.
        """
        newest = await self._aside(self._receipts.cosignatures.newest, self.name)
        self._standing = begin(newest.size if newest else 0)
        while True:
            await self.step()

    async def step(self) -> None:
        """Ask once, or wait until there is something to ask for."""
        if self._standing.is_held:
            await self._bell.wait_nudge(None)
            self._standing = resume(self._standing)
        posting = await self._aside(self._prepare, asyncio.get_running_loop().time())
        if posting is None:
            await self._bell.wait_growth(POLL_S)
            return
        answer = await self._peer.post(posting.body)
        after, step = settle(
            self._standing,
            posting.checkpoint,
            answer,
            self._peer.key,
            self._retry,
            log_size=posting.log_size,
            chance=self._chance(),
        )
        await self._aside(self._record, posting, after, step)
        self._standing = after
        self._tell(posting, step)
        if step.delay_s:
            await self._bell.wait_nudge(step.delay_s)

    def _prepare(self, now_s: float) -> _Posting | None:
        """Make the request; None if the witness has all that it is to have, or nothing can be read."""
        standing = self._standing
        try:
            wanted = self._rounds.choose(now_s)
            if wanted is None or wanted.size <= standing.cosigned or wanted.size < standing.old:
                return None
            proof = consistency_proof(standing.old, wanted.size, self._reader.nodes)
            log_size = self._reader.size()
        except UnavailableError:
            return None
        checkpoint = parse_checkpoint_text(parse_note(wanted.note).text)
        body = encode_request(standing.old, proof, wanted.note)
        return _Posting(wanted.note, checkpoint, body, log_size)

    def _record(self, posting: _Posting, after: Standing, step: Step) -> None:
        """Keep cosignature, evidence and state on disk."""
        now, size, name = self._now_ms(), posting.checkpoint.size, self.name
        if step.alarm is not None:
            newest = self._receipts.cosignatures.newest(name)
            self._receipts.cosignatures.keep_evidence(
                UplinkEvidence(
                    t_ms=now,
                    witness=name,
                    verdict=step.alarm.verdict,
                    size=size,
                    detail=str(step.alarm),
                    note=posting.note,
                    held=newest.note if newest else b"",
                )
            )
        if step.line is not None:
            note = add_signature(posting.note, step.line)
            self._receipts.cosignatures.keep(StoredCosignature(size, name, step.cosigned_s, now, note))
        status = WitnessStatus(
            cosigned=after.cosigned,
            failures=after.failures,
            fault=after.fault,
            is_held=after.is_held,
        )
        self._receipts.cosignatures.note(name, status)

    def _tell(self, posting: _Posting, step: Step) -> None:
        """Write events: a loss once when it begins and once when it ends."""
        name, size, fault = self.name, posting.checkpoint.size, self._standing.fault
        if isinstance(step.alarm, WitnessRolledBackError):
            _log.emit(
                events.WITNESS_ROLLED_BACK,
                witness=name,
                cosigned=step.alarm.cosigned,
                size=step.alarm.size,
            )
        elif step.alarm is not None:
            _log.emit(events.WITNESS_DISPUTES, witness=name, error=fault, size=size, detail=str(step.alarm))
        elif step.line is not None:
            if self._is_lost:
                self._is_lost = False
                _log.emit(events.WITNESS_RESTORED, witness=name, size=size)
        elif fault != CORRECTED and not self._is_lost:
            self._is_lost = True
            _log.emit(events.WITNESS_LOST, witness=name, cause=fault)


def ask_witnesses(
    config: GatewayConfig,
    uplink: Uplink,
    reader: LogReader,
    receipts: Receipts,
    bells: Sequence[Bell],
    *,
    chance: Callable[[], float],
    now_ms: Callable[[], int],
    guard: Guard | None = None,
) -> list[Coroutine[None, None, None]]:
    """Give what asks each further witness of a configuration, for ever; to be run as tasks.

    Args:
        config: names the witnesses.
        uplink: lends the thread that reads and writes.
        reader: the log.
        receipts: where cosignatures are kept.
        bells: one for each witness.
        chance: gives a number in [0, 1) for each wait.
        now_ms: wall time, Unix milliseconds.
        guard: the list of ways out.
    """
    settings = config.uplink
    rounds = Rounds(reader, receipts, config.witness.interval_s)
    retry = RetryPolicy(settings.retry_initial_s, settings.retry_max_s)

    async def ask(witness: FurtherWitness, bell: Bell) -> None:
        key = open_key("uplink.witnesses.key", witness.key)
        renewal = _renewal(settings, witness, now_ms)
        async with WitnessChannel(
            witness.url, renewal.context, timeout_s=settings.timeout_s, guard=guard
        ) as channel:
            cosigner = Cosigner(
                Peer(key, channel.post),
                rounds,
                reader,
                receipts,
                uplink.aside,
                retry=retry,
                bell=bell,
                chance=chance,
                now_ms=now_ms,
            )
            await cosigner.run()

    return [ask(each, bell) for each, bell in zip(settings.witnesses, bells, strict=True)]


def _renewal(uplink: UplinkSettings, witness: FurtherWitness, now_ms: Callable[[], int]) -> Renewal:
    """Open what is shown to one witness; what it leaves open is that of the uplink."""
    certificate, key = witness.certificate or uplink.certificate, witness.certificate_key or uplink.transport
    ca = witness.ca or uplink.ca
    if certificate is None or key is None or ca is None:
        raise OperatorError(f"{witness.url} has no certificate, key or ca", "Set those of uplink")
    return Renewal(certificate, key, ca, now_ms=now_ms)
