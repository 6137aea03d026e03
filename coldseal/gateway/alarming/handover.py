"""Hands a notification to a recipient by apprise: the one door to that library, loaded only here.

Promise: an address that would speak openly to an endpoint with TLS, or not verify it, is refused; what went
wrong is told in few words, without any part of the address. Blocks; tries once. Who may be reached, the fence
decides.
"""

from __future__ import annotations

import logging
import re
import threading
from typing import TYPE_CHECKING, Final, Literal

from typing_extensions import override

from coldseal.errors import OperatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.gateway.endpoints import Endpoint

Weight = Literal["info", "success", "warning", "failure"]

MAX_ERROR: Final = 200
"""Characters of what went wrong that are told."""

_SHORTEST_SECRET: Final = 3


class _Told(logging.Handler):
    """Keeps what the library said last, thread by thread."""

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__(logging.WARNING)
        self._last = threading.local()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        """Keep one message."""
        self._last.text = record.getMessage()

    def take(self) -> str:
        """Give what was said last in this thread, once."""
        found: str = getattr(self._last, "text", "")
        self._last.text = ""
        return found


_told: Final = _Told()


class Handover:
    """The way to one recipient.

    Args:
        name: the recipient's.
        address: the address of apprise; a secret.
        endpoints: what it is said to connect to.

    Raises:
        OperatorError: the library is not installed, or the address cannot be used.
    """

    def __init__(self, name: str, address: str, endpoints: Sequence[Endpoint]) -> None:
        """Read the address; nothing is connected to."""
        try:
            import apprise  # noqa: PLC0415 -- an extra: loaded only where somebody is to be told
        except ModuleNotFoundError as error:
            hint = "Install it with: pip install 'coldseal[alarms]'"
            raise OperatorError(f"alarms.recipients needs the package {error.name}", hint) from error
        logger = logging.getLogger("apprise")
        if _told not in logger.handlers:
            logger.addHandler(_told)
            logger.propagate = False
        asset = apprise.AppriseAsset(app_id="coldseal", app_desc="coldseal", app_url="", http_redirects=False)
        found = apprise.Apprise.instantiate(address, asset=asset)
        where = f"alarms.recipients of {name}: url"
        if not isinstance(found, apprise.NotifyBase):
            said = _without(_told.take(), address, endpoints)
            what = f"{where} names no service that apprise {apprise.__version__} knows"
            raise OperatorError(
                f"{what}: {said}" if said else what, "See `apprise --help`, or its list of services"
            )
        if any(each.is_tls for each in endpoints):
            schemes = _schemes(found.secure_protocol)
            scheme = address.partition(":")[0].lower()
            if scheme not in schemes or not found.verify_certificate:
                what = f"{where} does not speak verified TLS, but endpoints begin with https or smtps"
                raise OperatorError(
                    what, f"Use one of these schemes, without verify=no: {', '.join(sorted(schemes))}"
                )
        self._plugin, self._address, self._endpoints = found, address, endpoints

    def hand_over(self, title: str, body: str, weight: Weight) -> None:
        """Hand one notification over.

        Raises:
            UnavailableError: it may not have been taken.
        """
        _told.take()
        if not self._plugin.notify(title=title, body=body, notify_type=weight):
            said = _without(_told.take(), self._address, self._endpoints)
            raise UnavailableError("the recipient", said or "it was not taken")


def _schemes(said: object) -> set[str]:
    """Read the schemes that a plug-in names: one, several, or none."""
    if isinstance(said, str):
        return {said}
    return set(said) if isinstance(said, (tuple, list, set, frozenset)) else set()


def _without(text: str, address: str, endpoints: Sequence[Endpoint]) -> str:
    """Leave out of a text what is part of an address, but for the hosts of endpoints."""
    known = {each.host for each in endpoints}
    for part in sorted(set(re.split(r"[/:@?&=,\s]+", address)), key=len, reverse=True):
        if len(part) >= _SHORTEST_SECRET and part not in known:
            text = text.replace(part, "…")
    return text[:MAX_ERROR]
