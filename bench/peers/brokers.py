"""What coldseal is compared with, in the same run: Mosquitto over TLS, and the article's sketch.

Both get certificates of the same CA and are loaded by the same generator. Mosquitto acknowledges before
anything is durable, which is why its rate is a yardstick and not a goal.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.load import Result
from bench.loading import GATEWAY, SERVICE, Credentials, load
from bench.programs import MeasurementError, Program, free_port, is_open, running, wait_until


@contextmanager
def mosquitto(credentials: Credentials, folder: Path) -> Iterator[int]:
    """Run Mosquitto with TLS 1.3 and client certificates, as it comes; yields its port."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if program is None:
        raise MeasurementError("mosquitto is not installed")
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    certificate = credentials.certificate("gateway", GATEWAY)
    config = folder / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\n"
        f"cafile {credentials.ca}\n"
        f"certfile {certificate}\n"
        f"keyfile {certificate.with_suffix('.key')}\n"
        "tls_version tlsv1.3\n"
        "require_certificate true\n"
        "allow_anonymous true\n"
        "set_tcp_nodelay true\n"
        "max_queued_messages 0\n"
        f"user {folder.owner()}\n"
    )
    with running("mosquitto", [program, "-c", config], folder, is_ready=lambda _: is_open(port), within_s=10):
        yield port


def baseline_per_second(credentials: Credentials, folder: Path, messages: int) -> float:
    """Measure the sketch from sensor to service: readings stored by the receiver a second."""
    folder.mkdir(parents=True, exist_ok=True)
    write_signing_key(folder)
    port = free_port()
    shared = [sys.executable, "-m", "bench.baseline"]
    service = credentials.certificate("service", SERVICE)
    gateway = credentials.certificate("gateway", GATEWAY)
    receiver = [*shared, "receiver", *_plan(folder, port, service, credentials, "signing.pub")]
    sender = [*shared, "gateway", *_plan(folder, port, gateway, credentials, "signing.pem")]
    with (
        mosquitto(credentials, folder / "broker") as broker,
        running("receiver", receiver, folder, is_ready=_is_ready),
        running(
            "sketch",
            [
                *sender,
                *("--broker-port", str(broker), "--broker-ca", credentials.ca),
                *("--broker-certificate", gateway, "--broker-key", gateway.with_suffix(".key")),
            ],
            folder,
            is_ready=_is_ready,
        ),
    ):
        begun = time.perf_counter()
        result: Result = load(credentials, broker, connections=10, window=20, messages=messages, seconds=60)
        if result.acknowledged != messages:
            raise MeasurementError(f"the broker acknowledged {result.acknowledged} of {messages}")
        wait_until(lambda: _stored(folder) >= messages, f"{messages} readings at the receiver", 300, 0.05)
        return messages / (time.perf_counter() - begun)


def write_signing_key(folder: Path) -> None:
    """Write the key pair with which the sketch signs and its receiver verifies."""
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "signing.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    (folder / "signing.pub").write_bytes(
        key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def _plan(folder: Path, port: int, certificate: Path, credentials: Credentials, key: str) -> list[str | Path]:
    """Arguments that both ends of the sketch take."""
    return [
        *("--data", folder, "--port", str(port), "--ca", credentials.ca, "--signing-key", folder / key),
        *("--certificate", certificate, "--key", certificate.with_suffix(".key")),
    ]


def _is_ready(program: Program) -> bool:
    """Whether it has said so."""
    return "ready" in program.tail()


def _stored(folder: Path) -> int:
    """Count what the receiver stored."""
    with closing(sqlite3.connect(f"file:{folder / 'receiver.db'}?mode=ro", uri=True)) as database:
        (count,) = database.execute("SELECT count(*) FROM readings").fetchone()
        return int(count)
