"""The real programs with one fault, for a campaign to find: ``-m tests.campaigns.wrong_program FAULT …``.

What stands after the fault is what ``coldseal`` is given. The fault is put in here, into this process alone.
A slow disk and slow answers, which are no faults, make kills more likely to hit it.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from coldseal.cli.main import main
from coldseal.core.redelivery import Redelivery
from coldseal.gateway.pipeline import Pipeline
from coldseal.service.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.core.log.delivery.receiver import Accepted
    from coldseal.core.log.delivery.signatures import Refutation
    from coldseal.core.redelivery import Latest, Taken
    from coldseal.gateway.grouping import Group
    from coldseal.service.storage.values import Receipted

SLOW_S: Final = 0.02
"""What a commit or an answer takes."""


def acknowledge_first() -> None:
    """Let the pipeline answer everyone in a group, and commit it then."""

    async def commit(self: Pipeline, group: Group) -> None:
        _answer(group)
        await asyncio.sleep(SLOW_S)
        await self._journal.commit(group.handed)

    Pipeline._commit = commit  # type: ignore[method-assign] # the fault


def take_all() -> None:
    """Let what a device repeats pass for new."""
    right = Redelivery.take

    def take(
        self: Redelivery, device: str, key: str, run: Latest | None = None, *, may_be_known: bool = False
    ) -> Taken | None:
        return right(self, device, key, run, may_be_known=may_be_known and not key)

    async def commit(self: Pipeline, group: Group) -> None:
        await self._journal.commit(group.handed)
        await asyncio.sleep(SLOW_S)
        _answer(group)

    Redelivery.take = take  # type: ignore[method-assign] # the fault
    Pipeline._commit = commit  # type: ignore[method-assign] # slow answers


def wait_for(port: str) -> None:
    """Let the gateway answer only while the service runs, which listens there."""

    async def commit(self: Pipeline, group: Group) -> None:
        await self._journal.commit(group.handed)
        while not _listens(int(port)):  # noqa: ASYNC110 # another program's port sets no event
            await asyncio.sleep(SLOW_S)
        _answer(group)

    Pipeline._commit = commit  # type: ignore[method-assign] # the fault


def promise() -> None:
    """Let the service give receipts, and store nothing but its first batches."""
    right, batches = Ledger.append, count()

    async def append(
        self: Ledger,
        origin: str,
        accepted: Accepted,
        receipt: Receipted,
        refuted: Sequence[Refutation],
        *,
        is_verified: bool,
    ) -> None:
        if next(batches) < BATCHES:
            await right(self, origin, accepted, receipt, refuted, is_verified=is_verified)

    Ledger.append = append  # type: ignore[method-assign] # the fault


def _listens(port: int) -> bool:
    """Whether anybody listens on a port of this machine."""
    with socket.socket() as probe:
        return not probe.connect_ex(("127.0.0.1", port))


def _answer(group: Group) -> None:
    """Answer everyone in a group."""
    for item in group.items:
        item.message.acknowledge(item.outcome, item.reason)


BATCHES: Final = 2
"""Batches that a service stores before it only promises."""

FAULTS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {
        "acknowledged-first": acknowledge_first,
        "duplicates-taken": take_all,
        "waits-for": wait_for,
        "promised-only": promise,
    }
)
"""Faults by their name; what a name has behind ``=`` is given to it."""


def command_of(fault: str) -> tuple[str, ...]:
    """Give what is started in the place of ``coldseal``."""
    return (sys.executable, "-m", "tests.campaigns.wrong_program", fault)


if __name__ == "__main__":
    name, *given = sys.argv.pop(1).split("=")
    FAULTS[name](*given)
    main()
