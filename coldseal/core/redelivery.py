"""Tells a redelivered message from a new one: what each device had sealed lately.

Promise: a message is called a duplicate only when the same device sent the same bytes before, within
its last ``window`` messages, and those bytes name themselves (a device sequence) or the transport
says that it repeats itself. Anything else is new: sealing twice is mended later, losing never.
Pure; whoever seals remembers, and writes the snapshot in the same commit.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.core.log.record import Entry

_HEX: Final = 16
_NO_BOOT: Final = "-"  # never the name of a run: those are letters and digits


class Redelivery:
    """The last message keys of every device, oldest first.

    Args:
        window: messages remembered for each device; at least as many as it may have unacknowledged at once.
    """

    def __init__(self, window: int) -> None:
        """Begin with no memory."""
        self._window = window
        self._recent: dict[str, tuple[deque[str], set[str]]] = {}
        self._latest: dict[str, tuple[str, int]] = {}

    @staticmethod
    def key(digest: str, packet_id: int | None = None) -> str:
        """Make the key of a message.

        Args:
            digest: SHA-256 of the payload, hex. Its first 64 bits tell one device's messages apart.
            packet_id: given where the payload holds no device sequence of its own.
        """
        return digest[:_HEX] if packet_id is None else f"{digest[:_HEX]}:{packet_id}"

    def is_known(self, device: str, key: str) -> bool:
        """Tell whether the device sent this lately."""
        found = self._recent.get(device)
        return found is not None and key in found[1]

    def remember(self, device: str, key: str) -> None:
        """Take note of a message that is about to be sealed."""
        found = self._recent.get(device)
        if found is None:
            found = self._recent[device] = (deque(), set())
        order, keys = found
        if key in keys:
            return
        order.append(key)
        keys.add(key)
        if len(order) > self._window:
            keys.discard(order.popleft())

    def forget(self, device: str, key: str) -> None:
        """Take a message back that could not be sealed after all."""
        found = self._recent.get(device)
        if found is not None and key in found[1]:
            found[0].remove(key)
            found[1].discard(key)

    def goes_back(self, device: str, boot: str, seq: int) -> bool:
        """Take note of a device sequence and tell whether it fell back within the same run of the device."""
        latest = self._latest.get(device)
        if latest is not None and latest[0] == boot and seq <= latest[1]:
            return True
        self._latest[device] = (boot, seq)
        return False

    def replay(self, entry: Entry) -> None:
        """Learn what one entry of the log tells about its sender's messages."""
        device, digest = entry.src.get("dev"), entry.src.get("sha256")
        if not isinstance(device, str) or not isinstance(digest, str):
            return  # an entry of the log's own
        seq, packet_id, boot = entry.src.get("seq"), entry.src.get("pid"), entry.src.get("boot", "")
        if isinstance(seq, int) and isinstance(boot, str):
            self.remember(device, self.key(digest))
            self.goes_back(device, boot, seq)
        elif isinstance(packet_id, int):
            self.remember(device, self.key(digest, packet_id))

    def snapshot(self) -> bytes:
        """Write everything down, for :meth:`restore`."""
        lines = []
        for device, (order, _) in self._recent.items():
            boot, seq = self._latest.get(device, (_NO_BOOT, 0))
            lines.append("\t".join((device, boot, str(seq), *order)))
        return "\n".join(lines).encode()

    @classmethod
    def restore(cls, snapshot: bytes, *, window: int) -> Redelivery:
        """Read a snapshot back.

        Raises:
            InputError: not a snapshot.
        """
        found = cls(window)
        for line in snapshot.decode().splitlines():
            device, boot, seq, *keys = (*line.split("\t"), "", "")
            if not seq.isdecimal():
                raise InputError("redelivery snapshot", "sequence", seq, "a decimal number in each line")
            if boot != _NO_BOOT:
                found._latest[device] = (boot, int(seq))
            for key in filter(None, keys):
                found.remember(device, key)
        return found
