"""From configuration and registry file to the policy in force.

Promise: listener, external broker and commands are given one and the same policy. What is too wide or
contradicts itself is refused with file, key, value and cure. Enforces nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from msgspec import structs

from coldseal import settings
from coldseal.core.cases import Action, Case
from coldseal.core.conduct import Conduct
from coldseal.core.quotas import Limit
from coldseal.core.registry import ChannelRule, Device, DeviceClass, Namespace, Registry
from coldseal.core.topics import Channel, Grant, Policy
from coldseal.errors import OperatorError
from coldseal.gateway.tables.topics import CasesFile, RegistryFile
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.tables.topics import ChannelTable, ClassTable, DeviceTable, LimitTable, Topics

_log: Final = Log("gateway.governance")


def open_policy(config: GatewayConfig) -> Policy:
    """Make the policy of a configuration, with its registry where it names one.

    Raises:
        OperatorError: a grant or the registry is wrong, too wide or contradicts itself.
    """
    table = config.topics
    if table.strict and table.registry is None:
        raise OperatorError(
            "topics.strict is true, but topics.registry is not set: no device could be let in",
            "Set topics.registry to a registry file, or topics.strict = false",
        )
    grants = [Grant(each.device, each.publish, each.subscribe) for each in config.grants]
    registry = read_registry(table.registry) if table.registry is not None else None
    return Policy(config.gateway.site, grants, registry, is_strict=table.strict)


def make_conduct(table: Topics) -> Conduct | None:
    """Make what says who is cut off; None where nobody shall be."""
    if not table.cut_off:
        return None
    return Conduct(table.tolerated_refusals, table.block_s, table.block_max_s)


class Blocks:
    """What a person sees of devices that are kept out, and may do about one.

    Args:
        conduct: knows them; None: nobody ever is.
        clock: gives the moment.
    """

    def __init__(self, conduct: Conduct | None, clock: Clock) -> None:
        """Take the parts."""
        self._conduct, self._clock = conduct, clock

    def status(self) -> Sequence[Mapping[str, object]]:
        """Name the devices that are kept out, why, for how much longer, and how often they were cut off."""
        found = self._conduct.blocked(self._clock.now().mono_ms) if self._conduct is not None else ()
        return [each._asdict() for each in found]

    def unblock(self, request: Mapping[str, Any], answer: Callable[[dict[str, object]], None]) -> None:
        """Answer the request `unblock`: let the device of that name in again.

        Raises:
            OperatorError: it is not kept out.
        """
        device = str(request.get("device"))
        if self._conduct is None or not self._conduct.unblock(device, self._clock.now().mono_ms):
            hint = "See: coldseal gateway topics blocked CONFIG"
            raise OperatorError(f"device {device!r} is not kept out", hint)
        _log.emit(events.DEVICE_UNBLOCKED, device=device, by="a person")
        answer({"device": device})


def read_registry(path: Path) -> Registry:
    """Read a registry file.

    Raises:
        OperatorError: it cannot be read, or a key or value is wrong.
    """
    found = settings.load(path, RegistryFile)
    source = str(path)
    return Registry(
        tuple(_class(each, source) for each in found.classes),
        tuple(_device(each) for each in found.devices),
        tuple(Namespace(each.root, each.schema, each.max_payload_bytes) for each in found.namespaces),
        source,
    )


def read_cases(path: Path) -> list[Case]:
    """Read a file of cases.

    Raises:
        OperatorError: it cannot be read, or a key or value is wrong.
    """
    found = settings.load(path, CasesFile)
    return [
        Case(each.device, Action(each.action), each.topic, each.expected == "allow") for each in found.cases
    ]


def _class(table: ClassTable, source: str) -> DeviceClass:
    """Make a class of its table."""
    place = f"{source}: classes {table.name!r}"
    return DeviceClass(
        table.name,
        tuple(_channel(each, place) for each in table.channels),
        table.publish,
        table.subscribe,
        table.max_payload_bytes,
        _limit(table.limit),
    )


def _channel(table: ChannelTable, place: str) -> ChannelRule:
    """Make a channel's rule of its table."""
    if table.channel not in set(Channel):
        what = f"{place}: channels.channel is {table.channel!r}, expected one of {', '.join(Channel)}"
        raise OperatorError(what, settings.nearest(table.channel, list(Channel)))
    return ChannelRule(
        Channel(table.channel),
        table.names,
        table.schema,
        table.max_payload_bytes,
        table.retain,
        table.will,
        _limit(table.limit),
    )


def _device(table: DeviceTable) -> Device:
    """Make a device of its table."""
    limit = _limit(table.limit)
    return Device(table.name, table.kind, table.sensors, table.publish, table.subscribe, limit)


def _limit(table: LimitTable) -> Limit:
    """Make a limit of its table."""
    return Limit(**structs.asdict(table))
