"""The MQTT listener: TCP and TLS 1.3, certificates or passwords, in front of the broker machine.

A message goes to the intake with its sender's proven name; its PUBACK leaves when the intake has
acknowledged it, and after everything else that it promises is durable. Acknowledgements of one turn
of the loop leave in one write for each client. What a payload means is decided behind the intake.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.errors import OperatorError
from coldseal.gateway.message import Outcome
from coldseal.gateway.sources.admission import Reception
from coldseal.gateway.sources.door import Door, DoorLimits, House
from coldseal.gateway.sources.guard import Guard
from coldseal.gateway.sources.handover import Handover
from coldseal.gateway.sources.link import Link
from coldseal.gateway.sources.report import Report
from coldseal.gateway.sources.shown import Shown
from coldseal.gateway.sources.writing import SessionWriter
from coldseal.identity.passwords import open_passwords
from coldseal.mqtt.broker import Broker
from coldseal.mqtt.connection import Fault, Login
from coldseal.mqtt.inbound import Received
from coldseal.mqtt.limits import Limits
from coldseal.mqtt.packets import NO_PROPERTIES, Properties, Publish, ReasonCode
from coldseal.mqtt.subscribing import Denied

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from coldseal.core.conduct import Conduct
    from coldseal.core.topics import Policy
    from coldseal.gateway.clock import Clock, Stamp
    from coldseal.gateway.sources.handover import Intake
    from coldseal.gateway.sources.sessions import SessionStore
    from coldseal.gateway.tables.intake import Mqtt
    from coldseal.mqtt.connection import Connection
    from coldseal.observe.metrics import GatewayMetrics
    from coldseal.settings import Address

ANSWERS: Final[dict[int, ReasonCode]] = {
    Outcome.SEALED: ReasonCode.SUCCESS,
    Outcome.DUPLICATE: ReasonCode.SUCCESS,
    Outcome.REJECTED: ReasonCode.PAYLOAD_FORMAT_INVALID,
    Outcome.REFUSED: ReasonCode.NOT_AUTHORIZED,
    Outcome.BUSY: ReasonCode.SERVER_BUSY,
    Outcome.LIMITED: ReasonCode.QUOTA_EXCEEDED,
}
"""How each outcome is said in MQTT 5; 3.1.1 has one acknowledgement for all. BUSY is answered in neither."""

_TICK_S: Final = 1.0
_STOP_S: Final = 5.0


class MqttListener:
    """The listener, with every session of the gateway.

    Args:
        config: the ``[mqtt]`` table.
        policy: who may publish and subscribe where.
        intake: takes the messages.
        clock: stamps them.
        metrics: where counts are shown.
        store: keeps sessions over a restart; None keeps them in memory only.
        keep: is given each certificate that is let in, DER, and its fingerprint.
        doors: bounds of the sockets, where they should differ from what the configuration gives.
        conduct: says who is cut off and kept out; None: nobody is.
    """

    def __init__(
        self,
        config: Mqtt,
        *,
        policy: Policy,
        intake: Intake,
        clock: Clock,
        metrics: GatewayMetrics,
        store: SessionStore | None = None,
        keep: Callable[[bytes, str], None] = lambda _der, _fingerprint: None,
        doors: DoorLimits | None = None,
        conduct: Conduct | None = None,
    ) -> None:
        """Take the parts; ``start`` opens the doors."""
        self._config, self._intake, self._clock = config, intake, clock
        self._report = Report(metrics)
        self._house = House(
            doors or msgspec.convert(config, DoorLimits, from_attributes=True), self._report.turned_away
        )
        self._links: dict[Connection, Link] = {}
        self.guard = Guard(policy, intake, conduct, self._report, clock=clock, links=self._links)
        passwords = open_passwords(config.passwords) if config.passwords is not None else None
        self._reception = Reception(
            policy, self._house, passwords, self.guard, keep=keep, now=self.now, dispatch=self.dispatch
        )
        self._shown: Shown | None = None
        self._doors: dict[str, Door] = {}
        self._held: set[Connection] = set()
        self._hand_over = Handover(policy, intake, self.guard, 2 * config.receive_maximum).hand_over
        self._is_stopping = False
        self._ticking: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop
        self._epoch = 0.0
        self.paused: set[Link] = set()
        self.max_buffered_bytes, self.max_slow_s = config.max_buffered_bytes, config.max_slow_s
        limits = msgspec.convert(config, Limits, from_attributes=True)
        self.broker = Broker(limits, ANSWERS, self._wake, 0.0)
        self._stirred = asyncio.Event()
        self._writer = SessionWriter(
            store, take=self.broker.take_changes, written=self._written, failed=self._report.unsaved
        )

    @property
    def is_full(self) -> bool:
        """Whether links should stop reading."""
        return self._is_stopping or self._intake.is_full

    @property
    def port(self) -> int:
        """The TLS door's port."""
        return self._doors["tls"].port

    @property
    def plain_port(self) -> int:
        """The plain door's port."""
        return self._doors["plain"].port

    @property
    def ended(self) -> int:
        """Connections of devices that have ended since the start."""
        return self._report.ended

    def now(self) -> float:
        """Seconds since 1970, as at the start, going on with the clock that never steps."""
        return self._epoch + self._clock.now().mono_ms / 1000

    # Opening and closing

    def close_to_all(self, why: str) -> None:
        """Let nobody in from now on, and say why to whoever comes."""
        self._reception.closed_for = why

    async def start(self) -> None:
        """Take back what was kept, and open the doors.

        Raises:
            OperatorError: a certificate, key or address cannot be used.
            UnavailableError: the kept sessions cannot be read.
        """
        self._loop = asyncio.get_running_loop()
        started = self._clock.now()
        self._epoch = (started.t_ms - started.mono_ms) / 1000
        kept = await self._writer.load()
        if kept is not None:
            self.broker.restore(kept.sessions, kept.items, kept.retained, self.now())
        try:
            self._open_doors()
        except OperatorError:
            await self.stop()
            raise
        self._tick()

    def _open_doors(self) -> None:
        """Open what the configuration names."""
        config = self._config
        if config.listen is not None and config.certificate is not None and config.key is not None:
            self._shown = Shown(config, config.certificate, config.key, now_s=self.now, clock=self._clock)
            self._open("tls", config.listen, self._shown.context)
        if config.plain_listen is not None:
            self._open("plain", config.plain_listen, None)

    def _open(self, name: str, address: Address, context: Callable[[], ssl.SSLContext] | None) -> None:
        """Open one door."""
        door = Door(self._house, context, self._greet, self._greeting_failed)
        try:
            door.open(address)
        except OSError as error:
            raise OperatorError(
                f"mqtt cannot listen on {address}: {error.strerror}", "Choose another address"
            ) from error
        self._doors[name] = door

    def _greet(self, address: str) -> Link:
        """Make the link for an accepted socket."""
        return Link(self, address)

    async def stop(self) -> None:
        """Take no more in, answer what was taken, say farewell, and write the last changes.

        The intake must still run: what it has not acknowledged after some seconds is not answered here; its
        senders send it again.
        """
        self._is_stopping = True
        for door in self._doors.values():
            await door.close()
        for link in self._links.values():
            link.pause()
        await self._until(lambda: not self._load())
        self.broker.stop()
        await self._until(lambda: not self._links and self._writer.is_idle)
        for link in tuple(self._links.values()):
            link.cut_off("shutdown")
        if self._ticking is not None:
            self._ticking.cancel()
        self._reception.close()
        self._writer.close()

    def close_doors(self, is_closed: bool) -> None:  # noqa: FBT001 -- a state that begins or ends
        """Let nobody new in, or let them in again; who is inside is served."""
        self._house.is_closed = is_closed

    async def _until(self, is_done: Callable[[], bool]) -> None:
        """Wait for something that the loop's other work brings about, but not for ever."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STOP_S):
                while not is_done():
                    self._stirred.clear()
                    await self._stirred.wait()

    def _load(self) -> int:
        """Count the messages that wait for their outcome."""
        dialogues = (link.connection.dialogue for link in self._links.values())
        return sum(dialogue.inbound.load for dialogue in dialogues if dialogue is not None)

    def reload(self) -> None:
        """Use renewed certificate, client CAs, revocation list and passwords; revoked devices are sent away.

        Raises:
            OperatorError: a file cannot be used; what was in force stays.
        """
        if self._shown is not None:
            self._shown.reload()
        if self._config.passwords is not None:
            self._reception.replace(open_passwords(self._config.passwords))
        self._end_revoked()
        self.dispatch()

    def _end_revoked(self) -> None:
        """Send away whose certificate is on the list."""
        shown = self._shown
        for link in tuple(self._links.values()):
            if shown is not None and link.holder is not None and shown.is_revoked(link.holder.issued):
                link.end(ReasonCode.NOT_AUTHORIZED, "the certificate is revoked")

    # Links

    def arrived(self, link: Link) -> Connection:
        """A socket is ready: give it its machine."""
        connection = self.broker.open(link.accepted_at)
        self._links[connection] = link
        return connection

    def identify(self, link: Link, certificate_der: bytes | None) -> None:
        """Read who stands behind a TLS connection; a stranger is sent away before a byte is read."""
        if certificate_der is None or self._shown is None:
            return
        if not self._reception.identify(link, certificate_der, self._shown.is_over):
            link.cut_off("identity")

    def left(self, link: Link, broken: Exception | None = None) -> None:
        """A socket is gone; ``broken`` says how its peer broke TLS, if it did."""
        if broken is not None:
            self._report.broken(link.address, broken, self.now())
        self._links.pop(link.connection, None)
        self.paused.discard(link)
        self._stirred.set()
        self._house.leave(link.address, was_admitted=bool(link.device))
        ended = link.connection.ended
        if ended is not None:
            self._report.left(link, ended)
        self.dispatch()

    # Events of the broker

    def receive(self, connection: Connection, data: bytes) -> None:
        """Feed bytes to a client's machine, and hand over what came of them."""
        stamp = self._clock.now()
        connection.receive(data, self._epoch + stamp.mono_ms / 1000)
        if self.broker.events:
            self.dispatch(stamp)

    def dispatch(self, received: Stamp | None = None) -> None:
        """See to everything that the broker has noticed."""
        broker = self.broker
        while broker.events:
            happened, broker.events = broker.events, []
            stamp = received or self._clock.now()
            for event in happened:
                if type(event) is Received:
                    self._hand_over(event, stamp)
                elif isinstance(event, Login):
                    self._reception.log_in(self._links[event.connection], event.connect)
                elif isinstance(event, Fault):
                    self._fault(event)
                elif isinstance(event, Denied):
                    self.guard.denied(event, stamp)

    def _try_again(self, link: Link, now: float, stamp: Stamp) -> None:
        """Hand over what found no room; who can be told why it waits, is told so after a while."""
        dialogue = link.connection.dialogue
        if dialogue is None:
            return
        inbound, longest_s = dialogue.inbound, self._config.max_full_s
        waited_s = link.waits_for_room_s(now)
        if inbound.can_be_told and longest_s is not None and waited_s > longest_s:
            link.end(ReasonCode.QUOTA_EXCEEDED, "the store is full: keep what was not acknowledged")
        for received in inbound.take_retries():
            self._hand_over(received, stamp)

    def _fault(self, fault: Fault) -> None:
        """A client broke the standard; the machine has ended its connection."""
        link = self._links.get(fault.connection)
        if link is not None:
            link.cut = str(fault.error)
            self._report.refused(link.address, "protocol", link.cut, self.now())

    def _greeting_failed(self, address: str, error: Exception) -> None:
        """A TLS handshake failed or took too long."""
        self._report.stranger(address, error, self.now())

    # Output

    def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, properties: Properties = NO_PROPERTIES
    ) -> int:
        """Publish for the gateway itself at QoS 1, such as a command.

        Returns:
            How many sessions it was sent to or waits in; 0 says that nobody has subscribed.
        """
        self.broker.now = self.now()
        reached = self.broker.publish(Publish(topic, payload, 1, retain, properties=properties))
        self._wake()
        return reached

    def _wake(self) -> None:
        """There is output: write it in the next turn of the loop, all of it together."""
        self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what may leave: everything whose changes are durable."""
        broker = self.broker
        self._writer.write()
        ready, broker.ready = broker.ready, []
        for connection in ready:
            link = self._links.get(connection)
            if link is not None:
                link.write()
                if connection.is_held:
                    self._held.add(connection)
        for link in tuple(self.paused):
            link.resume()
        self._stirred.set()

    def _written(self, group: int) -> None:
        """A group of changes is durable: what waited for it may leave."""
        self._report.saved()
        self.broker.confirm(group)
        held, self._held = self._held, set()
        self.broker.ready += held
        self._wake()  # more may have changed meanwhile

    def _tick(self) -> None:
        """Come back in a second."""
        self._ticking = self._loop.call_later(_TICK_S, self._tick)
        self.tick()

    def show(self) -> None:
        """Bring the metrics up to date."""
        self._report.show(self.broker.counts, len(self._links))

    def tick(self) -> None:
        """See to everything that time brings: time-outs, wills, retries, metrics."""
        now = self.now()
        if self._shown is not None and self._shown.refresh():
            self._end_revoked()
        self.broker.tick(now)
        for link in tuple(self._links.values()):
            link.tick(now)
            if self._shown is not None and self._shown.is_over(link.holder):
                link.end(ReasonCode.NOT_AUTHORIZED, "the certificate has expired")
        stamp = self._clock.now()
        for link in tuple(self._links.values()):
            self._try_again(link, now, stamp)
        for door in self._doors.values():
            door.resume()
        if self._house.count < self._house.limits.max_connections and not self._house.is_closed:
            self._report.has_room("max_connections")
        self.guard.tick()
        self.show()
        self.dispatch()
        self._flush()
