"""The service's configuration: every setting, its limits, its default and its meaning.

Parsed once into frozen structs; what is inconsistent is refused with the cure. Nothing here opens
a file that the configuration names. The string below a setting is its documentation:
`docs/reference/configuration.md` is made from it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct, field

from coldseal import settings
from coldseal.errors import OperatorError
from coldseal.identity.peer import Role
from coldseal.settings import Address, Count, Reference, Seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._~-]+(/[A-Za-z0-9._~-]+)*$", max_length=200)]


Reader = Literal["gateway", "operator"]

_LOOPBACK = ("http://127.0.0.1:", "http://[::1]:", "http://localhost:")


class Service(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this service is and where it listens."""

    name: Name
    """Name of its witness, such as `witness.example.com`."""
    listen: Address = Address("127.0.0.1:8443")
    """Listener for gateways, mutual TLS 1.3."""
    data: Path = Path("data")
    """Folder of the ledger; the admitted logs stand in its `logs`."""
    max_batch_bytes: Annotated[int, Meta(ge=131_072)] = 67_108_864
    """Largest batch; a larger one is refused before it is read."""
    max_connections: Count = 1_000
    """Connections at one time."""
    max_requests: Count = 256
    """Batches, checkpoints and notices taken in at one time; a further one is put off by 503, unread."""
    request_timeout_s: Seconds = 60
    """Time for one request to arrive whole."""
    readers: tuple[Reader, ...] = ("gateway", "operator")
    """Roles that may read logs as static files; a gateway its own ones only. Empty: nobody."""


class Tls(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The transport identity."""

    certificate: Path
    """Certificate chain of the service, PEM."""
    key: Path
    """Its transport key, PEM, mode 0600."""
    client_ca: Path
    """CA certificates that gateways must descend from, PEM."""
    crl: Path | None = None
    """Certificate revocation list of that CA, PEM; empty: none is checked."""


class Witness(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The key that cosigns checkpoints; its cosignature is the receipt."""

    key: Reference = Reference("file:witness.pem")
    """Ed25519 witness key."""


class Verify(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The check of every entry's own signature."""

    signatures: Literal["behind", "first"] = "behind"
    """`behind`: a receipt needs the checkpoint only, signatures are checked after it; `first`: before it."""
    workers: Annotated[int, Meta(ge=0, le=256)] = 0
    """Processes; 0 takes one for each processor."""


class Store(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The encrypted ledger on disk."""

    key: Reference = Reference("file:store.key")
    """Store key: 32 bytes in hex, in a file of mode 0600 or in the environment."""
    limit_mb: Count = 65_536
    """Largest size of the ledger in MiB; when it is full, batches are answered by 503."""


class Est(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Enrolment and renewal of certificates (RFC 7030), and the issuing CA behind it."""

    listen: Address | None = None
    """Listener of its own, TLS 1.3, to which callers may come without a certificate; empty: there is none."""
    authority: Path | None = None
    """Folder of the issuing CA, made by `coldseal identity ca init`."""
    roles: tuple[Role, ...] = ("device", "gateway")
    """Roles that are enrolled here; certificates in force are renewed whatever their role."""
    factory_ca: Path | None = None
    """Certificates of the CA that signs factory certificates, PEM, also its issuing one; empty: none."""
    factory_map: Path | None = None
    """File of `[[holder]]` tables: which factory certificate becomes what; empty: none is mapped."""
    approval: bool = False
    """Whether a factory certificate that nothing maps waits for a person; else it is refused."""
    retry_after_s: Count = 30
    """What a caller that waits for a person is told to wait."""
    requests_per_minute: Count = 120
    """Requests of one certificate, or of one address without; a further one is put off by 429."""
    renew_own: bool = True
    """Whether the service gives its own certificate a new life from this CA, at half of the old one."""


class Bulk(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The bulk tier: closed ranges of every log as Parquet files with signed manifests."""

    url: str = ""
    """Where they lie: `file:///folder` or `s3://bucket/prefix`; empty: nowhere."""
    range_entries: Annotated[int, Meta(ge=256, le=1_048_576)] = 65_536
    """Entries in one file; a range is closed once it has a receipt."""
    endpoint: str = ""
    """Address of the S3 server, https://…; http:// on loopback only; empty: Amazon's."""
    region: str = "us-east-1"
    """Region of the bucket."""
    access_key: Reference | None = None
    """Access key ID, by reference; needed for `s3://`."""
    secret_key: Reference | None = None
    """Secret access key, by reference; needed for `s3://`."""
    ca: Path | None = None
    """CA certificates that the S3 server may descend from too, PEM; empty: the system's alone."""
    object_lock_days: Annotated[int, Meta(ge=0, le=36_500)] = 0
    """Days that the bucket must lock each object by its default retention (COMPLIANCE); 0: no lock."""


class Http(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Health, metrics and status for this machine."""

    listen: Address | None = Address("127.0.0.1:9465")
    """Loopback listener; empty switches it off."""
    stalled_after_s: Seconds = 60
    """Unhealthy once a batch or a signature check has waited this long without progress."""


Action = Literal["accept", "flag", "hold"]


class Attestation(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What gateways must prove of their machines, and what becomes of the records of those that do not."""

    ek_roots: Path | None = None
    """CA certificates of the makers of gateways' chips, PEM; empty: no attestation is asked for."""
    changed: Action = "flag"
    """What becomes of batches of a gateway that booted something else: `accept` them, `flag` them in the
    ledger's view, or `hold` them: they are put off, and the gateway keeps them."""
    unknown: Action = "flag"
    """The same for a gateway of which it is not known: without a chip, or silent for too long."""
    pcrs: tuple[Annotated[int, Meta(ge=0, le=23)], ...] = (0, 2, 4, 7)
    """PCRs that a quote must cover at least."""
    max_age_h: Annotated[float, Meta(gt=0)] = 3
    """A quote counts so long; a gateway sends one each hour, and whenever its uplink starts."""
    nonce_s: Count = 60
    """Time for a chip to answer."""


class ServiceConfig(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole of ``service.toml``."""

    service: Service
    tls: Tls
    witness: Witness = field(default_factory=Witness)
    verify: Verify = field(default_factory=Verify)
    store: Store = field(default_factory=Store)
    http: Http = field(default_factory=Http)
    bulk: Bulk = field(default_factory=Bulk)
    est: Est = field(default_factory=Est)
    attestation: Attestation = field(default_factory=Attestation)


def load_service(path: Path, overrides: Sequence[str] = ()) -> ServiceConfig:
    """Read ``service.toml``.

    Args:
        path: the file; relative paths in it are relative to its folder.
        overrides: ``table.key=value`` each.

    Raises:
        OperatorError: a key or value is wrong, or would open the service to the network without TLS.
    """
    config = settings.load(path, ServiceConfig, overrides)
    settings.require_loopback(config.http.listen, f"{path}: http.listen")
    _check_bulk(config.bulk, path)
    _check_est(config.est, path)
    return config


def _check_est(est: Est, path: Path) -> None:
    """Refuse a listener that could issue nothing, and a map of certificates that nobody signed."""
    if est.listen is not None and est.authority is None:
        what = f"{path}: est.listen is set, but est.authority is not"
        raise OperatorError(what, "Name the folder of the issuing CA: coldseal identity ca init")
    if est.factory_ca is None and (est.factory_map is not None or est.approval):
        what = f"{path}: est.factory_map or est.approval is set, but est.factory_ca is not"
        raise OperatorError(what, "Name the certificates of the CA that signs factory certificates")


def _check_bulk(bulk: Bulk, path: Path) -> None:
    """Refuse a tier that could not be reached, or would be spoken to openly over the network."""
    if not bulk.url:
        return
    if not bulk.url.startswith(("file:///", "s3://")):
        what = f"{path}: bulk.url is {bulk.url!r}, expected file:///… or s3://…"
        raise OperatorError(what, "Such as file:///srv/coldseal/bulk or s3://bucket/prefix")
    if bulk.endpoint and not bulk.endpoint.startswith(("https://", *_LOOPBACK)):
        what = f"{path}: bulk.endpoint is {bulk.endpoint!r}, expected https://…"
        raise OperatorError(what, "Use its https address; http:// only reaches 127.0.0.1")
    if bulk.url.startswith("s3:") and (bulk.access_key is None or bulk.secret_key is None):
        what = f"{path}: bulk.access_key or bulk.secret_key is missing, but bulk.url is {bulk.url}"
        raise OperatorError(what, "Set both, by reference: env:NAME or file:PATH")
    if bulk.url.startswith("file:") and bulk.object_lock_days:
        what = f"{path}: bulk.object_lock_days is set, but {bulk.url} is a folder"
        raise OperatorError(what, "Only S3 can lock: set it to 0, or use s3://…")
