"""The values themselves: frozen, small to show, and complete."""

from __future__ import annotations

import pytest

from coldseal.errors import InputError
from coldseal.mqtt import clauses
from coldseal.mqtt.clauses import Rule
from coldseal.mqtt.packets import (
    NO_PROPERTIES,
    Properties,
    ProtocolError,
    PubAck,
    Publish,
    ReasonCode,
    Version,
)
from coldseal.mqtt.properties import TABLE
from coldseal.mqtt.reasons import CONNACK_RETURN_CODES, REASONS


def test_a_packet_cannot_be_changed() -> None:
    """What was decoded is evidence."""
    packet = Publish("t", b"x")
    with pytest.raises(AttributeError):
        packet.topic = "other"  # type: ignore[misc] # the attempt is the test


def test_equal_packets_are_one_value() -> None:
    """They compare and hash by what they say."""
    assert len({PubAck(1), PubAck(1, ReasonCode.SUCCESS), PubAck(1, properties=NO_PROPERTIES)}) == 1


def test_a_packet_shows_only_what_it_says() -> None:
    """27 absent properties would hide the one that counts."""
    packet = Publish("t", b"x", properties=Properties(content_type="text/plain"))
    assert (
        repr(packet) == "Publish(topic='t', payload=b'x', properties=Properties(content_type='text/plain'))"
    )


def test_the_table_has_every_property_once() -> None:
    """27 rows, one for each field, numbered as in MQTT 5 table 2-4."""
    assert [row.field for row in TABLE] == list(Properties.__struct_fields__)
    identifiers = [row.identifier for row in TABLE]
    assert identifiers == sorted(set(identifiers))
    assert len(identifiers) == 27
    assert (identifiers[0], identifiers[-1]) == (0x01, 0x2A)


def test_every_reason_code_belongs_to_a_packet() -> None:
    """No code of MQTT 5 table 2-6 is without a packet that may carry it."""
    used = {reason for listed, _ in REASONS.values() for reason in listed.values()}
    assert used == set(ReasonCode)


def test_the_old_return_codes_have_a_meaning_that_connack_may_carry() -> None:
    """A 3.1.1 refusal can be told in MQTT 5's words."""
    assert set(CONNACK_RETURN_CODES.values()) <= set(REASONS["CONNACK"][0].values())


def test_every_rule_is_named_in_both_texts() -> None:
    """A rule of one text only is named so in both."""
    rules = [rule for rule in vars(clauses).values() if isinstance(rule, Rule)]
    assert len(rules) > 60
    for rule in rules:
        for version in Version:
            assert rule.clause(version).startswith(("MQTT-", "3.1.1 ", "5.0 "))
        assert rule.clause(None) == rule.v5


def test_a_protocol_error_is_the_senders_fault() -> None:
    """It carries the reason to answer with, and the facts of an InputError."""
    error = ProtocolError(ReasonCode.QUOTA_EXCEEDED, "MQTT-1", "field", 3, "less")
    assert isinstance(error, InputError)
    assert (error.reason, error.clause, error.where) == (ReasonCode.QUOTA_EXCEEDED, "MQTT-1", "MQTT [MQTT-1]")
    assert error.preceding == ()
