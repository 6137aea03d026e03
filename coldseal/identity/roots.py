"""The root CA: a folder that is brought to a machine for minutes, to sign an issuing CA or the next root.

Promises that a root's key is written only under a passphrase, never overwritten, and that an issuing CA can
sign leaves and no further CA. What follows in the issuing CA's folder is `overlap`'s matter.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from coldseal.errors import OperatorError
from coldseal.identity import profiles
from coldseal.identity.authority_folder import encode_pem, make_folder, read_certificate
from coldseal.identity.issuing_key import IssuingKey, open_issuing_key
from coldseal.identity.revocation import Issuer
from coldseal.signing.keys import generate_record_key, passphrase_of, path_of, write_private_key
from coldseal.signing.private_files import write_private_file

if TYPE_CHECKING:
    from pathlib import Path

ROOT_DAYS: Final = 3_650
ISSUING_DAYS: Final = 365
DEPTH: Final = 2
"""CAs below a root: the issuing one and, while two roots overlap, the link to the newer root."""
_FILE: Final = re.compile(r"root-(\d+)\.pem")


def newest_root(folder: Path) -> int:
    """Give the number of the newest root in a folder; 0 if it holds none."""
    found = [_FILE.fullmatch(path.name) for path in folder.glob("root-*.pem")]
    return max((int(each[1]) for each in found if each), default=0)


def create_root(
    folder: Path, passphrase: str, *, name: str, now: datetime, days: float = ROOT_DAYS
) -> Issuer:
    """Make the next root of a folder; its key is encrypted.

    Args:
        folder: made if it is missing, for its owner only.
        passphrase: reference of the passphrase, ``file:PATH`` or ``env:NAME``.
        name: beginning of its name.
        now: this moment, UTC.
        days: its life.

    Raises:
        OperatorError: the passphrase is missing, or the folder refuses.
    """
    make_folder(folder)
    number = newest_root(folder) + 1
    key = make_key(_key_uri(number, passphrase), base=folder)
    subject = profiles.subject(f"{name} root {number}")
    builder = profiles.authority(subject, key.public_key(), issuer=subject, now=now, days=days, depth=DEPTH)
    certificate = builder.sign(key, hashes.SHA256())
    write_private_file(folder / f"root-{number}.pem", encode_pem([certificate]))
    return Issuer(certificate, key)


def open_root(folder: Path, passphrase: str, number: int | None = None) -> Issuer:
    """Open a root of a folder, the newest one if no number is given.

    Raises:
        OperatorError: there is none, or the passphrase is wrong.
    """
    number = newest_root(folder) if number is None else number
    if number < 1:
        raise OperatorError(
            f"{folder} holds no root", "Bring the folder that `coldseal identity ca init` made"
        )
    certificate = read_certificate(folder / f"root-{number}.pem")
    return Issuer(certificate, open_issuing_key(_key_uri(number, passphrase), base=folder))


def make_key(uri: str, *, base: Path) -> IssuingKey:
    """Make the key that a `file:` URI names; a key elsewhere was made there before, and is opened.

    Raises:
        OperatorError: the file exists already, has no passphrase, or the key cannot be opened.
    """
    if uri.startswith("file:"):
        passphrase = passphrase_of(uri, base)
        if not passphrase:
            raise OperatorError(
                f"{uri} has no passphrase", "Add ?passphrase=file:PATH or ?passphrase=env:NAME"
            )
        write_private_key(path_of(uri, base), generate_record_key(), passphrase=passphrase)
    return open_issuing_key(uri, base=base)


def sign_issuing(root: Issuer, key: IssuingKey, name: str, *, now: datetime, days: float) -> x509.Certificate:
    """Sign the certificate of an issuing CA, which never outlives the root."""
    return _below(root, profiles.subject(name), key, depth=0, now=now, days=days)


def sign_link(signer: Issuer, other: Issuer, *, now: datetime) -> x509.Certificate:
    """Let one root vouch for the key of another one until the first of them ends (RFC 7030 4.1.3)."""
    days = (other.certificate.not_valid_after_utc - now).total_seconds() / 86_400
    return _below(signer, other.certificate.subject, other.key, depth=DEPTH - 1, now=now, days=days)


def _below(
    signer: Issuer,
    subject: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    *,
    depth: int,
    now: datetime,
    days: float,
) -> x509.Certificate:
    """Sign a CA below a root."""
    left = (signer.certificate.not_valid_after_utc - now).total_seconds() / 86_400
    if min(left, days) <= 0:
        raise OperatorError("a certificate of a root has ended", "Make a new root, and enrol everything anew")
    builder = profiles.authority(
        subject,
        key.public_key(),
        issuer=signer.certificate.subject,
        now=now,
        days=min(left, days),
        depth=depth,
    )
    builder = builder.add_extension(profiles.authority_of(signer.certificate), critical=False)
    return builder.sign(signer.key, hashes.SHA256())


def _key_uri(number: int, passphrase: str) -> str:
    """Name the key of a root."""
    return f"file:root-{number}.key?passphrase={passphrase}"
