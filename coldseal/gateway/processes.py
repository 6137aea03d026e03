"""How a process beside the intake begins and ends: configuration, lines in the log file, exit code.

Promise: a fault that is not ours ends it with a traceback; every other one is said once, in its own event.
What it does, and that its standard input is its life, is the process's own matter.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from coldseal.errors import ColdsealError, OperatorError
from coldseal.gateway.allocation import give_back, keep_little
from coldseal.gateway.config import load_gateway
from coldseal.observe.logfile import writing_to
from coldseal.observe.logs import configure

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from coldseal.gateway.config import GatewayConfig
    from coldseal.observe.events.event import Event
    from coldseal.observe.logs import Log

USAGE: Final = 2
UNAVAILABLE: Final = 3


def run_beside(
    arguments: Sequence[str],
    run: Callable[[GatewayConfig], Coroutine[None, None, None]],
    *,
    part: str,
    log: Log,
    failed: Event,
) -> int:
    """Run until it ends.

    Args:
        arguments: configuration file and overrides.
        run: what it does.
        part: whose lines those in the log file are.
        log: says why it ends with an error.
        failed: that event; it has a field ``error``.

    Returns:
        The exit code: 2 for a wrong configuration, 3 for another fault of ours.
    """
    configure()
    keep_little(is_hurried=False)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        give_back(runner.get_loop().call_later)
        try:
            path, *overrides = arguments or ("",)
            config = load_gateway(Path(path), overrides)
            lines = config.log
            with writing_to(lines.file, max_mb=lines.max_mb, keep=lines.keep, part=part):
                runner.run(run(config))
        except (ColdsealError, ExceptionGroup) as error:
            fault = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
            if not isinstance(fault, ColdsealError):
                raise fault from error
            log.emit(failed, error=str(fault))
            return USAGE if isinstance(fault, OperatorError) else UNAVAILABLE
    return 0
