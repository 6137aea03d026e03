"""The simulated cold room is plausible and repeats itself for the same random source."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from coldseal.demo.curve import ColdRoom


@given(st.integers(), st.floats(0.01, 300.0))
def test_values_are_those_of_a_cold_room(seed: int, seconds: float) -> None:
    """Between 1 and 10 degrees, and a humidity that can be; with the digits of a real sensor."""
    room = ColdRoom(Random(seed))
    for _ in range(50):
        temperature, humidity = room.step(seconds)
        assert 1.0 < temperature < 10.0
        assert 0.0 <= humidity <= 100.0
        assert (round(temperature, 2), round(humidity, 1)) == (temperature, humidity)


def test_a_day_is_mostly_within_2_to_8_with_a_door_now_and_then() -> None:
    """The mean is near the setpoint, and the door shows as a rise that decays."""
    room = ColdRoom(Random(4))
    day = [room.step(60.0)[0] for _ in range(1440)]
    assert 4.0 < sum(day) / len(day) < 6.0
    assert sum(2.0 <= value <= 8.0 for value in day) > 0.95 * len(day)
    assert max(day) > 6.5


def test_the_same_source_gives_the_same_day() -> None:
    """Nothing but the random source decides."""
    rooms = [ColdRoom(Random(9)), ColdRoom(Random(9))]
    days = [[room.step(1.0) for _ in range(100)] for room in rooms]
    assert days[0] == days[1]
