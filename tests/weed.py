"""A real S3 server for tests: SeaweedFS on loopback, with requests signed by forty lines of our own.

Everything listens on 127.0.0.1, its filer answers no HTTP, and it is killed by its id when the block ends.
"""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from coldseal.demo.programs import free_ports

KEY_ID, SECRET, REGION = "AKCOLDSEAL", "secret-of-the-trial", "us-east-1"
READY_S = 60.0
WEED = Path(sys.executable).with_name("weed")

_LOCKED = (
    '<ObjectLockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    "<Mode>COMPLIANCE</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


class Weed:
    """A running server."""

    def __init__(self, port: int, others: dict[str, int]) -> None:
        """Take the port that S3 is spoken on, and those of its parts."""
        self.endpoint = f"http://127.0.0.1:{port}"
        self.others = others

    def ask(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send a request, signed (AWS Signature Version 4)."""
        stamp = datetime.fromtimestamp(time.time_ns() / 1e9, UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        named = {
            "host": self.endpoint.removeprefix("http://"),
            "x-amz-content-sha256": digest,
            "x-amz-date": stamp,
            **(headers or {}),
        }
        names = sorted(named)
        lines = [f"{name}:{named[name]}" for name in names]
        canonical = "\n".join([method, path, query, *lines, "", ";".join(names), digest])
        scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        credential = f"Credential={KEY_ID}/{scope}, SignedHeaders={';'.join(names)}, Signature={signature}"
        request = urllib.request.Request(  # noqa: S310 # our own server
            f"{self.endpoint}{path}{'?' + query if query else ''}",
            data=body if method == "PUT" else None,
            headers={**named, "Authorization": f"AWS4-HMAC-SHA256 {credential}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as found:  # noqa: S310 # our own server
                return Answer(found.status, dict(found.headers), found.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def make_bucket(self, name: str, *, days: int = 0) -> None:
        """Make a bucket; with days, one whose default retention locks every object for so long."""
        headers = {"x-amz-bucket-object-lock-enabled": "true"} if days else {}
        assert self.ask("PUT", f"/{name}", headers=headers).status == 200
        if days:
            assert (
                self.ask("PUT", f"/{name}", "object-lock=", _LOCKED.format(days=days).encode()).status == 200
            )
        until(lambda: self.ask("PUT", f"/{name}/ready", body=b"x").status == 200)  # it makes room when asked

    def versions(self, bucket: str, key: str) -> list[str]:
        """Name the versions of an object, newest first."""
        prefix = urllib.parse.quote(key, safe="")
        found = self.ask("GET", f"/{bucket}", f"prefix={prefix}&versions=").body.decode()
        parts = found.split("<Version>")[1:]
        return [part.partition("<VersionId>")[2].partition("<")[0] for part in parts]


@contextmanager
def serving(folder: Path) -> Iterator[Weed]:
    """Run a server whose data lie in a folder."""
    names = ("master", "volume", "filer", "s3")
    found = iter([port for port in free_ports(16) if port < 55_000])  # its own ports are some above these
    ports = {name: next(found) for name in [*names, *(f"{name}.grpc" for name in names)]}
    identity = (
        f'{{"name":"trial","credentials":[{{"accessKey":"{KEY_ID}","secretKey":"{SECRET}"}}],'
        '"actions":["Admin","Read","Write","List","Tagging"]}'
    )
    (folder / "s3.json").write_text(f'{{"identities":[{identity}]}}')
    (folder / "data").mkdir()
    options = [
        f"-{name.removesuffix('.grpc')}.port{'.grpc' * name.endswith('.grpc')}={ports[name]}"
        for name in ports
    ]
    command = [
        *(str(WEED), "server", f"-dir={folder / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
        *("-filer", "-s3", "-s3.iam=false", f"-s3.config={folder / 's3.json'}", *options),
        *(f"-filer.localSocket={folder / 'f'}", f"-s3.localSocket={folder / 's'}"),
        *("-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false", "-filer.disableHttp"),
        *("-volume.max=100", "-master.volumeSizeLimitMB=64"),
    ]
    with (folder / "weed.log").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        made = Weed(ports["s3"], ports)
        _wait(made, process, folder / "weed.log")
        yield made
    finally:
        process.kill()  # it takes its time when it is asked
        process.wait()
        for port in ports.values():
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):  # noqa: S108 # where it puts them
                left.unlink()


def _wait(made: Weed, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until it answers."""

    def is_ready() -> bool:
        with suppress(OSError):
            return made.ask("GET", "/").status == 200
        if process.poll() is not None:
            raise RuntimeError(log.read_text(errors="replace")[-2000:])
        return False

    until(is_ready)


def until(is_so: Callable[[], bool]) -> None:
    """Ask again and again until something is so.

    Raises:
        TimeoutError: it was not in time.
    """
    deadline = time.monotonic() + READY_S
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)  # it tells nobody when it is ready
