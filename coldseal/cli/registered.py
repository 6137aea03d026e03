"""What commands about profiles, calibrations and assets read: their files, what the log says of sensors.

A bad file is told with every fault, or with the first and how to see all. Knows of no document what it means.
"""

from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.cli.output import print_json, print_lines
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coldseal.core.coldchain.product import ProductProfile
    from coldseal.core.coldchain.register import Register


AGAINST: Final = 1
"""Exit code where a file is bad."""


def read(path: Path) -> "ProductProfile":
    """Read a profile.

    Raises:
        OperatorError: it is none; of several faults it names the first, and how to see all.
    """
    from coldseal.gateway.profiles import read_profile

    with naming_the_first(f"coldseal gateway profile check {path}"):
        return read_profile(path)


@contextmanager
def naming_the_first(check: str) -> "Iterator[None]":
    """Name the first of a document's faults, and the command that shows all.

    Raises:
        OperatorError: there is a fault.
    """
    from coldseal.core.coldchain.document import DocumentError

    try:
        yield
    except DocumentError as error:
        count = len(error.faults)
        hint = "Correct that value" if count == 1 else f"{count} faults in all: {check}"
        raise OperatorError(str(error), hint) from error


def check_files(
    files: list[Path], noun: str, look: "Callable[[Path], tuple[dict[str, object], str]]", *, as_json: bool
) -> int:
    """Say of each file whether it is good, and of a bad one all that is wrong.

    Args:
        files: the files.
        noun: what they are, as the member of the JSON object.
        look: gives what a good file holds, as facts and in one line; raises DocumentError for a bad one.
        as_json: answer with one JSON object.

    Returns:
        The exit code.
    """
    from coldseal.core.coldchain.document import DocumentError

    found: list[dict[str, object]] = []
    for path in files:
        try:
            facts, line = look(path)
        except DocumentError as error:
            faults = [
                {"key": each.field, "value": each.value, "expected": each.expected} for each in error.faults
            ]
            found.append({"file": str(path), "good": False, "faults": faults})
            lines = [f"{path}: bad", *(f"  {each}" for each in error.faults)]
        else:
            found.append({"file": str(path), "good": True, **facts})
            lines = [f"{path}: good: {line}"]
        if not as_json:
            print_lines(*lines)
    if as_json:
        print_json({noun: found})
    return 0 if all(each["good"] for each in found) else AGAINST


def register_of(config: Path, overrides: list[str] | None) -> "tuple[Register, int]":
    """Give what the log says of sensors, assets and profiles, and the time now."""
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.records import open_reader
    from coldseal.gateway.routing.placing import register_of as made_of

    with closing(open_reader(load_gateway(config, overrides or ()))) as reader:
        return made_of(reader.settings()), Clock().now().t_ms
