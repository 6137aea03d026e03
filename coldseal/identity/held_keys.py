"""Lets a TLS context show a certificate whose key is held elsewhere, as in a TPM: OpenSSL asks us to sign.

Promises that nothing else in the process changes: contexts with keys in files, verification and other
libraries go on as before; that a fault of whoever holds the key ends one handshake and is said once; and that
a Python whose `ssl` cannot do it says so. Knows no chip.
"""

from __future__ import annotations

import ctypes
import ssl
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

from coldseal.errors import ColdsealError, OperatorError
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence


UNSIGNED: Final = "our own key does not sign"
"""So begins, in words for people, why a handshake failed since its key's holder did not sign."""

_POINTER: Final = ctypes.c_void_p
_ADDRESS: Final = object.__basicsize__
"""Where an `ssl.SSLContext` keeps its SSL_CTX: its first field, in each Python from 3.6 to 3.13."""

_LONGEST: Final = 72
"""Bytes of a P-256 signature in DER at most, for which OpenSSL makes room."""

_SIGN: Final = ctypes.CFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    _POINTER,
    ctypes.c_int,
    _POINTER,
    ctypes.POINTER(ctypes.c_uint),
    *(_POINTER, _POINTER, _POINTER),
)
_FUNCTIONS: Final[dict[str, tuple[Any, Sequence[Any]]]] = {
    "EC_KEY_OpenSSL": (_POINTER, ()),
    "EC_KEY_METHOD_new": (_POINTER, (_POINTER,)),
    "EC_KEY_METHOD_set_sign": (None, (_POINTER, _SIGN, _POINTER, _POINTER)),
    "EC_KEY_set_method": (ctypes.c_int, (_POINTER, _POINTER)),
    "EC_KEY_free": (None, (_POINTER,)),
    "d2i_EC_PUBKEY": (_POINTER, (_POINTER, ctypes.POINTER(ctypes.c_char_p), ctypes.c_long)),
    "i2d_EC_PUBKEY": (ctypes.c_int, (_POINTER, ctypes.POINTER(_POINTER))),
    "EVP_PKEY_new": (_POINTER, ()),
    "EVP_PKEY_free": (None, (_POINTER,)),
    "EVP_PKEY_set1_EC_KEY": (ctypes.c_int, (_POINTER, _POINTER)),
    "SSL_CTX_get_options": (ctypes.c_uint64, (_POINTER,)),
    "SSL_CTX_use_certificate_chain_file": (ctypes.c_int, (_POINTER, ctypes.c_char_p)),
    "SSL_CTX_use_PrivateKey": (ctypes.c_int, (_POINTER, _POINTER)),
    "ERR_clear_error": (None, ()),
}
_log = Log("identity.keys")


class HeldKey(Protocol):
    """A P-256 key that somebody else holds."""

    @property
    def spki(self) -> bytes:
        """The public key, SubjectPublicKeyInfo in DER."""

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a SHA-256 hash, ECDSA in DER; raises `ColdsealError` where that cannot be."""


@dataclass(slots=True)
class _Held:
    """A key in use, and why it does not sign now; empty where it does."""

    key: HeldKey
    fault: str = ""


_telling: Final = Lock()  # handshakes go on in several threads
_held: Final[dict[bytes, _Held]] = {}
_shown: Final[WeakKeyDictionary[ssl.SSLContext, _Held]] = WeakKeyDictionary()


def use_held_key(context: ssl.SSLContext, certificate: Path, key: HeldKey) -> None:
    """Have a context show a certificate whose key is held elsewhere.

    Args:
        context: of a client; it is asked in the thread of each handshake, which waits for the holder.
        certificate: chain, PEM, leaf first.
        key: its key.

    Raises:
        OperatorError: the chain cannot be read or is not the key's, or this Python's OpenSSL cannot do it.
    """
    library = _library()
    place = _place(library, context)
    try:
        if library.SSL_CTX_use_certificate_chain_file(place, str(certificate).encode()) != 1:
            raise OperatorError(f"{certificate} cannot be read", "Name a PEM chain, leaf first")
        made = _made(library, key)
        fits = library.SSL_CTX_use_PrivateKey(place, made)
        library.EVP_PKEY_free(made)  # the context has its own share in it
    finally:
        library.ERR_clear_error()  # the next call of the ssl module would take it for its own
    if fits != 1:
        raise OperatorError(
            f"{certificate} is not of the key that is held for it", "Name a PEM chain and its key"
        )
    _shown[context] = _held[_public(library, key.spki)]


def fault_of(context: ssl.SSLContext) -> str:
    """Say why the key of a context did not sign when last asked; empty where it did, or is a file's."""
    held = _shown.get(context)
    return "" if held is None else held.fault


def _made(library: ctypes.CDLL, key: HeldKey) -> int:
    """Make what OpenSSL takes for the private key: the public one, with a method of ours to sign."""
    method, _ = _method()
    public = _public(library, key.spki)
    _held.setdefault(public, _Held(key)).key = key
    curve_key = _parsed(library, public)
    library.EC_KEY_set_method(curve_key, method)
    found: int = library.EVP_PKEY_new()
    library.EVP_PKEY_set1_EC_KEY(found, curve_key)
    library.EC_KEY_free(curve_key)  # the other has its own share in it
    return found


def _parsed(library: ctypes.CDLL, spki: bytes) -> int:
    """Read a public key."""
    text = ctypes.c_char_p(spki)
    found: int = library.d2i_EC_PUBKEY(None, ctypes.byref(text), len(spki))
    return found


def _public(library: ctypes.CDLL, spki: bytes) -> bytes:
    """Write a public key as OpenSSL does, by which the key is known."""
    curve_key = _parsed(library, spki)
    found = _written(library, curve_key)
    library.EC_KEY_free(curve_key)
    return found


def _written(library: ctypes.CDLL, curve_key: int) -> bytes:
    """Write the public part of a key."""
    buffer = ctypes.create_string_buffer(library.i2d_EC_PUBKEY(curve_key, None))
    end = _POINTER(ctypes.addressof(buffer))
    library.i2d_EC_PUBKEY(curve_key, ctypes.byref(end))
    return buffer.raw


@cache
def _method() -> tuple[int, object]:
    """Make the method that has us sign, once; nothing may free it, nor what it calls."""
    library = _library()

    def sign(
        _kind: int,
        digest: int,
        length: int,
        place: int,
        size: ctypes.Array[ctypes.c_uint],
        *inner: int,
    ) -> int:
        signed = _signed(_held.get(_written(library, inner[-1])), ctypes.string_at(digest, length))
        ctypes.memmove(place, signed, len(signed))
        size[0] = len(signed)
        return int(bool(signed))

    called = _SIGN(sign)
    method: int = library.EC_KEY_METHOD_new(library.EC_KEY_OpenSSL())
    library.EC_KEY_METHOD_set_sign(method, called, None, None)
    return method, called


def _signed(held: _Held | None, digest: bytes) -> bytes:
    """Have the holder sign; empty where it does not, which is said once, and once when it does again."""
    if held is None:
        return b""
    try:
        signed = held.key.sign_digest(digest)
    except ColdsealError as error:
        _note(held, str(error))
        return b""
    _note(held, "")
    return signed if len(signed) <= _LONGEST else b""


def _note(held: _Held, fault: str) -> None:
    """Keep why a holder does not sign, and say what is new."""
    with _telling:
        before, held.fault = held.fault, fault
    if fault and not before:
        _log.emit(events.TRANSPORT_KEY_AWAY, error=fault)
    elif before and not fault:
        _log.emit(events.TRANSPORT_KEY_BACK)


def _place(library: ctypes.CDLL, context: ssl.SSLContext) -> int:
    """Find the SSL_CTX of a context.

    Raises:
        OperatorError: it is not where it should be.
    """
    found: int | None = _POINTER.from_address(id(context) + _ADDRESS).value
    if not found or library.SSL_CTX_get_options(found) != context.options & (2**64 - 1):
        raise _unable("its contexts are laid out in another way")
    return found


@cache
def _library() -> ctypes.CDLL:
    """Open the OpenSSL that the `ssl` module uses, and no other.

    Raises:
        OperatorError: it cannot be had, or lacks what is needed.
    """
    place = getattr(sys.modules["_ssl"], "__file__", None)
    if sys.implementation.name != "cpython" or place is None:
        raise _unable("its ssl module is built in")
    library = ctypes.CDLL(place)  # whatever it was linked with is found through it
    for name, (result, arguments) in _FUNCTIONS.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise _unable(f"it has no {name}") from None
        function.restype, function.argtypes = result, arguments
    return library


def _unable(why: str) -> OperatorError:
    """Say that it cannot be done here."""
    what = f"this Python's OpenSSL ({ssl.OPENSSL_VERSION}) cannot use a key in a TPM: {why}"
    return OperatorError(what, "Use the Python of the system (Debian: python3), or a transport key in a file")
