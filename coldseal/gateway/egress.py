"""The list of ways out, enforced: what is not on it is refused before a byte of a request leaves.

Every connection of the gateway's own programs asks here three times: for its endpoint, for the address that
it is about to connect to, and for the peer once it has proven who it is. A refusal is said once while it
lasts, and counted. Opens no connection itself; no variable of the environment is looked at.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from coldseal.errors import TrustError
from coldseal.gateway.config import ways_out
from coldseal.gateway.endpoints import Endpoint, endpoint_of, is_address, is_inside, listed, usual_host
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.gateway.config import GatewayConfig
    from coldseal.observe.metrics import GatewayMetrics

KEPT: Final = "egress.json"
"""Where the uplink's process writes down what was refused, below the gateway's data folder."""

IGNORED: Final = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "WS_PROXY", "WSS_PROXY"),
    *("http_proxy", "https_proxy", "all_proxy", "no_proxy", "ws_proxy", "wss_proxy"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"),
    *("OPENSSL_CONF", "OPENSSL_CONF_INCLUDE", "OPENSSL_MODULES", "OPENSSL_ENGINES", "CTLOG_FILE"),
    *("HOSTALIASES", "LOCALDOMAIN", "RES_OPTIONS", "RESOLV_HOST_CONF"),
)
"""Variables that could lead elsewhere, trust somebody else or show keys; the uplink starts without them."""


_log = Log("gateway.egress")


class Cause(StrEnum):
    """Why a way out is refused; what is wrong with a certificate has the words of `identity.handshakes`."""

    NOT_LISTED = "not-listed"
    ADDRESS = "address"
    PIN = "pin"
    AUTHORITY = "authority"
    ROLE = "role"
    NAME = "name"
    EXPIRED = "expired"
    NOT_YET_VALID = "not-yet-valid"
    REVOKED = "revoked"
    REVOCATION_UNKNOWN = "revocation-unknown"
    SELF_SIGNED = "self-signed"
    PURPOSE = "purpose"
    WEAK = "weak"
    SIGNATURE = "signature"
    PATH_LENGTH = "path-length"
    NOT_A_CA = "not-a-ca"
    CHAIN_SIZE = "chain-size"
    PROOF = "proof"
    CERTIFICATE = "certificate"
    PROTOCOL = "protocol"


class RefusedError(TrustError):
    """The list of ways out, or what the peer proved, does not allow this connection."""

    verdict = "egress-refused"

    def __init__(self, endpoint: Endpoint, cause: Cause, why: str) -> None:
        """Keep the three facts as attributes."""
        self.endpoint, self.cause, self.why = endpoint, cause, why
        super().__init__(f"{endpoint} is refused ({cause}): {why}")


class Rule(NamedTuple):
    """What one endpoint must be."""

    endpoint: Endpoint
    pins: tuple[str, ...] = ()
    ca: Path | None = None
    addresses: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()


class Refusals(msgspec.Struct, frozen=True):
    """What was refused, as it is written down.

    Args:
        counts: refusals since that process began, by cause.
        standing: endpoints that are refused now, with cause and reason.
    """

    counts: dict[str, int] = {}
    standing: dict[str, str] = {}


def rules_of(config: GatewayConfig) -> tuple[Rule, ...]:
    """Give the rules of a configuration: its list, else exactly the endpoints that it names."""
    if not config.egress.allow:
        return tuple(Rule(each) for each in sorted({endpoint_of(way.url) for way in ways_out(config)}))
    return tuple(
        Rule(
            listed(each),
            each.pins,
            each.ca,
            tuple(usual_host(text) for text in each.addresses),
            each.networks,
        )
        for each in config.egress.allow
    )


class Guard:
    """Decides on each way out, and says what it refused; may be used by several threads.

    Args:
        rules: the endpoints that are allowed.
        names: gives the addresses of a name; blocks; raises UnavailableError.
        kept: a file where refusals are written down; None for nowhere.
    """

    def __init__(
        self, rules: Sequence[Rule], names: Callable[[str], Sequence[str]], kept: Path | None = None
    ) -> None:
        """Begin with nothing refused."""
        self._rules = {rule.endpoint: rule for rule in rules}
        self._names, self._kept = names, kept
        self._lock = threading.Lock()
        self._counts: dict[str, int] = {}
        self._standing: dict[Endpoint, tuple[Cause, str]] = {}
        if kept is not None:
            self._write()

    def rule(self, endpoint: Endpoint) -> Rule:
        """Give the rule of an endpoint.

        Raises:
            RefusedError: it is not on the list.
        """
        found = self._rules.get(endpoint)
        if found is None:
            raise self.refused(endpoint, Cause.NOT_LISTED, "it is not in egress.allow")
        return found

    def addresses(self, endpoint: Endpoint) -> Sequence[str]:
        """Give the addresses at which an endpoint may be reached; blocks where a name is asked for.

        Raises:
            RefusedError: it is not on the list, or no address is in its networks.
            UnavailableError: the name cannot be resolved.
        """
        rule = self.rule(endpoint)
        if is_address(endpoint.host):
            return (endpoint.host,)
        if rule.addresses:
            return rule.addresses
        answers = [usual_host(text) for text in self._names(endpoint.host)]
        found = [text for text in answers if not rule.networks or is_inside(text, rule.networks)]
        if not found:
            why = f"its name leads to {', '.join(answers)}, outside its networks"
            raise self.refused(endpoint, Cause.ADDRESS, why)
        return found

    def admit(self, endpoint: Endpoint, address: str, port: int) -> None:
        """Let a connection be made: the last look before the network.

        Raises:
            RefusedError: address or port are not the endpoint's.
        """
        rule, found = self.rule(endpoint), usual_host(address.partition("%")[0])
        fixed = (endpoint.host,) if is_address(endpoint.host) else rule.addresses
        is_good = found in fixed if fixed else not rule.networks or is_inside(found, rule.networks)
        if not is_good or port != endpoint.port:
            raise self.refused(endpoint, Cause.ADDRESS, f"{address} port {port} is not its address")
        if not endpoint.is_tls:
            self.passed(endpoint)

    def admit_chain(self, endpoint: Endpoint, chain: Sequence[bytes]) -> None:
        """Let a peer be spoken to whose chain has been verified.

        Args:
            endpoint: the peer.
            chain: its certificates as verified, DER, leaf first, anchor last.

        Raises:
            RefusedError: no pinned key is in it, or it does not end in the CA of the rule.
        """
        rule = self.rule(endpoint)
        if rule.pins and not {pin_of(each) for each in chain}.intersection(rule.pins):
            shown = f"its key is {pin_of(chain[0])}" if chain else "it shows no certificate"
            raise self.refused(endpoint, Cause.PIN, f"no key of its chain is pinned; {shown}")
        if rule.ca is not None and not set(chain).intersection(_certificates(rule.ca)):
            raise self.refused(endpoint, Cause.AUTHORITY, f"its chain does not end in {rule.ca}")

    def refused(self, endpoint: Endpoint, cause: Cause, why: str) -> RefusedError:
        """Note a refusal, say it unless it was said, and give the error to raise."""
        with self._lock:
            before = self._standing.get(endpoint)
            self._standing[endpoint] = (cause, why)
            self._counts[cause] = self._counts.get(cause, 0) + 1
            self._write()
        if before is None or before[0] is not cause:
            _log.emit(
                events.EGRESS_REFUSED, host=endpoint.host, port=endpoint.port, cause=str(cause), detail=why
            )
        return RefusedError(endpoint, cause, why)

    def passed(self, endpoint: Endpoint) -> None:
        """Note that an endpoint is as it must be."""
        if endpoint not in self._standing:
            return
        with self._lock:
            self._standing.pop(endpoint, None)
            self._write()
        _log.emit(events.EGRESS_RESTORED, host=endpoint.host, port=endpoint.port)

    def _write(self) -> None:
        """Write down what is refused, for the gateway's own process; losing it loses a count alone."""
        if self._kept is None:
            return
        standing = {str(each): f"{cause}: {why}" for each, (cause, why) in self._standing.items()}
        draft = self._kept.with_suffix(".new")
        with suppress(OSError):
            draft.write_bytes(msgspec.json.encode(Refusals(self._counts, standing)))
            draft.replace(self._kept)


class EgressWatch:
    """Shows in the gateway's own process what the uplink's process refused.

    Args:
        kept: where it is written down.
        metrics: where counts are shown.
    """

    def __init__(self, kept: Path, metrics: GatewayMetrics) -> None:
        """Begin with what is written down now: it was counted before."""
        self._kept, self._metrics = kept, metrics
        self._seen = self._read()

    def tick(self) -> None:
        """Count what is new."""
        found, before = self._read(), self._seen.counts
        if any(found.counts.get(cause, 0) < count for cause, count in before.items()):
            before = {}  # the uplink was started again
        for cause, count in found.counts.items():
            self._metrics.egress_refused.labels(cause).inc(count - before.get(cause, 0))
        self._seen = found

    def status(self) -> Mapping[str, str]:
        """Give the endpoints that are refused now, with the reason."""
        return self._seen.standing

    def _read(self) -> Refusals:
        """Read what is written down; nothing if nothing can be read."""
        try:
            return msgspec.json.decode(self._kept.read_bytes(), type=Refusals)
        except (OSError, msgspec.DecodeError):
            return Refusals()


def pin_of(certificate: bytes) -> str:
    """Give the pin of a certificate (DER): SHA-256 of its public key, in base64 (RFC 7469 2.4)."""
    key = x509.load_der_x509_certificate(certificate).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def _certificates(path: Path) -> set[bytes]:
    """Read the certificates of a file, DER; none if it cannot be read, so that nobody passes."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        return set()
    return {each.public_bytes(Encoding.DER) for each in found}
