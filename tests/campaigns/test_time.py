"""The matrix of wrong clocks against real time services: chrony and NTPsec, with NTS and without.

Each case seals readings all the time, in a real log. No entry beyond a second may be without its flag, none
within may have one, and what changes must be known within ten seconds of the service's own knowledge.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import pytest
from typing_extensions import override

from coldseal.core.timekeeping import Report, is_beyond
from coldseal.gateway.clock import Clock
from coldseal.gateway.message import Outcome
from coldseal.gateway.store.log import Limits
from coldseal.gateway.tables.time import Time
from coldseal.gateway.timekeeping import Services
from coldseal.gateway.timekeeping.services import demands_of
from tests.campaigns.figures import say
from tests.gateway.parts import Answers, Hands, open_parts, payload
from tests.gateway.timeservers import NTPD, namespaces, require_parts, run_inside, time_servers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.gateway.parts import Parts

WITHIN_S: Final = 10.0
START_S: Final = 60.0
SETTLED_MS: Final = 100
GOOD: Final = ("", "synchronised")
ROOM: Final = Limits(limit_mb=4_096, reserve_mb=1)
"""For thousands of little commits, as nobody maintains the store here."""
OFFSETS_S: Final = (0.5, -0.5, 1.1, -1.1, 3.5, -3.5, 3_600.0, -3_600.0)
CHRONY: Final = ("chronyd", "setpriv", "openssl")


@dataclass
class Real(Hands):
    """This machine's clock, which a test may put back, followed by a time service."""

    settings: Time = field(default_factory=Time)
    shift_ms: int = 0
    made: Clock | None = None

    @override
    def clock(self) -> Clock:
        """Make the gateway's clock, once."""
        real = Clock()
        self.made = Clock(
            demands=demands_of(self.settings),
            wall_ns=lambda: (real.now().t_ms + self.shift_ms) * 1_000_000,
        )
        self.made.follow(None)
        return self.made


class Course:
    """Readings that are sealed while a service tells the time."""

    def __init__(self, parts: Parts, hands: Real, ask: Callable[[], Report | None]) -> None:
        """Begin with the first reading."""
        self._parts, self._hands, self._ask = parts, hands, ask
        self._answers, self._number = Answers(), 0

    async def until(self, reason: str, state: str, *, within_s: float = WITHIN_S) -> float:
        """Seal readings until the clock is so and its bound is settled; gives the seconds that took."""
        clock = self._hands.made
        assert clock is not None
        began_ms = clock.now().mono_ms
        async with asyncio.timeout(within_s):
            while True:
                clock.follow(await asyncio.to_thread(self._ask))
                await self._seal(clock)
                status = clock.status()
                is_settled = state != "synchronised" or status.error_ms < SETTLED_MS
                if is_settled and (status.reason, status.state) == (reason, state):
                    return (clock.now().mono_ms - began_ms) / 1000

    async def _seal(self, clock: Clock) -> None:
        """Seal a few readings at this moment."""
        now = clock.now()
        self._hands.wall_ms, self._hands.mono_ms = now.t_ms, now.mono_ms
        for _ in range(5):
            self._number += 1
            message = self._answers.to(str(self._number), payload(self._number), hands=self._hands)
            self._parts.pipeline.submit(message)
        await self._answers.reach(self._number)

    def require_flags(self) -> tuple[int, int]:
        """Hold each reading's flag against its `tq`; gives how many were sealed, and how many beyond."""
        readings = self._parts.entries("reading")
        beyond = 0
        for entry in readings:
            is_flagged = "clock" in (entry.data.get("flags") or ())  # type: ignore[operator] # a list of text
            is_off = is_beyond(int(str(entry.tq["off"])), int(str(entry.tq["err"])))
            assert is_flagged == is_off, entry
            beyond += is_off
        assert {outcome for _, outcome in self._answers.outcomes} == {Outcome.SEALED}
        assert len(readings) == self._number
        return self._number, beyond


def expected(offset_s: float, *, is_nts: bool) -> tuple[str, str]:
    """Give what an offset leads to."""
    if not is_nts:
        return "not-authenticated", "unsynchronised"
    return GOOD if abs(offset_s) < 1 else ("offset", "unsynchronised")


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("offset_s", OFFSETS_S)
@pytest.mark.parametrize("is_nts", [True, False], ids=["nts", "plain"])
async def test_chrony_s_word_reaches_every_reading(tmp_path: Path, offset_s: float, is_nts: bool) -> None:
    """Right, then wrong by so much, then gone, then right again and put back by an hour."""
    require_parts(*CHRONY)
    with time_servers(tmp_path) as servers:
        servers.server().start()
        good, bad = servers.client("good"), servers.client("bad", is_nts=is_nts, offset_s=offset_s)
        settings = Time(source="chrony", chrony=good.socket, kernel_must_agree=False)
        hands = Real(settings=settings)
        services = Services(settings, lambda: Clock().now().mono_ms / 1000)
        wrong = Services(
            Time(source="chrony", chrony=bad.socket, kernel_must_agree=False),
            lambda: Clock().now().mono_ms / 1000,
        )
        asked = [services]

        def ask() -> Report | None:
            return asked[0].ask()

        async with open_parts(tmp_path / "log", hands, limits=ROOM) as parts:
            running = asyncio.create_task(parts.pipeline.run())
            course = Course(parts, hands, ask)
            good.start()
            bad.start()
            took = [await course.until(*GOOD, within_s=START_S)]
            asked[0] = wrong
            took.append(await course.until(*expected(offset_s, is_nts=is_nts)))
            asked[0] = services
            took.append(await course.until(*GOOD))
            hands.shift_ms = -3_600_000
            good.stop()
            took.append(await course.until("service-silent", "unsynchronised"))
            hands.shift_ms = 0
            took.append(await course.until("service-silent", "holdover"))
            parts.pipeline.stop()
            await running
            count, beyond = course.require_flags()
    say(f"chrony {offset_s:+} s, nts {is_nts}: {count} readings, {beyond} beyond and flagged, {took} s")


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("offset_s", OFFSETS_S)
@pytest.mark.parametrize("is_nts", [True, False], ids=["nts", "plain"])
async def test_ntpsec_s_word_reaches_every_reading(tmp_path: Path, offset_s: float, is_nts: bool) -> None:
    """From its start to its verdict, and on to its end."""
    require_parts(*CHRONY, "nsenter", "unshare", "ip", str(NTPD))
    settings = Time(source="ntpsec", kernel_must_agree=False)
    with namespaces() as (here, away), time_servers(tmp_path) as servers:
        for server in servers.astray(offset_s):
            server.start(namespace=away)
        ntpd = servers.ntpd(is_nts=is_nts)
        ntpd.start_ntpd(namespace=here)
        hands = Real(settings=settings)
        services = Services(settings, lambda: Clock().now().mono_ms / 1000)
        async with open_parts(tmp_path / "log", hands, limits=ROOM) as parts:
            running = asyncio.create_task(parts.pipeline.run())
            course = Course(parts, hands, lambda: run_inside(here, services.ask))
            found = expected(offset_s, is_nts=is_nts)
            took = [await course.until(*found, within_s=START_S)]
            ntpd.stop()
            state = "holdover" if found == GOOD else "unsynchronised"
            took.append(await course.until("service-silent", state))
            parts.pipeline.stop()
            await running
            count, beyond = course.require_flags()
    say(f"ntpsec {offset_s:+} s, nts {is_nts}: {count} readings, {beyond} beyond and flagged, {took} s")
