"""What a sink is to a route: it is given parcels in order, and says how many it took.

Promise of every sink: it never raises, it says that a parcel is taken only once the other side has said so,
and it waits no longer than its route allows. Keeps nothing; trying again is the runner's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class Parcel(NamedTuple):
    """One entry on its way.

    Attributes:
        seq: its place in the log.
        key: by which every sink knows it.
        t: its time, as it stands in the entry.
        body: the entry in the route's form.
        topic: where it is published; empty where there are no topics.
    """

    seq: int
    key: str
    t: str
    body: bytes
    topic: str = ""


class Away(NamedTuple):
    """The sink cannot take anything now: the same parcels go again later.

    Attributes:
        cause: one word for counting.
        detail: what happened.
        after_s: the sink asks for at least so long a pause, seconds.
    """

    cause: str
    detail: str
    after_s: int = 0


class Refused(NamedTuple):
    """The sink will never take this.

    Attributes:
        status: its answer, such as ``422`` or ``PAYLOAD_FORMAT_INVALID``.
        detail: what it said, shortened.
        about: parcels that the refusal is about: more than one, and one of them may be the culprit.
    """

    status: str
    detail: str
    about: int = 1


class Verdict(NamedTuple):
    """What became of some parcels.

    Attributes:
        taken: so many of them, from the first on, are at the sink.
        fault: why the one behind these is not; None if all are.
    """

    taken: int
    fault: Away | Refused | None = None


class Sink(Protocol):
    """Where parcels go."""

    async def send(self, parcels: Sequence[Parcel]) -> Verdict:
        """Hand parcels over, at most as many as the route has in a batch; never raises."""

    async def close(self) -> None:
        """Let the connection go."""
