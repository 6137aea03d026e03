"""An EST client of curl and openssl alone, as docs/how-to/enrol.md writes it: nothing of ours speaks here."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import NamedTuple

from coldseal.service.app import Service

REQUEST = "application/pkcs10"


class Answer(NamedTuple):
    """What the server said: status, headers in lower case, body."""

    status: int
    headers: dict[str, str]
    body: bytes


async def run(*arguments: str | Path, given: bytes = b"") -> bytes:
    """Run a program to its end and give what it wrote; it must succeed."""
    words = [str(each) for each in arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    out, errors = await process.communicate(given)
    if process.returncode:
        raise ChildProcessError(f"{words[0]} ended with {process.returncode}: {errors.decode()}")
    return out


class EstClient:
    """A holder's folder, and the server that it talks to."""

    def __init__(self, service: Service, folder: Path, trust: Path) -> None:
        """Make the folder."""
        assert service.enrolling is not None
        self.url = f"https://localhost:{service.enrolling.address.rpartition(':')[2]}/.well-known/est"
        self.folder, self.trust = folder, trust
        folder.mkdir(exist_ok=True)

    async def request(
        self, subject: str, *names: str, key: str = "new.key", kind: tuple[str, ...] = ("ec", "P-256")
    ) -> bytes:
        """Make a key and a request with openssl; give the body."""
        options = {"ec": f"ec_paramgen_curve:{kind[1]}", "rsa": f"rsa_keygen_bits:{kind[1]}"}
        path, request = self.folder / key, self.folder / "request.der"
        if not path.exists():
            await run("openssl", "genpkey", "-algorithm", kind[0], "-pkeyopt", options[kind[0]], "-out", path)
        more = ("-addext", f"subjectAltName={','.join(names)}") if names else ()
        await run(
            *("openssl", "req", "-new", "-key", path, "-subj", f"/CN={subject}"),
            *(*more, "-outform", "DER", "-out", request),
        )
        return base64.encodebytes(request.read_bytes())

    async def post(
        self,
        operation: str,
        body: bytes,
        *more: str | Path,
        media_type: str = REQUEST,
    ) -> Answer:
        """Post a body with curl."""
        return await self._curl(
            operation, "--data-binary", "@-", "-H", f"Content-Type: {media_type}", *more, given=body
        )

    async def get(self, operation: str, *more: str | Path) -> Answer:
        """Get with curl."""
        return await self._curl(operation, *more)

    async def _curl(self, operation: str, *more: str | Path, given: bytes = b"") -> Answer:
        """Run curl, which checks the server's certificate."""
        out = await run(
            *("curl", "--silent", "--show-error", "--include", "--tlsv1.3", "--cacert", self.trust),
            *("-H", "Expect:", *more, f"{self.url}/{operation}"),
            given=given,
        )
        head, _, body = out.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {line.partition(":")[0].lower(): line.partition(":")[2].strip() for line in lines}
        return Answer(int(first.split()[1]), headers, body)

    def certified(self, name: str) -> tuple[str, str, str, str]:
        """Give curl's options for a certificate of the folder."""
        return "--cert", str(self.folder / f"{name}.pem"), "--key", str(self.folder / f"{name}.key")

    async def save(self, answer: Answer, name: str) -> str:
        """Write the certificate of an answer beside its key, and give what openssl reads in it."""
        der = base64.b64decode(answer.body)
        pem = await run("openssl", "pkcs7", "-inform", "DER", "-print_certs", given=der)
        path = self.folder / f"{name}.pem"
        path.write_bytes(pem)
        key = self.folder / "new.key"
        if key.exists():
            key.rename(self.folder / f"{name}.key")
        return (await run("openssl", "x509", "-in", path, "-noout", "-text")).decode()
