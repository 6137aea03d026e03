"""An open database is encrypted, in WAL mode with a full sync for each commit, or it is not opened.

The format is SQLCipher 4 with a raw 32-byte key of the file's own (`file_keys`), so the ordinary `sqlcipher`
program opens the file too. This is the gateway's only door to the database driver. It knows no schema and
keeps no key. The WAL is never copied into the file unasked, not even by closing: its owner calls `copy_wal`.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import apsw

from coldseal.errors import OperatorError, TrustError, UnavailableError
from coldseal.gateway.store.disk import DISK, Disk
from coldseal.gateway.store.file_keys import StoreKey, file_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

Connection = apsw.Connection
DatabaseError = apsw.Error

PAGE_BYTES = 4096
BUSY_MS = 5_000
_SCANNED_BYTES = 64 * 1024
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MARKERS = (b"SQLite format 3\0", b"CREATE TABLE", b'{"body":')


class PlaintextError(TrustError):
    """A file of the store can be read without its key."""

    verdict = "plaintext-store"

    def __init__(self, path: Path, marker: bytes) -> None:
        """Keep the file and what could be read in it."""
        self.path = path
        self.marker = marker
        super().__init__(f"{path} is not encrypted: it shows {marker!r}")


class StoreDamagedError(TrustError):
    """The store does not hold what it once held; nothing is repaired or written.

    Args:
        what: what is damaged: a file, or the log.
        why: what was found and what was expected.
        seq: the first seq that is missing or wrong, where it is known.
    """

    verdict = "store-damaged"

    def __init__(self, what: str, why: str, seq: int | None = None) -> None:
        """Keep the facts; the message names the next move, because the first one can destroy evidence."""
        self.what = what
        self.why = why
        self.seq = seq
        place = "" if seq is None else f", from seq {seq} on"
        super().__init__(
            f"{what} is damaged{place}: {why}. Copy the data directory away, with its WAL, before anything"
            " else: recovery needs every file as it is"
        )


class WrongKeyError(OperatorError):
    """The first page cannot be read with this key: it is another's, or the page is damaged."""

    def __init__(self, path: Path) -> None:
        """Name the file."""
        hint = "Give the key that the store was made with, or another data directory."
        super().__init__(f"{path} is not a database under this key", hint)


class StoreFullError(UnavailableError):
    """There is no room for more; what is stored stays, and the same call succeeds when there is room."""

    def __init__(self, cause: str) -> None:
        """Keep the cause."""
        super().__init__("the store", cause)


def open_database(
    path: Path,
    key: StoreKey,
    *,
    readonly: bool = False,
    is_final: bool = False,
    schema: str = "",
    disk: Disk = DISK,
) -> Connection:
    """Open, or create, one encrypted database.

    Args:
        path: the database file; its directory must exist.
        key: the store key, or what gives out the file's own.
        readonly: for a reader in this or another process while somebody writes.
        is_final: with `readonly`, nobody writes it any more: its WAL is ignored, and no file beside it made.
        schema: statements run in one transaction; each should be `CREATE … IF NOT EXISTS`.
        disk: what it lies on; a file layer of its own must have a name that begins with `multipleciphers-`.

    Raises:
        OperatorError: the key is not 32 bytes, or is not the key of this file.
        UnavailableError: the file cannot be opened, read or written, or nobody gives out its key.
        PlaintextError: what is on disk is not encrypted.
    """
    own = file_key(key, path)
    flags = apsw.SQLITE_OPEN_READONLY if readonly else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    name = f"{path.absolute().as_uri()}{'?immutable=1' if is_final else ''}"
    with translated(str(path)):
        connection = Connection(name, flags=flags | apsw.SQLITE_OPEN_URI, vfs=disk.vfs or None)
        with ExitStack() as undo:
            undo.callback(connection.close, True)
            try:
                _prepare(connection, own, readonly=readonly)
                if schema:
                    with connection:
                        connection.execute(schema)
                verify_encrypted(path)
            except apsw.NotADBError as error:
                raise WrongKeyError(path) from error
            undo.pop_all()
    return connection


def _prepare(connection: Connection, key: bytes, *, readonly: bool) -> None:
    """Set cipher, key and durability, and read a page so that a wrong key shows here."""
    # closing would otherwise delete a WAL whose damaged part is still to be salvaged
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    connection.pragma("cipher", "sqlcipher")
    connection.pragma("legacy", 4)
    connection.pragma("key", f"x'{key.hex()}'")
    connection.set_busy_timeout(BUSY_MS)
    connection.pragma("temp_store", "memory")  # a temporary file would be plaintext
    connection.pragma("trusted_schema", 0)
    connection.pragma("recursive_triggers", 1)  # without it REPLACE passes a delete trigger
    connection.execute("SELECT count(*) FROM sqlite_schema").fetchall()
    if not readonly:
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("wal_autocheckpoint", 0)


def fetch(connection: Connection, query: str, values: Sequence[int | str] = ()) -> list[tuple[Any, ...]]:
    """Give all rows of a query; the types of its columns are the schema's matter."""
    return connection.execute(query, values).fetchall()


def copy_tables(old: Connection, new: Connection, tables: Iterable[tuple[str, int]]) -> None:
    """Copy all rows of tables, each named with the number of its columns; a transaction is the caller's."""
    for name, width in tables:
        marks = ", ".join("?" * width)
        rows = old.execute(f"SELECT * FROM {name}")  # noqa: S608 -- a name of our own code
        new.executemany(f"INSERT INTO {name} VALUES ({marks})", rows)  # noqa: S608 -- the same


def copy_wal(connection: Connection, *, is_emptying: bool = False) -> int:
    """Copy the WAL's pages into the file and sync it, without holding up writers or readers.

    Args:
        connection: any but the one that is in a transaction.
        is_emptying: also cut the WAL to nothing; that waits for readers and writers.

    Returns:
        The number of the WAL's pages that are in the file now; when it is all of them and nobody
        reads, the next commit begins the WAL anew.

    Raises:
        DatabaseError: not all was copied; the WAL keeps the rest.
    """
    mode = apsw.SQLITE_CHECKPOINT_TRUNCATE if is_emptying else apsw.SQLITE_CHECKPOINT_PASSIVE
    return connection.wal_checkpoint(mode=mode)[1]


def close_final(connection: Connection) -> None:
    """Close a database that nobody will write any more, with all of it in the one file.

    While somebody else reads, what is beside the file stays; nothing is lost by that.

    Raises:
        DatabaseError: the WAL keeps what could not be copied; it is closed all the same.
    """
    connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)  # the last one to close removes the WAL
    connection.set_busy_timeout(0)
    try:
        with suppress(apsw.BusyError, apsw.LockedError):
            copy_wal(connection, is_emptying=True)
    finally:
        connection.close(True)


def verify_encrypted(path: Path) -> None:
    """Look at the bytes of the database and its WAL: neither may show what it holds.

    Raises:
        PlaintextError: a SQLite header, a statement of the schema or an entry can be read.
    """
    for file in (path, path.with_name(f"{path.name}-wal")):
        if file.exists():
            head = _first_bytes(file)
            for marker in _MARKERS:
                if marker in head:
                    raise PlaintextError(file, marker)


def _first_bytes(file: Path) -> bytes:
    """Read the first bytes through SQLite's own file layer.

    Closing a descriptor of ours would drop every lock that SQLite holds on the file (POSIX locks
    belong to the process), and another process could then take the database for unused.
    """
    flags = [apsw.SQLITE_OPEN_MAIN_DB | apsw.SQLITE_OPEN_READONLY, 0]
    stream = apsw.VFSFile("unix", str(file.resolve()), flags)
    try:
        size = min(stream.xFileSize(), _SCANNED_BYTES)
        return stream.xRead(size, 0) if size else b""
    finally:
        stream.xClose()


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn the driver's errors, and the operating system's, into ours, by whose fault they are.

    Args:
        what: the file or part that an error will name.

    Raises:
        StoreFullError: there is no room on the disk.
        StoreDamagedError: a page is not what was written.
        UnavailableError: any other error.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StoreFullError(str(error.strerror)) from error
        raise UnavailableError(what, str(error.strerror)) from error
    except apsw.FullError as error:
        raise StoreFullError(str(error)) from error
    except (apsw.CorruptError, apsw.NotADBError) as error:
        raise StoreDamagedError(what, str(error)) from error
    except apsw.Error as error:
        raise UnavailableError(what, str(error)) from error
