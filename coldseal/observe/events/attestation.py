"""Events of attestation, on the service and on the gateway."""

from __future__ import annotations

from coldseal.observe.events.event import Event

CHIP_BOUND = Event(
    "attestation.bound",
    "info",
    ("gateway", "chip", "model"),
    "A gateway's chip is known: its maker vouches for it, and it alone answered.",
)
GATEWAY_TRUSTED = Event(
    "attestation.trusted",
    "info",
    ("gateway", "reason"),
    "A gateway proved that it booted as its reference values say.",
)
GATEWAY_CHANGED = Event(
    "attestation.changed",
    "critical",
    ("gateway", "reason"),
    "A gateway proved that it booted something else; the first event that differs is named. If that was "
    "planned, take its values: `coldseal service attestation CONFIG reference`. Else look at the machine.",
)
GATEWAY_UNKNOWN = Event(
    "attestation.unknown",
    "warning",
    ("gateway", "reason"),
    "It is no longer known what a gateway booted.",
)
ATTESTATION_REFUSED = Event(
    "attestation.refused",
    "error",
    ("gateway", "reason", "detail"),
    "What a gateway said about its chip does not hold; the reason is one of `docs/specs/platform.md`.",
)
BATCHES_HELD = Event(
    "attestation.held",
    "critical",
    ("gateway", "verdict"),
    "Batches of this gateway are put off until it is trusted or an operator decides; it keeps them.",
)
BATCHES_RELEASED = Event(
    "attestation.released",
    "info",
    ("gateway", "verdict"),
    "Batches of this gateway are taken in again.",
)
GATEWAY_RECOVERED = Event(
    "attestation.recovered",
    "warning",
    ("gateway",),
    "A gateway without a certificate in force proved itself by its chip, and got a one-time enrolment token.",
)
TOKEN_RECOVERED = Event(
    "attestation.token",
    "warning",
    ("file",),
    "A certificate of this gateway has ended; by its chip it got a one-time enrolment token.",
)
ATTESTATION_KEPT = Event(
    "attestation.kept",
    "error",
    ("error",),
    "Reference values or decisions changed and cannot be read, or a verdict cannot be written down; what was "
    "known before stays in force.",
)
ATTESTATION_FAILED = Event(
    "attestation.failed",
    "warning",
    ("cause",),
    "The gateway cannot attest: its chip is away, or the service does not answer or refuses. It tries again; "
    "readings are taken in and delivered as ever.",
)
ATTESTATION_BACK = Event(
    "attestation.back",
    "info",
    (),
    "The gateway can attest again.",
)
ATTESTATION_TOLD = Event(
    "attestation.told",
    "info",
    ("verdict", "reference", "changes"),
    "The service said how this gateway stands; said when it changes.",
)
