"""Tells a redelivered message from a new one: what each device had sealed lately.

Promise: a message is called a duplicate only when the same device sent the same bytes before, within
its last ``window`` messages, and those bytes name themselves (a device sequence) or the transport
says that it repeats itself. Anything else is new: sealing twice is mended later, losing never.
Pure; whoever takes a message in remembers it, and writes a snapshot of the sealed ones with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coldseal.core.log.record import Entry

_KEPT: Final = 16
_NO_BOOT: Final = "-"  # never the name of a run: those are letters and digits


Latest: TypeAlias = tuple[str, int]
"""A run of a device and its highest sequence there."""

Taken: TypeAlias = tuple[Latest | None, bool]
"""What was the latest before a message, and whether its sequence fell back within the same run."""


class Redelivery:
    """The last message keys of every device, oldest first.

    Args:
        window: messages remembered for each device; at least as many as it may have unacknowledged at once.
    """

    def __init__(self, window: int) -> None:
        """Begin with no memory."""
        self._window = window
        self._recent: dict[str, dict[str, None]] = {}  # keys of a device, in the order in which they came
        self._latest: dict[str, Latest] = {}

    @staticmethod
    def key(digest: str, packet_id: int | None = None) -> str:
        """Make the key of a message.

        Args:
            digest: SHA-256 of the payload, base64. Its first 96 bits tell one device's messages apart.
            packet_id: given where the payload holds no device sequence of its own.
        """
        return digest[:_KEPT] if packet_id is None else f"{digest[:_KEPT]}:{packet_id}"

    def is_known(self, device: str, key: str) -> bool:
        """Tell whether the device sent this lately."""
        found = self._recent.get(device)
        return found is not None and key in found

    def take(
        self, device: str, key: str, run: Latest | None = None, *, may_be_known: bool = False
    ) -> Taken | None:
        """Take note of a message that is about to be sealed.

        Args:
            device: who sent it.
            key: its key.
            run: the run of the device and the sequence there, where the message has them.
            may_be_known: a message that is known is not taken again.

        Returns:
            None if it is known and may be.
        """
        keys = self._recent.get(device)
        if keys is None:
            keys = self._recent[device] = {}
        if key not in keys:
            keys[key] = None
            if len(keys) > self._window:
                del keys[next(iter(keys))]
        elif may_be_known:
            return None
        latest = self._latest.get(device)
        if run is None:
            return latest, False
        if latest is not None and latest[0] == run[0] and run[1] <= latest[1]:
            return latest, True
        self._latest[device] = run
        return latest, False

    def forget(self, device: str, key: str, latest: Latest | None) -> None:
        """Take a message back that could not be sealed after all; of several, the newest first.

        Args:
            device: who sent it.
            key: its key.
            latest: what :meth:`latest` gave before it.
        """
        found = self._recent.get(device)
        if found is None or key not in found:
            return
        del found[key]
        if latest is None:
            self._latest.pop(device, None)
        else:
            self._latest[device] = latest

    def replay(self, entry: Entry) -> None:
        """Learn what one entry of the log tells about its sender's messages."""
        self.learn(entry.src)

    def learn(self, src: Mapping[str, object]) -> None:
        """Learn the same from the entry's ``src`` alone."""
        device, digest = src.get("dev"), src.get("sha256")
        if not isinstance(device, str) or not isinstance(digest, str) or "replay" in src:
            return  # an entry of the log's own, or a message that was decoded again long after it came
        seq, packet_id, boot = src.get("seq"), src.get("pid"), src.get("boot", "")
        if isinstance(seq, int) and isinstance(boot, str):
            self.take(device, self.key(digest), (boot, seq))
        elif isinstance(packet_id, int):
            self.take(device, self.key(digest, packet_id))

    def latest(self, device: str) -> Latest | None:
        """Give the run and the highest sequence of a device."""
        return self._latest.get(device)

    def snapshot(self, unsealed: Iterable[tuple[str, str, Latest | None]] = ()) -> bytes:
        """Write down what was sealed, for :meth:`restore`.

        Args:
            unsealed: (device, key, what :meth:`latest` gave before it) of each message that is remembered but
                not sealed yet, oldest first. After a crash its redelivery must be new.
        """
        left_out: dict[str, set[str]] = {}
        before: dict[str, Latest | None] = {}
        for device, key, latest in unsealed:
            left_out.setdefault(device, set()).add(key)
            before.setdefault(device, latest)
        lines = []
        for device, keys in self._recent.items():
            boot, seq = before.get(device, self._latest.get(device)) or (_NO_BOOT, 0)
            without = left_out.get(device, ())
            lines.append("\t".join((device, boot, str(seq), *(key for key in keys if key not in without))))
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
                found.take(device, key)
        return found
