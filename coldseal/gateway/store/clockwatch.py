"""Notices where wall time stepped, or the trust in it changed: there a `clock` entry explains the next one.

Promise: of two entries next to one another in one boot, the later fits the time that the boot clock counted
between them, or is a `clock` entry that says by how much it does not. Looks at stamps when they are taken,
which costs a subtraction; reads drafts only once something has changed. Reads no clock.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.log import canonical
from coldseal.gateway.store.drafts import Draft

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coldseal.gateway.clock import Stamp

STEP_MS: Final = 250
"""Wall time that moves by more than this against the boot clock has stepped, in milliseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_STATE: Final = b'"s":'
_MONO: Final = b'"mono":'


class Moment(NamedTuple):
    """What an entry says of the clock.

    Args:
        boot: names the boot in which the boot clock counts.
        state: how far wall time may be trusted.
        base_ms: wall time less boot time, in milliseconds: the same until wall time steps.
    """

    boot: str
    state: str
    base_ms: int


def moment_of(t: str, tq: Mapping[str, canonical.Value]) -> Moment:
    """Give what an entry with these members says."""
    wall_ms = (datetime.fromisoformat(t) - _EPOCH) // _MILLISECOND
    return Moment(str(tq["boot"]), str(tq["s"]), wall_ms - int(str(tq["mono"])))


class ClockWatch:
    """Knows the newest stamp, and what the newest entry said.

    Args:
        last: the log's last entry; None in a new log.

    Attributes:
        sealed: the last entry that was handed over to be sealed.
    """

    def __init__(self, last: Moment | None) -> None:
        """Begin where the log ends."""
        self.sealed = last
        self._base_ms = self._low_ms = self._high_ms = 0
        self._state = b""
        self._is_stirred = True
        self._about: Mapping[str, canonical.Value] = {}
        self._first = 0

    def put_back(self, last: Moment | None) -> None:
        """Begin again where the log ends: what was handed over since is void."""
        self.sealed, self._is_stirred = last, True

    def look(self, stamp: Stamp, tq: bytes) -> None:
        """Note a stamp that a draft will carry."""
        if self._is_apart(stamp) or not tq.endswith(self._state):
            self._state = tq[tq.rindex(_STATE) :]
            self._is_stirred = True
        self._base_ms = stamp.t_ms - stamp.mono_ms
        self._low_ms, self._high_ms = min(self._low_ms, self._base_ms), max(self._high_ms, self._base_ms)

    def lets_pass(self, last: Draft, now: Stamp) -> bool:
        """Tell whether all stamps up to now fit each other; then drafts go to be sealed as they are.

        In whatever order: an entry of the log's own overtakes messages with an earlier stamp.

        Args:
            last: the last of these drafts.
            now: this moment.
        """
        if self._is_stirred or self.sealed is None or self._is_apart(now):
            return False
        self.sealed = self.sealed._replace(base_ms=_base_of(last))
        return True

    def explain(
        self, drafts: Sequence[Draft], now: Draft | None, *, about: Mapping[str, canonical.Value], first: int
    ) -> tuple[list[Draft], tuple[int, ...]]:
        """Put a `clock` draft before each draft whose time does not fit behind the one before it.

        Args:
            drafts: in order.
            now: stamped at this moment, where no draft with an earlier stamp can follow, or where one with
                this stamp will: if it does not fit behind the drafts, they end with a `clock` draft.
            about: who time comes from, for the `clock` drafts.
            first: seq of the first entry of this boot, for one by which time becomes synchronised.

        Returns:
            All drafts, and the places of those that were put in.
        """
        found: list[Draft] = []
        places: list[int] = []
        self._about, self._first = about, first
        for draft in drafts:
            self._pass(draft, found, places)
            found.append(draft)
        count = len(found)
        if now is not None:
            before = self.sealed
            self._pass(now, found, places)
            if len(found) == count:  # it is not sealed itself
                self.sealed = before
        is_turned = len(found) > count > 0  # drafts that wait may have earlier stamps
        self._is_stirred = is_turned or not self._is_level()
        if self.sealed is not None:
            self._low_ms, self._high_ms = sorted((self.sealed.base_ms, self._base_ms))
        return found, tuple(places)

    def _pass(self, draft: Draft, found: list[Draft], places: list[int]) -> None:
        """Move on to a draft; if it does not fit, explain it."""
        tq = canonical.parse(draft.tq, where="tq")
        before, self.sealed = self.sealed, moment_of(draft.t, tq)
        data = None if before is None else _change(before, self.sealed, tq)
        if data is not None:
            data |= self._about
            if data["to"] == "synchronised" != data["from"]:
                data["first"] = self._first
            places.append(len(found))
            found.append(Draft("clock", draft.t, draft.tq, b"{}", canonical.encode(data)))

    def _is_level(self) -> bool:
        """Tell whether the newest stamp fits the last entry: none that waits is still to be explained."""
        if self.sealed is None:
            return False
        is_same = self._state == b'"s":"%b"}' % self.sealed.state.encode()
        return is_same and -STEP_MS <= self.sealed.base_ms - self._base_ms <= STEP_MS

    def _is_apart(self, stamp: Stamp) -> bool:
        """Tell whether wall time has stepped since any stamp that an entry next to this one may have."""
        base_ms = stamp.t_ms - stamp.mono_ms
        return max(self._high_ms, base_ms) - min(self._low_ms, base_ms) > STEP_MS


def _base_of(draft: Draft) -> int:
    """Give wall time less boot time of a draft from its canonical bytes: once a group, so without parsing."""
    wall_ms = (datetime.fromisoformat(draft.t) - _EPOCH) // _MILLISECOND
    begin = draft.tq.index(_MONO) + len(_MONO)
    return wall_ms - int(draft.tq[begin : draft.tq.index(b",", begin)])


def _change(
    before: Moment, moment: Moment, tq: Mapping[str, canonical.Value]
) -> dict[str, canonical.Value] | None:
    """Say what changed between two entries; nothing, if it is little or the machine was started between."""
    if before.boot != moment.boot:
        return None
    step = moment.base_ms - before.base_ms
    if -STEP_MS <= step <= STEP_MS:
        step = 0
    if step == 0 and before.state == moment.state:
        return None
    return {"err": tq["err"], "from": before.state, "off": tq["off"], "step": step, "to": moment.state}
