"""The TPM's counter of segments: a disk that was put back knows less than its chip."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway.app import LOG_FOLDER, Gateway
from coldseal.gateway.counting import Book, Counted, CounterLostError, State, accept, compare
from coldseal.gateway.custody import AwayKey
from coldseal.gateway.refusal import COUNTER, NAME, RolledBackError, read_refusal
from coldseal.gateway.store.reader import LogReader
from coldseal.signing.holders import make_held, open_counter
from coldseal.signing.secrets import read_symmetric_key
from coldseal.signing.tpm.door import open_tpm, tss
from tests.gateway.test_hardware import ORIGIN, Sensor, chip, in_chip, load, path, pki, running, seal_one
from tests.signing.software_tpm import SoftwareTpm
from tests.waiting import until

__all__ = ["chip", "path", "pki"]

SEGMENT = 6


class Counter:
    """A gateway's counter, seen from outside."""

    def __init__(self, made: SoftwareTpm, where: Path) -> None:
        """Take an NV index that no test has had."""
        self.settings = (
            *in_chip(made),
            f'hardware.counter="{0x01800000 + made.new_handle() - 0x81008000:#010x}"',
            f"store.segment_entries={SEGMENT}",
        )
        config = load(where, *self.settings)
        self.data, self.config = config.gateway.data, config
        self.store_key = read_symmetric_key(config.store.key, Path())
        self.chip = open_counter(config.keys.checkpoint, Path(), config.hardware.counter)

    def counts(self) -> list[Counted]:
        """Read the book."""
        with closing(Book(self.data, self.store_key, readonly=True)) as book:
            return book.all()

    def keep(self, counted: Counted) -> None:
        """Write into the book."""
        with closing(Book(self.data, self.store_key)) as book:
            book.keep(counted)

    def compared(self) -> str:
        """Hold chip and disk against each other; gives the reason of a refusal."""
        with (
            closing(Book(self.data, self.store_key)) as book,
            closing(LogReader(self.data / LOG_FOLDER, self.store_key)) as reader,
        ):
            found = compare(ORIGIN, reader, book, self.chip, now_ms=0)
            return "" if found is None else found.why


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a second."""
    monkeypatch.setattr("coldseal.gateway.counting.LOOK_S", 0.02)
    monkeypatch.setattr("coldseal.gateway.counting.TRY_AGAIN_S", 0.05)
    monkeypatch.setattr("coldseal.gateway.standby.LOOK_S", 0.02)


@pytest.fixture
def counter(chip: SoftwareTpm, path: Path) -> Counter:
    """Give a counter of a new gateway."""
    return Counter(chip, path)


async def end_segments(gateway: Gateway, count: int = 1) -> None:
    """Seal until so many segments have ended, and each was counted."""
    for _ in range(count):
        await end_one(gateway)


async def end_one(gateway: Gateway) -> None:
    """Seal until a segment has ended, and was counted."""
    before = gateway.log.segment_first
    while gateway.log.segment_first == before:
        await seal_one(gateway)
    end = f"certified at {gateway.log.segment_first} entries"
    await until(lambda: end in str(gateway._perimeter.status()["segment_counter"]))


async def run_segments(path: Path, counter: Counter, count: int = 1) -> None:
    """Run a gateway until so many segments have ended and were counted."""
    async with running(path, *counter.settings) as gateway:
        await end_segments(gateway, count)


async def test_each_ended_segment_is_counted_and_certified(path: Path, counter: Counter) -> None:
    """The statement carries the hash of the checkpoint there; acknowledgements do not wait for it."""
    sensor = Sensor()
    async with running(path, *counter.settings) as gateway:
        await until(lambda: "certified at 0" in str(gateway._perimeter.status()["segment_counter"]))
        await end_segments(gateway, 2)
        await sensor.send(gateway)
        assert f"hardware_counter {float(counter.chip.read() or 0)}".encode() in gateway._metrics.render()
    first, *ends = counter.counts()
    assert first.state is State.ACCEPTED
    assert [each.state for each in ends] == [State.CERTIFIED] * 2
    assert [each.value for each in ends] == [first.value + 1, first.value + 2]
    assert counter.chip.read() == ends[-1].value
    assert counter.compared() == ""
    await run_segments(path, counter)
    assert len(counter.counts()) == 4


async def test_a_disk_that_was_put_back_is_refused(path: Path, counter: Counter, tmp_path: Path) -> None:
    """Head, receipts and the book of counts were put back too: only the chip knows better."""
    await run_segments(path, counter)
    shutil.copytree(counter.data, tmp_path / "image")
    await run_segments(path, counter)
    shutil.rmtree(counter.data)
    shutil.copytree(tmp_path / "image", counter.data)
    with pytest.raises(RolledBackError, match="the TPM has counted to"):
        await Gateway.open(load(path, *counter.settings), [str(path)])
    refusal = read_refusal(counter.data)
    assert refusal is not None
    assert refusal.source == COUNTER
    assert refusal.counted == refusal.certified + 1
    with pytest.raises(RolledBackError):  # over any number of starts
        await Gateway.open(load(path, *counter.settings), [str(path)])
    (counter.data / NAME).unlink()
    assert accept(counter.config, counter.store_key) == refusal.counted  # a person has decided
    await run_segments(path, counter)


async def test_a_log_that_was_put_back_alone_is_refused(path: Path, counter: Counter, tmp_path: Path) -> None:
    """The book of counts knows of more entries than the log has."""
    await run_segments(path, counter)
    shutil.copytree(counter.data / LOG_FOLDER, tmp_path / "image")
    await run_segments(path, counter, 2)
    shutil.rmtree(counter.data / LOG_FOLDER)
    shutil.copytree(tmp_path / "image", counter.data / LOG_FOLDER)
    with pytest.raises(RolledBackError):
        await Gateway.open(load(path, *counter.settings), [str(path)])


async def test_a_book_that_was_removed_is_refused(path: Path, counter: Counter) -> None:
    """A log without its book is a disk that knows nothing; only a new log may begin with one."""
    await run_segments(path, counter)
    for file in counter.data.glob("counter.db*"):
        file.unlink()
    assert "the disk of example.com/site-7/gw-1 knows 0" in counter.compared()


async def test_a_crash_between_chip_and_disk_is_no_roll_back(path: Path, counter: Counter) -> None:
    """The plan was on disk before the chip was raised; the next run finishes it."""
    await run_segments(path, counter)
    newest = counter.counts()[-1]
    planned = Counted(newest.value + 1, State.PLANNED, ORIGIN, newest.size + 1)
    counter.keep(planned)
    assert counter.compared() == ""  # not raised yet
    counter.chip.increment()
    assert counter.compared() == ""  # raised, not certified
    await run_segments(path, counter)
    assert [each.state for each in counter.counts()[-2:]] == [State.CERTIFIED] * 2
    assert counter.counts()[-2].value == planned.value
    counter.keep(Counted(planned.value + 1, State.BEGUN, ORIGIN, 0))
    assert counter.compared() == ""


async def test_a_certification_of_another_checkpoint_is_refused(path: Path, counter: Counter) -> None:
    """Of another history at the same size, by another key, of another value, or none at all."""
    await run_segments(path, counter)
    true = counter.counts()[-1]
    wrong = counter.chip.certify(b"another checkpoint".ljust(32))
    for attest, signature in (
        (wrong.attest, wrong.signature),
        (true.attest, wrong.signature),
        (b"\xffTCG", true.signature),
    ):
        counter.keep(true._replace(attest=attest, signature=signature))
        assert "put back" in counter.compared()
    counter.keep(true)
    assert counter.compared() == ""


async def test_a_chip_that_is_another_one_is_an_alarm_and_no_refusal(path: Path, counter: Counter) -> None:
    """The counter is gone, or lower: nothing was put back. Readings are acknowledged."""
    await run_segments(path, counter)
    newest, sensor = counter.counts()[-1], Sensor()
    counter.keep(Counted(newest.value + 5, State.ACCEPTED, ORIGIN, 0))
    with pytest.raises(CounterLostError):
        counter.compared()
    with open_tpm(counter.config.hardware.tcti) as tpm:
        index = tpm.persistent(int(counter.config.hardware.counter, 16))
        tpm.esys.nv_undefine_space(index, tss.ESYS_TR.OWNER)
    with pytest.raises(CounterLostError):
        counter.compared()
    async with running(path, *counter.settings) as gateway:
        await until(lambda: "away: the TPM's counter is None" in str(gateway._perimeter.status()))
        assert b"hardware_counter_away 1" in gateway._metrics.render()
        await sensor.send(gateway)
    assert accept(counter.config, counter.store_key) > newest.value  # it goes on above where it stood
    assert counter.compared() == ""


async def test_a_chip_that_is_away_is_asked_later(path: Path, counter: Counter, chip: SoftwareTpm) -> None:
    """The start does not wait for it; a disk that was put back is refused as soon as it answers."""
    await run_segments(path, counter)
    chip.stop()
    try:
        async with running(path, *counter.settings, "hardware.patience_s=60") as gateway:
            await until(lambda: "away" in str(gateway._perimeter.status()["segment_counter"]))
            chip.start()
            await end_segments(gateway)
            counter.chip.increment()

    finally:
        chip.restart()
    with pytest.raises(RolledBackError):
        await Gateway.open(load(path, *counter.settings), [str(path)])


async def test_a_disk_that_was_put_back_while_the_chip_was_away_is_refused_once_it_answers(
    path: Path, counter: Counter, chip: SoftwareTpm, tmp_path: Path
) -> None:
    """The run ends, and no further one begins."""
    await run_segments(path, counter)
    shutil.copytree(counter.data, tmp_path / "image")
    await run_segments(path, counter)
    shutil.rmtree(counter.data)
    shutil.copytree(tmp_path / "image", counter.data)
    chip.stop()
    try:
        gateway = await Gateway.open(load(path, *counter.settings, "hardware.patience_s=60"), [str(path)])
        serving = asyncio.ensure_future(gateway.serve(asyncio.Event()))
        await until(lambda: "away" in str(gateway._perimeter.status()["segment_counter"]))
    finally:
        chip.start()
    with pytest.raises(RolledBackError, match="the TPM has counted to"):
        await serving
    await gateway.close()


async def test_while_software_stands_in_nothing_is_counted(
    path: Path, counter: Counter, chip: SoftwareTpm
) -> None:
    """The chip does not certify what it has not signed; the status says so."""
    await run_segments(path, counter)
    chip.stop()
    try:
        async with running(path, *counter.settings, "hardware.patience_s=0.1") as gateway:
            await until(lambda: "software signs" in str(gateway._perimeter.status()["segment_counter"]))
            assert b"hardware_counter_away 1" in gateway._metrics.render()
    finally:
        chip.start()
    (path.parent / "fallback.pem").unlink()
    with pytest.raises(OperatorError, match=r"no key of the configuration is the log's checkpoint key"):
        await Gateway.open(load(path, *counter.settings), [str(path)])


async def test_a_key_that_was_away_must_be_the_one_that_the_log_names(chip: SoftwareTpm) -> None:
    """Another chip with another key at the same place does not sign this log."""
    uri = f"tpm:{chip.new_handle():#x}?tcti={chip.tcti}"
    made = make_held(uri, Path())
    assert AwayKey(uri, made.spki).sign(b"text")
    with pytest.raises(OperatorError, match="is not the log's checkpoint key"):
        AwayKey(uri, made.spki[:-1] + b"\0").sign(b"text")
