"""A client of TLS 1.3 that says whatever it is told to, behind the key exchange too.

Every message, record and key is made here from RFC 8446, so that each can be changed on its own. It checks
nothing of the server but what its keys open: judging the server is other tests' work.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple, Self

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding

from tests.perimeter.hostile import ALERT, CHANGE, DATA, HANDSHAKE, Extensions, hello, record, vector, words
from tests.perimeter.papers import DEADLINE_S, key_of

SERVER_HELLO, CERTIFICATE, PROOF, FINISHED, KEY_UPDATE = 2, 11, 15, 20, 24
ECDSA_P256, RSA_PSS, RSA_PKCS1 = 0x0403, 0x0804, 0x0401
CONTEXT = b"TLS 1.3, client CertificateVerify"
COMPATIBLE = bytes(range(32))
"""A session id: whoever sends one gets a ChangeCipherSpec, as middle boxes like it (RFC 8446 D.4)."""
_SHARED = ec.derive_private_key(7, ec.SECP256R1())
MAX_PLAIN = 1 << 14
"""Bytes of content that a record may have."""
_TAG, _HEAD = 16, 5


class Alert(IntEnum):
    """What a listener says before it closes, RFC 8446 6."""

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    RECORD_OVERFLOW = 22
    HANDSHAKE_FAILURE = 40
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    PROTOCOL_VERSION = 70
    INTERNAL_ERROR = 80
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    CERTIFICATE_REQUIRED = 116


class Suite(NamedTuple):
    """A cipher suite: its number, hash, length of keys, and what seals."""

    number: int
    digest: str
    key_bytes: int
    seals: type[AESGCM | ChaCha20Poly1305]


SUITES = {
    "AES-128": Suite(0x1301, "sha256", 16, AESGCM),
    "AES-256": Suite(0x1302, "sha384", 32, AESGCM),
    "ChaCha20": Suite(0x1303, "sha256", 32, ChaCha20Poly1305),
}


def message(kind: int, body: bytes) -> bytes:
    """Make a handshake message."""
    return bytes((kind,)) + vector(body, 3)


def split(messages: bytes) -> Iterator[bytes]:
    """Take handshake messages apart."""
    while messages:
        length = 4 + int.from_bytes(messages[1:4], "big")
        yield messages[:length]
        messages = messages[length:]


class Keys:
    """One direction: seals and opens records, each under the next number.

    Attributes:
        number: of the next record; a hostile caller sets it as it likes.
    """

    def __init__(self, suite: Suite, secret: bytes) -> None:
        """Derive key and nonce, RFC 8446 7.3."""
        self._suite, self.secret, self.number = suite, secret, 0
        self._key = suite.seals(expand(suite, secret, b"key", b"", suite.key_bytes))
        self._nonce = int.from_bytes(expand(suite, secret, b"iv", b"", 12), "big")

    def next(self) -> Keys:
        """Give the keys behind a KeyUpdate."""
        length = len(self.secret)
        return Keys(self._suite, expand(self._suite, self.secret, b"traffic upd", b"", length))

    def seal(self, inner: bytes, *, kind: int = DATA, version: int = 0x0303) -> bytes:
        """Seal what is inside a record: content, its kind, zeros."""
        head = bytes((kind,)) + words(version, len(inner) + _TAG)
        return head + self._key.encrypt(self._take(), inner, head)

    def open(self, head: bytes, body: bytes) -> tuple[int, bytes]:
        """Open a record; give the kind of its content and the content."""
        inner = self._key.decrypt(self._take(), body, head).rstrip(b"\0")
        return inner[-1], inner[:-1]

    def _take(self) -> bytes:
        """Make the next nonce."""
        nonce = self._nonce ^ self.number
        self.number += 1
        return nonce.to_bytes(12, "big")


def expand(suite: Suite, secret: bytes, label: bytes, context: bytes, length: int) -> bytes:
    """HKDF-Expand-Label of RFC 8446 7.1, for what fits one block."""
    info = words(length) + vector(b"tls13 " + label, 1) + vector(context, 1) + b"\x01"
    return hmac.digest(secret, info, suite.digest)[:length]


class Caller:
    """One connection, from the first byte to the last.

    Attributes:
        alerts: what the listener said, in order.
        got: application data that came.
        updates: KeyUpdates that came.
        flight: what the server said behind its hello, message by message.
        is_cut: the listener closed while something was sent.
    """

    def __init__(self, port: int, paper: Path, suite: Suite, *, is_narrow: bool = False) -> None:
        """Open the socket; a narrow one keeps little of what is not read."""
        self._plain = socket.socket()
        self._plain.settimeout(DEADLINE_S)
        if is_narrow:
            self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self._plain.connect(("127.0.0.1", port))
        self._plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._in, self._suite = b"", suite
        self._said = hashlib.new(suite.digest)
        self.chain = [each.public_bytes(Encoding.DER) for each in _chain(paper)]
        self.key = key_of(paper)
        self.keys: Keys
        self._server: Keys
        self._application: Keys
        self.alerts: list[int] = []
        self.flight: list[bytes] = []
        self.got, self.updates, self.is_cut = b"", 0, False

    def __enter__(self) -> Self:
        """Be closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the socket."""
        self._plain.close()

    # The usual way

    def greet(
        self,
        changes: Extensions | None = None,
        *,
        session: bytes = COMPATIBLE,
        change: Callable[[bytes], bytes] = lambda said: said,
    ) -> None:
        """Exchange keys, and take in all that the server says up to its Finished."""
        said = change(hello(changes, suites=words(self._suite.number), session=session))
        self.put(record(said))
        self._said.update(said)
        _kind, _head, body = self._read_record()
        assert body[0] == SERVER_HELLO, body
        self._said.update(body)
        shared = _SHARED.exchange(ec.ECDH(), _point_of(body))
        secret = self._extract(self._derive(self._extract(bytes(32), None), b"derived", b""), shared)
        told = self._said.digest()
        self.keys, self._server = (
            Keys(self._suite, self._secret(secret, b"c hs traffic", told)),
            Keys(self._suite, self._secret(secret, b"s hs traffic", told)),
        )
        self._take_flight()
        master = self._extract(self._derive(secret, b"derived", b""), None)
        told = self._said.digest()
        self._application = Keys(self._suite, self._secret(master, b"c ap traffic", told))
        self._server = Keys(self._suite, self._secret(master, b"s ap traffic", told))

    def answer(
        self,
        *,
        certificate: Callable[[bytes], bytes] = lambda said: said,
        proof: Callable[[bytes], bytes] = lambda said: said,
        finished: Callable[[bytes], bytes] = lambda said: said,
    ) -> None:
        """Say the client's three messages, each as changed; its own keys are then those for data."""
        self.tell(certificate(self.certificate()))
        self.tell(proof(self.proof()))
        self.tell(finished(self.finished()))
        self.switch()

    def shake(self) -> None:
        """Shake hands as one should."""
        self.greet()
        self.answer()

    def certificate(self, context: bytes = b"", extensions: bytes = b"") -> bytes:
        """Show the chain."""
        listed = b"".join(vector(each, 3) + vector(extensions, 2) for each in self.chain)
        return message(CERTIFICATE, vector(context, 1) + vector(listed, 3))

    def proof(
        self,
        *,
        scheme: int | None = None,
        context: bytes = CONTEXT,
        pad: bytes = b" " * 64,
        transcript: bytes | None = None,
    ) -> bytes:
        """Prove to hold the key, over all that was said."""
        told = self._said.digest() if transcript is None else transcript
        signed = pad + context + b"\0" + told
        if isinstance(self.key, rsa.RSAPrivateKey):
            way: padding.AsymmetricPadding = padding.PKCS1v15()
            if scheme != RSA_PKCS1:
                way = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            signature, usual = self.key.sign(signed, way, hashes.SHA256()), RSA_PSS
        else:
            signature, usual = self.key.sign(signed, ec.ECDSA(hashes.SHA256())), ECDSA_P256
        return message(PROOF, words(scheme or usual) + vector(signature, 2))

    def finished(self) -> bytes:
        """Prove to have heard all that was said."""
        length = self._said.digest_size
        key = expand(self._suite, self.keys.secret, b"finished", b"", length)
        return message(FINISHED, hmac.digest(key, self._said.digest(), self._suite.digest))

    def switch(self) -> None:
        """Use the keys for application data from now on."""
        self.keys = self._application

    def take_other_key(self) -> None:
        """Hold another key from now on than the one in the certificate."""
        self.key = ec.generate_private_key(ec.SECP256R1())

    def server_keys(self) -> Keys:
        """Give the keys that the server seals with, as they were at their beginning."""
        return Keys(self._suite, self._server.secret)

    # What goes out

    def tell(self, said: bytes, *, pieces: int = MAX_PLAIN) -> None:
        """Say a handshake message, in records of so many bytes, and remember it."""
        self._said.update(said)
        for begin in range(0, len(said), pieces):
            if not self.is_cut:
                self.send(said[begin : begin + pieces], HANDSHAKE)

    def hear(self, said: bytes) -> None:
        """Remember a message that goes out otherwise, or not at all."""
        self._said.update(said)

    def send(self, content: bytes, kind: int = DATA, *, zeros: int = 0) -> None:
        """Send a sealed record."""
        self.put(self.keys.seal(content + bytes((kind,)) + bytes(zeros)))

    def update(self, count: int = 1, *, asks: int = 0) -> None:
        """Say KeyUpdate, and change the keys, several times over."""
        said, records = message(KEY_UPDATE, bytes((asks,))) + bytes((HANDSHAKE,)), b""
        for _ in range(count):
            records += self.keys.seal(said)
            self.keys = self.keys.next()
        self.put(records)

    def put(self, data: bytes) -> None:
        """Send any bytes, unless the other side has closed meanwhile."""
        try:
            self._plain.sendall(data)
        except ConnectionError:
            self.is_cut = True

    def end(self) -> None:
        """Send nothing any more, without a farewell."""
        with suppress(OSError):
            self._plain.shutdown(socket.SHUT_WR)

    # What comes in

    def listen(self, *, until: Callable[[], bool] = lambda: False) -> None:
        """Take in what the listener says until it closes, or until something is so."""
        with suppress(ConnectionError, EOFError):
            while not until():
                kind, head, body = self._read_record()
                if kind == CHANGE:
                    continue
                if kind == DATA:
                    with suppress(InvalidTag):
                        kind, body = self._server.open(head, body)
                self._take(kind, body)

    def _take(self, kind: int, body: bytes) -> None:
        """Sort one record."""
        if kind == ALERT:
            self.alerts.append(body[1])
        elif kind == DATA:
            self.got += body
        elif kind == HANDSHAKE and body[0] == KEY_UPDATE:
            self.updates += 1
            self._server = self._server.next()

    def _take_flight(self) -> None:
        """Take in the encrypted messages up to Finished."""
        heard = b""
        while not any(each[0] == FINISHED for each in split(heard)):
            kind, head, body = self._read_record()
            if kind == DATA:
                heard += self._server.open(head, body)[1]
            else:
                assert kind == CHANGE, (kind, body)
        self._said.update(heard)
        self.flight = list(split(heard))

    def _read_record(self) -> tuple[int, bytes, bytes]:
        """Read one record: its kind, head and body."""
        head = self._read(_HEAD)
        return head[0], head, self._read(int.from_bytes(head[3:], "big"))

    def _read(self, count: int) -> bytes:
        """Read so many bytes."""
        while len(self._in) < count:
            data = self._plain.recv(65_536)
            if not data:
                raise EOFError
            self._in += data
        found, self._in = self._in[:count], self._in[count:]
        return found

    # The key schedule, RFC 8446 7.1

    def _extract(self, salt: bytes, secret: bytes | None) -> bytes:
        """HKDF-Extract."""
        return hmac.digest(salt, secret or bytes(self._said.digest_size), self._suite.digest)

    def _derive(self, secret: bytes, label: bytes, messages: bytes) -> bytes:
        """Derive-Secret over messages."""
        return self._secret(secret, label, hashlib.new(self._suite.digest, messages).digest())

    def _secret(self, secret: bytes, label: bytes, told: bytes) -> bytes:
        """Derive-Secret over the hash of messages."""
        return expand(self._suite, secret, label, told, len(told))


def _chain(paper: Path) -> list[x509.Certificate]:
    """Read a chain."""
    return x509.load_pem_x509_certificates(paper.read_bytes())


def _point_of(server_hello: bytes) -> ec.EllipticCurvePublicKey:
    """Find the server's key share: a point of P-256 begins with 4 behind its group and length."""
    at = server_hello.index(words(0x0017, 65) + b"\x04")
    return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), server_hello[at + 4 : at + 69])
