"""Where evidence is exported from: a gateway's own log, or the copy that a service keeps.

Both are only read, and may be running. A range is given as the law has it: entries, the compact range before
them, and every checkpoint and receipt over them. Judges nothing.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note, parse_vkey
from coldseal.core.log.evidence import Policy
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.errors import OperatorError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coldseal.gateway.config import GatewayConfig
    from coldseal.service.config import ServiceConfig

_HERE = Path()


class Source(Protocol):
    """One log that can be exported."""

    policy: Policy
    size: int

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries; fewer than ``count`` only at the end."""

    def prior(self, first: int) -> CompactRange:
        """Give the compact range over the entries before ``first``."""

    def notes(self) -> Iterator[bytes]:
        """Give every receipt, rising, then the newest checkpoint."""

    def close(self) -> None:
        """Close what was opened."""


def open_source(config: Path, origin: str = "") -> Source:
    """Open the log that a gateway's or service's configuration names.

    Args:
        config: gateway.toml or service.toml.
        origin: which log of a service; may be left out where it keeps one.

    Raises:
        OperatorError: the file is neither, or the log is not there.
        UnavailableError: the store cannot be read now.
    """
    try:
        tables = tomllib.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise OperatorError(
            f"{config} cannot be read: {error}", "Name gateway.toml or service.toml"
        ) from error
    if "gateway" in tables:
        from coldseal.gateway.config import load_gateway

        return GatewaySource(load_gateway(config))
    from coldseal.service.config import load_service

    return ServiceSource(load_service(config), origin)


def size_of(note: bytes) -> int:
    """Give the tree size of a signed checkpoint; its signatures are not looked at."""
    return parse_checkpoint_text(parse_note(note).text).size


def is_cosigned(note: bytes, policy: Policy) -> bool:
    """Whether a witness of the policy has put a line under a checkpoint; the line is not verified."""
    signers = {(line.name, line.key_id) for line in parse_note(note).signatures}
    return any((key.name, key.id) in signers for key in policy.witnesses)


class GatewaySource:
    """A gateway's own log."""

    def __init__(self, config: GatewayConfig) -> None:
        """Open it beside the gateway that may be writing it."""
        from coldseal.gateway.app import LOG_FOLDER, open_keys
        from coldseal.gateway.store.reader import LogReader
        from coldseal.gateway.uplink.receipts import Receipts
        from coldseal.signing.secrets import read_symmetric_key

        key, data, origin = (
            read_symmetric_key(config.store.key, _HERE),
            config.gateway.data,
            config.gateway.origin,
        )
        self._reader = LogReader(data / LOG_FOLDER, key)
        self.size = self._reader.size()
        try:
            self._receipts: Receipts | None = Receipts(data, key, readonly=True)
        except UnavailableError:  # nothing was ever delivered
            self._receipts = None
        keys, witness = open_keys(config), config.uplink.witness
        self.policy = Policy(
            origin,
            keys.record.spki,
            (keys.checkpoint.verifier_key(origin), keys.interop.verifier_key(origin)),
            (parse_vkey(witness),) if witness else (),
            mode=config.gateway.signature,
        )

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries; fewer than ``count`` only at the end."""
        return self._reader.read(first, max_entries=count, max_bytes=count * 65_537)

    def prior(self, first: int) -> CompactRange:
        """Give the compact range over the entries before ``first``, from stored hashes."""
        hashes, at = [], 0
        for level in reversed(range(first.bit_length())):
            if first >> level & 1:
                hashes.append(self._reader.nodes(level, at >> level))
                at += 1 << level
        return CompactRange.from_hashes(first, hashes)

    def notes(self) -> Iterator[bytes]:
        """Give every receipt, rising, then the newest checkpoint."""
        if self._receipts is not None:
            yield from (receipt.note for receipt in self._receipts.all())
        newest = self._reader.checkpoint_at_most(self.size)
        if newest is not None:
            yield newest.note

    def close(self) -> None:
        """Close what was opened."""
        self._reader.close()
        if self._receipts is not None:
            self._receipts.close()


class ServiceSource:
    """A log as a service keeps it."""

    def __init__(self, config: ServiceConfig, origin: str) -> None:
        """Open the ledger beside the service that may be writing it."""
        from coldseal.service.admission import Admission
        from coldseal.service.ledger import LEDGER
        from coldseal.service.storage.sqlite import SqliteLedger
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
        self._ledger = SqliteLedger(settings.data / LEDGER, key, limit_bytes=config.store.limit_mb << 20)
        self._origin = chosen
        head = self._ledger.head(chosen)
        self.size = head.size
        witness = open_ed25519(config.witness.key, base=_HERE).verifier_key(settings.name, cosigner=True)
        self.policy = Policy(
            chosen, log.record_key, log.checkpoint_keys, (witness,), mode=head.mode or "record"
        )

    def read(self, first: int, count: int) -> list[bytes]:
        """Give entries; fewer than ``count`` only at the end."""
        return self._ledger.entries(self._origin, first, first + count)

    def prior(self, first: int) -> CompactRange:
        """Give the compact range over the entries before ``first``, by hashing them."""
        found = CompactRange()
        while found.size < first:
            for entry in self.read(found.size, min(4096, first - found.size)):
                found.append(leaf_hash(entry))
        return found

    def notes(self) -> Iterator[bytes]:
        """Give every receipt, rising."""
        yield from (receipt.note for receipt in self._ledger.receipts(self._origin))

    def close(self) -> None:
        """Close what was opened."""
        self._ledger.close()
