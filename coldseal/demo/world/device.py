"""Simulated devices: they send, keep what is not answered, and send it again in order on the next connection.

A device with a sequence of its own counts in its payloads; one without leaves that to the transport. Some of
what they send cannot be understood, or goes where it may not. Nothing is forgotten before it is answered.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log.canonical import encode_base64
from coldseal.demo.world.judging import value_of
from coldseal.demo.world.stage import SITE
from coldseal.gateway.message import Outcome

if TYPE_CHECKING:
    from random import Random

    from coldseal.demo.world.gateway import Intake
    from coldseal.demo.world.trace import Trace

PATIENCE_S: Final = 3.0
"""Without an answer for so long, a device gives its connection up."""

AGAIN_S: Final = 0.5
"""The longest pause before a new connection."""

_BROKEN: Final = 0.08
_WRONG: Final = 0.14
"""Share of the messages that cannot be read; and of those, or of another device's topic."""


class Sent(NamedTuple):
    """One message of a device.

    Args:
        device: its name.
        packet_id: of the transport; the same when it is repeated.
        topic: where it goes.
        payload: what it says.
        is_wanted: it is a reading and may be sent there.
    """

    device: str
    packet_id: int
    topic: str
    payload: bytes
    is_wanted: bool

    @property
    def digest(self) -> str:
        """The payload's hash, as entries write it."""
        return encode_base64(hashlib.sha256(self.payload).digest())

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from all others."""
        return self.device, self.digest


class Device:
    """One device.

    Args:
        name: of it.
        moments: when it has something to say, rising.
        window: messages unanswered at most.
        is_counting: its payloads carry a sequence.
        chance: draws what it sends, and how long the way is.
        trace: where it is noted.

    Attributes:
        wanted: the readings that it has ever sent.
        is_told: it speaks MQTT 5, and hears that there is no room.
    """

    def __init__(
        self,
        name: str,
        moments: list[float],
        *,
        window: int,
        is_counting: bool,
        chance: Random,
        trace: Trace,
    ) -> None:
        """Be off."""
        self.name = name
        self._moments, self._window, self._is_counting = deque(moments), window, is_counting
        self._chance, self._trace = chance, trace
        self._waiting: deque[Sent] = deque()
        self._unanswered: dict[int, Sent] = {}
        self._made = 0
        self._stirred = asyncio.Event()
        self._line: Line | None = None
        self.is_told = True
        self.wanted: list[Sent] = []

    @property
    def is_done(self) -> bool:
        """Whether everything is said and answered."""
        return not (self._moments or self._waiting or self._unanswered)

    async def measure(self) -> None:
        """Have something to say whenever the moment comes."""
        loop = asyncio.get_running_loop()
        while self._moments:
            await asyncio.sleep(max(0.0, self._moments[0] - loop.time()))
            self._moments.popleft()
            self._waiting.append(self._compose())
            self._stirred.set()

    def _compose(self) -> Sent:
        """Make a message; now and then a wrong one."""
        self._made += 1
        number, draw = self._made, self._chance.random()
        topic = f"coldseal/v1/{SITE}/{self.name}/reading/door"
        count = f'"seq":{number},' if self._is_counting else ""
        text = f'{{"v":1,{count}"q":[{{"n":"temperature","u":"Cel","v":{value_of(number)}}}]}}'
        if draw < _BROKEN:
            text = f"broken {number}"
        elif draw < _WRONG:
            topic = f"coldseal/v1/{SITE}/somebody-else-{number}/reading/door"
        is_wanted = draw >= _WRONG
        found = Sent(self.name, number, topic, text.encode(), is_wanted)
        if is_wanted:
            self.wanted.append(found)
        return found

    async def live(self, intake: Intake) -> None:
        """Connect, send, and connect again whenever the connection is lost."""
        while True:
            line = self._line = Line(self, intake, self._chance)
            try:
                await self._talk(line)
            finally:
                line.cut()
            await asyncio.sleep(self._chance.random() * AGAIN_S)

    async def _talk(self, line: Line) -> None:
        """Send over one connection until it is lost: first, in order, what has no answer yet."""
        for sent in list(self._unanswered.values()):
            line.send(sent, is_again=True)
        while not line.is_cut:
            while self._waiting and len(self._unanswered) < self._window:
                sent = self._waiting.popleft()
                self._unanswered[sent.packet_id] = sent
                line.send(sent, is_again=False)
            self._stirred.clear()
            try:
                async with asyncio.timeout(PATIENCE_S if self._unanswered else None):
                    await self._stirred.wait()
            except TimeoutError:
                self._trace.note("impatient", self.name)
                return

    def answered(self, sent: Sent, outcome: Outcome) -> None:
        """Take an answer; whoever is told that there is no room connects again, and repeats all in order."""
        if outcome is Outcome.BUSY:
            self.cut()
        else:
            self._unanswered.pop(sent.packet_id, None)
        self._stirred.set()

    def cut(self) -> None:
        """Lose the connection."""
        if self._line is not None:
            self._line.cut()
        self._stirred.set()


class Line:
    """One connection: both ways keep the order, and take time; what is under way when it is cut is lost.

    Args:
        device: at the one end.
        intake: at the other.
        chance: draws how long the ways are.
    """

    def __init__(self, device: Device, intake: Intake, chance: Random) -> None:
        """Connect."""
        self._device, self._intake, self._chance = device, intake, chance
        self._there = self._back = 0.0
        self.is_cut = False
        self.is_told = device.is_told

    def cut(self) -> None:
        """End it."""
        self.is_cut = True

    def send(self, sent: Sent, *, is_again: bool) -> None:
        """Send a message on its way."""
        self._there = self._arrival(self._there)
        asyncio.get_running_loop().call_at(self._there, partial(self._arrive, sent, is_again=is_again))

    def _arrive(self, sent: Sent, *, is_again: bool) -> None:
        """It is there."""
        if not self.is_cut:
            self._intake.take(sent, self, is_again=is_again)

    def answer(self, sent: Sent, outcome: Outcome) -> None:
        """Send an answer on its way."""
        self._back = self._arrival(self._back)
        asyncio.get_running_loop().call_at(self._back, self._answer, sent, outcome)

    def _answer(self, sent: Sent, outcome: Outcome) -> None:
        """The answer is there."""
        if not self.is_cut:
            self._device.answered(sent, outcome)

    def _arrival(self, before: float) -> float:
        """Draw when something arrives, behind what went before it."""
        now = asyncio.get_running_loop().time()
        return max(before, now) + self._chance.random() ** 2 * 0.02 + 1e-6
