"""The main path: decode → validate → evaluate → seal → commit → acknowledge.

Promise: whoever is answered SEALED has its reading signed, chained and on disk. Messages keep the
order in which they were submitted; those that arrive while groups are under way make the next.
It knows no transport and no limit of one: a source asks ``is_full`` before it reads on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

from coldseal.errors import UnavailableError
from coldseal.gateway.grouping import Group, own_item
from coldseal.gateway.message import Outcome

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Awaitable, Callable, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.evaluating import Before
    from coldseal.gateway.message import Message
    from coldseal.gateway.preparation import Item, Preparation
    from coldseal.gateway.store.drafts import Draft
    from coldseal.gateway.store.journal import Journal, Snapshot
    from coldseal.gateway.tally import Tally

PART: Final = 256
"""Of more messages than this, half is sealed at a time: the rest while those are written."""

EARLY: Final = 32
"""So many messages are sealed while others are under way; fewer wait, so that they share a commit."""

AHEAD: Final = 3
"""Groups under way at most: one is written, one sealed, and one is ready for the sealing process."""


class Pipeline:
    """Takes messages in, one group at a time through the journal, and answers each.

    Args:
        preparation: decodes, validates and evaluates a message.
        journal: seals and commits.
        clock: gives the moment.
        tally: counts what happens.
        max_pending: messages that may wait for a commit.
        window_s: time that a commit waits for more messages, in seconds.
    """

    def __init__(
        self,
        *,
        preparation: Preparation,
        journal: Journal,
        clock: Clock,
        tally: Tally,
        max_pending: int,
        window_s: float = 0,
    ) -> None:
        """Take the parts; nothing runs yet."""
        self._preparation, self._journal, self._clock, self._tally = preparation, journal, clock, tally
        self._max_pending, self._window_s = max_pending, window_s
        self._pending: list[Item] = []
        self._counted: list[Item] = []
        self._own: list[Draft] = []
        self._under_way: deque[Group] = deque()
        self._stirred, self._handed, self._moved = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._turn = asyncio.Lock()
        self._is_at_end = self._is_stopping = False

    @property
    def is_full(self) -> bool:
        """Tell a source to stop reading until its earlier messages are answered."""
        return len(self._pending) >= self._max_pending

    def submit(self, message: Message) -> None:
        """Take a message in; its ``acknowledge`` is called once its group is on disk."""
        item = self._preparation.prepare(message)
        if not item.is_counted:
            self._pending.append(item)
            self._stirred.set()
            if len(self._pending) == EARLY:
                self._moved.set()
        elif message.qos:
            self._counted.append(item)
        else:  # its sender waits for no answer; its source does, to read on
            message.acknowledge(item.outcome, item.reason)

    def record(self, kind: str, data: bytes) -> None:
        """Seal an entry of the log's own, such as a heartbeat, with the next group."""
        self._own.append(self._journal.draft(kind, data, self._clock.now()))
        self._stirred.set()

    def enter(self, drafts: Sequence[Draft], before: Before | None) -> Future[list[bytes]]:
        """Seal own entries in their place between messages; gives them once they are on disk."""
        item, entered = own_item(drafts, before, self._clock.now())
        self._pending.append(item)
        self._stirred.set()
        return entered

    def tick(self) -> None:
        """Once a second: seal what was only counted, and let a due checkpoint be made."""
        counts = self._preparation.counted(self._clock.now())
        if counts:
            self._own += counts
            self._pending += self._counted
            self._counted = []
        self._stirred.set()

    def stop(self) -> None:
        """Let :meth:`run` end once nothing is pending."""
        self._is_stopping = True
        self.tick()

    async def run(self) -> None:
        """Seal and commit group after group until stopped; while one commits, others are sealed."""
        async with asyncio.TaskGroup() as stages:
            stages.create_task(self._hand_over_groups())
            stages.create_task(self._commit_groups())

    async def _hand_over_groups(self) -> None:
        """Take what has arrived, a part of it where it is much, and hand it over to be sealed."""
        while not self._is_stopping or self._pending or self._own:
            await self._stirred.wait()
            await asyncio.sleep(self._window_s)  # one turn of the loop at least: others' bytes are read first
            while self._is_busy:
                self._moved.clear()
                await self._moved.wait()
            async with self._turn:
                self._hand_over_group()
        self._is_at_end = True
        self._handed.set()

    def _hand_over_group(self) -> None:
        """Make a group of what waits."""
        count = max(PART, len(self._pending) // 2)
        items, self._pending = self._pending[:count], self._pending[count:]
        own, self._own = self._own, []
        if not self._pending:
            self._stirred.clear()
        self._tally.begun(len(items), self._clock.now())
        drafts = [*own, *(draft for item in items for draft in item.drafts)]
        handed = self._journal.hand_over(drafts, self._snapshot, is_own=not items)
        self._under_way.append(Group(items, own, handed))
        self._handed.set()

    async def alone(self, step: Callable[[Snapshot], Awaitable[None]]) -> None:
        """Take a step of the log while nothing else is under way; it is given the snapshot's writer."""
        async with self._turn:
            while self._under_way:
                self._moved.clear()
                await self._moved.wait()
            await step(self._snapshot)

    @property
    def _is_busy(self) -> bool:
        """Tell whether what waits had better wait for more: enough is under way for its size."""
        groups = len(self._under_way)
        return groups >= AHEAD or (groups > 0 and len(self._pending) < EARLY)

    async def _commit_groups(self) -> None:
        """Commit and answer group after group, in order; where one fails, all behind it are void."""
        while not self._is_at_end or self._under_way:
            await self._handed.wait()
            while self._under_way:
                group, since = self._under_way[0], self._clock.now()
                try:
                    await self._commit(group)
                except UnavailableError as error:
                    self._give_back(str(error))
                else:
                    self._under_way.popleft()
                    self._tally.committed(group.items, since, self._clock.now())
                    group.tell()
                self._moved.set()
            self._handed.clear()

    async def _commit(self, group: Group) -> None:
        """Commit a group and answer everyone in it: the promise is the order of these two statements."""
        await self._journal.commit(group.handed)
        for item in group.items:
            item.message.acknowledge(item.outcome, item.reason)

    def _give_back(self, reason: str) -> None:
        """Answer BUSY to all: nothing was sealed, and what waits may follow it, or be a duplicate of it."""
        groups, self._under_way = self._under_way, deque()
        items = [item for group in groups for item in group.items] + self._pending
        self._pending = []
        self._own = [] if self._is_stopping else [own for group in groups for own in group.own] + self._own
        self._preparation.forget(items)
        for item in items:
            item.message.acknowledge(Outcome.BUSY, reason)
        self._tally.turned_away(len(items))

    def _snapshot(self) -> bytes | Callable[[], bytes]:
        """Write down which messages are sealed: all that are known, but for those that wait."""
        return self._preparation.snapshot([*self._pending, *self._counted])
