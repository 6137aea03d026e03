"""The drill in which a clock steps: in a log of its own, by the gateway's code, with keys made for it.

Promise: the gateway's log and clock are left alone. Each step must be on record as a `clock` entry that says
by how much; and a log out of which these entries were cut must be refused with a verdict.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.core.log import canonical
from coldseal.core.log.evidence import Case, Policy, Verdict, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import Chain, frame, parse_entry
from coldseal.drill.course import Check
from coldseal.gateway.clock import Clock, KernelClock
from coldseal.gateway.store.journal import Journal
from coldseal.gateway.store.log import Limits, Log
from coldseal.gateway.store.sealing import Keys, Sealer
from coldseal.signing.keys import EcdsaSigner, Ed25519Signer, generate_interop_key, generate_record_key
from coldseal.signing.secrets import generate_symmetric_key

if TYPE_CHECKING:
    from coldseal.drill.course import Stage

STEPS_MS: Final = (500, 1_100, -3_500, 3_600_000, -3_600_000)
"""By how much the clock steps, one after the other; beyond 250 ms each must be on record."""

_ORIGIN: Final = "coldseal.example/drill"
_SECOND_MS: Final = 1_000
_TEN_MINUTES_MS: Final = 600_000


class _Hands:
    """A clock that is set by hand: synchronised, as far as the kernel knows."""

    def __init__(self, t_ms: int) -> None:
        """Begin at a moment, a while behind the machine's start."""
        self.t_ms, self.mono_ms = t_ms, _TEN_MINUTES_MS

    def clock(self) -> Clock:
        """Make the gateway's clock, which reads these hands."""
        return Clock(
            kernel=lambda: KernelClock(disciplined=True, offset_ms=0, error_ms=1),
            wall_ns=lambda: self.t_ms * 1_000_000,
            boot_ns=lambda: self.mono_ms * 1_000_000,
            boot="d4177000",
        )

    def go(self, *, step_ms: int = 0) -> None:
        """Let a second pass, by the wall clock with a step."""
        self.t_ms += _SECOND_MS + step_ms
        self.mono_ms += _SECOND_MS


class _Trial:
    """A log of the drill's own: its keys, its clock, and what is sealed into it."""

    def __init__(self, t_ms: int) -> None:
        """Make keys; nothing is sealed."""
        self.keys = Keys(
            EcdsaSigner(generate_record_key()),
            EcdsaSigner(generate_record_key()),
            Ed25519Signer(generate_interop_key()),
        )
        self.hands = _Hands(t_ms)
        checkpoint_keys = (
            self.keys.checkpoint.verifier_key(_ORIGIN),
            self.keys.interop.verifier_key(_ORIGIN),
        )
        self.policy = Policy(_ORIGIN, self.keys.record.spki, checkpoint_keys, (), quorum=0)
        self._genesis: dict[str, canonical.Value] = {
            "checkpoint_keys": [key.encode() for key in checkpoint_keys],
            "heartbeat": 300,
            "mode": "record",
            "record_key": canonical.encode_base64(self.keys.record.spki),
        }

    async def seal(self, folder: Path) -> list[bytes]:
        """Seal a log in which the clock steps, as the gateway does."""
        clock, chain = self.hands.clock(), Chain(_ORIGIN, self.keys.record.kid)
        log = Log.open(
            folder,
            bytes.fromhex(generate_symmetric_key().decode()),
            Limits(reserve_mb=1),
            new=chain,
            now_ms=self.hands.t_ms,
        )
        try:
            sealer = Sealer(self.keys, is_each_signed=True, beside=None)
            journal = Journal(log, sealer, clock, checkpoint_entries=256, checkpoint_seconds=60)
            await journal.append(
                [journal.draft("genesis", canonical.encode(self._genesis), clock.now())], bytes
            )
            for step_ms in STEPS_MS:
                self.hands.go()
                await journal.append([journal.draft("heartbeat", b"{}", clock.now())], bytes)
                self.hands.go(step_ms=step_ms)
                await journal.append([journal.draft("heartbeat", b"{}", clock.now())], bytes)
            return list(log.reader.read_from(0))
        finally:
            await log.close()

    def seal_without_a_word(self, entries: list[bytes]) -> list[bytes]:
        """Seal the same once more, without the entries that speak of the clock."""
        chain = Chain(_ORIGIN, self.keys.record.kid)
        kept = [entry for entry in map(parse_entry, entries) if entry.kind != "clock"]
        return [
            chain.seal(
                *(
                    entry.kind,
                    entry.t,
                    canonical.encode(dict(entry.tq)),
                    b"{}",
                    canonical.encode(dict(entry.data)),
                ),
                self.keys.record.sign,
            )
            for entry in kept
        ]

    def faults(self, entries: list[bytes]) -> list[str]:
        """Verify a log with public keys; that nobody witnesses it is no fault here."""
        layout = Layout(len(entries), ((0, len(entries)),), ())
        case = Case(self.policy, layout, notes=[], settings=entries[:1])
        report = judge(case, [examine(case.rules, 0, frame(entries))])
        unwitnessed = {Verdict.TAIL, Verdict.UNWITNESSED}
        return sorted({fault.verdict.value for fault in report.faults if fault.verdict not in unwitnessed})


def clock(stage: Stage) -> list[Check]:
    """Let a clock step, forth and back, and see what the log says of it."""
    status = str(stage.status()["clock"])
    stage.say(f"the gateway's clock: {status}; letting another one step {len(STEPS_MS)} times")
    trial = _Trial(stage.clock.now().t_ms)
    with tempfile.TemporaryDirectory(prefix="coldseal-drill-") as folder:
        entries = asyncio.run(trial.seal(Path(folder)))
    read = [parse_entry(raw) for raw in entries]
    found = [str(entry.data["step"]) for entry in read if entry.kind == "clock"]
    checks = [
        Check(
            f"step of {step} ms",
            "on record" if str(step) in found else "missing",
            "on record",
            str(step) in found,
        )
        for step in STEPS_MS
    ]
    good, bare = trial.faults(entries), trial.faults(trial.seal_without_a_word(entries))
    checks.append(Check("verdict on that log", ", ".join(good) or "good", "good", not good))
    wanted = Verdict.CLOCK_STEP.value
    said = Check("verdict without these entries", ", ".join(bare) or "good", wanted, wanted in bare)
    return [Check("the gateway's own clock", status, "any", ok=True), *checks, said]
