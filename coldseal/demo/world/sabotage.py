"""Seeded faults, which the simulator must find. Each wraps or replaces a part; no program knows them.

A campaign that finds none of these proves nothing with the runs in which it found nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.delivery.receiver import Accepted, Head
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.core.redelivery import Redelivery
from coldseal.demo import medium
from coldseal.gateway.evaluating import Evaluator
from coldseal.gateway.store.journal import Journal
from coldseal.service.ingest import Ingest

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.core.log.delivery.receiver import AdmittedLog
    from coldseal.core.log.delivery.wire import Batch
    from coldseal.core.redelivery import Latest, Taken
    from coldseal.gateway.evaluating import Before
    from coldseal.gateway.store.journal import Handed
    from coldseal.service.storage.values import Receipted


@dataclass(frozen=True, slots=True)
class Sabotage:
    """Which parts of a world are not what they should be.

    Attributes:
        journal: seals and commits.
        known: given what is known of messages, what is used instead.
        judged: given what judges readings, what is used instead.
        ingest: takes batches in.
        lie: what the disk does instead of what it is asked for.
    """

    journal: type[Journal] = Journal
    known: Callable[[Redelivery], Redelivery] = lambda known: known
    judged: Callable[[Evaluator], Evaluator] = lambda judged: judged
    ingest: type[Ingest] = Ingest
    lie: Callable[[medium.Event], medium.Event | None] = medium.honest


class HastyJournal(Journal):
    """Says that a group is on disk when it has only begun to write it."""

    @override
    async def commit(self, handed: Handed) -> None:
        """Begin to write, and return."""
        writing = asyncio.ensure_future(super().commit(handed))
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.sleep(0)
        if handed.is_own:
            await writing


class Forgetful(Redelivery):
    """Takes every message for a new one."""

    @override
    def take(
        self, device: str, key: str, run: Latest | None = None, *, may_be_known: bool = False
    ) -> Taken | None:
        """Take note of a message, whether it is known or not."""
        return super().take(device, key, run)


def forget(known: Redelivery) -> Redelivery:
    """Give a memory that remembers, and says nothing of it."""
    found = Forgetful(1)
    vars(found).update(vars(known))
    return found


class Unforgiving(Evaluator):
    """Takes back nothing of what it has judged."""

    @override
    def undo(self, before: Before) -> None:
        """Take nothing back."""


def keep_judged(judged: Evaluator) -> Evaluator:
    """Give what judges on as if all that was judged were on disk."""
    found = Unforgiving()
    vars(found).update(vars(judged))
    return found


class Credulous(Ingest):
    """Stores every batch behind what it holds, whatever it is."""

    @override
    async def _verify(self, log: AdmittedLog, batch: Batch) -> tuple[Accepted, Receipted | None]:
        """Take everything for new."""
        head = await self._ledger.head(log.origin)
        if not batch.entries:
            return await super()._verify(log, batch)
        tree = CompactRange.from_hashes(head.size, head.hashes)
        leaves = [leaf_hash(raw) for raw in batch.entries]
        tree.extend(leaves)
        mode, size = head.mode or "record", head.size + len(leaves)
        grown = Head(size, leaves[-1], tuple(tree.hashes), tree.root(), mode, head.settings)
        checkpoint = parse_checkpoint_text(parse_note(batch.note).text)
        return Accepted(checkpoint, head.size, len(leaves), batch.frames, grown), None


SABOTAGES: Final = {
    "acknowledges-early": Sabotage(journal=HastyJournal),
    "ignores-syncs": Sabotage(lie=medium.ignores_syncs),
    "synchronous-normal": Sabotage(lie=medium.ignores_commits),
    "forgets-names": Sabotage(lie=medium.forgets_names),
    "takes-duplicates": Sabotage(known=forget),
    "keeps-what-it-judged": Sabotage(judged=keep_judged),
    "believes-everything": Sabotage(ingest=Credulous),
}
"""Each by its name."""
