"""Waiting for a chip: beside the loop, no longer than a limit, and with whatever the call came to."""

from __future__ import annotations

import asyncio
import threading

import pytest

from coldseal.errors import UnavailableError
from coldseal.gateway.store.patience import beside_the_loop
from tests.waiting import until


async def test_an_answer_and_a_fault_come_back() -> None:
    """As if it had been called here."""
    assert await beside_the_loop(lambda: threading.current_thread().daemon)

    def fail() -> None:
        raise UnavailableError("the chip", "gone")

    with pytest.raises(UnavailableError, match="gone"):
        await beside_the_loop(fail)


async def test_a_call_that_takes_too_long_is_given_up() -> None:
    """Its late answer is told to nobody."""
    released, ended = threading.Event(), threading.Event()

    def hang() -> None:
        released.wait(30)
        ended.set()

    with pytest.raises(UnavailableError, match=r"no answer within 0\.05 s"):
        await beside_the_loop(hang, limit_s=0.05)
    released.set()
    await until(ended.is_set)
    await asyncio.sleep(0)


def test_an_answer_after_the_loop_s_end_is_lost_quietly() -> None:
    """A program that has ended waits for no chip."""
    released, threads = threading.Event(), threading.enumerate()

    def hang() -> None:
        released.wait(30)

    with pytest.raises(UnavailableError):
        asyncio.run(beside_the_loop(hang, limit_s=0.01))
    released.set()
    for thread in set(threading.enumerate()) - set(threads):
        thread.join(30)
        assert not thread.is_alive()
