"""What can be seen of a running gateway: gauges, judgements, and answers in a technician's words.

Healthy means that what devices sent is being acknowledged, not that a socket is open. Reads what the
parts know and what the uplink has written down; changes nothing.
"""

from __future__ import annotations

import os
from datetime import datetime
from typing import TYPE_CHECKING, Final

from coldseal.core.log.delivery.sender import Phase
from coldseal.core.log.record import parse_entry
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.gateway.alarming.conditions import Worries
from coldseal.gateway.budget import outlook_of
from coldseal.gateway.clock import render_status
from coldseal.gateway.enrolling import Certificates
from coldseal.gateway.store.pruned import PrunedError
from coldseal.gateway.uplink.receipts import Receipts, UplinkStatus
from coldseal.gateway.uplink.stamped import TimestampGauges
from coldseal.identity.held_keys import UNSIGNED
from coldseal.identity.peer import read_peer
from coldseal.observe import events
from coldseal.observe.health import Health, Views
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from coldseal.gateway.budget import Watch
    from coldseal.gateway.clock import Clock, ClockStatus
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.store.journal import Journal
    from coldseal.gateway.store.log import Log as EntryLog
    from coldseal.gateway.tally import Tally
    from coldseal.gateway.uplink.cosignatures import WitnessStatus
    from coldseal.observe.health import Progress
    from coldseal.observe.metrics import GatewayMetrics

SHOWN_SILENT: Final = 20
"""Silent sensors named in one status answer: the longest silent ones."""

REMEMBERED: Final = 8
"""Entries whose time is remembered, so that none is read each second."""

_DAY_S: Final = 86_400
_MIB: Final = 1024 * 1024
_log = Log("gateway.health")


class Instruments:
    """Refreshes gauges once a second and answers questions.

    Args:
        config: the gateway's configuration.
        clock: gives the moment.
        metrics: the gauges.
        tally: knows when each sensor was last heard.
        progress: knows whether acknowledgements move on.
        log: the log on disk.
        journal: knows its newest checkpoint.
        store_key: opens what the uplink writes down.
        budget: holds what is used against its bounds.
    """

    def __init__(  # one look at every part
        self,
        config: GatewayConfig,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        tally: Tally,
        progress: Progress,
        log: EntryLog,
        journal: Journal,
        store_key: bytes,
        budget: Watch,
    ) -> None:
        """Take the parts; nothing is read yet."""
        self._budget = budget
        self._config, self._clock, self._metrics, self._tally = config, clock, metrics, tally
        self._progress, self._log, self._journal, self._key = progress, log, journal, store_key
        self._began_ms = clock.now().mono_ms
        self._receipts: Receipts | None = None
        self._uplink = UplinkStatus()
        self._clock_state = clock.status().state
        self._witnessed = 0
        self._witnesses: Mapping[str, WitnessStatus] = {}
        self._evidence: Mapping[str, int] = {}
        self._accepted_ms: dict[int, int] = {}
        self._is_overdue = False
        self._certificates = Certificates(config, metrics)
        self._was_full = False
        self._timestamps: TimestampGauges | None = None
        if config.timestamp.url:
            self._timestamps = TimestampGauges(metrics, config.gateway.data, store_key, self._accepted_at)
        metrics.store_limit_bytes.set(config.store.limit_mb * _MIB)

    def views(self) -> Views:
        """Give what the health server asks for."""
        return Views(self.health, self.ready, self._metrics.render, self.status)

    def health(self) -> Health:
        """Judge whether what waits moves on."""
        return self._progress.check(self._clock.now().mono_ms / 1000)

    def is_moving(self) -> bool:
        """Whether this program should be left running: a full disk is not mended by a restart."""
        return self._tally.is_full or self.health().is_good

    def ready(self) -> Health:
        """Judge whether readings are taken in and acknowledged now."""
        full = Health(("the store is full: nothing is acknowledged",)) if self._tally.is_full else Health()
        return Health.of((self.health(), full, self._budget.notes()))

    def heartbeat(self) -> dict[str, int]:
        """Give the data of a heartbeat entry: what was taken in since the start, and the backlog."""
        tally = self._tally
        return {
            "accepted": tally.accepted,
            "backlog": self._log.size - self._uplink.published,
            "rejected": tally.rejected,
        }

    def refresh(self) -> None:
        """Set every gauge that is an age or a size."""
        now, metrics = self._clock.now(), self._metrics
        self._read_uplink()
        used, size = self._log.used_bytes(), self._log.size
        backlog = size - self._uplink.published
        metrics.log_entries.set(size)
        metrics.store_bytes.set(used)
        metrics.published_entries.set(self._uplink.published)
        metrics.backlog_entries.set(backlog)
        metrics.backlog_bytes.set(used * backlog // size if size else 0)
        metrics.backlog_seconds.set(self._age_s(self._uplink.published, now.t_ms))
        metrics.checkpoint_age_seconds.set(self._journal.checkpoint_age_s(now))
        metrics.uplink_up.set(bool(self._config.uplink.url) and not self._uplink.failures)
        if self._uplink.receipt_ms:
            metrics.receipt_age_seconds.set(max(0, now.t_ms - self._uplink.receipt_ms) / 1000)
        self._watch_witnesses(size, now.t_ms)
        if self._timestamps is not None:
            self._timestamps.refresh(now.t_ms)
        self._watch_clock()
        self._certificates.refresh(now.t_ms)
        self._watch_room(used)
        self._watch_budget(now.mono_ms / 1000, size)

    def status(self) -> Mapping[str, object]:
        """Answer what a person wants to know, by what the uplink has written down until now."""
        self._read_uplink()
        now, uplink, config = self._clock.now(), self._uplink, self._config
        size, clock = self._log.size, self._clock.status()
        return {
            "origin": config.gateway.origin,
            "pid": os.getpid(),
            "accepted": self._tally.accepted,
            "full": self._tally.is_full,
            "size": size,
            "published": uplink.published,
            "backlog": size - uplink.published,
            "backlog_s": self._age_s(uplink.published, now.t_ms),
            "receipt_age_s": (now.t_ms - uplink.receipt_ms) / 1000 if uplink.receipt_ms else None,
            "checkpoint_age_s": self._journal.checkpoint_age_s(now),
            "unwitnessed": size - self._witnessed,
            "unwitnessed_s": self._age_s(self._witnessed, now.t_ms),
            "uplink": self._describe_uplink(),
            "witnesses": {name: each.describe() for name, each in self._witnesses.items()},
            "store_bytes": self._log.used_bytes(),
            "store_limit_bytes": config.store.limit_mb * _MIB,
            "store_days_left": _finite(self._budget.days_left),
            "memory_bytes": self._budget.memory_bytes,
            "sensors": len(self._tally.last_heard),
            "silent": self._silent(now.t_ms),
            "clock": render_status(clock),
            "certificate_days": self.certificate_days(),
            "uplink_certificate_days": self._days(config.uplink.certificate),
            "certificates": self._certificates.status(now.t_ms),
            "uptime_s": (now.mono_ms - self._began_ms) / 1000,
        }

    def worries(self, now_ms: int) -> Worries:
        """Give what alarms are made of."""
        fault = self._uplink.fault  # of its newest attempt; empty once one has succeeded
        return Worries(
            self._budget.days_left,
            self._certificates.status(now_ms),
            fault if UNSIGNED in fault else "",
            self._age_s(self._witnessed, now_ms) if self._is_overdue else 0,
            tuple(self._disputes()),
        )

    def _disputes(self) -> Iterator[tuple[str, str]]:
        """Name who holds another history to be this log's, until a person has looked, and the verdict."""
        if self._uplink.phase == Phase.HELD:
            yield self._config.uplink.witness.partition("+")[0], self._uplink.fault
        for name, each in self._witnesses.items():
            if each.is_held:
                yield name.partition("+")[0], each.fault

    def certificate_days(self) -> float:
        """Give the life left of the listener's certificate, in days; 0 where there is none."""
        return self._days(self._config.mqtt.certificate)

    def _days(self, path: Path | None) -> float:
        """Give the life left of a certificate, in days; 0 where there is none."""
        left_s = None if path is None else _left_s(path, self._clock.now().t_ms)
        return round((left_s or 0) / _DAY_S, 1)

    def _read_uplink(self) -> None:
        """Read what the uplink has written down; count what it achieved since."""
        if not self._config.uplink.url:
            return
        before = self._uplink
        try:
            if self._receipts is None:
                self._receipts = Receipts(self._config.gateway.data, self._key, readonly=True)
            self._uplink = self._receipts.status()
            cosignatures = self._receipts.cosignatures
            self._witnessed = cosignatures.witnessed(self._config.witness.quorum)
            self._witnesses = self._configured(cosignatures.statuses())
            self._evidence = cosignatures.evidence_counts()
        except UnavailableError:  # not made yet, or being made anew: what was read last still stands
            return
        for cause, count in self._uplink.failed.items():
            new = count - before.failed.get(cause, 0)
            self._metrics.uplink_failures.labels(cause).inc(max(0, new))
        delivered = self._uplink.published - before.published
        if delivered > 0 and before.published:
            accepted = self._accepted_at(before.published)
            self._metrics.receipt_seconds.observe(
                max(0, self._uplink.receipt_ms - accepted) / 1000, delivered
            )

    def _configured(self, found: Mapping[str, WitnessStatus]) -> Mapping[str, WitnessStatus]:
        """Leave out witnesses that are not asked any more; each is named by name and key id."""
        keys = [each.key for each in self._config.uplink.witnesses]
        return {name: each for name, each in found.items() if any(k.startswith(f"{name}+") for k in keys)}

    def _age_s(self, size: int, now_ms: int) -> float:
        """Give the age of the oldest entry that is not below ``size``, in seconds; 0 if there is none."""
        return max(0, now_ms - self._accepted_at(size)) / 1000 if size < self._log.size else 0.0

    def _accepted_at(self, seq: int) -> int:
        """Give when an entry was accepted, UTC milliseconds; the same two are asked for often."""
        if seq not in self._accepted_ms:
            try:
                (raw,) = self._log.reader.read(seq, max_entries=1)
            except PrunedError as error:  # its receipt was lost since: it is at least as old as the pruning
                return self._accepted_at(error.pruned.seq)
            if len(self._accepted_ms) >= REMEMBERED:
                self._accepted_ms.clear()
            self._accepted_ms[seq] = _milliseconds(parse_entry(raw).t)
        return self._accepted_ms[seq]

    def _describe_uplink(self) -> str:
        """Say how delivery stands."""
        if not self._config.uplink.url:
            return "none configured: entries stay here"
        fault = f" ({self._uplink.fault})" if self._uplink.fault else ""
        return f"{self._uplink.phase}{fault}"

    def _silent(self, now_ms: int) -> dict[str, float]:
        """Name the sensors that have been silent for too long, the longest silent first, with seconds."""
        limit_s = self._config.http.silent_after_s
        ages = {name: (now_ms - at) / 1000 for name, at in self._tally.last_heard.items()}
        silent = sorted((name for name in ages if ages[name] > limit_s), key=lambda name: -ages[name])
        return {name: ages[name] for name in silent[:SHOWN_SILENT]}

    def _watch_witnesses(self, size: int, now_ms: int) -> None:
        """Show what no quorum has cosigned, and say once when that lasts too long, and once when it ends."""
        entries, quorum = size - self._witnessed, self._config.witness.quorum
        seconds = self._age_s(self._witnessed, now_ms)
        self._metrics.unwitnessed_entries.set(entries)
        self._metrics.unwitnessed_seconds.set(seconds)
        for name, each in self._witnesses.items():
            self._metrics.witness_up.labels(name).set(not each.failures)
        for verdict, count in self._evidence.items():
            self._metrics.witness_evidence.labels(verdict).set(count)
        is_overdue = bool(self._config.uplink.url) and seconds > self._config.witness.overdue_after_s
        if is_overdue and not self._is_overdue:
            _log.emit(events.WITNESS_OVERDUE, entries=entries, seconds=round(seconds), quorum=quorum)
        elif self._is_overdue and not is_overdue:
            _log.emit(events.WITNESS_CAUGHT_UP, entries=entries, quorum=quorum)
        self._is_overdue = is_overdue

    def _watch_clock(self) -> None:
        """Show the clock, and say when the trust in it changes."""
        status: ClockStatus = self._clock.status()
        self._metrics.clock_offset_seconds.set(status.offset_ms / 1000)
        self._metrics.clock_synchronised.set(status.state == "synchronised")
        if status.state != self._clock_state:
            self._clock_state = status.state
            _log.emit(
                events.CLOCK_CHANGED, state=status.state, offset_ms=status.offset_ms, error_ms=status.error_ms
            )

    def _watch_room(self, used: int) -> None:
        """Say once when the store is full, and once when there is room again."""
        store = self._config.store
        limit = (store.limit_mb - store.reserve_mb) * _MIB
        if self._tally.is_full != self._was_full:
            self._was_full = self._tally.is_full
            _log.emit(events.STORE_FULL if self._was_full else events.STORE_FREE, bytes=used, limit=limit)

    def _watch_budget(self, now_s: float, size: int) -> None:
        """Show how long the room lasts, and what memory is used."""
        budget, ended, metrics = self._budget, self._log.packer.tally, self._metrics
        budget.look(now_s, size, lambda: outlook_of(self._log))
        if budget.days_left is not None:
            metrics.store_days_left.set(budget.days_left)
        metrics.store_packed_entries.set(ended.packed_entries)
        metrics.store_packed_bytes.set(ended.packed_bytes)
        metrics.memory_bytes.set(budget.memory_bytes)


def _finite(days: float | None) -> float | None:
    """Round days; None where they are not known or have no end."""
    return round(days, 1) if days is not None and days != float("inf") else None


def _milliseconds(t: str) -> int:
    """Read an entry's time."""
    return round(datetime.fromisoformat(t).timestamp() * 1000)


def _left_s(certificate: Path, now_ms: int) -> float | None:
    """Give the life left of a certificate, in seconds; None while its file cannot be read."""
    try:
        return read_peer(certificate).not_after.timestamp() - now_ms / 1000
    except (OperatorError, InputError):
        return None
