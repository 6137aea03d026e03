"""Questions to a policy with the answers that people expect: written by hand, and those that always hold.

Promise: a case is answered by the same judgement as the listener's. The built-in cases are what no sound
policy allows: speaking as another, reaching above the own branch, wildcards, $SYS, a foreign will.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from coldseal.core.topics import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coldseal.core.topics import Policy

ANY_DEVICE: Final = "any-device"
"""Stands for a device where no registry names one, and for another one where there is but one."""

FOREIGN_SITE: Final = "any-other-site"


class Action(StrEnum):
    """What a device may try."""

    CONNECT = "connect"
    PUBLISH = "publish"
    RETAIN = "retain"
    WILL = "will"
    SUBSCRIBE = "subscribe"


@dataclass(frozen=True, slots=True)
class Case:
    """One question.

    Args:
        device: who tries.
        action: what.
        topic: a whole topic, or a filter to subscribe to; empty for ``connect``.
        is_allowed: the answer that is expected.
        is_builtin: nobody wrote it down; it always holds.
    """

    device: str
    action: Action
    topic: str
    is_allowed: bool
    is_builtin: bool = False


def decide(policy: Policy, case: Case) -> bool:
    """Answer a question as the listener would.

    Raises:
        InputError: the device's name cannot stand in a topic.
    """
    rights, topic = policy.rights(case.device), case.topic
    if not policy.is_known(case.device):
        return False
    match case.action:
        case Action.CONNECT:
            return True
        case Action.PUBLISH:
            return rights.may_publish(topic)
        case Action.RETAIN:
            return rights.may_publish(topic) and rights.may_retain(topic)
        case Action.WILL:
            return rights.may_will(topic, retain=False)
    return rights.may_subscribe(topic)


def builtin_cases(policy: Policy) -> Iterator[Case]:
    """Give the cases that always hold, for every registered device, or for any one where none is."""
    devices = policy.devices or (ANY_DEVICE,)
    for device in devices:
        others = [each for each in devices if each != device]
        yield from _of(policy.site, device, others[0] if others else f"{ANY_DEVICE}-2")
    if policy.is_strict:
        yield Case(ANY_DEVICE, Action.CONNECT, "", is_allowed=False, is_builtin=True)


def _of(site: str, device: str, other: str) -> Iterator[Case]:
    """Give what one device must not be able to do."""
    above = f"{ROOT}/{site}"
    own, foreign = f"{above}/{device}", f"{above}/{other}"
    publish = (
        *(f"{foreign}/reading/t", f"{foreign}/status", f"{foreign}/event/e", f"{foreign}/config"),
        *(f"{own}/config", f"{own}/receipt", f"{ROOT}/{FOREIGN_SITE}/{device}/status"),
        *(above, own, f"{own}/", ROOT, f"{own}/reading/+", f"{own}/#", "#", "$SYS/broker/load"),
    )
    subscribe = (
        *("#", "+/#", f"{ROOT}/#", f"{above}/#", f"{above}/+/#", f"{above}/+/cmd/#", f"{own}/#"),
        *(f"{foreign}/cmd/#", f"{foreign}/config", "$SYS/#", "$share/group/#", f"$share/group/{above}/#"),
    )
    tried = {
        Action.PUBLISH: publish,
        Action.RETAIN: (f"{foreign}/status", f"{own}/config"),
        Action.WILL: (f"{foreign}/status", f"{own}/config", "$SYS/broker/load"),
        Action.SUBSCRIBE: subscribe,
    }
    for action, topics in tried.items():
        for topic in topics:
            yield Case(device, action, topic, is_allowed=False, is_builtin=True)


def gather(policy: Policy, written: Sequence[Case]) -> list[Case]:
    """Put written cases before the built-in ones; a written one stands in the place of its built-in one."""
    asked = {(each.device, each.action, each.topic) for each in written}
    rest = [each for each in builtin_cases(policy) if (each.device, each.action, each.topic) not in asked]
    return [*written, *rest]
