"""The OASIS texts clause by clause: tables of bytes and outcomes, and which test keeps which clause."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from coldseal.mqtt.packets import Version

Test = TypeVar("Test", bound=Callable[..., object])

KEPT: dict[Version, dict[str, str]] = {Version.V311: {}, Version.V5: {}}
"""By text and clause (``MQTT-4.4.0-1``), the test of a machine that was marked with ``keeps``."""


def keeps(*, v311: str = "", v5: str = "") -> Callable[[Test], Test]:
    """Say which normative statements a test of a machine shows, as ``"4.4.0-1 4.6.0-1"``."""

    def mark(test: Test) -> Test:
        for version, clauses in ((Version.V311, v311), (Version.V5, v5)):
            KEPT[version].update({f"MQTT-{clause}": test.__name__ for clause in clauses.split()})
        return test

    return mark
