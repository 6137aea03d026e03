"""Reference values: what a release boots to on one kind of machine, one file for each.

Promises that a file which cannot be read leaves those that were read before in force, and is said once.
Reference values come from a quote that the service has verified: nobody types them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from coldseal.core.attestation.judgement import Reference
from coldseal.errors import OperatorError
from coldseal.identity.files import replace_private_file
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.attestation.states import Booted, look, read_file
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER: Final = "references"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_log = Log("service.attestation")


class ReferenceFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file.

    Args:
        name: of the release on one kind of machine, also the file's name.
        gateways: patterns of names to which it applies.
        booted: the values that count, and their events.
        source: the gateway whose quote they come from.
        who: who took them.
        why: why.
        t: when, Unix seconds.
    """

    name: str
    gateways: tuple[str, ...]
    booted: Booted
    source: str
    who: str
    why: str
    t: int


class References:
    """The files below a service's data folder.

    Args:
        data: the data folder.
    """

    def __init__(self, data: Path) -> None:
        """Read them.

        Raises:
            OperatorError: the folder cannot be made, or a file cannot be read.
        """
        self._folder = data / FOLDER
        try:
            make_private_folder(self._folder)
        except OSError as error:
            what = f"{self._folder} cannot be made: {error.strerror}"
            raise OperatorError(what, "Make the data folder writable for the service") from error
        self._seen = look(self._folder)
        self.files = self._read()

    @property
    def values(self) -> list[Reference]:
        """Give them as they are compared."""
        return [Reference(each.name, each.gateways, each.booted.state()) for each in self.files]

    def refresh(self) -> bool:
        """Look whether a file came, went or changed; whether others are in force now."""
        seen = look(self._folder)
        if seen == self._seen:
            return False
        self._seen = seen
        try:
            self.files = self._read()
        except OperatorError as error:
            _log.emit(events.ATTESTATION_KEPT, error=str(error))
            return False
        return True

    def add(self, file: ReferenceFile) -> Path:
        """Write new reference values, or replace those of the same name; durable on return.

        Raises:
            OperatorError: the name cannot be a file's, or it cannot be written.
        """
        path = self._path(file.name)
        replace_private_file(path, msgspec.json.format(msgspec.json.encode(file)))
        return path

    def remove(self, name: str) -> None:
        """Take reference values out of force.

        Raises:
            OperatorError: there are none of that name.
        """
        try:
            self._path(name).unlink()
        except OSError as error:
            known = ", ".join(each.name for each in self.files) or "none"
            raise OperatorError(f"no reference {name!r}: {error.strerror}", f"Known are: {known}") from error

    def _path(self, name: str) -> Path:
        """Name the file."""
        if not _NAME.fullmatch(name):
            raise OperatorError(
                f"{name!r} cannot be a reference's name", "Use letters, digits, dots and hyphens"
            )
        return self._folder / f"{name}.json"

    def _read(self) -> Sequence[ReferenceFile]:
        """Read all files."""
        return [read_file(path, ReferenceFile) for path in sorted(self._folder.glob("*.json"))]
