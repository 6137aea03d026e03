"""Setting up: every file is there, loads, belongs together, and nothing is ever overwritten."""

from __future__ import annotations

import json
import stat
import tomllib
from pathlib import Path

import pytest

from coldseal.cli.main import run
from coldseal.core.log.checkpoint import parse_vkey
from coldseal.evidence.policies import read_policy
from coldseal.gateway.config import load_gateway
from coldseal.identity.contexts import client_context, server_context
from coldseal.service.admission import Admission, parse_log_file
from coldseal.service.config import load_service
from coldseal.signing.keys import open_ecdsa, open_ed25519
from coldseal.signing.secrets import read_symmetric_key
from tests.cli.conftest import Site, coldseal

ORIGIN = ("--origin", "example.com/s1/gw-0001", "--site", "s1")


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """Run a command that must end with exit code 2, and give what it says."""
    assert run([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_a_gateway_s_configuration_loads_and_names_files_that_work(site: Site) -> None:
    """Certificates by a relative path into the CA's folder, keys beside the configuration."""
    config = load_gateway(site.gateway)
    mqtt, uplink = config.mqtt, config.uplink
    assert mqtt.certificate is not None
    assert mqtt.key is not None
    assert uplink.certificate is not None
    assert uplink.key is not None
    assert uplink.ca is not None
    server_context(mqtt.certificate, mqtt.key, mqtt.client_ca)
    client_context(uplink.certificate, uplink.transport, uplink.ca)
    assert uplink.url == "https://localhost:8443"
    assert parse_vkey(uplink.witness).name == "localhost"
    assert len(read_symmetric_key(config.store.key, Path())) == 32
    text = tomllib.loads(site.gateway.read_text(encoding="utf-8"))
    assert text["mqtt"]["certificate"] == "../pki/gateway/gw-0001.pem"


def test_the_admission_file_holds_the_public_side_of_the_gateway_s_keys(site: Site) -> None:
    """The service holds the log to exactly these."""
    config = load_gateway(site.gateway)
    data = (site.gateway.parent / "admission.json").read_bytes()
    log = parse_log_file(data, where="admission.json")
    assert (log.origin, log.gateway, log.site) == ("example.com/s1/gw-0001", "gw-0001", "s1")
    assert read_policy(site.gateway.parent / "admission.json").mode == config.gateway.signature == "record"
    record, checkpoint = (
        open_ecdsa(uri, base=Path()) for uri in (config.keys.record, config.keys.checkpoint)
    )
    interop = open_ed25519(config.keys.interop, base=Path())
    assert log.record_key == record.spki
    assert log.checkpoint_keys == (checkpoint.verifier_key(log.origin), interop.verifier_key(log.origin))
    assert len({record.spki, checkpoint.spki}) == 2


def test_a_service_s_configuration_loads_and_its_witness_is_the_printed_one(site: Site) -> None:
    """Gateways are told that verifier key."""
    config = load_service(site.service)
    server_context(config.tls.certificate, config.tls.key, config.tls.client_ca)
    witness = open_ed25519(config.witness.key, base=Path())
    assert witness.vkey("localhost", cosigner=True) == site.witness


def test_every_file_is_for_its_owner_only(site: Site) -> None:
    """Keys among them."""
    for folder in (site.gateway.parent, site.service.parent, site.pki):
        made = [path for path in folder.rglob("*") if "data" not in path.relative_to(folder).parts[:-1]]
        for path in [folder, *made]:  # what a program puts below its data, whose folder is closed, is its own
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


@pytest.mark.parametrize("noun", ["gateway", "service"])
def test_a_folder_in_use_is_refused_and_left_as_it_is(
    site: Site, capsys: pytest.CaptureFixture[str], noun: str
) -> None:
    """No key is ever overwritten."""
    folder = (site.gateway if noun == "gateway" else site.service).parent
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    arguments = ORIGIN if noun == "gateway" else ()
    assert "exists already" in fails(capsys, noun, "init", folder, *arguments)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--origin", "a b", "--site", "s"), "--origin is 'a b'"),
        (("--origin", "a", "--site", "s/t"), "--site is 's/t'"),
        (("--origin", "a", "--site", ""), "--site is ''"),
    ],
)
def test_wrong_names_are_refused_before_anything_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], named: str
) -> None:
    """The folder is not there afterwards."""
    assert named in fails(capsys, "gateway", "init", tmp_path / "gw", *arguments)
    assert not (tmp_path / "gw").exists()


def test_a_wrong_service_name_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stands in every receipt."""
    assert "--name is 'a b'" in fails(capsys, "service", "init", tmp_path / "s", "--name", "a b")


def test_a_folder_of_certificates_without_the_right_one_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what is there, and the command that makes what is missing."""
    (tmp_path / "pki" / "gateway").mkdir(parents=True)
    text = fails(capsys, "gateway", "init", tmp_path / "gw", *ORIGIN, "--pki", tmp_path / "pki")
    assert "no certificate of a gateway 'gw-0001', but of: none" in text
    assert "--gateway gw-0001" in text
    assert not (tmp_path / "gw").exists()


def test_the_only_gateway_of_a_folder_is_taken(tmp_path: Path, site: Site) -> None:
    """Even where the origin has another last part; the admission names the certificate's."""
    options = ("--origin", "other", "--site", "s", "--pki", str(site.pki))
    assert run(["gateway", "init", str(tmp_path / "gw"), *options]) == 0
    assert json.loads((tmp_path / "gw" / "admission.json").read_bytes())["gateway"] == "gw-0001"


def test_without_certificates_the_configuration_says_what_to_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is complete but for them."""
    assert run(["gateway", "init", str(tmp_path / "gw"), *ORIGIN]) == 0
    assert "mqtt.certificate is missing" in fails(capsys, "gateway", "run", tmp_path / "gw" / "gateway.toml")
    assert run(["service", "init", str(tmp_path / "s")]) == 0
    assert load_service(tmp_path / "s" / "service.toml").tls.certificate == tmp_path / "s" / "service.pem"


def test_init_tells_the_next_step_in_words(tmp_path: Path, site: Site) -> None:
    """As processes, as a person runs them."""
    done = coldseal("service", "init", tmp_path / "s", "--pki", site.pki)
    assert done.returncode == 0
    assert "localhost+" in done.stdout
    assert "coldseal service admit" in done.stdout
    done = coldseal("gateway", "init", tmp_path / "g", *ORIGIN, "--pki", site.pki)
    assert done.returncode == 0
    assert f"coldseal gateway run {tmp_path / 'g' / 'gateway.toml'}" in done.stdout


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Here a file stands in the way."""
    (tmp_path / "file").write_bytes(b"")
    assert "file/gw cannot be made" in fails(capsys, "gateway", "init", tmp_path / "file" / "gw", *ORIGIN)


def test_quotes_in_a_value_do_not_break_the_file(tmp_path: Path) -> None:
    """TOML's own escapes."""
    url = 'https://a"\\b:1'
    assert run(["gateway", "init", str(tmp_path / "gw"), *ORIGIN, "--uplink", url]) == 0
    text = (tmp_path / "gw" / "gateway.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["uplink"]["url"] == url


def test_admitting_a_log_puts_it_where_the_service_looks(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice is once."""
    assert run(["service", "init", str(tmp_path / "s"), "--pki", str(site.pki)]) == 0
    config, admission = tmp_path / "s" / "service.toml", site.gateway.parent / "admission.json"
    for _ in range(2):
        assert run(["service", "admit", str(config), str(admission)]) == 0
    assert "admitted example.com/s1/gw-0001" in capsys.readouterr().out
    logs = Admission(load_service(config).service.data / "logs")
    assert [log.origin for log in logs.all()] == ["example.com/s1/gw-0001"]
    done = coldseal("service", "admit", config, admission, "--json")
    assert json.loads(done.stdout) == {"admitted": ["example.com/s1/gw-0001"]}


def test_a_log_that_is_only_witnessed_is_not_taken_in(tmp_path: Path, site: Site) -> None:
    """It stands in a folder of its own."""
    assert run(["service", "init", str(tmp_path / "s"), "--pki", str(site.pki)]) == 0
    config, admission = tmp_path / "s" / "service.toml", site.gateway.parent / "admission.json"
    assert run(["service", "admit", str(config), str(admission), "--witness-only"]) == 0
    data = load_service(config).service.data
    assert len(Admission(data / "witnessed")) == 1
    assert len(Admission(data / "logs")) == 0


def test_an_origin_with_other_keys_is_not_admitted_again(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would be another log under the name of the first."""
    assert run(["service", "init", str(tmp_path / "s"), "--pki", str(site.pki)]) == 0
    assert run(["gateway", "init", str(tmp_path / "g"), *ORIGIN]) == 0
    config = tmp_path / "s" / "service.toml"
    assert run(["service", "admit", str(config), str(site.gateway.parent / "admission.json")]) == 0
    text = fails(capsys, "service", "admit", config, tmp_path / "g" / "admission.json")
    assert "admitted already, with other keys" in text


@pytest.mark.parametrize("content", [None, b"{}", b"no json"])
def test_a_file_that_describes_no_log_is_named(
    tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str], content: bytes | None
) -> None:
    """Missing, incomplete, or something else."""
    path = tmp_path / "admission.json"
    if content is not None:
        path.write_bytes(content)
    assert str(path) in fails(capsys, "service", "admit", site.service, path)
