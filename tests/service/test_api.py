"""Memory for bodies is shared: what does not fit waits unread, and nobody is forgotten."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from coldseal.service.api import _caller, _certificate
from coldseal.service.callers import NotAdmittedError
from coldseal.service.room import BodyError, Room


async def test_bodies_that_fit_are_read_at_the_same_time() -> None:
    """Up to the limit together."""
    room = Room(100, 9)

    async with room.take(60), room.take(40):
        assert room._taken == 100
    assert room._taken == 0


async def test_a_body_that_does_not_fit_waits_for_room() -> None:
    """And comes in as soon as there is some."""
    room = Room(100, 9)
    order: list[str] = []

    async def second() -> None:
        async with room.take(50):
            order.append("second")

    async with room.take(60):
        waiting = asyncio.ensure_future(second())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        order.append("first")
    await waiting

    assert order == ["first", "second"]


async def test_a_body_larger_than_all_room_goes_alone() -> None:
    """It is not shut out for ever."""
    async with asyncio.timeout(5), Room(10, 9).take(50):
        pass


async def test_a_caller_that_leaves_gives_its_room_back() -> None:
    """Whatever ends it."""
    room = Room(100, 9)

    with pytest.raises(ConnectionError):
        async with room.take(100):
            raise ConnectionError

    async with asyncio.timeout(5), room.take(100):
        pass


async def test_more_bodies_than_are_to_wait_are_put_off_unread() -> None:
    """Waiting counts too; whoever leaves makes room for the next."""
    room = Room(100, 2)

    async with room.take(80):
        waiting = asyncio.ensure_future(_pass(room))
        await asyncio.sleep(0)
        with pytest.raises(BodyError) as caught:
            await _pass(room)
        assert (caught.value.status, caught.value.error) == (503, "busy")
    await waiting
    async with asyncio.timeout(5):
        await asyncio.gather(_pass(room), _pass(room))


async def _pass(room: Room) -> None:
    """Go through the room."""
    async with room.take(30):
        pass


def test_a_scope_without_a_certificate_has_none() -> None:
    """As another server than ours would give it."""
    assert _certificate(Request({"type": "http"})) is None
    assert _certificate(Request({"type": "http", "extensions": {"coldseal.certificate": "text"}})) is None


async def test_a_page_asked_for_without_a_certificate_is_refused() -> None:
    """As another server than ours would pass it on."""
    with pytest.raises(NotAdmittedError):
        _caller(Request({"type": "http"}), "operator")
