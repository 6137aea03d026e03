"""From what a device measured to what goes on record: unit, correction, dew point; nothing else is kept.

Promise: the quantities of an entry follow from those of the payload and the calibrations by pure arithmetic,
and what was sent stands in each: `recompute` gives the value of an entry once more from its indication.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from coldseal.core.coldchain.calibration import calibration_of, correct
from coldseal.core.coldchain.dewpoint import dew_point
from coldseal.core.coldchain.reading import FLAG_CALIBRATION_DUE, FLAG_MAINTENANCE, Quantity
from coldseal.core.coldchain.units import CONVERSIONS, unit_kept
from coldseal.errors import InputError

if TYPE_CHECKING:
    from coldseal.core.coldchain.calibration import Calibration
    from coldseal.core.coldchain.register import Plan

DEW_POINT: Final = "dew-point"
"""Name of the quantity that is derived."""

_TEMPERATURE, _HUMIDITY = "Cel", "%RH"


def normalise(
    quantities: Sequence[Quantity],
    calibrations: tuple[Calibration, ...] = (),
    *,
    with_dew_point: bool = False,
) -> Sequence[Quantity]:
    """Give the quantities as they go on record: converted, corrected, with the dew point if asked for.

    Args:
        quantities: as they were decoded.
        calibrations: those that are in force for this sensor.
        with_dew_point: where there is one temperature and one relative humidity, taken together.
    """
    if calibrations:
        return _made(tuple(quantities), calibrations, with_dew_point)
    if not with_dew_point and not any([each.unit in CONVERSIONS for each in quantities]):  # noqa: C419 # quicker so
        return quantities
    return _remembered(tuple(quantities), with_dew_point)


# Sensors repeat themselves: with the resolution of an instrument, the same values come again and again. What
# is corrected by a certificate does so too, but each sensor apart: that would take too much memory.
@lru_cache(maxsize=4096)
def _remembered(
    quantities: tuple[Quantity, ...],
    with_dew_point: bool,  # noqa: FBT001 # keywords slow the cache
) -> tuple[Quantity, ...]:
    """Do so where nothing is corrected."""
    return _made(quantities, (), with_dew_point)


def _made(
    quantities: tuple[Quantity, ...],
    calibrations: tuple[Calibration, ...],
    with_dew_point: bool,  # noqa: FBT001 # as above
) -> tuple[Quantity, ...]:
    """Do so where there is something to do."""
    found = quantities
    if calibrations or any([each.unit in CONVERSIONS for each in quantities]):  # noqa: C419 # quicker so
        found = tuple([_normalised(each, calibrations) for each in quantities])
    if with_dew_point and len(found) > 1 and (derived := _derived(found)) is not None:
        return (*found, derived)
    return found


def doubts_of(plan: Plan, quantities: Sequence[Quantity], times: Sequence[int]) -> tuple[str, ...]:
    """Say which flags a reading gets by what is in force: of calibrations that were overdue, and maintenance.

    Args:
        plan: what is in force.
        quantities: as they were sent.
        times: when each was taken.
    """
    found: tuple[str, ...] = ()
    for each in plan.calibrations:
        if each.due_ms <= max(times) and any(
            each.is_due(t_ms) and _is_of(each, quantity)
            for quantity, t_ms in zip(quantities, times, strict=True)
        ):
            found = (FLAG_CALIBRATION_DUE,)
            break
    return (*found, FLAG_MAINTENANCE) if plan.maintenance else found


def recompute(item: Mapping[str, object], calibration: Calibration | None) -> str:
    """Give the value of a quantity of an entry once more.

    Args:
        item: a member of ``q`` of a reading.
        calibration: the one that ``c`` names; None where it names none.

    Raises:
        InputError: it names a calibration, and this is another one or none.
    """
    named, known = item.get("c"), None if calibration is None else calibration.id
    if named != known:
        raise InputError("reading", "c", named, f"{known}, the calibration at hand")
    indication, unit = item.get("i", item["v"]), item.get("iu", item["u"])
    if calibration is None and unit not in CONVERSIONS:
        return str(indication)
    return correct(calibration, str(indication), str(unit))


def _normalised(quantity: Quantity, calibrations: tuple[Calibration, ...]) -> Quantity:
    """Convert and correct one quantity; what no working sensor reports is converted only."""
    name, sent, indication, taken_at, is_plausible, _ = quantity
    unit = unit_kept(sent)
    calibration = calibration_of(calibrations, name, unit) if is_plausible else None
    if calibration is None and unit == sent:
        return quantity
    value = correct(calibration, indication, sent)
    named = f'"c":"{calibration.id}",' if calibration is not None else ""
    shown = f'"i":"{indication}",' if value != indication or unit != sent else ""
    before = f'"iu":"{sent}",' if unit != sent else ""
    moment = f'"t":"{taken_at}",' if taken_at else ""
    # Names, units and decimals passed the checks of `parse_quantity`: nothing needs escaping.
    encoded = f'{{{named}{shown}{before}"n":"{name}",{moment}"u":"{unit}","v":"{value}"}}'
    return Quantity(name, unit, value, taken_at, is_plausible, encoded)


def _is_of(calibration: Calibration, quantity: Quantity) -> bool:
    """Whether a quantity is corrected by a calibration."""
    return (
        quantity.name == calibration.quantity
        and unit_kept(quantity.unit) == calibration.unit
        and quantity.is_plausible
    )


def _derived(quantities: Sequence[Quantity]) -> Quantity | None:
    """Derive the dew point, where it is clear from what, and not there already."""
    warmth = damp = None
    for each in quantities:
        name, unit = each[0], each[1]
        if name == DEW_POINT:
            return None
        if unit == _TEMPERATURE:
            if warmth is not None:
                return None
            warmth = each
        elif unit == _HUMIDITY:
            if damp is not None:
                return None
            damp = each
    if warmth is None or damp is None or warmth.taken_at != damp.taken_at:
        return None
    value = dew_point(warmth.value, damp.value)
    if value is None:
        return None
    moment = f'"t":"{warmth.taken_at}",' if warmth.taken_at else ""
    encoded = (
        f'{{"d":"{warmth.name},{damp.name}","n":"{DEW_POINT}",{moment}"u":"{_TEMPERATURE}","v":"{value}"}}'
    )
    return Quantity(DEW_POINT, _TEMPERATURE, value, warmth.taken_at, True, encoded)
