"""Who may speak for a log: its own gateway, by the certificate that TLS verified, if an operator admitted it.

Reads no header and no body; whoever is turned away is told so, and an event tells of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coldseal.errors import InputError, TrustError
from coldseal.identity.handshakes import reason_of
from coldseal.identity.peer import RoleError, require_role
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from coldseal.core.log.delivery.receiver import AdmittedLog
    from coldseal.service.admission import Admission

_log = Log("service.callers")


class NotAdmittedError(TrustError):
    """Who calls is no gateway, or not the one that was admitted for this log."""

    verdict = "not-admitted"


def identify(admission: Admission, certificate: bytes | None, origin: str) -> AdmittedLog:
    """Find the admitted log, and insist that its own gateway sends it."""
    try:
        peer = require_role(certificate, "gateway")
    except (InputError, RoleError) as fault:
        _log.emit(events.PEER_REFUSED, peer="", cause=str(reason_of(fault)), reason=str(fault))
        raise NotAdmittedError(str(fault)) from fault
    log = admission.find(origin)
    if log is None or log.gateway != peer.name:
        reason = f"{origin} is not admitted from {peer.name}"
        _log.emit(events.PEER_REFUSED, peer=peer.name, cause=NotAdmittedError.verdict, reason=reason)
        raise NotAdmittedError(reason)
    return log
