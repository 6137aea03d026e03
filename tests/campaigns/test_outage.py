"""90 days without a service: all that was sealed meanwhile arrives, in order, with its times, and verifies.

The gateway's certificate has ended long before the end, and is renewed under way; alarms come first. The
suite beats every virtual hour, ``make soak`` every 5.
"""

from __future__ import annotations

import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.record import parse_entry
from coldseal.gateway.uplink.https import Channel, NoticeChannel
from coldseal.service.admission import encode_log_file
from tests.campaigns.figures import say
from tests.campaigns.outage import DAYS, Outage, admitted, examined
from tests.gateway.parts import ORIGIN, Hands
from tests.gateway.uplink.deliveries import delivering_by
from tests.gateway.uplink.test_faults import port_of
from tests.gateway.uplink.test_notices import Gate, announcing
from tests.gateway.uplink.test_renewal import renewal_of
from tests.trial import Site, now
from tests.waiting import until

BATCH = 1_024

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def admit(site: Site) -> None:
    """Admit the log at the service."""
    folder = site.service / "data" / "logs"
    folder.mkdir(parents=True)
    (folder / "log.json").write_bytes(encode_log_file(admitted()))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("beat_s", [3_600, pytest.param(300, marks=pytest.mark.soak)])
async def test_90_days_offline_lose_nothing(tmp_path: Path, beat_s: int) -> None:
    """Sealed offline, one day delivered before and one live after; the verdict is that of an unbroken log."""
    site = Site(tmp_path)
    admit(site)
    hands = Hands()
    outage = Outage(site.gateway / "log", hands, beat_s)
    await outage.live(1)
    await outage.live(DAYS)
    ended_ms = hands.wall_ms
    path = site.certificates["gateway"]
    site.authority.renew(path, now=now() - timedelta(days=DAYS))
    with closing(site.reader()) as reader:
        backlog = reader.size()
        behind = sum(b'"kind":"alarm"' in raw for raw in reader.read_from(BATCH))
    async with site.running() as service:
        where = f"https://localhost:{port_of(service.address)}"
        context = renewal_of(site).context
        async with (
            Channel(where, context, timeout_s=30) as channel,
            NoticeChannel(where, context, timeout_s=30) as side,
        ):
            gate = Gate(channel.post)
            gate.is_open.set()
            async with delivering_by(site, gate.post, batch_entries=BATCH) as up:
                await until(lambda: up.uplink.delivery.failures > 1)
                assert service._ingest.finished == 0, "its certificate has ended"
                gate.is_open.clear()
                site.authority.renew(path, now=now())
                list_of = service._ledger._store.announced.of

                def is_told() -> bool:
                    bell.grow()
                    return len(list_of(ORIGIN)) >= behind

                async with announcing(site, up, side.post, batch_entries=BATCH) as bell:
                    await until(is_told)
                    newest = list_of(ORIGIN)[0]
                    assert datetime.fromisoformat(newest.t).timestamp() * 1000 > ended_ms - 10 * 86_400_000
                    gate.is_open.set()
                    began = time.perf_counter()
                    await up.published(last_checkpoint(site, backlog))
                    took_s = time.perf_counter() - began
                await outage.live(1)
                up.bell.grow()
                with closing(site.reader()) as reader:
                    size = reader.size()
                await up.published(last_checkpoint(site, size))
            await until(lambda: not list_of(ORIGIN, below=service._totals.size))
    say(
        f"{backlog} entries of {DAYS} days at {backlog / took_s:.0f} entries/s, {behind} alarms ahead of them"
    )

    await verify_whole(site, backlog)


async def verify_whole(site: Site, backlog: int) -> None:
    """Hold what arrived against the gateway's log and against the rules of evidence."""
    async with site.ledger() as ledger:
        delivered = ledger.entries(ORIGIN, 0, 2**40)
        receipts = [each.note for each in ledger.receipts(ORIGIN)]
        assert ledger.evidence(ORIGIN) == []
    with closing(site.reader()) as reader:
        sealed = list(reader.read_from(0))
    assert len(delivered) > backlog
    judge_arrival(sealed, delivered, receipts)
    times = [datetime.fromisoformat(parse_entry(raw).t).astimezone(UTC) for raw in delivered]
    assert times[-1] - times[0] > timedelta(days=DAYS + 1)


def judge_arrival(sealed: list[bytes], delivered: list[bytes], receipts: list[bytes]) -> None:
    """What arrived is what was sealed, with its times, in order; and the rules of evidence find no fault."""
    verdicts = [fault.verdict.value for fault in examined(delivered, receipts).faults]
    assert sorted(set(verdicts)) == []
    times = [parse_entry(raw).t for raw in delivered]
    assert times == sorted(times), "times go back"
    assert delivered == sealed[: len(delivered)], "another log"


def last_checkpoint(site: Site, size: int) -> int:
    """Give the size of the newest checkpoint over at most so many entries."""
    with closing(site.reader()) as reader:
        found = reader.checkpoint_at_most(size)
    assert found is not None
    return found.size


async def lived(folder: Path, *, stands_still_ms: int = 0) -> tuple[list[bytes], list[bytes]]:
    """Give entries and checkpoints of two days offline, between which a gateway may stand still."""
    site, hands = Site(folder), Hands()
    outage = Outage(folder / "log", hands, 1_800)
    await outage.live(1)
    hands.pass_ms(stands_still_ms)
    await outage.live(1)
    site.gateway = folder
    with closing(site.reader()) as reader:
        entries = list(reader.read_from(0))
        return entries, [each.note for each in reader.checkpoints(0, len(entries))]


def newest_only(entries: list[bytes]) -> list[bytes]:
    """Keep no more than a bounded queue holds: the oldest go."""
    return [entries[0], *entries[len(entries) // 2 :]]


def newest_first(entries: list[bytes]) -> list[bytes]:
    """Send what is live, and then the backlog."""
    return [entries[0], *entries[-10:], *entries[1:-10]]


def restamped(entries: list[bytes]) -> list[bytes]:
    """Give each entry the time at which it was sent."""
    first, last = (f'"t":"{parse_entry(raw).t}"'.encode() for raw in (entries[1], entries[-1]))
    assert first in entries[1]
    return [entries[0], *(raw.replace(first, last) for raw in entries[1:])]


async def test_an_unbroken_arrival_is_judged_good(tmp_path: Path) -> None:
    """Nothing is said against a gateway that delivers what it sealed."""
    entries, notes = await lived(tmp_path)
    judge_arrival(entries, entries, notes)


@pytest.mark.parametrize(
    ("fault", "verdict"), [(newest_only, "gap"), (newest_first, "gap"), (restamped, "bad-signature")]
)
async def test_a_careless_delivery_of_a_backlog_is_seen(
    tmp_path: Path, fault: Callable[[list[bytes]], list[bytes]], verdict: str
) -> None:
    """Seeded faults, on the way: a bounded queue, the newest first, times of the sending."""
    entries, notes = await lived(tmp_path)
    with pytest.raises(AssertionError, match=verdict):
        judge_arrival(entries, fault(entries), notes)


async def test_a_silence_in_the_outage_is_seen(tmp_path: Path) -> None:
    """A seeded fault: a gateway that stood still for a day does not pass for one that watched."""
    entries, notes = await lived(tmp_path, stands_still_ms=86_400_000)
    with pytest.raises(AssertionError, match="silence"):
        judge_arrival(entries, entries, notes)
