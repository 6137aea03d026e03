"""Takes readings from an external broker, and acknowledges each to it once it is signed, chained and on disk.

Promise: what the broker has handed over is sealed once and in its order, over any crash of either side; the
broker keeps what it was not acknowledged. A weaker promise than the listener's: the device has its answer
before. Who sent a message is what the broker's access list has bound its topic to.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.topics import NOT_AUTHORISED, ROOT, TOO_LARGE, Channel, parse_topic
from coldseal.errors import ColdsealError, InputError, UnavailableError
from coldseal.gateway.message import Message
from coldseal.gateway.sources.broker.line import WHAT, Line
from coldseal.gateway.sources.broker.order import InOrder
from coldseal.gateway.sources.broker.report import DROPPED, VERSION
from coldseal.mqtt.client import Client, State
from coldseal.mqtt.client_events import Acknowledged, Connected, Received, Subscribed
from coldseal.mqtt.client_session import Session
from coldseal.mqtt.packets import Connect, Properties, Publish, Subscription

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.core.topics import Policy
    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.message import Outcome
    from coldseal.gateway.sources.broker.generation import Generation
    from coldseal.gateway.sources.broker.report import Report
    from coldseal.gateway.sources.handover import Intake
    from coldseal.gateway.tables.broker import Broker
    from coldseal.mqtt.client_events import Event
    from coldseal.settings import Address

NOBODY: Final = "-"
"""Stands for the sender where a topic names none; no device can be called so."""

_STOP_S: Final = 5.0
_TOPICS_KEPT: Final = 16_384
_DOUBLINGS: Final = 16
_FAILED: Final = 0x80
_EVERY_ID: Final = 0xFFFF
_ADDED: Final = 1_024  # by which a broker may make a packet longer, such as by a subscription's identifier
_NO_RETAINED: Final = 2  # MQTT 5 3.8.3.1: a retained reading has come once already


class Way(NamedTuple):
    """How the broker is reached.

    Args:
        context: makes the TLS context of a connection.
        addresses: finds where its name leads; asked in a thread.
    """

    context: Callable[[], ssl.SSLContext]
    addresses: Callable[[], Sequence[str]]


class BrokerSource:
    """The connection to the broker, made again whenever it is lost.

    Args:
        config: the ``[broker]`` table.
        address: the broker.
        site: the gateway's site, as in its topics.
        client_id: names the session at the broker.
        policy: who may publish where: what the broker let through is judged again.
        intake: takes the messages.
        clock: stamps them.
        report: tells people.
        generation: counts the sessions.
        way: how the broker is reached.
        chance: gives a number in [0, 1) for each wait.
        settled: is told the device, the payload and what became of each message.
    """

    def __init__(
        self,
        config: Broker,
        address: Address,
        *,
        site: str,
        client_id: str,
        policy: Policy,
        intake: Intake,
        clock: Clock,
        report: Report,
        generation: Generation,
        way: Way,
        chance: Callable[[], float],
        settled: Callable[[str, bytes, Outcome], None] | None = None,
    ) -> None:
        """Take the parts; ``run`` connects."""
        self._config, self._address = config, address
        self._site, self._client_id = site, client_id
        self._intake, self._clock, self._report = intake, clock, report
        self._generation, self._way, self._chance = generation, way, chance
        self._settled = settled
        self._session = Session()
        # MQTT-3.2.2-4 asks for a session here, too: ours is the log, and at QoS 1 nothing else is to be kept
        self._session.is_established = True
        self._stirred, self._is_stopping, self._failures = asyncio.Event(), False, 0
        self._client: Client
        self._line: Line | None = None
        self._order = InOrder(intake.submit, config.receive_maximum)
        self._asked, self._is_resumed = 0, False
        self._judge = lru_cache(_TOPICS_KEPT)(lambda topic: _judge(topic, site, policy))

    async def run(self) -> None:
        """Connect, take in, and connect again, until stopped."""
        self._report.began()
        while not self._is_stopping:
            try:
                error: Exception = await self._hold_connection()
            except (ColdsealError, OSError) as problem:  # ssl.SSLError and every time-out among them
                error = problem
            if not self._is_stopping:
                self._report.lost(error)
                await self._until(lambda: self._is_stopping, self._pause_s())

    async def stop(self) -> None:
        """Take no more in, let what was taken be acknowledged to the broker, and say farewell."""
        self._is_stopping = True
        self._stirred.set()
        line = self._line
        if line is None or not line.is_open:
            return
        line.stop_reading()
        await self._until(lambda: not (self._order.under_way and line.is_open), _STOP_S)
        if self._client.state is State.CONNECTED:
            self._client.disconnect()
        if line.is_open:
            line.end(UnavailableError(WHAT, "the gateway stops"))

    def tick(self) -> None:
        """Once a second: hand over again what found no room, and read on where there is some."""
        if self._line is not None and self._line.is_open and not self._is_stopping:
            self._order.try_again()
            self._line.look()

    def publish(self, topic: str, payload: bytes) -> bool:
        """Publish for the gateway itself at QoS 1, such as a receipt; False when that cannot be now."""
        if self._line is None or not self._report.is_up:
            return False
        try:
            self._client.publish(Publish(topic, payload, 1))
        except ColdsealError:  # too much is under way, or this broker takes nothing of the kind
            return False
        self._line.wake()
        return True

    def status(self) -> Mapping[str, object]:
        """Say how it stands, for a person."""
        return {
            "address": str(self._address),
            "unanswered": self._order.under_way,
            "waits_for_room": self._order.is_blocked,
            **self._report.status(),
        }

    async def _hold_connection(self) -> Exception:
        """Hold one connection until it ends; give why it did."""
        config = self._config
        self._client = Client(
            self._greeting(),
            self._session,
            max_received=_EVERY_ID,  # Mosquitto sends more than its receive maximum allows
            is_bare=True,  # it passes on properties that no broker may: a device could keep us out with them
            answer_timeout_s=config.timeout_s,
        )
        self._order = order = InOrder(self._intake.submit, config.receive_maximum)
        line = Line(self._client, self._clock, self._happened, lambda: self._intake.is_full or order.is_long)
        self._line = line
        try:
            async with asyncio.timeout(config.timeout_s):
                await self._connect(line)
            return await line.ended
        finally:
            order.close()
            line.end(UnavailableError(WHAT, "given up"))
            self._stirred.set()

    async def _connect(self, line: Line) -> None:
        """Connect to the first of the broker's addresses that answers."""
        host, port = self._address.host, self._address.port
        loop, context = asyncio.get_running_loop(), self._way.context()
        fault: OSError = OSError("its name has no address")
        for address in await asyncio.to_thread(self._way.addresses):
            try:
                await loop.create_connection(lambda: line, address, port, ssl=context, server_hostname=host)
            except OSError as error:
                fault = error
            else:
                return
        raise fault

    def _greeting(self) -> Connect:
        """Make the CONNECT: the session goes on, and outlives the connection."""
        config = self._config
        limits = Properties(
            session_expiry_interval=config.session_expiry_s,
            receive_maximum=config.receive_maximum,
            maximum_packet_size=config.mosquitto.max_packet_bytes + _ADDED,
        )
        return Connect(self._client_id, clean_start=False, keep_alive=config.keep_alive_s, properties=limits)

    # Events of the machine

    def _happened(self, event: Event, stamp: Stamp) -> None:
        """See to one event."""
        if type(event) is Received:
            self._take(event.message, stamp)
        elif isinstance(event, Connected):
            self._welcomed(event)
        elif isinstance(event, Subscribed):
            self._subscribed(event)
        elif isinstance(event, Acknowledged) and event.reason >= _FAILED:
            self._report.refused(event.reason.name)

    def _welcomed(self, event: Connected) -> None:
        """The broker has let us in: ask for the readings, and for what it says of itself."""
        if self._client.state is not State.CONNECTED:  # what came behind the welcome has ended it already
            return
        had = bool(self._generation.count)
        if not (had and event.session_present):
            try:
                self._generation.begin()
            except UnavailableError as error:
                self._end(error)
                return
        if had and not event.session_present:
            self._report.forgotten()
        readings = f"{ROOT}/{self._site}/+/{Channel.READING}/+"
        wanted = self._client.subscribe(Subscription(readings, 1, retain_handling=_NO_RETAINED))
        self._client.subscribe(Subscription(VERSION), Subscription(DROPPED))
        self._asked = wanted
        self._is_resumed = event.session_present

    def _subscribed(self, event: Subscribed) -> None:
        """The broker says whether readings will come; what it says of itself, it need not say."""
        if event.packet_id != self._asked:
            return
        (reason,) = event.reasons
        if reason != 1:
            self._end(UnavailableError(WHAT, f"it does not let us subscribe at QoS 1: {reason.name}"))
            return
        self._failures = 0
        self._report.connected(is_resumed=self._is_resumed)

    def _take(self, publish: Publish, stamp: Stamp) -> None:
        """Hand a message over in its turn, or hear what the broker says of itself."""
        topic, packet_id = publish.topic, publish.packet_id
        if topic.startswith("$"):
            self._report.told(topic, publish.payload)
            return
        client, line = self._client, self._line
        device, refused, largest = self._judge(topic)
        if largest and len(publish.payload) > largest:
            refused = refused or TOO_LARGE

        def acknowledge(outcome: Outcome, _why: str) -> None:
            """Answer the broker, if it still waits; whatever was decided is on record."""
            if self._settled is not None:
                self._settled(device, publish.payload, outcome)
            if packet_id is not None and line is not None and line.is_open:
                client.acknowledge(packet_id)
                line.wake()
            self._stirred.set()

        self._order.offer(
            Message(
                device,
                "",
                topic,
                publish.payload,
                publish.qos,
                None if packet_id is None else self._generation.number(packet_id),
                publish.dup,
                stamp,
                acknowledge,
                refused,
            )
        )

    def _end(self, error: Exception) -> None:
        """Give the connection up."""
        if self._line is not None:
            self._line.end(error)

    # Waiting

    def _pause_s(self) -> float:
        """Draw the next wait."""
        config = self._config
        longest = min(config.retry_max_s, config.retry_initial_s * (1 << min(self._failures, _DOUBLINGS)))
        self._failures += 1
        return longest * self._chance()

    async def _until(self, is_done: Callable[[], bool], limit_s: float) -> None:
        """Wait for something that the loop's other work brings about, at most for a while."""
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not is_done():
                    self._stirred.clear()
                    await self._stirred.wait()


def _judge(topic: str, site: str, policy: Policy) -> tuple[str, str, int]:
    """Name a topic's device, why it may not publish it (empty if it may), and its size limit (0: none)."""
    try:
        address = parse_topic(topic)
    except InputError:
        return NOBODY, NOT_AUTHORISED, 0
    is_ours = address.site == site and address.channel is Channel.READING
    if not is_ours or not policy.rights(address.device).may_publish(topic):
        return address.device, NOT_AUTHORISED, 0
    bounds = policy.bounds(address.device, topic)
    return address.device, "", 0 if bounds is None else bounds.max_payload_bytes
