"""The generator sends what it says it sends, and counts what came back."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.load import quantile
from bench.traffic import (
    BLOCK,
    FIRST_SEQ,
    LoadError,
    PubackCounter,
    Sensor,
    Traffic,
    encode_connect,
    encode_publish,
    parse_connack,
)

SENSOR = Sensor("bench", "sensor-0001", "a1b2c3d4", "2026-01-02T03:04:05.000Z")


@given(st.sampled_from([4, 5]), st.lists(st.integers(1, BLOCK), max_size=40))
def test_taking_in_pieces_yields_every_message_once_in_order(version: int, counts: list[int]) -> None:
    """Patching in place makes the same bytes as encoding each message."""
    traffic = Traffic(SENSOR, version)
    taken = b"".join(traffic.take(count) for count in counts)
    expected = b"".join(
        encode_publish(SENSOR, FIRST_SEQ + number, number % BLOCK + 1, version)
        for number in range(sum(counts))
    )
    assert taken == expected
    assert traffic.next_seq == FIRST_SEQ + sum(counts)


def test_carries_reach_the_higher_digits() -> None:
    """After many blocks the sequence number is still the count."""
    traffic = Traffic(SENSOR, 4)
    for _ in range(1234):
        traffic.take(BLOCK)
    last = traffic.take(1)
    payload = msgspec.json.decode(last[last.index(b"{") :])
    assert payload["seq"] == FIRST_SEQ + 1234 * BLOCK


def test_the_payload_is_the_projects_json() -> None:
    """Two quantities, a sequence number, a boot id and a time."""
    message = encode_publish(SENSOR, FIRST_SEQ, 1, 4)
    payload = msgspec.json.decode(message[message.index(b"{") :])
    assert payload == {
        "v": 1,
        "seq": FIRST_SEQ,
        "boot": "a1b2c3d4",
        "t": "2026-01-02T03:04:05.000Z",
        "q": [{"n": "temperature", "u": "Cel", "v": 4.71}, {"n": "humidity", "u": "%RH", "v": 41.2}],
    }


def puback(packet_id: int, ending: bytes = b"") -> bytes:
    """A PUBACK, with what MQTT 5 may add."""
    return bytes((0x40, 2 + len(ending))) + packet_id.to_bytes(2, "big") + ending


ACKS = st.lists(
    st.builds(
        puback, st.integers(1, 65_535), st.sampled_from([b"", b"\x00", b"\x10\x00", b"\x87", b"\x97\x00"])
    ),
    max_size=30,
)


@given(ACKS, st.lists(st.integers(1, 40), max_size=30))
def test_acknowledgements_are_counted_whatever_the_cut(acks: list[bytes], cuts: list[int]) -> None:
    """Any mixture of forms, in any pieces, counts each PUBACK once and each refusal once."""
    data = b"".join(acks)
    counter = PubackCounter()
    counted = at = 0
    for cut in (*cuts, len(data)):
        counted += counter.feed(data[at : at + cut])
        at += cut
    assert counted == len(acks)
    assert counter.refused == sum(len(ack) > 4 and ack[4] >= 0x80 for ack in acks)


def test_anything_but_a_puback_ends_the_run() -> None:
    """A DISCONNECT in the middle is not counted over."""
    with pytest.raises(LoadError, match="e0 01 8b"):
        PubackCounter().feed(puback(1) + b"\xe0\x01\x8b")


def test_a_connack_is_taken_off() -> None:
    """What follows it in the same bytes stays."""
    assert parse_connack(b"\x20\x02\x00\x00" + puback(1)) == 4


def test_a_refusal_to_connect_ends_the_run() -> None:
    """Nothing is measured against a listener that says no."""
    with pytest.raises(LoadError, match="refused"):
        parse_connack(b"\x20\x02\x00\x05")


def test_a_connect_names_protocol_version_and_device() -> None:
    """MQTT 5 has a properties length that 3.1.1 has not."""
    assert encode_connect("s", 4, 60) == b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01s"
    assert encode_connect("s", 5, 60) == b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x01s"


@pytest.mark.parametrize(("share", "value"), [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0), (0.001, 1.0)])
def test_a_quantile_is_a_value_that_was_measured(share: float, value: float) -> None:
    """Of 1 to 100, the median is 50 and the 99th hundredth is 99."""
    assert quantile([float(number) for number in range(1, 101)], share) == value


def test_the_quantile_of_one_value_is_that_value() -> None:
    """A short run has an answer too."""
    assert quantile([7.0], 0.5) == quantile([7.0], 0.99) == 7.0
