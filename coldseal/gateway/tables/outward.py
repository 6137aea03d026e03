"""What goes out: to the service, to witnesses, to a timestamp authority, to whoever watches."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from coldseal.gateway.tables.values import Urgent
from coldseal.settings import Address, Count, KeyPlace, Seconds
from coldseal.signing.uris import TpmUri, parse_transport


class FurtherWitness(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A witness beside the service, of somebody else: it is asked by C2SP tlog-witness."""

    url: str
    """Its submission prefix, such as `https://host:port/v1/witness`; `http://` on loopback only."""
    key: str
    """Its verifier key, as `coldseal service init` prints it there."""
    certificate: Path | None = None
    """Certificate chain that is shown to it, PEM; empty: that of `uplink`."""
    certificate_key: Path | None = None
    """The transport key of that certificate, PEM, mode 0600."""
    ca: Path | None = None
    """CA certificates that it must descend from, PEM; empty: those of `uplink`."""


class Uplink(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The way to the ingestion service, over mutual TLS 1.3."""

    url: str = ""
    """The service, as `https://host:port`; empty: entries stay here."""
    certificate: Path | None = None
    """Certificate chain of the gateway, PEM."""
    key: KeyPlace | None = None
    """Its transport key, PEM, mode 0600; or `tpm:key=FILE`: it is in the TPM, which wrapped it in FILE."""
    ca: Path | None = None
    """CA certificates that the service must descend from, PEM."""
    crl: Path | None = None
    """Revocation list of the CA that signs the service, PEM; one that has ended lets nothing go up."""
    witness: str = ""
    """Verifier key of the service's witness, as `coldseal service init` prints it."""
    batch_entries: Annotated[int, Meta(ge=1, le=65_536)] = 4_096
    """Entries in one batch at most."""
    retry_initial_s: Seconds = 0.5
    """Longest first wait after a failure; it doubles each time, and the wait is drawn at random below it."""
    retry_max_s: Seconds = 60
    """Longest wait after a failure."""
    timeout_s: Seconds = 30
    """Time for one batch and its receipt."""
    urgent: tuple[Urgent, ...] = ("excursion", "alarm", "gap", "clock")
    """Kinds of entries that are told to the service ahead of a backlog; `[]`: none."""
    witnesses: tuple[FurtherWitness, ...] = ()
    """Further witnesses, at most 8; each is a table `[[uplink.witnesses]]`."""

    @property
    def transport(self) -> Path | TpmUri | None:
        """The transport key's place, for whoever opens it; raises `OperatorError` for one that is none."""
        return None if self.key is None else parse_transport(self.key)


class Witness(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many witnesses are needed, the service among them, and how often the others are asked."""

    quorum: Count = 1
    """Witnesses that must cosign one checkpoint; entries below it are witnessed."""
    interval_s: Annotated[float, Meta(ge=0.01, le=60)] = 10
    """Shortest time between two checkpoints that further witnesses are asked for."""
    overdue_after_s: Seconds = 86_400
    """Alarm once an entry has waited so long for the quorum."""


class Timestamp(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The timestamp authority (RFC 3161) that stamps the end of each segment; asked by the uplink."""

    url: str = ""
    """The authority, as `http://` or `https://`; empty: no timestamps. Needs `uplink.url`."""
    ca: Path | None = None
    """Root certificates that the authority must descend from, PEM."""
    timeout_s: Seconds = 30
    """Time for one timestamp."""


class Http(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Health, metrics and status for this machine."""

    listen: Address | None = Address("127.0.0.1:9464")
    """Loopback listener; empty switches it off."""
    stalled_after_s: Seconds = 10
    """Unhealthy once messages have waited this long without a commit."""
    silent_after_s: Seconds = 900
    """A sensor not heard for so long is named as silent in the status."""
