"""What routes tell the gateway of themselves: written down by their process, shown by the gateway's.

Losing it loses a count alone: where a route stands is in its own file. A file that cannot be read stands for
nothing to tell.
"""

from __future__ import annotations

from contextlib import closing, suppress
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from coldseal.gateway.routing.kept import FOLDER, Kept
from coldseal.gateway.routing.kept import NAME as KEPT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from coldseal.gateway.config import GatewayConfig
    from coldseal.observe.metrics import GatewayMetrics

NAME: Final = "status.json"
KEPT_EGRESS: Final = "egress.json"
"""Where the process writes down what the list of ways out refused, below its folder."""


class RouteStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one route stands.

    Args:
        position: seq of the first entry that has not been dealt with.
        delivered: entries that its sink took, in all.
        missed: entries that were not here any more when their turn came.
        aside: entries that are put aside.
        waiting_ms: time of the oldest entry that waits, ms since 1970; 0 if none does.
        fault: why the last attempt failed; empty when all is well.
        is_held: it stands still until a person decides.
        failed: attempts that failed since the process began, by cause.
    """

    position: int = 0
    delivered: int = 0
    missed: int = 0
    aside: int = 0
    waiting_ms: int = 0
    fault: str = ""
    is_held: bool = False
    failed: dict[str, int] = {}


class Board:
    """All routes, as they are written down.

    Args:
        folder: the routes' folder.
    """

    def __init__(self, folder: Path) -> None:
        """Begin with none."""
        self._path = folder / NAME
        self._written = b""
        self.routes: dict[str, RouteStatus] = {}

    def write(self) -> None:
        """Write down what has changed."""
        content = msgspec.json.encode(self.routes)
        if content == self._written:
            return
        draft = self._path.with_suffix(".new")
        with suppress(OSError):
            draft.write_bytes(content)
            draft.replace(self._path)
            self._written = content


def read_board(data: Path) -> Mapping[str, RouteStatus]:
    """Read what the routes of a gateway have written down."""
    try:
        return msgspec.json.decode((data / FOLDER / NAME).read_bytes(), type=dict[str, RouteStatus])
    except (OSError, msgspec.DecodeError):
        return {}


def look_up(data: Path, key: bytes, names: Iterable[str]) -> Mapping[str, RouteStatus]:
    """Say how routes stand, by what is kept and by what was told last, whether a gateway runs or not.

    Args:
        data: the gateway's data folder.
        key: the store key.
        names: the routes.

    Raises:
        UnavailableError: what is kept cannot be read now.
    """
    told = read_board(data)
    found = {name: told.get(name, RouteStatus()) for name in names}
    if not (data / FOLDER / KEPT).exists():
        return found
    with closing(Kept(data, key, readonly=True)) as kept:
        for name, each in found.items():
            known = kept.position(name)
            if known is not None:
                position = max(known.position, each.position)
                found[name] = replace(
                    each, position=position, delivered=known.delivered, aside=kept.count(name)
                )
    return found


class RouteWatch:
    """Shows in the gateway's own process how routes stand.

    Args:
        config: the gateway's configuration.
        metrics: where counts are shown.
    """

    def __init__(self, config: GatewayConfig, metrics: GatewayMetrics) -> None:
        """Begin with what is written down now: it was counted before."""
        self._data, self._metrics = config.gateway.data, metrics
        self._names = tuple(each.name for each in config.routes)
        self._seen = self._read()

    def tick(self, size: int, now_ms: int) -> None:
        """Show what is new.

        Args:
            size: entries in the log.
            now_ms: wall time, ms since 1970.
        """
        metrics, before, self._seen = self._metrics, self._seen, self._read()
        for name, each in self._seen.items():
            metrics.route_up.labels(name).set(not each.fault)
            metrics.route_backlog.labels(name).set(max(0, size - each.position))
            waited_s = max(0, now_ms - each.waiting_ms) / 1000 if each.waiting_ms else 0.0
            metrics.route_oldest_seconds.labels(name).set(waited_s)
            metrics.route_aside.labels(name).set(each.aside)
            metrics.route_missed.labels(name).set(each.missed)
            known = before.get(name, RouteStatus())
            metrics.route_delivered.labels(name).inc(max(0, each.delivered - known.delivered))
            for cause, count in each.failed.items():
                was = known.failed.get(cause, 0)
                metrics.route_failures.labels(cause).inc(count - was if count >= was else count)

    def status(self) -> Mapping[str, object]:
        """Say how each route stands, for a person."""
        return {name: msgspec.to_builtins(self._seen.get(name, RouteStatus())) for name in self._names}

    def _read(self) -> Mapping[str, RouteStatus]:
        """Read what is written down of the routes that are configured."""
        return {name: each for name, each in read_board(self._data).items() if name in self._names}
