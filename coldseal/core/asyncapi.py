"""An AsyncAPI 3.0 document of a site's topics: who sends what where, in which form, by which listener.

Promise: it follows from registry, schemas and listeners alone, and the same give the same bytes. What the
registry does not say is left open in it, never guessed. Grants outside of the registry are not in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coldseal.core.registry import Registry
from coldseal.core.topics import ROOT, SCHEME, Channel, fill

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coldseal.core.registry import ChannelRule, DeviceClass

VERSION: Final = "3.0.0"
SCHEMA_FORMAT: Final = "application/schema+json;version=draft-07"
"""What a published schema says, in keywords that this draft and the newest one share."""

_NO_KEY: Final = re.compile(r"[^A-Za-z0-9_-]")
_WORDS: Final[Mapping[str, str]] = {
    Channel.READING: "readings of one sensor",
    Channel.STATUS: "how the device is",
    Channel.EVENT: "what happened at the device",
    Channel.COMMAND: "what the device is told to do",
    Channel.CONFIG: "how the device is set",
    Channel.RECEIPT: "what became of the device's readings",
    "alarm": "alarms that the gateway raised",
}


class Server(NamedTuple):
    """A listener that devices connect to.

    Attributes:
        name: of the listener.
        host: host and port.
        is_encrypted: it speaks TLS.
        certificate: it takes client certificates.
        password: it takes passwords.
    """

    name: str
    host: str
    is_encrypted: bool
    certificate: bool
    password: bool


class Form(NamedTuple):
    """How a payload is written.

    Attributes:
        name: of the message.
        content: its content type.
        document: its JSON Schema; None: there is none for these bytes.
    """

    name: str
    content: str
    document: Mapping[str, object] | None


@dataclass(frozen=True, slots=True)
class Site:
    """What a document is made of.

    Args:
        name: the site.
        title: of the document.
        software: version of what serves it.
        servers: the listeners.
        forms: by name of a schema, as a channel names it; the empty name: where none is named.
        registry: the devices; None: any device has its own branch.
    """

    name: str
    title: str
    software: str
    servers: Sequence[Server]
    forms: Mapping[str, Sequence[Form]]
    registry: Registry | None = None


@dataclass(slots=True)
class _Document:
    """The parts that grow."""

    channels: dict[str, Any] = field(default_factory=dict)
    operations: dict[str, Any] = field(default_factory=dict)
    messages: dict[str, Any] = field(default_factory=dict)
    schemas: dict[str, Any] = field(default_factory=dict)


class _Place(NamedTuple):
    """A channel of the document before it is written."""

    key: str
    address: str
    from_device: bool
    words: str
    schema: str
    names: Mapping[str, Sequence[str]]
    max_bytes: int = 0
    is_retained: bool = False
    is_reading: bool = False


def describe(site: Site) -> dict[str, Any]:
    """Write the document."""
    found = _Document()
    for place in _places(site):
        _add(found, place, site)
    security = {
        "certificate": {"type": "X509", "description": "the device's own certificate, in mutual TLS"},
        "password": {"type": "userPassword", "description": "the device's name and its password"},
    }
    used = {name for each in site.servers for name in security if getattr(each, name)}
    return {
        "asyncapi": VERSION,
        "info": {"title": site.title, "version": site.software},
        "defaultContentType": "application/json",
        "servers": {each.name: _server(each) for each in site.servers},
        "channels": found.channels,
        "operations": found.operations,
        "components": {
            "messages": found.messages,
            "schemas": found.schemas,
            "securitySchemes": {name: security[name] for name in sorted(used)},
        },
    }


def _server(server: Server) -> dict[str, Any]:
    """Describe a listener."""
    ways = [name for name in ("certificate", "password") if getattr(server, name)]
    return {
        "host": server.host,
        "protocol": "secure-mqtt" if server.is_encrypted else "mqtt",
        "description": "MQTT 5.0 and 3.1.1"
        + (" over TLS" if server.is_encrypted else ", on this machine only"),
        "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ways],
    }


def _places(site: Site) -> Iterator[_Place]:
    """Give every channel, in the order of the registry."""
    if site.registry is None:
        for channel in Channel:
            address = _address(site.name, channel)
            words = f"{_WORDS[channel]}; any device, on its own branch"
            yield _Place(
                channel.value, address, SCHEME[channel].from_device, words, "", {}, is_reading=_reads(channel)
            )
        return
    for kind in site.registry.classes:
        for rule in kind.channels:
            yield _of_rule(site, site.registry, kind, rule)
        for way, topics in (("publish", kind.publish), ("subscribe", kind.subscribe)):
            names = {"device": _devices(site.registry, kind)}
            yield from _further(site, kind.name, way, topics, names)
    for device in site.registry.devices:
        for way, topics in (("publish", device.publish), ("subscribe", device.subscribe)):
            yield from _further(site, device.name, way, topics, {"device": [device.name]})


def _reads(channel: Channel) -> bool:
    """Whether a channel carries readings."""
    return channel is Channel.READING


def _address(site: str, channel: Channel) -> str:
    """Write the topics of a channel with what differs between them in braces."""
    tail = "/{sensor}" if _reads(channel) else "/{name}" if SCHEME[channel].is_named else ""
    return f"{ROOT}/{site}/{{device}}/{channel}{tail}"


def _devices(registry: Registry, kind: DeviceClass) -> list[str]:
    """Name the devices of a class."""
    return [each.name for each in registry.devices if each.kind == kind.name]


def _of_rule(site: Site, registry: Registry, kind: DeviceClass, rule: ChannelRule) -> _Place:
    """Give the channel of one class."""
    sensors = [name for each in registry.devices if each.kind == kind.name for name in each.sensors]
    names: dict[str, Sequence[str]] = {"device": _devices(registry, kind)}
    if _reads(rule.channel):
        names["sensor"] = list(dict.fromkeys(sensors))
    elif SCHEME[rule.channel].is_named:
        names["name"] = rule.names
    return _Place(
        f"{kind.name}-{rule.channel}",
        _address(site.name, rule.channel),
        SCHEME[rule.channel].from_device,
        f"{_WORDS[rule.channel]}; devices of the class {kind.name}",
        rule.schema,
        names,
        rule.max_payload_bytes or kind.max_payload_bytes,
        rule.may_retain,
        _reads(rule.channel),
    )


def _further(
    site: Site, owner: str, way: str, topics: Sequence[str], names: Mapping[str, Sequence[str]]
) -> Iterator[_Place]:
    """Give the further topics and filters of a class or a device."""
    spaces = site.registry.namespaces if site.registry is not None else ()
    for number, topic in enumerate(topics, start=1):
        whole = fill(topic, site.name, "{device}")
        levels = [
            f"{{level{index}}}" if level == "+" else "{rest}" if level == "#" else level
            for index, level in enumerate(whole.split("/"), start=1)
        ]
        inside = next((each for each in spaces if each.holds(fill(topic, site.name, "device"))), None)
        yield _Place(
            f"{owner}-{way}-{number}",
            "/".join(levels),
            way == "publish",
            f"a further topic of {owner}",
            inside.schema if inside is not None else "",
            names,
            inside.max_payload_bytes if inside is not None else 0,
        )


def _add(found: _Document, place: _Place, site: Site) -> None:
    """Write a channel, its operation, its messages and their schemas."""
    key = _key(place.key, found.channels)
    forms = site.forms.get(place.schema) if place.schema or place.is_reading else None
    if forms is None:
        forms = (Form(_NO_KEY.sub("_", place.schema) or "any", "application/octet-stream", None),)
    for form in forms:
        _message(found, form)
    parameters = {
        name: _parameter(name, place.names.get(name, ())) for name in re.findall(r"\{(\w+)\}", place.address)
    }
    limit = f"; payloads up to {place.max_bytes} bytes" if place.max_bytes else ""
    retained = "; messages may be retained" if place.is_retained else ""
    found.channels[key] = {
        "address": place.address,
        "description": f"{place.words}{limit}{retained}",
        **({"parameters": parameters} if parameters else {}),
        "messages": {each.name: {"$ref": f"#/components/messages/{each.name}"} for each in forms},
    }
    action = "receive" if place.from_device else "send"
    found.operations[f"{action}-{key}"] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{key}"},
        "summary": f"the gateway {action}s {place.words}",
        "bindings": {"mqtt": {"qos": 1, "retain": False, "bindingVersion": "0.2.0"}},
        "messages": [{"$ref": f"#/channels/{key}/messages/{each.name}"} for each in forms],
    }


def _message(found: _Document, form: Form) -> None:
    """Write a message, once, and its schema."""
    message: dict[str, Any] = {"name": form.name, "contentType": form.content}
    if form.document is not None:
        inner = {name: each for name, each in form.document.items() if not name.startswith("$")}
        found.schemas[form.name] = {"schemaFormat": SCHEMA_FORMAT, "schema": inner}
        message["payload"] = {"$ref": f"#/components/schemas/{form.name}"}
    found.messages[form.name] = message


def _parameter(name: str, values: Sequence[str]) -> dict[str, Any]:
    """Describe what differs between the topics of a channel."""
    words = {"device": "the device's name", "sensor": "the sensor's name"}
    found: dict[str, Any] = {"description": words.get(name, "a level of the topic")}
    return {**found, "enum": list(values)} if values else found


def _key(name: str, taken: Mapping[str, object]) -> str:
    """Give a key that AsyncAPI takes and nobody has."""
    key = plain = _NO_KEY.sub("_", name)
    number = 1
    while key in taken:
        number += 1
        key = f"{plain}_{number}"
    return key
