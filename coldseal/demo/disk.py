"""A disk that remembers what was synced, and fails or loses power at any step asked for.

Sits below the encryption. Everything goes to real files too; `survivors` gives what a power cut
would leave of them: all that was synced, and any part of the rest, torn at sector boundaries.
"""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import apsw
from typing_extensions import override

from coldseal.gateway.store.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

_SECTOR_BYTES = 512
_NUMBERS = itertools.count()


class _Write(NamedTuple):
    """A write that is not synced; without data it cuts the file."""

    at: int
    data: bytes | None


class _Content:
    """What is known of one file."""

    def __init__(self, durable: bytes) -> None:
        """Begin with what is on disk."""
        self.durable = durable
        self.pending: list[_Write] = []

    def after(self, kept: Callable[[], bool]) -> bytes:
        """Give the file after a power cut that kept some of the pending sectors."""
        found = bytearray(self.durable)
        for at, data in self.pending:
            if data is None:
                del found[at if kept() else len(found) :]
                continue
            for place in range(0, len(data), _SECTOR_BYTES):
                if kept():
                    begin, part = at + place, data[place : place + _SECTOR_BYTES]
                    found.extend(bytes(max(0, begin + len(part) - len(found))))
                    found[begin : begin + len(part)] = part
        return bytes(found)


class SimulatedDisk(Disk):
    """A disk to be given to `Log.open`.

    Attributes:
        vfs: name of its file layer.
        steps: writes, cuts and syncs so far.
        at_step: called with the file's name before each of them; what it raises, the step raises.
        at_close: called with the name of each file that was closed.
    """

    def __init__(self) -> None:
        """Register it."""
        name = f"disk{next(_NUMBERS)}"
        self.vfs = f"multipleciphers-{name}"
        self.steps = 0
        self.contents: dict[int, _Content] = {}
        self.heal()
        self._layer = _Layer(self, name)

    def heal(self) -> None:
        """Work as a disk should."""
        self.at_step: Callable[[str], None] = lambda _name: None
        self.at_close: Callable[[str], None] = lambda _name: None

    def fail(self, error: type[apsw.Error], *, after: int = 0, count: int = 1_000_000) -> None:
        """Let `count` steps fail, the first of them behind `after` good ones."""
        first = self.steps + after + 1

        def refuse(_name: str) -> None:
            if first <= self.steps < first + count:
                raise error("as asked for")

        self.at_step = refuse

    def step(self, name: str) -> None:
        """Count a step, which may be one that shall fail."""
        self.steps += 1
        self.at_step(name)

    def survivors(self, folder: Path, chance: float, seed: int = 0) -> dict[str, bytes]:
        """Give the files of a folder after a power cut now.

        Args:
            folder: where they are.
            chance: that a sector which is not synced is kept.
            seed: for the choice.
        """
        choice = random.Random(seed)  # noqa: S311 -- the same seed must choose the same
        found: dict[str, bytes] = {}
        for path in folder.iterdir():
            if not path.name.endswith("-shm"):
                is_ours = ".db" in path.name or ".new" in path.name
                content = self.contents.get(path.stat().st_ino) if is_ours else None
                kept = content.after(lambda: choice.random() < chance) if content else path.read_bytes()
                found[path.name] = kept
        return found


class _Layer(apsw.VFS):
    """The file layer below the encryption."""

    def __init__(self, disk: SimulatedDisk, name: str) -> None:
        """Register it."""
        self._disk = disk
        super().__init__(name, "unix")

    @override
    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> _File:
        """Open a file; what is in it is on disk already."""
        return _File(self._disk, name, flags)


class _File(apsw.VFSFile):
    """A file whose writes are remembered until they are synced."""

    def __init__(self, disk: SimulatedDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        """Open it."""
        self._disk = disk
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        is_new = not self._path.exists()
        super().__init__("unix", name, flags)
        number = self._path.stat().st_ino
        if is_new or number not in disk.contents:
            disk.contents[number] = _Content(self._path.read_bytes())
        self._content = disk.contents[number]

    @override
    def xWrite(self, data: Buffer, offset: int) -> None:
        """Write; a power cut may lose any sector of it."""
        self._disk.step(self._path.name)
        super().xWrite(data, offset)
        self._content.pending.append(_Write(offset, bytes(data)))

    @override
    def xTruncate(self, newsize: int) -> None:
        """Cut; a power cut may undo it."""
        self._disk.step(self._path.name)
        super().xTruncate(newsize)
        self._content.pending.append(_Write(newsize, None))

    @override
    def xSync(self, flags: int) -> None:
        """From now on nothing written before can be lost."""
        self._disk.step(self._path.name)
        self._content.durable = self._content.after(lambda: True)
        self._content.pending.clear()

    @override
    def xClose(self) -> None:
        """Close."""
        super().xClose()
        self._disk.at_close(self._path.name)


def put(files: dict[str, bytes], folder: Path) -> Path:
    """Write files into a new folder."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
