"""An enrolment server for tests: the service's own one, before a CA in a folder."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from coldseal.core.renewal import Terms
from coldseal.gateway.uplink.keeping import Bundles, Desk, Keeper, Renewer
from coldseal.gateway.uplink.renewals import KEPT
from coldseal.identity.authority import Authority, create_authority, open_authority
from coldseal.identity.contexts import following, server_context
from coldseal.identity.pair import Pair
from coldseal.identity.peer import Role
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.enrolments import Enrolments
from coldseal.service.est_api import EstApi
from coldseal.service.factory import Factory
from coldseal.service.registrar import Registrar
from coldseal.service.server import ApiServer
from coldseal.settings import Address
from coldseal.signing.private_files import write_private_file
from tests.trial import now
from tests.waiting import until

KEY = bytes(range(32))
TOKEN_S = 3600


class Registry:
    """A CA in a folder, and the parts of an enrolment server before it.

    Attributes:
        trust: the file that peers trust.
        address: where it is reached, while it runs.
    """

    def __init__(self, folder: Path) -> None:
        """Make the CA, a factory's CA, and the service's certificate."""
        folder.mkdir(parents=True)
        self.folder = folder
        self.authority: Authority = create_authority(folder / "ca", now=now())
        self.trust = folder / "ca" / "root.pem"
        self.service = self.authority.issue("service", "localhost", now=now())
        self.enrolments = Enrolments.open(folder / "data", KEY)
        self._factory = create_authority(folder / "factory", now=now())
        self.factory_root = folder / "factory.pem"
        parts = [folder / "factory" / name for name in ("root.pem", "ca.pem")]
        self.factory_root.write_bytes(b"".join(path.read_bytes() for path in parts))
        self.address = ""

    @property
    def url(self) -> str:
        """Its address by the name in its certificate."""
        return f"https://localhost:{self.address.rpartition(':')[2]}"

    def issue(self, role: Role, name: str) -> Pair:
        """Give a first certificate by hand."""
        path = open_authority(self.folder / "ca").issue(role, name, now=now())
        return Pair(path, path.with_suffix(".key"))

    def token(self, role: Role, name: str) -> Path:
        """Make a one-time token, in a file."""
        text = self.enrolments.make_token(role, name, now=int(now().timestamp()), life_s=TOKEN_S)
        path = self.folder / f"{name}.{len(text)}.{time.monotonic_ns()}.token"
        write_private_file(path, text.encode())
        return path

    def factory(self, serial: str) -> Pair:
        """Make a factory certificate."""
        path = self._factory.issue("device", serial, now=now())
        return Pair(path, path.with_suffix(".key"))

    @asynccontextmanager
    async def running(self, *, port: int = 0, is_queued: bool = True) -> AsyncIterator[Registrar]:
        """Serve until the block ends; on the same port again, if one is given."""
        registrar = Registrar(
            self.folder / "ca",
            self.enrolments,
            Factory(self.factory_root, None, now_s=time.monotonic),
            roles=("device", "gateway"),
            is_queued=is_queued,
            now=lambda: int(now().timestamp()),
            now_s=time.monotonic,
        )
        both = self.folder / "both.pem"

        def context() -> ssl.SSLContext:
            both.write_bytes(self.trust.read_bytes() + self.factory_root.read_bytes())
            return server_context(self.service, self.service.with_suffix(".key"), both, require=False)

        api = EstApi(registrar, ServiceMetrics(), per_minute=1_000_000, retry_after_s=1)
        kept = following(context, context())
        server = ApiServer(api.app(), kept, max_connections=100)
        self.address = server.bind(Address(f"127.0.0.1:{port}"))
        serving = asyncio.ensure_future(server.serve_bound())
        await until(lambda: server.started)
        try:
            yield registrar
        finally:
            server.stop()
            await serving

    def keeper(self, pair: Pair, home: Path, **changes: object) -> Keeper:
        """Make what keeps a pair alive, with a clock that can be put forward by `late_s`."""
        desk = Desk(self.url, self.trust, timeout_s=10, **changes)  # type: ignore[arg-type] # fields of Desk
        bundles = Bundles((home / "root.pem",), home / "announced.pem")
        return Keeper(
            "one", pair, desk, bundles, Terms(retry_initial_s=0.05, retry_max_s=1), lambda: 0.5, self._now_s
        )

    late_s = 0.0

    def _now_s(self) -> float:
        return now().timestamp() + self.late_s


def renewer(keeper: Keeper, home: Path) -> Renewer:
    """Give what runs a keeper."""
    return Renewer([keeper], home / KEPT, now_s=keeper.now_s)


async def renewed_now(keeper: Keeper, home: Path) -> Renewer:
    """Have a keeper ask at once, as a person may; gives what runs it."""
    running = renewer(keeper, home)
    running.demand()
    await running.round()
    return running
