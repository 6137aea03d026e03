"""The row of alarms: from a device's publish to the notification that a recipient's service has taken.

One reading after the other, each of another sensor that was in range before: its excursion, its alarm, the
notice over loopback. The yardstick is the acknowledgement of the same device's readings in the same run.
"""

from __future__ import annotations

import queue
import statistics
import threading
import time
import tomllib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from typing_extensions import override

from bench.programs import MeasurementError
from bench.report import Row
from bench.sites import SITE, make_gateway, run_gateway
from coldseal.core.coldchain.profile import canonical_form, parse_profile
from coldseal.demo.fleet import open_context
from coldseal.gateway.changing import seal_change
from coldseal.gateway.config import load_gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench.rows import Bench, Measure

COUNT: Final = 40
"""Excursions, each of another sensor."""

WAIT_S: Final = 20.0
DEVICE: Final = "sensor-001"
PROFILE: Final = """
name = "bench"
version = 1
interval = "1 min"
silence = "1 h"
[quantities.temperature]
unit = "Cel"
low = 2
high = 8
"""


@contextmanager
def _webhook() -> Iterator[tuple[int, queue.SimpleQueue[float]]]:
    """Run a webhook: its port, and the moments at which it was told something."""
    told: queue.SimpleQueue[float] = queue.SimpleQueue()

    class Hook(BaseHTTPRequestHandler):
        """Takes everything."""

        def do_POST(self) -> None:
            """Take a notification."""
            self.rfile.read(int(self.headers["Content-Length"]))
            told.put(time.perf_counter())
            self.send_response(200)
            self.end_headers()

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1], told
    finally:
        server.shutdown()
        server.server_close()


def _prepare(folder: Path, port: int) -> None:
    """Name the webhook as the one recipient of excursions."""
    secret = folder / "duty.url"
    secret.touch(mode=0o600)
    secret.write_text(f"json://127.0.0.1:{port}/hook")
    with (folder / "gateway.toml").open("a") as file:
        file.write(
            '\n[[alarms.recipients]]\nname = "duty"\nurl = "file:duty.url"\nkinds = ["excursion"]\n'
            f'endpoints = ["http://127.0.0.1:{port}"]\n'
        )


def _assign(folder: Path, count: int) -> None:
    """Let sensors watch an asset each, by one profile."""
    config = load_gateway(folder / "gateway.toml")
    profile = parse_profile(tomllib.loads(PROFILE), where="bench")
    signed = {"who": "bench", "why": "measured"}
    seal_change(config, "profile", {"profile": canonical_form(profile), "sha256": profile.sha256, **signed})
    for number in range(count):
        asset = {"asset": f"fridge-{number}", "asset_kind": "fridge"}
        sensor = {"device": DEVICE, "sensor": f"s{number}"}
        seal_change(config, "config", {"assign": {**asset, **sensor}, **signed})
        seal_change(config, "config", {"assign": {**asset, "profile": "bench", "version": 1}, **signed})


def _publish(client: mqtt.Client, number: int, value: str) -> float:
    """Publish a reading, and give how long its acknowledgement took, in seconds."""
    began = time.perf_counter()
    topic = f"coldseal/v1/{SITE}/{DEVICE}/reading/s{number}"
    client.publish(
        topic, f'{{"v":1,"q":[{{"n":"temperature","u":"Cel","v":{value}}}]}}', qos=1
    ).wait_for_publish(WAIT_S)
    return time.perf_counter() - began


def alarms(bench: Bench) -> Iterator[Row]:
    """Measure from publish to notification handed over, beside the acknowledgement."""
    folder = make_gateway(bench.credentials, bench.place("alarms"))
    with _webhook() as (port, told):
        _prepare(folder, port)
        with run_gateway(folder) as gateway:
            _assign(folder, COUNT)
            client = mqtt.Client(CallbackAPIVersion.VERSION2, DEVICE, protocol=mqtt.MQTTv5)
            client.tls_set_context(open_context(bench.credentials.folder, DEVICE))
            client.connect("localhost", gateway.port)
            client.loop_start()
            acknowledged = [_publish(client, number, "4.71") for number in range(COUNT)]
            taken: list[float] = []
            for number in range(COUNT):
                began = time.perf_counter()
                _publish(client, number, "9.9")
                try:
                    taken.append(told.get(timeout=WAIT_S) - began)
                except queue.Empty as error:
                    raise MeasurementError("no notification came") from error
            client.disconnect()
            client.loop_stop()
    middle, puback = statistics.median(taken) * 1000, statistics.median(acknowledged) * 1000
    slowest = sorted(taken)[int(len(taken) * 0.95)] * 1000
    note = f"{COUNT} excursions, one after the other; 95 % within {slowest:.0f} ms"
    yield Row(
        key="alarms",
        figure="alarm: from publish to notification handed over, p50",
        value=middle,
        unit="ms",
        yardstick="PUBACK p50",
        against=puback,
        goal=50,
        sense="≤",
        note=note,
    )


ROWS: dict[str, Measure] = {"alarms": alarms}
