"""A real timestamp authority for tests: ``openssl ts`` behind a small HTTP server on loopback.

`Authority` holds certificates of many kinds, good and bad; `Authority.reply` answers a request as RFC 3161
says. `Desk` serves it, and can be told to misbehave.
"""

from __future__ import annotations

import asyncio
import subprocess
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

from coldseal.core.log import der

DAYS = "3650"
_CONFIG = """
[req]
distinguished_name = name
[name]
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[tsa]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, timeStamping
[plain]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
[authority]
serial = {folder}/serial
signer_digest = {digest}
default_policy = 1.3.6.1.4.1.99999.1
digests = sha256, sha512
accuracy = secs:1, millisecs:500
ordering = yes
tsa_name = yes
ess_cert_id_chain = {chain}
ess_cert_id_alg = {certificate_hash}
"""
_ISSUING = """
[ca]
default_ca = here
[here]
database = {folder}/index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
[any]
organizationName = optional
commonName = supplied
"""


class Authority:
    """A timestamp authority with its own root, in one folder.

    Args:
        folder: empty; everything is made in it.
        key: kind of the authority's key, as ``openssl genpkey`` names it, or ``rsa``.
        digest: hash of its signature.
        certificate_hash: hash by which the token names the certificate.
        is_chained: whether the signed attributes name the whole chain.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: str = "P-256",
        digest: str = "sha256",
        certificate_hash: str = "sha256",
        is_chained: bool = True,
    ) -> None:
        """Make keys and certificates."""
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.ca = folder / "root.pem"
        self.root_key = folder / "root.key"
        self._key = key
        self._one_at_a_time = threading.Lock()
        (folder / "serial").write_text("01\n")
        text = _CONFIG.format(
            folder=folder,
            digest=digest,
            chain="yes" if is_chained else "no",
            certificate_hash=certificate_hash,
        )
        self._config = folder / "openssl.cnf"
        self._config.write_text(text)
        self._make_key("root", "P-256")
        self._openssl(
            *("req", "-new", "-x509", "-key", "root.key", "-out", "root.pem", "-days", DAYS),
            *("-subj", "/O=Trial/CN=root", "-extensions", "root", "-config", "openssl.cnf"),
        )
        self.issue("tsa")

    def issue(self, name: str, extensions: str = "tsa", *, span: tuple[str, str] | None = None) -> Path:
        """Make a certificate below the root.

        Args:
            name: of its files, and its common name.
            extensions: section of the configuration.
            span: begin and end, as ``YYYYMMDDhhmmssZ``; the coming years if left out.
        """
        self._make_key(name, self._key)
        (self.folder / "index").touch()
        self._openssl(
            *("req", "-new", "-key", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/O=Trial/CN={name}"),
            *("-config", "openssl.cnf"),
        )
        issuing = _ISSUING.format(folder=self.folder)
        (self.folder / "ca.cnf").write_text(self._config.read_text() + issuing)
        begin, end = span or ("20200101000000Z", "20491231235959Z")
        self._openssl(
            *("ca", "-batch", "-notext", "-config", "ca.cnf", "-cert", "root.pem", "-keyfile", "root.key"),
            *("-in", f"{name}.csr", "-out", f"{name}.pem", "-extensions", extensions),
            *("-startdate", begin, "-enddate", end),
        )
        return self.folder / f"{name}.pem"

    def reply(self, request: bytes, *, signer: str = "tsa") -> bytes:
        """Answer a request: the whole response."""
        with self._one_at_a_time:
            return self._reply(request, signer)

    def _reply(self, request: bytes, signer: str) -> bytes:
        """Let ``openssl`` answer: it keeps the number of the stamp in a file."""
        query, answer = self.folder / "query.tsq", self.folder / "answer.tsr"
        query.write_bytes(request)
        self._openssl(
            *("ts", "-reply", "-config", "openssl.cnf", "-section", "authority", "-queryfile", query.name),
            *(
                "-inkey",
                f"{signer}.key",
                "-signer",
                f"{signer}.pem",
                "-chain",
                "root.pem",
                "-out",
                answer.name,
            ),
        )
        return answer.read_bytes()

    def reply_without_right(self, request: bytes, signer: str) -> bytes:
        """Answer with a certificate that is not for timestamps, with which ``openssl ts`` would not stamp."""
        with self._one_at_a_time:
            return self._reply_without_right(request, signer)

    def _reply_without_right(self, request: bytes, signer: str) -> bytes:
        """Take what a good answer says, and sign it as any content is signed."""
        self._reply(request, "tsa")
        self._openssl("ts", "-reply", "-in", "answer.tsr", "-token_out", "-out", "token.der")
        self._openssl(
            *("cms", "-verify", "-noverify", "-binary", "-inform", "DER", "-in", "token.der"),
            *("-out", "info.der"),
        )
        self._openssl(
            *(
                "cms",
                "-sign",
                "-binary",
                "-nodetach",
                "-cades",
                "-econtent_type",
                "1.2.840.113549.1.9.16.1.4",
            ),
            *("-in", "info.der", "-signer", f"{signer}.pem", "-inkey", f"{signer}.key", "-md", "sha256"),
            *("-outform", "DER", "-out", "token.der"),
        )
        return der.write(
            der.SEQUENCE,
            der.write(der.SEQUENCE, der.write_integer(0)),
            (self.folder / "token.der").read_bytes(),
        )

    def query(self, text: bytes) -> bytes:
        """Make a request as ``openssl ts -query`` does."""
        (self.folder / "text").write_bytes(text)
        self._openssl("ts", "-query", "-data", "text", "-sha256", "-cert", "-out", "own.tsq")
        return (self.folder / "own.tsq").read_bytes()

    def accepts(self, response: bytes, text: bytes) -> bool:
        """Whether ``openssl ts -verify`` accepts a response for a text."""
        (self.folder / "text").write_bytes(text)
        (self.folder / "kept.tsr").write_bytes(response)
        command = ("ts", "-verify", "-data", "text", "-in", "kept.tsr", "-CAfile", "root.pem")
        done = subprocess.run(["openssl", *command], cwd=self.folder, capture_output=True, check=False)
        return done.returncode == 0

    def _make_key(self, name: str, kind: str) -> None:
        """Make a private key."""
        options = ("RSA", "-pkeyopt", f"rsa_keygen_bits:{kind[4:] or 2048}")
        if not kind.startswith("rsa"):
            options = ("EC", "-pkeyopt", f"ec_paramgen_curve:{kind}")
        self._openssl("genpkey", "-algorithm", *options, "-out", f"{name}.key")

    def _openssl(self, *arguments: str) -> None:
        """Run ``openssl`` in the folder."""
        subprocess.run(["openssl", *arguments], cwd=self.folder, check=True, capture_output=True)


class Manner(Enum):
    """How the authority answers."""

    GOOD = auto()
    BUSY = auto()
    """Status 503."""
    MISSING = auto()
    """Status 404."""
    GARBAGE = auto()
    """Bytes that are no response."""
    REFUSING = auto()
    """A proper response that grants nothing."""
    SILENT = auto()
    """No answer while it is so."""
    WITHOUT_RIGHT = auto()
    """The stamp is made with a certificate that is not for timestamps."""
    OTHER_TEXT = auto()
    """The stamp is for another text."""
    OTHER_NONCE = auto()
    """The stamp answers another request."""
    OTHER_TYPE = auto()
    """The answer says that it is a page."""
    LONG = auto()
    """An answer without an end."""
    CUT = auto()
    """Half an answer."""


@dataclass
class Desk:
    """An authority on a free port of loopback."""

    authority: Authority
    manner: Manner = Manner.GOOD
    signer: str = "tsa"
    asked: int = 0
    port: int = 0
    _released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/tsa"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Desk]:
        """Answer until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self._released.set()
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            lines = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
            request = await reader.readexactly(int(lines["content-length"]))
            self.asked += 1
            assert lines["content-type"] == "application/timestamp-query"
            writer.write(await self._answer(request))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, request: bytes) -> bytes:
        """Make the whole answer."""
        if self.manner is Manner.SILENT:
            await self._released.wait()
            return b""
        body = await self._body(request)
        size = len(body)
        if self.manner is Manner.CUT:
            body = body[: size // 2]
        status = _STATUS.get(self.manner, "200 OK")
        kind = "text/html" if self.manner is Manner.OTHER_TYPE else "application/timestamp-reply"
        lines = (
            f"HTTP/1.1 {status}",
            f"Content-Type: {kind}",
            f"Content-Length: {size}",
            "Connection: close",
        )
        return "\r\n".join((*lines, "", "")).encode() + body

    async def _body(self, request: bytes) -> bytes:
        """Let the authority answer, perhaps another request."""
        match self.manner:
            case Manner.GARBAGE:
                return b"stamped!"
            case Manner.LONG:
                return bytes(1_000_000)
            case Manner.REFUSING:
                request = request.replace(_SHA256, _SHA3_256)
            case Manner.OTHER_TEXT:
                request = _with_other_digest(request)
            case Manner.OTHER_NONCE:
                request = request[:-4] + bytes((request[-4] ^ 1,)) + request[-3:]
            case _:
                pass
        return await self._stamp(request)

    async def _stamp(self, request: bytes) -> bytes:
        """Let the authority answer, beside the loop."""
        if self.manner is Manner.WITHOUT_RIGHT:
            return await asyncio.to_thread(self.authority.reply_without_right, request, self.signer)
        return await asyncio.to_thread(self.authority.reply, request, signer=self.signer)


_STATUS = {Manner.BUSY: "503 Busy", Manner.MISSING: "404 Not here"}
_SHA256 = b"\x60\x86\x48\x01\x65\x03\x04\x02\x01"
_SHA3_256 = b"\x60\x86\x48\x01\x65\x03\x04\x02\x08"


def _with_other_digest(request: bytes) -> bytes:
    """Give the request for another text."""
    at = request.index(b"\x04\x20") + 2
    return request[:at] + bytes((request[at] ^ 1,)) + request[at + 1 :]
