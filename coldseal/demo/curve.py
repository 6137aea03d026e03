"""A plausible cold room: a compressor's cycle, a door that opens now and then, and some noise.

Each step depends on the last one and on the random source passed in, on nothing else. The values
are for show; no rule of cold-chain logistics is tested against them here.
"""

from __future__ import annotations

import math
from random import Random

_SETPOINT = 5.0  # Cel, the middle of 2 to 8
_SWING = 0.6  # Cel, half of the compressor's cycle
_CYCLE_S = 900.0
_DOOR_EVERY_S = 3600.0  # on average
_DOOR_RISE = 2.2  # Cel, at the moment it opens
_DOOR_DECAY_S = 240.0
_LEFT_OPEN = 6.5  # Cel
_AMBIENT_RH = 45.0  # %RH at the setpoint
_RH_FOR_CELSIUS = -2.5


class ColdRoom:
    """Gives temperature and humidity as time goes on.

    Args:
        chance: the source of everything random.
    """

    def __init__(self, chance: Random) -> None:
        """Start anywhere in the compressor's cycle with the door closed."""
        self._chance = chance
        self._phase = chance.uniform(0.0, math.tau)
        self._offset = chance.gauss(0.0, 0.2)
        self._door = 0.0
        self.is_left_open = False
        """Somebody left the door open: it stays too warm until it is closed."""

    def step(self, seconds: float) -> tuple[float, float]:
        """Let time pass; return temperature (Cel, two digits) and relative humidity (%RH, one digit)."""
        self._phase = (self._phase + math.tau * seconds / _CYCLE_S) % math.tau
        self._door *= math.exp(-seconds / _DOOR_DECAY_S)
        if self._chance.random() < seconds / _DOOR_EVERY_S:
            self._door = _DOOR_RISE
        temperature = _SETPOINT + self._offset + _SWING * math.sin(self._phase) + self._door
        temperature += self._chance.gauss(0.0, 0.03) + _LEFT_OPEN * self.is_left_open
        humidity = _AMBIENT_RH + _RH_FOR_CELSIUS * (temperature - _SETPOINT) + 6.0 * self._door
        humidity = min(max(humidity + self._chance.gauss(0.0, 0.4), 0.0), 100.0)
        return round(temperature, 2), round(humidity, 1)
