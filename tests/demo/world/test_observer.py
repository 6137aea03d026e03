"""The observer sees what does not hold: a test for each thing that must."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from coldseal.core.log.checkpoint import Checkpoint, checkpoint_note
from coldseal.core.log.record import Chain
from coldseal.demo.world.observer import Observer
from coldseal.demo.world.stage import ORIGIN, STORE_KEY
from coldseal.demo.world.trace import Trace
from coldseal.gateway.message import Outcome
from coldseal.gateway.store.log import Group, Limits, Log

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from coldseal.demo.world.stage import Stage

TIME = "2027-01-15T12:00:00.000Z"
TQ = b'{"boot":"00000000","err":1,"mono":1,"off":0,"s":"synchronised"}'
LIMITS = Limits(limit_mb=64, reserve_mb=1)


def name(number: int) -> tuple[str, str]:
    """Name a message of the one device."""
    return "dev-1", f"digest{number}"


def seal(log: Log, *numbers: int) -> Group:
    """Make a group of readings with these sequences."""
    chain, entries = log.chain, []
    for number in numbers:
        src = b'{"dev":"dev-1","seq":%d,"sha256":"digest%d"}' % (number, number)
        entries.append(chain.seal("reading", TIME, TQ, src, b'{"q":[],"sensor":"door"}', None))
    return Group(entries=entries, chain=chain)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Log]:
    """Open a log in a folder."""
    log = Log.open(folder, STORE_KEY, LIMITS, new=Chain(ORIGIN, "0" * 16), now_ms=0)
    try:
        yield log
    finally:
        await log.close()


def observe(stage: Stage) -> Observer:
    """Give an observer that has seen nothing."""
    return Observer(stage, "checkpoint", Trace(lambda: 0.0))


def why(observer: Observer) -> str:
    """Say what the observer found."""
    assert observer.is_broken.is_set() == (observer.broken is not None)
    return str(observer.broken or "")


async def test_what_is_on_disk_may_be_acknowledged(stage: Stage, tmp_path: Path) -> None:
    """An answer behind the commit breaks nothing; BUSY promises nothing."""
    observer = observe(stage)
    async with opened(tmp_path / "log") as log:
        await log.commit(seal(log, 1, 2))
        observer.acknowledged(log.reader, name(1), Outcome.SEALED, "digest1")
        observer.acknowledged(log.reader, name(2), Outcome.DUPLICATE, "digest2")
        observer.acknowledged(log.reader, name(3), Outcome.BUSY, "digest3")
    assert why(observer) == ""


async def test_what_is_not_on_disk_may_not_be_acknowledged(stage: Stage, tmp_path: Path) -> None:
    """Neither as sealed, nor as a duplicate, nor as rejected."""
    for outcome, said in (
        (Outcome.SEALED, "is not in the log on disk"),
        (Outcome.DUPLICATE, "is not in the log on disk"),
        (Outcome.REFUSED, "no entry says so"),
    ):
        observer = observe(stage)
        async with opened(tmp_path / outcome.name) as log:
            observer.acknowledged(log.reader, name(1), outcome, "digest1")
        assert said in why(observer)


async def test_a_log_that_lost_what_was_shown_is_seen(stage: Stage, tmp_path: Path) -> None:
    """An entry that anybody has seen is there for ever, with the same bytes."""
    observer = observe(stage)
    async with opened(tmp_path / "one") as log:
        await log.commit(seal(log, 1, 2))
        observer.acknowledged(log.reader, name(2), Outcome.SEALED, "digest2")
    async with opened(tmp_path / "two") as log:
        await log.commit(seal(log, 1))
        observer.started(log.reader)
    assert "entry 1 of 2 is gone or another" in why(observer)


async def test_a_reading_that_is_sealed_twice_is_seen(stage: Stage, tmp_path: Path) -> None:
    """One device, one payload, one entry."""
    observer = observe(stage)
    async with opened(tmp_path / "log") as log:
        await log.commit(seal(log, 1, 1))
        observer.catch_up(log.reader)
    assert "is sealed twice" in why(observer)


async def test_readings_out_of_order_are_seen(stage: Stage, tmp_path: Path) -> None:
    """Unless the device was told that there was no room, and knows."""
    observer, patient = observe(stage), observe(stage)
    async with opened(tmp_path / "log") as log:
        await log.commit(seal(log, 2, 1))
        observer.catch_up(log.reader)
        patient.acknowledged(log.reader, name(1), Outcome.BUSY, "digest1")
        patient.catch_up(log.reader)
    assert "has its reading 1 behind 2" in why(observer)
    assert why(patient) == ""


async def test_a_service_with_another_log_is_seen(stage: Stage, tmp_path: Path) -> None:
    """What it holds is a prefix of what was sealed, byte for byte, and never less than before."""
    async with opened(tmp_path / "log") as log:
        first, second, third = seal(log, 1, 2, 3).entries
        await log.commit(seal(log, 1, 2, 3))
        good, other, less = observe(stage), observe(stage), observe(stage)
        good.stored([first, second])
        good.catch_up(log.reader)
        other.catch_up(log.reader)
        other.stored([first, third])
        less.stored([first, second])
        less.stored([first])
        more = observe(stage)
        more.stored([first, second, third, third])
        more.catch_up(log.reader)
        more.finish([])
    assert why(good) == ""
    assert "the service has another entry 1" in why(other)
    assert "had 2 entries and has 1" in why(less)
    assert "never sealed" in why(more)


async def test_checkpoints_that_disagree_are_seen(stage: Stage, tmp_path: Path) -> None:
    """Over what is known, and over what is not known yet."""
    signer = stage.keys.interop

    def note(size: int, root: bytes) -> bytes:
        checkpoint = Checkpoint(ORIGIN, size, root)
        return checkpoint_note(checkpoint, [signer.note_signature(ORIGIN, checkpoint.text())])

    ahead, late = observe(stage), observe(stage)
    ahead.saw(note(5, b"a" * 32))
    ahead.saw(note(5, b"b" * 32))
    assert "two roots" in why(ahead)
    late.saw(note(1, b"a" * 32))
    async with opened(tmp_path / "log") as log:
        await log.commit(seal(log, 1))
        late.catch_up(log.reader)
    assert "has another root than they have" in why(late)


async def test_a_log_that_does_not_verify_is_seen(stage: Stage, tmp_path: Path) -> None:
    """Here it begins with no genesis."""
    observer = observe(stage)
    async with opened(tmp_path / "log") as log:
        await log.commit(seal(log, 1))
        observer.started(log.reader)
    assert "the log does not verify: genesis" in why(observer)


async def test_what_was_never_delivered_is_seen_at_the_end(stage: Stage, tmp_path: Path) -> None:
    """Everything wanted is in the log, and in the service."""
    observer, lost = observe(stage), observe(stage)
    async with opened(tmp_path / "log") as log:
        await log.commit(seal(log, 1))
        observer.catch_up(log.reader)
        observer.finish([name(1)])
        lost.finish([name(1)])
    assert "is not in the service at the end" in why(observer)
    assert "is not in the log at the end" in why(lost)


async def test_the_first_thing_that_does_not_hold_counts(stage: Stage) -> None:
    """What follows from it would only hide it."""
    observer = observe(stage)
    observer.fail("the one")
    observer.fail("the other")
    assert why(observer) == "the one"
