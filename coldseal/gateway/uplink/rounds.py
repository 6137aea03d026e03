"""Chooses the checkpoint that all further witnesses are asked for, so that one note carries all cosignatures.

Reads the log and the receipts; posts nothing. Used by one thread at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from coldseal.gateway.store.reader import LogReader, StoredCheckpoint
    from coldseal.gateway.uplink.receipts import Receipts

LONGEST_S: Final = 60.0
"""Time after which a checkpoint without a receipt is posted too."""


class Rounds:
    """Chooses the checkpoint that all witnesses are asked for: the newest receipt's, at most so often.

    Where no receipt comes, the newest checkpoint of the log, once a minute. Used by one thread at a time.

    Args:
        reader: the log.
        receipts: what the service has cosigned.
        interval_s: shortest time between two choices.
    """

    def __init__(self, reader: LogReader, receipts: Receipts, interval_s: float) -> None:
        """Begin with no choice."""
        self._reader = reader
        self._receipts = receipts
        self._interval_s = interval_s
        self._chosen: StoredCheckpoint | None = None
        self._chosen_s = 0.0

    def choose(self, now_s: float) -> StoredCheckpoint | None:
        """Give the checkpoint of this round; None before the first one.

        Raises:
            UnavailableError: there is no log yet, or it cannot be read now.
        """
        before = self._chosen
        if before is not None and now_s - self._chosen_s < self._interval_s:
            return before
        size = before.size if before else 0
        newest = self._receipts.newest()
        found = self._reader.checkpoint_at_most(newest.size) if newest else None
        is_long = before is None or now_s - self._chosen_s >= LONGEST_S
        if is_long and (found is None or found.size <= size):
            found = self._reader.checkpoint_at_most(self._reader.size())
        if found is not None and found.size > size:
            self._chosen, self._chosen_s = found, now_s
        return self._chosen
