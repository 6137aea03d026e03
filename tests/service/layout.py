"""How a reader of the static layout gets a log from a running service: by HTTPS, file by file."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import aiohttp

from coldseal.core.log.delivery.wire import BATCH_TYPE
from coldseal.core.log.tiles import tiles_of
from coldseal.service.app import Service
from tests.sealed import ORIGIN, SealedLog
from tests.trial import Site, url


class Got(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


async def get(caller: aiohttp.ClientSession, service: Service, name: str, origin: str = ORIGIN) -> Got:
    """Ask for a file as a reader does that takes what comes."""
    address = url(service, f"/logs/{quote(origin, safe='')}/{name}")
    async with caller.get(address, headers={"Accept-Encoding": "identity"}) as response:
        return Got(response.status, dict(response.headers), await response.read())


async def send(site: Site, service: Service, log: SealedLog, first: int, size: int) -> None:
    """Deliver a batch."""
    headers = {"Content-Type": BATCH_TYPE}
    body = BytesIO(log.body(first, size))
    async with (
        site.caller() as caller,
        caller.post(url(service, "/v1/entries"), data=body, headers=headers) as response,
    ):
        assert response.status == 200, await response.read()


async def fetch(site: Site, service: Service, folder: Path, origin: str = ORIGIN) -> int:
    """Copy a log into a folder as any reader of the layout does; give its size."""
    async with site.caller("operator") as caller:
        note = (await get(caller, service, "checkpoint", origin)).body
        size = int(note.split(b"\n")[1])
        for tile in tiles_of(size):
            got = await get(caller, service, tile.path, origin)
            assert got.status == 200, tile.path
            (folder / tile.path).parent.mkdir(parents=True, exist_ok=True)
            (folder / tile.path).write_bytes(got.body)
    (folder / "checkpoint").write_bytes(note)
    return size


def files(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
