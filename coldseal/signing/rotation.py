"""Key files that are changed for new ones: written beside, taken into use by one rename, never half.

`PATH.next` holds the key that is to come until the log says that it came; then it takes the place of the
file that the configuration names, and the old private key is gone. After a crash in between, `settle`
finishes or drops it by what the log says. A key in a chip or token is made there beforehand.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from coldseal.errors import OperatorError
from coldseal.signing.keys import passphrase_of, path_of, write_private_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.signing.keys import PrivateKey

Signer = TypeVar("Signer")
_SUFFIX = ".next"


class KeyFile:
    """One private key's file.

    Args:
        uri: as in the configuration, ``file:PATH[?passphrase=REFERENCE]``.
        base: directory against which relative paths count.
    """

    def __init__(self, uri: str, base: Path) -> None:
        """Find the file; nothing is opened."""
        self._passphrase = passphrase_of(uri, base)
        self._path = path_of(uri, base)
        self._next = self._path.with_name(self._path.name + _SUFFIX)
        self._uri = uri

    def prepare(self, key: PrivateKey) -> None:
        """Write the key that is to come, in place of one that was prepared and never came.

        Raises:
            OperatorError: it cannot be written.
        """
        self.drop()
        write_private_key(self._next, key, passphrase=self._passphrase or b"")

    def adopt(self) -> None:
        """Put the prepared key in the place of the old one, durably.

        Raises:
            OperatorError: there is none, or it cannot be moved.
        """
        try:
            self._next.replace(self._path)
            folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        except OSError as error:
            raise OperatorError(
                f"{self._next} cannot take the place of {self._path}: {error.strerror}",
                "Move it by hand; the log's newest key entry names it",
            ) from error

    def drop(self) -> None:
        """Remove a prepared key that is not to come."""
        self._next.unlink(missing_ok=True)

    def settle(self, is_active: Callable[[Signer], bool], read: Callable[[str], Signer]) -> None:
        """Finish what a crash interrupted: take the prepared key if the log names it, else drop it.

        Args:
            is_active: whether the log names this key as the active one.
            read: opens the key of a URI.
        """
        if not self._next.exists():
            return
        if is_active(read(self._uri.replace(self._path.name, self._next.name, 1))):
            self.adopt()
        else:
            self.drop()
