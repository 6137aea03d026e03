"""A secret is named in the configuration, never written there: `file:PATH`, `env:NAME`, `tpm:seal=PATH`.

A file that others may read is refused before it is used. Nothing is cached, printed or logged.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

from coldseal.errors import OperatorError
from coldseal.signing.private_files import read_private_file
from coldseal.signing.uris import missing, parse_tpm

if TYPE_CHECKING:
    from pathlib import Path

KEY_BYTES = 32


def read_secret(reference: str, base: Path) -> bytes:
    """Read what a reference names; white space at either end is not part of a secret.

    Args:
        reference: `file:PATH` (mode 0600), `env:NAME`, or `tpm:seal=PATH` for one that a TPM sealed.
        base: directory against which a relative path counts.

    Raises:
        OperatorError: the scheme is unknown, or the secret is missing, empty or open to others; or the
            machine booted something else than the secret was sealed for.
        UnavailableError: the TPM is away.
    """
    scheme, _, name = reference.partition(":")
    if scheme == "file" and name:
        return read_private_file(base / name).strip()
    if scheme == "env" and name:
        value = os.environ.get(name, "").strip()
        if not value:
            raise OperatorError(f"the environment has no {name}", f"Set {name} for this program.")
        return value.encode()
    if scheme == "tpm":
        return _unseal(reference, base).strip()
    # the reference itself is not shown: it may be a secret, written there by mistake
    hint = "Write tpm:seal=PATH, file:PATH or env:NAME."
    raise OperatorError("a secret's reference has no known scheme", hint)


def _unseal(reference: str, base: Path) -> bytes:
    """Have a TPM give out what it sealed."""
    place = parse_tpm(reference, base, what="seal")
    content = read_private_file(place.file)
    try:
        from coldseal.signing.tpm.sealing import parse_sealed, unseal  # noqa: PLC0415 # an extra: loaded when named
    except ImportError as error:
        raise missing("tpm", error) from error
    return unseal(place.tcti, parse_sealed(content, where=str(place.file)))


def read_symmetric_key(reference: str, base: Path) -> bytes:
    """Read a key of 32 bytes, written as 64 hex digits.

    Raises:
        OperatorError: as `read_secret`, or it is not 64 hex digits.
    """
    text = read_secret(reference, base)
    with suppress(ValueError):
        key = bytes.fromhex(text.decode())
        if len(key) == KEY_BYTES:
            return key
    hint = f"Restore the key, or make a new one: {2 * KEY_BYTES} hex digits."
    raise OperatorError(f"{reference} does not hold a key of {KEY_BYTES} bytes in hex", hint)


def generate_symmetric_key() -> bytes:
    """Make a key of 32 random bytes, as the 64 hex digits that a key file holds."""
    return f"{secrets.token_hex(KEY_BYTES)}\n".encode()
