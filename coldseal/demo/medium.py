"""What a power cut leaves of files and folders: all that was synced, and any part of the rest.

Promise: what is written counts from its file's sync on, a name from its folder's. Before that, each sector of
512 bytes may be there or not, whatever the order; of a folder's changes, the first ones may be. A pure model
that is told what happens, one event after another: told the same again, it gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

SECTOR_BYTES = 512
_FOLDER = -1
"""Stands in a folder for another one in it."""


class Found(NamedTuple):
    """A file was there already, and is on disk."""

    folder: str
    name: str
    file: int
    content: bytes


class Made(NamedTuple):
    """An empty file was made."""

    folder: str
    name: str
    file: int


class FolderMade(NamedTuple):
    """An empty folder was made in another one."""

    folder: str
    name: str


class Written(NamedTuple):
    """A file was written to; without data it was cut."""

    file: int
    at: int
    data: bytes | None


class Flushed(NamedTuple):
    """A file was synced; by whom it was written to, or by another who has it open."""

    file: int
    is_writers: bool = True


class Torn(NamedTuple):
    """A sync that was none for the last sector written: no honest disk does this."""

    file: int


class Renamed(NamedTuple):
    """A file has another name in its folder, whose own file is gone."""

    folder: str
    name: str
    new: str


class Removed(NamedTuple):
    """A name is gone."""

    folder: str
    name: str


class FolderFlushed(NamedTuple):
    """The names in a folder were synced."""

    folder: str


class Mark(NamedTuple):
    """Nothing happened to the disk; somebody says how far the log has come."""

    what: str
    size: int


Event: TypeAlias = (
    Found | Made | FolderMade | Written | Flushed | Torn | Renamed | Removed | FolderFlushed | Mark
)
Keeps: TypeAlias = Callable[[int, int], bool]
"""Whether a sector survives that is not synced: the number of its write, and which sector of it."""


class Piece(NamedTuple):
    """What is written to one sector; without data, where the file is cut."""

    at: int
    data: bytes | None


class _Content:
    """What is known of one file."""

    def __init__(self, content: bytes) -> None:
        """Begin with what is on disk."""
        self.durable = bytearray(content)
        self.pending: dict[int, list[Piece]] = {}

    def sync(self) -> None:
        """Everything counts."""
        _put(self.durable, (piece for pieces in self.pending.values() for piece in pieces))
        self.pending.clear()

    def after(self, keeps: Keeps) -> bytes:
        """Give it after a power cut."""
        if not self.pending:
            return bytes(self.durable)
        found = bytearray(self.durable)
        for number, pieces in self.pending.items():
            _put(found, (piece for part, piece in enumerate(pieces) if keeps(number, part)))
        return bytes(found)


class _Folder:
    """The names in one folder."""

    def __init__(self) -> None:
        """Begin empty."""
        self.durable: dict[str, int] = {}
        self.names: dict[str, int] = {}
        self.pending: list[Made | FolderMade | Renamed | Removed] = []

    def apply(self, event: Made | FolderMade | Renamed | Removed) -> None:
        """Change a name; that is not synced."""
        _change(self.names, event)
        self.pending.append(event)

    def after(self, count: int) -> dict[str, int]:
        """Give the names after a power cut that kept so many changes."""
        found = dict(self.durable)
        for event in self.pending[:count]:
            _change(found, event)
        return found


class Medium:
    """Files and folders, and what of them is not synced.

    Attributes:
        files: what is known of each file, by its number.
        writes: how many there were so far.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.files: dict[int, _Content] = {}
        self._folders: dict[str, _Folder] = {}
        self.writes = 0

    def apply(self, event: Event) -> None:
        """Go on by what happened."""
        match event:
            case Written(file, at, data):
                self.files[file].pending[self.writes] = list(pieces_of(at, data))
                self.writes += 1
            case Flushed(file):
                self.files[file].sync()
            case Torn(file):
                pending = self.files[file].pending
                if pending:
                    pending[max(pending)].pop()
                self.files[file].sync()
            case FolderFlushed(folder):
                place = self._folder(folder)
                place.durable = dict(place.names)
                place.pending.clear()
            case Found(folder, name, file, content):
                self.files[file] = _Content(content)
                place = self._folder(folder)
                place.durable[name] = place.names[name] = file
            case Mark():
                pass
            case _:
                if isinstance(event, Made):
                    self.files[event.file] = _Content(b"")
                self._folder(event.folder).apply(event)

    def names(self, folder: str) -> dict[str, int]:
        """Give the files of a folder as they are."""
        return {name: file for name, file in self._folder(folder).names.items() if file != _FOLDER}

    def unsynced_names(self, folder: str) -> int:
        """Give the number of changes in a folder that are not synced."""
        return len(self._folder(folder).pending)

    def unsynced(self, folder: str) -> list[tuple[int, int]]:
        """Give the writes that are not synced, in order, each with the number of its sectors."""
        place = self._folder(folder)
        files = {*place.durable.values(), *place.names.values()} - {_FOLDER}
        found = [(at, len(parts)) for file in files for at, parts in self.files[file].pending.items()]
        return sorted(found)

    def left(self, folder: str, keeps: Keeps, names: int) -> dict[str, bytes]:
        """Give the files of a folder after a power cut now.

        Args:
            folder: which.
            keeps: says which sectors survive.
            names: how many changes of names survive, the first ones.
        """
        upper, _, own = folder.rpartition("/")
        above = self._folders.get(upper)
        if names == 0 and above is not None and own in above.names and own not in above.durable:
            return {}
        found = self._folder(folder).after(names)
        return {name: self.files[file].after(keeps) for name, file in found.items() if file != _FOLDER}

    def forget(self, folder: str, name: str) -> None:
        """Forget a file that somebody else has taken away."""
        place = self._folder(folder)
        place.names.pop(name, None)
        place.durable.pop(name, None)
        place.pending = [event for event in place.pending if name not in event[1:]]

    def _folder(self, folder: str) -> _Folder:
        """Give what is known of a folder."""
        return self._folders.setdefault(folder, _Folder())


def pieces_of(at: int, data: bytes | None) -> Iterator[Piece]:
    """Take a write apart where the disk's sectors end."""
    if data is None:
        yield Piece(at, None)
        return
    begin = 0
    while begin < len(data):
        end = begin + SECTOR_BYTES - (at + begin) % SECTOR_BYTES
        yield Piece(at + begin, data[begin:end])
        begin = end


def _put(content: bytearray, pieces: Iterator[Piece]) -> None:
    """Write to a file's content."""
    for at, data in pieces:
        if data is None:
            del content[at:]
            continue
        content.extend(bytes(max(0, at + len(data) - len(content))))
        content[at : at + len(data)] = data


def _change(names: dict[str, int], event: Made | FolderMade | Renamed | Removed) -> None:
    """Change a folder's names; one that is not there changes nothing."""
    match event:
        case Made(_, name, file):
            names[name] = file
        case FolderMade(_, name):
            names[name] = _FOLDER
        case Renamed(_, name, new) if name in names:
            names[new] = names.pop(name)
        case _:
            names.pop(event.name, None)


def honest(event: Event) -> Event | None:
    """Do what was asked for."""
    return event


def ignores_syncs(event: Event) -> Event | None:
    """Confirm every sync of a file, and do nothing."""
    return None if isinstance(event, Flushed) else event


def ignores_commits(event: Event) -> Event | None:
    """Sync a file only for others than its writer: what `synchronous = NORMAL` makes of a WAL."""
    return None if isinstance(event, Flushed) and event.is_writers else event


def forgets_names(event: Event) -> Event | None:
    """Confirm every sync of a folder, and do nothing."""
    return None if isinstance(event, FolderFlushed) else event


def tears_sectors(event: Event) -> Event | None:
    """Pass a sync off as whole whose last sector is missing."""
    return Torn(event.file) if isinstance(event, Flushed) else event
