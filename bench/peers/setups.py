"""One set-up for each peer: its service runs, its edge waits to be started, the line between them can be cut.

Sensors speak MQTT 3.1.1 over TLS with client certificates to all of them. What a peer needs beyond what it
comes with, so that it keeps all that it can, stands in its configuration here and in docs/peers.md.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench.loading import GATEWAY, Credentials
from bench.peers.counting import Reading
from bench.peers.edge import Edge, Wire
from bench.peers.sink import Sink, parse_reading
from bench.programs import MeasurementError, Program, free_port, is_open, running

TOPICS = "coldseal/v1/+/+/reading/+"


@dataclass(frozen=True)
class Setup:
    """A peer that is ready.

    Attributes:
        port: where the sensors publish.
        edge: the programs before the line.
        wire: the line.
        arrived: counts deliveries, quickly.
        delivered: gives them all in order.
    """

    port: int
    edge: Edge
    wire: Wire
    arrived: Callable[[], int]
    delivered: Callable[[], Sequence[Reading]]


Peer = Callable[[Credentials, Path], AbstractContextManager[Setup]]


def listener(credentials: Credentials, port: int) -> str:
    """Write Mosquitto's listener for sensors."""
    certificate = credentials.certificate("gateway", GATEWAY)
    return (
        f"listener {port} 127.0.0.1\n"
        f"cafile {credentials.ca}\n"
        f"certfile {certificate}\n"
        f"keyfile {certificate.with_suffix('.key')}\n"
        "require_certificate true\n"
    )


def broker(folder: Path, name: str, port: int, *lines: str) -> AbstractContextManager[Program]:
    """Run Mosquitto as Debian's configuration has it (it saves its queues), without limits on them."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise MeasurementError("mosquitto is not installed")
    state = folder / f"{name}.state"
    state.mkdir(parents=True, exist_ok=True)
    config = folder / f"{name}.conf"
    config.write_text(
        "per_listener_settings false\n"
        "allow_anonymous true\n"
        "persistence true\n"
        f"persistence_location {state}/\n"
        "max_queued_messages 0\n"
        f"user {folder.owner()}\n" + "".join(lines)
    )
    return running(name, [program, "-c", config], folder, is_ready=lambda _: is_open(port), within_s=20)


@contextmanager
def mosquitto_bridge(
    credentials: Credentials, folder: Path, *, is_saved_always: bool = False
) -> Iterator[Setup]:
    """Mosquitto at the edge bridges to another one at QoS 1; a subscriber there is the service."""
    port, far = free_port(), free_port()
    with (
        broker(folder, "far", far, f"listener {far} 127.0.0.1\nmax_inflight_messages 0\n"),
        Sink(far, [TOPICS], parse_reading) as sink,
        Wire(far) as wire,
    ):
        saving = "autosave_interval 1\nautosave_on_changes true\n" if is_saved_always else ""
        bridge = (
            "connection up\n"
            f"address 127.0.0.1:{wire.port}\n"
            "topic coldseal/# out 1\n"
            "cleansession false\n"
            "bridge_protocol_version mqttv311\n"
            "remote_clientid edge\n"
            "local_clientid edge\n"
            "notifications false\n"
            "restart_timeout 1\n"
        )
        start = partial(broker, folder, "edge", port, saving, listener(credentials, port), bridge)
        with Edge([start]).started() as edge:
            yield Setup(port, edge, wire, lambda: len(sink.delivered), lambda: list(sink.delivered))


@contextmanager
def nats(
    credentials: Credentials, folder: Path, *, program: Path, is_synced_always: bool = False
) -> Iterator[Setup]:
    """A NATS server with JetStream takes MQTT; a subscriber with a session behind the line is the service."""
    port, client_port = free_port(), free_port()
    certificate = credentials.certificate("gateway", GATEWAY)
    config = folder / "nats.conf"
    syncing = ", sync_interval: always" if is_synced_always else ""
    config.write_text(
        f'server_name: "edge"\nlisten: "127.0.0.1:{client_port}"\n'
        f'jetstream {{ store_dir: "{folder / "jetstream"}"{syncing} }}\n'
        f'mqtt {{ listen: "127.0.0.1:{port}", ack_wait: "5s", max_ack_pending: 20000, tls {{\n'
        f'  cert_file: "{certificate}"\n  key_file: "{certificate.with_suffix(".key")}"\n'
        f'  ca_file: "{credentials.ca}"\n  verify: true\n}} }}\n'
    )
    command: list[str | Path] = [program, "-c", config]
    start = partial(running, "nats", command, folder, is_ready=lambda _: is_open(port), within_s=20)
    with (
        Wire(port) as wire,
        Edge([start]).started() as edge,
        Sink(wire.port, [TOPICS], parse_reading, credentials) as sink,
    ):
        yield Setup(port, edge, wire, lambda: len(sink.delivered), lambda: list(sink.delivered))
