"""One registry, and every question that can be asked of it: identity × action × topic, each with its answer.

The answers come from a policy that is written out by hand below, topic by topic, and from plain matching over
a universe of topics: nothing of coldseal's own judgement is used. The listener, and Mosquitto with the
generated configuration, are asked the same cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

SITE: Final = "lab"
BRANCH: Final = f"coldseal/v1/{SITE}"
STRANGER: Final = "stranger"
"""A device with a good certificate that nobody has registered."""

REGISTRY: Final = """
[[namespaces]]
root = "plant/line-1"
schema = "text"

[[classes]]
name = "logger"
max_payload_bytes = 4096
publish = ["plant/line-1/{device}"]
subscribe = ["plant/line-1/orders"]

[[classes.channels]]
channel = "reading"
schema = "coldseal-reading/1"

[[classes.channels]]
channel = "status"
retain = true
will = true

[[classes.channels]]
channel = "event"
names = ["door-open", "battery"]

[[classes.channels]]
channel = "cmd"
names = ["blink"]

[[classes.channels]]
channel = "config"

[[classes]]
name = "bare"

[[classes.channels]]
channel = "reading"

[[classes]]
name = "display"
publish = ["coldseal/v1/{site}/gauge-1/cmd/blink"]
subscribe = ["coldseal/v1/{site}/+/reading/#", "coldseal/v1/{site}/gauge/status"]

[[classes.channels]]
channel = "status"

[[classes.channels]]
channel = "cmd"

[[classes.channels]]
channel = "receipt"

[[devices]]
name = "gauge"
class = "logger"
sensors = ["door", "shelf"]

[[devices]]
name = "gauge-1"
class = "logger"
sensors = ["door"]

[[devices]]
name = "probe.2"
class = "bare"
sensors = ["core", "wall"]

[[devices]]
name = "display"
class = "display"
"""


@dataclass(frozen=True)
class Word:
    """What the policy says of one identity, in full: whole topics and granted filters."""

    publish: frozenset[str]
    retain: frozenset[str] = frozenset()
    will: frozenset[str] = frozenset()
    hear: tuple[str, ...] = ()
    is_let_in: bool = True


def _below(device: str, *tails: str) -> frozenset[str]:
    """Write topics below a device's branch."""
    return frozenset(f"{BRANCH}/{device}/{tail}" for tail in tails)


_EVENTS: Final = ("event/door-open", "event/battery")
POLICY: Final = {
    "gauge": Word(
        _below("gauge", "reading/door", "reading/shelf", "status", *_EVENTS) | {"plant/line-1/gauge"},
        _below("gauge", "status"),
        _below("gauge", "status"),
        (*sorted(_below("gauge", "cmd/blink", "config")), "plant/line-1/orders"),
    ),
    "gauge-1": Word(
        _below("gauge-1", "reading/door", "status", *_EVENTS) | {"plant/line-1/gauge-1"},
        _below("gauge-1", "status"),
        _below("gauge-1", "status"),
        (*sorted(_below("gauge-1", "cmd/blink", "config")), "plant/line-1/orders"),
    ),
    "probe.2": Word(_below("probe.2", "reading/core", "reading/wall")),
    "display": Word(
        _below("display", "status") | _below("gauge-1", "cmd/blink"),
        hear=(
            f"{BRANCH}/display/cmd/#",
            f"{BRANCH}/display/receipt",
            f"{BRANCH}/+/reading/#",
            f"{BRANCH}/gauge/status",
        ),
    ),
}
"""What the registry above means, written out by hand."""

NOBODY: Final = Word(frozenset(), is_let_in=False)
_OWN: Final = frozenset(
    f"{BRANCH}/{STRANGER}/{tail}"
    for tail in (
        *("reading/door", "reading/shelf", "reading/core", "reading/wall", "reading/unknown"),
        *("status", "event/door-open", "event/battery", "event/fire"),
    )
)
UNREGISTERED: Final = Word(
    _OWN, _OWN, _OWN, tuple(f"{BRANCH}/{STRANGER}/{channel}/#" for channel in ("cmd", "config", "receipt"))
)
"""What the stranger may where the registry is not strict: its own branch, as far as it is asked for here."""

IDENTITIES: Final = (*POLICY, STRANGER)
_TAILS: Final = (
    *("reading/door", "reading/shelf", "reading/core", "reading/wall", "reading/unknown"),
    *("reading", "reading/door/left", "READING/door", "status", "status/now", "status/"),
    *("event/door-open", "event/battery", "event/fire", "event"),
    *("cmd/blink", "cmd/restart", "config", "receipt", "weather", ""),
)
_OUTSIDE: Final = (
    *("plant/line-1/gauge", "plant/line-1/gauge-1", "plant/line-1/orders", "plant/line-1", "plant/line-2/x"),
    *("$SYS/broker/load", "$SYS/x", "$share/group/x", "news", "/", "coldseal", "coldseal/v1", BRANCH),
    *("coldseal/v2/lab/gauge/status", "coldseal/v1/other/gauge/status", "coldseal/v1/other/display/status"),
    *(f"/{BRANCH}/gauge/status", f"{BRANCH}//status", f"x/{BRANCH}/gauge/status"),
)
_WIDE: Final = (
    *("#", "+", "+/#", "/#", "coldseal/#", "coldseal/v1/#", f"{BRANCH}/#", f"{BRANCH}/+/reading/#"),
    *(f"{BRANCH}/+/reading/+", f"{BRANCH}/+/reading/door", f"{BRANCH}/+/#", f"{BRANCH}/+/status"),
    *(f"{BRANCH}/+/cmd/#", "coldseal/v1/+/gauge/reading/#", "coldseal/+/lab/+/reading/#"),
    *("plant/#", "plant/line-1/#", "plant/line-1/+", "+/line-1/orders", "$SYS/#", "$SYS/+/load"),
)
_NARROW: Final = ("#", "+", "reading/#", "reading/+", "cmd/#", "cmd/+", "config/#", "receipt/#", "+/blink")


class Cell(NamedTuple):
    """One question, and its answer.

    Args:
        identity: who asks.
        action: ``publish``, ``retain``, ``will``, ``subscribe`` or ``shared``.
        topic: a whole topic, or a filter where the action is a subscription.
        is_allowed: what the policy says.
    """

    identity: str
    action: str
    topic: str
    is_allowed: bool

    @property
    def asks_to_publish(self) -> bool:
        """Whether it is about a message of the identity's own."""
        return self.action in {"publish", "retain", "will"}


@dataclass
class _Universe:
    """Topics enough to tell two filters apart: all that are asked for, and some that nobody thinks of."""

    topics: set[str] = field(default_factory=set)

    def add(self, topic_filter: str) -> None:
        """Add what a filter means with names that stand nowhere else."""
        plain = topic_filter.replace("+", "zz1")
        if plain.endswith("#"):
            stem = plain[:-1].rstrip("/")
            self.topics |= {stem, f"{stem}/zz2", f"{stem}/zz2/zz3"} if stem else {"zz2", "zz2/zz3"}
        else:
            self.topics.add(plain)

    def may_hear(self, granted: Sequence[str], asked: str) -> bool:
        """Whether one granted filter matches every topic that the asked one does."""
        meant = [topic for topic in self.topics if matches(asked, topic)]
        if asked.startswith("$"):
            return False  # no filter that is granted here reaches what begins with $
        return any(all(matches(each, topic) for topic in meant) for each in granted)


def matches(topic_filter: str, topic: str) -> bool:
    """Match as MQTT 4.7 says it, without any cleverness."""
    wanted, found = topic_filter.split("/"), topic.split("/")
    if topic.startswith("$") and wanted[0] in {"+", "#"}:
        return False
    if wanted[-1] == "#":
        wanted = wanted[:-1]
        if len(found) < len(wanted):
            return False
        found = found[: len(wanted)]
    return len(wanted) == len(found) and all(w in {"+", f} for w, f in zip(wanted, found, strict=True))


def topics() -> list[str]:
    """Give all whole topics that are asked for."""
    named = [f"{BRANCH}/{device}/{tail}" for device, tail in product((*IDENTITIES, "ghost"), _TAILS)]
    return [*named, *_OUTSIDE]


def filters() -> list[str]:
    """Give all filters that are asked for."""
    narrow = [f"{BRANCH}/{device}/{tail}" for device, tail in product((*IDENTITIES, "ghost"), _NARROW)]
    whole = [topic for topic in topics() if not topic.startswith("$share") and "zz" not in topic]
    return [*whole, *narrow, *_WIDE]


def word_of(identity: str, *, is_strict: bool) -> Word:
    """Give what the policy says of an identity."""
    if identity in POLICY:
        return POLICY[identity]
    return NOBODY if is_strict else UNREGISTERED


@cache
def cells(*, is_strict: bool) -> tuple[Cell, ...]:
    """Give every cell; the order is always the same."""
    return tuple(_cells(is_strict=is_strict))


def _cells(*, is_strict: bool) -> Iterator[Cell]:
    """Make every cell."""
    universe = _Universe(set(topics()))
    asked = filters()
    for each in (*asked, *(granted for word in (*POLICY.values(), UNREGISTERED) for granted in word.hear)):
        universe.add(each)
    for identity in IDENTITIES:
        word = word_of(identity, is_strict=is_strict)
        for topic in topics():
            yield Cell(identity, "publish", topic, topic in word.publish)
            yield Cell(identity, "retain", topic, topic in word.publish and topic in word.retain)
            yield Cell(identity, "will", topic, topic in word.will)
        for each in asked:
            is_heard = universe.may_hear(word.hear, each)
            yield Cell(identity, "subscribe", each, is_heard)
            if not each.startswith("$"):
                yield Cell(identity, "shared", f"$share/group/{each}", is_heard)


def write_registry(path: Path) -> Path:
    """Write the registry as a file."""
    path.write_text(REGISTRY)
    return path
