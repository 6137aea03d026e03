"""The way to another broker: parcels are published at QoS 1 over TLS, its acknowledgements are the verdict.

Promises that a parcel counts as taken once the broker has acknowledged it, that nothing is sent before the
peer has proven to be the endpoint that is allowed. Keeps no session: what was not acknowledged goes again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import ColdsealError, UnavailableError
from coldseal.gateway.routing.sink import Away, Refused, Verdict
from coldseal.gateway.sources.broker.line import Line
from coldseal.mqtt.client import Client
from coldseal.mqtt.client_events import Acknowledged, Connected
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.packets import Connect, Properties, ProtocolError, Publish, ReasonCode

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.endpoints import Endpoint
    from coldseal.gateway.routing.sink import Parcel
    from coldseal.gateway.tables.routes import Route
    from coldseal.mqtt.client_events import Event

WHAT: Final = "the broker"
KEY: Final = "idempotency-key"
"""Name of the user property that carries the key."""

KEEP_ALIVE_S: Final = 60
_REFUSING: Final = frozenset(
    {
        ReasonCode.NOT_AUTHORIZED,
        ReasonCode.TOPIC_NAME_INVALID,
        ReasonCode.PAYLOAD_FORMAT_INVALID,
        ReasonCode.PACKET_TOO_LARGE,
    }
)
"""Answers about one message; any other above 0x80 is about the broker, and may be another one later."""

_SAID: Final = frozenset({ReasonCode.PACKET_TOO_LARGE, ReasonCode.QOS_NOT_SUPPORTED})
_FAILED: Final = 0x80


class Way(NamedTuple):
    """How the broker is reached.

    Attributes:
        endpoint: the broker.
        context: makes the TLS context of a connection.
        addresses: finds where its name leads; asked in a thread.
    """

    endpoint: Endpoint
    context: Callable[[], ssl.SSLContext]
    addresses: Callable[[], Sequence[str]]


class MqttSink:
    """One broker; `send` connects, and connects again.

    Args:
        route: the route.
        media_type: what its payloads are.
        way: how the broker is reached.
        client_id: its name there.
        token: gives the password that goes with that name; None without one.
        clock: gives the moment.
    """

    def __init__(
        self,
        route: Route,
        media_type: str,
        *,
        way: Way,
        client_id: str,
        token: Callable[[], str] | None,
        clock: Clock,
    ) -> None:
        """Prepare it; nothing is connected yet."""
        self._timeout_s, self._most = route.timeout_s, route.batch
        self._media_type, self._way, self._client_id = media_type, way, client_id
        self._token, self._clock = token, clock
        self._client: Client
        self._line: Line | None = None
        self._stirred = asyncio.Event()
        self._is_welcome = False
        self._answers: dict[int, ReasonCode] = {}

    async def send(self, parcels: Sequence[Parcel]) -> Verdict:
        """Publish them, and wait for every acknowledgement."""
        places: list[int | ReasonCode] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                line = await self._open()
                self._answers.clear()
                places += map(self._publish, parcels)
                line.wake()
                await self._until(lambda: all(self._answered(each) for each in places))
        except TimeoutError:
            fault = Away("timeout", f"no answer within {self._timeout_s:g} s")
        except ColdsealError as error:
            fault = Away("unreachable", str(error))
        except OSError as error:
            fault = Away("unreachable", str(error) or type(error).__name__)
        else:
            return self._judge(places, None)
        verdict = self._judge(places, fault)
        await self.close()
        return verdict

    async def close(self) -> None:
        """Say farewell, and let the connection go."""
        line, self._line, self._is_welcome = self._line, None, False
        if line is not None and line.is_open:
            line.end(UnavailableError(WHAT, "the route lets it go"))

    async def _open(self) -> Line:
        """Give the connection, made anew where it has ended."""
        if self._line is not None and self._line.is_open and self._is_welcome:
            return self._line
        await self.close()
        token = None if self._token is None else self._token().encode()
        greeting = Connect(
            self._client_id,
            clean_start=True,
            keep_alive=KEEP_ALIVE_S,
            username=None if token is None else self._client_id,
            password=token,
            properties=Properties(receive_maximum=1),
        )
        self._client = Client(greeting, Session(), max_in_flight=self._most, answer_timeout_s=self._timeout_s)
        self._line = line = Line(self._client, self._clock, self._happened, lambda: False)
        line.ended.add_done_callback(lambda _: self._stirred.set())
        await self._connect(line)
        await self._until(lambda: self._is_welcome)
        return line

    async def _connect(self, line: Line) -> None:
        """Connect to the first of the broker's addresses that answers."""
        loop, context, endpoint = asyncio.get_running_loop(), self._way.context(), self._way.endpoint
        fault: OSError = OSError("its name has no address")
        for address in await asyncio.to_thread(self._way.addresses):
            try:
                await loop.create_connection(
                    lambda: line, address, endpoint.port, ssl=context, server_hostname=endpoint.host
                )
            except OSError as error:
                fault = error
            else:
                return
        raise fault

    def _publish(self, parcel: Parcel) -> int | ReasonCode:
        """Publish one, and give the identifier of its answer, or why it cannot be said at all."""
        properties = Properties(content_type=self._media_type, user=((KEY, parcel.key),))
        message = Publish(parcel.topic, parcel.body, 1, properties=properties)
        try:
            return self._client.publish(message) or ReasonCode.UNSPECIFIED_ERROR
        except ProtocolError as error:  # what the broker does not take, or what MQTT itself cannot say
            return error.reason if error.reason in _SAID else ReasonCode.TOPIC_NAME_INVALID

    def _answered(self, place: int | ReasonCode) -> bool:
        """Whether a message has its answer."""
        return isinstance(place, ReasonCode) or place in self._answers

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises:
            UnavailableError: the connection ended before.
        """
        while not is_so():
            line = self._line
            if line is None or not line.is_open:
                raise UnavailableError(WHAT, "gone" if line is None else str(line.ended.result()))
            self._stirred.clear()
            await self._stirred.wait()

    def _happened(self, event: Event, _stamp: Stamp) -> None:
        """See to one event of the machine."""
        if isinstance(event, Connected):
            self._is_welcome = True
        elif isinstance(event, Acknowledged):
            self._answers[event.packet_id] = event.reason
        self._stirred.set()

    def _judge(self, places: Sequence[int | ReasonCode], fault: Away | None) -> Verdict:
        """Count what was taken from the first on, and say why the next was not."""
        for taken, place in enumerate(places):
            reason = place if isinstance(place, ReasonCode) else self._answers.get(place)
            if reason is None:
                return Verdict(taken, fault)
            if reason in _REFUSING:
                return Verdict(taken, Refused(reason.name, f"reason 0x{reason:02X}"))
            if reason >= _FAILED:
                return Verdict(taken, Away("busy", reason.name))
        return Verdict(len(places), fault)
