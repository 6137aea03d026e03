"""Over real TLS: the service gives each log in the static layout of C2SP, to those who may read it."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from coldseal.cli.tiles import publish
from coldseal.core.log.checkpoint import open_checkpoint
from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.core.log.record import frame
from coldseal.core.log.tiles import ENTRIES, WIDTH, Tile, tile_nodes, tiles_of
from coldseal.errors import InputError
from coldseal.identity.peer import Role
from coldseal.service.app import Service
from coldseal.service.storage.tree import LogTree
from tests.sealed import ORIGIN, SealedLog, rolled_over
from tests.service.conftest import OpenBench
from tests.service.layout import fetch, files, get, send
from tests.trial import Site, url

SIZES = (1, 255, 600, 856, 857)
"""Ends of batches: inside a tile, right behind one, and over more than one at once."""

READERS: tuple[Role, ...] = ("gateway", "operator")


@pytest.fixture(scope="module")
def log() -> SealedLog:
    """Give a log with a checkpoint at each of the sizes, whose record key changed on the way."""
    return rolled_over(SIZES, 300)


@pytest.fixture
async def service(site: Site, log: SealedLog) -> AsyncIterator[Service]:
    """Give a running service that holds the log."""
    site.admit(log)
    async with site.running() as service:
        for first, size in zip((0, *SIZES), SIZES, strict=False):
            await send(site, service, log, first, size)
        yield service


async def test_the_layout_is_what_publish_writes_for_the_same_log(
    site: Site, service: Service, log: SealedLog, tmp_path: Path
) -> None:
    """File by file, over a change of keys and with partial tiles at the edge."""
    assert await fetch(site, service, tmp_path / "fetched") == SIZES[-1]

    fetched = files(tmp_path / "fetched")
    publish(tmp_path / "made", fetched["checkpoint"], lambda at, count: log.entries[at : at + count])
    assert fetched == files(tmp_path / "made")
    checkpoint, _ = open_checkpoint(fetched["checkpoint"], [site.witness])
    assert checkpoint.size == SIZES[-1]


async def test_after_a_restart_the_layout_goes_on_where_it_was(
    site: Site, log: SealedLog, tmp_path: Path
) -> None:
    """A tile that was partial then is full, and nothing is missing."""
    site.admit(log)
    async with site.running() as service:
        await send(site, service, log, 0, 255)
    async with site.running() as service:
        assert await fetch(site, service, tmp_path / "before") == 255
        await send(site, service, log, 255, 600)
        assert await fetch(site, service, tmp_path / "after") == 600

    publish(
        tmp_path / "made",
        (tmp_path / "after" / "checkpoint").read_bytes(),
        lambda at, count: log.entries[at : at + count],
    )
    assert files(tmp_path / "after") == files(tmp_path / "made")


async def test_every_partial_tile_that_was_published_stays(
    site: Site, service: Service, log: SealedLog
) -> None:
    """C2SP demands those of each checkpoint; none comes before its receipt."""
    async with site.caller("operator") as caller:
        for size in SIZES:
            for tile in tiles_of(size):
                assert (await get(caller, service, tile.path)).status == 200, tile.path
        bundle = await get(caller, service, "tile/entries/003.p/7")
        assert bundle.body == frame(log.entries[768:775])
        for name in ("tile/0/003.p/90", "tile/0/003", "tile/1/000.p/4", "tile/2/000.p/1", "tile/entries/004"):
            assert (await get(caller, service, name)).status == 404, name


async def test_files_say_what_they_are_and_how_long_they_hold(site: Site, service: Service) -> None:
    """Types as C2SP has them; a checkpoint is asked for anew, a tile never, what is missing may come."""
    async with site.caller("operator") as caller:
        found = {}
        for name in ("checkpoint", "tile/0/000", "tile/1/000.p/3", "tile/entries/000", "tile/0/009"):
            got = await get(caller, service, name)
            found[name] = got.status, got.headers["Content-Type"], got.headers["Cache-Control"]
    final = (200, "application/octet-stream", "private, max-age=31536000, immutable")
    assert found == {
        "checkpoint": (200, "text/plain; charset=utf-8", "private, no-cache"),
        "tile/0/000": final,
        "tile/1/000.p/3": final,
        "tile/entries/000": final,
        "tile/0/009": (404, "application/json", "no-store"),
    }


async def test_bundles_are_compressed_for_those_who_ask_for_it(
    site: Site, service: Service, log: SealedLog
) -> None:
    """Hashes are not: nothing is gained."""
    asked = {
        "gzip": "gzip",
        "br, GZIP;q=0.5": "gzip",
        "gzip; q=1.0, identity": "gzip",
        "gzip;q=0, identity": None,
        "gzip; q=0.000": None,
        "identity": None,
        "": None,
    }
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=site.context("operator")), auto_decompress=False
    ) as caller:
        for accepted, coding in asked.items():
            headers = {"Accept-Encoding": accepted}
            address = url(service, f"/logs/{ORIGIN}/tile/entries/000")
            async with caller.get(address, headers=headers) as response:
                body = await response.read()
                assert response.headers.get("Content-Encoding") == coding, accepted
                assert response.headers["Vary"] == "Accept-Encoding"
                assert (gzip.decompress(body) if coding else body) == frame(log.entries[:WIDTH])
        async with caller.get(url(service, f"/logs/{ORIGIN}/tile/0/000")) as response:
            assert response.headers.keys().isdisjoint({"Content-Encoding", "Vary"})


async def test_an_origin_stands_in_the_path_encoded_or_as_it_is(site: Site, service: Service) -> None:
    """So the address of a log is its origin behind a prefix, as C2SP recommends."""
    async with site.caller("operator") as caller:
        answers = [
            await (await caller.get(url(service, f"/logs/{origin}/checkpoint"))).read()
            for origin in (ORIGIN, ORIGIN.replace("/", "%2F"))
        ]
    assert answers[0] == answers[1]
    assert answers[0].startswith(ORIGIN.encode())


async def test_any_other_name_is_404(site: Site, service: Service) -> None:
    """The layout has one name for each file, and nothing else can be reached."""
    names = ("", "tile", "tile/0", "tile/00/000", "tile/0/000/", "tile/data/000", "tile/0/%2E%2E/000", "x")
    async with site.caller("operator") as caller:
        for name in names:
            assert (await get(caller, service, name)).status == 404, name


async def test_gateways_and_operators_may_read(site: Site, service: Service) -> None:
    """By the certificate that TLS verified; a service's is for being called only."""
    for role in READERS:
        async with site.caller(role) as caller:
            assert (await get(caller, service, "checkpoint")).status == 200


async def test_a_device_is_refused(site: Site, service: Service) -> None:
    """It has a certificate of the same CA; it is not even told whether a file is there."""
    async with site.caller("device") as caller:
        for name in ("checkpoint", "tile/0/000", "tile/0/009", "x"):
            got = await get(caller, service, name)
            assert got.status == 403, name
            assert b"not-admitted" in got.body


async def test_readers_are_those_that_the_configuration_names(site: Site, log: SealedLog) -> None:
    """Whoever is not named is refused; an empty list shuts it."""
    site.admit(log)
    for readers, allowed in (('["operator"]', {"operator"}), ("[]", set())):
        async with site.running(f"service.readers={readers}") as service:
            for role in READERS:
                async with site.caller(role) as caller:
                    status = (await get(caller, service, "checkpoint")).status
                assert status == (404 if role in allowed else 403), (role, readers)


async def test_a_gateway_sees_its_own_logs_only(site: Site, service: Service) -> None:
    """Of another one's, or one that nobody has, it is told the same: nothing."""
    other = SealedLog(origin="coldseal.example/site-8/gw-0002", gateway="gw-0002")
    site.admit(other)
    service._admission.refresh()
    async with site.caller("gateway") as caller:
        for origin in (other.origin, "coldseal.example/nobody"):
            assert (await get(caller, service, "checkpoint", origin)).status == 403
    async with site.caller("operator") as caller:
        assert (await get(caller, service, "checkpoint", other.origin)).status == 404


async def test_a_log_that_is_no_longer_admitted_is_gone(site: Site, log: SealedLog, service: Service) -> None:
    """What is held of it stays in the ledger."""
    site.admit(log).unlink()
    service._admission.refresh()
    async with site.caller("operator") as caller:
        assert (await get(caller, service, "checkpoint")).status == 404


@pytest.mark.usefixtures("service")
async def test_every_hash_of_the_tree_can_be_had_from_the_ledger(site: Site, log: SealedLog) -> None:
    """From the entries of one tile, or from stored hashes: the same as the tiles give."""
    size = SIZES[-1]
    tree = MerkleTree(map(leaf_hash, log.entries[:size]))
    async with site.ledger() as ledger:
        held = LogTree(ledger, ORIGIN)
        for level in range(size.bit_length()):
            for index in range(size >> level):
                if level > 2 or index % 97 == 0:
                    assert held.nodes(level, index) == tree.nodes(level, index)
            with pytest.raises(InputError):
                held.nodes(level, size >> level)
        with pytest.raises(InputError):
            LogTree(ledger, "coldseal.example/nobody").nodes(0, 0)

        def content(tile: Tile) -> bytes:
            return b"".join(held.hashes(tile.tree_level, tile.first, tile.width))

        assert tile_nodes(size, content)(9, 0) == tree.nodes(9, 0)
        assert ledger.tiles(ORIGIN, 8, 0, 9) == [tree.nodes(8, index) for index in range(3)]


async def test_a_tile_of_many_entries_reads_none_of_them(open_bench: OpenBench) -> None:
    """Above level 0 only stored hashes are looked at: they are there without the entries."""
    async with open_bench() as bench:
        log = bench.admit(SealedLog().grow(2 * WIDTH + 5))
        await bench.take(log.body())
        bench.ledger._store._writer.execute("DELETE FROM bundles")
        found = await bench.ledger.hashes(ORIGIN, Tile(1, 0).tree_level, 0, WIDTH)
        assert await bench.entries() == []
    tree = MerkleTree(map(leaf_hash, log.entries))
    assert found == [tree.nodes(8, 0), tree.nodes(8, 1)]


async def test_a_tile_is_never_given_in_part(site: Site, service: Service) -> None:
    """A ledger that lacks hashes says so: a reader would take a shorter tile for a lie."""
    service._ledger._store._writer.execute("DELETE FROM tiles WHERE n = 1")
    async with site.caller("operator") as caller:
        assert (await get(caller, service, "tile/1/000.p/1")).status == 200
        got = await get(caller, service, "tile/1/000.p/3")
    assert got.status == 503
    assert b"2 of the 3 hashes" in got.body


def test_a_bundle_holds_no_hashes() -> None:
    """Its level is none of the tree's."""
    assert Tile(ENTRIES, 0).tree_level < 0
