"""Writes groups of session changes in a thread, one after the other, and says when each is durable.

A group that cannot be written is kept and tried again; until it is durable nothing that depends on it
is confirmed. Without a store every group is confirmed at once.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from coldseal.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.gateway.sources.sessions import Kept, SessionStore
    from coldseal.mqtt.session import Changes


class SessionWriter:
    """The one that uses the store.

    Args:
        store: where sessions are kept; None keeps none.
        take: gives the next group of changes, or None when there are none.
        written: called with a group's number once it is durable.
        failed: called with the error when the disk refuses.
    """

    def __init__(
        self,
        store: SessionStore | None,
        *,
        take: Callable[[], Changes | None],
        written: Callable[[int], None],
        failed: Callable[[UnavailableError], None],
    ) -> None:
        """Start with nothing to write; the thread comes with the first group."""
        self._store = store
        self._take, self._written, self._failed = take, written, failed
        self._thread = ThreadPoolExecutor(1, "sessions")
        self._running: asyncio.Future[None] | None = None
        self._group: Changes | None = None

    @property
    def is_idle(self) -> bool:
        """Whether everything taken so far is durable."""
        return self._group is None

    async def load(self) -> Kept | None:
        """Read what was kept; None without a store.

        Raises:
            OperatorError: it was written by a later version, or cannot be understood.
            UnavailableError: it cannot be read.
        """
        if self._store is None:
            return None
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._store.load)

    def write(self) -> None:
        """Write the next group, or the one that failed, unless one is being written."""
        if self._running is not None:
            return
        group = self._group = self._group or self._take()
        if group is None:
            return
        if self._store is None:
            self._group = None
            self._written(group.group)
            return
        loop = asyncio.get_running_loop()
        self._running = loop.run_in_executor(self._thread, _write, self._store, group)
        self._running.add_done_callback(self._done)

    def _done(self, outcome: asyncio.Future[None]) -> None:
        """A group has been written, or could not be."""
        group, self._running = self._group, None
        try:
            outcome.result()
        except UnavailableError as error:
            self._failed(error)
        else:
            self._group = None
            if group is not None:
                self._written(group.group)

    def close(self) -> None:
        """End the thread, after the group that it writes."""
        self._thread.shutdown()


def _write(store: SessionStore, group: Changes) -> None:
    """Write a group; tidying is apart, because the group is durable before it."""
    store.write(group)
    with suppress(UnavailableError):
        store.tidy()
