"""The CA's life: root apart and encrypted, roll-over with overlap both ways, and the end of the old."""

from __future__ import annotations

import shutil
import stat
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.errors import OperatorError
from coldseal.identity.authority import Authority, open_authority
from coldseal.identity.overlap import Begin, begin_authority, retire, roll_over, trusted_root
from coldseal.identity.roots import create_root, newest_root, open_root
from tests.identity.conftest import this_moment

NOW = this_moment()


class Made:
    """A root's folder, a CA's folder, and the references of their passphrases."""

    def __init__(self, folder: Path) -> None:
        """Make both."""
        self.root, self.ca = folder / "root", folder / "ca"
        for name in ("root", "ca"):
            path = folder / f"{name}.pass"
            path.write_text(f"a passphrase of the {name}\n")
            path.chmod(0o600)
        self.root_passphrase, self.passphrase = (f"file:{folder / name}.pass" for name in ("root", "ca"))
        root = create_root(self.root, self.root_passphrase, name="acme", now=NOW)
        self.begin = Begin(name="acme", passphrase=self.passphrase)
        begin_authority(self.ca, root, self.begin, now=NOW)

    @property
    def authority(self) -> Authority:
        """Open the CA as it is now."""
        return open_authority(self.ca)

    def roll_over(self, *, with_root: bool, now: datetime) -> Authority:
        """Roll over the issuing CA, and the root where asked."""
        old = open_root(self.root, self.root_passphrase, trusted_root(self.root, self.authority))
        new = create_root(self.root, self.root_passphrase, name="acme", now=now) if with_root else None
        return roll_over(self.ca, old, new, self.begin, now=now)


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Give a CA of its own."""
    return Made(tmp_path)


def openssl(*arguments: str | Path) -> str:
    """Run openssl, which nobody here wrote; give what it says, also when it refuses."""
    command = ["openssl", *(str(argument) for argument in arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def verify(chain: Path, trust: Path, at: datetime, *more: str | Path) -> str:
    """Verify a leaf with the certificates that stand behind it, by the strict rules."""
    return openssl(
        *("verify", "-x509_strict", "-attime", str(int(at.timestamp())), "-CAfile", trust),
        *("-untrusted", chain, *more, chain),
    )


def keep(trust: Path, name: str) -> Path:
    """Keep a copy of what peers trusted at one time."""
    return Path(shutil.copy(trust, trust.with_name(name)))


def test_keys_of_root_and_issuing_ca_are_encrypted_and_apart(made: Made) -> None:
    """Neither folder holds the other's key, and none can be read without its passphrase."""
    for path in (made.root / "root-1.key", made.ca / "ca.key"):
        assert b"ENCRYPTED" in path.read_bytes()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert not list(made.ca.glob("root*.key"))
    with pytest.raises(OperatorError):
        open_root(made.root, made.passphrase)


def test_openssl_accepts_what_the_ca_issues(made: Made) -> None:
    """Every role, strictly, with the revocation list."""
    authority = made.authority
    for role in ("device", "gateway", "service", "operator"):
        leaf = authority.issue(role, f"{role}-1", now=NOW)
        lists = ("-crl_check", "-CRLfile", made.ca / "crl.pem")
        assert ": OK" in verify(leaf, made.ca / "root.pem", NOW, *lists)


def test_a_folder_that_holds_a_ca_is_not_taken_again(made: Made) -> None:
    """A second one would orphan what the first one issued."""
    root = open_root(made.root, made.root_passphrase)
    with pytest.raises(OperatorError, match="holds a CA already"):
        begin_authority(made.ca, root, made.begin, now=NOW)


def test_an_issuing_ca_without_passphrase_is_refused(made: Made, tmp_path: Path) -> None:
    """Its key would be a plain file."""
    root = open_root(made.root, made.root_passphrase)
    with pytest.raises(OperatorError, match="passphrase="):
        begin_authority(tmp_path / "other", root, Begin(), now=NOW)


def test_lives_come_from_the_folder(made: Made) -> None:
    """Seven days at first; what [days] says from then on."""
    text = (made.ca / "ca.toml").read_text()
    (made.ca / "ca.toml").write_text(text.replace("device = 7", "device = 0.5"))
    leaf = x509.load_pem_x509_certificate(made.authority.issue("device", "d", now=NOW).read_bytes())
    assert leaf.not_valid_after_utc == NOW + timedelta(hours=12)
    gateway = x509.load_pem_x509_certificate(made.authority.issue("gateway", "g", now=NOW).read_bytes())
    assert gateway.not_valid_after_utc == NOW + timedelta(days=7)


def test_no_certificate_outlives_its_issuer(made: Made) -> None:
    """However long it was asked for; and after the CA's end nothing is issued."""
    end = made.authority.issuer.certificate.not_valid_after_utc
    leaf = made.authority.issue("device", "d", now=NOW, days=5_000)
    assert x509.load_pem_x509_certificate(leaf.read_bytes()).not_valid_after_utc == end
    with pytest.raises(OperatorError, match="ended"):
        made.authority.issue("device", "e", now=end)


@pytest.mark.parametrize("with_root", [False, True], ids=["issuing", "root"])
def test_while_two_overlap_old_and_new_certificates_are_accepted_by_old_and_new_peers(
    made: Made, *, with_root: bool
) -> None:
    """All four ways, also by peers who have heard of nothing yet; with the revocation lists of both."""
    later = NOW + timedelta(days=3)
    old_leaf = made.authority.issue("gateway", "old", now=NOW)
    old_trust = keep(made.ca / "root.pem", "old-root.pem")
    authority = made.roll_over(with_root=with_root, now=later)
    new_leaf = authority.issue("gateway", "new", now=later)
    for leaf in (old_leaf, new_leaf):
        for trust in (old_trust, made.ca / "root.pem"):
            lists = ("-crl_check", "-CRLfile", made.ca / "crl.pem")
            assert ": OK" in verify(leaf, trust, later, *lists), (leaf, trust)
    assert len(authority.trusted()) == (2 if with_root else 1)
    assert authority.is_ours(x509.load_pem_x509_certificate(old_leaf.read_bytes()))


def test_a_peer_with_only_the_new_root_follows_an_old_chain_by_its_link(made: Made) -> None:
    """OldWithNew of RFC 7030 4.1.3, as cacerts shows it."""
    later = NOW + timedelta(days=3)
    old_leaf = made.authority.issue("gateway", "old", now=NOW)
    authority = made.roll_over(with_root=True, now=later)
    new_only = made.ca / "new-only.pem"
    new_only.write_bytes((made.root / "root-2.pem").read_bytes())
    assert ": OK" not in verify(old_leaf, new_only, later)
    assert ": OK" in verify(old_leaf, new_only, later, "-untrusted", made.ca / "links.pem")
    assert len(authority.published()) == 6  # two roots, two links, two issuing CAs


def test_the_old_ca_is_retired_only_when_nothing_below_it_is_in_force(made: Made) -> None:
    """Then root, link and key are gone, and what it issued counts no more."""
    later = NOW + timedelta(days=3)
    old_leaf = made.authority.issue("gateway", "old", now=NOW)
    made.roll_over(with_root=True, now=later)
    with pytest.raises(OperatorError, match="gateway old"):
        retire(made.ca, now=later)
    after = NOW + timedelta(days=8)
    assert retire(made.ca, now=after) == ["CN=acme CA 1", "CN=acme root 1"]
    assert not (made.ca / "ca.key").exists()
    assert not (made.ca / "links.pem").exists()
    assert [each.subject.rfc4514_string() for each in made.authority.trusted()] == ["CN=acme root 2"]
    new_leaf = made.authority.issue("gateway", "new", now=after)
    assert new_leaf.read_bytes().count(b"BEGIN") == 2
    trust = made.ca / "root.pem"
    assert ": OK" in verify(new_leaf, trust, after, "-crl_check", "-CRLfile", made.ca / "crl.pem")
    assert ": OK" not in verify(old_leaf, trust, later)


def test_a_forced_retirement_ends_what_is_in_force(made: Made) -> None:
    """For a CA whose key was stolen."""
    old_leaf = made.authority.issue("gateway", "old", now=NOW)
    made.roll_over(with_root=False, now=NOW)
    retire(made.ca, now=NOW, is_forced=True)
    assert not made.authority.is_ours(x509.load_pem_x509_certificate(old_leaf.read_bytes()))


def test_an_interrupted_roll_over_is_done_again(made: Made) -> None:
    """A key that was written before the crash is left alone, and removed at the retirement."""
    (made.ca / "ca-2.key").write_bytes(b"left by a crash")
    authority = made.roll_over(with_root=False, now=NOW)
    assert authority.config.ca.number == 3
    retire(made.ca, now=NOW + timedelta(days=8))
    assert sorted(path.name for path in made.ca.glob("ca*.key")) == ["ca-3.key"]


def test_a_second_root_waits_until_the_first_roll_over_is_over(made: Made) -> None:
    """Three roots at one time need chains that nobody has tested."""
    made.roll_over(with_root=True, now=NOW)
    with pytest.raises(OperatorError, match="still being rolled over"):
        made.roll_over(with_root=True, now=NOW)


def test_wrong_folders_are_refused(made: Made, tmp_path: Path) -> None:
    """A foreign root, a folder without root, a development CA, a root that has ended."""
    foreign = create_root(tmp_path / "foreign", made.root_passphrase, name="acme", now=NOW)
    with pytest.raises(OperatorError, match="does not trust that root"):
        roll_over(made.ca, foreign, None, made.begin, now=NOW)
    with pytest.raises(OperatorError, match="holds no root"):
        open_root(tmp_path, made.root_passphrase)
    with pytest.raises(OperatorError, match="does not hold the root"):
        trusted_root(tmp_path, made.authority)
    (tmp_path / "dev").mkdir()
    with pytest.raises(OperatorError, match="development CA"):
        roll_over(tmp_path / "dev", foreign, None, made.begin, now=NOW)
    with pytest.raises(OperatorError, match="has ended"):
        roll_over(
            made.ca,
            open_root(made.root, made.root_passphrase),
            None,
            made.begin,
            now=NOW + timedelta(days=4_000),
        )
    assert newest_root(made.root) == 1
