"""Reads what is left of a damaged segment, page by page, below the database driver and without it.

Promise: gives every row, and every piece of one, that stands in a page whose own check holds, from the file
and from each frame of its WAL, also behind a damaged one. Writes and judges nothing: what comes out was once
written, but may be older than what was written last. `salvage` decides what of it is of the log.
"""

from __future__ import annotations

import hmac
import os
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from hashlib import pbkdf2_hmac
from pathlib import Path
from typing import Final, NamedTuple, Self

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from coldseal.gateway.store.database import PAGE_BYTES
from coldseal.gateway.store.file_keys import StoreKey, file_key
from coldseal.gateway.store.segments import wal_path

RESERVED: Final = 80
"""Bytes of each page for its IV (16) and its MAC (64)."""

_USABLE: Final = PAGE_BYTES - RESERVED
_SALT: Final = 16
_IV: Final = 16
_WAL_HEADER: Final = 32
_FRAME: Final = struct.Struct(">II8sII")
_FRAME_BYTES: Final = _FRAME.size + PAGE_BYTES
_WORDS: Final = struct.Struct(f"<{PAGE_BYTES // 4}I")
_LEAF: Final = 0x0D
_INDEX: Final = {0x0A: 8, 0x02: 12}
"""Pages of an index, and of a table without rowid, with their headers' lengths; inner ones hold rows too."""

_ROOT: Final = 1
_ROOT_HEADER: Final = 100
_MOST_LOCAL: Final = _USABLE - 35
_LEAST_LOCAL: Final = (_USABLE - 12) * 32 // 255 - 23
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_BLOB, _TEXT = 12, 13
_SAMPLE: Final = 8
_SHORT: Final = 200
_MASK: Final = 0xFFFFFFFF

Value = int | bytes | str | None


class Row(NamedTuple):
    """A whole row of some table.

    Args:
        number: its rowid.
        values: its columns; the rowid's own column is None.
        is_firm: whether it stands where the database would look for it, not in what an older WAL left over.
    """

    number: int
    values: tuple[Value, ...]
    is_firm: bool


class Piece(NamedTuple):
    """What is left of a row that is not whole: bytes that followed each other in it."""

    content: bytes
    is_firm: bool


class _Place(NamedTuple):
    """A version of a page: its number, where it stands, and whether the database would look there."""

    number: int
    file: int
    at: int
    is_firm: bool


class Pages:
    """All versions of all pages of one segment.

    Attributes:
        damaged: pages of the file, and frames of the WAL, whose check fails.
    """

    def __init__(self, segment: Path, key: StoreKey) -> None:
        """Open the file and its WAL; each may be missing, and cut anywhere."""
        self._key = file_key(key, segment)
        self._resources = ExitStack()
        self._main = self._open(segment)
        self._wal = self._open(wal_path(segment))
        self._mac = self._find_mac()
        self.damaged = 0
        self._places = self._list()
        self._newest: dict[int, _Place] = {}
        for place in self._places:
            self._newest.setdefault(place.number, place)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close both files."""
        self._resources.close()

    @property
    def is_ours(self) -> bool:
        """Whether some page holds under this key: else the key is another one, or nothing is left."""
        return self._mac is not None

    def rows(self) -> Iterator[Row | Piece]:
        """Give every row that can be read, newest version first, and the pieces of those that cannot."""
        reached: set[int] = set()
        for place in self._places:
            yield from self._cells(place, self._read(place), reached)
        if self.damaged:
            yield from self._orphans(reached)

    def _open(self, path: Path) -> int:
        """Open a file for reading; -1 where there is none."""
        if not path.exists():
            return -1
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._resources.callback(os.close, file)
        return file

    def _list(self) -> list[_Place]:
        """Find all versions that hold, in the order in which they are believed."""
        numbers, end = self._frames()
        frames = [
            _Place(number, self._wal, _behind_header(index), index < end)
            for index, number in enumerate(numbers)
        ]
        main = [
            _Place(at // PAGE_BYTES + 1, self._main, at, is_firm=True)
            for at in range(0, _size(self._main) // PAGE_BYTES * PAGE_BYTES, PAGE_BYTES)
        ]
        over = (max(0, _size(self._wal) - _WAL_HEADER) % _FRAME_BYTES, _size(self._main) % PAGE_BYTES)
        self.damaged += any(over)
        held: list[_Place] = []
        for place in (*reversed(frames[:end]), *main, *frames[end:]):
            if self._is_sound(place.number, os.pread(place.file, PAGE_BYTES, place.at)):
                held.append(place)
            else:
                self.damaged += place.is_firm
        return held

    def _frames(self) -> tuple[list[int], int]:
        """Give the page number of each frame, and how many frames the log's last writer put there.

        Each frame's sums go on from those of the one before. Where they do not, either one of the two is
        damaged, or what follows was left by an older turn of the WAL. A frame whose page holds, behind a
        sound one, begins what was left over, unless the next one goes on from what it should have said.
        """
        numbers: list[int] = []
        before: set[tuple[int, int]] = set()
        is_sound = False
        suspect = -1
        for index in range(self._frame_count()):
            block = self._frame(index)
            number, _, _, first, second = _FRAME.unpack_from(block)
            numbers.append(number)
            should = {_sums(block, each) for each in before}
            is_linked = (first, second) in should
            if suspect >= 0 and not is_linked:
                return self._numbers(), suspect
            suspect = -1
            holds = self._is_sound(number, block[_FRAME.size :])
            if is_sound and holds and not is_linked:
                suspect = index
                before = should
            else:
                before = should | {(first, second)}
            is_sound = holds
        return numbers, len(numbers) if suspect < 0 else suspect

    def _numbers(self) -> list[int]:
        """Give the page number of each frame."""
        return [int.from_bytes(self._frame(index)[:4]) for index in range(self._frame_count())]

    def _frame_count(self) -> int:
        """Give the number of whole frames in the WAL."""
        return max(0, _size(self._wal) - _WAL_HEADER) // _FRAME_BYTES

    def _frame(self, index: int) -> bytes:
        """Read a frame of the WAL."""
        return os.pread(self._wal, _FRAME_BYTES, _WAL_HEADER + index * _FRAME_BYTES)

    def _find_mac(self) -> bytes | None:
        """Derive the key of the pages' checks; None if the salt is lost, so that no page can be checked.

        The salt stands at the beginning of the file, and of the first page in the WAL. One wrong bit in it
        would spoil every check: so the neighbours of what is there are tried as well.
        """
        head = os.pread(self._main, _SALT, 0) if self._main >= 0 else b""
        found = [head] if len(head) == _SALT else []
        samples: list[tuple[int, bytes]] = []
        for index in range(self._frame_count()):
            block = self._frame(index)
            number, page = int.from_bytes(block[:4]), block[_FRAME.size :]
            if number == _ROOT:
                found.append(page[:_SALT])
            if len(samples) < _SAMPLE:
                samples.append((number, page))
        pages = min(_SAMPLE, _size(self._main) // PAGE_BYTES)
        samples += [
            (number, os.pread(self._main, PAGE_BYTES, (number - 1) * PAGE_BYTES))
            for number in range(_ROOT, pages + 1)
        ]
        found = list(dict.fromkeys(found))
        near = [_flipped(each, bit) for each in found for bit in range(8 * _SALT)]
        for salt in (*found, *near):
            mac = pbkdf2_hmac("sha512", self._key, bytes(byte ^ 0x3A for byte in salt), 2, 32)
            if any(_holds(mac, number, page) for number, page in samples):
                return mac
        return None

    def _is_sound(self, number: int, page: bytes) -> bool:
        """Whether a page's check holds; where none can be made, it is let pass."""
        return self._mac is None or _holds(self._mac, number, page)

    def _read(self, place: _Place) -> bytes:
        """Give a version of a page in the clear."""
        page = os.pread(place.file, PAGE_BYTES, place.at)
        begin = _SALT if place.number == _ROOT else 0
        cipher = Cipher(algorithms.AES256(self._key), modes.CBC(page[_USABLE : _USABLE + _IV]))
        decryptor = cipher.decryptor()
        return bytes(begin) + decryptor.update(page[begin:_USABLE]) + decryptor.finalize()

    def _cells(self, place: _Place, page: bytes, reached: set[int]) -> Iterator[Row | Piece]:
        """Give the rows of a page, if it holds any."""
        at = _ROOT_HEADER if place.number == _ROOT else 0
        if not at and page[at] in _INDEX:  # the first page is of a table with rowid: the schema
            yield from _index_rows(page, place)
        if page[at] != _LEAF:
            return
        count = int.from_bytes(page[at + 3 : at + 5])
        for cell in range(at + 8, min(at + 8 + 2 * count, _USABLE), 2):
            start = int.from_bytes(page[cell : cell + 2])
            length, begin = _varint(page, start)
            number, begin = _varint(page, begin)
            content = page[begin : min(begin + _local(length), _USABLE)]
            if _local(length) < length:
                following = int.from_bytes(page[begin + len(content) : begin + len(content) + 4])
                content += self._follow(following, reached)
            content = content[:length]
            values = _record(content) if len(content) == length else None
            yield Piece(content, place.is_firm) if values is None else Row(number, values, place.is_firm)

    def _follow(self, number: int, reached: set[int]) -> bytes:
        """Give the rest of a row, from page to page, as far as it can be followed."""
        parts: list[bytes] = []
        seen: set[int] = set()
        while number and number not in seen and number in self._newest:
            page = self._read(self._newest[number])
            seen.add(number)
            parts.append(page[4:_USABLE])
            number = int.from_bytes(page[:4])
        reached |= seen
        return b"".join(parts)

    def _orphans(self, reached: set[int]) -> Iterator[Piece]:
        """Give what follows on pages that no row leads to any more, because a page before them is damaged."""
        left: dict[int, int] = {}
        for number, place in self._newest.items():
            page = b"" if number in reached else self._read(place)
            if (
                page[:1] == b"\0" and number != _ROOT
            ):  # the number of the page that follows; no leaf begins so
                left[number] = int.from_bytes(page[:4])
        heads = left.keys() - set(left.values())
        for number in sorted(heads):
            yield Piece(self._follow(number, set()), self._newest[number].is_firm)


def _index_rows(page: bytes, place: _Place) -> Iterator[Row]:
    """Give the rows of a page of a table without rowid; short ones, which stand whole in it."""
    begin = _INDEX[page[0]]
    for cell in range(begin, min(begin + 2 * int.from_bytes(page[3:5]), _USABLE), 2):
        start = int.from_bytes(page[cell : cell + 2]) + (begin - 8)  # an inner one has 4 bytes in front
        length, start = _varint(page, start)
        content = page[start : min(start + length, _USABLE)]
        values = _record(content) if len(content) == length <= _SHORT else None
        if values is not None:
            yield Row(0, values, place.is_firm)


def _behind_header(index: int) -> int:
    """Give the place of the page in a frame of the WAL."""
    return _WAL_HEADER + index * _FRAME_BYTES + _FRAME.size


def _size(file: int) -> int:
    """Give the length of an open file; none has none."""
    return os.fstat(file).st_size if file >= 0 else 0


def _holds(mac: bytes, number: int, page: bytes) -> bool:
    """Whether a page is what was written at this place."""
    begin = _SALT if number == _ROOT else 0
    said = page[_USABLE + _IV :]
    made = hmac.digest(mac, page[begin : _USABLE + _IV] + number.to_bytes(4, "little"), "sha512")
    return hmac.compare_digest(made, said)


def _flipped(salt: bytes, bit: int) -> bytes:
    """Give a salt with one bit turned."""
    return (int.from_bytes(salt) ^ 1 << bit).to_bytes(_SALT)


def _sums(block: bytes, before: tuple[int, int]) -> tuple[int, int]:
    """Give the sums of a frame, as SQLite's WAL has them: over 8 bytes of its header, and its page."""
    first, second = before
    words = (*struct.unpack_from("<2I", block), *_WORDS.unpack_from(block, _FRAME.size))
    for place in range(0, len(words), 2):
        first = (first + words[place] + second) & _MASK
        second = (second + words[place + 1] + first) & _MASK
    return first, second


def _local(length: int) -> int:
    """Give how much of a row stands in its leaf, as SQLite's file format has it."""
    if length <= _MOST_LOCAL:
        return length
    kept = _LEAST_LOCAL + (length - _LEAST_LOCAL) % (_USABLE - 4)
    return kept if kept <= _MOST_LOCAL else _LEAST_LOCAL


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of SQLite's variable length, below 2^56; gives it and the place behind it."""
    found = 0
    for place, byte in enumerate(data[at : at + 8], at + 1):
        found = found << 7 | byte & 0x7F
        if not byte & 0x80:  # the highest bit says that more follows
            return found, place
    return 0, at + 8


def _record(content: bytes) -> tuple[Value, ...] | None:
    """Read a whole row; None where it is none."""
    end, at = _varint(content, 0)
    kinds: list[int] = []
    while at < min(end, len(content)):
        kind, at = _varint(content, at)
        kinds.append(kind)
    values: list[Value] = []
    at = end
    for kind in kinds:
        value, at = _value(content, kind, at)
        values.append(value)
    return tuple(values) if at == len(content) and kinds else None


def _value(content: bytes, kind: int, at: int) -> tuple[Value, int]:
    """Read a value; gives it and the place behind it."""
    if kind >= _BLOB:
        end = at + (kind - _BLOB) // 2
        part = content[at:end]
        return (part.decode("utf-8", "replace") if kind % 2 else part), end
    if kind in _INTEGERS:
        end = at + _INTEGERS[kind]
        return int.from_bytes(content[at:end], signed=True), end
    return (kind - 8 if kind in {8, 9} else None), at
