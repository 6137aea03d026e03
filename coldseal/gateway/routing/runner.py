"""Brings one route forward, for ever: gathers, sends, keeps the position, and tries again.

Promise: at least once and in the log's order; a position moves on when the sink has taken what is below, or
it is put aside. A sink that refuses a list gets shorter ones until the culprit is alone. Waits for nobody but
its own sink. Which entries go, and in which form, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from msgspec.structs import replace

from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.log.delivery.sender import RetryPolicy
from coldseal.errors import UnavailableError
from coldseal.gateway.routing.gathering import MissingError
from coldseal.gateway.routing.kept import Aside
from coldseal.gateway.routing.report import RouteStatus
from coldseal.gateway.routing.sink import Away, Refused
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from coldseal.gateway.routing.gathering import Gathered, Gathering
    from coldseal.gateway.routing.kept import Kept, Position
    from coldseal.gateway.routing.sink import Sink, Verdict
    from coldseal.gateway.tables.routes import Route
    from coldseal.gateway.uplink.runner import Bell

POLL_S: Final = 5.0
"""Longest pause between looks at the log, should nobody tell that it has grown."""

SKIPPED_ENTRIES: Final = 10_000
SKIPPED_S: Final = 60.0
"""A position over entries that do not go is written after so many of them, or after so long: to look through
them again is harmless, and to write for each would wear the disk out."""

Result = TypeVar("Result")
_log = Log("routes")


class Alone(Protocol):
    """Runs a function in the one thread that uses log and positions."""

    def __call__(self, work: Callable[..., Result], /, *arguments: object) -> Awaitable[Result]:
        """Give what the function gives."""


class Runner:
    """One route.

    Args:
        route: the route.
        origin: the log's.
        gathering: finds what goes.
        sink: takes it.
        kept: where the position is kept.
        alone: runs what reads and writes.
        bell: rings when the log has grown, or a person has decided something.
        chance: gives a number in [0, 1) for each wait.
        now_ms: wall time, ms since 1970.
        show: is told how the route stands.
    """

    def __init__(
        self,
        route: Route,
        origin: str,
        *,
        gathering: Gathering,
        sink: Sink,
        kept: Kept,
        alone: Alone,
        bell: Bell,
        chance: Callable[[], float],
        now_ms: Callable[[], int],
        show: Callable[[RouteStatus], None],
    ) -> None:
        """Take the parts; nothing is read yet."""
        self._route, self._origin = route, origin
        self._gathering, self._sink, self._kept, self._alone = gathering, sink, kept, alone
        self._bell, self._chance, self._now_ms, self._show = bell, chance, now_ms, show
        self._retry = RetryPolicy(route.retry_initial_s, route.retry_max_s)
        self._status = RouteStatus()
        self._position = self._written = self._failures = 0
        self._written_ms = 0
        self._room = route.batch
        self._is_decided, self._passed = True, frozenset[int]()

    def decide(self) -> None:
        """Look at what a person has decided, now."""
        self._is_decided = True
        self._bell.nudge()

    async def begin(self) -> int:
        """Find out where the route stands, and give that.

        Raises:
            UnavailableError: log or positions cannot be read.
        """
        found = await self._alone(self._begin)
        self._position = self._written = found.position
        self._written_ms = self._now_ms()
        self._tell(position=found.position, delivered=found.delivered, missed=found.missed)
        return found.position

    async def run(self) -> None:
        """Bring it forward, from where `begin` found it.

        Raises:
            UnavailableError: the position cannot be written.
            TrustError: the log is damaged.
        """
        while True:
            await self.step()

    async def step(self) -> None:
        """Send what a person wants again, then the next parcels; or wait for some."""
        try:
            if self._is_decided:
                self._is_decided = False  # before the look: what is decided meanwhile is looked at again
                if not await self._send_again():
                    self._is_decided = True
                    return
            found = await self._alone(self._gathering.next, self._position, self._room, self._passed)
        except MissingError as error:
            await self._miss(error)
            return
        except UnavailableError as error:
            self._is_decided = True
            await self._wait_away(Away("log", str(error)))
            return
        if not found.parcels:
            await self._skip(found)
            return
        if self._status.aside >= self._route.quarantine_max:
            await self._hold(found)
            return
        await self._send(found)

    def _begin(self) -> Position:
        """Give the position, that of a new route where it is to begin."""
        at = self._gathering.size() if self._route.begin == "now" else 0
        return self._kept.begin(self._route.name, self._origin, at)

    async def _send(self, found: Gathered) -> None:
        """Send parcels, and do what the verdict asks for."""
        self._tell(waiting_ms=moment_ms(found.parcels[0].t), is_held=False)
        verdict = await self._sink.send(found.parcels)
        if verdict.taken:
            await self._take(found, verdict)
        match verdict.fault:
            case Away() as away:
                await self._wait_away(away)
            case Refused(about=1) as refused:
                self._welcome()
                await self._put_aside(found, verdict.taken, refused)
            case Refused(about=about):
                self._welcome()
                self._room = max(1, about // 2)
            case None:
                self._welcome()
                self._room = min(self._route.batch, 2 * self._room)

    async def _take(self, found: Gathered, verdict: Verdict) -> None:
        """Move on over what the sink has taken."""
        is_all = verdict.taken == len(found.parcels)
        position = found.end if is_all else found.parcels[verdict.taken].seq
        await self._advance(position, delivered=verdict.taken)

    async def _advance(self, position: int, *, delivered: int = 0, missed: int = 0) -> None:
        """Move on, on disk first."""
        name = self._route.name
        await self._alone(lambda: self._kept.advance(name, position, delivered=delivered, missed=missed))
        self._position = self._written = position
        self._written_ms = self._now_ms()
        before = self._status
        self._tell(
            position=position,
            delivered=before.delivered + delivered,
            missed=before.missed + missed,
            waiting_ms=0,
        )

    async def _skip(self, found: Gathered) -> None:
        """Move on over what does not go, and wait where nothing else is there."""
        self._position = found.end
        is_far = self._position - self._written >= SKIPPED_ENTRIES
        is_late = self._position > self._written and self._now_ms() - self._written_ms >= SKIPPED_S * 1000
        if is_far or is_late:
            await self._advance(self._position)
        self._tell(position=self._position, waiting_ms=0, is_held=False)
        if found.end >= found.limit:
            await self._bell.wait_growth(POLL_S)

    async def _put_aside(self, found: Gathered, place: int, refused: Refused) -> None:
        """Put one parcel aside, and move on."""
        parcel, name = found.parcels[place], self._route.name
        aside = Aside(parcel.seq, found.kinds[place], self._now_ms(), refused.status, refused.detail)
        is_last = place + 1 == len(found.parcels)
        position = found.end if is_last else found.parcels[place + 1].seq
        await self._alone(self._kept.put_aside, name, aside, position)
        self._position = self._written = position
        if not self._status.aside:
            _log.emit(
                events.ROUTE_REFUSED, route=name, seq=aside.seq, status=aside.status, detail=aside.detail
            )
        self._tell(position=position, aside=self._status.aside + 1, waiting_ms=0)

    async def _hold(self, found: Gathered) -> None:
        """Stand still until a person has decided about what is put aside."""
        if not self._status.is_held:
            _log.emit(events.ROUTE_HELD, route=self._route.name, aside=self._status.aside)
        self._tell(is_held=True, waiting_ms=moment_ms(found.parcels[0].t))
        await self._bell.wait_nudge(POLL_S)

    async def _miss(self, error: MissingError) -> None:
        """Go on behind entries that are not here any more, and say so."""
        _log.emit(
            events.ROUTE_MISSED, route=self._route.name, first=error.first, last=error.last, where=error.where
        )
        await self._advance(error.last + 1, missed=error.last + 1 - error.first)

    async def _send_again(self) -> bool:
        """Send what a person wants sent again; whether the sink is there for others."""
        wanted = await self._alone(self._kept.wanted, self._route.name)
        for each in wanted:
            try:
                parcel = await self._alone(self._gathering.one, each.seq)
            except MissingError as error:
                await self._refuse_again(each, Refused("missing", str(error)))
                continue
            verdict = await self._sink.send((parcel,))
            if isinstance(verdict.fault, Away):
                await self._wait_away(verdict.fault)
                return False
            self._welcome()
            if isinstance(verdict.fault, Refused):
                await self._refuse_again(each, verdict.fault)
                continue
            await self._alone(lambda seq: self._kept.settle(self._route.name, seq, delivered=1), each.seq)
            self._tell(delivered=self._status.delivered + 1)
        self._passed = await self._alone(self._kept.given_up, self._route.name)
        self._tell(aside=await self._alone(self._kept.count, self._route.name))
        return True

    async def _refuse_again(self, each: Aside, refused: Refused) -> None:
        """Put an entry back aside, with the newest answer."""
        aside = Aside(each.seq, each.kind, self._now_ms(), refused.status, refused.detail)
        await self._alone(self._kept.put_aside, self._route.name, aside, 0)

    async def _wait_away(self, away: Away) -> None:
        """Wait after a failure; a person can shorten it."""
        self._failures += 1
        if not self._status.fault:
            _log.emit(events.ROUTE_LOST, route=self._route.name, cause=away.cause, detail=away.detail)
        failed = {**self._status.failed, away.cause: self._status.failed.get(away.cause, 0) + 1}
        self._tell(fault=f"{away.cause}: {away.detail}", failed=failed)
        await self._bell.wait_nudge(self._retry.delay(self._failures, self._chance(), away.after_s))

    def _welcome(self) -> None:
        """The sink answers."""
        self._failures = 0
        if self._status.fault:
            _log.emit(events.ROUTE_BACK, route=self._route.name, position=self._position)
            self._tell(fault="")

    def _tell(self, **changes: object) -> None:
        """Show how the route stands."""
        self._status = replace(self._status, **changes)
        self._show(self._status)
