"""The codec as a whole: round trips, strictness, chunking, truncation, limits, and a foreign builder."""

from __future__ import annotations

import itertools
import socket
from typing import Any

import paho.mqtt.client as paho
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties as PahoProperties
from paho.mqtt.subscribeoptions import SubscribeOptions
from typing_extensions import override

from coldseal.errors import InputError
from coldseal.mqtt.codec import LARGEST_PACKET, Decoder, encode, encode_puback_bytes
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Connect,
    Packet,
    PingReq,
    Properties,
    ProtocolError,
    PubAck,
    Publish,
    ReasonCode,
    Subscribe,
    Subscription,
    Version,
    Will,
)
from tests.mqtt.strategies import connects, ill_packets, packets_after_connect

VERSIONS = st.sampled_from(Version)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Version, list[Packet]]:
    """A version, its CONNECT and packets after it."""
    version = draw(VERSIONS)
    later = draw(st.lists(packets_after_connect(version), max_size=4))
    return version, [draw(connects(version)), *later]


def written(conversation: tuple[Version, list[Packet]]) -> bytes:
    """Return the bytes of a conversation."""
    version, packets = conversation
    return b"".join(encode(packet, version) for packet in packets)


def read(decoder: Decoder, chunks: list[bytes]) -> tuple[list[Packet], str]:
    """Feed the chunks; return all packets up to the first fault, and the fault."""
    packets: list[Packet] = []
    for chunk in chunks:
        try:
            packets += decoder.feed(chunk)
        except ProtocolError as error:
            return [*packets, *error.preceding], str(error)
    return packets, ""


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut data at the places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:stop] for start, stop in itertools.pairwise(edges)]


def after_connect(version: Version, max_packet_size: int = LARGEST_PACKET) -> Decoder:
    """Return a decoder behind a CONNECT."""
    decoder = Decoder(max_packet_size)
    decoder.feed(encode(Connect("c", version), version))
    return decoder


@given(conversations())
def test_what_is_written_is_read_back(conversation: tuple[Version, list[Packet]]) -> None:
    """Every packet of both versions survives the round trip."""
    decoder = Decoder()
    assert decoder.feed(written(conversation)) == conversation[1]
    assert decoder.buffered == 0
    assert decoder.version is conversation[0]


@given(conversations(), st.lists(st.integers(0, 10_000), max_size=8))
def test_chunks_do_not_matter(conversation: tuple[Version, list[Packet]], places: list[int]) -> None:
    """Any chunking of a stream gives the same packets."""
    data = written(conversation)
    assert read(Decoder(), cut(data, places)) == (conversation[1], "")
    assert read(Decoder(), [bytes((byte,)) for byte in data]) == (conversation[1], "")


@given(conversations(), st.binary(min_size=1, max_size=20), st.integers(0), st.lists(st.integers(0, 10_000)))
def test_chunks_do_not_matter_for_faults(
    conversation: tuple[Version, list[Packet]], noise: bytes, place: int, places: list[int]
) -> None:
    """A stream with noise gives the same packets and the same fault in any chunking."""
    data = written(conversation)
    place %= len(data)
    ill = data[:place] + noise + data[place + len(noise) :]
    whole = read(Decoder(4096), [ill])
    assert read(Decoder(4096), cut(ill, places)) == whole
    assert read(Decoder(4096), [bytes((byte,)) for byte in ill]) == whole


@given(conversations())
def test_a_stream_that_stops_gives_no_wrong_packet(conversation: tuple[Version, list[Packet]]) -> None:
    """Cut at each byte, a stream gives the packets that were whole and holds the rest."""
    version, packets = conversation
    sizes = [len(encode(packet, version)) for packet in packets]
    data = written(conversation)
    for stop in range(len(data) + 1):
        decoder = Decoder()
        whole = decoder.feed(data[:stop])
        assert whole == packets[: len(whole)]
        assert decoder.buffered == stop - sum(sizes[: len(whole)])
        assert decoder.feed(data[stop:]) == packets[len(whole) :]


@given(VERSIONS.flatmap(lambda version: st.tuples(st.just(version), packets_after_connect(version))))
def test_a_packet_that_is_cut_short_is_no_other_packet(case: tuple[Version, Packet]) -> None:
    """With fewer bytes and the length put right a packet is refused, or is read as what it now says."""
    version, packet = case
    data = encode(packet, version)
    body = data[2:] if data[1] < 128 else data[3:]
    for size in range(len(body)):
        shorter = data[:1] + _length(size) + body[:size]
        packets, fault = read(after_connect(version), [shorter])
        assert packets != [packet]
        assert fault or encode(packets[0], version)[0] == shorter[0]


def _length(size: int) -> bytes:
    return bytes((size,)) if size < 128 else bytes((size & 127 | 128, size >> 7))


@given(st.binary(max_size=200), st.none() | VERSIONS)
@example(b"\x00", None)
@example(b"\xff\xff\xff\xff\xff\xff", Version.V5)
def test_any_bytes_raise_only_protocol_errors(data: bytes, version: Version | None) -> None:
    """Whatever comes, it is packets or a ProtocolError with a clause, and nothing is kept after it."""
    decoder = Decoder(100, version)
    found: list[Packet] | ProtocolError
    try:
        found = decoder.feed(data)
    except ProtocolError as error:
        found = error
    assert decoder.buffered < 100
    if isinstance(found, InputError):
        assert decoder.buffered == 0
        assert found.clause
        assert found.reason >= ReasonCode.MALFORMED_PACKET


@given(conversations(), st.data())
def test_any_changed_byte_raises_only_protocol_errors(
    conversation: tuple[Version, list[Packet]], data: st.DataObject
) -> None:
    """Bytes near the good ones go deeper into the decoder than noise does."""
    stream = bytearray(written(conversation))
    for _ in range(data.draw(st.integers(1, 3))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    read(Decoder(), [bytes(stream)])


@given(ill_packets(), VERSIONS)
def test_the_encoder_refuses_what_the_decoder_would_refuse(packet: Packet, version: Version) -> None:
    """Whatever values a packet has, its bytes are read back without a fault, or there are none."""
    try:
        data = encode(packet, version)
    except ProtocolError:
        return
    decoder = Decoder() if isinstance(packet, Connect) else after_connect(version)
    (back,) = decoder.feed(data)
    assert encode(back, version) == data
    if version is Version.V5 and not isinstance(packet, Connect):
        assert back == packet


@pytest.mark.parametrize("version", Version)
def test_a_packet_fed_byte_by_byte_costs_no_quadratic_copying(version: Version) -> None:
    """A megabyte in single bytes is read in a moment; copying all at each byte would take an hour."""
    payload = bytes(1_000_000)
    data = encode(Publish("a", payload, 1, packet_id=1), version)
    decoder = after_connect(version)
    packets = [packet for index in range(len(data)) for packet in decoder.feed(data[index : index + 1])]
    assert packets == [Publish("a", payload, 1, packet_id=1)]


@pytest.mark.parametrize("version", Version)
def test_an_oversized_packet_is_refused_by_its_header(version: Version) -> None:
    """Five bytes are enough to know: nothing of the body is awaited or kept."""
    decoder = after_connect(version, 1000)
    with pytest.raises(ProtocolError) as caught:
        decoder.feed(b"\x30\xff\xff\xff\x7f")
    assert caught.value.reason is ReasonCode.PACKET_TOO_LARGE
    assert "at most 1000 bytes" in str(caught.value)
    assert decoder.buffered == 0


@pytest.mark.parametrize(("size", "is_good"), [(98, True), (99, False)])
def test_the_maximum_counts_the_whole_packet(size: int, is_good: bool) -> None:
    """Header and body together may be as large as the maximum (5.0 3.1.2.11.4)."""
    data = b"\x30" + bytes((size,)) + b"\x00\x01a\x00" + bytes(size - 4)
    packets, fault = read(after_connect(Version.V5, 100), [data])
    assert (len(packets) == 1, fault == "") == (is_good, is_good)


def test_an_ill_first_byte_is_refused_alone() -> None:
    """A peer that speaks HTTP is turned away with its first letter."""
    with pytest.raises(ProtocolError) as caught:
        Decoder().feed(b"G")
    assert caught.value.reason is ReasonCode.MALFORMED_PACKET


def test_what_comes_before_connect_is_not_awaited() -> None:
    """A large PUBLISH from a stranger is refused before its body comes."""
    with pytest.raises(ProtocolError) as caught:
        Decoder().feed(b"\x30\xff\xff\x03")
    assert caught.value.clause == "MQTT-3.1.0-1"


def test_good_packets_before_a_fault_are_handed_over() -> None:
    """The same chunk may hold good packets and an ill one."""
    good = encode(Connect("c"), Version.V5) + encode(PingReq(), Version.V5)
    with pytest.raises(ProtocolError) as caught:
        Decoder().feed(good + b"\xc1\x00")
    assert caught.value.preceding == (Connect("c"), PingReq())


def test_the_version_is_known_after_an_ill_connect() -> None:
    """The server can answer in the version that the client asked for."""
    decoder = Decoder()
    with pytest.raises(ProtocolError):
        decoder.feed(b"\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00")
    assert decoder.version is Version.V311


def test_nothing_is_read_after_a_fault() -> None:
    """A broken stream stays broken."""
    decoder = after_connect(Version.V5)
    with pytest.raises(ProtocolError):
        decoder.feed(b"\xc1")
    with pytest.raises(ProtocolError) as caught:
        decoder.feed(encode(PingReq(), Version.V5))
    assert caught.value.clause == "MQTT-4.13.1-1"
    assert caught.value.preceding == ()


@given(st.lists(st.integers(0, 200), max_size=400), VERSIONS)
@example(list(range(65)), Version.V5)
def test_remembered_topics_are_bounded_and_never_mixed_up(numbers: list[int], version: Version) -> None:
    """Any number of topics in any order comes out as it went in."""
    decoder = after_connect(version)
    sent = [Publish(f"t/{number}", b"x", 1, packet_id=1) for number in numbers]
    sent += [Publish("long/" * 100, b"x", 2, packet_id=2, dup=True)] * 2
    assert [packet for one in sent for packet in decoder.feed(encode(one, version))] == sent
    assert len(decoder._topics) <= 64


@pytest.mark.parametrize("version", Version)
def test_the_fast_path_finds_the_faults_of_the_slow_one(version: Version) -> None:
    """A known topic does not excuse an ill identifier or a cut end."""
    tail = b"\x00" if version is Version.V5 else b""
    good = b"\x00\x03a/b"
    for ill in (good + b"\x00\x00" + tail + b"x", good + b"\x00", good[:4]):
        decoder = after_connect(version)
        decoder.feed(encode(Publish("a/b", b"x", 1, packet_id=1), version))
        with pytest.raises(ProtocolError):
            decoder.feed(b"\x32" + bytes((len(ill),)) + ill)


@pytest.mark.parametrize("version", Version)
def test_a_known_topic_with_properties_is_read_in_full(version: Version) -> None:
    """The fast path steps aside for properties."""
    held = Properties(content_type="x") if version is Version.V5 else NO_PROPERTIES
    sent = [
        Publish("a/b", b"payload", 1, packet_id=1),
        Publish("a/b", b"payload", 1, packet_id=2, properties=held),
    ]
    assert after_connect(version).feed(b"".join(encode(one, version) for one in sent)) == sent


@given(
    VERSIONS,
    st.lists(
        st.builds(
            Publish,
            st.sampled_from(["a/b", "a/c"]),
            st.sampled_from([b"", b"12", b"34", b"5", b"x" * 130, b"y" * 130, b"z" * 20_000]),
            st.sampled_from([1, 2]),
            dup=st.booleans(),
            packet_id=st.integers(1, 65_535),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 3_000), max_size=3),
)
def test_messages_that_begin_alike_are_read_as_if_they_came_alone(
    version: Version, sent: list[Publish], places: list[int]
) -> None:
    """What the decoder knows from the message before changes nothing, in any chunking."""
    stream = b"".join(encode(one, version) for one in sent)
    assert read(after_connect(version), cut(stream, places)) == (sent, "")


@pytest.mark.parametrize("version", Version)
def test_a_message_that_begins_like_the_one_before_may_still_be_ill(version: Version) -> None:
    """The third has the same length, topic and flags, but no packet identifier."""
    good = [Publish("a/b", b"payload", 1, packet_id=number) for number in (1, 2)]
    ill = encode(good[1], version).replace(b"a/b\0\2", b"a/b\0\0")
    packets, fault = read(after_connect(version), [b"".join(encode(one, version) for one in good) + ill])
    assert packets == good
    assert "packet identifier" in fault


def test_a_message_that_begins_like_the_one_before_may_have_properties() -> None:
    """The same length, topic and flags: what stands behind the packet identifier decides."""
    plain = [Publish("a/b", b"0123456", 1, packet_id=number) for number in (1, 2)]
    held = Properties(payload_format_indicator=1)
    sent = [*plain, Publish("a/b", b"01234", 1, packet_id=3, properties=held), *plain]
    stream = b"".join(encode(one, Version.V5) for one in sent)
    assert len({len(encode(one, Version.V5)) for one in sent}) == 1
    assert after_connect(Version.V5).feed(stream) == sent


@given(st.integers(1, 65_535), VERSIONS, st.sampled_from([0x00, 0x10, 0x80, 0x87, 0x97, 0x99]))
def test_the_quick_puback_is_the_ordinary_one(packet_id: int, version: Version, reason: int) -> None:
    """The fast path of the answer writes the same bytes."""
    assert encode_puback_bytes(packet_id, version, reason) == encode(
        PubAck(packet_id, ReasonCode(reason)), version
    )


def test_an_error_names_clause_field_value_and_what_was_expected() -> None:
    """A person can act on the message without the standard at hand."""
    with pytest.raises(ProtocolError) as caught:
        after_connect(Version.V5).feed(b"\x82\x07\x00\x01\x00\x00\x01a\x03")
    assert str(caught.value) == "MQTT [5.0 3.8.3.1]: SUBSCRIBE QoS is 3, expected 0, 1 or 2"
    assert (caught.value.field, caught.value.value) == ("SUBSCRIBE QoS", 3)


class Builder(paho.Client):
    """paho-mqtt's packet builder, with the bytes kept instead of sent."""

    def __init__(self, version: Version) -> None:
        """Build packets of the version."""
        super().__init__(CallbackAPIVersion.VERSION2, "paho", protocol=MQTTProtocolVersion(version))
        self.built = b""

    @override
    def _packet_queue(
        self, command: int, packet: bytes | bytearray, *_: object, **__: object
    ) -> MQTTErrorCode:
        """Keep the bytes."""
        assert packet[0] & 0xF0 == command & 0xF0
        self.built += bytes(packet)
        return MQTTErrorCode.MQTT_ERR_SUCCESS


def paho_properties(kind: int, **values: object) -> PahoProperties:
    """Make properties of paho, whose class has no types."""
    make: Any = PahoProperties
    made: PahoProperties = make(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made


def build(builder: Builder, asked: Any, properties: tuple[Any, Any, Any]) -> bytes:  # noqa: ANN401 - paho's types
    """Let paho build a CONNECT with a will, a PUBLISH and a SUBSCRIBE."""
    builder.username_pw_set("user", "pässword")
    builder.will_set("will/topic", b"gone", 1, retain=True, properties=properties[0])
    builder._send_connect(30)
    builder._sock, other = socket.socketpair()  # it writes nothing, but wants a connection
    with builder._sock, other:
        builder._send_publish(5, b"coldseal/v1/s/d/reading/r", b"{}", 1, properties=properties[1])
        builder._send_subscribe(False, asked, properties[2])
    return builder.built


def test_paho_builds_mqtt_5_that_we_read() -> None:
    """A foreign encoder's packets are read as what they were made of."""
    will_properties = paho_properties(PacketTypes.WILLMESSAGE, WillDelayInterval=7)
    user = [("k", "1"), ("k", "2")]
    properties = paho_properties(PacketTypes.PUBLISH, UserProperty=user, MessageExpiryInterval=70_000)
    subscribe_properties = paho_properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=300)
    options = SubscribeOptions(2, noLocal=True, retainAsPublished=True, retainHandling=1)
    data = build(
        Builder(Version.V5), [(b"a/#", options)], (will_properties, properties, subscribe_properties)
    )
    will = Will("will/topic", b"gone", 1, retain=True, properties=Properties(will_delay_interval=7))
    held = Properties(user=(("k", "1"), ("k", "2")), message_expiry_interval=70_000)
    subscription = Subscription("a/#", 2, no_local=True, retain_as_published=True, retain_handling=1)
    assert Decoder().feed(data) == [
        Connect("paho", Version.V5, True, 30, will, "user", "pässword".encode()),
        Publish("coldseal/v1/s/d/reading/r", b"{}", 1, packet_id=5, properties=held),
        Subscribe(1, (subscription,), Properties(subscription_identifiers=(300,))),
    ]


def test_paho_builds_mqtt_3_that_we_read() -> None:
    """The same of 3.1.1."""
    data = build(Builder(Version.V311), [(b"a/#", 2)], (None, None, None))
    assert Decoder().feed(data) == [
        Connect(
            "paho",
            Version.V311,
            keep_alive=30,
            will=Will("will/topic", b"gone", 1, retain=True),
            username="user",
            password="pässword".encode(),
        ),
        Publish("coldseal/v1/s/d/reading/r", b"{}", 1, packet_id=5),
        Subscribe(1, (Subscription("a/#", 2),)),
    ]
