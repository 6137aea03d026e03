"""Claims about the keys of single files: they follow from the store key, and it does not follow from them."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway.store.database import fetch, open_database
from coldseal.gateway.store.file_keys import file_key
from tests.gateway.store.logs import KEY

SEGMENT = "00000000000000000000"
SCHEMA = "CREATE TABLE kept (value TEXT)"


def test_openssl_alone_derives_the_key_of_a_file() -> None:
    """HKDF-Expand of RFC 5869, as docs/specs/storage.md has it."""
    command = [shutil.which("openssl") or "", "kdf", "-keylen", "32", "-kdfopt", "digest:SHA2-256"]
    purpose = f"coldseal file of the store v1\0{SEGMENT}".encode().hex()
    options = ["mode:EXPAND_ONLY", f"hexkey:{KEY.hex()}", f"hexinfo:{purpose}"]
    made = subprocess.run(
        [*command, *(part for each in options for part in ("-kdfopt", each)), "HKDF"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert bytes.fromhex(made.stdout.replace(":", "")) == file_key(KEY, Path(f"{SEGMENT}.db"))


def test_drafts_and_copies_of_a_file_have_its_key_and_every_other_file_has_another() -> None:
    """A segment is packed and pruned beside its place, and copied to another folder."""
    one = file_key(KEY, Path(f"log/{SEGMENT}.db"))
    for name in (f"log/{SEGMENT}.new", f"log/{SEGMENT}.db.packed", f"elsewhere/{SEGMENT}.db"):
        assert file_key(KEY, Path(name)) == one
    others = {file_key(KEY, Path(name)) for name in ("uplink.db", "log/00000000000000000001.db", "0.db")}
    assert len(others - {one, KEY}) == 3
    assert file_key(bytes(32), Path(f"{SEGMENT}.db")) != one


def test_the_key_of_a_file_opens_it_and_no_other(tmp_path: Path) -> None:
    """Nor does the store key itself, given as if it were one."""
    one, other = tmp_path / "one.db", tmp_path / "other.db"
    for path in (one, other):
        with closing(open_database(path, KEY, schema=SCHEMA)) as database:
            database.execute("INSERT INTO kept VALUES (?)", [path.stem])
    given = file_key(KEY, one)
    with closing(open_database(one, lambda _: given, readonly=True)) as database:
        assert fetch(database, "SELECT value FROM kept") == [("one",)]
    with pytest.raises(OperatorError, match="not a database under this key"):
        open_database(other, lambda _: given, readonly=True)
    with pytest.raises(OperatorError, match="not a database under this key"):
        open_database(one, lambda _: KEY, readonly=True)


@pytest.mark.parametrize("length", [0, 31, 33])
def test_a_store_key_of_another_length_is_refused(length: int) -> None:
    """It would be another key than the one that was meant."""
    with pytest.raises(OperatorError, match=f"has {length} bytes"):
        file_key(bytes(length), Path("kept.db"))
