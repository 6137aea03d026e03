"""Answers devices behind a broker once their reading is sealed: its sequence and the leaf hash of its entry.

Promise: a receipt is published only for an entry that is on disk, and again whenever its message comes again.
It is made from the log behind the acknowledgements, and nothing waits for it. Signs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from coldseal.core.log import canonical
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import parse_entry
from coldseal.core.topics import ROOT, Channel
from coldseal.errors import ColdsealError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coldseal.core.log.record import Entry
    from coldseal.gateway.message import Outcome

REMEMBERED: Final = 8_192
"""Newest entries whose receipts are given again; as many are read when the gateway starts."""

_PART: Final = 512
_OF_DEVICES: Final = frozenset({"reading", "rejected"})

Key = tuple[str, str]
"""A device, and the SHA-256 of its payload, base64."""


class Receipts:
    """The receipts of one run.

    Args:
        site: the gateway's site, as in its topics.
        read: gives entries from a seq on, at most so many.
        size: gives the number of entries on disk.
        publish: publishes for the gateway; False when that cannot be now.
    """

    def __init__(
        self,
        site: str,
        *,
        read: Callable[[int, int], Sequence[bytes]],
        size: Callable[[], int],
        publish: Callable[[str, bytes], bool],
    ) -> None:
        """Start with nothing read."""
        self._site, self._read, self._size, self._publish = site, read, size, publish
        self._next = max(0, size() - REMEMBERED)
        self._made: OrderedDict[Key, bytes] = OrderedDict()
        self._due: dict[Key, None] = {}
        self._stirred = asyncio.Event()

    def settled(self, device: str, payload: bytes, _outcome: Outcome) -> None:
        """Note that a message is on record: its device is owed a receipt."""
        digest = canonical.encode_base64(hashlib.sha256(payload).digest())
        self._due[device, digest] = None
        if len(self._due) > REMEMBERED:  # whoever is not answered sends again
            del self._due[next(iter(self._due))]
        self._stirred.set()

    async def run(self) -> None:
        """Publish what is owed, until cancelled."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            is_behind = True
            while is_behind:  # another turn of the loop between two parts
                is_behind = self._read_on()
                await asyncio.sleep(0)
            self._answer()

    def _read_on(self) -> bool:
        """Learn from the next entries; whether there may be more."""
        if self._next >= self._size():
            return False
        try:
            found = self._read(self._next, _PART)
        except ColdsealError:  # pruned, or not to be had now: whoever is not answered sends again
            self._next = min(self._next + _PART, self._size())
            return True
        for raw in found:
            entry = parse_entry(raw)
            digest, device = entry.src.get("sha256"), entry.src.get("dev")
            if entry.kind in _OF_DEVICES and isinstance(digest, str) and isinstance(device, str):
                self._made[device, digest] = _encode(entry)
                self._made.move_to_end((device, digest))
        while len(self._made) > REMEMBERED:
            self._made.popitem(last=False)
        self._next += len(found)
        return bool(found)

    def _answer(self) -> None:
        """Publish what is owed and made; what is owed for no entry of its own is forgotten."""
        due, self._due = self._due, {}
        for device, digest in due:
            receipt = self._made.get((device, digest))
            if receipt is not None:
                self._publish(f"{ROOT}/{self._site}/{device}/{Channel.RECEIPT}", receipt)


def _encode(entry: Entry) -> bytes:
    """Write the receipt of one entry: canonical JSON."""
    told: dict[str, canonical.Value] = {
        "entry": entry.seq,
        "leaf": leaf_hash(entry.raw).hex(),
        "log": entry.log,
        "sha256": entry.src["sha256"],
        "taken": entry.kind == "reading",
        "v": 1,
    }
    told |= {name: entry.src[name] for name in ("boot", "seq") if name in entry.src}
    return canonical.encode(told)
