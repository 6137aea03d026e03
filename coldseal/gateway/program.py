"""The gateway as a program: runs until a signal, and stands refusing where a person must decide first.

A signal lets what was taken in be committed and answered. A fault that no part handles ends the program; its
supervisor starts it again.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from coldseal.errors import ColdsealError
from coldseal.gateway.allocation import keep_little
from coldseal.gateway.app import Gateway
from coldseal.gateway.config import load_gateway
from coldseal.gateway.recovery import note_damage
from coldseal.gateway.refusal import RolledBackError
from coldseal.gateway.refusing import Refusing
from coldseal.gateway.store.database import StoreDamagedError
from coldseal.observe import events
from coldseal.observe.logfile import writing_to
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.config import GatewayConfig

SWITCH_S: Final = 0.0005
"""How long the loop keeps the interpreter from a thread that has finished its commit."""

_log = Log("gateway.app")


def run(config: GatewayConfig, arguments: Sequence[str]) -> int:
    """Run until SIGTERM or SIGINT.

    Args:
        config: the configuration.
        arguments: file and overrides that it was loaded from, for the uplink's own process.

    Raises:
        ColdsealError: it cannot start, or cannot go on.
    """
    sys.setswitchinterval(SWITCH_S)
    keep_little()
    lines = writing_to(config.log.file, max_mb=config.log.max_mb, keep=config.log.keep)
    with lines, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(_run_until_signal(config, arguments))
        except ExceptionGroup as group:
            cause: Exception = group
            while isinstance(cause, ExceptionGroup):
                cause = cause.exceptions[0]
            if isinstance(cause, StoreDamagedError):  # what a start looks at may be sound: it is told
                note_damage(config, cause.seq)
            _log.emit(events.GATEWAY_FAILED, error=repr(cause))
            raise cause from group
        except StoreDamagedError as error:
            _log.emit(events.STORE_DAMAGED, error=str(error))
            raise
        except ColdsealError as error:
            _log.emit(events.GATEWAY_FAILED, error=str(error))
            raise
    return 0


async def _run_until_signal(config: GatewayConfig, arguments: Sequence[str]) -> None:
    """Let a signal end the program, or renew its certificates."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    while not stop.is_set():
        try:
            gateway = await Gateway.open(config, arguments)
            loop.add_signal_handler(signal.SIGHUP, gateway.reload)
            try:
                await gateway.serve(stop)
            finally:
                await gateway.close()
        except RolledBackError as error:
            await Refusing(config, error.refusal).stand(stop)
            config = load_gateway(Path(arguments[0]), arguments[1:])  # a decision may have changed the origin
