"""What a batch means for the logs before and behind its own: a new log may continue one that is held.

Promises that a new log which cites another one is taken in only if the service gave the receipt that it
cites, and that a log which is continued takes no more entries. Stores nothing: the link goes into the
ledger with the first batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.core.log.delivery.receiver import accept
from coldseal.core.log.keys import history_of
from coldseal.core.log.succession import BrokenLinkError, verify_link
from coldseal.errors import TrustError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.log.checkpoint import VerifierKey
    from coldseal.core.log.delivery.receiver import Accepted, AdmittedLog, Head
    from coldseal.core.log.delivery.wire import Batch
    from coldseal.core.log.succession import After
    from coldseal.service.ledger import Ledger
    from coldseal.service.storage.values import Receipted

_log = Log("service.succession")


class SucceededError(TrustError):
    """The log is continued under another origin: whoever still writes it has its old disk, or its keys."""

    verdict = "succeeded"

    def __init__(self, origin: str, successor: str) -> None:
        """Keep both names."""
        self.origin = origin
        self.successor = successor
        super().__init__(f"{origin} takes no more entries: it goes on as {successor}")


class Succession:
    """Holds batches against what is known of the logs before and behind theirs.

    Args:
        ledger: what is held.
        witness: verifies the service's own cosignatures.
    """

    def __init__(self, ledger: Ledger, witness: VerifierKey) -> None:
        """Take the parts."""
        self._ledger = ledger
        self._witness = witness

    async def accept(
        self,
        log: AdmittedLog,
        head: Head,
        batch: Batch,
        *,
        held: Sequence[bytes] = (),
        known: Receipted | None = None,
    ) -> Accepted:
        """Decide whether a batch extends, or repeats, the log that is held; as `receiver.accept`.

        Args:
            log: the admitted log.
            head: the end of what is held of it.
            batch: what came.
            held: the entries held at the places of the batch, all that there are.
            known: the receipt that was given at the batch's end, if there is one.

        Raises:
            SucceededError: it extends a log that is continued elsewhere.
            BrokenLinkError: it begins a log that does not continue the one that it cites.
            ColdsealError: as `receiver.accept`.
        """
        root = known.root if known else None
        accepted = accept(log, head, batch, held=held, held_root=root)
        if accepted.count and (successor := await self._ledger.successor(log.origin)) is not None:
            raise SucceededError(log.origin, successor)
        if accepted.after is not None:
            await self._verify(log.origin, accepted.after)
        return accepted

    async def _verify(self, origin: str, after: After) -> None:
        """Hold what a new log cites against the receipt that was given."""
        cited = after.cited
        receipt = await self._ledger.receipt(cited.origin, cited.size)
        if receipt is None:
            why = f"no receipt was given here for {cited.origin} at size {cited.size}"
            raise BrokenLinkError(origin, why)
        if receipt.root != cited.root:
            why = f"at size {cited.size} the root held of {cited.origin} is {receipt.root.hex()}"
            raise BrokenLinkError(origin, f"{why}, it cites {cited.root.hex()}")
        history = history_of(cited.origin, await self._ledger.settings(cited.origin))
        summary, _ = await self._ledger.summary(cited.origin)
        verify_link(origin, after, history, (self._witness,), quorum=1, mode=summary.mode)
        _log.emit(events.LOG_CONTINUED, origin=origin, predecessor=cited.origin, size=cited.size)
