"""What people decide about entries that a sink does not take: send them again, or give them up.

Promise: a decision is on disk when `decide` returns, and the route follows it at its next step. Nothing is
sent here, and whether somebody may decide is asked elsewhere.
"""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from coldseal.core.log.canonical import MAX_INTEGER
from coldseal.errors import OperatorError
from coldseal.gateway.routing.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coldseal.gateway.config import GatewayConfig

DECIDED: Final = b"decided"
"""Line on standard input that says that a person has decided something."""
REQUEST: Final = "route"
"""Name of the request on the control channel."""

Seq = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class Decision(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is decided.

    Args:
        action: send again, or give up.
        route: of which route.
        seqs: about which entries; none: about all that are put aside.
        who: who says so.
        why: why; it is on record.
    """

    action: Literal["retry", "skip"]
    route: str
    seqs: tuple[Seq, ...] = ()
    who: str = ""
    why: str = ""


def parse_decision(request: Mapping[str, Any]) -> Decision:
    """Read a request.

    Raises:
        OperatorError: it is no such decision.
    """
    try:
        return msgspec.convert(dict(request), Decision)
    except msgspec.ValidationError as error:
        raise OperatorError(
            f"the decision cannot be read: {error}", "See: coldseal gateway routes"
        ) from error


def decide(config: GatewayConfig, key: bytes, decision: Decision, size: int) -> Mapping[str, object]:
    """Write a decision down, and give what it is about.

    Args:
        config: the gateway's configuration.
        key: the store key.
        decision: what is decided.
        size: entries in the log.

    Raises:
        OperatorError: there is no such route, or nothing like that is put aside.
        UnavailableError: it could not be written.
    """
    known = [each.name for each in config.routes]
    if decision.route not in known:
        what = f"there is no route {decision.route!r}"
        raise OperatorError(what, f"There are: {', '.join(known) or 'none'}")
    if decision.action == "skip" and not decision.seqs:
        raise OperatorError("it is not said which entries are given up", "Name each by its seq")
    with closing(Kept(config.gateway.data, key)) as kept:
        aside = {each.seq for each in kept.aside(decision.route)}
        chosen = decision.seqs or tuple(sorted(aside))
        found = kept.position(decision.route)
        ahead = range(0 if found is None else found.position, size)
        for seq in chosen:
            is_ahead = decision.action == "skip" and seq in ahead
            if seq not in aside and not is_ahead:
                what = f"entry {seq} is not put aside on the route {decision.route}"
                raise OperatorError(what, f"See: coldseal gateway routes quarantine CONFIG {decision.route}")
        if decision.action == "retry":
            kept.want(decision.route, chosen)
        for seq in chosen if decision.action == "skip" else ():
            if seq in aside:
                kept.settle(decision.route, seq, delivered=0)
            else:
                kept.give_up(decision.route, seq)
    return {"route": decision.route, "action": decision.action, "entries": [*chosen]}
