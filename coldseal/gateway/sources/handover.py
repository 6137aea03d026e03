"""From a message of the protocol to a Message for the pipeline, with the judgement of its topic.

A forbidden topic is handed over too, marked as refused: that it was tried belongs in the log. What the
payload means, and how often a device may be refused, is decided behind the intake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from coldseal.gateway.message import Message

if TYPE_CHECKING:
    from coldseal.core.topics import Policy
    from coldseal.gateway.clock import Stamp
    from coldseal.mqtt.inbound import Received

NOT_AUTHORISED: Final = "not-authorised"
_MAX_TOPICS_KEPT: Final = 16_384


class Intake(Protocol):
    """What takes the messages: the pipeline."""

    @property
    def is_full(self) -> bool:
        """Whether a source should stop reading until earlier messages are acknowledged."""

    def submit(self, message: Message) -> None:
        """Take a message; its ``acknowledge`` is called once, later."""


class Handover:
    """Gives messages to the intake.

    Args:
        policy: who may publish where.
        intake: takes them.
    """

    def __init__(self, policy: Policy, intake: Intake) -> None:
        """Start with no topic judged."""
        self._policy, self._intake = policy, intake
        self._judged: dict[tuple[str, str], str] = {}

    def hand_over(self, received: Received, stamp: Stamp) -> None:
        """Hand over one message that came at ``stamp``."""
        publish, identity = received.publish, received.identity
        device, topic = identity.name, publish.topic
        refused = self._judged.get((device, topic))
        if refused is None:
            refused = self._judge(device, topic)
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

    def _judge(self, device: str, topic: str) -> str:
        """Say why a device may not publish a topic, or nothing; remembered for a while."""
        if len(self._judged) >= _MAX_TOPICS_KEPT:
            self._judged.clear()
        refused = "" if self._policy.rights(device).may_publish(topic) else NOT_AUTHORISED
        self._judged[device, topic] = refused
        return refused
