"""What the gateway and its notifier say to each other: one JSON object a line."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from coldseal.gateway.egress import KEPT

REFUSED: Final = f"alarms-{KEPT}"
"""Where the notifier's process writes down which ways out were refused, below the gateway's data folder."""


class Order(msgspec.Struct, frozen=True):
    """A notification to hand over.

    Args:
        id: counts up; the answer has it too.
        to: the recipient's name.
        title: one line.
        body: some lines, plain text.
        weight: how it may be shown.
    """

    id: int
    to: str
    title: str
    body: str
    weight: Literal["info", "success", "warning", "failure"]


class Answer(msgspec.Struct, frozen=True):
    """What became of one: taken by the recipient's service, or an error in few words.

    Args:
        id: that of the order; 0: of none, the recipient's address cannot be used.
        error: what went wrong; empty: nothing did.
        to: the recipient's name, where there was no order.
    """

    id: int
    error: str = ""
    to: str = ""
