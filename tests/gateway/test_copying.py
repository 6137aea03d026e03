"""A log is read back from the service, and nothing comes out that the cosigned tree does not hold."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from coldseal.core.log.checkpoint import CheckpointSignatureError
from coldseal.core.log.merkle import MerkleTree, leaf_hash
from coldseal.core.log.record import frame
from coldseal.core.log.tiles import ENTRIES, Tile, hash_tile, is_in, parse_tile
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.gateway.config import load_gateway
from coldseal.gateway.copying import FalseCopyError, NoCopyError, ServiceCopy
from coldseal.gateway.uplink.contact import verify_own_lines
from coldseal.gateway.uplink.copy_http import MAX_FILE
from coldseal.identity.contexts import server_context
from coldseal.identity.peer import Role
from coldseal.signing.keys import open_ed25519
from tests.gateway.copies import delivered, gateway_config
from tests.sealed import ORIGIN, SealedLog, checkpoint_keys, cosigned, new_keys
from tests.trial import Site, url

SIZE = 700
OTHER = "coldseal.example/site-7/gw-0002"

Lie = Callable[[str, bytes | None], bytes | None]
"""What a service makes of a file: its name in the layout, and what an honest one gives."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """Give the files of a trial."""
    return Site(tmp_path)


@pytest.fixture(scope="module")
def log() -> SealedLog:
    """Give a log that ends inside its third bundle."""
    made = SealedLog().grow(SIZE - 1)
    made.checkpoint()
    return made


def honest(site: Site, log: SealedLog, size: int) -> Lie:
    """Give a service's files of a log, cosigned by the site's witness."""
    signer = open_ed25519("file:witness.pem", base=site.service)
    tree = MerkleTree(leaf_hash(entry) for entry in log.entries[:size])
    note = cosigned(log.notes[size], signer=signer)

    def give(path: str, _held: bytes | None) -> bytes | None:
        if path == "checkpoint":
            return note
        tile = parse_tile(path)
        if not is_in(tile, size):
            return None
        if tile.level == ENTRIES:
            return frame(log.entries[tile.first : tile.first + tile.width])
        return hash_tile(tile, tree.nodes)

    return give


@asynccontextmanager
async def lying(site: Site, truth: Lie, lie: Lie, *, role: Role = "service") -> AsyncIterator[str]:
    """Run a service that answers what it likes; gives its address."""

    async def answer(request: web.BaseRequest) -> web.Response:
        _, _, path = request.path.partition(f"/logs/{ORIGIN}/")
        body = lie(path, truth(path, None))
        return web.Response(status=404) if body is None else web.Response(body=body)

    certificate = site.certificates[role]
    tls = server_context(certificate, certificate.with_suffix(".key"), site.trust)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        port = web.TCPSite(runner, "localhost", 0, ssl_context=tls)
        await port.start()
        (address, *_) = runner.addresses
        yield f"https://localhost:{address[1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("is_packed", [False, True])
async def test_a_delivered_log_is_read_back_byte_by_byte(
    site: Site, log: SealedLog, *, is_packed: bool
) -> None:
    """Over the real service, with its own certificate's right and no other setting."""
    site.admit(log)
    async with site.running() as service:
        await delivered(site, service, log)
        config = gateway_config(site, url(service))
        keys = checkpoint_keys(log.keys, ORIGIN)
        async with ServiceCopy(config, keys=keys, is_packed=is_packed) as copy:
            assert await copy.size() == SIZE
            assert await copy.entries(0, SIZE) == log.entries
            assert await copy.entries(255, 513) == log.entries[255:513]
            assert await copy.entries(699, 700) == log.entries[699:]
            assert await copy.entries(300, 300) == []
            assert (await copy.checkpoint()).startswith(log.notes[SIZE][:-1])
            assert await copy.root() == log.chain.tree.root()
            assert await copy.leaves(0) == b"".join(map(leaf_hash, log.entries[:256]))


async def test_everything_is_of_one_checkpoint_while_the_log_grows_at_the_service(
    site: Site, log: SealedLog
) -> None:
    """The copy does not move under whoever reads it."""
    grown = log.copy()
    site.admit(log)
    async with site.running() as service:
        await delivered(site, service, log)
        async with ServiceCopy(gateway_config(site, url(service))) as copy:
            before = await copy.checkpoint()
            grown.grow(300).checkpoint()
            await delivered(site, service, grown)
            assert await copy.entries(0, SIZE) == log.entries
            assert await copy.checkpoint() == before
            with pytest.raises(InputError, match="places of the 700 entries"):
                await copy.entries(0, SIZE + 1)


async def test_a_service_that_has_nothing_says_so(site: Site, log: SealedLog) -> None:
    """An admitted log without a receipt is no log that is away."""
    site.admit(log)
    async with site.running() as service, ServiceCopy(gateway_config(site, url(service))) as copy:
        with pytest.raises(NoCopyError, match="no checkpoint of"):
            await copy.checkpoint()


async def test_another_gateways_log_is_not_given(site: Site, log: SealedLog) -> None:
    """The service's refusal reaches whoever asked, with its words."""
    site.admit(log)
    async with (
        site.running() as service,
        ServiceCopy(gateway_config(site, url(service)), origin=OTHER) as copy,
    ):
        with pytest.raises(UnavailableError, match=r"status 403 for checkpoint.*not admitted"):
            await copy.checkpoint()


async def test_a_service_that_is_away_is_unavailable(site: Site) -> None:
    """So that whoever asked may come again."""
    async with ServiceCopy(gateway_config(site, "https://localhost:1")) as copy:
        with pytest.raises(UnavailableError, match="the service's copy is unavailable"):
            await copy.size()


async def test_a_peer_without_the_role_is_asked_for_nothing(site: Site, log: SealedLog) -> None:
    """A device's certificate of the same CA is no service's."""
    asked: list[str] = []

    def lie(path: str, held: bytes | None) -> bytes | None:
        asked.append(path)
        return held

    async with (
        lying(site, honest(site, log, SIZE), lie, role="device") as address,
        ServiceCopy(gateway_config(site, address)) as copy,
    ):
        with pytest.raises(UnavailableError):
            await copy.size()
    assert asked == []


def test_without_a_service_there_is_no_copy(tmp_path: Path) -> None:
    """The configuration says what is missing."""
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[gateway]\norigin = "a/b"\nsite = "s"\n[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:1"\n'
        'passwords = "p"\n'
    )
    with pytest.raises(OperatorError, match="no service is configured"):
        ServiceCopy(load_gateway(path))


def changed(path: str, change: Callable[[bytes], bytes]) -> Lie:
    """Give a lie about one file."""
    return lambda asked, held: change(held) if asked == path and held is not None else held


def flip(held: bytes) -> bytes:
    """Change the last byte."""
    return held[:-1] + bytes([held[-1] ^ 1])


BUNDLE, EDGE = Tile(ENTRIES, 0).path, Tile(ENTRIES, 2, SIZE - 512).path
LIES: dict[str, Lie] = {
    "an entry is changed": changed(BUNDLE, flip),
    "an entry at the edge is changed": changed(EDGE, flip),
    "a bundle is cut": changed(BUNDLE, lambda held: held[:-1]),
    "an entry is dropped": changed(BUNDLE, lambda held: held[2 + int.from_bytes(held[:2]) :]),
    "an entry at the edge is doubled": changed(
        EDGE, lambda held: held + held[: 2 + int.from_bytes(held[:2])]
    ),
    "the edge of the tree is changed": changed(Tile(0, 2, SIZE - 512).path, flip),
    "the top of the tree is changed": changed(Tile(1, 0, 2).path, flip),
    "the top of the tree is cut": changed(Tile(1, 0, 2).path, lambda held: held[:-1]),
    "the checkpoint is no note": changed("checkpoint", lambda held: held[:40]),
    "a full tile of leaves is changed": changed(Tile(0, 1).path, flip),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_lie_comes_to_light(site: Site, log: SealedLog, lie: Lie) -> None:
    """Whatever is changed on the way is no entry of the cosigned tree."""
    async with (
        lying(site, honest(site, log, SIZE), lie) as address,
        ServiceCopy(gateway_config(site, address)) as copy,
    ):
        with pytest.raises(FalseCopyError, match="is not what its witness cosigned"):
            assert [await copy.leaves(1), *await copy.entries(0, SIZE)]


@pytest.mark.parametrize("path", [BUNDLE, EDGE, Tile(1, 0, 2).path])
async def test_a_missing_file_is_unavailable(site: Site, log: SealedLog, path: str) -> None:
    """It may be there another time; nobody takes its place."""
    async with (
        lying(site, honest(site, log, SIZE), lambda asked, held: None if asked == path else held) as address,
        ServiceCopy(gateway_config(site, address)) as copy,
    ):
        with pytest.raises(UnavailableError, match="is missing"):
            await copy.entries(0, SIZE)


async def test_a_checkpoint_of_another_witness_or_log_is_refused(site: Site, log: SealedLog) -> None:
    """Only what `uplink.witness` cosigned for this origin counts."""
    foreign = SealedLog(origin=OTHER).grow(1)
    foreign.checkpoint()
    signer = open_ed25519("file:witness.pem", base=site.service)
    truth = honest(site, log, SIZE)
    async with (
        lying(site, truth, changed("checkpoint", lambda _: cosigned(log.notes[SIZE]))) as address,
        ServiceCopy(gateway_config(site, address)) as copy,
    ):
        with pytest.raises(CheckpointSignatureError):
            await copy.size()
    note = cosigned(foreign.notes[2], signer=signer)
    async with (
        lying(site, truth, changed("checkpoint", lambda _: note)) as address,
        ServiceCopy(gateway_config(site, address)) as copy,
    ):
        with pytest.raises(FalseCopyError, match=OTHER):
            await copy.size()


async def test_an_answer_without_end_is_cut(site: Site, log: SealedLog) -> None:
    """Nobody fills the memory of a gateway."""
    truth = honest(site, log, SIZE)
    async with (
        lying(site, truth, changed(BUNDLE, lambda _: bytes(MAX_FILE + 1))) as address,
        ServiceCopy(gateway_config(site, address)) as copy,
    ):
        with pytest.raises(UnavailableError, match="at most"):
            await copy.entries(0, 1)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"no gzip", "no gzip"),
        (gzip.compress(b"a" * 1000, mtime=0)[:-9], "cut, or too long"),
        (gzip.compress(bytes(MAX_FILE + 1), mtime=0), "cut, or too long"),
    ],
)
async def test_what_is_wrongly_packed_is_refused(site: Site, content: bytes, why: str) -> None:
    """A bomb is no bundle."""

    async def answer(_request: web.BaseRequest) -> web.Response:
        return web.Response(body=content, headers={"Content-Encoding": "gzip"})

    certificate = site.certificates["service"]
    tls = server_context(certificate, certificate.with_suffix(".key"), site.trust)
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        await web.TCPSite(runner, "localhost", 0, ssl_context=tls).start()
        address = f"https://localhost:{runner.addresses[0][1]}"
        async with ServiceCopy(gateway_config(site, address), is_packed=True) as copy:
            with pytest.raises(UnavailableError, match=why):
                await copy.size()
    finally:
        await runner.cleanup()


def test_a_known_key_must_have_signed_what_it_is_named_for(log: SealedLog) -> None:
    """A line of a key that is not known is passed over, a wrong one of a known key is not."""
    keys, note = checkpoint_keys(log.keys, ORIGIN), log.notes[SIZE]
    assert verify_own_lines(note, keys) == 2
    assert verify_own_lines(note, checkpoint_keys(new_keys(), ORIGIN)) == 0
    forged = note.replace(b"\n700\n", b"\n701\n")
    with pytest.raises(CheckpointSignatureError):
        verify_own_lines(forged, keys)
