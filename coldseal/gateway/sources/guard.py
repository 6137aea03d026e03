"""What follows a refusal: it is handed over to be sealed, told, and whoever goes on is cut off.

Promise: no refused right goes without an entry, a count and a line in the log, bounded for each device as
rejected messages are. A device that is cut off loses all of its connections at once. Judges no topic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coldseal.core.quotas import OVER_QUOTA, OVER_RATE
from coldseal.core.topics import BLOCKED, NOT_AUTHORISED, NOT_REGISTERED, REASONS, SUBSCRIBE, WILL
from coldseal.gateway.message import Message
from coldseal.mqtt.packets import ReasonCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.core.conduct import Conduct
    from coldseal.core.topics import Policy
    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.message import Outcome
    from coldseal.gateway.sources.handover import Intake
    from coldseal.gateway.sources.link import Link
    from coldseal.gateway.sources.report import Report
    from coldseal.mqtt.connection import Connection
    from coldseal.mqtt.session import Identity
    from coldseal.mqtt.subscribing import Denied

_FAREWELLS: Final = {
    OVER_RATE: ReasonCode.MESSAGE_RATE_TOO_HIGH,
    OVER_QUOTA: ReasonCode.QUOTA_EXCEEDED,
}
"""How a cut is said, where it is not for a missing right."""


class Guard:
    """Turns refusals into consequences.

    Args:
        policy: knows whose topic it was.
        intake: takes what is to be sealed.
        conduct: counts; None: nobody is ever cut off.
        report: tells people.
        clock: gives the moment of what came without one.
        links: all that are open.
    """

    def __init__(
        self,
        policy: Policy,
        intake: Intake,
        conduct: Conduct | None,
        report: Report,
        *,
        clock: Clock,
        links: Mapping[Connection, Link],
    ) -> None:
        """Take the parts."""
        self._policy, self._intake, self.conduct = policy, intake, conduct
        self.report, self._clock, self._links = report, clock, links

    def keeps_out(self, device: str) -> tuple[str, str]:
        """Say why a device may not come in now, as a reason and in words; both empty if it may."""
        if not self._policy.is_known(device):
            return NOT_REGISTERED, REASONS[NOT_REGISTERED]
        left_s = self.conduct.out_s(device, self._clock.now().mono_ms) if self.conduct is not None else 0
        return (BLOCKED, f"{REASONS[BLOCKED]}, for another {left_s:.0f} s") if left_s else ("", "")

    def turned_away(self, identity: Identity, reason: str) -> None:
        """A device with a proven name was not let in."""
        self._seal(identity, "", b"", reason, self._clock.now())

    def denied(self, found: Denied, stamp: Stamp) -> None:
        """A subscription or a will was refused."""
        reason = WILL if found.is_will else SUBSCRIBE
        self._seal(found.identity, found.topic, found.payload, reason, stamp)
        if found.is_lost:
            return
        is_grave = found.is_will and self._policy.is_as_another(found.identity.name, found.topic)
        self.refused(found.identity.name, found.topic, reason, stamp, is_grave=is_grave)

    def refused(self, device: str, topic: str, reason: str, stamp: Stamp, *, is_grave: bool) -> None:
        """Something of a device was refused, and has been handed over: see what follows."""
        if self.conduct is None:
            return
        seconds = self.conduct.refused(device, reason, is_grave=is_grave, now_ms=stamp.mono_ms)
        if seconds:
            self.report.blocked(device, topic, reason, seconds)
            text = f"cut off for {seconds:.0f} s: {REASONS[reason]}"
            for link in [each for each in self._links.values() if each.device == device]:
                link.cut = text
                link.end(_FAREWELLS.get(reason, ReasonCode.NOT_AUTHORIZED), text)

    def is_grave(self, device: str, topic: str, refused: str) -> bool:
        """Whether a refused message was meant to come from another device."""
        return refused == NOT_AUTHORISED and self._policy.is_as_another(device, topic)

    def tick(self) -> None:
        """Once a second: tell whose time is over."""
        if self.conduct is not None:
            now_ms = self._clock.now().mono_ms
            ended = self.conduct.take_ended(now_ms)
            self.report.unblocked(ended, len(self.conduct.blocked(now_ms)))

    def _seal(self, identity: Identity, topic: str, payload: bytes, reason: str, stamp: Stamp) -> None:
        """Hand over that something was refused; nobody waits for the outcome."""
        message = Message(
            identity.name, identity.credential, topic, payload, 0, None, False, stamp, _nobody_waits, reason
        )
        self._intake.submit(message)


def _nobody_waits(_outcome: Outcome, _reason: str) -> None:
    """Take an outcome that nobody is told: the refusal was answered before."""
