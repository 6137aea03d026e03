"""The registry of topics: which devices there are, what each may say, how much and how often."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from coldseal.gateway.tables.values import Name
from coldseal.settings import Count, Seconds

Schema = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9./+_-]{0,63})?$")]
Whole = Annotated[int, Meta(ge=0)]
Rate = Annotated[float, Meta(ge=0)]


class Topics(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The registry of topics: which devices there are, what each may say, how much and how often."""

    registry: Path | None = None
    """Registry file: classes, devices with their sensors, namespaces, rates and quotas; empty: every device
    has its own branch."""
    strict: bool = False
    """Only registered devices and sensors are let in; needs `registry`."""
    cut_off: bool = True
    """Devices that speak as another, or are refused too often, are cut off and kept out for a while."""
    tolerated_refusals: Count = 60
    """Refusals of one device in a minute; one more cuts it off, and speaking as another does so at once."""
    block_s: Seconds = 60
    """Time for which a device is kept out after its first cut; each further one doubles it."""
    block_max_s: Seconds = 3_600
    """Longest such time; after as long a time without a refusal the next cut is a first one again."""


class LimitTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Rates and quotas; what is left out is not bounded."""

    messages_per_s: Rate = 0
    """Messages in a second, in the long run."""
    messages_burst: Whole = 0
    """Messages at once, after a pause, such as a device's backlog; left out: a minute's worth."""
    bytes_per_s: Rate = 0
    """Payload bytes in a second, in the long run."""
    bytes_burst: Whole = 0
    """Payload bytes at once; left out: a minute's worth. A payload larger than this is never taken."""
    messages_per_day: Whole = 0
    """Messages in 24 hours."""
    bytes_per_day: Whole = 0
    """Payload bytes in 24 hours."""
    waits: bool = False
    """QoS 1 and 2 messages over the rate wait for their time in MQTT 5 too, instead of being refused with
    0x97, after which a device gives them up; in 3.1.1 they always wait."""


class ChannelTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the devices of a class use one channel."""

    channel: str
    """`reading`, `status`, `event`, `cmd`, `config` or `receipt`."""
    names: tuple[str, ...] = ()
    """Below `event` the kinds of events; below `cmd` the commands that they hear, left out: any."""
    schema: Schema = ""
    """Schema of its payloads, NAME or NAME/VERSION; a channel `reading` takes no others."""
    max_payload_bytes: Whole = 0
    """Largest payload; left out: as the class says."""
    retain: bool = False
    """Its messages may be retained."""
    will: bool = False
    """It may be the topic of a device's will."""
    limit: LimitTable = field(default_factory=LimitTable)
    """Rates and quotas of this channel, within those of the device."""


class ClassTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What devices of one kind have in common."""

    name: Name
    """The class's name."""
    channels: tuple[ChannelTable, ...] = ()
    """The channels of its devices; no other is theirs."""
    publish: tuple[str, ...] = ()
    """Further whole topics to publish, no wildcards; `{site}` and `{device}` stand for ours and its."""
    subscribe: tuple[str, ...] = ()
    """Further topic filters to subscribe to, or to parts of; the same placeholders."""
    max_payload_bytes: Whole = 0
    """Largest payload; left out: what `mqtt.max_packet_bytes` allows."""
    limit: LimitTable = field(default_factory=LimitTable)
    """Rates and quotas of all that one device sends."""


class DeviceTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One device."""

    name: Name
    """The device's name, as in its certificate."""
    kind: Name = field(name="class")
    """Its class."""
    sensors: tuple[str, ...] = ()
    """The sensors that it carries: the names below `reading`."""
    publish: tuple[str, ...] = ()
    """Further whole topics to publish, as in a class."""
    subscribe: tuple[str, ...] = ()
    """Further topic filters, as in a class."""
    limit: LimitTable = field(default_factory=LimitTable)
    """Rates and quotas instead of its class's; left out: its class's."""


class NamespaceTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A branch outside `coldseal/v1`, in which topics may be granted to publish."""

    root: str
    """Its first levels, without a wildcard."""
    schema: Schema = ""
    """Name of the form of its payloads."""
    max_payload_bytes: Whole = 0
    """Largest payload; left out: as the class says."""


class RegistryFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of a registry file."""

    classes: tuple[ClassTable, ...] = ()
    """Kinds of devices."""
    devices: tuple[DeviceTable, ...] = ()
    """The devices."""
    namespaces: tuple[NamespaceTable, ...] = ()
    """Branches outside the scheme."""


class CaseTable(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One question to a policy, with the answer that is expected."""

    device: Name
    """Who tries."""
    action: Literal["connect", "publish", "retain", "will", "subscribe"]
    """What: publish, retain and will name a whole topic, subscribe a filter."""
    topic: str = ""
    """The topic or filter; left out for `connect`."""
    expected: Literal["allow", "deny"]
    """The answer."""


class CasesFile(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of a file of cases."""

    cases: tuple[CaseTable, ...] = ()
    """The cases."""
