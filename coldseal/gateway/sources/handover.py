"""From a message of the protocol to a Message for the pipeline, with the judgement of its topic and measure.

A forbidden message is handed over too, marked as refused: that it was tried belongs in the log. One over its
device's rate waits at its sender where that can wait. What the payload means is decided behind the intake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from coldseal.core.quotas import OVER_RATE, Meter, Meters, weigh
from coldseal.core.topics import NOT_AUTHORISED, NOT_RETAINED, TOO_LARGE
from coldseal.gateway.message import Message, Outcome
from coldseal.mqtt.inbound import Inbound

if TYPE_CHECKING:
    from coldseal.core.topics import Policy
    from coldseal.gateway.clock import Stamp
    from coldseal.gateway.sources.guard import Guard
    from coldseal.mqtt.inbound import Received

_MAX_TOPICS_KEPT: Final = 16_384
_HELD: Final = "held"
"""Not refused, and not taken either: it is judged again in a second."""


class Intake(Protocol):
    """What takes the messages: the pipeline."""

    @property
    def is_full(self) -> bool:
        """Whether a source should stop reading until earlier messages are acknowledged."""

    def submit(self, message: Message) -> None:
        """Take a message; its ``acknowledge`` is called once, later."""


class Permit(NamedTuple):
    """What a device may do with one topic.

    Args:
        refused: why it may not publish it; empty if it may.
        may_retain: its messages may be retained.
        max_payload_bytes: largest payload; 0: no bound.
        meters: all that must have room for a message.
        waits: what is over the rate waits, also at senders that could be told.
    """

    refused: str = ""
    may_retain: bool = True
    max_payload_bytes: int = 0
    meters: tuple[Meter, ...] = ()
    waits: bool = False


_FREE: Final = Permit()


class Handover:
    """Gives messages to the intake.

    Args:
        policy: who may publish where, and how much.
        intake: takes them.
        guard: sees to what follows a refusal.
        patience: messages of one connection that may wait for their rate, at senders that cannot be told why.
    """

    def __init__(self, policy: Policy, intake: Intake, guard: Guard, patience: int) -> None:
        """Start with no topic judged."""
        self._policy, self._intake, self._guard, self._patience = policy, intake, guard, patience
        self._permits: dict[tuple[str, str], Permit] = {}
        self._meters = Meters()

    def hand_over(self, received: Received, stamp: Stamp) -> None:
        """Hand over one message that came at ``stamp``."""
        publish, identity = received.publish, received.identity
        device, topic = identity.name, publish.topic
        permit = self._permits.get((device, topic))
        if permit is None:
            permit = self._judge(device, topic, stamp.mono_ms)
        refused = ""
        if permit is not _FREE:
            refused = permit.refused or self._weigh(permit, received, stamp.mono_ms)
            if refused is _HELD:
                received.acknowledge(Outcome.BUSY)
                return
        self._intake.submit(
            Message(
                device,
                identity.credential,
                topic,
                publish.payload,
                publish.qos,
                publish.packet_id,
                publish.dup,
                stamp,
                received.acknowledge,
                refused,
            )
        )
        if refused:
            is_grave = self._guard.is_grave(device, topic, refused)
            self._guard.refused(device, topic, refused, stamp, is_grave=is_grave)

    def _weigh(self, permit: Permit, received: Received, now_ms: int) -> str:
        """Say why a message of a granted topic is refused all the same, or held; empty if it is neither."""
        publish, settler = received.publish, received.settler
        if publish.retain and not permit.may_retain:
            return NOT_RETAINED
        size = len(publish.payload)
        if permit.max_payload_bytes and size > permit.max_payload_bytes:
            return TOO_LARGE
        if received.is_weighed:  # it comes again because there was no room for it
            return ""
        waiting = None  # the line that it may wait in, if it can wait
        if publish.qos and isinstance(settler, Inbound) and (permit.waits or not settler.can_be_told):
            waiting = settler
        if waiting is not None and waiting.retry:  # one client's messages keep their order
            is_full = waiting.retry[0].is_weighed
            return _HELD if is_full or waiting.load <= self._patience else OVER_RATE
        why = weigh(permit.meters, size, now_ms)
        received.is_weighed = not why
        if waiting is not None and why is OVER_RATE and waiting.load <= self._patience:
            return _HELD
        return why

    def _judge(self, device: str, topic: str, now_ms: int) -> Permit:
        """Find what a device may do with a topic; remembered for a while."""
        if len(self._permits) >= _MAX_TOPICS_KEPT:
            self._permits.clear()
        rights, bounds = self._policy.rights(device), self._policy.bounds(device, topic)
        if not rights.may_publish(topic):
            permit = Permit(NOT_AUTHORISED)
        elif bounds is None:
            permit = _FREE
        else:
            found = [self._meters.find(device, scope, limit, now_ms) for scope, limit in bounds.limits]
            waits = any(limit.waits for _, limit in bounds.limits)
            permit = Permit("", rights.may_retain(topic), bounds.max_payload_bytes, tuple(found), waits)
            permit = _FREE if permit == _FREE else permit
        self._permits[device, topic] = permit
        return permit
