"""What the URIs of keys and secrets mean: `tpm:` and `pkcs11:` taken apart, nothing opened.

`tpm:0x81008001` is a persistent key, `tpm:key=FILE` a wrapped one, `tpm:seal=FILE` a sealed secret; each
takes `?tcti=WAY`, keys also `auth=REFERENCE`. `pkcs11:` is RFC 7512: a key is found by what it names. A PIN
is never written in it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, unquote_to_bytes

from coldseal.errors import OperatorError

P256: Final = "P-256"
ED25519: Final = "Ed25519"

KERNEL: Final = "device:/dev/tpmrm0"
"""The way to the chip behind the kernel's own resource manager."""

WRAPPED: Final = b"-----BEGIN TSS2 PRIVATE KEY-----"
"""How the file of a wrapped key begins."""

PERSISTENT: Final = range(0x81000000, 0x82000000)
"""Handles of persistent objects (TPM 2.0 part 2, 7.4)."""

_OPTION: Final = "?passphrase="
_PATH: Final = frozenset({"id", "object", "serial", "token", "type"})
_QUERY: Final = frozenset({"module-path", "pin-source"})


@dataclass(frozen=True, slots=True)
class TpmUri:
    """Something of a TPM.

    Attributes:
        tcti: the way to the chip.
        handle: of a persistent key; None for what is in a file.
        file: of a wrapped key or a sealed secret.
        auth: reference to what a key asks for before it signs; empty for one that asks for nothing.
        secret: that, once it was read.
    """

    tcti: str
    handle: int | None
    file: Path
    auth: str = ""
    secret: bytes = field(default=b"", repr=False)

    @property
    def place(self) -> str:
        """Name it for a person."""
        return f"{self.handle:#x}" if self.handle is not None else str(self.file)


@dataclass(frozen=True, slots=True)
class Pkcs11Uri:
    """A key of a token.

    Attributes:
        module: the token's library.
        token: its label; empty for any.
        serial: its serial number; empty for any.
        object: the key's label; empty for any.
        id: the key's id; empty for any.
        pin: reference to the PIN.
    """

    module: Path
    token: str
    serial: str
    object: str
    id: bytes
    pin: str


def complete(uri: str, *, tcti: str, module: Path | None) -> str:
    """Give a URI with what a configuration says for all: the way to the chip, the token's library.

    Args:
        uri: of a key or a secret, of any scheme; its passphrase may be one too.
        tcti: the way to the chip, where the URI names none.
        module: the library, likewise.
    """
    uri, option, inner = uri.partition(_OPTION)
    if uri.startswith("tpm:") and "tcti=" not in uri:
        uri = f"{uri}{_joint(uri)}tcti={tcti}"
    if uri.startswith("pkcs11:") and module is not None and "module-path=" not in uri:
        uri = f"{uri}{_joint(uri)}module-path={module}"
    return f"{uri}{option}{complete(inner, tcti=tcti, module=module)}" if option else uri


def parse_tpm(uri: str, base: Path, *, what: str = "key") -> TpmUri:
    """Take a `tpm:` URI apart.

    Args:
        uri: ``tpm:0x81008001`` or ``tpm:key=FILE`` for a key, ``tpm:seal=FILE`` for a secret; ``?tcti=WAY``,
            for a key also ``auth=REFERENCE``, joined by ``&``.
        base: directory against which a relative path counts.
        what: ``key`` or ``seal``.

    Raises:
        OperatorError: it is none, or has another option.
    """
    place, mark, query = uri.removeprefix("tpm:").partition("?")
    options = dict(each.partition("=")[::2] for each in query.split("&")) if mark else {}
    known = {"tcti", "auth"} if what == "key" else {"tcti"}
    if len(options) != query.count("&") + bool(mark) or not (
        options.keys() <= known and all(options.values())
    ):
        hint = f"Known are {', '.join(sorted(known))}, each once, such as ?tcti=device:/dev/tpmrm0."
        raise OperatorError(f"tpm:{place} has an unknown option", hint)
    tcti, auth = options.get("tcti", KERNEL), options.get("auth", "")
    kind, _, file = place.partition("=")
    if kind == what and file:
        return TpmUri(tcti, None, base / file, auth)
    handle = _hex(place)
    if what != "key" or handle not in PERSISTENT:
        form = "tpm:0x81008001 or tpm:key=FILE" if what == "key" else "tpm:seal=FILE"
        raise OperatorError(f"{uri} names nothing in a TPM", f"Write {form}.")
    return TpmUri(tcti, handle, Path(), auth)


def parse_transport(text: str) -> Path | TpmUri:
    """Take the place of a transport key apart: a file that holds it, or one that a TPM has wrapped.

    Args:
        text: a path, or ``tpm:key=FILE`` with its options.

    Raises:
        OperatorError: it has an unknown option, or names a persistent handle.
    """
    if not text.startswith("tpm:"):
        return Path(text)
    found = parse_tpm(text, Path())
    if found.handle is not None:
        what = f"a transport key is at the persistent handle {found.place}"
        raise OperatorError(what, "Write tpm:key=FILE: each renewal makes a new key, which needs no handle")
    return found


def parse_pkcs11(uri: str, base: Path) -> Pkcs11Uri:
    """Take a `pkcs11:` URI apart (RFC 7512).

    Args:
        uri: ``pkcs11:token=T;object=O?module-path=FILE&pin-source=REFERENCE``.
        base: directory against which a relative path counts.

    Raises:
        OperatorError: it holds a PIN, an attribute that is not known, no key or no library.
    """
    path, _, query = uri.removeprefix("pkcs11:").partition("?")
    named = _attributes(path.split(";"), _PATH)
    options = _attributes(query.split("&") if query else [], _QUERY)
    if named.get("type", "private") != "private" or not ({"object", "id"} & named.keys()):
        raise OperatorError("a pkcs11: URI names no private key", "Write pkcs11:token=T;object=O.")
    if "module-path" not in options or "pin-source" not in options:
        hint = "Add ?module-path=FILE&pin-source=file:PATH; the first may stand as hardware.module."
        raise OperatorError("a pkcs11: URI lacks the token's library or its PIN's place", hint)
    return Pkcs11Uri(
        module=base / unquote(options["module-path"]),
        token=unquote(named.get("token", "")),
        serial=unquote(named.get("serial", "")),
        object=unquote(named.get("object", "")),
        id=unquote_to_bytes(named.get("id", "")),
        pin=unquote(options["pin-source"]),
    )


def missing(extra: str, error: ImportError) -> OperatorError:
    """Say what to install for a kind of key."""
    what = f"the driver for {extra}: keys cannot be loaded ({error})"
    debian = " (Debian: libtss2-dev)" if extra == "tpm" else ""
    return OperatorError(
        what, f"Install it: pip install 'coldseal[{extra}]', and the libraries of the system{debian}."
    )


def _attributes(parts: list[str], known: frozenset[str]) -> dict[str, str]:
    """Read attributes; what is wrong is not shown, since it may hold a PIN."""
    found: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name not in known or name in found or not value:
            shown = name if name.replace("-", "").isalpha() else "?"
            hint = f"Known are {', '.join(sorted(known))}, each once; a PIN stands in a file (pin-source)."
            raise OperatorError(f"a pkcs11: URI has an attribute {shown} that is not taken", hint)
        found[name] = value
    return found


def _hex(text: str) -> int:
    """Read a handle; 0 for what is none."""
    try:
        return int(text, 16) if text.startswith("0x") else 0
    except ValueError:
        return 0


def _joint(uri: str) -> str:
    """Give what stands before a further option."""
    return "&" if "?" in uri else "?"
