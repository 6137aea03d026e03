"""What `gateway init` and `service init` share: a new folder, files of a PKI folder, TOML strings.

Nothing is ever overwritten. Whatever can be refused is refused before the first key is made.
"""

import os
from pathlib import Path

from coldseal.errors import OperatorError
from coldseal.signing.private_files import make_private_folder, write_private_file


class Holder:
    """Certificate, key and trusted CA of one holder in a PKI folder, as a configuration names them.

    Args:
        folder: where the configuration will stand.
        pki: folder made by `coldseal identity dev-ca`; None leaves the names empty.
        role: `gateway` or `service`.
        name: its name; where the folder holds but one of this role, that one is taken.
    """

    def __init__(self, folder: Path, pki: Path | None, role: str, name: str) -> None:
        """Find the files, or refuse."""
        self.name = name
        self.certificate = self.key = self.trust = ""
        if pki is not None:
            self._find(folder, pki, role)

    def _find(self, folder: Path, pki: Path, role: str) -> None:
        """Name the files relative to the folder."""
        from coldseal.identity.authority import TRUST

        there = sorted(path.stem for path in (pki / role).glob("*.pem"))
        if self.name not in there:
            if len(there) != 1:
                found = ", ".join(there) or "none"
                what = f"{pki} has no certificate of a {role} {self.name!r}, but of: {found}"
                raise OperatorError(what, f"Make it with: coldseal identity dev-ca DIR --{role} {self.name}")
            self.name = there[0]
        base = folder.resolve()
        self.certificate = os.path.relpath((pki / role / f"{self.name}.pem").resolve(), base)
        self.key = os.path.relpath((pki / role / f"{self.name}.key").resolve(), base)
        self.trust = os.path.relpath((pki / TRUST).resolve(), base)


def check(option: str, value: str, kind: object) -> None:
    """Hold an option's value to the type that the configuration has for it."""
    import msgspec

    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise OperatorError(
            f"{option} is {value!r}: {error}", "Use letters, digits, '.', '_' and '-'"
        ) from error


def new_folder(folder: Path, config: str) -> None:
    """Make the folder, unless it holds a configuration already."""
    if (folder / config).exists():
        raise OperatorError(f"{folder / config} exists already", "Choose another folder; nothing was changed")
    try:
        make_private_folder(folder)
    except OSError as error:
        raise OperatorError(f"{folder} cannot be made: {error.strerror}", "Choose another folder") from error


def write_new(path: Path, content: bytes) -> None:
    """Write a new file, whole or not at all."""
    write_private_file(path, content)


def quote(text: str) -> str:
    """Write a TOML basic string."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def start_logs(level: str) -> None:
    """Set up logging for a program."""
    from coldseal.observe.logs import configure, parse_level

    try:
        configure(level=parse_level(level))
    except ValueError as error:
        raise OperatorError(f"--log-level: {error}", "Use info, or debug to see more") from error
