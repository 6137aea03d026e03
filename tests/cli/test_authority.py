"""`coldseal identity ca`, `coldseal service enrolments`: a CA's life, and who may be enrolled."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.cli.main import run
from coldseal.identity.peer import read_peer
from coldseal.service.enrolments import Enrolments, WaitingError
from coldseal.service.storage.enrolments import Waiting
from coldseal.signing.secrets import read_symmetric_key
from tests.cli.conftest import answer
from tests.trial import Site, now

ROOT_PASSPHRASE = "a passphrase of the root"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a CA in it, its root and their passphrases."""
    for name in ("root", "ca"):
        path = tmp_path / f"{name}.pass"
        path.write_text(f"a passphrase of the {name}\n")
        path.chmod(0o600)
    assert run(["identity", "ca", "init", str(tmp_path / "ca"), *secrets(tmp_path), "--name", "acme"]) == 0
    return tmp_path


def secrets(folder: Path) -> tuple[str, ...]:
    """Give the options that name the root and both passphrases."""
    return (
        *("--root", str(folder / "root"), "--root-passphrase", f"file:{folder / 'root.pass'}"),
        *("--passphrase", f"file:{folder / 'ca.pass'}"),
    )


def leaf(path: Path) -> x509.Certificate:
    """Read a certificate."""
    return x509.load_pem_x509_certificate(path.read_bytes())


def test_a_ca_issues_for_every_role(folder: Path) -> None:
    """Key and certificate, with hosts and a life of its own."""
    options = ("--hosts", "gw.example", "--days", "0.5")
    made = Path(answer("identity", "ca", "issue", folder / "ca", "gateway", "gw-1", *options)["certificate"])
    assert (read_peer(made).role, read_peer(made).name) == ("gateway", "gw-1")
    assert run(["identity", "ca", "issue", str(folder / "ca"), "operator", "qa-1"]) == 0
    shown = answer("identity", "ca", "show", folder / "ca")
    assert [(each["role"], each["name"]) for each in shown["in_force"]] == [
        ("gateway", "gw-1"),
        ("operator", "qa-1"),
    ]
    assert shown["issuer"] == "CN=acme CA 1"


def test_a_second_ca_may_stand_below_the_same_root(folder: Path) -> None:
    """With the root's passphrase; the root is not made again."""
    options = secrets(folder)
    assert answer("identity", "ca", "init", folder / "other", *options)["trusted"] == "CN=acme root 1"
    assert len(list((folder / "root").glob("*.key"))) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--root-passphrase", "hunter2", "--passphrase", "env:X"), "by reference"),
        (("--root-passphrase", "env:X"), "has no passphrase"),
    ],
    ids=["in-the-open", "missing"],
)
def test_passphrases_are_named_by_reference(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[str, ...],
    said: str,
) -> None:
    """One that is written out is refused and not repeated; without one there is no key."""
    monkeypatch.setenv("X", "a passphrase")
    assert run(["identity", "ca", "init", str(tmp_path / "ca"), "--root", str(tmp_path / "r"), *options]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "hunter2" not in told
    assert not (tmp_path / "ca" / "ca.key").exists()


def test_a_holder_or_a_serial_number_is_denied_and_listed(folder: Path) -> None:
    """By name: all its certificates in force; by number: whatever it is."""
    ca = folder / "ca"
    made = Path(answer("identity", "ca", "issue", ca, "device", "d-1")["certificate"])
    arguments = ("--reason", "key-compromise", "--note", "stolen")
    assert len(answer("identity", "ca", "revoke", ca, "device", "d-1", *arguments)["denied"]) == 1
    assert run(["identity", "ca", "deny", str(ca), "0A:0b", "--note", "an outside one"]) == 0
    crl = x509.load_pem_x509_crl((ca / "crl.pem").read_bytes())
    entry = crl.get_revoked_certificate_by_serial_number(leaf(made).serial_number)
    assert entry is not None
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason is x509.ReasonFlags.key_compromise
    assert crl.get_revoked_certificate_by_serial_number(0x0A0B) is not None
    assert len(answer("identity", "ca", "show", ca)["denied"]) == 2
    assert run(["identity", "ca", "crl", str(ca)]) == 0
    newer = x509.load_pem_x509_crl((ca / "crl.pem").read_bytes())
    assert len(list(newer)) == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("issue", "CA", "king", "x"),
        ("issue", "CA", "device", "a/b"),
        ("issue", "CA", "gateway", "g", "--hosts", "*.example"),
        ("revoke", "CA", "device", "nobody"),
        ("deny", "CA", "xyz"),
        ("deny", "CA", "0"),
        ("deny", "CA", "0a", "--reason", "boredom"),
        ("show", "NOWHERE"),
        ("roll-over", "NOWHERE", "--root", "NOWHERE", "--root-passphrase", "env:X"),
    ],
    ids=range(9),
)
def test_wrong_usage_is_refused(folder: Path, arguments: tuple[str, ...]) -> None:
    """With exit code 2."""
    places = {"CA": str(folder / "ca"), "NOWHERE": str(folder / "nowhere")}
    assert run(["identity", "ca", *(places.get(each, each) for each in arguments)]) == 2


def test_a_ca_is_rolled_over_with_its_root_and_the_old_one_retired(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are trusted in between; what is in force keeps the old one unless a person insists."""
    ca = folder / "ca"
    answer("identity", "ca", "issue", ca, "device", "d-1")
    rolled = answer("identity", "ca", "roll-over", ca, *secrets(folder), "--new-root")
    assert rolled["trusted"] == "CN=acme root 2, CN=acme root 1"
    assert rolled["former"] == "CN=acme CA 1"
    capsys.readouterr()
    assert run(["identity", "ca", "retire", str(ca)]) == 2
    assert "device d-1" in capsys.readouterr().err
    assert answer("identity", "ca", "retire", ca, "--force")["retired"] == ["CN=acme CA 1", "CN=acme root 1"]
    assert run(["identity", "ca", "retire", str(ca)]) == 0
    assert "nothing to retire" in capsys.readouterr().out
    assert run(["identity", "ca", "roll-over", str(ca), *secrets(folder)]) == 0
    assert run(["identity", "ca", "show", str(ca)]) == 0
    assert "acme CA 3" in capsys.readouterr().out


@pytest.fixture
def service(tmp_path: Path) -> Path:
    """Give a service's configuration."""
    site = Site(tmp_path)
    site.config()
    return site.service / "service.toml"


def opened(config: Path) -> Enrolments:
    """Open the enrolments as the service does."""
    folder = config.parent
    return Enrolments.open(folder / "data", read_symmetric_key("file:store.key", folder))


def test_a_token_is_given_once_and_kept_as_a_hash(service: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the terminal, as JSON or in a file of mode 0600; for roles that are enrolled here."""
    arguments = ("service", "enrolments", "token", service, "device", "d-1")
    text = answer(*arguments, "--minutes", "5")["token"]
    path = service.parent / "token"
    assert run([str(each) for each in (*arguments, "--output", path)]) == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() not in capsys.readouterr().out
    assert run([str(each) for each in arguments]) == 0
    listed = answer("service", "enrolments", "list", service)
    assert [each["name"] for each in listed["tokens"]] == ["d-1"] * 3
    assert text.encode() not in (service.parent / "data" / "enrolments.db").read_bytes()
    assert run(["service", "enrolments", "token", str(service), "operator", "x"]) == 2


@pytest.mark.parametrize("verb", ["approve", "refuse"])
def test_a_request_waits_until_a_person_decides(
    service: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    """Once; with a reason; and the history tells."""
    t = int(now().timestamp())
    request = Waiting("abc123", "gateway", "gw-1", ("gw.example",), b"k" * 32, "CN=factory", "127.0.0.1", t)
    enrolments = opened(service)
    with pytest.raises(WaitingError):
        enrolments.by_approval(request)
    enrolments.close()
    assert [each["id"] for each in answer("service", "enrolments", "list", service)["waiting"]] == ["abc123"]
    assert run(["service", "enrolments", "list", str(service)]) == 0
    assert "1 requests wait" in capsys.readouterr().out
    decide = ["service", "enrolments", verb, str(service), "abc123", "--reason", "known to us"]
    assert run(decide) == 0
    assert run(decide) == 2
    assert run(["service", "enrolments", verb, str(service), "nothing", "--reason", "x"]) == 2
    history = answer("service", "enrolments", "history", service, "--name", "gw-1")["history"]
    assert [each["what"] for each in history] == [
        {"approve": "approved", "refuse": "declined"}[verb],
        "waiting",
    ]
    assert history[0]["detail"] == "known to us"
    assert run(["service", "enrolments", "history", str(service)]) == 0
