"""What the commands about profiles and assets read: a profile's file, and what the log says of sensors."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from coldseal.core.coldchain.product import ProductProfile
    from coldseal.core.coldchain.register import Register


def read(path: Path) -> "ProductProfile":
    """Read a profile.

    Raises:
        OperatorError: it is none; of several faults it names the first, and how to see all.
    """
    from coldseal.core.coldchain.profile import ProfileError
    from coldseal.gateway.profiles import read_profile

    try:
        return read_profile(path)
    except ProfileError as error:
        more = f"coldseal gateway profile check {path}"
        hint = (
            "Correct that value" if len(error.faults) == 1 else f"{len(error.faults)} faults in all: {more}"
        )
        raise OperatorError(str(error), hint) from error


def register_of(config: Path, overrides: list[str] | None) -> "tuple[Register, int]":
    """Give what the log says of sensors, assets and profiles, and the time now."""
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import load_gateway
    from coldseal.gateway.records import open_reader
    from coldseal.gateway.routing.placing import register_of as made_of

    with closing(open_reader(load_gateway(config, overrides or ()))) as reader:
        return made_of(reader.settings()), Clock().now().t_ms
