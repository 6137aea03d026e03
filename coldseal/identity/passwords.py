"""A file of device names and argon2id hashes, for sites whose devices have no certificates.

An unknown name costs the same time as a wrong password. A check takes tens of milliseconds of
processor: call it in a thread. No password is kept, logged or shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from coldseal.errors import InputError, OperatorError
from coldseal.identity.files import replace_private_file
from coldseal.identity.peer import is_name, require_name
from coldseal.signing.private_files import read_private_file

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SHORTEST_PASSWORD: Final = 12
"""Characters that a new password must have at least."""

LONGEST_PASSWORD: Final = 1024
"""Bytes; a longer one is refused unseen, so that nobody can buy processor time with it."""

_HASHER: Final = argon2.PasswordHasher(  # RFC 9106 section 4, for 64 MiB; one lane, as cores are few
    time_cost=3, memory_cost=65_536, parallelism=1
)
_PREFIX: Final = "$argon2id$"


class Passwords:
    """The names and hashes of one file, as they were when it was opened.

    Args:
        hashes: argon2id hash by name.
    """

    def __init__(self, hashes: Mapping[str, str]) -> None:
        """Keep a copy, and choose a hash whose check makes an unknown name as dear as a known one."""
        self._hashes = dict(hashes)
        self._decoy = next(iter(self._hashes.values()), None) or _HASHER.hash("")

    def __len__(self) -> int:
        """Count the names."""
        return len(self._hashes)

    def is_valid(self, name: str, password: bytes) -> bool:
        """Answer whether ``password`` belongs to ``name``; takes as long for an unknown name."""
        if len(password) > LONGEST_PASSWORD:
            return False
        known = self._hashes.get(name)
        try:
            _HASHER.verify(known or self._decoy, password)
        except VerificationError:
            return False
        return known is not None


def open_passwords(path: Path) -> Passwords:
    """Read a password file: ``name:hash`` lines, empty lines and ``#`` comments; mode 0600.

    Raises:
        OperatorError: the file or a line is wrong; the line's number is named, its text is not.
    """
    return Passwords(_parse(read_private_file(path), path))


def set_password(path: Path, name: str, password: str) -> None:
    """Add or replace one name in the file, which is made when it is missing (mode 0600).

    Raises:
        InputError: the name or the password is not acceptable.
        OperatorError: the existing file is wrong.
    """
    require_name("password file", name)
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD // 4:
        raise InputError("password file", "password", "…", f"at least {SHORTEST_PASSWORD} characters")
    hashes = _parse(read_private_file(path), path) if path.exists() else {}
    hashes[name] = _HASHER.hash(password)
    text = "".join(f"{each}:{value}\n" for each, value in sorted(hashes.items()))
    replace_private_file(path, text.encode())


def _parse(content: bytes, path: Path) -> dict[str, str]:
    """Read the lines."""
    hashes: dict[str, str] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        name, _, value = text.partition(":")
        if not is_name(name) or name in hashes or not _is_hash(value):
            raise OperatorError(
                f"{path}: line {number} is not a new name, ':' and an argon2id hash",
                f"Write it with: coldseal identity password {path} NAME",
            )
        hashes[name] = value
    return hashes


def _is_hash(value: str) -> bool:
    """Answer whether this is an argon2id hash with its parameters."""
    try:
        return value.startswith(_PREFIX) and argon2.extract_parameters(value).memory_cost > 0
    except InvalidHashError:
        return False
