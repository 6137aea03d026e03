"""A desk with a clock to set, and machines that come to it."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.core.attestation.quotes import AttestationError, Quoted
from coldseal.service.attestation.desk import Desk
from coldseal.service.attestation.references import ReferenceFile, References
from coldseal.service.attestation.states import Decision, States
from coldseal.service.config import Attestation
from tests.signing.machines import BootedMachine
from tests.trial import now


class Fleet:
    """Two machines with chips of one maker, one with a chip of another maker."""

    def __init__(self, one: BootedMachine, two: BootedMachine, foreign: BootedMachine, trusted: Path) -> None:
        """Take them."""
        self.one, self.two, self.foreign, self.trusted = one, two, foreign, trusted


class Trial:
    """A desk with a clock to set."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        """Open it."""
        self.folder, self.fleet = folder, fleet
        self.now = round(now().timestamp()) + 1
        self.settings = Attestation(ek_roots=fleet.trusted)
        self._drawn = 0
        self.desk = self.open()

    def open(self) -> Desk:
        """Open it again, as after a restart of the service."""
        roots = self.fleet.trusted
        return Desk(self.settings, self.folder, roots=roots, now=lambda: self.now, draw=self._draw)

    def _draw(self, size: int) -> bytes:
        """Draw bytes that never come again."""
        self._drawn += 1
        return self._drawn.to_bytes(size)

    def bind(self, machine: BootedMachine, gateway: str = "gw-1") -> None:
        """Bind a machine's chip."""
        challenge = self.desk.enrol(gateway, machine.shown())
        self.desk.activate(gateway, machine.speaker.activate(challenge))

    def quoted(self, machine: BootedMachine, gateway: str = "gw-1") -> Quoted:
        """Have a machine answer a new nonce."""
        return machine.speaker.quoted(gateway, self.desk.ask(gateway))

    def attest(self, machine: BootedMachine, gateway: str = "gw-1") -> str:
        """Have a machine attest; the verdict."""
        return self.desk.attest(gateway, self.quoted(machine, gateway)).verdict

    def take_reference(self, name: str = "release-1", gateway: str = "gw-1") -> None:
        """Make reference values of a gateway's last quote, as an operator does."""
        booted = self.desk.of(gateway).booted
        assert booted is not None
        file = ReferenceFile(
            name=name, gateways=("gw-*",), booted=booted, source=gateway, who="ops", why="trial", t=self.now
        )
        References(self.folder).add(file)
        self.desk.refresh()

    def decide(self, action: str, gateway: str = "gw-1") -> None:
        """Decide, as an operator does."""
        decision = Decision(gateway=gateway, action=action, who="ops", why="trial", t=self.now)  # type: ignore[arg-type] # a literal
        States(self.folder).decide(decision)
        self.desk.refresh()

    def reason(self, quoted: Quoted, gateway: str = "gw-1") -> str:
        """Give the reason for which a quote is refused."""
        with pytest.raises(AttestationError) as caught:
            self.desk.attest(gateway, quoted)
        return caught.value.verdict
