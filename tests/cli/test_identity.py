"""`coldseal identity`: a CA for a trial in one command, and what to do with it later."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from coldseal.cli.main import run
from coldseal.identity.authority import open_authority
from coldseal.identity.passwords import open_passwords
from coldseal.identity.peer import read_peer
from tests.cli.conftest import COMMAND, Site, answer, coldseal
from tests.identity.conftest import this_moment


def make(folder: Path, *options: str) -> Path:
    """Make a CA."""
    assert run(["identity", "dev-ca", str(folder), *options]) == 0
    return folder


def test_a_ca_is_ready_in_one_command(tmp_path: Path) -> None:
    """Trusted root, gateway, service and devices, each with its key."""
    found = answer(
        "identity", "dev-ca", tmp_path / "pki", "--devices", "3", "--service", "svc", "--gateway", "g"
    )
    assert [Path(path).name for path in found["devices"]] == [
        "sensor-01.pem",
        "sensor-02.pem",
        "sensor-03.pem",
    ]
    roles = {read_peer(Path(found[role])).role for role in ("gateway", "service")}
    assert roles == {"gateway", "service"}
    for path in (found["gateway"], found["service"], *found["devices"]):
        assert Path(path).with_suffix(".key").exists()
    assert Path(found["trust"]).exists()


@pytest.mark.parametrize(
    ("devices", "names"),
    [("freezer-a, freezer-b", ["freezer-a", "freezer-b"]), ("1", ["sensor-01"]), ("100", None)],
)
def test_devices_are_a_number_or_names(tmp_path: Path, devices: str, names: list[str] | None) -> None:
    """Numbers are padded, so that they sort."""
    make(tmp_path / "pki", "--devices", devices)
    found = sorted(path.stem for path in (tmp_path / "pki" / "device").glob("*.pem"))
    assert found == (names or [f"sensor-{number:03d}" for number in range(1, 101)])


@pytest.mark.parametrize("devices", ["0", "", "a,,b", "a/b"])
def test_wrong_devices_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], devices: str) -> None:
    """Before the CA is made, so that the command can be given again."""
    assert run(["identity", "dev-ca", str(tmp_path / "pki"), "--devices", devices]) == 2
    assert "error: " in capsys.readouterr().err
    assert not (tmp_path / "pki").exists()


def test_the_answer_in_words_names_files_and_their_life(tmp_path: Path) -> None:
    """And warns that this CA is for trials."""
    done = coldseal("identity", "dev-ca", tmp_path / "pki", "--devices", "2", "--hosts", "gw.example")
    assert done.returncode == 0
    assert "(2: sensor-01 … sensor-02)" in done.stdout
    assert "live 7 days" in done.stdout
    assert "for trials" in done.stdout
    single = coldseal("identity", "dev-ca", tmp_path / "other")
    assert "(1: sensor-01)" in single.stdout


def test_further_hosts_stand_in_the_certificates(tmp_path: Path) -> None:
    """Of gateway and service."""
    folder = make(tmp_path / "pki", "--hosts", "a.example", "--hosts", "192.0.2.7")
    for path in (folder / "gateway" / "gw-0001.pem", folder / "service" / "localhost.pem"):
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert "a.example" in names.get_values_for_type(x509.DNSName)


def test_a_second_ca_in_the_folder_is_refused(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    """Every certificate hangs on the first."""
    assert run(["identity", "dev-ca", str(site.pki)]) == 2
    assert "exists" in capsys.readouterr().err


def test_a_device_is_added_later(tmp_path: Path) -> None:
    """By the same CA."""
    folder = make(tmp_path / "pki")
    found = answer("identity", "device", folder, "probe-1", "probe-2", "--days", "30")
    assert [read_peer(Path(path)).name for path in found["certificates"]] == ["probe-1", "probe-2"]
    assert run(["identity", "device", str(folder), "probe-3"]) == 0
    assert run(["identity", "device", str(folder), "probe-3"]) == 2


def test_renewing_gives_all_certificates_and_the_list_a_new_life(tmp_path: Path) -> None:
    """Expired ones too."""
    folder = make(tmp_path / "pki", "--days", "1")
    found = answer("identity", "renew", folder, "--days", "9")
    assert len(found["certificates"]) == 3
    for path in found["certificates"]:
        assert read_peer(Path(path)).not_after > this_moment() + timedelta(days=8)
    done = coldseal("identity", "renew", folder)
    assert done.stdout == "renewed 3 certificates for 7 days\n"


def test_revoking_puts_a_certificate_on_the_list(tmp_path: Path) -> None:
    """Which programs read."""
    folder = make(tmp_path / "pki")
    path = folder / "device" / "sensor-01.pem"
    done = coldseal("identity", "revoke", folder, path)
    assert done.stdout == f"revoked 1 in {folder / 'crl.pem'}\n"
    crl = x509.load_pem_x509_crl((folder / "crl.pem").read_bytes())
    serial = x509.load_pem_x509_certificate(path.read_bytes()).serial_number
    assert [each.serial_number for each in crl] == [serial]
    assert answer("identity", "revoke", folder, path)["revoked"] == [str(path)]


def test_showing_says_who_it_is_and_how_long(site: Site) -> None:
    """In words and as JSON."""
    path = site.pki / "device" / "sensor-01.pem"
    (row,) = answer("identity", "show", path)["certificates"]
    assert (row["role"], row["name"], row["expired"]) == ("device", "sensor-01", False)
    assert row["days_left"] == 6
    done = coldseal("identity", "show", path, site.pki / "gateway" / "gw-0001.pem")
    assert done.returncode == 0
    assert "sensor-01" in done.stdout
    assert "gw-0001" in done.stdout


def test_showing_an_expired_certificate_is_a_verdict_against(tmp_path: Path) -> None:
    """Exit code 1, for scripts that watch over renewals."""
    folder = make(tmp_path / "pki")
    authority = open_authority(folder)
    path = authority.issue("device", "old", now=this_moment() - timedelta(days=8))
    done = coldseal("identity", "show", path, folder / "device" / "sensor-01.pem", "--json")
    assert done.returncode == 1
    assert [row["expired"] for row in json.loads(done.stdout)["certificates"]] == [True, False]


def test_showing_what_is_no_certificate_is_an_error(tmp_path: Path) -> None:
    """Exit code 2."""
    done = coldseal("identity", "show", tmp_path / "absent.pem")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_password_is_read_from_standard_input(tmp_path: Path) -> None:
    """For scripts; it is not shown."""
    path = tmp_path / "passwords"
    done = coldseal("identity", "password", path, "sensor-1", given="a long enough password\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "enough" not in done.stdout
    assert open_passwords(path).is_valid("sensor-1", b"a long enough password")


def test_a_short_password_is_refused_without_showing_it(tmp_path: Path) -> None:
    """Exit code 2, no file."""
    done = coldseal("identity", "password", tmp_path / "passwords", "sensor-1", given="hunter2\n")
    assert done.returncode == 2
    assert "at least 12 characters" in done.stderr
    assert "hunter2" not in done.stderr + done.stdout
    assert not (tmp_path / "passwords").exists()


@pytest.mark.parametrize(("again", "code"), [("a long enough password", 0), ("another long password", 2)])
def test_on_a_terminal_a_password_is_asked_for_twice_and_not_echoed(
    tmp_path: Path, again: str, code: int
) -> None:
    """A typing error would lock a device out."""
    master, slave = pty.openpty()
    command = [*COMMAND, "identity", "password", str(tmp_path / "passwords"), "sensor-1"]
    process = subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, close_fds=True
    )
    os.close(slave)
    shown = b""
    for prompt, typed in (
        (b"Password of sensor-1: ", b"a long enough password"),
        (b"Again: ", again.encode()),
    ):
        while prompt not in shown:
            shown += os.read(master, 1024)
        os.write(master, typed + b"\n")
    assert process.wait(30) == code
    os.set_blocking(master, False)
    try:
        while rest := os.read(master, 1024):
            shown += rest
    except OSError:  # the other side is closed
        os.close(master)
    assert b"long" not in shown
    assert (tmp_path / "passwords").exists() is (code == 0)
