"""The registrar as a part: who is turned away before the CA is asked, why, and what is kept of it."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from coldseal.errors import InputError
from coldseal.identity.authority import create_authority
from coldseal.identity.est import encode_request, make_request
from coldseal.observe.metrics import ServiceMetrics
from coldseal.service.enrolling import Enrolling
from coldseal.service.enrolments import EnrolmentError
from coldseal.service.registrar import Caller, Registrar
from coldseal.service.storage.enrolments import Happened
from tests.sealed import GATEWAY
from tests.trial import Site, now

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KEY = bytes(range(32))
ADDRESS = "192.0.2.7"


class Desk:
    """A registrar over a CA of its own, at a moment that is set by hand.

    Attributes:
        late: how far its clock is ahead.
    """

    def __init__(self, folder: Path) -> None:
        """Make the CA and open it."""
        self.late = timedelta()
        self.site = Site(folder)
        (self.site.service / "data").mkdir()
        config = self.site.config(f"est.authority={folder}/pki")
        self.office = Enrolling(config, KEY, ServiceMetrics(), now=self._now)

    def _now(self) -> int:
        """Give the moment, Unix seconds."""
        return int((now() + self.late).timestamp())

    @property
    def registrar(self) -> Registrar:
        """The part."""
        return self.office._registrar

    def shown(self, path: Path) -> bytes:
        """Give a certificate as TLS does."""
        return load_pem_x509_certificate(path.read_bytes()).public_bytes(Encoding.DER)

    def last(self) -> Happened:
        """Give the newest line of the history."""
        return self.office.enrolments.history()[0]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Give a desk, which is closed at the end."""
    made = Desk(tmp_path)
    with closing(made.office):
        yield made


def body(name: str = "gw-9") -> bytes:
    """Ask for a gateway's certificate."""
    return encode_request(make_request(ec.generate_private_key(ec.SECP256R1()), "gateway", name))


def test_a_certificate_of_nobody_s_factory_enrols_nobody(desk: Desk, tmp_path: Path) -> None:
    """It is neither a factory's nor ours; the history says whose it was."""
    stranger = create_authority(tmp_path / "stranger", now=now())
    paper = stranger.issue("gateway", "gw-9", now=now())

    with pytest.raises(EnrolmentError) as caught:
        desk.registrar.enrol(body(), Caller(ADDRESS, desk.shown(paper)))

    assert caught.value.reason == "no-factory"
    line = desk.last()
    assert (line.what, line.way, line.address, line.role) == ("refused", "factory", ADDRESS, "")
    assert line.detail.startswith("no-factory: ")
    assert "gw-9" in line.who


def test_a_certificate_of_this_ca_is_renewed_not_enrolled(desk: Desk) -> None:
    """Else whoever holds one could become somebody else."""
    paper = desk.site.certificates["gateway"]

    with pytest.raises(EnrolmentError) as caught:
        desk.registrar.enrol(body(), Caller(ADDRESS, desk.shown(paper)))

    assert caught.value.reason == "enrolled"


@pytest.mark.parametrize("operation", ["enrol", "reenrol"])
def test_who_shows_nothing_is_nobody(desk: Desk, operation: str) -> None:
    """Neither a certificate nor a token: refused, and on record without a name."""
    ask = getattr(desk.registrar, operation)

    with pytest.raises(EnrolmentError) as caught:
        ask(body(), Caller(ADDRESS))

    assert caught.value.reason == "anonymous"
    line = desk.last()
    assert (line.what, line.name, line.who, line.address) == ("refused", "", "", ADDRESS)


def test_a_certificate_that_cannot_be_read_is_a_malformed_request(desk: Desk) -> None:
    """TLS would not have let it pass; the registrar does not rely on that."""
    with pytest.raises(InputError, match="certificate"):
        desk.registrar.reenrol(body(), Caller(ADDRESS, b"\x30\x03\x02\x01\x01"))

    line = desk.last()
    assert (line.what, line.way, line.who) == ("refused", "renewal", "")
    assert line.detail.startswith("malformed: ")


def test_a_certificate_whose_time_is_over_is_not_renewed(desk: Desk) -> None:
    """TLS looked at its dates at the handshake; the connection may be older than they are."""
    shown = desk.shown(desk.site.certificates["gateway"])
    desk.late = timedelta(days=400)

    with pytest.raises(EnrolmentError) as caught:
        desk.registrar.reenrol(body(), Caller(ADDRESS, shown))

    assert caught.value.reason == "expired"
    assert desk.last().detail.startswith("expired: ")


def test_a_certificate_whose_time_has_not_come_is_not_renewed(desk: Desk) -> None:
    """The same at the other end."""
    shown = desk.shown(desk.site.certificates["gateway"])
    desk.late = -timedelta(days=30)

    with pytest.raises(EnrolmentError) as caught:
        desk.registrar.reenrol(body(), Caller(ADDRESS, shown))

    assert caught.value.reason == "expired"


def test_a_renewal_asks_for_the_name_that_it_has(desk: Desk) -> None:
    """Another name is refused; its own is given, and both are on record."""
    paper = desk.site.certificates["gateway"]
    caller = Caller(ADDRESS, desk.shown(paper))
    with pytest.raises(EnrolmentError) as caught:
        desk.registrar.reenrol(body("gw-other"), caller)
    assert caught.value.reason == "wrong-identity"

    given = desk.registrar.reenrol(body(GATEWAY), caller)

    assert given.subject == load_pem_x509_certificate(paper.read_bytes()).subject
    assert [each.what for each in desk.office.enrolments.history()] == ["issued", "refused"]
