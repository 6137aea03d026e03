"""All parts of a running gateway: opens them, owns their tasks, and ends them in order.

Promise: whatever ends it, the next start goes on with all that was acknowledged. What was taken in is
committed and answered before the end. The signing process and the uplink are started again alone;
a fault of the intake ends all of it. Holds no rule of its own.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coldseal.core.floods import Floods
from coldseal.core.log import canonical
from coldseal.errors import ColdsealError, OperatorError
from coldseal.gateway.administration import further_socket
from coldseal.gateway.alarming.opening import Around
from coldseal.gateway.archivist import Archivist
from coldseal.gateway.budget import Watch, memory_in_use
from coldseal.gateway.certificates import CERTIFICATES, KeptCertificates
from coldseal.gateway.clock import Clock
from coldseal.gateway.coldchain import ColdChain
from coldseal.gateway.control import ControlServer
from coldseal.gateway.counting import Counting, require_counted
from coldseal.gateway.custody import stand_ins
from coldseal.gateway.enrolling import renew_handler
from coldseal.gateway.exercise import Exercise
from coldseal.gateway.governance import make_conduct, open_policy
from coldseal.gateway.health import Instruments
from coldseal.gateway.perimeter import Perimeter
from coldseal.gateway.pipeline import Pipeline
from coldseal.gateway.preparation import Preparation
from coldseal.gateway.pruning import prune_handler
from coldseal.gateway.recovery import note_damage, open_sound
from coldseal.gateway.refusal import require_unrefused
from coldseal.gateway.refusing import wait_refused
from coldseal.gateway.rejections import Rejections
from coldseal.gateway.requests import checkpoint_handler, key_handlers, record_handler, sealing
from coldseal.gateway.rollback import require_newest
from coldseal.gateway.rollover import RollOver
from coldseal.gateway.schemas import open_book
from coldseal.gateway.scrubbing import Scrubbing
from coldseal.gateway.sources.mqtt import MqttListener
from coldseal.gateway.sources.sessions import SessionStore
from coldseal.gateway.standby import Standby
from coldseal.gateway.store.beside import SealingProcess
from coldseal.gateway.store.log import Log
from coldseal.gateway.tally import Tally
from coldseal.gateway.timekeeping import open_clock
from coldseal.gateway.uplink.companion import Companion
from coldseal.gateway.writer import (
    LOG_FOLDER,
    SOFTWARE,
    make_journal,
    open_keys,
    open_log,
    projection_of,
    require_same,
    start_drafts,
)
from coldseal.observe import events, logs
from coldseal.observe.health import HealthServer, Progress
from coldseal.observe.metrics import GatewayMetrics
from coldseal.observe.notify import Supervisor
from coldseal.signing.holders import is_held
from coldseal.signing.private_files import make_private_folder
from coldseal.signing.secrets import read_symmetric_key

__all__ = ["LOG_FOLDER", "Gateway", "open_keys", "open_log"]

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Answer
    from coldseal.gateway.store.sealing import Keys

TICK_S: Final = 1.0
"""Pause between looks at counted rejections, due checkpoints, gauges and the clock."""

_HERE: Final = Path()  # paths in a configuration are absolute once it is loaded
_log = logs.Log("gateway.app")


class Gateway:
    """All parts of a running gateway."""

    def __init__(self, config: GatewayConfig, arguments: Sequence[str], log: Log, store_key: bytes) -> None:
        """Put the parts together around an open log; `open` is the usual way here."""
        self._config, self.log = config, log
        clock = self._clock = open_clock(config.time)
        self._metrics = GatewayMetrics()
        keys = self._keys = open_keys(config, log)
        self._beside = (
            SealingProcess(config.keys.record, _HERE, is_each_signed=config.gateway.signature == "record")
            if config.pipeline.signs_beside
            else None
        )
        self._journal = make_journal(config, log, keys, clock, self._beside)
        self._projection = projection_of(config, log)
        progress = Progress("acknowledgements", config.http.stalled_after_s)
        tally = Tally(self._metrics, progress)
        self._book = open_book(config, open_policy(config))
        self.pipeline = self._make_pipeline(tally)
        self._sessions = SessionStore.open(config.gateway.data / "broker.db", store_key)
        self.listener = self._make_listener()
        self._uplink = Companion(arguments, store_key) if config.uplink.url else None
        self._archivist = Archivist.of(config, arguments)
        self._instruments = self._make_instruments(tally, progress, store_key)
        self._scrubbing = self._make_scrubbing(store_key)
        self._health = HealthServer(replace(self._instruments.views(), status=self._status))
        seal = sealing(self.pipeline, self._journal, clock)
        change = self._make_roll_over(keys)
        standby = self._make_standby(change)
        self._perimeter = Perimeter(
            config,
            clock=clock,
            metrics=self._metrics,
            log=log,
            seal=seal,
            listener=self.listener,
            intake=self.pipeline,
            standby=standby,
            counting=self._make_counting(store_key, standby),
        )
        self._coldchain = self._make_coldchain(arguments, tally, store_key)
        faults: dict[str, Callable[[bool], None]] = {"full-disk": log.close_room}
        if self._uplink is not None:
            faults["partition"] = self._uplink.keep_away
        self._exercise = Exercise(faults)
        self._control = ControlServer(
            config.gateway.data,
            {
                "prune": prune_handler(config.gateway.data / LOG_FOLDER, store_key, log, seal),
                "record": record_handler(log.reader, seal),
                "status": self._tell_status,
                "checkpoint": checkpoint_handler(self.pipeline, self._journal),
                "renew": renew_handler(config.enrolment.url, self._uplink),
                **key_handlers(change),
                **self._exercise.handlers(),
                **self._perimeter.handlers(),
                **self._coldchain.handlers(),
            },
            gate=self._perimeter.administration,
            further=further_socket(config),
        )
        self.health_address = ""  # where health is shown, host:port; empty if nowhere

    def _make_coldchain(self, arguments: Sequence[str], tally: Tally, store_key: bytes) -> ColdChain:
        """Put together what judges readings, and what follows from that."""
        found = ColdChain(
            self._config,
            clock=self._clock,
            metrics=self._metrics,
            log=self.log,
            journal=self._journal,
            pipeline=self.pipeline,
            projection=self._projection,
            book=self._book,
            arguments=arguments,
            around=Around(store_key, self.listener, tally, self._instruments.worries, self._perimeter.ailing),
        )
        self._journal.heard = found.heard
        return found

    def _make_listener(self) -> MqttListener:
        """Put together what takes devices in."""
        config = self._config
        return MqttListener(
            config.mqtt,
            policy=open_policy(config),
            intake=self.pipeline,
            clock=self._clock,
            metrics=self._metrics,
            store=self._sessions,
            keep=KeptCertificates(config.gateway.data / CERTIFICATES).keep,
            conduct=make_conduct(config.topics),
        )

    def _make_instruments(self, tally: Tally, progress: Progress, store_key: bytes) -> Instruments:
        """Put together what can be seen of all this."""
        return Instruments(
            self._config,
            clock=self._clock,
            metrics=self._metrics,
            tally=tally,
            progress=progress,
            log=self.log,
            journal=self._journal,
            store_key=store_key,
            budget=Watch(self._config.budget, memory=memory_in_use, close=self.listener.close_doors),
        )

    def _make_pipeline(self, tally: Tally) -> Pipeline:
        """Put the main path together."""
        config = self._config
        floods = Floods(config.pipeline.rejected_per_minute)
        return Pipeline(
            preparation=Preparation(
                projection=self._projection,
                rejections=Rejections(floods, self._journal, self._metrics),
                journal=self._journal,
                tally=tally,
                book=self._book,
            ),
            journal=self._journal,
            clock=self._clock,
            tally=tally,
            max_pending=config.pipeline.max_pending,
            window_s=config.store.commit_window_ms / 1000,
        )

    def _make_scrubbing(self, store_key: bytes) -> Scrubbing:
        """Put together what reads the whole log again."""
        return Scrubbing(
            self._config.gateway.data / LOG_FOLDER,
            store_key,
            self._config.recovery.scrub_hours * 3600,
            damaged=self._note_damage,
            done=self._note_sound,
        )

    def _make_roll_over(self, keys: Keys) -> RollOver:
        """Put together what changes the log's keys."""
        return RollOver(
            self._config.keys,
            _HERE,
            keys=keys,
            log=self.log,
            journal=self._journal,
            clock=self._clock,
            alone=self.pipeline.alone,
            stand_ins=stand_ins(self._config),
        )

    def _make_standby(self, change: RollOver) -> Standby:
        """Put together what watches the checkpoint key in chip or token."""
        return Standby(
            change,
            self._journal,
            clock=self._clock,
            metrics=self._metrics,
            patience_s=self._config.hardware.patience_s,
            is_wanted=is_held(self._config.keys.checkpoint),
        )

    def _make_counting(self, store_key: bytes, standby: Standby) -> Counting | None:
        """Put together what counts segments in the TPM, where a counter is named."""
        if not self._config.hardware.counter:
            return None
        return Counting(
            self._config, self.log, store_key, clock=self._clock, metrics=self._metrics, standby=standby
        )

    @classmethod
    async def open(cls, config: GatewayConfig, arguments: Sequence[str]) -> Gateway:
        """Open everything that is on disk; the arguments are those of `run`.

        Raises:
            OperatorError: a file, a key or a setting is wrong.
            RolledBackError: the log was put back to an older state, and nobody has decided what follows.
            UnavailableError, TrustError: the log cannot be opened.
        """
        make_private_folder(config.gateway.data)
        require_unrefused(config.gateway.data)
        store_key = read_symmetric_key(config.store.key, _HERE)
        began = (clock := Clock()).now()
        config, log = await open_sound(config, store_key, began.t_ms)
        took_s = (clock.now().mono_ms - began.mono_ms) / 1000
        _log.emit(events.STORE_OPENED, size=log.size, replayed=log.replayed, seconds=took_s)
        try:
            await require_newest(config, log.reader, store_key, began.t_ms)
            await asyncio.to_thread(require_counted, config, log.reader, store_key, began.t_ms)
            require_same(config, log)
            return cls(config, arguments, log, store_key)
        except ColdsealError:
            await log.close()
            raise

    async def serve(self, stop: asyncio.Event) -> None:
        """Record the start, take readings in until ``stop`` is set, and end in order.

        Raises:
            RolledBackError: the uplink found that the log was put back to an older state.
        """
        await self._record_start()
        supervisor = Supervisor.of(os.environ)
        async with asyncio.TaskGroup() as tasks:
            own = self.log.maintain(), self.log.pack(), self._tick(supervisor), self._scrubbing.run()
            others = *self._perimeter.tasks(), *self._coldchain.tasks()
            beside = [tasks.create_task(each) for each in (*own, *others)]
            committing = tasks.create_task(self.pipeline.run())
            if self._uplink is not None:
                beside.append(tasks.create_task(self._uplink.run()))
            if self._archivist is not None:
                beside.append(tasks.create_task(self._archivist.run()))
            await self._control.start()
            await self.listener.start()
            if self._config.http.listen is not None:
                self.health_address = await self._health.start(self._config.http.listen)
                _log.emit(events.HTTP_LISTENING, address=self.health_address)
            _log.emit(
                events.GATEWAY_STARTED,
                origin=self._config.gateway.origin,
                size=self.log.size,
                mode=self._config.gateway.signature,
                listeners=[str(port) for port in self._ports()],
                software=SOFTWARE,
            )
            supervisor.ready()
            await wait_refused(self._config.gateway.data, stop)
            supervisor.stopping()
            self._exercise.stop()
            await self._perimeter.stop()
            await self.listener.stop()
            self.pipeline.stop()
            await committing
            await self._control.stop()
            for task in beside:
                task.cancel()
        require_unrefused(self._config.gateway.data)
        await self._record_own("shutdown", {"reason": "asked to stop"})
        _log.emit(events.GATEWAY_STOPPED, reason="asked to stop", size=self.log.size)

    async def close(self) -> None:
        """Close what is open; after `serve`, or instead of it."""
        await self._health.stop()
        await self._control.stop()
        if self._beside is not None:
            self._beside.close()
        self._sessions.close()
        await self.log.close()

    def reload(self) -> None:
        """Take renewed certificates, revocation list and passwords into use; what is wrong stays out."""
        path = str(self._config.mqtt.certificate)
        try:
            self.listener.reload()
        except OperatorError as error:
            _log.emit(events.CERTIFICATE_KEPT, certificate=path, error=str(error))
            return
        days = self._instruments.certificate_days()
        _log.emit(events.CERTIFICATE_RELOADED, certificate=path, days=days)

    def _note_damage(self, seq: int | None) -> None:
        """Show that the log is damaged, and leave word for the next start."""
        self._metrics.store_damaged.set(1)
        note_damage(self._config, seq)

    def _note_sound(self, entries: int) -> None:
        """Show that the whole log was read again."""
        self._metrics.scrubbed_entries.set(entries)
        self._metrics.scrubbed_at.set(self._clock.now().t_ms / 1000)

    def _ports(self) -> Sequence[int]:
        """Name the ports that the listener has bound."""
        mqtt = self._config.mqtt
        bound = [self.listener.port] if mqtt.listen is not None else []
        return [*bound, self.listener.plain_port] if mqtt.plain_listen is not None else bound

    async def _tick(self, supervisor: Supervisor) -> None:
        """Let time do its work, once a second."""
        interval_ms = self._config.checkpoint.heartbeat_seconds * 1000
        due_ms = self._clock.now().mono_ms + interval_ms
        while True:
            await asyncio.sleep(TICK_S)
            now = self._clock.now()
            if now.mono_ms >= due_ms:
                due_ms = now.mono_ms + interval_ms
                self.pipeline.record("heartbeat", canonical.encode(self._instruments.heartbeat()))
            self.pipeline.tick()
            self._instruments.refresh()
            self._perimeter.tick()
            self._coldchain.tick()
            supervisor.beat(is_moving=self._instruments.is_moving())
            if self._beside is not None:
                self._beside.rest()
            if self._uplink is not None:
                self._uplink.tell(self.log.size)

    async def _record_start(self) -> None:
        """Begin the log with its genesis, or record that this program took it up again."""
        drafts = start_drafts(self._config, self.log, self._keys, self._journal, self._clock)
        await self._journal.append(drafts, self._projection.snapshot)

    def _tell_status(self, _request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """Answer the request `status`."""
        answer({"status": self._status()})

    def _status(self) -> Mapping[str, object]:
        """Say how everything stands, for a person."""
        return {**self._instruments.status(), **self._perimeter.status(), **self._coldchain.status()}

    async def _record_own(self, kind: str, data: dict[str, canonical.Value]) -> None:
        """Seal an entry of the log's own, with a checkpoint over it."""
        draft = self._journal.draft(kind, canonical.encode(data), self._clock.now())
        await self._journal.append([draft], self._projection.snapshot)
