"""Signing keys that live in a token behind PKCS#11: a hardware security module, a smart card, SoftHSM.

Promise: the private key stays in the token, and every fault of the token leaves as one of our roots. One call
at a time goes to a library; a session that was lost is opened anew by the next one.
"""

from __future__ import annotations

import hashlib
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import pkcs11
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, TokenFlag
from pkcs11.exceptions import (
    DeviceError,
    DeviceRemoved,
    FunctionFailed,
    GeneralError,
    KeyHandleInvalid,
    NoSuchToken,
    PKCS11Error,
    SessionClosed,
    SessionHandleInvalid,
    TokenNotPresent,
    UserAlreadyLoggedIn,
    UserNotLoggedIn,
)
from pkcs11.util.ec import encode_named_curve_parameters

from coldseal.errors import OperatorError, UnavailableError
from coldseal.signing.secrets import read_secret
from coldseal.signing.uris import ED25519, P256

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pkcs11.types import PublicKey, Session

    from coldseal.signing.uris import Pkcs11Uri

_one_at_a_time = threading.RLock()  # libraries are initialised without locks of their own

_P256_PARAMS: Final = encode_named_curve_parameters("secp256r1")
_ED25519_PARAMS: Final = (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519")
"""As object identifier, or by name as PKCS#11 3.0 writes it."""
_AWAY: Final = (
    DeviceError,
    DeviceRemoved,
    FunctionFailed,
    GeneralError,
    KeyHandleInvalid,
    NoSuchToken,
    SessionClosed,
    SessionHandleInvalid,
    TokenNotPresent,
    UserNotLoggedIn,
)
"""What passes when the token, or a session with it, is there again."""
_POINT_BYTES: Final = 65
_RAW_BYTES: Final = 32


class Pkcs11Key:
    """A key of a token; `coldseal.signing.holders` opens it.

    Attributes:
        spki: the public key, SubjectPublicKeyInfo in DER.
        kind: ``P-256`` or ``Ed25519``.
    """

    def __init__(self, uri: Pkcs11Uri, base: Path) -> None:
        """Find the key and read its public part."""
        self._uri, self._base = uri, base
        self._session: Session | None = None
        self._key: Any  # a private key that signs: the driver's types do not say so
        with self._speaking() as session:
            public = _public_of(_find(session, self._uri, ObjectClass.PUBLIC_KEY))
        self.kind = P256 if isinstance(public, ec.EllipticCurvePublicKey) else ED25519
        self.spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def sign(self, data: bytes) -> bytes:
        """Sign bytes: ECDSA with SHA-256 in DER, or Ed25519 in 64 bytes.

        Raises:
            UnavailableError: the token is away.
            OperatorError: it refuses, or the key is gone.
        """
        with self._speaking():
            if self.kind == ED25519:
                return bytes(self._key.sign(data, mechanism=Mechanism.EDDSA))
            pair = bytes(self._key.sign(hashlib.sha256(data).digest(), mechanism=Mechanism.ECDSA))
        half = len(pair) // 2
        return encode_dss_signature(int.from_bytes(pair[:half]), int.from_bytes(pair[half:]))

    @contextmanager
    def _speaking(self) -> Iterator[Session]:
        """Call the library: nobody else does meanwhile, and a session that failed is not used again."""
        with _one_at_a_time, _translated(self._uri):
            try:
                if self._session is None:
                    session = _open_session(self._uri, self._base)
                    self._key = _find(session, self._uri, ObjectClass.PRIVATE_KEY)
                    self._session = session
                yield self._session
            except PKCS11Error:
                self._session = None
                raise


def make_token_key(uri: Pkcs11Uri, base: Path, *, kind: str = P256) -> Pkcs11Key:
    """Make a key in a token, which it will never leave.

    Raises:
        UnavailableError: the token is away.
        OperatorError: there is one of that name already, or the token cannot make it.
    """
    with _one_at_a_time, _translated(uri):
        session = _open_session(uri, base, may_write=True)
        named = {Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.LABEL: uri.object}
        if not uri.object or list(session.get_objects(named)):
            what = f"the token holds a key {uri.object!r} already" if uri.object else "a new key needs a name"
            raise OperatorError(
                what, "Write object=NAME with a name that is free: a key is never overwritten"
            )
        edwards = kind == ED25519
        curve = session.create_domain_parameters(
            KeyType.EC_EDWARDS if edwards else KeyType.EC,
            {Attribute.EC_PARAMS: _ED25519_PARAMS[0] if edwards else _P256_PARAMS},
            local=True,
        )
        mechanism = Mechanism.EC_EDWARDS_KEY_PAIR_GEN if edwards else Mechanism.EC_KEY_PAIR_GEN
        bound = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False}
        curve.generate_keypair(
            store=True, label=uri.object, id=uri.id or None, mechanism=mechanism, private_template=bound
        )
        session.close()
    return Pkcs11Key(uri, base)


def _open_session(uri: Pkcs11Uri, base: Path, *, may_write: bool = False) -> Session:
    """Log in to the token; within one process that counts for all its sessions."""
    pin = read_secret(uri.pin, base).decode()
    named: dict[str, object] = {"token_flags": TokenFlag.TOKEN_INITIALIZED}
    if uri.token:
        named["token_label"] = uri.token
    if uri.serial:
        named["token_serial"] = uri.serial.encode()
    token = pkcs11.lib(str(uri.module)).get_token(**named)
    try:
        return token.open(rw=may_write, user_pin=pin)
    except UserAlreadyLoggedIn:
        return token.open(rw=may_write)


def _find(session: Session, uri: Pkcs11Uri, kind: ObjectClass) -> Any:  # noqa: ANN401 # of that kind
    """Find the one object that a URI names."""
    return session.get_key(object_class=kind, label=uri.object or None, id=uri.id or None)


def _public_of(key: PublicKey) -> ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey:
    """Read a public key.

    Raises:
        OperatorError: it is of another kind than we use.
    """
    params, point = bytes(key[Attribute.EC_PARAMS]), bytes(key[Attribute.EC_POINT])
    if params == _P256_PARAMS:  # the point stands in an octet string, or bare
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point[-_POINT_BYTES:])
    if params in _ED25519_PARAMS:
        return ed25519.Ed25519PublicKey.from_public_bytes(point[-_RAW_BYTES:])
    raise OperatorError("the token's key is neither P-256 nor Ed25519", "Name the key of a log here")


@contextmanager
def _translated(uri: Pkcs11Uri) -> Iterator[None]:
    """Say whose fault a token's error is."""
    try:
        yield
    except _AWAY as error:
        raise UnavailableError(f"the token behind {uri.module}", _words(error)) from error
    except PKCS11Error as error:
        hint = "Look at token, object, id and PIN: `coldseal identity key make` makes a key"
        raise OperatorError(f"the token behind {uri.module} refused: {_words(error)}", hint) from error


def _words(error: PKCS11Error) -> str:
    """Give an error's name and text; none of them holds a PIN."""
    return f"{type(error).__name__} {error}".strip()
