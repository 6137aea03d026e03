"""What the drill of rotation says where something is not as it should be; the good way is played live."""

from __future__ import annotations

from pathlib import Path

from coldseal.demo.programs import free_ports
from coldseal.drill.rotation import _are_renewed, _delivery, _listener, _renewal, _write_again
from coldseal.identity.authority import create_authority
from coldseal.settings import Address
from tests.drill.test_course import stage, status
from tests.identity.conftest import this_moment

OLD = {"certificates": {"uplink": {"days": 3.1, "alarm": "", "renewals": 1, "fault": "", "phase": "fresh"}}}
FAILING = {"days": 3.1, "alarm": "", "renewals": 1, "fault": "status 403", "phase": "failing"}


def test_a_certificate_that_was_not_renewed_is_a_bad_verdict() -> None:
    """With what its renewal was answered; one that is renewed elsewhere must only not have ended."""
    renewed = {**FAILING, "renewals": 2, "days": 7.0}
    assert _renewal("uplink", OLD, renewed)[1:] == ("renewed, 7.0 days left", "renewed", True)
    assert _renewal("uplink", OLD, FAILING)[1:] == ("status 403", "renewed", False)
    waiting = {**FAILING, "fault": "", "phase": "pending"}
    assert _renewal("uplink", OLD, waiting)[1:] == ("pending", "renewed", False)
    for alarm, is_good in (("warning", True), ("expired", False)):
        assert _renewal("broker", OLD, {"days": 1, "alarm": alarm}).ok is is_good


def test_it_waits_until_every_certificate_has_come() -> None:
    """And for the first word of the uplink's process."""
    both = {"certificates": {"uplink": {"renewals": 2}, "broker": {"renewals": 1}, "listener": {"days": 1}}}
    late = {"certificates": {"uplink": {"renewals": 2}, "broker": {"renewals": 0}}}
    assert _are_renewed(OLD, both)
    assert not _are_renewed(OLD, late)
    assert not _are_renewed(OLD, {"certificates": {}})
    assert not _are_renewed(OLD, OLD)


def test_a_listener_that_does_not_show_its_file_is_a_bad_verdict(tmp_path: Path) -> None:
    """Here nobody listens at all."""
    certificate = create_authority(tmp_path / "pki", now=this_moment()).issue(
        "gateway", "gw-1", now=this_moment()
    )
    place = stage(tmp_path)
    address = Address(f"127.0.0.1:{free_ports(1)[0]}")
    assert _listener(place, address, certificate)[1:] == ("no", "yes", False)


def test_what_waits_for_a_receipt_is_a_bad_verdict_where_there_is_a_service(tmp_path: Path) -> None:
    """Where there is none, nothing is asked."""
    found = _delivery(stage(tmp_path), status(uplink="waiting (unreachable)"), None)
    assert [each.ok for each in found] == [False, False]
    assert _delivery(stage(tmp_path, uplink=False), status(), None) == []


def test_without_a_server_the_files_are_written_again_as_they_are(tmp_path: Path) -> None:
    """Another file, the same content."""
    place = stage(tmp_path)
    uplink = place.config.uplink
    assert uplink.certificate is not None
    assert isinstance(uplink.transport, Path)
    for path in (uplink.certificate, uplink.transport, place.config.mqtt.certificate, place.config.mqtt.key):
        if path is not None:
            path.write_bytes(b"content")
    before = uplink.certificate.stat().st_ino
    assert _write_again(place.config) == 0.0
    assert uplink.certificate.read_bytes() == b"content"
    assert uplink.certificate.stat().st_ino != before
