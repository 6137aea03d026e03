"""Hypothesis strategies: every packet of both versions as it may be, and packets as they may not."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Auth,
    ConnAck,
    Connect,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    ReasonCode,
    SubAck,
    Subscribe,
    Subscription,
    UnsubAck,
    Unsubscribe,
    Version,
    Will,
)
from coldseal.mqtt.properties import TABLE, Kind, Property
from coldseal.mqtt.reasons import CONNACK_RETURN_CODES, REASONS, SUBACK_RETURN_CODES
from coldseal.mqtt.wire import MAX_U16, MAX_U32, MAX_VARINT

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
levels = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0+#/$"), max_size=8)
topics = st.lists(levels, min_size=1, max_size=5).map("/".join).filter(bool)
binaries = st.binary(max_size=40)
u16 = st.integers(0, MAX_U16)
packet_ids = st.integers(1, MAX_U16)
qualities = st.integers(0, 2)


@st.composite
def filters(draw: st.DrawFn, version: Version) -> str:
    """Topic filters, shared ones only where they exist."""
    parts = draw(st.lists(st.one_of(levels, st.just("+")), min_size=1, max_size=5))
    if draw(st.booleans()):
        parts.append("#")
    text = "/".join(parts) or "/"
    if version is Version.V5 and draw(st.booleans()):
        name = draw(levels.filter(bool))
        return f"$share/{name}/{text}"
    return text


def _value(row: Property) -> st.SearchStrategy[Any]:
    if row.field == "response_topic":
        return topics
    return {
        Kind.BYTE: st.integers(0, 1),
        Kind.U16: st.integers(row.minimum, MAX_U16),
        Kind.U32: st.integers(row.minimum, MAX_U32),
        Kind.VARINT: st.integers(row.minimum, MAX_VARINT),
        Kind.STRING: texts,
        Kind.BINARY: binaries,
        Kind.PAIR: st.tuples(texts, texts),
    }[row.kind]


def _field(row: Property, home: str) -> st.SearchStrategy[Any]:
    value = _value(row)
    if row.kind is Kind.PAIR or (row.kind is Kind.VARINT and home == "PUBLISH"):
        return st.lists(value, max_size=3).map(tuple)
    return value.map(lambda one: (one,)) if row.kind is Kind.VARINT else value


@st.composite
def properties(draw: st.DrawFn, version: Version, home: str) -> Properties:
    """Any properties that may stand in a packet, or none."""
    rows = [row for row in TABLE if home in row.packets]
    if version is Version.V311 or draw(st.booleans()):
        return NO_PROPERTIES
    chosen = draw(st.lists(st.sampled_from(rows), unique=True))
    found = {row.field: draw(_field(row, home)) for row in chosen}
    if "authentication_data" in found and "authentication_method" not in found:
        del found["authentication_data"]
    return Properties(**found)


def _reasons(version: Version, name: str) -> st.SearchStrategy[ReasonCode]:
    if version is Version.V311:
        return st.just(ReasonCode.SUCCESS)
    return st.sampled_from(sorted(REASONS[name][0].values()))


def wills(version: Version) -> st.SearchStrategy[Will]:
    """Wills."""
    return st.builds(Will, topics, binaries, qualities, st.booleans(), properties(version, "WILL"))


@st.composite
def connects(draw: st.DrawFn, version: Version) -> Connect:
    """CONNECT."""
    clean = draw(st.booleans())
    is_old = version is Version.V311
    username = draw(st.none() | texts)
    return Connect(
        draw(texts.filter(bool) if is_old and not clean else texts),
        version,
        clean,
        draw(u16),
        draw(st.none() | wills(version)),
        username,
        draw(st.none() if is_old and username is None else st.none() | binaries),
        draw(properties(version, "CONNECT")),
    )


@st.composite
def connacks(draw: st.DrawFn, version: Version) -> ConnAck:
    """CONNACK."""
    listed = CONNACK_RETURN_CODES if version is Version.V311 else REASONS["CONNACK"][0]
    reason = draw(st.sampled_from(sorted(listed.values())))
    return ConnAck(not reason and draw(st.booleans()), reason, draw(properties(version, "CONNACK")))


@st.composite
def publishes(draw: st.DrawFn, version: Version) -> Publish:
    """PUBLISH, also with an alias for its topic."""
    qos = draw(qualities)
    held = draw(properties(version, "PUBLISH"))
    topic = "" if held.topic_alias is not None and draw(st.booleans()) else draw(topics)
    packet_id = draw(packet_ids) if qos else None
    dup = bool(qos) and draw(st.booleans())
    return Publish(topic, draw(st.binary(max_size=300)), qos, draw(st.booleans()), dup, packet_id, held)


def answers(version: Version) -> st.SearchStrategy[Packet]:
    """PUBACK, PUBREC, PUBREL and PUBCOMP."""
    kinds: dict[str, type[Packet]]
    kinds = {"PUBACK": PubAck, "PUBREC": PubRec, "PUBREL": PubRel, "PUBCOMP": PubComp}
    return st.one_of(
        [
            st.builds(kind, packet_ids, _reasons(version, name), properties(version, name))
            for name, kind in kinds.items()
        ]
    )


@st.composite
def _subscriptions(draw: st.DrawFn, version: Version) -> Subscription:
    topic_filter, qos = draw(filters(version)), draw(qualities)
    if version is Version.V311:
        return Subscription(topic_filter, qos)
    no_local = not topic_filter.startswith("$share/") and draw(st.booleans())
    return Subscription(topic_filter, qos, no_local, draw(st.booleans()), draw(qualities))


def _many(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(values, min_size=1, max_size=4).map(tuple)


def packets_after_connect(version: Version) -> st.SearchStrategy[Packet]:
    """Every packet but CONNECT."""
    granted = st.sampled_from([ReasonCode(code) for code in sorted(SUBACK_RETURN_CODES)])
    is_old = version is Version.V311
    choices: list[st.SearchStrategy[Packet]] = [
        connacks(version),
        publishes(version),
        answers(version),
        st.builds(Subscribe, packet_ids, _many(_subscriptions(version)), properties(version, "SUBSCRIBE")),
        st.builds(
            SubAck,
            packet_ids,
            _many(granted if is_old else _reasons(version, "SUBACK")),
            properties(version, "SUBACK"),
        ),
        st.builds(Unsubscribe, packet_ids, _many(filters(version)), properties(version, "UNSUBSCRIBE")),
        st.builds(
            UnsubAck,
            packet_ids,
            st.just(()) if is_old else _many(_reasons(version, "UNSUBACK")),
            properties(version, "UNSUBACK"),
        ),
        st.just(PingReq()),
        st.just(PingResp()),
        st.builds(Disconnect, _reasons(version, "DISCONNECT"), properties(version, "DISCONNECT")),
    ]
    if not is_old:
        named = properties(version, "AUTH").filter(lambda held: held.authentication_method is not None)
        choices += [st.builds(Auth, _reasons(version, "AUTH"), named), st.just(Auth())]
    return st.one_of(choices)


any_text = st.text(max_size=12) | st.sampled_from(
    ["", "+", "#", "a/+/b", "\0", "\ud800", "$share/", "x" * 65_536]
)
any_number = st.integers(-2, 5) | st.integers(-(2**33), 2**33)
any_binary = st.binary(max_size=8) | st.just(bytes(65_536))
any_reason = st.sampled_from(list(ReasonCode))


@st.composite
def _any_properties(draw: st.DrawFn) -> Properties:
    found: dict[str, Any] = {}
    for row in draw(st.lists(st.sampled_from(TABLE), unique=True, max_size=4)):
        values: st.SearchStrategy[Any]
        if row.kind is Kind.PAIR:
            values = st.lists(st.tuples(any_text, any_text), max_size=2).map(tuple)
        elif row.kind is Kind.VARINT:
            values = st.lists(any_number, max_size=2).map(tuple)
        elif row.kind is Kind.STRING:
            values = any_text
        else:
            values = any_binary if row.kind is Kind.BINARY else any_number
        found[row.field] = draw(values)
    return Properties(**found)


def ill_packets() -> st.SearchStrategy[Packet]:
    """Packets with values of the right types and of any size: few of them can be written."""
    held = st.just(NO_PROPERTIES) | _any_properties()
    flag, number = st.booleans(), any_number
    will = st.builds(Will, any_text, any_binary, number, flag, held)
    asked = st.builds(Subscription, any_text, number, flag, flag, number)
    reasons = st.lists(any_reason, max_size=2).map(tuple)
    return st.one_of(
        st.builds(
            Connect,
            any_text,
            st.sampled_from(Version),
            flag,
            number,
            st.none() | will,
            st.none() | any_text,
            st.none() | any_binary,
            held,
        ),
        st.builds(ConnAck, flag, any_reason, held),
        st.builds(Publish, any_text, any_binary, number, flag, flag, st.none() | number, held),
        *(st.builds(kind, number, any_reason, held) for kind in (PubAck, PubRec, PubRel, PubComp)),
        st.builds(Subscribe, number, st.lists(asked, max_size=2).map(tuple), held),
        st.builds(SubAck, number, reasons, held),
        st.builds(Unsubscribe, number, st.lists(any_text, max_size=2).map(tuple), held),
        st.builds(UnsubAck, number, reasons, held),
        st.builds(Disconnect, any_reason, held),
        st.builds(Auth, any_reason, held),
    )
