"""Opens what holds a key outside of our memory: a TPM for `tpm:`, a token for `pkcs11:`.

The drivers are extras: each is loaded only once a URI names it, and a missing one says how to install it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError
from coldseal.signing.secrets import read_secret
from coldseal.signing.uris import P256, missing, parse_pkcs11, parse_tpm

if TYPE_CHECKING:
    from coldseal.signing.keys import Holder
    from coldseal.signing.tpm.counter import TpmCounter
    from coldseal.signing.tpm.transport import TransportKey
    from coldseal.signing.uris import TpmUri

MAX_AUTH: Final = 32
"""Bytes of what a key of a chip asks for (TPM 2.0 part 1, 19.6.4.2): no more than its hash has."""


def is_held(uri: str) -> bool:
    """Whether a key's URI names a chip or a token."""
    return uri.startswith(("tpm:", "pkcs11:"))


def open_holder(uri: str, base: Path) -> Holder:
    """Open the holder of a key.

    Args:
        uri: `tpm:…` or `pkcs11:…`.
        base: directory against which relative paths count.

    Raises:
        OperatorError: the URI is no good, there is no such key, or the driver is not installed.
        UnavailableError: the chip or token is away.
    """
    if uri.startswith("tpm:"):
        place = _opened(parse_tpm(uri, base), base)
        try:
            from coldseal.signing.tpm.keys import open_key  # noqa: PLC0415 # an extra: loaded once it is named
        except ImportError as error:
            raise missing("tpm", error) from error
        return open_key(place)
    named = parse_pkcs11(uri, base)
    try:
        from coldseal.signing.pkcs11 import Pkcs11Key  # noqa: PLC0415 # an extra: loaded once it is named
    except ImportError as error:
        raise missing("pkcs11", error) from error
    return Pkcs11Key(named, base)


def make_held(uri: str, base: Path, *, kind: str = P256) -> Holder:
    """Make a key in a chip or a token, and open it.

    Args:
        uri: where, as above; nothing may be there.
        base: directory against which relative paths count.
        kind: ``P-256``, or ``Ed25519`` where a token can.

    Raises:
        OperatorError: as `open_holder`, or something is there already.
        UnavailableError: the chip or token is away.
    """
    if uri.startswith("tpm:"):
        if kind != P256:
            raise OperatorError(f"no TPM has {kind} keys", "Keep that key in a file or in a token.")
        place = _opened(parse_tpm(uri, base), base)
        try:
            from coldseal.signing.tpm.keys import make_key  # noqa: PLC0415 # an extra: loaded once it is named
        except ImportError as error:
            raise missing("tpm", error) from error
        return make_key(place)
    named = parse_pkcs11(uri, base)
    try:
        from coldseal.signing.pkcs11 import make_token_key  # noqa: PLC0415 # an extra: loaded once it is named
    except ImportError as error:
        raise missing("pkcs11", error) from error
    return make_token_key(named, base, kind=kind)


def open_transport(place: TpmUri) -> TransportKey:
    """Open a transport key that a TPM has wrapped; nothing is asked of the chip.

    Raises:
        OperatorError: its file cannot be read, is of no such key, or the driver is not installed.
    """
    try:
        from coldseal.signing.tpm.transport import open_transport_key  # noqa: PLC0415 # an extra, as above
    except ImportError as error:
        raise missing("tpm", error) from error
    return open_transport_key(_opened(place, Path()))


def make_transport(place: TpmUri) -> TransportKey:
    """Make a transport key in a TPM, wrapped in a new file.

    Raises:
        OperatorError: as `open_transport`, or there is such a file already.
        UnavailableError: the chip is away.
    """
    try:
        from coldseal.signing.tpm.transport import make_transport_key  # noqa: PLC0415 # an extra, as above
    except ImportError as error:
        raise missing("tpm", error) from error
    return make_transport_key(_opened(place, Path()))


def _opened(place: TpmUri, base: Path) -> TpmUri:
    """Read what a chip's key asks for before it signs.

    Raises:
        OperatorError: it is not there, empty, open to others, or longer than a chip takes.
    """
    if not place.auth:
        return place
    secret = read_secret(place.auth, base)
    if len(secret) > MAX_AUTH:
        what = f"what the TPM's key at {place.place} asks for has {len(secret)} bytes"
        raise OperatorError(what, f"A chip takes {MAX_AUTH} at most.")
    return replace(place, secret=secret)


def open_counter(uri: str, base: Path, index: str) -> TpmCounter:
    """Open a counter in the chip of a key, which certifies it; nothing is asked of the chip yet.

    Args:
        uri: the key, `tpm:…`.
        base: directory against which relative paths count.
        index: NV index, such as ``0x01800010``.

    Raises:
        OperatorError: the URI is no good, or the driver is not installed.
    """
    place = _opened(parse_tpm(uri, base), base)
    try:
        from coldseal.signing.tpm.counter import TpmCounter  # noqa: PLC0415 # an extra: loaded once it is named
    except ImportError as error:
        raise missing("tpm", error) from error
    return TpmCounter(place, int(index, 16))
