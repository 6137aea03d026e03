"""The archive and the bulk tier under load and under damage: figures, and every flipped bit noticed.

`make soak` archives and prunes a log of COLDSEAL_ARCHIVED entries (100,000), makes a table of a part, and
spoils COLDSEAL_SPOILT files (1,000) of each, one bit, cut or swap at a time. COLDSEAL_SEED plays it again.
Checks that look at less are put in the place of ours, and the campaign must find them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from contextlib import closing
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Final

import pyarrow.parquet
import pytest
from typing_extensions import override

from coldseal.cli.archives import BundleTools
from coldseal.core.coldchain.reading import encode_reading, encode_source, parse_quantity
from coldseal.errors import ColdsealError
from coldseal.gateway.archives import BadArchiveError, examine, read_index
from coldseal.gateway.archiving import run_round
from coldseal.gateway.config import load_gateway
from coldseal.gateway.records import open_reader
from coldseal.gateway.writer import Run
from coldseal.service.bulk import Tier, folder_of
from coldseal.service.config import Bulk
from coldseal.service.storage.bulk_manifest import BulkDamagedError
from coldseal.service.storage.bulk_table import decode_table, encode_table
from tests.campaigns.figures import say
from tests.cli.test_prune import make
from tests.gateway.test_pruning import receive
from tests.sealed import ORIGIN
from tests.service.test_bulk import Trial as BulkTrial
from tests.service.test_bulk import log, site, written

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.gateway.archives import Archived
    from coldseal.gateway.config import GatewayConfig
    from coldseal.service.storage.bulk_manifest import Manifest
    from tests.trial import Site

__all__ = ["log", "site", "written"]

SEED: Final = int(os.environ.get("COLDSEAL_SEED", "1"))
ENTRIES: Final = int(os.environ.get("COLDSEAL_ARCHIVED", "100000"))
SPOILT: Final = int(os.environ.get("COLDSEAL_SPOILT", "1000"))
NOW_MS: Final = 1_795_000_000_000
LATER_MS: Final = 1_799_900_000_000


def gateway(folder: Path, entries: int, segment: int) -> GatewayConfig:
    """Make a gateway that holds so many readings of 50 sensors, all under a receipt, and an archive."""
    make(folder)
    (folder / "archive").mkdir()
    path = folder / "gateway.toml"
    more = '\n[archive]\ndirectory = "archive"\n[[retention]]\nname = "all"\ndays = 30\n'
    path.write_text(path.read_text() + more)
    free = ("mqtt.listen=127.0.0.1:0", "http.listen=127.0.0.1:0", f"store.segment_entries={segment}")
    config = load_gateway(path, free)
    asyncio.run(_fill(config, entries))
    receive(config)
    return config


async def _fill(config: GatewayConfig, entries: int) -> None:
    """Seal readings as the intake does, 256 in a commit."""
    random = Random(SEED)
    async with Run.open(config) as run:
        for first in range(0, entries, 256):
            drafts = []
            for number in range(first, first + 256):
                value = f"{random.gauss(5, 0.4):.2f}"
                quantity = parse_quantity("temperature", "Cel", value, where="campaign")
                source = encode_source(
                    f"sensor-{number % 50:02d}",
                    f"{number % 50:016x}",
                    "".join(random.choices("ABCDEFGHabcdefgh0123+/", k=43)) + "=",
                    seq=number // 50,
                    boot="",
                    taken_at="",
                    packet_id=None,
                )
                data = encode_reading("probe", [quantity])
                drafts.append(run.journal.draft("reading", data, run.clock.now(), source))
            await run.append(drafts)


def spoil(path: Path, random: Random, others: list[Path]) -> str:
    """Spoil a file: flip a bit, cut it, add to it, or put another one in its place; says how."""
    data = bytearray(path.read_bytes())
    how = random.choice(["flip", "flip", "flip", "cut", "add", "swap", "zero"])
    at = random.randrange(len(data))
    if how == "flip":
        data[at] ^= 1 << random.randrange(8)
    elif how == "cut":
        del data[at:]
    elif how == "add":
        data += random.randbytes(1 + random.randrange(100))
    elif how == "zero":
        data[at : at + 512] = bytes(len(data[at : at + 512]))
    else:
        data = bytearray(random.choice([each for each in others if each != path]).read_bytes())
    if bytes(data) == path.read_bytes():
        return ""
    path.write_bytes(data)
    return f"{how} at {at}"


def unnoticed(
    folder: Path, count: int, check: Callable[[Path], None], suffixes: tuple[str, ...]
) -> list[str]:
    """Spoil files one after the other, so often, and say what no check noticed."""
    random = Random(SEED)
    files = sorted(path for path in folder.rglob("*") if path.name.endswith(suffixes))
    missed: list[str] = []
    done = 0
    while done < count:
        path = random.choice(files)
        whole = path.read_bytes()
        how = spoil(path, random, [each for each in files if each.suffix == path.suffix])
        if how:
            done += 1
            try:
                check(path)
            except ColdsealError:
                pass
            else:
                missed.append(f"{path.name}: {how}")
            path.write_bytes(whole)
    return missed


class Verified:
    """Checks an archived bundle as `coldseal gateway archive verify` does."""

    def __init__(self, config: GatewayConfig) -> None:
        """Take the gateway."""
        self._config, self._tools = config, BundleTools(config)

    def __call__(self, path: Path) -> None:
        """Check one."""
        known = next(
            each for each in read_index(self._config.gateway.data).values() if each.name == path.name
        )
        with self._tools.verified(path) as archive, closing(open_reader(self._config)) as reader:
            examine(reader, archive, known.first, known.last)

    def known(self, path: Path) -> Archived:
        """Give what the index says of it."""
        return next(each for each in read_index(self._config.gateway.data).values() if each.name == path.name)


class Hasty(Verified):
    """A check that believes a file of the right length: a seeded fault."""

    @override
    def __call__(self, path: Path) -> None:
        """Check one."""
        if path.stat().st_size != self.known(path).size:
            raise BadArchiveError(path.name, "it has another length")


class TrustingTier(Tier):
    """A tier that takes every table as it is, without sum, columns and root: a seeded fault."""

    @override
    def entries(self, manifest: Manifest) -> list[bytes]:
        """Read it."""
        data = self.objects.get(f"{folder_of(manifest.log)}/{manifest.object}") or b""
        try:
            table = pyarrow.parquet.read_table(pyarrow.BufferReader(data))
            return [raw for raw in table.column("entry").to_pylist() if raw is not None]
        except (pyarrow.ArrowException, KeyError, OSError) as error:
            raise BulkDamagedError(manifest.object, str(error)) from error


def read_all(tier: Tier) -> Callable[[Path], None]:
    """Give a check that reads a tier whole, as `coldseal service bulk verify` does."""

    def check(_path: Path) -> None:
        for manifest in tier.manifests(ORIGIN):
            tier.entries(manifest)

    return check


def archive_of(config: GatewayConfig) -> Path:
    """Give the archive's folder."""
    assert config.archive.directory is not None
    return config.archive.directory


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> GatewayConfig:
    """A gateway with a few archived segments; what is spoilt there is put right again."""
    config = gateway(tmp_path_factory.mktemp("small") / "gw", 1_000, 300)
    run_round(config, BundleTools(config), now_ms=NOW_MS)
    return config


@pytest.fixture
def bulk(site: Site, written: Path, tmp_path: Path) -> BulkTrial:
    """A bulk tier to spoil."""
    shutil.copytree(written, tmp_path / "bulk")
    return BulkTrial(site, tmp_path / "bulk")


def test_every_spoilt_file_is_noticed_shortly(small: GatewayConfig, bulk: BulkTrial) -> None:
    """The short form of the campaign: one bit, a cut, an addition, zeros, or another file in its place."""
    assert unnoticed(archive_of(small), 20, Verified(small), (".zst",)) == []
    assert unnoticed(bulk.folder, 40, read_all(bulk.tier), (".parquet", ".manifest")) == []


@pytest.mark.soak
def test_every_spoilt_file_of_archive_and_bulk_tier_is_noticed(small: GatewayConfig, bulk: BulkTrial) -> None:
    """The same, as often as is asked for."""
    missed = unnoticed(archive_of(small), SPOILT, Verified(small), (".zst",))
    say(f"archive: {SPOILT} spoilt bundles, {len(missed)} unnoticed, seed {SEED}")
    assert missed == []
    missed = unnoticed(bulk.folder, SPOILT, read_all(bulk.tier), (".parquet", ".manifest"))
    say(f"bulk tier: {SPOILT} spoilt files, {len(missed)} unnoticed, seed {SEED}")
    assert missed == []


def test_the_campaign_finds_a_check_that_believes_lengths(small: GatewayConfig) -> None:
    """A bundle of the right length that is another one."""
    assert unnoticed(archive_of(small), 40, Hasty(small), (".zst",))


def test_the_campaign_finds_a_tier_that_takes_tables_without_sum_and_root(bulk: BulkTrial) -> None:
    """A table in another's place, or a byte that nothing reads."""
    tier = bulk.tier
    trusting = TrustingTier(Bulk(url=f"file://{bulk.folder}", range_entries=256), tier.witness)
    assert unnoticed(bulk.folder, 60, read_all(trusting), (".parquet",))


@pytest.mark.soak
def test_figures_of_archiving_and_of_the_bulk_tier(tmp_path: Path) -> None:
    """How fast, and how small."""
    config = gateway(tmp_path / "gw", ENTRIES, ENTRIES // 2)
    tools = BundleTools(config)
    began = time.perf_counter()
    done = run_round(config, tools, now_ms=NOW_MS)
    took = time.perf_counter() - began
    count = sum(each.last + 1 - each.first for each in done.archived)
    with closing(open_reader(config)) as reader:
        entries = [raw for _, raw in zip(range(count), reader.read_from(0), strict=False)]
    whole, packed = sum(map(len, entries)), sum(each.size for each in done.archived)
    say(
        f"archive: {count} entries of {whole / count:.0f} bytes, {packed / count:.0f} bytes each as bundles "
        f"({whole / packed:.2f} times smaller), {count / took:.0f} entries/s written, read back and verified"
    )
    began = time.perf_counter()
    pruned = run_round(config, tools, now_ms=LATER_MS).pruned
    say(f"prune: {count / (time.perf_counter() - began):.0f} entries/s, held against the archive one by one")
    assert len(pruned) == len(done.archived)
    part = entries[-65_536:]
    began = time.perf_counter()
    data = encode_table(0, part)
    wrote = time.perf_counter()
    assert decode_table(data, 0, "x") == part
    read = time.perf_counter()
    whole = sum(map(len, part))
    say(
        f"bulk tier: {len(part)} entries of {whole / len(part):.0f} bytes, {len(data) / len(part):.0f} each "
        f"as Parquet ({whole / len(data):.2f} times smaller), {len(part) / (wrote - began):.0f} entries/s "
        f"written, {len(part) / (read - wrote):.0f} read and compared"
    )
