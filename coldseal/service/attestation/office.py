"""The way to the desk for callers and the main path: who may ask, whose batches are put off, what is flagged.

Promises that a gateway speaks only for itself, that a held gateway is told to come again, and that what was
taken in from a gateway that was not trusted is marked by its places in the log. Verifies no quote itself.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography import x509
from msgspec.structs import replace

from coldseal.core.attestation.messages import (
    MAX_BODY,
    encode_challenge,
    encode_standing,
    encode_token,
    parse_enrolment,
    parse_quoted,
    parse_token,
)
from coldseal.core.attestation.quotes import AttestationError
from coldseal.core.log import canonical
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.identity.peer import RoleError, require_role
from coldseal.identity.profiles import hosts_of
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.attestation.desk import Desk
from coldseal.service.attestation.states import Flagged
from coldseal.service.callers import NotAdmittedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from coldseal.core.log.delivery.receiver import AdmittedLog
    from coldseal.observe.metrics import ServiceMetrics
    from coldseal.service.admission import Admission
    from coldseal.service.attestation.desk import Desk
    from coldseal.service.config import Action, Attestation
    from coldseal.service.ledger import Ledger

SMALL_BODY: Final = 16_384
"""Bytes of every message but a quote."""

Answer = TypeVar("Answer")
Issue = Callable[[str, tuple[str, ...]], str]
_log = Log("service.attestation")


class Office:
    """Attestation as the service's other parts see it.

    Args:
        desk: knows the chips; None where no attestation is asked for.
        settings: the service's `attestation` table.
        admission: whose logs are taken in.
        ledger: how far they are.
        metrics: what is counted.
    """

    def __init__(
        self,
        desk: Desk | None,
        settings: Attestation,
        *,
        admission: Admission,
        ledger: Ledger,
        metrics: ServiceMetrics,
    ) -> None:
        """Take the parts."""
        self._desk, self._settings = desk, settings
        self._admission, self._ledger, self._metrics = admission, ledger, metrics
        self._turn = asyncio.Lock()
        self._held: dict[str, str] = {}
        self._fault = ""
        self.issue: Issue | None = None
        """Makes an enrolment token for a gateway of this name with these hosts; where there is a CA."""
        if desk is not None:
            self._hold(desk, self._logs())

    @classmethod
    def open(
        cls,
        settings: Attestation,
        data: Path,
        *,
        now: Callable[[], int],
        admission: Admission,
        ledger: Ledger,
        metrics: ServiceMetrics,
    ) -> Office:
        """Open what is on disk, where attestation is asked for.

        Raises:
            OperatorError: a file is missing or cannot be read.
        """
        desk = None
        if settings.ek_roots is not None:
            desk = Desk(settings, data, roots=settings.ek_roots, now=now, draw=secrets.token_bytes)
        return cls(desk, settings, admission=admission, ledger=ledger, metrics=metrics)

    @staticmethod
    def limit(what: str) -> int:
        """Give the most bytes of a message."""
        return MAX_BODY if what == "quote" else SMALL_BODY

    async def answer(self, what: str, certificate: bytes | None, body: bytes) -> bytes:
        """Answer a gateway.

        Args:
            what: enrol, activate, nonce or quote.
            certificate: the caller's certificate, DER, as TLS verified it.
            body: the message.

        Raises:
            NotAdmittedError: the caller is no gateway of which a log is taken in.
            InputError: the message is malformed, or there is no such request.
            AttestationError: what it says does not hold.
            UnavailableError: no attestation is asked for here.
        """
        gateway = self._gateway(certificate)
        if self._desk is None:
            raise UnavailableError("attestation", "attestation.ek_roots is not set on this service")
        desk = self._desk
        try:
            match what:
                case "enrol":
                    shown = parse_enrolment(body)
                    return encode_challenge(await self._alone(lambda: desk.enrol(gateway, shown)))
                case "activate":
                    secret = parse_token(body, "secret")
                    await self._alone(lambda: desk.activate(gateway, secret))
                    return canonical.encode({})
                case "nonce":
                    return encode_token("nonce", desk.ask(gateway))
                case "quote":
                    quoted = parse_quoted(body)
                    hosts = _hosts(certificate)
                    standing = await self._alone(lambda: desk.attest(gateway, quoted, hosts))
                    self._metrics.attestations.labels(standing.verdict).inc()
                    return encode_standing(standing)
                case _:
                    raise InputError("attestation", "path", what, "enrol, activate, nonce or quote")
        except AttestationError as fault:
            self._metrics.attestations.labels("refused").inc()
            self._metrics.attestation_refusals.labels(fault.verdict).inc()
            raise
        finally:
            await self._settle({gateway: self._admission.of_gateway(gateway)})

    async def recover(self, gateway: str, what: str, body: bytes) -> bytes:
        """Answer a gateway whose certificate has ended: by its chip it gets a one-time enrolment token.

        Args:
            gateway: its name, as it says.
            what: nonce or quote.
            body: the message.

        Raises:
            InputError: the message is malformed, or there is no such request.
            AttestationError: what it says does not hold.
            UnavailableError: there is no such way back here, or nothing can be written.
        """
        desk, issue = self._desk, self.issue
        if desk is None or issue is None:
            raise UnavailableError("recovery by a chip", "attestation.ek_roots or est.authority is not set")
        if what == "nonce":
            return encode_token("nonce", desk.ask(gateway, "recovery"))
        if what != "quote":
            raise InputError("recovery", "path", what, "nonce or quote")
        quoted = parse_quoted(body)
        hosts = await self._alone(lambda: desk.recover(gateway, quoted))
        token = await self._alone(lambda: issue(gateway, hosts))
        return encode_token("token", token.encode())

    def require_unheld(self, certificate: bytes | None) -> None:
        """Insist that a caller's batches are not put off now; costs nothing where none is.

        Raises:
            UnavailableError: they are, until the gateway is trusted or an operator decides.
        """
        if not self._held and self._settings.unknown != "hold":
            return
        gateway = self._gateway(certificate)
        verdict = self._held.get(gateway)
        if verdict is None and self._desk is not None and self._action(self._desk, gateway) == "hold":
            verdict = self._desk.of(gateway).verdict
        if verdict is not None:
            reason = f"its machine is {verdict}: attest, or wait for an operator's decision; keep everything"
            raise UnavailableError(f"the intake for {gateway}", reason)

    async def refresh(self) -> None:
        """Take in what an operator has changed and what time has made old; once a second."""
        if self._desk is not None:
            try:
                await self._alone(self._desk.refresh)
                await self._settle(self._logs())
            except UnavailableError as fault:
                self._say(str(fault))
            else:
                self._say("")
            counts = self.describe()
            for verdict in ("trusted", "changed", "unknown"):
                self._metrics.attested_gateways.labels(verdict).set(counts.get(verdict, 0))
            self._metrics.held_gateways.set(len(self._held))

    def status(self) -> dict[str, object]:
        """Count gateways by how they stand, for a person; nothing where no attestation is asked for."""
        if self._desk is None:
            return {}
        counted = ", ".join(f"{count} {verdict}" for verdict, count in sorted(self.describe().items()))
        held = f"; put off: {', '.join(sorted(self._held))}" if self._held else ""
        return {"attestation": (counted or "no gateway") + held}

    def describe(self) -> dict[str, int]:
        """Count gateways by verdict; nothing where no attestation is asked for."""
        counts: dict[str, int] = {}
        if self._desk is not None:
            for name in self._logs():
                verdict = self._desk.of(name).verdict
                counts[verdict] = counts.get(verdict, 0) + 1
        return counts

    def show(self, gateway: str) -> dict[str, canonical.Value] | None:
        """Say how a gateway stands, for an operator; None where no attestation is asked for."""
        if self._desk is None:
            return None
        found = self._desk.of(gateway)
        changes: list[canonical.Value] = list(found.changes)
        flagged: list[canonical.Value] = [
            {"end": each.end, "first": each.first, "origin": each.origin, "verdict": each.verdict}
            for each in found.flagged
        ]
        return {
            "action": self._action(self._desk, gateway),
            "attested_t": found.attested,
            "changes": changes,
            "chip": found.bound.model if found.bound else None,
            "flagged": flagged,
            "gateway": gateway,
            "reason": found.reason,
            "reference": found.reference,
            "since_t": found.since,
            "verdict": found.verdict,
        }

    def show_all(self) -> dict[str, canonical.Value]:
        """Say how all gateways stand, for an operator."""
        shown = (self.show(name) for name in sorted(self._logs()))
        return {"gateways": [each for each in shown if each is not None]}

    def _logs(self) -> dict[str, list[AdmittedLog]]:
        """Give the logs of each gateway."""
        logs: dict[str, list[AdmittedLog]] = {}
        for log in self._admission.all():
            logs.setdefault(log.gateway, []).append(log)
        return logs

    def _gateway(self, certificate: bytes | None) -> str:
        """Read who calls: a gateway of which a log is taken in."""
        try:
            name = require_role(certificate, "gateway").name
        except (InputError, RoleError) as fault:
            raise NotAdmittedError(str(fault)) from fault
        if not self._admission.of_gateway(name):
            raise NotAdmittedError(f"no log is admitted from {name}")
        return name

    async def _alone(self, work: Callable[[], Answer]) -> Answer:
        """Let one caller at a time to the desk, beside the loop."""
        async with self._turn:
            try:
                return await asyncio.to_thread(work)
            except OperatorError as fault:
                raise UnavailableError("attestation", str(fault)) from fault

    def _action(self, desk: Desk, gateway: str) -> Action:
        """Say what becomes of a gateway's batches."""
        decision = desk.decisions.get(gateway)
        if decision is not None and decision.action in {"accept", "flag", "hold"}:
            return decision.action
        verdict = desk.of(gateway).verdict
        if verdict == "trusted":
            return "accept"
        return self._settings.changed if verdict == "changed" else self._settings.unknown

    async def _settle(self, gateways: Mapping[str, Sequence[AdmittedLog]]) -> None:
        """Bring flags and holds in line with how gateways stand."""
        if self._desk is None:
            return
        for gateway, logs in gateways.items():
            await self._flag(self._desk, gateway, logs)
        self._hold(self._desk, gateways)

    def _say(self, fault: str) -> None:
        """Say once that something cannot be read or written."""
        if fault and fault != self._fault:
            _log.emit(events.ATTESTATION_KEPT, error=fault)
        self._fault = fault

    async def _flag(self, desk: Desk, gateway: str, logs: Sequence[AdmittedLog]) -> None:
        """Begin or end a flagged range of each log of a gateway."""
        found, is_flagged = desk.of(gateway), self._action(desk, gateway) == "flag"
        flagged = list(found.flagged)
        for log in logs:
            place = next((n for n, each in enumerate(flagged) if _is_open(each, log.origin)), None)
            if place is None and not is_flagged:
                continue
            if place is not None and is_flagged and flagged[place].verdict == found.verdict:
                continue
            summary, _ = await self._ledger.summary(log.origin)
            if place is not None:
                flagged[place] = replace(flagged[place], end=summary.size)
            if is_flagged:
                flagged.append(Flagged(origin=log.origin, first=summary.size, verdict=found.verdict))
        kept = tuple(each for each in flagged if each.end is None or each.end > each.first)
        if kept != found.flagged:
            await self._alone(lambda: desk.keep(replace(desk.of(gateway), flagged=kept)))

    def _hold(self, desk: Desk, gateways: Iterable[str]) -> None:
        """Note whose batches are put off; who is newly so, or no longer, is an event."""
        for name in gateways:
            verdict, is_held = desk.of(name).verdict, self._action(desk, name) == "hold"
            if is_held and name not in self._held:
                _log.emit(events.BATCHES_HELD, gateway=name, verdict=verdict)
            if not is_held and self._held.pop(name, None) is not None:
                _log.emit(events.BATCHES_RELEASED, gateway=name, verdict=verdict)
            if is_held:
                self._held[name] = verdict


def _hosts(certificate: bytes | None) -> tuple[str, ...]:
    """Read the hosts of a certificate that was looked at before, without loopback."""
    leaf = x509.load_der_x509_certificate(certificate or b"")
    return hosts_of(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def _is_open(flagged: Flagged, origin: str) -> bool:
    """Whether a range of this log still goes on."""
    return flagged.origin == origin and flagged.end is None
