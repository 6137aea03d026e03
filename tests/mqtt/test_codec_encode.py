"""What the encoder refuses, each with the clause that the receiver would name, and what it leaves out."""

from __future__ import annotations

import pytest

from coldseal.mqtt.codec import Decoder, encode
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    Properties,
    ProtocolError,
    PubAck,
    Publish,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Version,
    Will,
)
from coldseal.mqtt.wire import MAX_VARINT, Writer, encode_varint

OLD, NEW = Version.V311, Version.V5
WILL = Will("t", b"")
LONG = "x" * 65_536

REFUSED: list[tuple[str, Packet, Version]] = [
    ("MQTT-1.5.3-1", Publish("\ud800", b""), OLD),
    ("MQTT-1.5.4-1", Connect("\udfff"), NEW),
    ("MQTT-1.5.3-2", Publish("a\0b", b""), OLD),
    ("MQTT-1.5.4-2", Subscribe(1, (Subscription("a\0"),)), NEW),
    ("3.1.1 1.5.3", Publish(LONG, b""), OLD),
    ("5.0 1.5.4", Publish("a", b"", properties=Properties(content_type=LONG)), NEW),
    ("5.0 1.5.6", Connect("c", password=bytes(65_536)), NEW),
    ("5.0 1.5.2", Connect("c", keep_alive=65_536), NEW),
    ("3.1.1 1.5.2", Connect("c", OLD, keep_alive=-1), OLD),
    ("MQTT-2.3.1-1", PubAck(0), OLD),
    ("MQTT-2.2.1-3", PubAck(65_536), NEW),
    ("MQTT-2.2.1-3", Publish("t", b"", 1), NEW),
    ("MQTT-2.3.1-1", Subscribe(0, (Subscription("a"),)), OLD),
    ("MQTT-2.2.1-2", Publish("t", b"", 0, packet_id=1), NEW),
    ("MQTT-2.3.1-5", Publish("t", b"", 0, packet_id=1), OLD),
    ("MQTT-3.1.2-22", Connect("c", OLD, password=b"p"), OLD),
    ("MQTT-3.1.3-8", Connect("", OLD, clean_start=False), OLD),
    ("MQTT-3.1.2-14", Connect("c", OLD, will=Will("t", b"", 3)), OLD),
    ("MQTT-3.1.2-12", Connect("c", will=Will("t", b"", -1)), NEW),
    ("MQTT-3.3.2-2", Connect("c", will=Will("t/#", b"")), NEW),
    ("MQTT-4.7.3-1", Connect("c", will=Will("", b"")), NEW),
    ("5.0 3.1.2.11.10", Connect("c", properties=Properties(authentication_data=b"x")), NEW),
    ("MQTT-3.2.2-6", ConnAck(session_present=True, reason=ReasonCode.BANNED), NEW),
    ("MQTT-3.2.2-4", ConnAck(session_present=True, reason=ReasonCode.NOT_AUTHORIZED), OLD),
    ("3.1.1 3.2.2.3", ConnAck(reason=ReasonCode.BANNED), OLD),
    ("MQTT-3.2.2-8", ConnAck(reason=ReasonCode.SESSION_TAKEN_OVER), NEW),
    ("MQTT-3.3.1-2", Publish("t", b"", dup=True), NEW),
    ("MQTT-3.3.1-4", Publish("t", b"", 3, packet_id=1), OLD),
    ("MQTT-3.3.2-2", Publish("a/+", b""), OLD),
    ("MQTT-4.7.3-1", Publish("", b""), NEW),
    ("MQTT-4.7.3-1", Publish("", b"", properties=Properties(topic_alias=1)), OLD),
    ("MQTT-3.3.2-8", Publish("t", b"", properties=Properties(topic_alias=0)), NEW),
    ("MQTT-3.3.2-14", Publish("t", b"", properties=Properties(response_topic="#")), NEW),
    ("MQTT-4.7.3-1", Publish("t", b"", properties=Properties(response_topic="")), NEW),
    ("5.0 3.1.2.11.3", Connect("c", properties=Properties(receive_maximum=0)), NEW),
    ("5.0 3.1.2.11.4", Connect("c", properties=Properties(maximum_packet_size=2**32)), NEW),
    ("5.0 2.2.2.2", Publish("t", b"", properties=Properties(reason_string="x")), NEW),
    ("5.0 3.8.2.1.2", Subscribe(1, (Subscription("a"),), Properties(subscription_identifiers=(1, 2))), NEW),
    ("5.0 3.8.2.1.2", Publish("t", b"", properties=Properties(subscription_identifiers=(2**28,))), NEW),
    ("MQTT-1.5.4-1", Publish("t", b"", properties=Properties(user=(("\ud800", ""),))), NEW),
    ("MQTT-3.4.2-1", PubAck(1, ReasonCode.MALFORMED_PACKET), NEW),
    ("MQTT-3.8.3-3", Subscribe(1, ()), OLD),
    ("MQTT-3.8.3-2", Subscribe(1, ()), NEW),
    ("MQTT-3-8.3-4", Subscribe(1, (Subscription("a", 3),)), OLD),
    ("5.0 3.8.3.1", Subscribe(1, (Subscription("a", retain_handling=3),)), NEW),
    ("MQTT-3.8.3-4", Subscribe(1, (Subscription("$share/g/a", no_local=True),)), NEW),
    ("MQTT-4.7.1-1", Subscribe(1, (Subscription("a#"),)), NEW),
    ("MQTT-4.7.1-3", Unsubscribe(1, ("a+",)), OLD),
    ("MQTT-3.10.3-2", Unsubscribe(1, ()), NEW),
    ("MQTT-3.9.3-2", SubAck(1, (ReasonCode.NOT_AUTHORIZED,)), OLD),
    ("MQTT-3.9.3-2", SubAck(1, (ReasonCode.MALFORMED_PACKET,)), NEW),
    ("MQTT-3.9.3-1", SubAck(1, ()), NEW),
    ("MQTT-3.11.3-1", UnsubAck(1, ()), NEW),
    ("MQTT-3.11.3-2", UnsubAck(1, (ReasonCode.GRANTED_QOS_1,)), NEW),
    ("MQTT-3.14.2-1", Disconnect(ReasonCode.NO_MATCHING_SUBSCRIBERS), NEW),
    ("3.1.1 2.2.1", Auth(), OLD),
    ("5.0 3.15.2.2.2", Auth(ReasonCode.CONTINUE_AUTHENTICATION), NEW),
]


@pytest.mark.parametrize(
    ("clause", "packet", "version"),
    REFUSED,
    ids=[f"{index} {clause}" for index, (clause, _, _) in enumerate(REFUSED)],
)
def test_an_ill_packet_is_not_written(clause: str, packet: Packet, version: Version) -> None:
    """The error names the clause of the version spoken."""
    with pytest.raises(ProtocolError) as caught:
        encode(packet, version)
    assert caught.value.clause == clause


def test_a_packet_beyond_the_remaining_length_is_not_written() -> None:
    """268,435,455 bytes can be said, no more; neither can a larger number."""
    writer = Writer("PUBLISH", NEW)
    writer.parts = bytearray(MAX_VARINT + 1)
    with pytest.raises(ProtocolError) as caught:
        writer.packed(0x30)
    assert caught.value.reason is ReasonCode.PACKET_TOO_LARGE
    with pytest.raises(ProtocolError) as caught:
        Writer("PUBLISH", NEW).varint("property length", MAX_VARINT + 1)
    assert caught.value.clause == "5.0 1.5.5"


@pytest.mark.parametrize(
    ("packet", "plain"),
    [
        (Connect("c", OLD, properties=Properties(receive_maximum=5)), Connect("c", OLD)),
        (ConnAck(properties=Properties(topic_alias_maximum=5)), ConnAck()),
        (Publish("t", b"", properties=Properties(content_type="x")), Publish("t", b"")),
        (PubAck(1, ReasonCode.NOT_AUTHORIZED, Properties(reason_string="no")), PubAck(1)),
        (
            Subscribe(1, (Subscription("a", 1, no_local=True, retain_handling=2),)),
            Subscribe(1, (Subscription("a", 1),)),
        ),
        (UnsubAck(1, (ReasonCode.SUCCESS,)), UnsubAck(1)),
        (Disconnect(ReasonCode.SERVER_BUSY), Disconnect()),
        (
            Connect("c", OLD, will=Will("t", b"", properties=Properties(will_delay_interval=1))),
            Connect("c", OLD, will=WILL),
        ),
    ],
    ids=["connect", "connack", "publish", "puback", "subscribe", "unsuback", "disconnect", "will"],
)
def test_what_3_1_1_has_no_room_for_is_left_out(packet: Packet, plain: Packet) -> None:
    """A message of an MQTT 5 client can be passed on to an older one."""
    assert encode(packet, OLD) == encode(plain, OLD)


@pytest.mark.parametrize(
    ("packet", "data"),
    [
        (PubAck(1), "40 02 0001"),
        (PubAck(1, properties=Properties(reason_string="x")), "40 08 0001 00 04 1F 0001 78"),
        (PubAck(1, ReasonCode.NOT_AUTHORIZED), "40 03 0001 87"),
        (Disconnect(), "E0 00"),
        (Disconnect(ReasonCode.SERVER_BUSY), "E0 01 89"),
        (Disconnect(properties=Properties(session_expiry_interval=1)), "E0 07 00 05 11 00000001"),
        (Auth(), "F0 00"),
    ],
)
def test_answers_take_their_shortest_form(packet: Packet, data: str) -> None:
    """Success without properties says neither; a reason alone says no property length."""
    assert encode(packet, NEW) == bytes.fromhex(data)


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (0, "00"),
        (127, "7F"),
        (128, "8001"),
        (16_383, "FF7F"),
        (16_384, "808001"),
        (2_097_151, "FFFF7F"),
        (2_097_152, "80808001"),
        (268_435_455, "FFFFFF7F"),
    ],
)
def test_lengths_are_written_as_in_the_standards_table(number: int, data: str) -> None:
    """3.1.1 table 2.4, 5.0 table 1-1."""
    assert encode_varint(number) == bytes.fromhex(data)


@pytest.mark.parametrize("size", [127, 128, 16_383, 16_384, 2_097_152])
@pytest.mark.parametrize("version", Version)
def test_remaining_lengths_of_every_width_are_read(version: Version, size: int) -> None:
    """One to four bytes of length, on both paths of the decoder."""
    decoder = Decoder()
    decoder.feed(encode(Connect("c", version), version))
    sent = Publish("t", bytes(size), 1, packet_id=1)
    data = encode(sent, version)
    assert decoder.feed(data + data) == [sent, sent]


def test_no_properties_is_one_value() -> None:
    """A decoded packet without properties holds the shared value."""
    decoder = Decoder()
    (connect,) = decoder.feed(encode(Connect("c"), NEW))
    assert isinstance(connect, Connect)
    assert connect.properties is NO_PROPERTIES
