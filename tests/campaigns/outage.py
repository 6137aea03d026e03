"""A gateway that was offline for 90 days of virtual time: the real journal under a clock that is set by hand.

Readings, heartbeats and an alarm now and then; segments end with each virtual day.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.delivery.receiver import AdmittedLog
from coldseal.core.log.evidence import Case, Policy, Report, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import Chain, frame
from coldseal.gateway.store.journal import Journal
from coldseal.gateway.store.log import Log
from coldseal.gateway.store.sealing import Sealer
from coldseal.gateway.store.space import Limits
from tests.gateway.parts import KEY, KEYS, ORIGIN, Hands
from tests.sealed import GATEWAY

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.gateway.store.drafts import Draft

DAYS = 90
DAY_MS = 86_400_000
QUARTERS = 4
READING = b'{"q":[{"n":"temperature","u":"Cel","v":"4.71"}],"sensor":"probe-1"}'
ALARM_EVERY = 97


def admitted() -> AdmittedLog:
    """Give the log as an operator admits it."""
    keys = (KEYS.checkpoint.verifier_key(ORIGIN), KEYS.interop.verifier_key(ORIGIN))
    return AdmittedLog(ORIGIN, GATEWAY, KEYS.record.spki, keys, "site-7")


@dataclass
class Outage:
    """One gateway through its outage.

    Args:
        folder: of its log.
        hands: the virtual clock.
        beat_s: seconds between heartbeats.
    """

    folder: Path
    hands: Hands
    beat_s: int
    alarms: int = 0

    async def live(self, days: float) -> None:
        """Seal what happens in so many days, a quarter of one at a time."""
        clock = self.hands.clock()
        log = Log.open(
            self.folder,
            KEY,
            Limits(limit_mb=1024, reserve_mb=1),
            new=Chain(ORIGIN, KEYS.record.kid),
            now_ms=self.hands.wall_ms,
        )
        journal = Journal(
            log,
            Sealer(KEYS, is_each_signed=True, beside=None),
            clock,
            checkpoint_entries=256,
            checkpoint_seconds=60,
        )
        try:
            if not log.size:
                await journal.append([self._genesis(journal)], lambda: b"{}")
            for _ in range(round(days * QUARTERS)):
                await journal.commit(journal.hand_over(self._quarter(journal), lambda: b"{}"))
        finally:
            await log.close()

    def _genesis(self, journal: Journal) -> Draft:
        """Begin the log as it was admitted."""
        log = admitted()
        data: dict[str, canonical.Value] = {
            "checkpoint_keys": [key.encode() for key in log.checkpoint_keys],
            "heartbeat": self.beat_s,
            "mode": "record",
            "record_key": encode_base64(log.record_key),
            "site": "site-7",
            "software": "coldseal 0.1.0",
        }
        return journal.draft("genesis", canonical.encode(data), self.hands.clock().now())

    def _quarter(self, journal: Journal) -> list[Draft]:
        """Give what a quarter of a day brings: at each beat a reading and a heartbeat."""
        drafts: list[Draft] = []
        clock = self.hands.clock()
        for _ in range(DAY_MS // QUARTERS // 1000 // self.beat_s):
            self.hands.pass_ms(self.beat_s * 1000)
            now = clock.now()
            drafts.append(journal.draft("reading", READING, now))
            drafts.append(journal.draft("heartbeat", b"{}", now))
            if now.t_ms // (self.beat_s * 1000) % ALARM_EVERY == 0:
                self.alarms += 1
                drafts.append(journal.draft("alarm", b'{"sensor":"probe-1"}', now))
        return drafts


def examined(entries: list[bytes], notes: list[bytes]) -> Report:
    """Verify a whole log with public keys; the notes carry the service's cosignature or not."""
    log = admitted()
    policy = Policy(ORIGIN, log.record_key, log.checkpoint_keys, (), quorum=0, mode="record")
    layout = Layout(len(entries), ((0, len(entries)),), ())
    case = Case(policy, layout, notes=notes, settings=[entries[0]])
    return judge(case, [examine(case.rules, 0, frame(entries))])
