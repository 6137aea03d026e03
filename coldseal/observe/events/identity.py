"""Events of certificates: enrolment, renewal, revocation."""

from __future__ import annotations

from coldseal.observe.events.event import Event

HANDSHAKE_REFUSED = Event(
    "handshake.refused",
    "warning",
    ("listener", "address", "reason", "detail"),
    "A caller was turned away at the TLS handshake, or by its certificate directly behind it; nothing that "
    "it sent was read. The reasons: docs/specs/tls.md. Once a minute for each address and reason.",
)
TLS_BROKEN = Event(
    "tls.broken",
    "warning",
    ("listener", "address", "reason", "detail"),
    "A caller that had passed its handshake broke TLS: a record that was altered, repeated, malformed or not "
    "allowed there, or a fatal alert. It was cut off; nothing of that record was read. The reasons: "
    "docs/specs/tls.md. Once a minute for each address and reason.",
)
EST_LISTENING = Event(
    "est.listening",
    "info",
    ("address", "issuer"),
    "Gateways and devices are enrolled here.",
)
ENROLMENT_WAITING = Event(
    "enrolment.waiting",
    "warning",
    ("id", "role", "name"),
    "A request with a factory certificate that nothing maps waits for a decision: "
    "`coldseal service enrolments approve` or `refuse`.",
)
ENROLMENT_ISSUED = Event(
    "enrolment.issued",
    "info",
    ("role", "name", "serial", "way", "who", "address"),
    "A certificate was issued: by token, factory certificate, approval or renewal.",
)
ENROLMENT_REFUSED = Event(
    "enrolment.refused",
    "warning",
    ("name", "way", "reason", "detail", "address"),
    "A certificate was not given; the caller is told less than this.",
)
ENROLMENT_PUT_OFF = Event(
    "enrolment.put-off",
    "warning",
    ("address", "wait_s"),
    "Too many tries from one address: it is put off, unread, for so long.",
)
ENROLMENT_FAILED = Event(
    "enrolment.failed",
    "error",
    ("error",),
    "A certificate or list could not be signed: the key of the CA, its folder or the disk refuses; "
    "callers come again.",
)
AUTHORITY_CHANGED = Event(
    "authority.changed",
    "warning",
    ("issuer", "trusted"),
    "The issuing CA was rolled over or an old one retired; certificates are issued by this one from now on.",
)
REVOCATION_LIST_WRITTEN = Event(
    "authority.list-written",
    "info",
    ("lists", "denied"),
    "The revocation lists were written anew: a serial number was denied, or half of their life was over.",
)
OWN_CERTIFICATE_RENEWED = Event(
    "authority.own-renewed",
    "info",
    ("certificate", "serial", "days"),
    "The service gave its own certificate a new life.",
)
OWN_CERTIFICATE_KEPT = Event(
    "authority.own-kept",
    "error",
    ("certificate", "error"),
    "The service cannot renew its own certificate; the old one stays in force until it ends.",
)
CERTIFICATE_CRITICAL = Event(
    "certificate.critical",
    "critical",
    ("certificate", "days"),
    "A tenth of a certificate's life is left, and nobody has renewed it: see to that. Said once.",
)
CERTIFICATE_RENEWED = Event(
    "certificate.renewed",
    "info",
    ("certificate", "days", "serial", "failures"),
    "The enrolment server gave a new certificate, after so many tries without one; its files are in place.",
)
RENEWAL_FAILED = Event(
    "certificate.renewal-failed",
    "error",
    ("certificate", "cause", "error"),
    "A certificate cannot be renewed; it is tried again until it can. Said once until one has come.",
)
RENEWAL_PENDING = Event(
    "certificate.renewal-pending",
    "warning",
    ("certificate",),
    "The enrolment server wants a person to approve: `coldseal service enrolments approve`. Said once.",
)
CERTIFICATE_RECOVERING = Event(
    "certificate.recovering",
    "warning",
    ("certificate", "by"),
    "A certificate has ended; a new one is asked for by the factory certificate or a token. "
    "Readings are taken in as always.",
)
TRUST_RENEWED = Event(
    "trust.renewed",
    "warning",
    ("file", "added", "removed"),
    "The enrolment server shows other root certificates than before; the file of trusted CAs follows it.",
)
RENEWAL_NOT_TOLD = Event(
    "certificate.not-told",
    "error",
    ("file", "error"),
    "The external broker's certificate is renewed, but the broker could not be told: send it SIGHUP by hand.",
)
REVOCATION_NOT_FETCHED = Event(
    "revocation.not-fetched",
    "error",
    ("url", "error"),
    "The revocation lists cannot be had from the enrolment server; those in the files stay. "
    "They end one day, and then nobody new is let in. Said once.",
)
REVOCATION_FETCHED = Event(
    "revocation.fetched", "info", ("url",), "The enrolment server gives its revocation lists again."
)
