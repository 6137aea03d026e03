"""The gateway's real parts on a temporary folder, for tests."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coldseal.core.floods import Floods
from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.evidence import Case, Policy, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import Chain, Entry, frame, parse_entry
from coldseal.gateway.clock import Clock, KernelClock, Stamp
from coldseal.gateway.message import Message, Outcome
from coldseal.gateway.pipeline import Pipeline
from coldseal.gateway.preparation import Preparation
from coldseal.gateway.projection import Projection
from coldseal.gateway.rejections import Rejections
from coldseal.gateway.store.journal import Journal
from coldseal.gateway.store.log import Limits, Log
from coldseal.gateway.store.sealing import Beside, Keys, Sealer
from coldseal.gateway.tally import Tally
from coldseal.observe.health import Progress
from coldseal.observe.metrics import GatewayMetrics
from coldseal.signing.keys import EcdsaSigner, Ed25519Signer, generate_interop_key, generate_record_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from coldseal.core.redelivery import Redelivery

ORIGIN = "test.example/site-7/gw-1"
KEY = bytes(range(32))
KEYS = Keys(
    EcdsaSigner(generate_record_key()),
    EcdsaSigner(generate_record_key()),
    Ed25519Signer(generate_interop_key()),
)
TOPIC = "coldseal/v1/site-7/dev-1/reading/door"
LIMITS = Limits(limit_mb=64, reserve_mb=1)


@dataclass
class Hands:
    """A clock that is set by hand."""

    wall_ms: int = 1_800_000_000_000
    mono_ms: int = 1_000

    def clock(self) -> Clock:
        """Make a gateway clock that reads this one."""
        return Clock(
            kernel=lambda: KernelClock(disciplined=True, offset_ms=0, error_ms=1),
            wall_ns=lambda: self.wall_ms * 1_000_000,
            boot_ns=lambda: self.mono_ms * 1_000_000,
            boot="0badcafe",
        )

    def pass_ms(self, span: int) -> None:
        """Let time pass."""
        self.wall_ms += span
        self.mono_ms += span


@dataclass
class Answers:
    """What devices were told, in order."""

    given: list[tuple[str, Outcome, str]] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, name: str, outcome: Outcome, reason: str) -> None:
        """Take an answer down."""
        self.given.append((name, outcome, reason))
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until so many were answered."""
        while len(self.given) < count:
            self._changed.clear()
            await self._changed.wait()

    def to(self, name: str, payload: bytes, *, hands: Hands, **changes: object) -> Message:
        """Make a message whose answer is kept here under ``name``."""
        known: dict[str, Any] = {
            "device": "dev-1",
            "fingerprint": "ab" * 8,
            "topic": TOPIC,
            "payload": payload,
            "qos": 1,
            "packet_id": 7,
            "redelivered": False,
            "received": Stamp(hands.wall_ms, hands.mono_ms),
        }
        return Message(
            acknowledge=lambda outcome, reason: self.give(name, outcome, reason),
            **(known | changes),
        )

    @property
    def outcomes(self) -> list[tuple[str, Outcome]]:
        """Names and outcomes without reasons."""
        return [(name, outcome) for name, outcome, _ in self.given]


@dataclass
class Parts:
    """A pipeline on a real log."""

    log: Log
    journal: Journal
    pipeline: Pipeline
    preparation: Preparation
    projection: Projection
    metrics: GatewayMetrics

    @property
    def redelivery(self) -> Redelivery:
        """What was sealed lately."""
        return self.projection.redelivery

    def entries(self, *kinds: str) -> list[Entry]:
        """Read the entries of some kinds (all, if none is named)."""
        found = [parse_entry(raw) for raw in self.log.reader.read_from(0)]
        return [entry for entry in found if not kinds or entry.kind in kinds]

    async def settle(self) -> None:
        """Commit what is pending, then stop."""
        self.pipeline.stop()
        await self.pipeline.run()


@asynccontextmanager
async def open_parts(
    folder: Path,
    hands: Hands,
    *,
    mode: str = "record",
    limits: Limits = LIMITS,
    beside: Beside | None = None,
    checkpoint_entries: int = 256,
    per_minute: int = 60,
    max_pending: int = 1000,
    snapshot_entries: int = 16_384,
    heard: Callable[[Sequence[bytes]], None] | None = None,
    keys: Keys = KEYS,
    origin: str = ORIGIN,
    store_key: bytes = KEY,
) -> AsyncIterator[Parts]:
    """Open a gateway's inner parts, as its app does."""
    clock, metrics = hands.clock(), GatewayMetrics()
    new = Chain(origin, keys.record.kid)
    log = Log.open(folder, store_key, limits, new=new, now_ms=hands.wall_ms)
    projection = Projection.restore(log.reader, log.snapshot, window=128)
    journal = Journal(
        log,
        Sealer(keys, is_each_signed=mode == "record", beside=beside),
        clock,
        checkpoint_entries=checkpoint_entries,
        checkpoint_seconds=60,
        snapshot_entries=snapshot_entries,
        heard=heard,
    )
    tally = Tally(metrics, Progress("acknowledgements", 10))
    preparation = Preparation(
        projection=projection,
        rejections=Rejections(Floods(per_minute), journal, metrics),
        journal=journal,
        tally=tally,
    )
    pipeline = Pipeline(
        preparation=preparation,
        journal=journal,
        clock=clock,
        tally=tally,
        max_pending=max_pending,
    )
    try:
        yield Parts(log, journal, pipeline, preparation, projection, metrics)
    finally:
        await log.close()


def payload(seq: int | None, value: str = "4.71", boot: str = "") -> bytes:
    """Write a reading in the project's format."""
    number = f'"seq":{seq},' if seq is not None else ""
    run = f'"boot":"{boot}",' if boot else ""
    return f'{{"v":1,{number}{run}"q":[{{"n":"temperature","u":"Cel","v":{value}}}]}}'.encode()


def digest(data: bytes) -> str:
    """Hash a payload as entries do."""
    return encode_base64(hashlib.sha256(data).digest())


def faults_of(parts: Parts, mode: str = "record") -> list[str]:
    """Verify the log with public keys; the lack of a witness is no fault of the gateway."""
    keys = (KEYS.checkpoint.verifier_key(ORIGIN), KEYS.interop.verifier_key(ORIGIN))
    policy = Policy(ORIGIN, KEYS.record.spki, keys, (), quorum=0, mode=mode)
    entries = list(parts.log.reader.read_from(0))
    notes = [found.note for found in parts.log.reader.checkpoints(0, len(entries))]
    layout = Layout(len(entries), ((0, len(entries)),), ())
    case = Case(policy, layout, notes=notes, settings=[entries[0], *parts.log.reader.settings()])
    report = judge(case, [examine(case.rules, 0, frame(entries))])
    return [fault.verdict.value for fault in report.faults if fault.verdict.value != "genesis-mismatch"]
