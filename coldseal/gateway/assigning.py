"""Holds what is asked for of a sensor against the registry: a sensor that cannot speak here watches nothing.

Promise: an unknown one is refused before anything changes, with the nearest that there is. What is to end
(a release, the end of maintenance) may always be asked for. Changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from coldseal.core.topics import ROOT
from coldseal.errors import InputError, OperatorError
from coldseal.settings import nearest

if TYPE_CHECKING:
    from coldseal.core.topics import Policy

_ENDS: Final = "end"


def require_registered(policy: Policy, data: Mapping[str, Any]) -> None:
    """Refuse a change that is about a sensor which this gateway would not hear.

    Args:
        policy: in force.
        data: what the entry would say; that it is well formed, is checked elsewhere.

    Raises:
        OperatorError: the device is not registered, or has no such sensor.
    """
    for member in ("assign", "calibration", "maintenance"):
        found = data.get(member)
        if isinstance(found, Mapping) and found.get("action") != _ENDS:
            device, sensor = found.get("device"), found.get("sensor")
            if isinstance(device, str) and isinstance(sensor, str):
                _require(policy, device, sensor)


def _require(policy: Policy, device: str, sensor: str) -> None:
    """Refuse a sensor that cannot publish readings."""
    topic = f"{ROOT}/{policy.site}/{device}/reading/{sensor}"
    try:
        if policy.rights(device).may_publish(topic):
            return
    except InputError:
        pass  # no device can be called so
    if device in policy.devices:
        marked = f"{ROOT}/{policy.site}/{device}/reading/"
        own = [each.removeprefix(marked) for each in sorted(policy.rights(device).publish)]
        known = [each for each in own if "/" not in each]
        raise OperatorError(f"device {device!r} has no sensor {sensor!r} here", nearest(sensor, known))
    raise OperatorError(f"device {device!r} is not registered here", nearest(device, policy.devices))
