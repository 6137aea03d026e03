"""A lost gateway is restored on new hardware from the service's copy and the key backup."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.delivery.sender import Phase
from coldseal.core.log.record import Chain
from coldseal.core.redelivery import Redelivery
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.carrying import carried
from coldseal.gateway.cloning import (
    BEFORE,
    Building,
    clone,
    copy_log,
    opened,
    restore_keys,
)
from coldseal.gateway.copying import FalseCopyError
from coldseal.gateway.store.log import Log
from coldseal.gateway.writer import LOG_FOLDER, Run
from coldseal.signing.keys import generate_record_key, write_private_key
from tests.gateway.yard import DEVICE, Yard
from tests.sealed import ORIGIN, SealedLog
from tests.trial import STORE_KEY, Site

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = ORIGIN.replace("/", "_")
WHY = "the board burnt out"


def quiet(_done: int, _total: int) -> None:
    """Be told nothing."""


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """Give a gateway's folder whose log is admitted, with small segments."""
    made = Yard(Site(tmp_path), segment_entries=10)
    made.admit(made.config())
    return made


def lose(yard: Yard) -> None:
    """Lose the box: data and keys; the configuration is kept elsewhere."""
    shutil.rmtree(yard.data)
    for path in yard.keys.iterdir():
        (yard.path.parent / path.name).unlink()


async def test_new_hardware_goes_on_behind_the_old_log(yard: Yard) -> None:
    """The old log is there byte by byte; the new one cites its receipt, and knows what devices have sent."""
    told: list[tuple[int, int]] = []
    async with yard.site.running() as service:
        config = yard.online(service)
        for _ in range(3):
            await yard.run(config, 12)
        await yard.deliver(config)
        before = yard.raw()
        lose(yard)

        made = await clone(config, yard.keys, lambda done, total: told.append((done, total)), WHY)

        assert made.entries == len(before)
        assert yard.raw(made.before) == before
        assert told[-1] == (len(before), len(before))
        assert (made.before.name, made.origin) == (FOLDER, f"{ORIGIN}/2")
        config = yard.online(service)
        assert config.gateway.origin == f"{ORIGIN}/2"
        yard.admit(config)
        genesis, access, gap, *_ = yard.entries()
        after = genesis.data["after"]
        assert isinstance(after, dict)
        assert (after["origin"], after["size"]) == (ORIGIN, len(before))
        assert (access.kind, access.data["action"], access.data["why"]) == ("access", "recover", WHY)
        assert (gap.kind, gap.data["cause"]) == ("gap", "replaced")
        async with Run.open(config) as run:
            for number in range(1, yard.number + 1):
                digest = encode_base64(number.to_bytes(32, "big"))
                assert run.known.redelivery.is_known(DEVICE, Redelivery.key(digest))
        await yard.run(config, 3)
        assert await yard.deliver(config) is Phase.IDLE
        assert await yard.held(f"{ORIGIN}/2") == yard.raw()


async def test_segments_end_where_they_ended(yard: Yard) -> None:
    """A copy is the log as it was, not a heap of its entries."""
    async with yard.site.running() as service:
        config = yard.online(service)
        for _ in range(3):
            await yard.run(config, 12)
        await yard.deliver(config)
        files = sorted(path.name for path in (yard.data / LOG_FOLDER).glob("*.db"))
        await copy_log(config, yard.site.folder / "copy", quiet)
    assert sorted(path.name for path in (yard.site.folder / "copy" / LOG_FOLDER).glob("*.db")) == files


async def test_a_copy_that_was_cut_short_goes_on_where_it_was(yard: Yard) -> None:
    """Nothing is fetched twice but what is compared."""
    async with yard.site.running() as service:
        config = yard.online(service)
        await yard.run(config, 12)
        await yard.deliver(config)
        first = yard.raw()
        await copy_log(config, yard.site.folder / "copy", quiet)
        await yard.run(config, 12)
        await yard.deliver(config)
        await copy_log(config, yard.site.folder / "copy", quiet)
        await copy_log(config, yard.site.folder / "copy", quiet)
    assert yard.raw(yard.site.folder / "copy") == yard.raw()
    assert len(first) < len(yard.raw())


async def test_where_a_log_is_nothing_is_cloned(yard: Yard) -> None:
    """A clone is for an empty data folder."""
    config = yard.config()
    await yard.run(config, 1)
    with pytest.raises(OperatorError, match="holds a log already"):
        await clone(config, yard.keys, quiet, WHY)


async def test_without_the_service_nothing_is_begun(yard: Yard) -> None:
    """No new log cites what nobody has shown."""
    config = yard.config()
    with pytest.raises(UnavailableError):
        await clone(config, yard.keys, quiet, WHY)
    assert not (yard.data / LOG_FOLDER).exists()
    assert not (yard.data / BEFORE / FOLDER / LOG_FOLDER).exists()


def test_a_key_that_is_there_is_not_replaced(yard: Yard) -> None:
    """The same one is fine; another one is a mistake that somebody must see."""
    config = yard.config()
    restore_keys(config, yard.keys)
    (yard.path.parent / "record.pem").unlink()
    write_private_key(yard.path.parent / "record.pem", generate_record_key())
    with pytest.raises(OperatorError, match=r"record\.pem is not the keys\.record"):
        restore_keys(config, yard.keys)
    (yard.keys / "interop.pem").unlink()
    (yard.path.parent / "record.pem").unlink()
    with pytest.raises(OperatorError, match=r"interop\.pem cannot be read"):
        restore_keys(config, yard.keys)


async def test_entries_that_do_not_continue_the_log_are_not_written(yard: Yard, tmp_path: Path) -> None:
    """The tree is the witness's word, the chain the log's own: both must hold."""
    log = SealedLog().grow(3)
    async with opened(yard.config(), tmp_path / "copy", ORIGIN) as store:
        building = Building(store, Redelivery(128), lambda _done: None)
        await building.add(log.entries[:2])
        with pytest.raises(FalseCopyError, match="does not continue"):
            await building.add(log.entries[3:])
        with pytest.raises(FalseCopyError, match="entry 2"):
            await building.add([b"{}"])
        await building.finish()
        assert store.size == 2
    found = Log.open(
        tmp_path / "copy", STORE_KEY, store._limits, new=Chain(ORIGIN, log.keys.record.kid), now_ms=0
    )
    assert found.replayed == 0
    await found.close()


def test_an_entry_too_long_to_carry_is_carried_by_its_hash() -> None:
    """The entry itself stays in quarantine."""
    log = SealedLog()
    short = log.seal("reading", {"sensor": "a"})
    long = log.seal("reading", {"sensor": "a" * 57_000})
    assert "entry" in carried(short, "J. Doe", "why")
    assert "entry" not in carried(long, "J. Doe", "why")
    assert carried(long, "J. Doe", "why")["bytes"] == len(long)
