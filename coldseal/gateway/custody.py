"""Finds the checkpoint key that the log names, wherever it is: in chip or token, or in software meanwhile.

Promise: a gateway whose chip is away starts all the same, and seals; the key signs once the chip is back, or
the log names another. Which key is active is the log's word, never the configuration's.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.core.log.keys import history_of
from coldseal.core.log.record import key_id
from coldseal.errors import OperatorError, UnavailableError
from coldseal.signing.holders import is_held
from coldseal.signing.keys import EcdsaSigner, open_ecdsa, path_of

if TYPE_CHECKING:
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.store.log import Log

_HERE: Final = Path()  # paths in a configuration are absolute once it is loaded


class AwayKey:
    """A key whose chip or token was away when it was to be opened; each signature tries again.

    Args:
        uri: where it is.
        spki: the public key, as the log names it.
    """

    def __init__(self, uri: str, spki: bytes) -> None:
        """Note what is known."""
        self._uri = uri
        self._key: EcdsaSigner | None = None
        self.spki = spki

    def sign(self, data: bytes) -> bytes:
        """Sign bytes.

        Raises:
            UnavailableError: the key is still away.
            OperatorError: another key is in its place.
        """
        if self._key is None:
            found = open_ecdsa(self._uri, base=_HERE)
            if found.spki != self.spki:
                raise OperatorError(f"{found.kid} is not the log's checkpoint key", "Name the log's own")
            self._key = found
        return self._key.sign(data)


def open_checkpoint_key(
    config: GatewayConfig, log: Log | None, *, before: bytes = b"", is_leaving: bool = False
) -> EcdsaSigner:
    """Open the checkpoint key.

    Args:
        config: the gateway's configuration.
        log: the log, which says which key is active; without one, or before its first entry, it is the
            configured one.
        before: of a log without an entry, the public key that signed checkpoints of the one it continues.
        is_leaving: a person changes the key: the one before may be gone for good, as with a board.

    Raises:
        OperatorError: none of those that the configuration names is the log's.
        UnavailableError: chip or token is away, and there is no log yet.
    """
    configured, hardware = config.keys.checkpoint, config.hardware
    active = _active(log) if log is not None and log.size else before
    if not active or not (is_held(configured) or hardware.former):
        return open_ecdsa(configured, base=_HERE)
    away = ""
    for uri in (configured, *hardware.former, hardware.fallback):
        try:
            found = open_ecdsa(uri, base=_HERE)
        except UnavailableError:
            away = away or uri
            continue
        except OperatorError:
            if uri == configured and not is_leaving:
                raise
            continue
        if found.spki == active:
            return found
    if away or is_leaving:
        return EcdsaSigner(AwayKey(away or configured, active))
    what = f"no key of the configuration is the log's checkpoint key {key_id(active)}"
    raise OperatorError(what, "Name it in hardware.former, then change it: coldseal identity roll-over")


def _active(log: Log) -> bytes:
    """Give the public key that signs a log's next checkpoint, by its own word."""
    return history_of(log.chain.log, log.reader.settings()).at(log.size).checkpoint[0].public


def stand_ins(config: GatewayConfig) -> tuple[Path, ...]:
    """Give the files of software keys that may stand in for the one in hardware; the fallback first."""
    named = (config.hardware.fallback, *config.hardware.former)
    return tuple(path_of(uri, _HERE) for uri in named if not is_held(uri))
