"""Hostile behaviour behind the key exchange: all cases, changes by chance, and a flood of key updates."""

from __future__ import annotations

import gc
import random
import secrets
from collections import Counter
from typing import TYPE_CHECKING

import psutil
import pytest

from coldseal.gateway.sources.link import Link
from coldseal.observe.logs import configure as configure_logs
from coldseal.service.server import PeerProtocol
from tests.campaigns.figures import say
from tests.perimeter.behind import Case, Change, answers
from tests.perimeter.beyond import then
from tests.perimeter.conversation import SUITES, Caller
from tests.perimeter.grounds import Grounds, opened, wait
from tests.perimeter.playing import ALL, RIGHT, bystander, hold, inside, paper_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1_800)]
BY_CHANCE = 1_000
UPDATES = 1_000_000
MB = 1 << 20


@pytest.fixture
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Grounds]:
    """Give listeners of all kinds."""
    with opened(tmp_path_factory.mktemp("behind")) as running:
        configure_logs(stream=running.stream, is_readable=False)
        yield running


@pytest.mark.parametrize("listener", RIGHT)
def test_every_case_ends_as_it_should_while_another_is_served(grounds: Grounds, listener: str) -> None:
    """All cases; whoever was inside before is answered between them, and nothing of anybody is kept."""
    ends: Counter[str] = Counter()
    begin = _memory()
    with bystander(grounds, listener) as ask:
        for number, case in enumerate(ALL):
            grounds.forget()
            hold(grounds, listener, case, others=1)
            ends[str(case.end)] += 1
            if number % 50 == 0:
                ask()
    grown = _memory() - begin
    say(f"{listener}: {len(ALL)} cases: {dict(ends)}; memory grew by {grown / MB:.1f} MB")
    assert grown < 64 * MB
    assert _kept() == 0


@pytest.mark.parametrize("listener", RIGHT)
def test_messages_and_records_changed_by_chance_let_nothing_through(grounds: Grounds, listener: str) -> None:
    """Bits turned, bytes taken out and put in, in one of the three messages or in a record."""
    seed = secrets.randbits(32)
    chance = random.Random(seed)
    say(f"{listener}: seed {seed}, {BY_CHANCE} changes")
    for number in range(BY_CHANCE):
        part = chance.choice(("certificate", "proof", "finished"))
        change = _changed(chance.randrange(1 << 32))
        case = Case(f"seed {seed}, change {number} of {part}", "", answers(**{part: change}), reason=None)
        grounds.forget()
        hold(grounds, listener, case)
    assert _kept() == 0


@pytest.mark.parametrize("listener", RIGHT)
def test_a_flood_of_key_updates_is_cut_off_before_it_fills_the_memory(
    grounds: Grounds, listener: str
) -> None:
    """By a caller who asks for an answer to each and reads none; the bounds are those of the programs."""
    begin, asked, peak = _memory(), 0, 0
    with Caller(
        grounds.ports[listener], paper_of(grounds.papers, RIGHT[listener], "ec"), SUITES["AES-128"]
    ) as caller:
        then()(caller)
        while not caller.is_cut and asked < UPDATES:
            caller.update(1_000, asks=1)
            asked += 1_000
            peak = max(peak, _memory() - begin)
        assert caller.is_cut, "it was not cut off"
    wait(lambda: inside(grounds, listener) == 0, "it stayed")
    say(f"{listener}: cut off behind {asked} key updates; memory grew by at most {peak / MB:.1f} MB")
    assert peak < 64 * MB


def _changed(seed: int) -> Change:
    """Change a message somewhere; the same seed changes it alike."""

    def change(said: bytes) -> bytes:
        chance, raw = random.Random(seed), bytearray(said)
        at = chance.randrange(len(raw))
        kind = chance.randrange(3)
        if kind == 0:
            raw[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            del raw[at : at + chance.randrange(1, 9)]
        else:
            raw[at:at] = chance.randbytes(chance.randrange(1, 9))
        return bytes(raw)

    return change


def _memory() -> int:
    """Give what this process holds, in bytes."""
    return int(psutil.Process().memory_info().rss)


def _kept() -> int:
    """Count the connections' objects that are still there."""
    gc.collect()
    return sum(isinstance(each, Link | PeerProtocol) for each in gc.get_objects())
