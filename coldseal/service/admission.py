"""Which logs the service takes: one file for each in ``data/logs``, read again when it changed.

Promises that a log not admitted by an operator is never stored. A file that cannot be read stops the
start; found later, it leaves what was admitted before as it was. Checks no certificate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

import msgspec

from coldseal.core.log.canonical import encode_base64, parse_base64
from coldseal.core.log.checkpoint import Algorithm, VerifierKey, parse_vkey
from coldseal.core.log.delivery.receiver import AdmittedLog
from coldseal.core.log.record import Chain, key_id
from coldseal.errors import InputError, OperatorError
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.private_files import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_HINT: Final = "Write it again with `coldseal gateway init`, then `coldseal service admit FILE`"

Mode = Literal["record", "checkpoint"]

_log = Log("service.admission")


class LogFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The public description of a log, as `coldseal gateway init` writes it.

    Args:
        origin: the log's name.
        gateway: name in the gateway's certificate.
        record_key: base64 of the record key's SubjectPublicKeyInfo DER.
        checkpoint_keys: verifier keys, all of which sign each checkpoint.
        mode: ``record``, or ``checkpoint`` where entries carry no signature of their own; may be left out.
            It is for verifiers, who take this file as a policy: the service goes by the genesis entry.
        site: where the gateway stands.
    """

    origin: str
    gateway: str
    record_key: str
    checkpoint_keys: tuple[str, ...]
    mode: Mode | msgspec.UnsetType = msgspec.UNSET
    site: str = ""


def parse_log_file(data: bytes, *, where: str) -> AdmittedLog:
    """Read the description of a log.

    Raises:
        OperatorError: it is not one; it names what is wrong.
    """
    try:
        file = msgspec.json.decode(data, type=LogFile)
        log = AdmittedLog(
            file.origin,
            file.gateway,
            parse_base64(file.record_key, where=where, field="record_key"),
            tuple(parse_vkey(key) for key in file.checkpoint_keys),
            file.site,
        )
        record = VerifierKey(log.origin, Algorithm.ECDSA, log.record_key)
        Chain(log.origin, key_id(record.public))  # a wrong origin or another kind of key shows
    except (msgspec.DecodeError, InputError) as error:
        raise OperatorError(f"{where}: {error}", _HINT) from error
    if not log.checkpoint_keys:
        raise OperatorError(f"{where}: checkpoint_keys is empty, expected at least one", _HINT)
    return log


def encode_log_file(log: AdmittedLog, mode: Mode | msgspec.UnsetType = msgspec.UNSET) -> bytes:
    """Write the description of a log; without its mode where that is not known."""
    file = LogFile(
        origin=log.origin,
        gateway=log.gateway,
        record_key=encode_base64(log.record_key),
        checkpoint_keys=tuple(key.encode() for key in log.checkpoint_keys),
        mode=mode,
        site=log.site,
    )
    return msgspec.json.format(msgspec.json.encode(file))


class Admission:
    """The logs admitted now."""

    def __init__(self, directory: Path) -> None:
        """Read all descriptions in a directory, which is made if it is missing.

        Raises:
            OperatorError: one cannot be read, or two describe one log.
        """
        make_private_folder(directory)
        self._directory = directory
        self._seen: dict[Path, tuple[int, int, int]] = self._look()
        self._logs = _read(self._seen)

    def __len__(self) -> int:
        """Count the admitted logs."""
        return len(self._logs)

    def all(self) -> list[AdmittedLog]:
        """Give all of them, by origin."""
        return [self._logs[origin] for origin in sorted(self._logs)]

    def find(self, origin: str) -> AdmittedLog | None:
        """Give an admitted log, None if it is not."""
        return self._logs.get(origin)

    def of_gateway(self, name: str) -> list[AdmittedLog]:
        """Give the logs that a gateway may send."""
        return [log for log in self.all() if log.gateway == name]

    def refresh(self) -> None:
        """Look whether a file came, went or changed, and read them again if so."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            logs = _read(seen)
        except OperatorError as error:
            _log.emit(events.ADMISSION_FAILED, error=str(error))
            return
        for origin in sorted(logs.keys() - self._logs.keys()):
            _log.emit(events.LOG_ADMITTED, origin=origin)
        self._logs = logs

    def _look(self) -> dict[Path, tuple[int, int, int]]:
        """Note what identifies each file's content."""
        found = {}
        for path in sorted(self._directory.glob("*.json")):
            status = path.stat()
            found[path] = (status.st_ino, status.st_mtime_ns, status.st_size)
        return found


def _read(paths: Iterable[Path]) -> dict[str, AdmittedLog]:
    """Read descriptions, each log once."""
    logs: dict[str, AdmittedLog] = {}
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise OperatorError(f"{path}: {error.strerror}", "Make it readable, or remove it") from error
        log = parse_log_file(data, where=str(path))
        if log.origin in logs:
            raise OperatorError(f"{path} describes {log.origin}, as another file does", "Remove one of them")
        logs[log.origin] = log
    return logs
