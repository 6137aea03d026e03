"""Messages and own entries that are sealed together, and who is told where the own ones stand."""

from __future__ import annotations

from asyncio import get_running_loop
from typing import TYPE_CHECKING, NamedTuple

from coldseal.errors import UnavailableError
from coldseal.gateway.message import Message, Outcome
from coldseal.gateway.preparation import Item

if TYPE_CHECKING:
    from asyncio import Future
    from collections.abc import Sequence

    from coldseal.gateway.clock import Stamp
    from coldseal.gateway.evaluating import Before
    from coldseal.gateway.store.drafts import Draft
    from coldseal.gateway.store.journal import Handed


class Group(NamedTuple):
    """Messages that are sealed together, with entries of the log's own."""

    items: list[Item]
    own: list[Draft]
    handed: Handed

    def tell(self) -> None:
        """Give the entries of own items to those who wait for them; the group is on disk."""
        if all(item.entered is None for item in self.items):
            return
        sealed, at = self.handed.sealed(), len(self.own)
        for item in self.items:
            if item.entered is not None and not item.entered.done():  # else nobody waits any more
                item.entered.set_result(sealed[at : at + len(item.drafts)])
            at += len(item.drafts)


def own_item(drafts: Sequence[Draft], before: Before | None, now: Stamp) -> tuple[Item, Future[list[bytes]]]:
    """Make an item of entries of the gateway's own, and what has them once they are on disk."""
    entered: Future[list[bytes]] = get_running_loop().create_future()
    entered.add_done_callback(lambda done: done.cancelled() or done.exception())  # nobody has to wait

    def acknowledge(outcome: Outcome, reason: str) -> None:
        if outcome is Outcome.BUSY and not entered.done():
            entered.set_exception(UnavailableError("the log", reason))

    message = Message("", "", "", b"", 0, None, redelivered=False, received=now, acknowledge=acknowledge)
    return Item(message, Outcome.SEALED, tuple(drafts), before=before, entered=entered), entered
