"""What stands in an issuing CA's folder: `ca.toml`, certificates, keys by reference, what peers trust.

Promises that a change of `ca.toml` is the one step by which a CA changes: what it names is written before.
Signs nothing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Meta, Struct, field

from coldseal import settings
from coldseal.errors import OperatorError
from coldseal.identity.files import replace_private_file
from coldseal.identity.peer import Role
from coldseal.identity.profiles import CRL_DAYS, LEAF_DAYS
from coldseal.settings import Reference
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable

CONFIG: Final = "ca.toml"
ISSUING: Final = "ca"
CRL: Final = "crl.pem"
TRUST: Final = "root.pem"
"""The file that peers trust."""
LINKS: Final = "links.pem"
"""Certificates by which an old root vouches for a new one, and the other way round (RFC 7030 4.1.3)."""

Days = Annotated[float, Meta(gt=0, le=36_500)]


class Ca(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The issuing CA itself."""

    name: str = "coldseal"
    """Beginning of the names of its certificates."""
    number: Annotated[int, Meta(ge=1)] = 1
    """Which issuing CA of this name it is."""
    certificate: Path = Path(f"{ISSUING}.pem")
    """Its certificate."""
    key: Reference = Reference(f"file:{ISSUING}.key")
    """Its key."""
    crl_url: str = ""
    """Where its revocation list can be fetched; written into certificates. Empty: it is not."""
    one_role: bool = True
    """No name for two roles at a time: an external broker knows a client by its name alone."""


class Lives(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many days certificates and lists live."""

    device: Days = LEAF_DAYS
    gateway: Days = LEAF_DAYS
    service: Days = LEAF_DAYS
    operator: Days = LEAF_DAYS
    crl: Days = CRL_DAYS

    def of(self, role: Role) -> float:
        """Give the life of a role's certificates."""
        lives: dict[Role, float] = {
            "device": self.device,
            "gateway": self.gateway,
            "service": self.service,
            "operator": self.operator,
        }
        return lives[role]


class Former(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An issuing CA that was rolled over: it signs nothing but its revocation list."""

    certificate: Path
    """Its certificate."""
    key: Reference
    """Its key."""


class FolderConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``ca.toml``."""

    ca: Ca = field(default_factory=Ca)
    days: Lives = field(default_factory=Lives)
    former: tuple[Former, ...] = ()


def load_folder(folder: Path) -> FolderConfig:
    """Read what a CA's folder says of it; a folder without `ca.toml` is a development CA's.

    Raises:
        OperatorError: a key or value is wrong.
    """
    path = folder / CONFIG
    if not path.exists():
        base = folder.resolve()
        ca = Ca(certificate=base / f"{ISSUING}.pem", key=Reference(f"file:{base / ISSUING}.key"))
        return FolderConfig(ca=ca)
    return settings.load(path, FolderConfig)


def read_plain(folder: Path) -> dict[str, Any]:
    """Read `ca.toml` as it is written, to be changed and written again."""
    path = folder / CONFIG
    if not path.exists():
        return {"ca": {"number": 1, "certificate": f"{ISSUING}.pem", "key": f"file:{ISSUING}.key"}}
    return tomllib.loads(path.read_text(encoding="utf-8"))


def write_plain(folder: Path, tables: dict[str, Any]) -> None:
    """Write `ca.toml` in one step.

    Raises:
        OperatorError: the folder or the disk refuses.
    """
    lines = ["# Written by `coldseal identity ca`. [days] may be changed by hand: lives of what is issued."]
    for name, value in tables.items():
        for each in value if isinstance(value, list) else [value]:
            lines += ["", f"[[{name}]]" if isinstance(value, list) else f"[{name}]"]
            lines += [f"{key} = {msgspec.json.encode(item).decode()}" for key, item in each.items()]
    replace_private_file(folder / CONFIG, ("\n".join(lines) + "\n").encode())


def read_certificate(path: Path) -> x509.Certificate:
    """Read the first certificate of a PEM file.

    Raises:
        OperatorError: there is none.
    """
    return read_certificates(path)[0]


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read all certificates of a PEM file.

    Raises:
        OperatorError: there is none.
    """
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError, x509.InvalidVersion) as error:
        hint = "Name a folder that `coldseal identity ca init` or `dev-ca` made, and a certificate in it"
        raise OperatorError(f"{path} cannot be read as a certificate", hint) from error


def encode_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Write certificates as PEM, one after the other."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in certificates)


def make_folder(folder: Path) -> None:
    """Make a folder for its owner only.

    Raises:
        OperatorError: it cannot be made.
    """
    try:
        make_private_folder(folder)
    except OSError as error:
        raise OperatorError(f"{folder} cannot be made: {error.strerror}", "Choose another folder") from error
