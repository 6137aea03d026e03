"""The service as a program: opens its parts, owns their tasks, and ends them in order.

Promises that it is ready only while it can take batches in, and that a signal lets running batches end.
A fault that no part handles ends the program; its supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

import coldseal
from coldseal.errors import ColdsealError
from coldseal.observe import events
from coldseal.observe.health import Health, HealthServer, Progress, Views
from coldseal.observe.logs import Log
from coldseal.observe.metrics import ServiceMetrics
from coldseal.observe.notify import Supervisor
from coldseal.service.admission import Admission
from coldseal.service.api import Api
from coldseal.service.attestation.office import Office
from coldseal.service.config import ServiceConfig
from coldseal.service.enrolling import Enrolling
from coldseal.service.ingest import Ingest, Witness
from coldseal.service.ledger import Ledger
from coldseal.service.notices import Notices
from coldseal.service.publishing import Publishing
from coldseal.service.server import ApiServer, Certificate
from coldseal.service.storage.values import Link, Summary
from coldseal.service.verification import NICENESS, Audit, Verifier
from coldseal.service.witnessing import Witnessing
from coldseal.signing.keys import open_ed25519
from coldseal.signing.secrets import read_symmetric_key

WATCH_S: Final = 1.0
"""Pause between looks at progress, admitted logs and certificate."""

RECOVERY_S: Final = 900
"""Time for a gateway to use the token that it got by its chip."""

_MIB: Final = 1024 * 1024
_log = Log("service.app")


def run(config: ServiceConfig) -> int:
    """Run until SIGTERM or SIGINT.

    Raises:
        ColdsealError: it cannot start, or cannot go on.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_run_until_signal(config))
        except ExceptionGroup as group:
            _log.emit(events.SERVICE_FAILED, error=repr(group.exceptions[0]))
            raise group.exceptions[0] from group
        except ColdsealError as error:
            _log.emit(events.SERVICE_FAILED, error=str(error))
            raise
    return 0


def _open_office(
    config: ServiceConfig,
    admission: Admission,
    ledger: Ledger,
    metrics: ServiceMetrics,
    enrolling: Enrolling | None,
) -> Office:
    """Open what knows gateways' machines; where there is a CA, a chip is a way back to a certificate."""
    office = Office.open(
        config.attestation,
        config.service.data,
        now=_now,
        admission=admission,
        ledger=ledger,
        metrics=metrics,
    )
    if enrolling is not None and config.attestation.ek_roots is not None:
        office.issue = partial(_issue, enrolling)
        enrolling.offer_recovery(office.recover)
    return office


def _issue(enrolling: Enrolling, gateway: str, hosts: tuple[str, ...]) -> str:
    """Make a one-time token for a gateway that proved itself by its chip."""
    make = enrolling.enrolments.make_token
    return make("gateway", gateway, hosts, now=_now(), life_s=RECOVERY_S, maker="attestation")


def _now() -> int:
    """Give wall time, Unix seconds."""
    return time.time_ns() // 10**9


async def _run_until_signal(config: ServiceConfig) -> None:
    """Let a signal set the stop event."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    service = await Service.open(config)
    try:
        await service.serve(stop)
    finally:
        await service.close()


class Service:
    """All parts of a running service."""

    def __init__(
        self,
        config: ServiceConfig,
        ledger: Ledger,
        metrics: ServiceMetrics,
        enrolling: Enrolling | None = None,
    ) -> None:
        """Put the parts together around an open ledger; `open` is the usual way here."""
        settings = config.service
        self._config = config
        self._metrics = metrics
        self._ledger = ledger
        self._admission = Admission(settings.data / "logs")
        self._witnessed = Admission(settings.data / "witnessed")
        is_verified_first = config.verify.signatures == "first"
        niceness = 0 if is_verified_first else NICENESS
        self._verifier = Verifier(config.verify.workers, metrics, niceness=niceness)
        self._audit = Audit(ledger, self._admission, self._verifier, metrics)
        witness = Witness(settings.name, open_ed25519(config.witness.key, base=Path()))
        self._ingest = Ingest(
            self._admission,
            ledger,
            self._verifier,
            witness,
            now=_now,
            metrics=metrics,
            is_verified_first=is_verified_first,
        )
        self._notices = Notices(self._admission, ledger, now=_now, metrics=metrics)
        self._office = _open_office(config, self._admission, ledger, metrics, enrolling)
        api = Api(
            self._ingest,
            self._notices,
            Witnessing(self._admission, self._witnessed, ledger, witness, now=_now, metrics=metrics),
            Publishing(self._admission, ledger, settings.readers),
            self._office,
            admission=self._admission,
            ledger=ledger,
            max_batch_bytes=settings.max_batch_bytes,
            max_bodies=settings.max_requests,
            timeout_s=settings.request_timeout_s,
        )
        self.enrolling = enrolling
        """The enrolment server, where `[est]` names a CA."""
        self._certificate = Certificate(config.tls)
        self._server = ApiServer(
            api.app(), self._certificate.context, max_connections=settings.max_connections, metrics=metrics
        )
        self._health = HealthServer(Views(self._judge, self._judge_ready, metrics.render, self._describe))
        self._batches = Progress("batches", config.http.stalled_after_s)
        self._checks = Progress("signature checks", config.http.stalled_after_s)
        self._totals = Summary()
        self._links: list[Link] = []
        self._finished = 0
        self._began = time.monotonic()
        self.address = ""
        """Where gateways reach it, host:port, once it serves."""
        self.health_address = ""
        """Where health is shown, host:port; empty if nowhere."""

    @classmethod
    async def open(cls, config: ServiceConfig) -> Service:
        """Open everything that is on disk.

        Raises:
            OperatorError: a file, a key or a setting is wrong.
            UnavailableError, TrustError: the ledger cannot be opened.
        """
        key = read_symmetric_key(config.store.key, Path())
        limit = config.store.limit_mb * _MIB
        ledger = Ledger.open(config.service.data, key, limit_bytes=limit)
        metrics, enrolling = ServiceMetrics(), None
        try:
            if config.est.authority is not None:
                enrolling = Enrolling(config, key, metrics, now=_now)
            return cls(config, ledger, metrics, enrolling)
        except ColdsealError:
            if enrolling is not None:
                enrolling.close()
            await ledger.close()
            raise

    async def serve(self, stop: asyncio.Event) -> None:
        """Listen, and serve until ``stop`` is set."""
        self.address = self._server.bind(self._config.service.listen)
        if self.enrolling is not None:
            self.enrolling.bind()
        await self._watch_once()
        if self._config.http.listen is not None:
            self.health_address = await self._health.start(self._config.http.listen)
            _log.emit(events.HTTP_LISTENING, address=self.health_address)
        _log.emit(
            events.SERVICE_STARTED,
            name=self._config.service.name,
            listen=self.address,
            logs=len(self._admission),
            software=f"coldseal {coldseal.__version__}",
        )
        supervisor = Supervisor.of(os.environ)
        async with asyncio.TaskGroup() as tasks:
            beside = [tasks.create_task(self._audit.run()), tasks.create_task(self._watch(supervisor))]
            serving = [tasks.create_task(self._server.serve_bound())]
            if self.enrolling is not None:
                serving.append(tasks.create_task(self.enrolling.serve_bound()))
            supervisor.ready()
            await stop.wait()
            supervisor.stopping()
            self._server.stop()
            if self.enrolling is not None:
                self.enrolling.stop()
            await asyncio.wait(serving)
            for task in beside:
                task.cancel()
        _log.emit(events.SERVICE_STOPPED, reason="stopped")

    async def close(self) -> None:
        """Stop showing health, end the processes, close the ledger."""
        await self._health.stop()
        await asyncio.to_thread(self._verifier.close)
        if self.enrolling is not None:
            self.enrolling.close()
        await self._ledger.close()

    async def _watch(self, supervisor: Supervisor) -> None:
        """Look at what moves, for ever."""
        while True:
            await asyncio.sleep(WATCH_S)
            await self._watch_once()
            supervisor.beat(is_moving=self._judge().is_good)

    async def _watch_once(self) -> None:
        """Look for new logs and certificates, and note progress."""
        self._admission.refresh()
        self._witnessed.refresh()
        if self.enrolling is not None:
            await self.enrolling.refresh()
        self._certificate.refresh()
        await self._notices.reconcile()
        await self._office.refresh()
        before, self._totals = self._totals, await self._ledger.totals()
        self._links = await self._ledger.links()
        now, ingest = time.monotonic(), self._ingest
        backlog = self._totals.size - self._totals.verified
        if self._totals.verified != before.verified or not backlog:
            self._checks.advance(now, is_waiting=backlog > 0)
        else:
            self._checks.wait(now)
        if ingest.finished != self._finished or not ingest.running:
            self._batches.advance(now, is_waiting=ingest.running > 0)
            self._finished = ingest.finished
        else:
            self._batches.wait(now)
        metrics = self._metrics
        metrics.verify_backlog_entries.set(backlog)
        metrics.logs.set(len(self._admission))
        metrics.witnessed_logs.set(len(self._witnessed))
        metrics.succeeded_logs.set(len(self._links))
        metrics.connections.set(self._server.open_connections)
        metrics.store_bytes.set(self._ledger.size_bytes)
        metrics.store_limit_bytes.set(self._ledger.limit_bytes)
        metrics.certificate_expiry_seconds.labels("service").set(self._certificate.seconds_left())

    def _judge(self) -> Health:
        """Whether everything that waits moves on."""
        now = time.monotonic()
        return Health.of([self._batches.check(now), self._checks.check(now)])

    def _judge_ready(self) -> Health:
        """Whether a batch would be taken in now."""
        reasons = []
        if not self._server.started:
            reasons.append("not listening yet")
        if self._ledger.size_bytes >= self._ledger.limit_bytes:
            reasons.append("the ledger has reached store.limit_mb")
        return Health.of([self._judge(), Health(tuple(reasons))])

    def _describe(self) -> dict[str, object]:
        """Say how it is, for a person."""
        return {
            "logs": len(self._admission),
            **self._office.status(),
            "witnessed_logs": len(self._witnessed),
            "succeeded_logs": {link.predecessor: link.origin for link in self._links},
            "size": self._totals.size,
            "verify_backlog": self._totals.size - self._totals.verified,
            "refuted": self._totals.refuted,
            "store_bytes": self._ledger.size_bytes,
            "store_limit_bytes": self._ledger.limit_bytes,
            "uptime_s": round(time.monotonic() - self._began),
        }
