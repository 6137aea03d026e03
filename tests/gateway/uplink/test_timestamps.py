"""Each end of a segment is stamped by a real authority, oldest first, and only what holds is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from coldseal.core.log.checkpoint import parse_note
from coldseal.core.log.delivery.sender import RetryPolicy
from coldseal.core.log.record import Chain
from coldseal.core.log.timestamp import parse_roots, verify_timestamp
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.store.log import Group
from coldseal.gateway.store.log import Log as Store
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.segments import segment_path
from coldseal.gateway.store.space import Limits
from coldseal.gateway.tables.outward import Timestamp as Settings
from coldseal.gateway.uplink.authority import AuthorityChannel
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.timestamps import Stamping, load_roots, stamp_segments
from coldseal.gateway.uplink.tokens import StoredTimestamp, TimestampStatus, Tokens
from tests.sealed import SealedLog
from tests.trial import STORE_KEY
from tests.tsa import Authority, Desk, Manner
from tests.waiting import until

RETRY = RetryPolicy(initial_s=0.001, max_s=0.01)
NOW_MS = 1_800_000_000_000


@cache
def _authority() -> tuple[Authority, TemporaryDirectory[str]]:
    """Make the authority once; its folder goes with it."""
    folder = TemporaryDirectory()
    return Authority(Path(folder.name)), folder


@pytest.fixture
def desk() -> Desk:
    """Give a desk of the usual authority; it is not open yet."""
    return Desk(_authority()[0])


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """Give a gateway's data folder with its receipts' file."""
    with closing(Receipts(tmp_path, STORE_KEY)):
        yield tmp_path


async def store_segments(data: Path, log: SealedLog, *counts: int, is_fixed: bool = True) -> list[int]:
    """Store segments of so many entries each, and the beginning of one more; give where they end."""
    limits, chain, ends = Limits(), Chain(log.origin, log.keys.record.kid), []
    store = Store.open(data / "log", STORE_KEY, limits, new=chain, now_ms=0)
    try:
        for count in counts:
            before = store.size
            log.grow(count).checkpoint()
            note = log.notes[log.size] if is_fixed else None
            await store.commit(
                Group(entries=log.entries[before:], chain=log.chain_at(log.size), checkpoint=note)
            )
            await store.roll(0)
            ends.append(store.size)
    finally:
        await store.close()
    return ends


@asynccontextmanager
async def stamping(
    data: Path, desk: Desk, *, ca: Path | None = None, timeout_s: float = 10.0
) -> AsyncIterator[Stamping]:
    """Give what asks for timestamps; it does not run by itself."""
    roots = parse_roots((ca or desk.authority.ca).read_bytes())
    with closing(LogReader(data / "log", STORE_KEY)) as reader, closing(Tokens(data, STORE_KEY)) as tokens:
        async with AuthorityChannel(desk.url, timeout_s=timeout_s) as channel:
            found = Stamping(
                reader,
                tokens,
                channel.post,
                roots,
                chance=lambda: 0.5,
                draw=lambda count: b"\xfe" * count,
                now_ms=lambda: NOW_MS,
                retry=RETRY,
                poll_s=0.01,
            )
            try:
                yield found
            finally:
                await found.close()


def kept(data: Path) -> list[StoredTimestamp]:
    """Read what is kept, as an export does."""
    with closing(Tokens(data, STORE_KEY, readonly=True)) as tokens:
        return tokens.timestamps(0, 2**53)


async def test_each_end_of_a_segment_is_stamped(data: Path, desk: Desk) -> None:
    """Over the checkpoint's text, and OpenSSL agrees; the open segment has none."""
    log = SealedLog()
    ends = await store_segments(data, log, 5, 3, 8)
    async with desk.open(), stamping(data, desk) as found:
        assert [await found.step() for _ in ends] == [0.0, 0.0, 0.0]
        assert await found.step() == 0.01
        assert found.status == TimestampStatus(kept=3)

    roots = parse_roots(desk.authority.ca.read_bytes())
    assert [each.size for each in kept(data)] == ends
    for each in kept(data):
        text = parse_note(log.notes[each.size]).text
        assert each.t_ms == verify_timestamp(each.response, text, roots).t.timestamp() * 1000
        assert desk.authority.accepts(each.response, text)
        assert not desk.authority.accepts(each.response, parse_note(log.notes[each.size]).encode())


async def test_what_is_kept_is_not_asked_for_again(data: Path, desk: Desk) -> None:
    """Also not by the next process."""
    log = SealedLog()
    await store_segments(data, log, 5)
    async with desk.open():
        async with stamping(data, desk) as first:
            assert await first.step() == 0.0
        await store_segments(data, log, 4)
        async with stamping(data, desk) as second:
            assert [await second.step(), await second.step()] == [0.0, 0.01]

    assert desk.asked == 2
    assert len(kept(data)) == 2


@pytest.mark.parametrize(
    ("manner", "cause"),
    [
        (Manner.BUSY, "busy"),
        (Manner.MISSING, "refused"),
        (Manner.REFUSING, "refused"),
        (Manner.OTHER_TYPE, "refused"),
        (Manner.LONG, "refused"),
        (Manner.CUT, "unreachable"),
        (Manner.SILENT, "timeout"),
        (Manner.OTHER_TEXT, "bad"),
        (Manner.OTHER_NONCE, "bad"),
        (Manner.GARBAGE, "bad"),
    ],
)
async def test_what_is_no_timestamp_is_not_kept_and_asked_for_again(
    data: Path, desk: Desk, manner: Manner, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each in its own words; the outage is said once, and its end."""
    (end,) = await store_segments(data, SealedLog(), 5)
    async with desk.open(), stamping(data, desk, timeout_s=0.2 if manner is Manner.SILENT else 10.0) as found:
        desk.manner = manner
        assert 0 < await found.step() <= RETRY.initial_s
        assert 0 < await found.step() <= 2 * RETRY.initial_s
        assert found.status.failed == {cause: 2}
        assert (found.status.waiting, found.status.failed_since_ms) == (end, NOW_MS)
        with closing(Tokens(data, STORE_KEY, readonly=True)) as tokens:
            assert tokens.status() == found.status
        assert kept(data) == []
    said = capsys.readouterr().err
    assert said.count("timestamp.bad" if cause == "bad" else "timestamp.lost") == (2 if cause == "bad" else 1)

    desk.manner = Manner.GOOD
    async with desk.open(), stamping(data, desk) as found:
        found.status = TimestampStatus(failed_since_ms=NOW_MS - 5000)
        assert await found.step() == 0.0
    assert '"lost_s":5.0' in capsys.readouterr().err
    assert [each.size for each in kept(data)] == [end]


@pytest.mark.parametrize("name", ["plain", "ended", "foreign"])
async def test_who_may_not_stamp_is_not_believed(
    data: Path, tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    """A certificate that is not for timestamps, or has ended, or descends from somebody else."""
    await store_segments(data, SealedLog(), 5)
    authority = Authority(tmp_path_factory.mktemp("tsa"))
    authority.issue("plain", "plain")
    authority.issue("ended", span=("20200101000000Z", "20210101000000Z"))
    desk = Desk(authority, Manner.WITHOUT_RIGHT if name == "plain" else Manner.GOOD, name)
    if name == "foreign":
        desk.signer = "tsa"
    trusted = _authority()[0] if name == "foreign" else authority
    async with desk.open(), stamping(data, desk, ca=trusted.ca) as found:
        await found.step()

    assert found.status.failed == {"bad": 1}
    assert ("timestamps alone" if name == "plain" else "no chain") in found.status.fault
    assert kept(data) == []


async def test_an_authority_that_is_away_is_unreachable(data: Path, desk: Desk) -> None:
    """Nothing listens there."""
    await store_segments(data, SealedLog(), 5)
    async with desk.open():
        pass
    async with stamping(data, desk) as found:
        await found.step()

    assert found.status.failed == {"unreachable": 1}


async def test_an_end_without_a_checkpoint_of_its_own_is_passed_over(data: Path, desk: Desk) -> None:
    """There is nothing to stamp; what follows is stamped."""
    log = SealedLog()
    await store_segments(data, log, 5, is_fixed=False)
    (end,) = await store_segments(data, log, 4)
    async with desk.open(), stamping(data, desk) as found:
        assert [await found.step(), await found.step()] == [0.0, 0.01]

    assert [each.size for each in kept(data)] == [end]


async def test_a_log_that_is_not_there_yet_is_looked_for_again(data: Path, desk: Desk) -> None:
    """The gateway makes it."""
    async with desk.open(), stamping(data, desk) as found:
        assert await found.step() > 0
        assert found.status.failed == {"store": 1}
        await store_segments(data, SealedLog(), 5)
        assert await found.step() == 0.0


async def test_a_damaged_segment_ends_nothing(data: Path, desk: Desk) -> None:
    """It is told, and waits; those behind it are stamped all the same."""
    ends = await store_segments(data, SealedLog(), 5, 3, 4)
    path = segment_path(data / "log", 0)
    path.write_bytes(bytes(path.stat().st_size))
    async with desk.open(), stamping(data, desk) as found:
        assert [await found.step() for _ in ends[1:]] == [0.0, 0.0]
        assert await found.step() > 0

    assert [each.size for each in kept(data)] == ends[1:]
    assert (found.status.failed, found.status.waiting) == ({"store": 1}, ends[0])


async def test_a_state_that_cannot_be_written_is_tried_again(
    data: Path, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full: nothing is kept now, and it goes on when there is room."""
    await store_segments(data, SealedLog(), 5)

    def refuse(*_: object) -> None:
        raise UnavailableError("the store", "no room")

    async with desk.open(), stamping(data, desk) as found:
        with monkeypatch.context() as full:
            full.setattr(Tokens, "keep", refuse)
            full.setattr(Tokens, "note", refuse)
            assert await found.step() > 0
        assert await found.step() == 0.0

    assert len(kept(data)) == 1


async def test_it_runs_until_cancelled(data: Path, desk: Desk) -> None:
    """As the uplink's process has it; the authority may be away for a while."""
    log = SealedLog()
    await store_segments(data, log, 5, 6)
    settings = Settings(url="http://127.0.0.1:1/", ca=desk.authority.ca)
    await stamp_segments(Settings(), data, data / "log", STORE_KEY)

    async with desk.open():
        settings = Settings(url=desk.url, ca=desk.authority.ca)
        running = asyncio.ensure_future(stamp_segments(settings, data, data / "log", STORE_KEY))
        try:
            await until(lambda: len(kept(data)) == 2)
        finally:
            running.cancel()
            await asyncio.wait([running])


def test_wrong_certificates_are_told(tmp_path: Path) -> None:
    """With what to set."""
    (tmp_path / "empty.pem").touch()
    for path in (None, tmp_path / "missing.pem", tmp_path / "empty.pem"):
        with pytest.raises(OperatorError, match=r"timestamp\.ca"):
            load_roots(path)


def test_timestamps_come_back_as_they_were_kept(data: Path) -> None:
    """The first one of a size stays; a range has those of its checkpoints."""
    with closing(Tokens(data, STORE_KEY, readonly=True)) as reader:
        assert (reader.timestamps(0, 99), reader.status()) == ([], TimestampStatus())
        with closing(Tokens(data, STORE_KEY)) as tokens:
            for size in (3, 9, 27, 9):
                tokens.keep(
                    StoredTimestamp(size, size + tokens.status().kept, b"%d" % size), TimestampStatus()
                )
                tokens.note(TimestampStatus(kept=100))
            assert tokens.sizes() == {3, 9, 27}
        found = reader.timestamps(3, 27)

    assert found == [StoredTimestamp(9, 109, b"9"), StoredTimestamp(27, 127, b"27")]


def test_the_file_is_the_receipts_own(tmp_path: Path) -> None:
    """A reader that comes before it finds nothing."""
    with pytest.raises(UnavailableError):
        Tokens(tmp_path, STORE_KEY, readonly=True)
