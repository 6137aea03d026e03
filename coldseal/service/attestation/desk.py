"""Binds chips to gateways, asks for quotes, and says how each gateway stands.

Promises that each question counts once and soon, that what does not hold is refused with its own reason and
on record, and that a gateway once found changed stays so until a good quote or an operator says otherwise.
"""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from msgspec.structs import replace

from coldseal.core.attestation.judgement import Finding, State, judge
from coldseal.core.attestation.messages import Challenge, Enrolment, Standing
from coldseal.core.attestation.quotes import (
    ENDORSEMENT,
    AttestationError,
    Expected,
    Quoted,
    qualified,
    question,
    verify_attestation_key,
    verify_quote,
)
from coldseal.core.attestation.structures import ClockInfo, parse_public
from coldseal.identity.credential import make_credential
from coldseal.identity.endorsement import read_roots, verify_endorsement
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.service.attestation.references import References
from coldseal.service.attestation.states import KEPT, Booted, Bound, Clock, Found, Happened, States

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coldseal.core.attestation.judgement import Verdict
    from coldseal.core.attestation.quotes import Purpose, Verified
    from coldseal.identity.endorsement import Chip
    from coldseal.observe.events.event import Event
    from coldseal.service.attestation.states import Decision
    from coldseal.service.config import Attestation

SECRET_BYTES: Final = 32
NONCE_BYTES: Final = 32
_HOUR_S: Final = 3_600
_HARMLESS: Final = {"wrong-nonce", "old-nonce"}
"""Happen where nobody means harm, too: a quote came too late, or after a restart of the service."""

_TOLD: Final[dict[Verdict, Event]] = {
    "trusted": events.GATEWAY_TRUSTED,
    "changed": events.GATEWAY_CHANGED,
    "unknown": events.GATEWAY_UNKNOWN,
}
_log = Log("service.attestation")


class _Asked(NamedTuple):
    """A question that is open: what answers it, until when, and whom it is about."""

    answer: bytes
    until: int
    bound: Bound | None = None


class Desk:
    """All that is known of gateways' chips; used by one caller at a time.

    Args:
        settings: the service's `attestation` table.
        data: the service's data folder.
        roots: file with the CA certificates of chips' makers.
        now: this moment, Unix seconds.
        draw: gives so many random bytes.
    """

    def __init__(
        self,
        settings: Attestation,
        data: Path,
        *,
        roots: Path,
        now: Callable[[], int],
        draw: Callable[[int], bytes],
    ) -> None:
        """Read what is on disk.

        Raises:
            OperatorError: a file is missing or cannot be read.
        """
        self._settings, self._now, self._draw = settings, now, draw
        self._roots = read_roots(roots)
        self._states = States(data)
        self.references = References(data)
        self.found = self._states.all()
        self._seen = self._states.look()
        self.decisions = self._states.decisions()
        self._challenges: dict[str, _Asked] = {}
        self._nonces: dict[tuple[Purpose, str], _Asked] = {}

    def enrol(self, gateway: str, shown: Enrolment) -> Challenge:
        """Look at a chip, and ask what only that chip can answer, for that key.

        Raises:
            InputError: it cannot be read.
            AttestationError: nobody vouches for the chip, the key is none for attestation, or another chip is
                bound to this gateway, or this chip to another gateway.
        """
        endorsement, key = parse_public(shown.endorsement), parse_public(shown.key)
        try:
            moment = datetime.fromtimestamp(self._now(), UTC)
            chip = verify_endorsement(shown.certificate, endorsement, self._roots, now=moment)
            verify_attestation_key(key)
            self._require_free(gateway, chip)
        except AttestationError as fault:
            self.refuse(gateway, fault)
            raise
        secret = self._draw(SECRET_BYTES)
        bound = Bound(key=shown.key.hex(), chip=chip.fingerprint, model=chip.model, t=self._now())
        self._challenges[gateway] = _Asked(secret, self._now() + self._settings.nonce_s, bound)
        return Challenge(*make_credential(endorsement, key.name, secret))

    def activate(self, gateway: str, secret: bytes) -> None:
        """Bind the chip that has opened the challenge.

        Raises:
            AttestationError: `wrong-chip`: nothing was asked, it took too long, or it was opened by none.
            OperatorError: it cannot be kept.
        """
        asked = self._challenges.pop(gateway, None)
        if asked is None or asked.bound is None or asked.until < self._now():
            raise self.refuse(gateway, AttestationError("old-challenge", "begin again: nothing is asked now"))
        if not hmac.compare_digest(asked.answer, secret):
            detail = "the challenge was not opened: the attestation key is not in the chip that was shown"
            raise self.refuse(gateway, AttestationError("wrong-chip", detail))
        before = self.of(gateway)
        kept = before.bound is not None and before.bound.key == asked.bound.key
        found = replace(before, bound=asked.bound, clock=before.clock if kept else None)
        self.keep(found if kept else self._turn(found, Finding("unknown", ""), "bound, and no quote yet"))
        _log.emit(events.CHIP_BOUND, gateway=gateway, chip=asked.bound.chip, model=asked.bound.model)

    def ask(self, gateway: str, purpose: Purpose = "session") -> bytes:
        """Give the nonce for the next quote; one that was given before no longer counts.

        Raises:
            AttestationError: `not-bound`, where it is to recover a gateway without a chip.
        """
        if purpose == "recovery" and self.of(gateway).bound is None:
            raise AttestationError("not-bound", "no chip is bound to this gateway")
        nonce = self._draw(NONCE_BYTES)
        self._nonces[purpose, gateway] = _Asked(nonce, self._now() + self._settings.nonce_s)
        return nonce

    def recover(self, gateway: str, quoted: Quoted) -> tuple[str, ...]:
        """Verify that whoever asks, without a certificate, has a gateway's chip; gives the gateway's hosts.

        Nothing that is refused here changes how the gateway stands: anybody may ask.

        Raises:
            InputError: it cannot be read.
            AttestationError: it does not hold, or the machine has changed.
            OperatorError: it cannot be kept.
        """
        try:
            verified = self._verify(gateway, quoted, "recovery")
        except AttestationError as fault:
            self._tell(gateway, fault)
            raise
        if self._learn(gateway, verified).verdict == "changed":
            changed = AttestationError("changed", "the machine booted something else: a person must decide")
            raise self._tell(gateway, changed)
        _log.emit(events.GATEWAY_RECOVERED, gateway=gateway)
        return self.of(gateway).hosts

    def attest(self, gateway: str, quoted: Quoted, hosts: tuple[str, ...] = ()) -> Standing:
        """Verify a quote, and say how the gateway stands.

        Args:
            gateway: its name.
            quoted: what it sends.
            hosts: in its certificate, beside loopback.

        Raises:
            InputError: it cannot be read.
            AttestationError: it does not hold; on record.
            OperatorError: it cannot be kept.
        """
        try:
            verified = self._verify(gateway, quoted, "session")
        except AttestationError as fault:
            raise self.refuse(gateway, fault) from fault
        return self._learn(gateway, verified, hosts)

    def _learn(self, gateway: str, verified: Verified, hosts: tuple[str, ...] | None = None) -> Standing:
        """Keep what a quote that holds says."""
        state, before = State.of(verified), self.of(gateway)
        found = replace(
            before,
            hosts=before.hosts if hosts is None else hosts,
            attested=self._now(),
            clock=Clock(**verified.clock._asdict()),
            firmware=verified.firmware,
            booted=Booted.of(state),
        )
        return self._conclude(found, judge(gateway, state, self.references.values))

    def _verify(self, gateway: str, quoted: Quoted, purpose: Purpose) -> Verified:
        """Hold a quote against what is known of the gateway."""
        asked, found = self._nonces.pop((purpose, gateway), None), self.of(gateway)
        if found.bound is None:
            raise AttestationError("not-bound", "no chip is bound to this gateway")
        if asked is None:
            raise AttestationError("wrong-nonce", "nothing was asked: ask for a nonce first")
        if asked.until < self._now():
            raise AttestationError("old-nonce", f"a quote must come within {self._settings.nonce_s} s")
        key = parse_public(bytes.fromhex(found.bound.key))
        last = found.clock
        expected = Expected(
            key,
            frozenset([qualified(ENDORSEMENT, key)]),
            question(gateway, asked.answer, purpose),
            frozenset(self._settings.pcrs),
            ClockInfo(last.clock, last.reset_count, last.restart_count, last.is_safe) if last else None,
        )
        return verify_quote(quoted, expected)

    def refuse(self, gateway: str, fault: AttestationError) -> AttestationError:
        """Put a refusal on record; who was trusted no longer is, unless it was a matter of time."""
        self._tell(gateway, fault)
        found = self.of(gateway)
        if found.verdict == "trusted" and fault.verdict not in _HARMLESS:
            self.keep(self._turn(found, Finding("unknown", found.reference), str(fault)))
        elif found.bound is not None:
            self.keep(_noted(found, Happened(t=self._now(), verdict=fault.verdict, reason=fault.detail)))
        return fault

    def _tell(self, gateway: str, fault: AttestationError) -> AttestationError:
        """Say that something was refused."""
        _log.emit(events.ATTESTATION_REFUSED, gateway=gateway, reason=fault.verdict, detail=fault.detail)
        return fault

    def of(self, gateway: str) -> Found:
        """Say how a gateway stands."""
        return self.found.get(gateway) or Found(gateway=gateway)

    def keep(self, found: Found) -> None:
        """Write down how a gateway stands; durable on return.

        Raises:
            OperatorError: it cannot be written.
        """
        self._states.keep(found)
        self.found[found.gateway] = found

    def refresh(self) -> None:
        """Take in what an operator has changed, and what time has made old.

        Raises:
            OperatorError: a file cannot be read or written.
        """
        if self.references.refresh():
            for found in list(self.found.values()):
                if found.is_judged and found.booted is not None:
                    state = found.booted.state()
                    self._conclude(found, judge(found.gateway, state, self.references.values))
        seen = self._states.look()
        if seen != self._seen:
            self._seen, self.decisions = seen, self._states.decisions()
            for decision in self.decisions.values():
                self._forget(decision)
        limit = self._now() - round(self._settings.max_age_h * _HOUR_S)
        for found in list(self.found.values()):
            if found.verdict == "trusted" and found.attested < limit:
                self.keep(self._turn(found, Finding("unknown", found.reference), "the last quote is too old"))

    def _forget(self, decision: Decision) -> None:
        """Take a chip from a gateway, if that was decided after it was bound."""
        found = self.of(decision.gateway)
        if decision.action == "forget" and found.bound is not None and found.bound.t <= decision.t:
            empty = replace(found, bound=None, clock=None, booted=None, attested=0)
            self.keep(self._turn(empty, Finding("unknown", ""), f"its chip was forgotten: {decision.why}"))

    def _require_free(self, gateway: str, chip: Chip) -> None:
        """Insist that neither the gateway has another chip, nor the chip another gateway."""
        bound = self.of(gateway).bound
        if bound is not None and bound.chip != chip.fingerprint:
            detail = "another chip is bound to this gateway: an operator must decide that it is forgotten"
            raise AttestationError("another-chip", detail)
        for other in self.found.values():
            if other.gateway != gateway and other.bound is not None and other.bound.chip == chip.fingerprint:
                raise AttestationError("chip-taken", f"this chip is bound to {other.gateway}")

    def _conclude(self, found: Found, finding: Finding) -> Standing:
        """Keep what a quote says, and answer with it."""
        changes = tuple(each.render() for each in finding.changes)
        reasons = {"trusted": f"as {finding.reference}", "changed": "; ".join(changes)}
        reason = reasons.get(finding.verdict, "no reference values apply to it")
        self.keep(replace(self._turn(found, finding, reason), is_judged=True))
        return Standing(finding.verdict, finding.reference, changes)

    def _turn(self, found: Found, finding: Finding, reason: str) -> Found:
        """Give a gateway a verdict; a change of it is an event."""
        changes, t = tuple(each.render() for each in finding.changes), self._now()
        turned = replace(
            found,
            verdict=finding.verdict,
            reason=reason,
            reference=finding.reference,
            changes=changes,
            is_judged=False,
            since=found.since if found.verdict == finding.verdict else t,
        )
        if (found.verdict, found.changes, found.reason) == (finding.verdict, changes, reason):
            return turned
        if found.verdict != finding.verdict or finding.verdict == "changed":
            _log.emit(_TOLD[finding.verdict], gateway=found.gateway, reason=reason)
        return _noted(turned, Happened(t=t, verdict=finding.verdict, reason=reason))


def _noted(found: Found, happened: Happened) -> Found:
    """Add to the history of a gateway; the oldest is let go."""
    return replace(found, history=(*found.history, happened)[-KEPT:])
