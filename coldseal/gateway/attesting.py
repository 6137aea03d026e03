"""What this gateway says about its machine: its chip, a quote with the event log, and what comes of it.

Promises that the chip is spoken to only where the configuration names it, and that how the gateway stands is
there after a restart. Believes nothing itself: the service judges. Every call may wait for the chip.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from coldseal.core.attestation.eventlog import MAX_LOG
from coldseal.core.attestation.messages import Challenge, Enrolment
from coldseal.core.attestation.quotes import Quoted, question
from coldseal.errors import OperatorError
from coldseal.identity.files import replace_private_file
from coldseal.signing.private_files import make_private_folder
from coldseal.signing.uris import missing, parse_tpm

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coldseal.core.attestation.quotes import Purpose
    from coldseal.gateway.config import GatewayConfig

NAME: Final = "attestation.json"
"""Below the data folder: how the service said that this gateway stands."""


class Told(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the service said last.

    Args:
        verdict: trusted, changed or unknown.
        reference: the reference values it was held against.
        changes: what differs from them.
        t: when, Unix seconds.
    """

    verdict: str
    reference: str
    changes: tuple[str, ...]
    t: int


class Machine:
    """A machine with a TPM.

    Args:
        tcti: the way to the chip.
        handle: persistent handle of the attestation key.
        pcrs: which are quoted.
        event_log: the firmware's event log; one that is not there counts as empty.
    """

    def __init__(self, tcti: str, handle: int, pcrs: Sequence[int], event_log: Path) -> None:
        """Load the driver.

        Raises:
            OperatorError: it is not installed.
        """
        try:
            from coldseal.signing.tpm.attesting import TpmAttestor  # noqa: PLC0415 # needs the extra `tpm`
        except ImportError as error:
            raise missing("tpm", error) from error
        self._chip = TpmAttestor(tcti, handle)
        self._pcrs, self._event_log = tuple(pcrs), event_log

    def enrolment(self) -> Enrolment:
        """Show the chip and its attestation key, which is made where there is none.

        Raises:
            UnavailableError: the chip is away.
            OperatorError: it has no endorsement certificate, or refuses.
        """
        key = self._chip.key()
        shown = self._chip.endorsement()
        return Enrolment(shown.certificate, shown.public, key)

    def activate(self, challenge: Challenge) -> bytes:
        """Open what only this chip can open.

        Raises:
            UnavailableError: the chip is away.
            OperatorError: it cannot open it.
        """
        return self._chip.activate(*challenge)

    def quoted(self, gateway: str, nonce: bytes, purpose: Purpose = "session") -> Quoted:
        """State what was booted, in answer to a nonce.

        Raises:
            UnavailableError: the chip is away.
            OperatorError: it makes no attestation key, or the event log cannot be read.
        """
        self._chip.key()  # made where there is none: a new chip, or one that was cleared
        stated = self._chip.quote(question(gateway, nonce, purpose), self._pcrs)
        return Quoted(stated.attest, stated.signature, stated.values, _read_log(self._event_log))


def open_machine(config: GatewayConfig) -> Machine | None:
    """Give what speaks for the machine; None where this gateway does not attest.

    Raises:
        OperatorError: the key is named wrongly, or the driver is not installed.
    """
    table = config.attestation
    if table.key is None:
        return None
    uri = parse_tpm(config.hardware.full(table.key), Path())
    if uri.handle is None:
        what = f"attestation.key is {table.key}, expected a persistent handle"
        raise OperatorError(what, "Write tpm:0x81010a01, or another handle that is free")
    return Machine(uri.tcti, uri.handle, table.pcrs, table.event_log)


def write_told(data: Path, told: Told) -> None:
    """Write down how this gateway stands; durable on return.

    Raises:
        OperatorError: it cannot be written.
    """
    make_private_folder(data)  # a gateway may attest before it has run
    replace_private_file(data / NAME, msgspec.json.encode(told))


def read_told(data: Path) -> Told | None:
    """Read how this gateway stands; None where it was never said, or cannot be read."""
    try:
        return msgspec.json.decode((data / NAME).read_bytes(), type=Told)
    except (OSError, msgspec.DecodeError):
        return None


def render_told(data: Path) -> str:
    """Say how this gateway stands, for a person."""
    told = read_told(data)
    if told is None:
        return "not attested yet"
    against = f", by {told.reference}" if told.reference else ""
    return f"{told.verdict}{against}" + (f": {'; '.join(told.changes)}" if told.changes else "")


def _read_log(path: Path) -> bytes:
    """Read the event log, and not more than one may have."""
    try:
        with path.open("rb") as file:
            return file.read(MAX_LOG + 1)
    except FileNotFoundError:
        return b""
    except OSError as error:
        hint = "Give the gateway's user a copy: LoadCredential= in its systemd unit"
        raise OperatorError(f"{path}: {error.strerror}", hint) from error
