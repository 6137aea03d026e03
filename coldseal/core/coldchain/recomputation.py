"""Computes the values of readings once more, from the entries of a log alone.

Promise: a value that does not follow from its indication, and from a calibration that stands before it in the
log, is named; so is one whose calibration is not here. Signatures and places are checked elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from coldseal.core.coldchain.certificate import parse_calibration
from coldseal.core.coldchain.dewpoint import dew_point
from coldseal.core.coldchain.normalisation import recompute
from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.log.record import Entry

    Item = Mapping[str, object]
    """A quantity of a reading, as its entry has it."""


class Difference(NamedTuple):
    """A value that does not follow.

    Attributes:
        seq: its entry.
        quantity: its name.
        value: what the entry says.
        expected: what it should say, or why that cannot be said.
    """

    seq: int
    quantity: str
    value: str
    expected: str


class Recomputation:
    """Goes through entries in their order.

    Attributes:
        readings: how many were looked at.
        corrected: values that follow from an indication and a calibration.
        converted: values that were converted only.
        derived: dew points that follow from their two values.
        plain: indications that stand as they were sent.
        unknown: values whose calibration is not among these entries.
        differences: what does not follow.
    """

    def __init__(self) -> None:
        """Begin with nothing."""
        self.readings = self.corrected = self.converted = self.derived = self.plain = self.unknown = 0
        self.differences: list[Difference] = []
        self._calibrations: dict[tuple[object, object, object, object], Calibration] = {}

    def take(self, entry: Entry) -> None:
        """Look at the next entry."""
        if entry.kind == "calibration":
            self._learn(entry)
        elif entry.kind == "reading":
            self.readings += 1
            found = entry.data.get("q")
            items = [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
            for item in items:
                self._check(entry, item, items)

    def _learn(self, entry: Entry) -> None:
        """Keep a calibration; one whose id does not follow from its content is none."""
        form = entry.data.get("calibration")
        table = (
            {name: value for name, value in form.items() if name != "from"} if isinstance(form, dict) else {}
        )
        try:
            read = parse_calibration(table, where=f"entry {entry.seq}")
        except InputError as error:
            self.differences.append(Difference(entry.seq, "calibration", str(table.get("id")), str(error)))
        else:
            self._calibrations[read.device, read.sensor, read.quantity, read.id] = read

    def _check(self, entry: Entry, item: Item, items: Sequence[Item]) -> None:
        """Compute one value once more."""
        name, named = item.get("n"), item.get("c")
        calibration = None
        if named is not None:
            key = (entry.src.get("dev"), entry.data.get("sensor"), name, named)
            calibration = self._calibrations.get(key)
            if calibration is None:
                self.unknown += 1
                return
        try:
            expected = _dew_point(item, items) if "d" in item else recompute(item, calibration)
        except (InputError, KeyError, ValueError, OverflowError) as error:
            expected = f"{type(error).__name__}: {error}"
        if expected != item.get("v"):
            self.differences.append(Difference(entry.seq, str(name), str(item.get("v")), str(expected)))
        elif "d" in item:
            self.derived += 1
        elif calibration is not None:
            self.corrected += 1
        elif "iu" in item:
            self.converted += 1
        else:
            self.plain += 1


def _dew_point(item: Item, items: Sequence[Item]) -> str:
    """Derive the dew point of a reading once more."""
    values = {str(each["n"]): str(each["v"]) for each in items}
    warmth, damp = str(item["d"]).split(",")
    found = dew_point(values[warmth], values[damp])
    if found is None:
        raise InputError("reading", "d", item["d"], "values within the range of the formula")
    return found
