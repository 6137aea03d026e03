"""What one kind of log line is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["debug", "info", "warning", "error", "critical"]


@dataclass(frozen=True, slots=True)
class Event:
    """One kind of log line.

    Args:
        name: stable name, `part.what-happened`.
        level: how much it matters; `critical` wakes a person.
        fields: names of the values that go with it, all of them each time.
        meaning: what happened and, where a person must act, what to do.
    """

    name: str
    level: Level
    fields: tuple[str, ...]
    meaning: str
