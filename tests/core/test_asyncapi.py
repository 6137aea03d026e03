"""The AsyncAPI document says what the registry says, and the same registry gives the same bytes."""

from __future__ import annotations

from coldseal.core.asyncapi import Form, Server, Site, describe
from coldseal.core.registry import ChannelRule, Device, DeviceClass, Namespace, Registry
from coldseal.core.topics import Channel

READING = Form("reading-1", "application/json", {"$schema": "x", "type": "object"})
BINARY = Form("binary", "application/cbor", None)
SERVERS = (
    Server("tls", "127.0.0.1:8883", is_encrypted=True, certificate=True, password=False),
    Server("plain", "127.0.0.1:1883", is_encrypted=False, certificate=False, password=True),
)
REGISTRY = Registry(
    (
        DeviceClass(
            "lo.gger",
            (
                ChannelRule(Channel.READING, schema="reading/1", max_payload_bytes=500),
                ChannelRule(Channel.STATUS, may_retain=True),
                ChannelRule(Channel.EVENT, names=("door",), schema="unheard/1"),
                ChannelRule(Channel.COMMAND),
            ),
            publish=("plant/{device}",),
            subscribe=("plant/+/orders/#",),
            max_payload_bytes=900,
        ),
        DeviceClass("lo_gger", (ChannelRule(Channel.READING),)),
    ),
    (
        Device("one", "lo.gger", ("door", "shelf")),
        Device("two", "lo.gger", ("door", "roof"), publish=("other/thing",)),
    ),
    (Namespace("plant", "reading/1", 64),),
)
FORMS = {"reading/1": [READING], "": [READING, BINARY]}


def site(registry: Registry | None = REGISTRY) -> Site:
    """Give a site."""
    return Site("lab", "title", "1.0", SERVERS, FORMS, registry)


def test_each_channel_of_a_class_has_its_devices_and_sensors_as_parameters() -> None:
    """Those of all of its devices, each once."""
    channel = describe(site())["channels"]["lo_gger-reading"]
    assert channel["address"] == "coldseal/v1/lab/{device}/reading/{sensor}"
    assert channel["parameters"]["device"]["enum"] == ["one", "two"]
    assert channel["parameters"]["sensor"]["enum"] == ["door", "shelf", "roof"]
    assert channel["description"].endswith("payloads up to 500 bytes")
    assert list(channel["messages"]) == ["reading-1"]


def test_what_the_gateway_receives_and_sends_is_told_apart() -> None:
    """By who writes to the channel."""
    operations = describe(site())["operations"]
    assert operations["receive-lo_gger-status"]["action"] == "receive"
    assert operations["send-lo_gger-cmd"]["action"] == "send"
    assert operations["receive-lo_gger-publish-1"]["channel"] == {"$ref": "#/channels/lo_gger-publish-1"}
    assert operations["send-lo_gger-subscribe-1"]["action"] == "send"


def test_a_channel_that_names_no_schema_is_left_open() -> None:
    """A reading may be in any form that is told by its first byte; other payloads are bytes."""
    document = describe(site())
    assert list(document["channels"]["lo_gger-reading_2"]["messages"]) == ["reading-1", "binary"]
    assert list(document["channels"]["lo_gger-status"]["messages"]) == ["any"]
    assert list(document["channels"]["lo_gger-event"]["messages"]) == ["unheard_1"]
    assert "payload" not in document["components"]["messages"]["binary"]
    assert document["components"]["schemas"]["reading-1"]["schema"] == {"type": "object"}


def test_further_topics_and_filters_are_channels_too() -> None:
    """With the schema of their namespace; a wildcard is a parameter."""
    channels = describe(site())["channels"]
    assert channels["lo_gger-publish-1"]["address"] == "plant/{device}"
    assert list(channels["lo_gger-publish-1"]["messages"]) == ["reading-1"]
    assert channels["lo_gger-subscribe-1"]["address"] == "plant/{level2}/orders/{rest}"
    assert channels["two-publish-1"]["address"] == "other/thing"
    assert "parameters" not in channels["two-publish-1"]
    assert channels["lo_gger-status"]["description"].endswith("messages may be retained")


def test_without_a_registry_any_device_has_its_own_branch() -> None:
    """Every channel of the scheme stands there, with nobody's name."""
    channels = describe(site(None))["channels"]
    assert list(channels) == [each.value for each in Channel]
    assert channels["reading"]["parameters"]["device"] == {"description": "the device's name"}
    assert list(channels["reading"]["messages"]) == ["reading-1", "binary"]


def test_the_listeners_are_servers_with_their_security() -> None:
    """Certificates over TLS; passwords where there is a file of them."""
    document = describe(site())
    assert document["servers"]["tls"]["protocol"] == "secure-mqtt"
    assert document["servers"]["tls"]["security"] == [{"$ref": "#/components/securitySchemes/certificate"}]
    assert document["servers"]["plain"]["protocol"] == "mqtt"
    assert list(document["components"]["securitySchemes"]) == ["certificate", "password"]


def test_the_same_registry_gives_the_same_document() -> None:
    """In the same order, so that a change can be seen."""
    assert str(describe(site())) == str(describe(site()))
