"""Routes as the configuration names them, held against each other and against what their forms can say.

Promise: a route that could never send, that is set half-way or that would send openly is refused, with key,
value and cure. Opens no file and resolves no name.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Final

from coldseal.core.log.record import KINDS
from coldseal.core.routing import epcis
from coldseal.core.routing.links import require_thing
from coldseal.errors import InputError, OperatorError
from coldseal.settings import nearest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.tables.routes import Route

PLACEHOLDERS: Final = ("site", "kind", "device", "sensor", "asset")
"""What can stand in braces in a topic."""

MAX_ROUTES: Final = 16


def require_sound(routes: Sequence[Route], where: str, *, has_uplink: bool) -> None:
    """Insist on routes that can work.

    Args:
        routes: all of them.
        where: the file.
        has_uplink: whether there is a service that gives receipts.

    Raises:
        OperatorError: naming key, value and cure.
    """
    names = [each.name for each in routes]
    if len(set(names)) != len(names) or len(names) > MAX_ROUTES:
        twice = next((name for name in names if names.count(name) > 1), None)
        what = f"{where}: routes has {len(names)} tables" + (
            f", two of them named {twice!r}" if twice else ""
        )
        raise OperatorError(what, f"Give each a name of its own, and make at most {MAX_ROUTES}")
    for route in routes:
        place = f"{where}: routes.{route.name}"
        _require_way(route, place)
        _require_rules(route, place)
        _require_names(route, place)
        if route.after == "receipt" and not has_uplink:
            what = f"{place}.after is 'receipt', but uplink.url is not set"
            raise OperatorError(what, 'Set uplink.url, or after = "commit": nobody gives receipts here')


def _require_way(route: Route, place: str) -> None:
    """Refuse a way that is open, or set half-way."""
    scheme = "mqtts://" if route.sink == "mqtt" else "https://"
    if not route.url.startswith(scheme):
        what = f"{place}.url is {route.url!r}, expected {scheme}…"
        raise OperatorError(what, f"A sink of this kind is reached over TLS alone: write {scheme}host:port")
    if (route.certificate is None) != (route.key is None):
        raise OperatorError(f"{place} has certificate or key alone", "Set both, or neither")
    if route.ca is None and (route.certificate is not None or route.sink == "mqtt"):
        what = f"{place}.ca is missing, but a certificate is shown or a broker is spoken to"
        raise OperatorError(what, "Set ca to the CA certificates that the sink must descend from, PEM")
    if route.retry_max_s < route.retry_initial_s:
        what = f"{place}.retry_max_s is {route.retry_max_s:g}, expected at least retry_initial_s"
        raise OperatorError(what, "Raise retry_max_s or lower retry_initial_s")


def _require_rules(route: Route, place: str) -> None:
    """Refuse kinds that there are not, or that the form has no words for."""
    known = epcis.KINDS if route.sink == "epcis" else KINDS
    for kind in (kind for rule in route.rules for kind in rule.kinds):
        if kind not in known:
            form = f"a kind that {route.sink} can say" if kind in KINDS else "a kind of entry"
            what = f"{place}.rules.kinds has {kind!r}, expected {form}"
            raise OperatorError(what, nearest(kind, sorted(known)))


def _require_names(route: Route, place: str) -> None:
    """Refuse topics and addresses that could not be used."""
    try:
        fields = [
            name for _, name, form, _ in string.Formatter().parse(route.topic) if name is not None or form
        ]
    except ValueError as error:
        raise OperatorError(f"{place}.topic is {route.topic!r}: {error}", "Close each brace") from error
    unknown = next((name for name in fields if name not in PLACEHOLDERS), None)
    if unknown is not None or set("+#\0").intersection(route.topic) or not route.topic:
        cure = f"Write a topic without wildcards; in braces it can have: {', '.join(PLACEHOLDERS)}"
        raise OperatorError(f"{place}.topic is {route.topic!r}", cure)
    addresses = {f"ids.{name}": address for name, address in route.ids.items()}
    if route.location:
        addresses["location"] = route.location
    for key, address in addresses.items():
        try:
            require_thing(address, where=place, key=key)
        except InputError as error:
            raise OperatorError(str(error), f"Correct {key}, or leave it out") from error
