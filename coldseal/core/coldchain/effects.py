"""What goes into judging and what comes out of it: values, entries to seal, and what takes a step back.

Shapes only; `evaluation` fills them, whoever seals reads them.
"""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    """One quantity of a reading, to judge.

    Attributes:
        name: such as ``temperature``.
        unit: after conversion.
        value: calibrated, thousandths of the unit.
        taken_ms: when it was taken, UTC milliseconds.
    """

    name: str
    unit: str
    value: int
    taken_ms: int


class Effect(NamedTuple):
    """An entry to seal, directly behind the reading or by itself.

    Attributes:
        kind: ``excursion`` or ``gap``.
        data: of the entry, canonical JSON.
    """

    kind: str
    data: bytes


class Judged(NamedTuple):
    """What a step of the evaluation made.

    Attributes:
        flags: doubts to add to the reading's.
        effects: entries to seal, in order.
        before: hand it to `Evaluation.undo` if they could not be sealed.
    """

    flags: tuple[str, ...]
    effects: tuple[Effect, ...]
    before: object


NOTHING = Judged((), (), ())
"""Nothing moved."""
