"""The cold-chain rules of a running gateway, in one place for the program: judging, changes, alarms, routes.

Each part is a line in `tasks`, `handlers`, `tick`, `heard` or `status`, and has its module. What stands on
the way of a reading is `evaluating`; nothing here does.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from coldseal.core.log import canonical
from coldseal.gateway.alarming.opening import Around, open_desk
from coldseal.gateway.assigning import require_registered
from coldseal.gateway.changing import REQUEST, Changing
from coldseal.gateway.configured import changes
from coldseal.gateway.governance import open_policy
from coldseal.gateway.listening import Listening
from coldseal.gateway.persons import Directory
from coldseal.gateway.records import open_reader
from coldseal.gateway.replaying import REQUEST as REPLAY
from coldseal.gateway.replaying import Replaying
from coldseal.gateway.requests import later
from coldseal.gateway.routing.decisions import REQUEST as ROUTE
from coldseal.gateway.routing.part import Routing
from coldseal.gateway.schemas import hashes_of, reload_book
from coldseal.gateway.upkeep import Upkeep

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Answer, Handler
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.projection import Projection
    from coldseal.gateway.schemas import Book
    from coldseal.gateway.store.journal import Journal
    from coldseal.gateway.store.log import Log
    from coldseal.observe.metrics import GatewayMetrics


class ColdChain:
    """All of it.

    Args:
        config: the gateway's configuration.
        clock: gives the moment.
        metrics: where counts are shown.
        log: the log on disk.
        journal: stamps drafts.
        pipeline: seals entries in their place between messages.
        projection: register and evaluation, as the log has them.
        book: the schemas that are known.
        arguments: configuration file and overrides, for a process of its own.
        around: what alarms need of the program around them.

    Attributes:
        changing: makes entries that change what readings are judged by.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        clock: Clock,
        metrics: GatewayMetrics,
        log: Log,
        journal: Journal,
        pipeline: Pipeline,
        projection: Projection,
        book: Book,
        arguments: Sequence[str],
        around: Around,
    ) -> None:
        """Put the parts together; nothing runs yet."""
        self._config, self._clock, self._metrics, self._log = config, clock, metrics, log
        self._journal, self._pipeline = journal, pipeline
        self._evaluator, self._book, self._hashes = projection.evaluator, book, hashes_of(config)
        self.changing = Changing(projection.evaluator, journal, pipeline, clock, config.gateway.origin)
        self._replaying = Replaying(
            book,
            reload=self._reload,
            open_reader=lambda: open_reader(config),
            evaluator=projection.evaluator,
            journal=journal,
            pipeline=pipeline,
            clock=clock,
        )
        self._alarms = open_desk(
            config,
            arguments,
            around,
            clock=clock,
            metrics=metrics,
            log=log,
            pipeline=pipeline,
            register=lambda: projection.evaluator.register,
        )
        registered = partial(require_registered, open_policy(config))
        self.changing.checks.update({"calibration": registered, "config": registered})
        self.changing.checks["ack"] = self._alarms.require_fitting
        self._listening = Listening(projection.evaluator, journal, pipeline, clock)
        self._routing = Routing(
            config, arguments, clock=clock, metrics=metrics, log=log, store_key=around.store_key
        )
        self._upkeep = Upkeep(
            lambda: projection.evaluator.register,
            clock,
            metrics,
            warning_days=config.coldchain.calibration_warning_days,
        )

    def _reload(self) -> None:
        """Read the schemas again, and put on record which ones changed.

        Raises:
            OperatorError: a file is wrong; what was in use stays so.
        """
        reload_book(self._config, self._book)
        before, self._hashes = self._hashes, hashes_of(self._config)
        person = Directory(self._config.administration).myself()
        for said in changes(before, self._hashes, person, "the folder of schemas was read again"):
            self._pipeline.record("config", canonical.encode(said))

    def tasks(self) -> Sequence[Coroutine[None, None, None]]:
        """Give what runs beside the main path, until it is cancelled."""
        return (*self._alarms.tasks(), *self._routing.tasks())

    def handlers(self) -> Mapping[str, Handler]:
        """Give what answers requests of the control channel."""
        return {
            **self._alarms.handlers(),
            REPLAY: later(self._replaying.work),
            REQUEST: later(self.changing.work),
            "excursions": self._tell_excursions,
            ROUTE: later(self._routing.work),
        }

    def heard(self, entries: Sequence[bytes]) -> None:
        """Learn which notable entries are on disk, in order."""
        self._alarms.heard(entries)

    def tick(self) -> None:
        """Let time do its work, once a second."""
        self._listening.tick()
        self._alarms.tick()
        self._routing.tick()
        self._upkeep.tick()

    def status(self) -> Mapping[str, object]:
        """Say how it stands, for a person."""
        excursions = self._evaluator.evaluation.open_excursions()
        return {
            "alarms": self._alarms.status(),
            "excursions": excursions,
            **self._routing.status(),
            **self._upkeep.status(),
        }

    def _tell_excursions(self, _request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        """Answer which excursions are open, and what each asset has used up."""
        evaluation = self._evaluator.evaluation
        totals = {asset: evaluation.totals(asset) for asset in sorted(self._evaluator.register.assets)}
        answer({"excursions": evaluation.open_excursions(), "totals": totals})
