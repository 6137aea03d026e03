"""An external MQTT broker that readings are taken from, instead of or beside the own listener.

The weaker promise: such a broker acknowledges a reading to its device before this gateway has seen it. What
the broker then loses was acknowledged and is in no log. The own listener has no such gap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field

from coldseal.settings import Address, Count, Seconds


class Mosquitto(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `coldseal gateway broker-config mosquitto` writes down for a Mosquitto broker."""

    folder: Path = Path("/etc/mosquitto")
    """Folder on the broker's machine in which the written files will stand."""
    listen: Address = Address("127.0.0.1:8883")
    """The one address and port where devices reach it."""
    certificate: Path | None = None
    """The broker's own certificate chain, PEM."""
    key: Path | None = None
    """Its transport key, PEM, mode 0600."""
    client_ca: Path | None = None
    """CA certificates that devices and this gateway must descend from, PEM. The broker knows a client by its
    certificate's common name alone: this CA must never give one name to two holders."""
    crl: Path | None = None
    """Certificate revocation list of that CA, PEM; empty: none is checked."""
    user: str = "mosquitto"
    """User that the broker runs as where it is started by root; it must be able to read these files."""
    persistence: Path = Path("/var/lib/mosquitto")
    """Folder of the broker's database."""
    autosave_changes: Count = 100
    """The broker writes its database after so many changes; what came since is lost when it is killed."""
    max_connections: Count = 2_000
    """Connections at one time; more are refused."""
    max_packet_bytes: Annotated[int, Meta(ge=256, le=268_435_455)] = 65_536
    """Largest MQTT packet."""
    max_keepalive_s: Annotated[int, Meta(ge=10, le=65_535)] = 600
    """Longest keep-alive; MQTT 5 clients are told."""
    max_queued: Count = 500_000
    """Messages kept for a client that is away; beyond, the broker drops what it has acknowledged."""
    memory_mb: Annotated[int, Meta(ge=16)] = 1_024
    """Memory that the broker may take; beyond, it drops messages and disconnects."""


class Broker(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An external MQTT broker that readings are taken from, with a weaker promise than the own listener's.

    The broker acknowledges to the device first, and what it loses then is in no log.
    """

    address: Address | None = None
    """The broker, as `host:port` with the name in its certificate; TLS 1.3 and MQTT 5; empty: none."""
    certificate: Path | None = None
    """Certificate chain of this gateway, PEM."""
    key: Path | None = None
    """Its transport key, PEM, mode 0600."""
    ca: Path | None = None
    """CA certificates that the broker must descend from, PEM."""
    client_id: str = ""
    """Client id, which names the session at the broker; empty: the certificate's common name."""
    receive_maximum: Annotated[int, Meta(ge=1, le=65_535)] = 256
    """Messages that the broker may send ahead of their commit."""
    keep_alive_s: Annotated[int, Meta(ge=5, le=65_535)] = 30
    """Longest silence on the connection; a broker that answers no ping is given up."""
    session_expiry_s: Annotated[int, Meta(ge=3_600, le=4_294_967_294)] = 2_592_000
    """How long the broker is asked to keep messages for this gateway while it is away."""
    timeout_s: Seconds = 10
    """Time for connecting, and for each answer of the broker."""
    retry_initial_s: Seconds = 0.5
    """Longest first wait after a failure; it doubles each time, and the wait is drawn at random below it."""
    retry_max_s: Seconds = 30
    """Longest wait after a failure."""
    receipts: bool = False
    """Each reading is answered on its device's `receipt` topic once it is sealed, for devices that keep a
    reading until then."""
    pid_file: Path | None = None
    """The broker's pid file, where it runs on this machine and may be signalled: it gets SIGHUP when its
    certificate, key, revocation list or access list has changed; empty: somebody else sees to that."""
    mosquitto: Mosquitto = field(default_factory=Mosquitto)
    """What `broker-config mosquitto` writes down."""
