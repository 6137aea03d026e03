"""``coldseal evidence page``: writes the verifier as one page for a browser."""

from __future__ import annotations

from pathlib import Path

from coldseal.cli.output import print_lines
from coldseal.errors import OperatorError
from coldseal.page import page as verifier


def page(output: Path, *, bundle: Path | None = None) -> int:
    """Write the page that verifies bundles in a browser, without a network.

    Args:
        output: the new file; must not exist.
        bundle: an evidence bundle for the page to carry, and to check as soon as it is opened.
    """
    try:
        carried = None if bundle is None else bundle.read_bytes()
    except OSError as error:
        raise OperatorError(f"{bundle} cannot be read: {error.strerror}", "Name another file") from error
    try:
        with output.open("xb") as file:
            file.write(verifier(carried))
    except OSError as error:
        raise OperatorError(f"{output} cannot be written: {error.strerror}", "Name another file") from error
    carrying = "" if bundle is None else f", with {bundle.name} in it"
    print_lines(f"{output}: the verifier{carrying}; open it in a browser")
    return 0
