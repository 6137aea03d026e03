"""The virtual loop: time is free, order is drawn, and a seed gives the same again."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random
from typing import TYPE_CHECKING, TypeVar

import pytest

from coldseal.demo.world.loop import StuckError, VirtualLoop, run_virtual

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")


def play(main: Coroutine[None, None, Result], seed: int = 1) -> tuple[Result, VirtualLoop]:
    """Run something on a loop of a seed."""
    loop = VirtualLoop(Random(seed), slowness_s=0.01)
    return run_virtual(main, loop), loop


def test_a_year_passes_in_no_time() -> None:
    """Nothing waits: the clock leaps to the next timer."""
    began = time.monotonic()
    _, loop = play(asyncio.sleep(365 * 86_400))
    assert loop.time() == pytest.approx(365 * 86_400)
    assert time.monotonic() - began < 5


def test_what_is_ready_at_one_moment_runs_in_an_order_of_the_seed() -> None:
    """Another seed, another order; the same seed, the same."""

    async def race() -> list[int]:
        order: list[int] = []

        async def run(number: int) -> None:
            await asyncio.sleep(0)
            order.append(number)

        await asyncio.gather(*(run(number) for number in range(12)))
        return order

    orders = [play(race(), seed)[0] for seed in (1, 1, 2, 3)]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3


def test_an_executor_does_one_thing_after_the_other_in_the_loops_thread() -> None:
    """The order in which an executor is given work is the order in which it is done."""

    async def work() -> tuple[list[int], float]:
        executor, done = ThreadPoolExecutor(1), list[int]()
        loop = asyncio.get_running_loop()
        waiting = [loop.run_in_executor(executor, done.append, number) for number in range(20)]
        assert done == []
        await asyncio.to_thread(executor.shutdown)
        assert len(done) == 20, "who shuts an executor down waits for what it was given"
        await asyncio.gather(*waiting)
        return done, loop.time()

    (done, took_s), _ = play(work())
    assert done == list(range(20))
    assert took_s > 0


def test_what_fails_in_an_executor_fails_for_whoever_waits() -> None:
    """An error is handed over, and one that nobody waits for any more is dropped."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, lambda: 1 // 0)
        loop.run_in_executor(None, lambda: 1 // 0).cancel()
        await asyncio.sleep(1)

    assert play(work())[1].complaints == []


def test_a_world_that_stands_still_is_told() -> None:
    """Nothing is ready and no timer is set: that is an end of its own."""
    loop = VirtualLoop(Random(1), slowness_s=0.01)
    with pytest.raises(StuckError):
        run_virtual(asyncio.Event().wait(), loop)


def test_what_nobody_catches_is_kept() -> None:
    """A callback that fails ends nothing, and is not forgotten."""

    async def work() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 // 0)
        await asyncio.sleep(1)

    (complaint,) = play(work())[1].complaints
    assert "ZeroDivisionError" in complaint


def test_what_is_left_running_is_ended() -> None:
    """The loop is closed with nothing under way."""
    ended = []

    async def linger() -> None:
        try:
            await asyncio.sleep(1_000)
        finally:
            ended.append(True)

    async def work() -> None:
        task = asyncio.ensure_future(linger())
        await asyncio.sleep(1)
        assert not task.done()

    play(work())
    assert ended == [True]
