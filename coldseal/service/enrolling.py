"""The enrolment server put together: CA, registrar, a listener of its own, and the service's own certificate.

Promises that nothing of it runs, and no key of a CA is opened, unless `[est]` names a CA. What changes on
disk is taken in by `refresh`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError, UnavailableError
from coldseal.identity.authority_folder import encode_pem, read_certificates
from coldseal.identity.files import replace_private_file
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.config import Est, ServiceConfig, Tls
from coldseal.service.enrolments import Enrolments
from coldseal.service.est_api import EstApi, Recovery
from coldseal.service.factory import Factory
from coldseal.service.own_certificate import OwnCertificate
from coldseal.service.registrar import Registrar
from coldseal.service.server import ApiServer, Certificate

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.observe.metrics import ServiceMetrics

BUNDLE: Final = "est-trust.pem"
"""File below the data folder: whose certificates may come to the enrolment listener."""
_log = Log("service.enrolling")


class Enrolling:
    """Everything of `[est]`.

    Args:
        config: of the service; `est.authority` is set.
        key: the store key, under which tokens and history are kept.
        metrics: of the service.
        now: gives Unix seconds.
    """

    def __init__(
        self, config: ServiceConfig, key: bytes, metrics: ServiceMetrics, *, now: Callable[[], int]
    ) -> None:
        """Open what is on disk.

        Raises:
            OperatorError: a file or the CA is wrong.
            UnavailableError: the store of enrolments cannot be opened.
        """
        est, self._config, self._metrics, self._now = config.est, config, metrics, now
        folder = est.authority or Path()
        self._bundle = config.service.data / BUNDLE
        factory = _factory(est)
        self.enrolments = Enrolments.open(config.service.data, key)
        with ExitStack() as undo:
            undo.callback(self.enrolments.close)
            self._registrar = Registrar(
                folder,
                self.enrolments,
                factory,
                roles=est.roles,
                is_queued=est.approval,
                now=now,
                now_s=time.monotonic,
            )
            self._own = OwnCertificate(config.tls, lambda: self._registrar.authority)
            self._refresh_files()
            trust = Tls(certificate=config.tls.certificate, key=config.tls.key, client_ca=self._bundle)
            self._certificate = Certificate(trust, require=False)
            undo.pop_all()
        api = self._api = EstApi(
            self._registrar,
            metrics,
            per_minute=est.requests_per_minute,
            retry_after_s=est.retry_after_s,
        )
        self._server = ApiServer(
            api.app(),
            self._certificate.context,
            max_connections=config.service.max_connections,
            metrics=metrics,
            listens="est",
        )
        self._is_failing = False
        self.address = ""
        """Where callers reach it, host:port; empty if nowhere."""

    def offer_recovery(self, recovery: Recovery) -> None:
        """Let gateways whose certificate has ended prove themselves by their chip."""
        self._api.recovery = recovery

    def bind(self) -> None:
        """Take the address, if there is one.

        Raises:
            OperatorError: it cannot be listened on.
        """
        if self._config.est.listen is not None:
            self.address = self._server.bind(self._config.est.listen)
            issuer = self._registrar.authority.issuer.certificate.subject.rfc4514_string()
            _log.emit(events.EST_LISTENING, address=self.address, issuer=issuer)

    async def serve_bound(self) -> None:
        """Serve until `stop`, if there is a listener."""
        if self.address:
            await self._server.serve_bound()

    def stop(self) -> None:
        """Take no more connections."""
        self._server.stop()

    def close(self) -> None:
        """Close the store of enrolments."""
        self.enrolments.close()

    async def refresh(self) -> None:
        """Take what changed on disk, write the revocation lists, and renew the own certificate in time."""
        try:
            await asyncio.to_thread(self._registrar.refresh)
            await asyncio.to_thread(self._refresh_files)
            waiting = await asyncio.to_thread(self.enrolments.waiting)
            self._metrics.enrolments_waiting.set(len(waiting))
        except (OperatorError, UnavailableError) as error:
            if not self._is_failing:
                _log.emit(events.ENROLMENT_FAILED, error=str(error))
            self._is_failing = True
        else:
            self._is_failing = False
        self._certificate.refresh()
        authority = self._registrar.authority
        left = authority.issuer.certificate.not_valid_after_utc.timestamp() - self._now()
        self._metrics.certificate_expiry_seconds.labels("issuing").set(left)

    def _refresh_files(self) -> None:
        """Renew the own certificate in time, and write whose certificates may come."""
        if self._config.est.renew_own:
            self._own.refresh(self._now())
        content = encode_pem(self._registrar.cacerts())  # issuing CAs too: a caller may show its leaf alone
        if self._config.est.factory_ca is not None:
            content += encode_pem(read_certificates(self._config.est.factory_ca))
        if not self._bundle.exists() or self._bundle.read_bytes() != content:
            replace_private_file(self._bundle, content)


def _factory(est: Est) -> Factory | None:
    """Open the factory CA, where there is one."""
    if est.factory_ca is None:
        return None
    return Factory(est.factory_ca, est.factory_map, now_s=time.monotonic)
