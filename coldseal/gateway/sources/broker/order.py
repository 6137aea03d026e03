"""The line in front of the intake: messages go in as they came, so many at a time, room or not.

Promise: what found no room is handed over again before anything that came after it; all else is settled once.
It knows no protocol and no clock: somebody says when to try again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from msgspec import structs

from coldseal.gateway.message import Message, Outcome

if TYPE_CHECKING:
    from collections.abc import Callable


class InOrder:
    """The line of one connection.

    Args:
        submit: takes a message; its ``acknowledge`` is called once, later.
        most: messages that the intake may have at one time.

    Attributes:
        under_way: messages that the intake has, and has not settled.
    """

    def __init__(self, submit: Callable[[Message], None], most: int) -> None:
        """Start with nothing under way."""
        self._submit, self._most = submit, most
        self._again: list[Message] = []
        self._waiting: deque[Message] = deque()
        self._is_closed = self._is_moving = False
        self.under_way = 0

    @property
    def is_blocked(self) -> bool:
        """Whether a message waits for room, and all that came later behind it."""
        return bool(self._again)

    @property
    def is_long(self) -> bool:
        """Whether so much waits in front of the intake that no more should be read.

        While the line is blocked nothing is acknowledged, so that no more is sent: reading on costs nothing
        then, and shows that the other side is there.
        """
        return len(self._waiting) >= self._most and not self._again

    def offer(self, message: Message) -> None:
        """Take a message in its turn; its ``acknowledge`` is never called with BUSY."""
        self._waiting.append(message)
        self._move_up()

    def try_again(self) -> None:
        """Hand over what found no room, and then what waits behind it."""
        self._waiting.extendleft(reversed(self._again))
        self._again = []
        self._move_up()

    def close(self) -> None:
        """Forget what waits: whoever sent it sends it again, on another connection."""
        self._is_closed = True
        self._again, self._waiting = [], deque()

    def _move_up(self) -> None:
        """Hand over as many as the intake may have; one that is settled at once makes room for the next."""
        if self._is_moving:
            return
        self._is_moving = True
        while self._waiting and not self._again and self.under_way < self._most:
            self._hand_over(self._waiting.popleft())
        self._is_moving = False

    def _hand_over(self, message: Message) -> None:
        """Give the intake a message."""
        self.under_way += 1
        self._submit(
            structs.replace(message, acknowledge=lambda outcome, why: self._settle(message, outcome, why))
        )

    def _settle(self, message: Message, outcome: Outcome, why: str) -> None:
        """Pass on what became of a message, unless it has to wait."""
        self.under_way -= 1
        if outcome is not Outcome.BUSY:
            message.acknowledge(outcome, why)
            self._move_up()
        elif message.qos and not self._is_closed:  # nobody sends one of QoS 0 again
            self._again.append(message)
