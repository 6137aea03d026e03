"""The notifier as a process of its own: ``python -m coldseal.gateway.alarming.process CONFIG [key=value …]``.

Started, and started again, by `notifier`; it ends when its standard input does. Each line there is a notice,
each line of its standard output what became of one. Recipients do not wait for each other. It opens no log.
"""

from __future__ import annotations

import os
import ssl
import sys
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final, TextIO

import msgspec

from coldseal.errors import ColdsealError, OperatorError, UnavailableError
from coldseal.gateway.alarming.fence import Fence
from coldseal.gateway.alarming.handover import Handover
from coldseal.gateway.alarming.wire import REFUSED, Answer, Order
from coldseal.gateway.allocation import keep_little
from coldseal.gateway.config import load_gateway
from coldseal.gateway.egress import Guard
from coldseal.gateway.endpoints import endpoint_of
from coldseal.gateway.uplink.names import guard_of
from coldseal.observe import events
from coldseal.observe.logfile import writing_to
from coldseal.observe.logs import Log, configure
from coldseal.signing.secrets import read_secret

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.tables.alarms import Recipient

USAGE: Final = 2
_log = Log("alarms.process")


def main(arguments: Sequence[str]) -> int:
    """Hand over until standard input ends; 2 stands for a wrong configuration."""
    configure()
    keep_little()
    try:
        path, *overrides = arguments or ("",)
        config = load_gateway(Path(path), overrides)
        log = config.log
        with writing_to(log.file, max_mb=log.max_mb, keep=log.keep, part="alarms"):
            put_up(config)
            serve(config.alarms.recipients, sys.stdin, sys.stdout)
    except ColdsealError as error:
        _log.emit(events.ALARMS_FAILED, error=str(error))
        return USAGE
    return 0


def put_up(config: GatewayConfig) -> Guard:
    """Put the fence up, and say which CA certificates count: for this whole process."""
    guard = guard_of(config, kept=config.gateway.data / REFUSED)
    endpoints = [endpoint_of(url) for each in config.alarms.recipients for url in each.endpoints]
    trusted = config.alarms.ca or ssl.get_default_verify_paths().openssl_cafile
    os.environ["SSL_CERT_FILE"] = os.environ["REQUESTS_CA_BUNDLE"] = str(trusted)
    os.environ["HOME"] = os.devnull  # no .netrc, and no plug-ins of whoever runs this
    Fence(guard, endpoints, [each.host for each in config.egress.resolver]).raise_()
    return guard


def serve(recipients: Sequence[Recipient], told: TextIO, answers: TextIO) -> None:
    """Hand over what each line says, one after the other for each recipient, and say what became of it.

    At the end nothing is waited for: what was on its way is handed over again by the next run.
    """
    lock, queues = Lock(), {each.name: SimpleQueue[Order]() for each in recipients}

    def say(answer: Answer) -> None:
        with lock:
            answers.write(msgspec.json.encode(answer).decode() + "\n")
            answers.flush()

    def work(way: _Way, queue: SimpleQueue[Order]) -> None:
        if fault := way.opened():
            say(Answer(0, fault, way.name))
        while True:
            say(way.hand_over(queue.get()))

    for each in recipients:
        Thread(target=work, args=(_Way(each), queues[each.name]), daemon=True).start()
    for line in told:
        order = msgspec.json.decode(line, type=Order)
        queues[order.to].put(order)


class _Way:
    """The way to one recipient; opened at the start, and again as long as it cannot be."""

    def __init__(self, recipient: Recipient) -> None:
        """Take it; its secret is not read yet."""
        self._recipient, self.name = recipient, recipient.name
        self._handover: Handover | None = None

    def opened(self) -> str:
        """Read the secret, and load what is needed; gives why that cannot be, empty if it can."""
        recipient = self._recipient
        try:
            address = read_secret(recipient.url, Path()).decode()
            endpoints = [endpoint_of(each) for each in recipient.endpoints]
            self._handover = Handover(recipient.name, address, endpoints)
        except OperatorError as error:
            return error.what
        except Exception as error:  # noqa: BLE001 -- a plug-in of somebody else raises what it likes
            return type(error).__name__  # its text may show the secret
        return ""

    def hand_over(self, order: Order) -> Answer:
        """Hand one notification over; whatever goes wrong is the answer."""
        fault = "" if self._handover is not None else self.opened()
        if self._handover is None:
            return Answer(order.id, error=fault)
        try:
            self._handover.hand_over(order.title, order.body, order.weight)
        except UnavailableError as error:
            return Answer(order.id, error=error.cause)
        except Exception as error:  # noqa: BLE001 -- a plug-in of somebody else: it must not end the others
            return Answer(order.id, error=type(error).__name__)
        return Answer(order.id)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
