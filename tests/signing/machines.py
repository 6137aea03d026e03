"""Machines with a real software TPM that boot what a test says, and lie as it says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coldseal.core.attestation.messages import Enrolment
from coldseal.gateway.attesting import Machine
from tests.core.event_log import BOOT, Told, write_log
from tests.signing.software_tpm import SoftwareTpm, software_tpm

HANDLE = 0x81010A01
PCRS = (0, 2, 4, 7, 8, 9, 14)


class BootedMachine:
    """A machine with a chip and an event log.

    Attributes:
        chip: its TPM.
        speaker: what speaks for it.
        event_log: the file with its event log.
    """

    def __init__(self, chip: SoftwareTpm, folder: Path) -> None:
        """Boot it in the ordinary way."""
        self.chip = chip
        self.event_log = folder / "event-log"
        self.speaker = Machine(chip.tcti, HANDLE, PCRS, self.event_log)
        self._shown: Enrolment | None = None
        self.boot(BOOT)

    def boot(self, told: Sequence[Told]) -> None:
        """Start it anew, and measure that."""
        self.chip.restart()
        for each in told:
            self.chip.extend(each.pcr, each.digest())
        self.event_log.write_bytes(write_log(told))

    def shown(self) -> Enrolment:
        """Give what it shows of its chip; that does not change."""
        if self._shown is None:
            self._shown = self.speaker.enrolment()
        return self._shown


@contextmanager
def machine(folder: Path, *, ca: Path | None = None) -> Iterator[BootedMachine]:
    """Make a machine in a folder; its chip is of a maker of its own, or of that of ``ca``."""
    folder.mkdir(exist_ok=True)
    with software_tpm(folder / "tpm", ca=ca) as chip:
        yield BootedMachine(chip, folder)


def roots(of: BootedMachine, folder: Path) -> Path:
    """Write the file with the CA certificates of a machine's chip."""
    path = folder / "ek-roots.pem"
    path.write_bytes(of.chip.ek_root.read_bytes() + of.chip.ek_issuer.read_bytes())
    return path
