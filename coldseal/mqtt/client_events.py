"""What a client machine tells its owner; every event is a frozen value."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from coldseal.mqtt.packets import NO_PROPERTIES, Auth, Properties, Publish, ReasonCode


class Connected(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The server accepted; ``properties`` are its limits."""

    session_present: bool
    properties: Properties = NO_PROPERTIES


class Refused(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The server refused the connection, which is over."""

    reason: ReasonCode
    properties: Properties = NO_PROPERTIES


class Challenged(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The server asks for a step of extended authentication; answer with ``authenticate``."""

    packet: Auth


class Received(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """A message came in; above QoS 0 it stays unanswered until ``acknowledge``."""

    message: Publish


class Acknowledged(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The server took charge of a message, or will never take it: see the reason."""

    packet_id: int
    reason: ReasonCode = ReasonCode.SUCCESS
    properties: Properties = NO_PROPERTIES


class Subscribed(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """One reason for each filter of the request."""

    packet_id: int
    reasons: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


class Unsubscribed(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """One reason for each filter of the request; none in 3.1.1."""

    packet_id: int
    reasons: tuple[ReasonCode, ...]
    properties: Properties = NO_PROPERTIES


class Disconnected(msgspec.Struct, frozen=True, gc=False, repr_omit_defaults=True):
    """The server said good-bye; the connection is over."""

    reason: ReasonCode
    properties: Properties = NO_PROPERTIES


Event: TypeAlias = (
    Connected | Refused | Challenged | Received | Acknowledged | Subscribed | Unsubscribed | Disconnected
)
