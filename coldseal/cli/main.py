"""The `coldseal` command: finds the noun and turns what happens into an exit code.

Starts with the standard library alone, so that `--help` is quick and a bare install can verify
evidence; a noun's packages are imported when it is called. Knows no verb.
"""

import gc
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Final, NamedTuple

from coldseal import __version__
from coldseal.errors import ColdsealError, OperatorError, TrustError, UnavailableError

AGAINST: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
INTERRUPTED: Final = 130  # 128 + SIGINT, as shells have it


class Noun(NamedTuple):
    """A noun of the command line: what it is about, and the extra that brings its packages."""

    summary: str
    extra: str


NOUNS: Final = {
    "demo": Noun("run a service, a gateway and simulated sensors here, with faults", "gateway,service"),
    "gateway": Noun("set up, run and look at a gateway", "gateway"),
    "service": Noun("set up, run and look at the ingestion service", "service"),
    "drill": Noun("play faults on a running gateway and put on record what came of it", "gateway"),
    "evidence": Noun("export, verify and show evidence bundles", "gateway"),
    "recover": Noun("bring a damaged, lost or rolled-back log up again", "gateway"),
    "schema": Noun("check, show and try schemas of payloads", "gateway"),
    "identity": Noun("make and show certificates and passwords", "gateway"),
}

ALONE: Final = {("gateway", "run"): "coldseal.cli.running", ("evidence", "verify"): "coldseal.cli.verdict"}
"""Where a verb stands by itself: one that runs for months, or whose time counts, loads no other command."""


def main() -> None:
    """Run the command line and end the process with its exit code."""
    code = run(sys.argv[1:])
    gc.freeze()  # all that is left goes with the process: looking for rings in it would only take time
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code."""
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except ColdsealError as error:
        return _report(error, as_json="--json" in arguments)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return code


def _dispatch(arguments: Sequence[str]) -> int:
    """Find the noun and hand over to its module."""
    noun, *rest = arguments or ("--help",)
    if noun in {"--help", "-h"}:
        sys.stdout.write(_overview())
        return 0
    if noun == "--version":
        sys.stdout.write(f"coldseal {__version__}\n")
        return 0
    if noun not in NOUNS:
        import difflib

        close = difflib.get_close_matches(noun, NOUNS, n=1)
        hint = f"Did you mean `coldseal {close[0]}`?" if close else "See: coldseal --help"
        raise OperatorError(f"coldseal has no {noun!r}", hint)
    alone = None if {"--help", "-h"}.intersection(rest) else ALONE.get((noun, "".join(rest[:1])))
    try:
        module = _load(alone or f"coldseal.cli.{noun}")
        from coldseal.cli.commands import run_commands

        return run_commands(noun, NOUNS[noun].summary, module.COMMANDS, rest)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("coldseal"):
            raise
        hint = f"Install it with: pip install 'coldseal[{NOUNS[noun].extra}]'"
        raise OperatorError(
            f"`coldseal {' '.join(arguments[:2])}` needs the package {error.name}", hint
        ) from error


def _load(name: str) -> ModuleType:
    """Load a module; what is loaded stays, so nobody looks for what could be collected meanwhile."""
    gc.disable()
    try:
        return importlib.import_module(name)
    finally:
        gc.enable()


def _overview() -> str:
    """Write the help of the command itself."""
    nouns = "".join(f"  {name:<10}{noun.summary}\n" for name, noun in NOUNS.items())
    return (
        "usage: coldseal NOUN [VERB] ...\n\n"
        "Pharmaceutical cold-chain gateway: a reading is acknowledged once it is\n"
        "signed, chained and on disk.\n\n"
        f"{nouns}\n"
        "  coldseal NOUN --help shows its verbs; --version shows the version.\n\n"
        "exit codes: 0 good, 1 verdict against, 2 usage or configuration, 3 unavailable\n"
    )


def _report(error: ColdsealError, *, as_json: bool) -> int:
    """Show an error in one block, and give its exit code."""
    what, hint = (error.what, error.hint) if isinstance(error, OperatorError) else (str(error), "")
    if as_json:
        from coldseal.cli.output import print_json

        print_json({"error": what, "hint": hint})
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    label = "\x1b[1;31merror:\x1b[0m" if colour else "error:"
    sys.stderr.write(f"{label} {what}\n" + (f" hint: {hint}\n" if hint else ""))
    if isinstance(error, TrustError):
        return AGAINST
    return UNAVAILABLE if isinstance(error, UnavailableError) else USAGE


if __name__ == "__main__":
    main()
