"""The baseline: a gateway as the design article sketches it, with what such a sketch needs around it.

A broker takes the readings in, a subscriber signs each one's sorted compact JSON and inserts it with
one SQLite commit, and a loop posts the un-synced rows one by one over mutual TLS, marking each after a
2xx. Better than the sketch where it leaves a choice: WAL, and one connection kept for all posts.
It keeps none of coldseal's promises: the broker acknowledges before anything is on disk.
"""

from __future__ import annotations

import base64
import http.client
import json
import signal
import sqlite3
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Annotated

import cyclopts
import paho.mqtt.client as paho
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from paho.mqtt.enums import CallbackAPIVersion
from typing_extensions import override

_ECDSA = ec.ECDSA(hashes.SHA256())
_BATCH = 500
_IDLE_S = 0.02


@cyclopts.Parameter(name="*")
@dataclass(frozen=True)
class Plan:
    """Where everything is.

    Args:
        data: folder for the database.
        port: of the receiver, which listens there or is posted to.
        certificate: of this side of the uplink.
        key: of that certificate.
        ca: that the other side is checked against.
        signing_key: PEM: the private key of the gateway, the public one of the receiver.
        broker_port: of the broker that the gateway subscribes at.
        broker_certificate: the gateway's client certificate at the broker.
        broker_key: of that certificate.
        broker_ca: that the broker is checked against.
    """

    data: Path
    port: int
    certificate: Path
    key: Path
    ca: Path
    signing_key: Path
    broker_port: int = 0
    broker_certificate: Path | None = None
    broker_key: Path | None = None
    broker_ca: Path | None = None


class SignedBuffer:
    """The article's class: sign a reading's canonical form, keep it in an append-only table."""

    def __init__(self, path: Path, key: ec.EllipticCurvePrivateKey) -> None:
        """Create the table and the trigger that guards it against delete."""
        self._key = key
        self._lock = threading.Lock()
        self._database = sqlite3.connect(path, check_same_thread=False)
        self._database.executescript(
            """
            PRAGMA journal_mode = WAL;
            PRAGMA synchronous = FULL;
            CREATE TABLE IF NOT EXISTS readings (
                seq INTEGER PRIMARY KEY AUTOINCREMENT, canonical TEXT NOT NULL, sig BLOB NOT NULL,
                ts REAL NOT NULL, synced INTEGER NOT NULL DEFAULT 0);
            CREATE INDEX IF NOT EXISTS readings_unsynced ON readings(seq) WHERE synced = 0;
            CREATE TRIGGER IF NOT EXISTS readings_keep BEFORE DELETE ON readings
                BEGIN SELECT RAISE(ABORT, 'append only'); END;
            """
        )

    def append(self, reading: dict[str, object], moment: float) -> None:
        """Sign one reading and commit it."""
        canonical = json.dumps(reading, sort_keys=True, separators=(",", ":"))  # noqa: TID251 -- the sketch's
        signature = self._key.sign(canonical.encode(), _ECDSA)
        with self._lock, self._database:
            self._database.execute(
                "INSERT INTO readings(canonical, sig, ts) VALUES (?, ?, ?)", (canonical, signature, moment)
            )

    def unsynced(self) -> list[tuple[int, str, bytes, float]]:
        """Read the oldest rows that the receiver has not confirmed."""
        with self._lock:
            return self._database.execute(
                "SELECT seq, canonical, sig, ts FROM readings WHERE synced = 0 ORDER BY seq LIMIT ?",
                (_BATCH,),
            ).fetchall()

    def mark(self, seq: int) -> None:
        """Mark one row as confirmed."""
        with self._lock, self._database:
            self._database.execute("UPDATE readings SET synced = 1 WHERE seq = ?", (seq,))


def forward(buffer: SignedBuffer, plan: Plan, stop: threading.Event) -> None:
    """Post un-synced rows one by one until told to stop; a failed post is tried again."""
    context = ssl.create_default_context(cafile=plan.ca)
    context.load_cert_chain(plan.certificate, plan.key)
    connection = http.client.HTTPSConnection("localhost", plan.port, context=context, timeout=10)
    while not stop.is_set():
        rows = buffer.unsynced()
        for seq, canonical, signature, moment in rows:
            if stop.is_set():
                break
            body = {
                "seq": seq,
                "canonical": canonical,
                "sig": base64.b64encode(signature).decode(),
                "ts": moment,
            }
            try:
                connection.request("POST", "/ingest", json.dumps(body))  # noqa: TID251 -- the sketch's
                answer = connection.getresponse()
                answer.read()
            except OSError:
                connection.close()
                break
            if HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
                buffer.mark(seq)
        if not rows:
            stop.wait(_IDLE_S)


def run_gateway(plan: Plan) -> None:
    """Subscribe, sign and store what comes, and forward it beside."""
    key = serialization.load_pem_private_key(plan.signing_key.read_bytes(), password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    buffer = SignedBuffer(plan.data / "gateway.db", key)
    stop = _stop_on_signal()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="gateway", clean_session=False)
    if plan.broker_ca is not None:
        client.tls_set(str(plan.broker_ca), str(plan.broker_certificate), str(plan.broker_key))

    def take(_client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        buffer.append(json.loads(message.payload) | {"topic": message.topic}, time.time())  # noqa: TID251 -- the sketch's

    def subscribe(*_: object) -> None:
        client.subscribe("coldseal/v1/+/+/reading/+", qos=1)

    def report(*_: object) -> None:
        print("ready", flush=True)

    client.on_message = take
    client.on_connect = subscribe
    client.on_subscribe = report
    client.connect("localhost", plan.broker_port)
    client.loop_start()
    forward(buffer, plan, stop)
    client.disconnect()
    client.loop_stop()


class Receiver(ThreadingHTTPServer):
    """Verifies and stores each reading that is posted, one commit for each."""

    daemon_threads = True

    def __init__(self, plan: Plan) -> None:
        """Listen with mutual TLS."""
        key = serialization.load_pem_public_key(plan.signing_key.read_bytes())
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.key = key
        self.lock = threading.Lock()
        self.database = sqlite3.connect(plan.data / "receiver.db", check_same_thread=False)
        self.database.executescript(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "CREATE TABLE readings (seq INTEGER PRIMARY KEY, canonical TEXT, sig BLOB, ts REAL)"
        )
        super().__init__(("127.0.0.1", plan.port), Ingest)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(plan.certificate, plan.key)
        context.load_verify_locations(plan.ca)
        context.verify_mode = ssl.CERT_REQUIRED
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def take(self, body: bytes) -> HTTPStatus:
        """Verify one reading and store it."""
        row = json.loads(body)
        signature = base64.b64decode(row["sig"])
        try:
            self.key.verify(signature, row["canonical"].encode(), _ECDSA)
        except InvalidSignature:
            return HTTPStatus.BAD_REQUEST
        with self.lock, self.database:
            self.database.execute(
                "INSERT OR IGNORE INTO readings VALUES (?, ?, ?, ?)",
                (row["seq"], row["canonical"], signature, row["ts"]),
            )
        return HTTPStatus.OK


class Ingest(BaseHTTPRequestHandler):
    """One connection of the receiver."""

    protocol_version = "HTTP/1.1"  # keeps the connection
    disable_nagle_algorithm = True
    server: Receiver

    def do_POST(self) -> None:
        """Answer one post."""
        status = self.server.take(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: writing a line for each post would slow the baseline."""


def run_receiver(plan: Plan) -> None:
    """Serve until told to stop."""
    server = Receiver(plan)
    stop = _stop_on_signal()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    print("ready", flush=True)
    stop.wait()
    server.shutdown()


def _stop_on_signal() -> threading.Event:
    """Make an event that SIGTERM sets."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


app = cyclopts.App(name="baseline", help=__doc__)


@app.command
def gateway(plan: Annotated[Plan, cyclopts.Parameter(name="*")]) -> None:
    """Run the sketched gateway."""
    run_gateway(plan)


@app.command
def receiver(plan: Annotated[Plan, cyclopts.Parameter(name="*")]) -> None:
    """Run the receiver behind it."""
    run_receiver(plan)


if __name__ == "__main__":
    sys.exit(app())
