"""Where evidence comes from: a gateway's own log, or the copy that a service keeps.

Both are only read, and may be running. Judges nothing.
"""

from __future__ import annotations

import tomllib
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.core.log.canonical import Value, parse_base64
from coldseal.core.log.checkpoint import VerifierKey, parse_vkey
from coldseal.core.log.evidence import Policy
from coldseal.core.log.record import parse_entry
from coldseal.core.log.signature import low_s
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.evidence.source import Count, Source, Stamped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.gateway.config import GatewayConfig
    from coldseal.service.config import ServiceConfig

_HERE: Final = Path()


def open_source(config: Path, origin: str = "") -> Source:
    """Open the log that a gateway's or service's configuration names.

    Args:
        config: gateway.toml or service.toml.
        origin: which log of a service; may be left out where it keeps one.

    Raises:
        OperatorError: the file is neither, or the log is not there.
        UnavailableError: the store cannot be read now.
    """
    if is_gateway(config):
        from coldseal.gateway.config import load_gateway

        return GatewaySource(load_gateway(config))
    from coldseal.service.config import load_service

    return ServiceSource(load_service(config), origin)


def is_gateway(config: Path) -> bool:
    """Whether a configuration is a gateway's.

    Raises:
        OperatorError: it cannot be read.
    """
    try:
        return "gateway" in tomllib.loads(config.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"{config} cannot be read: {error}", "Name gateway.toml or service.toml"
        ) from error


class GatewaySource:
    """A gateway's own log."""

    def __init__(self, config: GatewayConfig) -> None:
        """Open it beside the gateway that may be writing it."""
        from coldseal.gateway.store.reader import HEAD_NAME, LogReader
        from coldseal.gateway.uplink.receipts import Receipts
        from coldseal.gateway.uplink.tokens import Tokens
        from coldseal.gateway.writer import LOG_FOLDER
        from coldseal.signing.secrets import read_symmetric_key

        key, data = read_symmetric_key(config.store.key, _HERE), config.gateway.data
        self._config, self._key = config, key
        with suppress(PermissionError):  # which the reader says
            if not (data / LOG_FOLDER / HEAD_NAME).exists():
                raise OperatorError(f"{data} holds no log yet", "Run the gateway once")
        self._reader = LogReader(data / LOG_FOLDER, key)
        self.size = self._reader.size()
        self.begin = max((end for _, end, pruned in self._reader.closed_segments() if pruned), default=0)
        self._settings = self._reader.settings()
        if not self._settings:
            raise OperatorError(f"the log in {data} is empty", "Start the gateway once")
        try:
            self._receipts: Receipts | None = Receipts(data, key, readonly=True)
            self._tokens: Tokens | None = Tokens(data, key, readonly=True)
        except UnavailableError:  # nothing was ever delivered
            self._receipts = self._tokens = None
        uplink = config.uplink
        names = [uplink.witness] if uplink.witness else []
        witnesses = tuple(map(parse_vkey, [*names, *(each.key for each in uplink.witnesses)]))
        self.policy = policy_of(self._settings[0], witnesses, config.witness.quorum)

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries; fewer than ``count`` only at the end."""
        return self._reader.read(first, max_entries=count, max_bytes=count * 65_537)

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash over a complete subtree, from stored hashes."""
        return self._reader.nodes(level, index)

    def settings(self) -> list[bytes]:
        """Give the entries that say what the log is."""
        return self._settings

    def notes(self) -> Iterator[bytes]:
        """Give every receipt, and what others cosigned without one, rising; then the newest checkpoint."""
        if self._receipts is not None:
            cosigned = self._receipts.cosignatures.alone()
            cosigned |= {receipt.size: receipt.note for receipt in self._receipts.all()}
            yield from (cosigned[size] for size in sorted(cosigned))
        newest = self._reader.checkpoint_at_most(self.size)
        if newest is not None:
            yield newest.note

    def timestamps(self, size: int) -> list[Stamped]:
        """Give the timestamps of checkpoints over at most ``size`` entries."""
        found = [] if self._tokens is None else self._tokens.timestamps(0, size)
        checkpoints = ((each, self._reader.checkpoint_at_most(each.size)) for each in found)
        return [
            Stamped(each.size, checkpoint.note, each.response)
            for each, checkpoint in checkpoints
            if checkpoint is not None and checkpoint.size == each.size
        ]

    def counts(self, size: int) -> list[Count]:
        """Give what the chip certified of its counter, as far as the checkpoint is still there."""
        if not self._config.hardware.counter:
            return []
        from coldseal.gateway.counting import Book, State

        try:
            with closing(Book(self._config.gateway.data, self._key, readonly=True)) as book:
                counted = book.all()
        except UnavailableError:  # nothing was ever counted
            return []
        ours = [each for each in counted if each.state is State.CERTIFIED and each.size <= size]
        checkpoints = ((each, self._reader.checkpoint_at_most(each.size)) for each in ours)
        return [
            Count(each.size, found.note, each.attest, low_s(each.signature))
            for each, found in checkpoints
            if found is not None and (found.size, each.origin) == (each.size, self.policy.origin)
        ]

    def certificates(self) -> dict[str, bytes]:
        """Give the certificates that the configuration names, as far as they can be read."""
        mqtt, uplink = self._config.mqtt, self._config.uplink
        named = {
            "gateway-listener.pem": mqtt.certificate,
            "device-ca.pem": mqtt.client_ca,
            "gateway-uplink.pem": uplink.certificate,
            "service-ca.pem": uplink.ca,
        }
        return {
            name: path.read_bytes() for name, path in named.items() if path is not None and path.is_file()
        }

    def device_certificate(self, fingerprint: str) -> bytes:
        """Give a certificate that was kept when its device was let in."""
        from coldseal.gateway.certificates import CERTIFICATES, read_kept

        return read_kept(self._config.gateway.data / CERTIFICATES, fingerprint)

    def timestamp_ca(self) -> bytes:
        """Give the roots of the timestamp authority."""
        path = self._config.timestamp.ca
        return path.read_bytes() if path is not None and path.is_file() else b""

    def close(self) -> None:
        """Close what was opened."""
        self._reader.close()
        for each in (self._receipts, self._tokens):
            if each is not None:
                each.close()


class ServiceSource:
    """A log as a service keeps it."""

    def __init__(self, config: ServiceConfig, origin: str) -> None:
        """Open the ledger beside the service that may be writing it."""
        from coldseal.service.admission import Admission
        from coldseal.service.ledger import LEDGER
        from coldseal.service.storage.sqlite import SqliteLedger
        from coldseal.service.storage.tree import LogTree
        from coldseal.signing.keys import open_ed25519
        from coldseal.signing.secrets import read_symmetric_key

        settings = config.service
        admitted = Admission(settings.data / "logs")
        known = [log.origin for log in admitted.all()]
        chosen = origin or (known[0] if len(known) == 1 else "")
        log = admitted.find(chosen)
        if log is None:
            raise OperatorError(
                f"the service keeps no log {chosen!r}",
                f"Use --origin with one of: {', '.join(known) or 'none'}",
            )
        key = read_symmetric_key(config.store.key, _HERE)
        self._config = config
        self._ledger = SqliteLedger(settings.data / LEDGER, key, limit_bytes=config.store.limit_mb << 20)
        self._origin = chosen
        self._tree = LogTree(self._ledger, chosen)
        head = self._ledger.head(chosen)
        self.size = head.size
        self.begin = 0
        witness = open_ed25519(config.witness.key, base=_HERE).verifier_key(settings.name, cosigner=True)
        self.policy = Policy(
            chosen, log.record_key, log.checkpoint_keys, (witness,), mode=head.mode or "record"
        )

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries; fewer than ``count`` only at the end."""
        return self._ledger.entries(self._origin, first, min(self.size, first + count))

    def nodes(self, level: int, index: int) -> bytes:
        """Give the hash over a complete subtree, from stored hashes."""
        return self._tree.nodes(level, index)

    def settings(self) -> list[bytes]:
        """Give the entries that say what the log is, of which the service keeps those that are proven."""
        return list(self._ledger.settings(self._origin))

    def notes(self) -> Iterator[bytes]:
        """Give every receipt, rising."""
        yield from (receipt.note for receipt in self._ledger.receipts(self._origin))

    def timestamps(self, size: int) -> list[Stamped]:
        """Give none: gateways keep them."""
        del size
        return []

    def counts(self, size: int) -> list[Count]:
        """Give none: the chip is the gateway's."""
        del size
        return []

    def certificates(self) -> dict[str, bytes]:
        """Give the certificates that the configuration names, as far as they can be read."""
        tls = self._config.tls
        named = {"service.pem": tls.certificate, "gateway-ca.pem": tls.client_ca}
        return {name: path.read_bytes() for name, path in named.items() if path.is_file()}

    def device_certificate(self, fingerprint: str) -> bytes:
        """Give none: gateways keep them."""
        del fingerprint
        return b""

    def timestamp_ca(self) -> bytes:
        """Give none."""
        return b""

    def close(self) -> None:
        """Close what was opened."""
        self._ledger.close()


def policy_of(genesis: bytes, witnesses: tuple[VerifierKey, ...], quorum: int) -> Policy:
    """Read a log's name, mode and first keys from its genesis entry.

    Raises:
        InputError: it says no such thing.
    """
    entry = parse_entry(genesis)
    keys, mode = entry.data.get("checkpoint_keys"), entry.data.get("mode")
    record = _text(entry.data.get("record_key"))
    return Policy(
        entry.log,
        parse_base64(record, where="genesis", field="record_key"),
        tuple(parse_vkey(_text(key)) for key in keys) if isinstance(keys, list) else (),
        witnesses,
        quorum,
        _text(mode),
    )


def _text(value: Value) -> str:
    """Read a text."""
    if not isinstance(value, str):
        raise InputError("genesis", "mode or keys", value, "a text")
    return value
