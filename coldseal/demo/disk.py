"""A disk that remembers what was synced, and fails or loses power at any step asked for.

Sits below the encryption and below the store's own file operations. Everything goes to real files too, and
nothing is really synced; `survivors` gives what a power cut would leave of them. Can keep all that happened
as one list of events, and can be made to lie.
"""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path
from threading import RLock
from typing import TYPE_CHECKING, Final

import apsw
from typing_extensions import override

from coldseal.demo import medium as told
from coldseal.demo.chance import seeded
from coldseal.demo.medium import Event, Mark, Medium, Written
from coldseal.gateway.store.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Buffer

_NUMBERS: Final = itertools.count()
_LOGS: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
_INDEX: Final = "-shm"


class SimulatedDisk(Disk):
    """A disk to be given to `Log.open`.

    Args:
        is_recording: keep the events.

    Attributes:
        vfs: name of its file layer.
        steps: operations so far that change something or sync it.
        at_step: called with the file's name before each of them; what it raises, the step raises.
        at_close: called with the name of each file that was closed.
        lie: what really happens when an event is asked for; None for nothing. See `coldseal.demo.medium`.
        events: what happened, if it is recording.
        room: bytes by which files may still grow, of which it says nothing before; None for no bound.
        free: bytes that it says are free; None for what is true.
        hides: a write that should fail is left out without a word: no honest disk does this.
    """

    def __init__(self, *, is_recording: bool = False) -> None:
        """Register it."""
        name = f"disk{next(_NUMBERS)}"
        self.vfs = f"multipleciphers-{name}"
        self.steps = 0
        self.lie: Callable[[Event], Event | None] = told.honest
        self.events: list[Event] = []
        self.room: int | None = None
        self.free: int | None = None
        self.hides = False
        self._is_recording = is_recording
        self._medium = Medium()
        self._numbers: dict[int, int] = {}
        self._count = itertools.count()
        self._lock = RLock()
        self.heal()
        self._layer = _Layer(self, name)

    def heal(self) -> None:
        """Work as a disk should."""
        self.at_step: Callable[[str], None] = lambda _name: None
        self.at_close: Callable[[str], None] = lambda _name: None
        self._refuses: Callable[[str], None] = lambda _name: None

    def fail(self, error: type[apsw.Error], *, after: int = 0, count: int = 1_000_000) -> None:
        """Let `count` writes, cuts and syncs of databases fail, the first behind `after` good ones."""
        refuse = _refusal(error, after, count)
        self._refuses = lambda _name: refuse()

    def fail_anywhere(self, error: type[apsw.Error], *, after: int = 0, count: int = 1_000_000) -> None:
        """Let `count` steps of any kind fail, of any file, the first behind `after` good ones."""
        refuse = _refusal(error, after, count)
        self.at_step = lambda _name: refuse()

    def step(self, name: str) -> None:
        """Count a step, which may be one that shall fail."""
        self.steps += 1
        self.at_step(name)

    def data_step(self, name: str) -> None:
        """Count a write, a cut or a sync of a database."""
        self.step(name)
        self._refuses(name)

    def note(self, event: Event) -> None:
        """Let an event happen."""
        with self._lock:
            real = self.lie(event)
            if real is not None:
                self._medium.apply(real)
                if self._is_recording:
                    self.events.append(real)

    def mark(self, what: str, size: int) -> None:
        """Put a word between the events, for whoever replays them."""
        self.note(Mark(what, size))

    def number(self, path: Path, *, is_new: bool = False) -> int:
        """Give the number of a file; what was in it before the disk knew it is on disk."""
        with self._lock:
            inode, folder = path.stat().st_ino, str(path.parent)
            known = self._numbers.get(inode)
            if is_new:
                known = self._numbers[inode] = next(self._count)
                self.note(told.Made(folder, path.name, known))
            elif known is None or self._medium.names(folder).get(path.name) != known:
                known = self._numbers[inode] = next(self._count)
                self._medium.forget(folder, path.name)
                self.note(told.Found(folder, path.name, known, path.read_bytes()))
            return known

    def adopt(self, folder: Path) -> None:
        """Take the files of a folder for what is on disk already."""
        for path in folder.iterdir():
            self.number(path)

    def survivors(self, folder: Path, chance: float, seed: int = 0) -> dict[str, bytes]:
        """Give the files of a folder after a power cut now.

        Args:
            folder: where they are.
            chance: that a sector, or a change of a name, which is not synced is kept.
            seed: for the choice.
        """
        choice = seeded(seed)
        place = str(folder)
        with self._lock:
            others = self._compare(folder)
            changes = self._medium.unsynced_names(place)
            names = sum(1 for _ in itertools.takewhile(lambda _: choice.random() < chance, range(changes)))
            kept = self._medium.left(place, lambda _number, _part: choice.random() < chance, names)
        return others | {name: content for name, content in kept.items() if not name.endswith(_INDEX)}

    def _compare(self, folder: Path) -> dict[str, bytes]:
        """Forget what others have taken away, and give the files that the disk knows nothing of."""
        known = self._medium.names(str(folder))
        there = {path.name: path for path in folder.iterdir() if path.is_file()}
        for name in known.keys() - there.keys():
            self._medium.forget(str(folder), name)
        others = {}
        for name, path in there.items():
            if self._numbers.get(path.stat().st_ino, -1) != known.get(name) and not name.endswith(_INDEX):
                self._medium.forget(str(folder), name)
                others[name] = path.read_bytes()
        return others

    @override
    def create(self, path: Path) -> int:
        self._system_step(path.name)
        is_new = not path.exists()
        file = super().create(path)
        self.number(path, is_new=is_new)
        return file

    @override
    def write(self, file: int, data: bytes, at: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        self._system_step(path.name, lambda: self.grow(path.stat().st_size, at + len(data)))
        number = self.number(path)
        super().write(file, data, at)
        self.note(Written(number, at, data))

    @override
    def sync(self, file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink()
        self._system_step(path.name)
        self.note(told.Flushed(self.number(path)))

    @override
    def rename(self, old: Path, new: Path) -> None:
        self._system_step(old.name)
        is_simple = old.is_file() and old.parent == new.parent
        if is_simple:
            self.number(old)
        super().rename(old, new)
        if is_simple:
            self.note(told.Renamed(str(old.parent), old.name, new.name))

    @override
    def unlink(self, path: Path) -> None:
        self._system_step(path.name)
        super().unlink(path)
        self.note(told.Removed(str(path.parent), path.name))

    @override
    def make_directory(self, directory: Path) -> None:
        self._system_step(directory.name)
        super().make_directory(directory)
        self.note(told.FolderMade(str(directory.parent), directory.name))

    @override
    def sync_directory(self, directory: Path) -> None:
        self._system_step(directory.name)
        self.note(told.FolderFlushed(str(directory)))

    @override
    def free_bytes(self, directory: Path) -> int:
        return super().free_bytes(directory) if self.free is None else self.free

    def grow(self, size: int, end: int) -> None:
        """Let a file of a size be written up to an end.

        Raises:
            FullError: there is no room for that.
        """
        with self._lock:
            if self.room is not None and end > size:
                if end - size > self.room:
                    raise apsw.FullError("as asked for")
                self.room -= end - size

    def _system_step(self, name: str, grow: Callable[[], None] = lambda: None) -> None:
        """Count a step outside the driver, which fails as the operating system does."""
        try:
            self.step(name)
            grow()
        except apsw.FullError as error:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        except apsw.Error as error:
            raise OSError(errno.EIO, os.strerror(errno.EIO)) from error


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

    @override
    def xDelete(self, filename: str, syncdir: bool) -> None:
        """Remove a file; a power cut may undo it, unless the folder is synced."""
        path = Path(filename)
        self._disk.step(path.name)
        super().xDelete(filename, False)
        self._disk.note(told.Removed(str(path.parent), path.name))
        if syncdir:
            self._disk.note(told.FolderFlushed(str(path.parent)))


class _File(apsw.VFSFile):
    """A file whose writes are remembered until they are synced."""

    def __init__(self, disk: SimulatedDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        """Open it."""
        self._disk = disk
        self._path = Path(name.filename() if isinstance(name, apsw.URIFilename) else name or "")
        is_new = not self._path.exists()
        if is_new and flags[0] & apsw.SQLITE_OPEN_CREATE:
            disk.step(self._path.name)
        # SQLite syncs the folder of a WAL or a journal with the first sync of the file
        self._has_new_name = bool(flags[0] & _LOGS and flags[0] & apsw.SQLITE_OPEN_CREATE)
        self._has_written = False
        super().__init__("unix", name, flags)
        self._number = disk.number(self._path, is_new=is_new)

    @override
    def xWrite(self, data: Buffer, offset: int) -> None:
        """Write; a power cut may lose any sector of it."""
        written = bytes(data)
        try:
            self._disk.data_step(self._path.name)
            self._disk.grow(self.xFileSize(), offset + len(written))
        except apsw.Error:
            if not self._disk.hides:
                raise
            return
        super().xWrite(data, offset)
        self._has_written = True
        self._disk.note(Written(self._number, offset, written))

    @override
    def xTruncate(self, newsize: int) -> None:
        """Cut; a power cut may undo it."""
        self._disk.data_step(self._path.name)
        super().xTruncate(newsize)
        self._has_written = True
        self._disk.note(Written(self._number, newsize, None))

    @override
    def xSync(self, flags: int) -> None:
        """From now on nothing written before can be lost."""
        self._disk.data_step(self._path.name)
        self._disk.note(told.Flushed(self._number, self._has_written))
        self._has_written = False
        if self._has_new_name:
            self._has_new_name = False
            self._disk.note(told.FolderFlushed(str(self._path.parent)))

    @override
    def xClose(self) -> None:
        """Close."""
        super().xClose()
        self._disk.at_close(self._path.name)


def _refusal(error: type[apsw.Error], after: int, count: int) -> Callable[[], None]:
    """Give what raises when called for the time behind `after` others, and for `count` times in all."""
    times = itertools.count()

    def refuse() -> None:
        if after <= next(times) < after + count:
            raise error("as asked for")

    return refuse


def put(files: dict[str, bytes], folder: Path) -> Path:
    """Write files into a new folder."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder
