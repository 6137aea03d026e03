"""ThingsBoard's gateway with one of its stores: Mosquitto before it, a broker as its server behind it.

The server's broker lets the gateway write and gives it nothing but the answer to its request: the gateway
subscribes to topics that it also publishes to, and a plain broker would send it its own words.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

from bench.loading import Credentials
from bench.peers.edge import Edge, Wire
from bench.peers.setups import TOPICS, Setup, broker, listener
from bench.peers.sink import Sink, parse_telemetry
from bench.programs import Program, free_port, running

_NAME: Final = "edge"
_READY_S: Final = 20.0
_ACCESS: Final = (
    "user edge\ntopic write v1/#\ntopic read v1/devices/me/rpc/response/+\nuser sink\ntopic readwrite #\n"
)
_STORES: Final[dict[str, dict[str, object]]] = {
    "memory": {"type": "memory", "read_records_count": 1000, "max_records_count": 1_000_000},
    "file": {
        "type": "file",
        "data_folder_path": "./data/",
        "max_file_count": 100,
        "max_read_records_count": 1000,
        "max_records_per_file": 10_000,
    },
    "sqlite": {
        "type": "sqlite",
        "data_file_path": "./data/",
        "messages_ttl_check_in_hours": 1,
        "messages_ttl_in_days": 7,
        "max_read_records_count": 1000,
    },
}


@contextmanager
def thingsboard(credentials: Credentials, folder: Path, *, environment: Path, store: str) -> Iterator[Setup]:
    """Sensors publish to Mosquitto, the gateway subscribes there and sends to the server."""
    port, inner, far = free_port(), free_port(), free_port()
    access = folder / "access"
    access.write_text(_ACCESS)
    access.chmod(0o600)
    server = f"listener {far} 127.0.0.1\nmax_inflight_messages 0\nacl_file {access}\n"
    topics = ["v1/devices/me/rpc/request/+", "v1/gateway/telemetry"]
    with (
        broker(folder, "server", far, server),
        Sink(far, topics, parse_telemetry) as sink,
        Wire(far) as wire,
    ):
        _configure(folder, inner, wire.port, store)
        both = f"{listener(credentials, port)}listener {inner} 127.0.0.1\n"
        edge = Edge(
            [
                partial(broker, folder, "edge", port, both),
                partial(_start, folder, environment),
            ]
        )
        with edge.started():
            yield Setup(port, edge, wire, lambda: len(sink.delivered), lambda: list(sink.delivered))


def _start(folder: Path, environment: Path) -> AbstractContextManager[Program]:
    """Run the gateway."""
    is_ready = _Ready(folder / "thingsboard.log")
    return running("thingsboard", _command(folder, environment), folder, is_ready=is_ready, within_s=90)


def _command(folder: Path, environment: Path) -> list[str]:
    """Give the command, in its folder and without our own environment's settings."""
    settings = ["-u", "PYTHONPATH", "-C", str(folder), f"TB_GW_CONFIG_DIR={folder / 'config'}/"]
    return ["env", *settings, str(environment / "bin" / "python"), "-c", _MAIN]


_MAIN: Final = "from thingsboard_gateway.tb_gateway import main; main()"


class _Ready:
    """Whether it says that it runs; what an earlier start has said does not count.

    Without its server it waits for that before it takes anything in: then it is ready for what comes, too.
    """

    def __init__(self, log: Path) -> None:
        """Look from the log's present end on."""
        self._log = log
        self._begin = log.stat().st_size if log.exists() else 0
        self._latest = time.monotonic() + _READY_S

    def __call__(self, _program: Program) -> bool:
        """Look now."""
        said = self._log.read_bytes()[self._begin :]
        is_up = b"Gateway started." in said and b"subscription success" in said
        return is_up or time.monotonic() > self._latest


def _configure(folder: Path, inner: int, port: int, store: str) -> None:
    """Write its configuration: everything as it comes, but for where things are and how much is kept."""
    config = folder / "config"
    config.mkdir(exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "logs").mkdir(exist_ok=True)
    gateway = {
        "thingsboard": {
            "host": "127.0.0.1",
            "port": port,
            "remoteShell": False,
            "remoteConfiguration": False,
            "statistics": {"enable": False, "statsSendPeriodInSeconds": 3600},
            "deviceFiltering": {"enable": False, "filterFile": "list.json"},
            "maxPayloadSizeBytes": 65_536,
            "minPackSendDelayMS": 50,
            "minPackSizeToSend": 500,
            "checkConnectorsConfigurationInSeconds": 60,
            "handleDeviceRenaming": True,
            "security": {"type": "accessToken", "accessToken": _NAME},
            "qos": 1,
            "reportStrategy": {"type": "ON_RECEIVED"},
            "checkingDeviceActivity": {"checkDeviceInactivity": False},
        },
        "storage": _STORES[store],
        "grpc": {"enabled": False},
        "connectors": [{"type": "mqtt", "name": "sensors", "configuration": "mqtt.json"}],
    }
    (config / "tb_gateway.json").write_bytes(msgspec.json.encode(gateway))
    (config / "mqtt.json").write_bytes(msgspec.json.encode(_connector(inner)))
    (config / "list.json").write_text("{}")
    logging = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"consoleHandler": {"class": "logging.StreamHandler", "level": "INFO"}},
        "root": {"level": "INFO", "handlers": ["consoleHandler"]},
    }
    (config / "logs.json").write_bytes(msgspec.json.encode(logging))


def _connector(port: int) -> dict[str, object]:
    """Say where its readings come from: a session that outlasts its connections, a value for each message."""
    return {
        "broker": {
            "host": "127.0.0.1",
            "port": port,
            "clientId": "thingsboard-gateway",
            "version": 5,
            "maxMessageNumberPerWorker": 10,
            "maxNumberOfWorkers": 100,
            "cleanSession": False,
            "cleanStart": False,
            "sessionExpiryInterval": 86_400,
            "security": {"type": "anonymous"},
        },
        "mapping": [
            {
                "topicFilter": TOPICS,
                "subscriptionQos": 1,
                "converter": {
                    "type": "json",
                    "deviceInfo": {
                        "deviceNameExpressionSource": "topic",
                        "deviceNameExpression": "(?<=bench/)(.*?)(?=/reading)",
                        "deviceProfileExpressionSource": "constant",
                        "deviceProfileExpression": "default",
                    },
                    "sendDataOnlyOnChange": False,
                    "timeout": 60_000,
                    "attributes": [],
                    "timeseries": [{"type": "integer", "key": "s${seq}", "value": "${seq}"}],
                },
            }
        ],
        "requestsMapping": {},
    }
