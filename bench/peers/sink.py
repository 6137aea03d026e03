"""The far end of a peer that speaks MQTT: a subscriber that writes down what it is given, in order.

It is subscribed before the edge starts and stays so. As ThingsBoard's server it also answers the one request
on which that gateway waits.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from typing import Final, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from bench.loading import Credentials
from bench.peers.counting import Reading
from bench.programs import MeasurementError

LIMITS: Final = {
    "maxPayloadSize": 65_536,
    "maxInflightMessages": 10_000,
    "rateLimits": {},
    "gatewayRateLimits": {"rateLimits": {}},
}
"""What ThingsBoard answers where no limits are set."""

_REQUEST, _RESPONSE = "v1/devices/me/rpc/request/", "v1/devices/me/rpc/response/"
_TELEMETRY = "v1/gateway/telemetry"
_SUBSCRIBED_S = 20.0


class Sink:
    """A subscriber with a session that outlasts its connections; a context manager.

    Attributes:
        delivered: what it was given.
    """

    def __init__(
        self,
        port: int,
        topics: Iterable[str],
        parse: Callable[[str, bytes], Iterable[Reading]],
        credentials: Credentials | None = None,
    ) -> None:
        """Prepare it.

        Args:
            port: the broker's, on loopback.
            topics: filters to subscribe to.
            parse: gives the readings in a message.
            credentials: for TLS, where the broker wants it.
        """
        self.delivered: list[Reading] = []
        self._port, self._topics, self._parse = port, list(topics), parse
        self._ready = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id="sink", clean_session=False, protocol=paho.MQTTv311
        )
        self._client.username_pw_set("sink", "sink")
        if credentials is not None:
            self._client.username_pw_set(None)
            device = credentials.certificate("device", "sensor-500")
            self._client.tls_set(str(credentials.ca), str(device), str(device.with_suffix(".key")))
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = self._subscribe
        self._client.on_subscribe = lambda *_: self._ready.set()
        self._client.on_message = self._take

    def _subscribe(self, *_: object) -> None:
        """Subscribe, with each connection anew."""
        self._client.subscribe([(topic, 1) for topic in self._topics])

    def _take(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        """Write a message down, or answer it."""
        if message.topic.startswith(_REQUEST):
            number = message.topic.removeprefix(_REQUEST)
            self._client.publish(_RESPONSE + number, json.dumps(LIMITS), qos=1)  # noqa: TID251 # ThingsBoard's JSON
            return
        self.delivered += self._parse(message.topic, bytes(message.payload))

    def __enter__(self) -> Self:
        """Connect, and wait until it is subscribed."""
        self._client.connect("localhost", self._port)
        self._client.loop_start()
        if not self._ready.wait(_SUBSCRIBED_S):
            raise MeasurementError("the sink could not subscribe")
        return self

    def __exit__(self, *_: object) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def parse_reading(topic: str, payload: bytes) -> list[Reading]:
    """Read a sensor's own message."""
    return [(topic.split("/")[3], int(json.loads(payload)["seq"]))]


def parse_telemetry(topic: str, payload: bytes) -> list[Reading]:
    """Read what a ThingsBoard gateway sends of its devices."""
    if topic != _TELEMETRY:
        return []
    found: list[Reading] = []
    for device, points in json.loads(payload).items():
        for point in points if isinstance(points, list) else [points]:
            values = point.get("values", point)
            found += ((device, int(value)) for name, value in values.items() if name == f"s{value}")
    return found
