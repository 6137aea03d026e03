"""What the TLS door shows and whom it lets in: certificate, key, client CAs, revocation list, as they are.

Guarantees that changed files count for the next handshake without a signal, in a fresh context, so that a CA
which was taken out is really gone; open connections live on. Files that are wrong leave what was in force.
A clock that shows a time before the own certificate was made is wrong: what had expired by then stays out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from coldseal.gateway.sources.admission import read_revoked
from coldseal.identity.contexts import server_context
from coldseal.identity.pair import Pair, read_life
from coldseal.identity.watched import Watched
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from cryptography import x509

    from coldseal.gateway.clock import Clock
    from coldseal.gateway.sources.admission import Holder
    from coldseal.gateway.tables.intake import Mqtt

_DAY_S = 86_400
_log = Log("sources.shown")


class _Made(NamedTuple):
    """What was made of the files: `dateless` is for a clock before `begins_s`, which cannot be right."""

    context: ssl.SSLContext
    dateless: ssl.SSLContext
    revoked: frozenset[tuple[x509.Name, int]]
    begins_s: float
    ends_s: float


class Shown:
    """The files of the TLS door.

    Args:
        config: the ``[mqtt]`` table.
        certificate: chain, PEM, leaf first.
        key: its transport key, PEM, mode 0600.
        now_s: the listener's time, Unix seconds.
        clock: shows the wall's time.
    """

    def __init__(
        self,
        config: Mqtt,
        certificate: Path,
        key: Path,
        *,
        now_s: Callable[[], float],
        clock: Clock,
    ) -> None:
        """Finish what a crash left of a renewal, and open them.

        Raises:
            OperatorError: a file cannot be used.
        """
        self._config, self._certificate, self._key, self._now_s = config, certificate, key, now_s
        self._clock = clock
        with Pair(certificate, key).steady():
            self._files = Watched(
                str(certificate), (certificate, key, config.client_ca, config.crl), self._make, now_s=now_s
            )

    def context(self) -> ssl.SSLContext:
        """Give the context for the next handshake."""
        made = self._files.value
        return made.context if self._wall_s() >= made.begins_s else made.dateless

    def is_over(self, holder: Holder | None) -> bool:
        """Whether a certificate has expired: by the clock, or when the own one was made."""
        return holder is not None and holder.not_after.timestamp() <= max(
            self._wall_s(), self._files.value.begins_s
        )

    def _wall_s(self) -> float:
        """Give what the clock shows, Unix seconds."""
        return self._clock.now().t_ms / 1000

    def is_revoked(self, issued: tuple[x509.Name, int]) -> bool:
        """Whether the list names a certificate, given as issuer and serial number."""
        return issued in self._files.value.revoked

    def refresh(self) -> bool:
        """Look at the files; says whether something else is in force now."""
        if not self._files.refresh():
            return False
        days = round((self._files.value.ends_s - self._now_s()) / _DAY_S)
        _log.emit(events.CERTIFICATE_RELOADED, certificate=str(self._certificate), days=days)
        return True

    def reload(self) -> None:
        """Open the files anew at once.

        Raises:
            OperatorError: one cannot be used; what was in force stays.
        """
        self._files.reload()

    def _make(self) -> _Made:
        """Make all of it, or nothing."""
        config = self._config
        context, dateless = (
            server_context(
                self._certificate,
                self._key,
                config.client_ca,
                require=config.passwords is None,
                crl=config.crl,
                is_dated=is_dated,
            )
            for is_dated in (True, False)
        )
        revoked = frozenset() if config.crl is None else read_revoked(config.crl)
        life = read_life(self._certificate)
        return _Made(context, dateless, revoked, life.begins_s, life.ends_s)
