"""A trial site on loopback: real certificates, a real service, a real gateway's store, in one folder.

For tests that cross the borders of programs. Everything listens on free ports; what is started is stopped by
the block that started it.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from coldseal.core.log.checkpoint import VerifierKey
from coldseal.core.log.record import Chain
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.log import Log as Store
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.space import Limits
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context
from coldseal.identity.peer import Role
from coldseal.service.admission import encode_log_file
from coldseal.service.app import Service
from coldseal.service.config import ServiceConfig, load_service
from coldseal.service.storage.sqlite import SqliteLedger
from coldseal.signing.keys import Ed25519Signer, generate_interop_key, write_private_key
from coldseal.signing.private_files import write_private_file
from coldseal.signing.secrets import generate_symmetric_key, read_symmetric_key
from tests.sealed import GATEWAY, WITNESS, SealedLog
from tests.waiting import until

STORE_KEY = bytes(range(32))
DEADLINE_S = 20.0
"""How long a test waits for what must end by itself."""

NAMES: dict[Role, str] = {
    "service": "service-1",
    "gateway": GATEWAY,
    "operator": "operator-1",
    "device": "sensor-1",
}


def now() -> datetime:
    """Give this moment: certificates live by the real clock."""
    return datetime.fromtimestamp(time.time_ns() / 1e9, UTC)


class Site:
    """The files of a trial: certificates, the service's folder, the gateway's data."""

    def __init__(self, folder: Path) -> None:
        """Make certificates and keys; no log is admitted yet."""
        self.folder = folder
        self.authority = create_authority(folder / "pki", now=now())
        self.trust = folder / "pki" / "root.pem"
        self.certificates = {
            role: self.authority.issue(role, name, now=now()) for role, name in NAMES.items()
        }
        self.service = folder / "service"
        self.service.mkdir()
        self.gateway = folder / "gateway"
        self.gateway.mkdir()
        key = generate_interop_key()
        write_private_key(self.service / "witness.pem", key)
        write_private_file(self.service / "store.key", generate_symmetric_key())
        self.witness: VerifierKey = Ed25519Signer(key).verifier_key(WITNESS, cosigner=True)

    def admit(self, log: SealedLog) -> Path:
        """Admit a log, as an operator does."""
        folder = self.service / "data" / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{log.origin.replace('/', '_')}.json"
        path.write_bytes(encode_log_file(log.admitted))
        return path

    def config(self, *overrides: str) -> ServiceConfig:
        """Write and load the service's configuration."""
        path = self.service / "service.toml"
        certificate = self.certificates["service"]
        path.write_text(
            f'[service]\nname = "{WITNESS}"\nlisten = "127.0.0.1:0"\n'
            f'[tls]\ncertificate = "{certificate}"\nkey = "{certificate.with_suffix(".key")}"\n'
            f'client_ca = "{self.trust}"\n'
            '[verify]\nworkers = 1\n[http]\nlisten = "127.0.0.1:0"\n'
        )
        return load_service(path, overrides)

    def context(self, role: Role = "gateway") -> ssl.SSLContext:
        """Give the TLS context of a caller."""
        certificate = self.certificates[role]
        return client_context(certificate, certificate.with_suffix(".key"), self.trust)

    @asynccontextmanager
    async def running(self, *overrides: str) -> AsyncIterator[Service]:
        """Run the service in this process; it has stopped in order when the block ends."""
        config = self.config(*overrides)
        service = await Service.open(config)
        stop = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(service.serve(stop))
                await until(lambda: bool(service.address))
                await until(lambda: config.http.listen is None or bool(service.health_address))
                yield service
                stop.set()
        finally:
            await service.close()

    @asynccontextmanager
    async def caller(self, role: Role = "gateway") -> AsyncIterator[aiohttp.ClientSession]:
        """Open a session with a role's certificate."""
        connector = aiohttp.TCPConnector(ssl=self.context(role))
        async with aiohttp.ClientSession(connector=connector) as session:
            yield session

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[SqliteLedger]:
        """Look into the ledger; also while the service runs."""
        key = read_symmetric_key("file:store.key", self.service)
        ledger = SqliteLedger(self.service / "data" / "ledger.db", key, limit_bytes=2**40)
        try:
            yield ledger
        finally:
            ledger.close()

    async def store(self, log: SealedLog) -> None:
        """Write what is new in a log, up to its newest checkpoint, into the gateway's store."""
        store = Store.open(
            self.gateway / "log",
            STORE_KEY,
            Limits(),
            new=Chain(log.origin, log.keys.record.kid),
            now_ms=0,
        )
        try:
            for size in sorted(log.notes):
                if size > store.size:
                    entries = log.entries[store.size : size]
                    chain = log.chain_at(size)
                    settings = [] if store.size else entries[:1]
                    group = Group(entries=entries, chain=chain, checkpoint=log.notes[size], settings=settings)
                    await store.commit(group)
        finally:
            await store.close()

    def reader(self) -> LogReader:
        """Read the gateway's store as the uplink does."""
        return LogReader(self.gateway / "log", STORE_KEY)


def url(service: Service, path: str = "") -> str:
    """Give an address of a running service by the name in its certificate."""
    return f"https://localhost:{service.address.rpartition(':')[2]}{path}"
