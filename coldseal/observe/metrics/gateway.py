"""The metrics of a gateway, part by part."""

from __future__ import annotations

from coldseal.observe.metrics.registry import LONG_SECONDS, SHORT_SECONDS, SIZES, Metrics


class GatewayMetrics(Metrics):
    """What a gateway shows."""

    def __init__(self) -> None:
        """Declare all of them."""
        super().__init__("gateway")
        counter, gauge, histogram = self.counter, self.gauge, self.histogram
        outcomes = ("sealed", "duplicate", "rejected", "refused", "limited", "busy")
        self.messages = counter("messages", "messages in, by what became of them", "outcome", outcomes)
        self.rejected = counter("rejected", "messages sealed as rejected, by reason", "reason")
        self.pending = gauge("pending", "messages that wait for their commit")
        self.puback_seconds = histogram(
            "puback_seconds", "from a message's last byte to its acknowledgement", SHORT_SECONDS
        )
        self.commit_seconds = histogram("commit_seconds", "duration of a commit", SHORT_SECONDS)
        self.commit_entries = histogram("commit_entries", "entries in a commit", SIZES)

        self._declare_connections()

        self.log_entries = gauge("log_entries", "entries in the log")
        self.checkpoint_age_seconds = gauge("checkpoint_age_seconds", "time since the last checkpoint")
        self.store_bytes = gauge("store_bytes", "size of the store on disk")
        self.store_limit_bytes = gauge("store_limit_bytes", "its limit, at which nothing is acknowledged")
        self.store_damaged = gauge("store_damaged", "1 once damage of the log was found")
        self.scrubbed_entries = gauge("scrubbed_entries", "entries found sound when all was read again")
        self.scrubbed_at = gauge("scrubbed_timestamp_seconds", "when that ended, Unix time; 0 if never")
        self.store_days_left = gauge(
            "store_days_left", "days until the store is full at the rate of the last hours; NaN: unknown"
        )
        self.store_days_left.set(float("nan"))
        self.store_packed_entries = gauge("store_packed_entries", "entries in packed segments")
        self.store_packed_bytes = gauge("store_packed_bytes", "size of these segments on disk")
        self.memory_bytes = gauge("memory_bytes", "memory of all the gateway's processes")

        self._declare_uplink()
        self._declare_broker()

        self.clock_offset_seconds = gauge("clock_offset_seconds", "true time minus ours, as far as known")
        self.clock_synchronised = gauge("clock_synchronised", "1 when wall time is synchronised, else 0")
        self.clock_error_seconds = gauge("clock_error_seconds", "bound of the error of time; NaN: unknown")
        self.clock_doubted = gauge("clock_doubted", "1 while readings are flagged because of the clock")
        self.time_service_up = gauge("time_service_up", "1 while the time service that is followed answers")
        self.time_authenticated = gauge("time_authenticated", "1 while the source of time is authenticated")
        self._declare_certificates()
        self._declare_alarms()
        self._declare_routes()
        self._declare_upkeep()

    def _declare_upkeep(self) -> None:
        """Declare what tells of sensors that need people."""
        self.calibrations_overdue = self.gauge(
            "calibrations_overdue", "calibrations in force that are overdue: their readings are flagged"
        )
        self.calibrations_due_soon = self.gauge(
            "calibrations_due_soon", "calibrations due within coldchain.calibration_warning_days"
        )
        self.sensors_in_maintenance = self.gauge(
            "sensors_in_maintenance", "sensors whose readings are not judged meanwhile"
        )

    def _declare_routes(self) -> None:
        """Declare what tells of routes to enterprise endpoints."""
        counter, gauge = self.counter, self.gauge
        self.route_up = gauge("route_up", "1 while a route's sink takes entries", "route")
        self.route_backlog = gauge("route_backlog_entries", "entries a route has not dealt with yet", "route")
        self.route_oldest_seconds = gauge(
            "route_oldest_seconds", "age of the oldest entry that a route's sink has not taken", "route"
        )
        self.route_delivered = counter("route_delivered", "entries that a route's sink took", "route")
        self.route_aside = gauge("route_aside_entries", "entries that a route's sink refused", "route")
        self.route_missed = gauge(
            "route_missed_entries", "entries that were not here any more when a route came to them", "route"
        )
        causes = ("unreachable", "timeout", "busy", "fault", "denied", "address")
        self.route_failures = counter("route_failures", "attempts of routes that failed", "cause", causes)

    def _declare_alarms(self) -> None:
        """Declare what tells of alarms, and of those who are told."""
        self.alarms = self.gauge("alarms", "alarms that are not over, by tier", "tier")
        self.alarms_unacknowledged = self.gauge(
            "alarms_unacknowledged", "alarms that nobody has acknowledged and that are not over"
        )
        self.alarm_notices = self.counter(
            "alarm_notices",
            "notifications to recipients, by what became of them",
            "result",
            ("handed", "failed"),
        )
        self.alarm_seconds = self.histogram(
            "alarm_seconds", "from an alarm's entry to its notification handed over", LONG_SECONDS
        )

    def _declare_connections(self) -> None:
        """Declare what tells of devices, and of what goes to them."""
        counter, gauge = self.counter, self.gauge
        causes = (
            "identity",
            "rights",
            "not-registered",
            "blocked",
            "limit",
            "timeout",
            "protocol",
            "slow",
        )
        reasons = ("queue-full", "expired", "too-large")
        self.connections = gauge("connections", "open device connections")
        self.connections_refused = counter(
            "connections_refused", "connections turned away or cut, by reason", "reason", causes
        )
        self.handshakes_refused = counter(
            "handshakes_refused", "callers turned away at the TLS handshake, by reason", "reason"
        )
        self.tls_broken = counter(
            "tls_broken", "callers cut off behind the handshake because they broke TLS, by reason", "reason"
        )
        self.devices_blocked = gauge("devices_blocked", "devices that were cut off and are kept out")
        self.device_blocks = counter(
            "device_blocks", "devices cut off, by the reason of the last refusal", "reason"
        )
        self.messages_out = counter("messages_out", "messages sent to subscribers")
        self.dropped = counter(
            "dropped", "outgoing messages given up, by reason; never a reading taken in", "reason", reasons
        )

    def _declare_broker(self) -> None:
        """Declare what tells of an external broker."""
        self.broker_up = self.gauge("broker_up", "1 while readings can come from the external broker, else 0")
        self.broker_failures = self.counter("broker_failures", "lost connections to the external broker")
        self.broker_dropped = self.gauge(
            "broker_dropped_messages", "messages that the external broker dropped since its start, as it says"
        )

    def _declare_certificates(self) -> None:
        """Declare what tells of certificates and their renewal."""
        self.certificate_expiry_seconds = self.gauge(
            "certificate_expiry_seconds", "life left, by certificate", "certificate"
        )
        self.certificate_alarm = self.gauge(
            "certificate_alarm", "by life left: 0 none, 1 warning, 2 critical, 3 expired", "certificate"
        )
        self.certificate_renewed_at = self.gauge(
            "certificate_renewed_timestamp_seconds",
            "when a renewal brought one last, Unix time",
            "certificate",
        )
        self.certificate_renewal_failures = self.counter(
            "certificate_renewal_failures",
            "requests for a certificate that brought none, by cause",
            "cause",
            ("unreachable", "timeout", "refused", "busy", "bad", "own-files", "ended"),
        )

    def _declare_uplink(self) -> None:
        """Declare what tells of receipts, witnesses and timestamps."""
        counter, gauge, histogram = self.counter, self.gauge, self.histogram
        failures = ("unreachable", "timeout", "busy", "refused")
        self.published_entries = gauge("published_entries", "entries that have a receipt")
        self.backlog_entries = gauge("backlog_entries", "entries without a receipt")
        self.backlog_bytes = gauge("backlog_bytes", "bytes of the entries without a receipt")
        self.backlog_seconds = gauge("backlog_seconds", "age of the oldest entry without a receipt")
        self.receipt_age_seconds = gauge("receipt_age_seconds", "time since the last receipt")
        self.receipt_seconds = histogram(
            "receipt_seconds", "end to end: from accepting a message to the receipt over it", LONG_SECONDS
        )
        self.uplink_up = gauge("uplink_up", "1 when the service answered last time, else 0")
        self.uplink_failures = counter(
            "uplink_failures", "batches without a receipt, by cause", "cause", failures
        )

        self.egress_refused = counter(
            "egress_refused",
            "connections of ours refused before a request left, by cause",
            "cause",
            (
                *("not-listed", "address", "pin", "authority", "role", "name", "expired", "not-yet-valid"),
                *("revoked", "revocation-unknown", "self-signed", "purpose", "weak", "signature"),
                *("path-length", "not-a-ca", "chain-size", "proof", "certificate", "protocol"),
            ),
        )
        self.unwitnessed_entries = gauge(
            "unwitnessed_entries", "entries that not enough witnesses (witness.quorum) have cosigned"
        )
        self.unwitnessed_seconds = gauge("unwitnessed_seconds", "age of the oldest of these entries")
        self.witness_up = gauge(
            "witness_up", "1 when this further witness cosigned last time, else 0", "witness"
        )
        self.witness_evidence = gauge(
            "witness_evidence", "proofs of fault kept against witnesses and service, by verdict", "verdict"
        )

        self.hardware_key_away = gauge(
            "hardware_key_away", "1 while chip or token with the checkpoint key does not sign, else 0"
        )
        self.hardware_key_stand_in = gauge(
            "hardware_key_stand_in", "1 while checkpoints are signed by software in its place, else 0"
        )
        self.hardware_counter = gauge(
            "hardware_counter", "the TPM's counter of ended segments, as last certified; 0: none"
        )
        self.hardware_counter_away = gauge(
            "hardware_counter_away", "1 while that counter cannot be read, raised or certified, else 0"
        )
        self.timestamps = counter("timestamps", "RFC 3161 timestamps kept")
        self.timestamp_failures = counter(
            "timestamp_failures",
            "timestamps asked for and not kept, by cause",
            "cause",
            (*failures, "bad", "store"),
        )
        self.timestamp_waiting_seconds = gauge(
            "timestamp_waiting_seconds", "age of the oldest end of a segment without a timestamp; 0: none"
        )
