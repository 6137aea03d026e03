"""Claims about an open database: encrypted, durable, under the right key, or not open at all."""

from __future__ import annotations

import hashlib
import hmac
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.store.database import (
    PlaintextError,
    StoreDamagedError,
    StoreFullError,
    copy_wal,
    fetch,
    open_database,
    translated,
    verify_encrypted,
)
from coldseal.gateway.store.disk import Disk
from coldseal.gateway.store.file_keys import KEY_BYTES, file_key
from tests.gateway.store.logs import KEY

SCHEMA = "CREATE TABLE IF NOT EXISTS kept (value TEXT); CREATE INDEX IF NOT EXISTS by_value ON kept (value);"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the path of a database with one committed row, closed with its WAL as it is."""
    path = tmp_path / "kept.db"
    with closing(open_database(path, KEY, schema=SCHEMA)) as database:
        database.execute("INSERT INTO kept VALUES ('secret reading')")
    return path


def test_durability_is_full_and_the_wal_is_not_copied_unasked(path: Path) -> None:
    """Each commit is synced; nothing happens behind the owner's back, not even on closing."""
    with closing(open_database(path, KEY)) as database:
        assert database.pragma("journal_mode") == "wal"
        assert database.pragma("synchronous") == 2
        assert database.pragma("wal_autocheckpoint") == 0
        assert database.pragma("recursive_triggers") == 1
    assert path.with_name("kept.db-wal").stat().st_size > 0


def test_opening_again_keeps_what_is_there(path: Path) -> None:
    """The schema is made once."""
    with closing(open_database(path, KEY, schema=SCHEMA)) as database:
        assert fetch(database, "SELECT value FROM kept WHERE value = ?", ["secret reading"])


def test_neither_file_nor_wal_shows_anything(path: Path) -> None:
    """Not the schema, not a row, not even that it is SQLite."""
    for file in (path, path.with_name("kept.db-wal")):
        content = file.read_bytes()
        assert content
        for plain in (b"SQLite", b"CREATE", b"kept", b"secret"):
            assert plain not in content
    verify_encrypted(path)


def test_a_readonly_connection_sees_what_is_written_and_writes_nothing(path: Path) -> None:
    """It reads beside the writer."""
    with (
        closing(open_database(path, KEY)) as writer,
        closing(open_database(path, KEY, readonly=True)) as reader,
    ):
        writer.execute("INSERT INTO kept VALUES ('another')")
        assert len(fetch(reader, "SELECT value FROM kept")) == 2
        with pytest.raises(apsw.ReadOnlyError):
            reader.execute("DELETE FROM kept")


def test_the_wal_is_copied_on_demand(path: Path) -> None:
    """In part, as pages in the file; emptied, as nothing left in the WAL."""
    wal = path.with_name("kept.db-wal")
    with closing(open_database(path, KEY)) as database:
        assert copy_wal(database) > 0
        assert wal.stat().st_size > 0
        copy_wal(database, is_emptying=True)
        assert wal.stat().st_size == 0
        assert fetch(database, "SELECT value FROM kept") == [("secret reading",)]


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), KEY.hex().encode()])
def test_a_key_of_another_length_is_refused(tmp_path: Path, key: bytes) -> None:
    """A passphrase would be stretched, a short key padded: neither is what was meant."""
    with pytest.raises(OperatorError, match=f"{len(key)} bytes") as caught:
        open_database(tmp_path / "kept.db", key)
    assert str(KEY_BYTES) in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_is_the_operators_fault_and_leaves_the_file_alone(path: Path) -> None:
    """It says so at once, and does not begin a new database over the old one."""
    before = path.read_bytes()
    for readonly in (False, True):
        with pytest.raises(OperatorError, match="not a database under this key"):
            open_database(path, bytes(KEY_BYTES), readonly=readonly)
    assert path.read_bytes() == before


def test_a_plaintext_database_is_not_opened(tmp_path: Path) -> None:
    """Somebody put it there; it is no store of ours."""
    path = tmp_path / "kept.db"
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("CREATE TABLE kept (value)")
    with pytest.raises(OperatorError, match="not a database under this key"):
        open_database(path, KEY)


def test_a_file_layer_that_bypasses_the_encryption_is_refused(tmp_path: Path) -> None:
    """Older drivers wrote plaintext without a word there."""
    bare = Disk()
    bare.vfs = "unix"
    with pytest.raises(UnavailableError, match="Encryption is not supported"):
        open_database(tmp_path / "kept.db", KEY, schema=SCHEMA, disk=bare)


def test_a_plaintext_file_is_caught_by_its_bytes(tmp_path: Path) -> None:
    """Whatever the driver believes, the disk is looked at."""
    path = tmp_path / "kept.db"
    with closing(sqlite3.connect(path)) as plain:
        plain.execute("CREATE TABLE kept (value)")
    with pytest.raises(PlaintextError, match="not encrypted") as caught:
        verify_encrypted(path)
    assert (caught.value.verdict, caught.value.path) == ("plaintext-store", path)


def test_plaintext_in_the_wal_is_caught(path: Path) -> None:
    """The check looks at both files."""
    wal = path.with_name("kept.db-wal")
    wal.write_bytes(wal.read_bytes() + b'{"body":{"data":1}}')
    with pytest.raises(PlaintextError) as caught:
        open_database(path, KEY)
    assert caught.value.path == wal


def test_an_empty_file_shows_nothing(tmp_path: Path) -> None:
    """As a WAL is before its first commit."""
    (tmp_path / "kept.db").touch()
    verify_encrypted(tmp_path / "kept.db")


def test_looking_at_the_file_does_not_drop_the_locks_on_it(path: Path) -> None:
    """Closing a descriptor of ours would; another process could then remove the WAL in use."""
    script = (
        "import fcntl, os, sys; fcntl.lockf(os.open(sys.argv[1], os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    with closing(open_database(path, KEY)) as database:
        database.execute("SELECT * FROM kept").fetchall()
        verify_encrypted(path)
        run = subprocess.run(
            [shutil.which("python3") or "", "-c", script, path], capture_output=True, text=True, check=False
        )
    assert "BlockingIOError" in run.stderr


def test_a_directory_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    """It may be a file system that is not mounted yet."""
    with pytest.raises(UnavailableError, match="unable to open"):
        open_database(tmp_path / "absent" / "kept.db", KEY)


def test_a_flipped_bit_in_the_file_is_refused(path: Path) -> None:
    """Each page is authenticated: wrong data is never served."""
    with closing(open_database(path, KEY)) as database:
        copy_wal(database, is_emptying=True)
    content = bytearray(path.read_bytes())
    content[4096 + 100] ^= 1
    path.write_bytes(content)
    database = open_database(path, KEY)
    with closing(database), pytest.raises(StoreDamagedError) as caught, translated("kept.db"):
        fetch(database, "SELECT value FROM kept")
    assert caught.value.what == "kept.db"
    assert "Copy the data directory away" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (apsw.SQLITE_FULL, StoreFullError),
        (apsw.SQLITE_CORRUPT, StoreDamagedError),
        (apsw.SQLITE_NOTADB, StoreDamagedError),
        (apsw.SQLITE_IOERR, UnavailableError),
        (apsw.SQLITE_BUSY, UnavailableError),
    ],
)
def test_the_drivers_errors_become_ours_by_whose_fault_they_are(code: int, kind: type[Exception]) -> None:
    """Retry, or never retry: the caller must be able to tell."""
    with pytest.raises(kind) as caught, translated("kept.db"):
        raise apsw.exception_for(code)
    assert type(caught.value) is kind


def test_damage_names_the_first_seq_where_it_is_known() -> None:
    """So that a person knows which readings to look for elsewhere."""
    assert "from seq 42 on" in str(StoreDamagedError("the log", "cut", 42))
    assert "seq" not in str(StoreDamagedError("the log", "cut"))


def test_the_format_is_sqlcipher_4(path: Path) -> None:
    """First page: 16 bytes of salt, AES-256-CBC, and at its end IV and HMAC-SHA512, as SQLCipher has them.

    Recomputed here from the file's raw key alone: the ordinary `sqlcipher` program, from 4.0 on, opens it.
    """
    with closing(open_database(path, KEY)) as database:
        copy_wal(database, is_emptying=True)
    page = path.read_bytes()[:4096]
    key = file_key(KEY, path)
    salt, sealed, iv, tag = page[:16], page[16:4016], page[4016:4032], page[4032:]
    hmac_key = hashlib.pbkdf2_hmac("sha512", key, bytes(byte ^ 0x3A for byte in salt), 2, 32)
    assert hmac.digest(hmac_key, sealed + iv + (1).to_bytes(4, "little"), "sha512") == tag
    decryptor = Cipher(algorithms.AES256(key), modes.CBC(iv)).decryptor()
    header = decryptor.update(sealed) + decryptor.finalize()
    assert header[:5] == bytes([0x10, 0x00, 2, 2, 80])  # 4096-byte pages, WAL, 80 bytes kept for IV and tag
