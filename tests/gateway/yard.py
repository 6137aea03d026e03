"""A gateway's folder beside a running service: runs of it, deliveries, and disks that are put back.

Everything is the real part, in one process: the writer's run with its start checks, the uplink with its first
word, the service over TLS. A run seals readings of a device that numbers them.
"""

from __future__ import annotations

import asyncio
import shutil
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.core.log.delivery.receiver import AdmittedLog
from coldseal.core.log.delivery.sender import Phase, Terms
from coldseal.core.log.record import Entry, parse_entry
from coldseal.errors import OperatorError
from coldseal.gateway.clock import Clock
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.refusal import require_unrefused
from coldseal.gateway.rollback import require_newest
from coldseal.gateway.store.reader import HEAD_NAME, LogReader
from coldseal.gateway.uplink.contact import Contact, ask_note
from coldseal.gateway.uplink.https import Channel
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.runner import Bell, Uplink
from coldseal.gateway.writer import LOG_FOLDER, Run, open_keys, open_log
from coldseal.service.admission import encode_log_file
from coldseal.signing.keys import generate_interop_key, generate_record_key, write_private_key
from coldseal.signing.private_files import write_private_file
from tests.gateway.uplink.deliveries import RETRY
from tests.sealed import GATEWAY, ORIGIN
from tests.trial import STORE_KEY, Site, now, url
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from coldseal.gateway.store.drafts import Draft
    from coldseal.service.app import Service

DEVICE = "sensor-1"


class Yard:
    """One gateway's folder.

    Attributes:
        data: its data folder.
        keys: the backup of its key files.
    """

    def __init__(self, site: Site, *, segment_entries: int = 1_000_000, name: str = "") -> None:
        """Make its keys; with a name it is one of several at the same service."""
        self.site, self.keys = site, site.folder / "backup"
        self.origin = f"{ORIGIN}-{name}" if name else ORIGIN
        self.folder = site.gateway / name if name else site.gateway
        self.folder.mkdir(exist_ok=True)
        self.data = self.folder / "data"
        self._segment_entries = segment_entries
        self.number = 0
        self._service: Service | None = None
        if not self.keys.exists():
            self.keys.mkdir(mode=0o700)
            write_private_key(self.keys / "record.pem", generate_record_key())
            write_private_key(self.keys / "checkpoint.pem", generate_record_key())
            write_private_key(self.keys / "interop.pem", generate_interop_key())
            write_private_file(self.keys / "store.key", f"{STORE_KEY.hex()}\n".encode())
        for path in self.keys.iterdir():
            shutil.copy(path, self.folder / path.name)

    def config(self, port: int = 1, *overrides: str) -> GatewayConfig:
        """Write and load the gateway's configuration."""
        certificate = self.site.certificates["gateway"]
        self.path.write_text(
            f'[gateway]\norigin = "{self.origin}"\nsite = "site-7"\n'
            '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:0"\npasswords = "passwords"\n'
            '[http]\nlisten = "127.0.0.1:0"\n'
            f"[store]\nsegment_entries = {self._segment_entries}\n"
            f'[uplink]\nurl = "https://localhost:{port}"\ncertificate = "{certificate}"\n'
            f'key = "{certificate.with_suffix(".key")}"\nca = "{self.site.trust}"\n'
            f'witness = "{self.site.witness.encode()}"\nretry_initial_s = 0.05\nretry_max_s = 0.1\n'
        )
        return load_gateway(self.path, overrides)

    @property
    def path(self) -> Path:
        """The configuration file."""
        return self.folder / "gateway.toml"

    def online(self, service: Service) -> GatewayConfig:
        """Load the configuration with a service that is there."""
        return self.config(int(url(service).rpartition(":")[2]))

    def admit(self, config: GatewayConfig) -> None:
        """Admit the log that is in force, as an operator does."""
        keys, origin = open_keys(config), config.gateway.origin
        lines = (keys.checkpoint.verifier_key(origin), keys.interop.verifier_key(origin))
        folder = self.site.service / "data" / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        log = AdmittedLog(origin, GATEWAY, keys.record.spki, lines, "site-7")
        (folder / f"{origin.replace('/', '_')}.json").write_bytes(encode_log_file(log))

    async def run(
        self,
        config: GatewayConfig,
        count: int,
        *,
        is_checked: bool = True,
        during: Callable[[], object] = lambda: None,
    ) -> None:
        """Start, seal readings, do something else meanwhile, and end in order.

        Raises:
            RolledBackError: the start finds that the log was put back.
            StoreDamagedError: the store itself finds it.
        """
        require_unrefused(config.gateway.data)
        moment = Clock().now().t_ms
        log = open_log(config, STORE_KEY, moment)
        try:
            if is_checked:
                await require_newest(config, log.reader, STORE_KEY, moment, wait_s=10)
        finally:
            await log.close()
        if not (self.data / LOG_FOLDER / HEAD_NAME).exists():
            raise OperatorError("no log", "")
        async with Run.open(config) as run:
            await run.append([self._reading(run) for _ in range(count)])
            during()

    def _reading(self, run: Run) -> Draft:
        """Make the next reading of the device."""
        self.number += 1
        digest = canonical.encode_base64(self.number.to_bytes(32, "big"))
        src = canonical.encode({"dev": DEVICE, "fp": "ab" * 16, "seq": self.number, "sha256": digest})
        value: dict[str, canonical.Value] = {"n": "temperature", "u": "Cel", "v": "4.71"}
        data = canonical.encode({"q": [value], "sensor": "door"})
        return run.journal.draft("reading", data, run.clock.now(), src)

    @asynccontextmanager
    async def uplink(self, config: GatewayConfig, *, is_compared: bool = True) -> AsyncIterator[Uplink]:
        """Run the uplink as its process does."""
        log, origin = self.data / LOG_FOLDER, config.gateway.origin
        context, witness = self.site.context(), self.site.witness
        with (
            closing(LogReader(log, STORE_KEY)) as reader,
            closing(Receipts(self.data, STORE_KEY)) as receipts,
        ):
            async with Channel(config.uplink.url, context, timeout_s=5) as channel:
                contact = Contact(
                    channel.post,
                    lambda: ask_note(config.uplink.url, origin, self.site.context(), timeout_s=5),
                    lambda: LogReader(log, STORE_KEY),
                    origin=origin,
                    witness=witness,
                    data=self.data,
                    now_ms=lambda: Clock().now().t_ms,
                )
                uplink = Uplink(
                    reader,
                    receipts,
                    contact.post if is_compared else channel.post,
                    Terms(witness, 1000, RETRY),
                    bell=Bell(),
                    chance=lambda: 0.5,
                    now_ms=lambda: round(now().timestamp() * 1000),
                )
                running = asyncio.ensure_future(uplink.run())
                try:
                    yield uplink
                finally:
                    running.cancel()
                    await asyncio.wait([running])
                    await uplink.close()

    async def deliver(self, config: GatewayConfig, *, is_compared: bool = True) -> Phase:
        """Deliver until everything has a receipt, or delivery is held; says which."""
        size = self.size()
        async with self.uplink(config, is_compared=is_compared) as uplink:
            await until(
                lambda: (
                    uplink.delivery.phase is Phase.HELD
                    or (uplink.delivery.published >= size and uplink.delivery.phase is Phase.IDLE)
                )
            )
            return uplink.delivery.phase

    def size(self) -> int:
        """Entries on disk."""
        with closing(LogReader(self.data / LOG_FOLDER, STORE_KEY)) as reader:
            return reader.size()

    def raw(self, folder: Path | None = None) -> list[bytes]:
        """Read the whole log as it was sealed."""
        with closing(LogReader((folder or self.data) / LOG_FOLDER, STORE_KEY)) as reader:
            return list(reader.read_from(0))

    def entries(self, folder: Path | None = None) -> list[Entry]:
        """Read the whole log."""
        return [parse_entry(raw) for raw in self.raw(folder)]

    def readings(self) -> list[int]:
        """Give the numbers of the readings in the log, in order; carried ones are not among them."""
        return [int(str(entry.src["seq"])) for entry in self.entries() if entry.kind == "reading"]

    async def held(self, origin: str = "") -> list[bytes]:
        """Give what the service holds."""
        async with self.site.ledger() as ledger:
            return ledger.entries(origin or self.origin, 0, 2**40)

    def image(self, name: str) -> Path:
        """Copy the whole data folder, as a backup does."""
        folder = self.site.folder / "images" / self.folder.name / name
        shutil.copytree(self.data, folder)
        return folder

    async def age(self, config: GatewayConfig) -> Path:
        """Seal and deliver, take an image, and seal and deliver more; gives the image, which is old then."""
        await self.run(config, 5)
        await self.deliver(config)
        image = self.image("old")
        await self.run(config, 7)
        await self.deliver(config)
        return image

    def put_back(self, image: Path, *parts: str) -> None:
        """Put an image in the place of the data folder, or of parts of it."""
        for part in parts or [path.name for path in self.data.iterdir()]:
            target = self.data / part
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)
        for part in parts or [path.name for path in image.iterdir()]:
            source = image / part
            if source.is_dir():
                shutil.copytree(source, self.data / part)
            elif source.exists():
                shutil.copy(source, self.data / part)
