"""`coldseal gateway run` alone: a program that lives for months loads no command beside its own.

Holds that command and nothing else; `gateway` lists it among the others.
"""

from pathlib import Path

from coldseal.cli.commands import program


@program
def run(config: Path, /, *, set_: list[str] | None = None, log_level: str = "info") -> int:
    """Run the gateway until SIGTERM or SIGINT; logs go to stderr as JSON lines.

    Args:
        config: gateway.toml.
        set_: one setting to override, as table.key=value; may be given several times.
        log_level: debug, info, warning, error or critical.
    """
    from coldseal.cli.setup import start_logs
    from coldseal.gateway.config import load_gateway

    settings = load_gateway(config, set_ or ())
    start_logs(log_level)
    from coldseal.gateway.program import run as run_gateway  # after the settings: a wrong one is told at once

    return run_gateway(settings, [str(config.resolve()), *(set_ or ())])


COMMANDS = (run,)
