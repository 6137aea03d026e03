"""A desk on a real log and pipeline, with a clock that is set by hand, and its notifier's real process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coldseal.core.log import canonical
from coldseal.gateway.alarming.desk import Desk
from coldseal.gateway.config import load_gateway
from coldseal.gateway.store.reader import LogReader
from tests.gateway.parts import KEY, ORIGIN, Hands, Parts, open_parts
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from coldseal.core.coldchain.alarms import Condition
    from coldseal.gateway.config import GatewayConfig

BEGAN = "2027-01-15T08:00:00.000Z"
EXCURSION: Mapping[str, canonical.Value] = {
    "asset": "fridge-3",
    "device": "dev-1",
    "direction": "high",
    "extreme": "9.2",
    "from": BEGAN,
    "quantity": "temperature",
    "sensor": "door",
    "tier": "warning",
    "unit": "Cel",
}


@dataclass
class Room:
    """What stands around a desk.

    Attributes:
        desk: the desk.
        parts: log and pipeline.
        hands: the clock.
        shown: topic → payload that displays got last.
        conditions: what should not be so.
        hurry: changes when conditions are to be looked at without waiting.
        delay_ms: how long telling is put off.
        is_heard: whether silent sensors are heard again.
        is_deaf: whether the desk is told nothing more.
    """

    parts: Parts
    hands: Hands
    desk: Desk = field(init=False)
    shown: dict[str, bytes] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    hurry: int = 0
    delay_ms: int = 0
    is_heard: bool = False
    is_deaf: bool = False

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> int:
        """Take what displays get."""
        assert retain
        self.shown[topic] = payload
        return 1

    async def seal(self, kind: str, **data: canonical.Value) -> None:
        """Put an entry on disk."""
        draft = self.parts.journal.draft(kind, canonical.encode(data), self.hands.clock().now())
        await self.parts.pipeline.enter([draft], None)

    async def excursion(self, action: str, name: str = "one", **data: canonical.Value) -> None:
        """Put an entry of an excursion on disk."""
        await self.seal("excursion", **{**EXCURSION, "id": name, "action": action, **data})

    def later(self, minutes: float) -> None:
        """Let time pass, and the desk look."""
        self.hands.pass_ms(round(minutes * 60_000))
        self.desk.tick()

    async def reach(self, *actions: str) -> None:
        """Wait until these things, and no others, were done about alarms, in this order."""
        await until(lambda: len(self.done()) >= len(actions))
        assert self.done() == list(actions)

    def done(self) -> list[str]:
        """What was done about alarms, but for telling."""
        found = [str(each.data["action"]) for each in self.parts.entries("alarm")]
        return [each for each in found if each != "notified"]

    def told(self) -> list[tuple[object, object]]:
        """Whom a notice was handed over to, and which, as the log has it."""
        entries = self.parts.entries("alarm")
        return [(each.data["to"], each.data["n"]) for each in entries if each.data["action"] == "notified"]


@asynccontextmanager
async def open_room(
    folder: Path, text: str = "", *, hands: Hands | None = None, left: Sequence[str] = ()
) -> AsyncIterator[Room]:
    """Open a desk, which has made its alarms from the log when it is given."""
    config, hands = config_of(folder, text), hands or Hands()
    rooms: list[Room] = []

    def heard(entries: Sequence[bytes]) -> None:
        for room in rooms:
            room.desk.heard(() if room.is_deaf else entries)

    config.gateway.data.mkdir(exist_ok=True)
    async with open_parts(config.gateway.data / "log", hands, heard=heard) as parts:
        room = Room(parts, hands)
        room.desk = Desk(
            config,
            [str(folder / "gateway.toml")],
            clock=hands.clock(),
            metrics=parts.metrics,
            pipeline=parts.pipeline,
            reader=lambda: LogReader(config.gateway.data / "log", KEY),
            size=lambda: parts.log.size,
            delay=lambda _data: room.delay_ms,
            is_heard=lambda _alarm: room.is_heard,
            conditions=lambda _now_ms: room.conditions,
            hurries=lambda: room.hurry,
            publisher=room,
            left=lambda: left,
        )
        rooms.append(room)
        running = asyncio.ensure_future(parts.pipeline.run())
        tasks = [asyncio.ensure_future(each) for each in room.desk.tasks()]
        try:
            await tasks[0]
            room.desk.tick()
            yield room
        finally:
            for each in tasks:
                each.cancel()
            await asyncio.wait(tasks)
            parts.pipeline.stop()
            await running


def config_of(folder: Path, text: str = "") -> GatewayConfig:
    """Write and load a gateway's configuration."""
    (folder / "passwords").touch()
    path = folder / "gateway.toml"
    path.write_text(
        f'[gateway]\norigin = "{ORIGIN}"\nsite = "site-7"\n'
        '[mqtt]\nlisten = ""\nplain_listen = "127.0.0.1:0"\npasswords = "passwords"\n' + text
    )
    return load_gateway(path)
