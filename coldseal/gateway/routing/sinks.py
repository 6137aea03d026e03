"""Opens the sink of a route: its TLS context, its token, its place on the list of ways out.

Promises that each has exactly the endpoint that its route names. Files that are wrong are said at the start.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError
from coldseal.gateway.endpoints import endpoint_of
from coldseal.gateway.routing.http import HttpSink
from coldseal.gateway.routing.mqtt import MqttSink, Way
from coldseal.gateway.uplink.guarded import authority_context, tls_class
from coldseal.gateway.uplink.renewal import Renewal
from coldseal.signing.secrets import read_secret

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.egress import Guard
    from coldseal.gateway.routing.form import Form
    from coldseal.gateway.routing.sink import Sink
    from coldseal.gateway.tables.routes import Route

_HERE: Final = Path()  # references in a configuration are absolute once it is loaded


def open_sink(route: Route, form: Form, *, origin: str, guard: Guard, clock: Clock) -> Sink:
    """Open the sink of a route; nothing is connected yet.

    Args:
        route: the route.
        form: its form.
        origin: the log's.
        guard: the list of ways out.
        clock: gives the moment.

    Raises:
        OperatorError: a file that it names cannot be used.
    """
    context, token = _context(route, clock), _token(route)
    if route.sink != "mqtt":
        return HttpSink(route, form, context=context, token=token, guard=guard)
    endpoint = endpoint_of(route.url)
    tls = tls_class(guard, endpoint)

    def secured() -> ssl.SSLContext:
        """Make the context of one connection."""
        made = context()
        made.sslobject_class = tls
        return made

    def addresses() -> Sequence[str]:
        """Find where the name leads; blocks."""
        found = guard.addresses(endpoint)
        for each in found:
            guard.admit(endpoint, each, endpoint.port)
        return found

    return MqttSink(
        route,
        form.media_type,
        way=Way(endpoint, secured, addresses),
        client_id=route.client_id or client_id_of(origin, route.name),
        token=token,
        clock=clock,
    )


def client_id_of(origin: str, name: str) -> str:
    """Give the name of a route at a broker: short, and no other route's."""
    return f"coldseal-{hashlib.sha256(f'{origin} {name}'.encode()).hexdigest()[:12]}"


def _context(route: Route, clock: Clock) -> Callable[[], ssl.SSLContext]:
    """Give what makes the TLS context for the next connection."""
    if route.certificate is not None and route.key is not None and route.ca is not None:
        return Renewal(route.certificate, route.key, route.ca, now_ms=lambda: clock.now().t_ms).context
    try:
        context = authority_context(route.ca)
    except OSError as error:
        what = f"routes.{route.name}.ca is {route.ca}: {error.strerror or error}"
        raise OperatorError(what, "Name a file with PEM certificates of a CA") from error
    return lambda: context


def _token(route: Route) -> Callable[[], str] | None:
    """Give what reads the token; None where there is none."""
    reference = route.token
    if reference is None:
        return None

    def read() -> str:
        """Read it anew: it may have been changed."""
        try:
            text = read_secret(reference, _HERE).decode("ascii")
        except UnicodeDecodeError:
            text = ""
        if not text.isprintable() or not text:
            what = f"routes.{route.name}.token does not hold a token"
            raise OperatorError(what, "Write one line of printable ASCII there")
        return text

    read()  # a missing one is said at the start
    return read
