"""The metrics of the service, part by part."""

from __future__ import annotations

from coldseal.observe.metrics.registry import SHORT_SECONDS, Metrics


class ServiceMetrics(Metrics):
    """What the service shows."""

    def __init__(self) -> None:
        """Declare all of them."""
        super().__init__("service")
        counter, gauge, histogram = self.counter, self.gauge, self.histogram
        results = ("stored", "repeated", "refused")
        self.batches = counter("batches", "batches by result; `repeated`: nothing new", "result", results)
        self.entries = counter("entries", "entries stored")
        self.refused = counter("refused", "batches refused, by error", "error")
        self.evidence = counter("evidence", "proofs of fault kept, by error", "error")
        self.ingest_seconds = histogram(
            "ingest_seconds", "from a batch's last byte to its receipt", SHORT_SECONDS
        )
        self.verified = counter("verified", "entries whose own signature was checked and holds")
        self.refuted = counter("refuted", "entries whose own signature is wrong")
        self.verify_backlog_entries = gauge(
            "verify_backlog_entries", "entries whose own signature is still to be checked"
        )
        noticed = ("announced", "repeated", "confirmed", "refused", "forked")
        self.notices = counter(
            "notices", "urgent entries told ahead of their order, by what became of them", "result", noticed
        )
        statuses = ("200", "400", "403", "404", "409", "422", "503")
        self.checkpoints = counter(
            "checkpoints", "checkpoints posted to be cosigned, by status", "status", statuses
        )
        verdicts = ("trusted", "changed", "unknown")
        self.attestations = counter(
            "attestations", "attestations by what came of them", "result", (*verdicts, "refused")
        )
        self.attestation_refusals = counter(
            "attestation_refusals", "attestations refused, by reason", "reason"
        )
        self.attested_gateways = gauge("attested_gateways", "gateways by how they stand", "verdict")
        self.held_gateways = gauge("held_gateways", "gateways whose batches are put off")
        outcomes = ("issued", "waiting", "refused", "put-off", "failed")
        self.enrolments = counter(
            "enrolments", "certificate requests, by what became of them", "result", outcomes
        )
        self.handshakes_refused = counter(
            "handshakes_refused", "callers turned away at the TLS handshake, by reason", "reason"
        )
        self.tls_broken = counter(
            "tls_broken", "callers cut off behind the handshake because they broke TLS, by reason", "reason"
        )
        self.enrolments_waiting = gauge(
            "enrolments_waiting", "certificate requests that wait for a person's decision"
        )
        self.logs = gauge("logs", "admitted logs")
        self.witnessed_logs = gauge("witnessed_logs", "logs that are only witnessed")
        self.succeeded_logs = gauge("succeeded_logs", "logs that go on under another origin")
        self.connections = gauge("connections", "open connections")
        self.store_bytes = gauge("store_bytes", "size of the ledger on disk")
        self.store_limit_bytes = gauge("store_limit_bytes", "its limit, at which batches are put off")
        self.certificate_expiry_seconds = gauge(
            "certificate_expiry_seconds", "life left, by certificate", "certificate"
        )
