"""An event loop whose clock is virtual: it never waits, and what it does is a pure function of its seed.

When nothing is ready it leaps to the next timer. What is ready at one moment runs in an order drawn from the
seed; what goes to an executor, whichever, runs in the loop's own thread, a drawn time later, one after the
other for each executor. Reads no socket and no clock.
"""

from __future__ import annotations

import asyncio
import selectors
from concurrent.futures import Executor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping
    from contextvars import Context
    from random import Random

Result = TypeVar("Result")

MAX_TURNS: Final = 5_000_000
"""Turns of the loop after which a run is taken to be going round in circles."""


class StuckError(RuntimeError):
    """Nothing is ready and no timer is set, or there is no end to it."""


class _Leap(selectors.SelectSelector):
    """Stands where the loop would wait for sockets; the time it is asked to wait passes at once."""

    def __init__(self, leap: Callable[[float | None], None]) -> None:
        """Take what lets time pass."""
        super().__init__()
        self._leap = leap

    @override
    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let time pass; no socket is ever ready."""
        self._leap(timeout)
        return []


class NumberedTask(asyncio.Task[Any]):
    """A task that sets keep in one order in every run: others are kept by their place in memory."""

    def __init__(
        self,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        *,
        number: int,
        loop: asyncio.AbstractEventLoop,
        context: Context | None = None,
    ) -> None:
        """Begin it under a number."""
        self.number = number
        super().__init__(coro, loop=loop, context=context)

    @override
    def __hash__(self) -> int:
        """Give the number."""
        return self.number


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop.

    Args:
        chance: draws orders and how long an executor takes.
        slowness_s: the longest time that an executor takes for one thing.

    Attributes:
        complaints: what nobody was there to catch.
    """

    def __init__(self, chance: Random, *, slowness_s: float) -> None:
        """Begin at zero."""
        self._now = 0.0
        self._chance, self._slowness_s = chance, slowness_s
        self._turns = self._tasks = 0
        self._free_at: dict[object, float] = {}
        self.complaints: list[str] = []
        super().__init__(_Leap(self._leap))
        self._clock_resolution = 1e-6  # as fine as a number of seconds is after many days
        self.set_task_factory(self._number)
        self.set_exception_handler(self._complain)

    @override
    def time(self) -> float:
        """Give virtual seconds since the beginning."""
        return self._now

    def _leap(self, timeout: float | None) -> None:
        """Go to the next timer, and draw in which order what is ready now will run."""
        ready = self._ready  # type: ignore[attr-defined] # the loop's own queue; the types do not show it
        self._turns += 1
        if self._turns > MAX_TURNS or (timeout is None and not ready):
            raise StuckError("the simulated world stands still")
        if timeout:
            self._now += timeout
        elif len(ready) > 1:
            self._chance.shuffle(ready)

    def _number(
        self,
        loop: asyncio.AbstractEventLoop,
        coro: Coroutine[Any, Any, Any] | Generator[Any, None, Any],
        context: Context | None = None,
        **_more: object,
    ) -> NumberedTask:
        """Make a task with a number of its own."""
        self._tasks += 1
        return NumberedTask(coro, number=self._tasks, loop=loop, context=context)

    def _complain(self, _loop: asyncio.AbstractEventLoop, context: Mapping[str, object]) -> None:
        """Note what would be written to a log."""
        self.complaints.append(f"{context.get('message')}: {context.get('exception')!r}")

    @override
    def run_in_executor(  # type: ignore[override] # the base names its arguments by their places
        self, executor: object, func: Callable[..., Result], *args: Any
    ) -> asyncio.Future[Result]:
        """Do it in this thread, later; its outcome is known later still."""
        found: asyncio.Future[Result] = self.create_future()
        start = max(self._now, self._free_at.get(self._waits_for(executor, func), 0.0)) + self._draw()
        end = start + self._draw()
        if executor is not None:
            self._free_at[executor] = end

        def work() -> None:
            try:
                value = func(*args)
            except Exception as error:  # noqa: BLE001 -- whatever it is, it belongs to whoever waits
                self.call_at(end, _settle, found, error)
            else:
                self.call_at(end, _settle, found, None, value)

        self.call_at(start, work)
        return found

    def _waits_for(self, executor: object, func: Callable[..., object]) -> object:
        """Give the executor whose work comes before: one that is shut down ends what it was given first."""
        inner = func.args[0] if isinstance(func, partial) and func.args else None
        owner = getattr(inner, "__self__", None)
        return owner if isinstance(owner, Executor) else executor

    def _draw(self) -> float:
        """Draw how long something takes: mostly next to nothing."""
        return self._slowness_s * self._chance.random() ** 3 + 1e-6


def _settle(found: asyncio.Future[Result], error: Exception | None, *values: Result) -> None:
    """Tell whoever waits, if somebody still does."""
    if found.done():
        return
    if error is not None:
        found.set_exception(error)
    else:
        found.set_result(values[0])


def run_virtual(main: Coroutine[Any, Any, Result], loop: VirtualLoop) -> Result:
    """Run something to its end on a virtual loop, which is closed then."""
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(_cancel_rest())
        asyncio.set_event_loop(None)
        loop.close()


async def _cancel_rest() -> None:
    """End whatever was left running."""
    rest = sorted(
        (task for task in asyncio.all_tasks() if task is not asyncio.current_task()),
        key=lambda task: task.number if isinstance(task, NumberedTask) else 0,
    )
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
