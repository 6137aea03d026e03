"""Revocation lists follow the enrolment server's, and never go back."""

from __future__ import annotations

import io
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.gateway.uplink.keeping import Desk
from coldseal.gateway.uplink.lists import ListFiles
from coldseal.identity.authority import create_authority
from tests.gateway.uplink.registry import Registry
from tests.trial import now


def revoked(path: Path) -> set[int]:
    """Read the serial numbers on a list."""
    return {each.serial_number for each in x509.load_pem_x509_crl(path.read_bytes())}


async def test_a_newer_list_is_taken_and_told(registry: Registry, tmp_path: Path) -> None:
    """With the mode that the file had; the same one again changes nothing."""
    pair = registry.issue("device", "lost")
    crl = tmp_path / "crl.pem"
    told: list[Path] = []
    crl.write_bytes((registry.folder / "ca" / "crl.pem").read_bytes())
    crl.chmod(0o644)
    async with registry.running():
        files = ListFiles(
            [crl], Desk(registry.url, registry.trust), now_s=lambda: now().timestamp(), changed=told.append
        )
        assert (await files.refresh(), told) == (True, [])
        registry.authority.revoke([pair.certificate], now=now() + timedelta(seconds=2))
        assert (await files.refresh(), await files.refresh(), told) == (True, True, [crl])
    serial = x509.load_pem_x509_certificate(pair.certificate.read_bytes()).serial_number
    assert revoked(crl) == {serial}
    assert crl.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("harm", ["older", "other", "ended", "rubbish"])
async def test_a_list_that_cannot_be_trusted_leaves_the_file(
    registry: Registry, tmp_path: Path, lines: io.StringIO, harm: str
) -> None:
    """Said once, and once when it is right again."""
    served, crl = registry.folder / "ca" / "crl.pem", tmp_path / "crl.pem"
    good = served.read_bytes()
    registry.authority.revoke((), now=now() + timedelta(seconds=2))
    crl.write_bytes(served.read_bytes())
    late_s = 0.0
    if harm == "older":
        served.write_bytes(good)
    elif harm == "other":
        other = create_authority(tmp_path / "other", now=now())
        served.write_bytes((other.folder / "crl.pem").read_bytes())
    elif harm == "rubbish":
        served.write_bytes(b"-----BEGIN X509 CRL-----\nMII\n-----END X509 CRL-----\n")
    else:
        late_s = 8 * 86_400.0
    before = crl.read_bytes()
    async with registry.running():
        moment = now().timestamp()
        files = ListFiles([crl], Desk(registry.url, registry.trust), now_s=lambda: moment + late_s)
        assert [await files.refresh() for _ in range(3)] == [False] * 3
        assert crl.read_bytes() == before
        served.write_bytes(before)
        late_s = 0.0
        assert await files.refresh()
    said = lines.getvalue()
    assert (said.count("revocation.not-fetched"), said.count("revocation.fetched")) == (1, 1)


async def test_a_server_that_is_away_or_unknown_leaves_the_file(registry: Registry, tmp_path: Path) -> None:
    """As does a file of CAs that cannot be read."""
    registry.address = "127.0.0.1:1"
    for ca in (registry.trust, tmp_path / "away.pem"):
        files = ListFiles([tmp_path / "crl.pem"], Desk(registry.url, ca), now_s=lambda: now().timestamp())
        assert not await files.refresh()
    assert not (tmp_path / "crl.pem").exists()
