"""The store key opens no file: each file of the store has a key of its own, which follows from it.

Promise: whoever has the key of one file knows nothing of the store key and of any other file's. A file may
be drafted, replaced and carried elsewhere under its name; by another name it has another key. Keeps no key.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES: Final = 32

StoreKey = bytes | Callable[["Path"], bytes]
"""The store key, 32 raw bytes; or, where it must not be, what gives out the key of one file."""

_PURPOSE: Final = b"coldseal file of the store v1\0"
_ONE_BLOCK: Final = b"\1"


def file_key(key: StoreKey, path: Path) -> bytes:
    """Give the key that encrypts a file: HKDF-Expand (RFC 5869) of the store key, by SHA-256.

    Args:
        key: see `StoreKey`; uniformly random, so that there is nothing to extract (RFC 5869, 3.3).
        path: the file or its draft; what its name begins with, up to the first dot, counts alone.

    Returns:
        32 bytes.

    Raises:
        OperatorError: the store key is not 32 bytes.
        UnavailableError: nobody gives out keys any more.
    """
    if callable(key):
        return key(path)
    if len(key) != KEY_BYTES:
        raise OperatorError(f"the key of {path} has {len(key)} bytes", f"Give a key of {KEY_BYTES} bytes.")
    return hmac.digest(key, _PURPOSE + file_name(path).encode() + _ONE_BLOCK, "sha256")


def file_name(path: Path) -> str:
    """Give the part of a file's name that stays through drafts and replacements."""
    return path.name.partition(".")[0]
