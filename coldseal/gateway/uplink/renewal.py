"""The identity that the uplink shows: certificate, key and CA, taken anew when their files change.

Promises that files which cannot be used leave the ones before in use, and are said once. A context in use is
never changed: a connection made after a renewal has a new one, and what is under way ends with the old one.
Who writes the files, a person or an enrolment, is no matter here.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from pathlib import Path

from coldseal.core.renewal import Life
from coldseal.identity.contexts import client_context
from coldseal.identity.pair import Pair, read_life
from coldseal.identity.watched import Watched
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.uris import TpmUri

_DAY_S = 86_400
_log = Log("uplink.renewal")


class Renewal:
    """The files of one way out, and the context made from them.

    Args:
        certificate: chain, PEM, leaf first.
        key: its transport key, PEM, mode 0600; or one that a TPM has wrapped.
        ca: CA certificates that the other side must descend from.
        now_ms: wall time, Unix milliseconds.
        crl: revocation list of the CA that signs the other side; None checks none.
    """

    def __init__(
        self,
        certificate: Path,
        key: Path | TpmUri,
        ca: Path,
        *,
        now_ms: Callable[[], int],
        crl: Path | None = None,
    ) -> None:
        """Finish what a crash left of a renewal, and load them.

        Raises:
            OperatorError: a file cannot be used.
        """
        self._certificate, self._key, self._ca, self._crl = certificate, key, ca, crl
        pair = Pair(certificate, key)
        self._now_ms, files = now_ms, (certificate, pair.key, ca, crl)
        with pair.steady():
            self._files = Watched(str(certificate), files, self._make, now_s=time.monotonic)

    def context(self) -> ssl.SSLContext:
        """Give the context for the next connection; looks at the files first."""
        if self._files.refresh():
            days = round((self._files.value[1].ends_s - self._now_ms() / 1000) / _DAY_S)
            _log.emit(events.CERTIFICATE_RELOADED, certificate=str(self._certificate), days=days)
        return self._files.value[0]

    def _make(self) -> tuple[ssl.SSLContext, Life]:
        """Make a context of the files as they are now."""
        made = client_context(self._certificate, self._key, self._ca, crl=self._crl)
        return made, read_life(self._certificate)
