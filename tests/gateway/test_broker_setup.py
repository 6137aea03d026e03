"""What is written for Mosquitto: whole topics from the registry, the weaker promise, nothing by guessing."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from msgspec import structs

from coldseal.core.topics import Grant, Policy
from coldseal.errors import OperatorError
from coldseal.gateway.broker_setup import differing, render_files, write_files
from coldseal.gateway.brokering import ACCESS, CONFIGURATION, client_id_of
from coldseal.gateway.governance import open_policy, read_registry
from coldseal.gateway.tables.broker import Broker, Mosquitto
from tests import access
from tests.mosquitto import BrokerSite

FOLDER = Path("/etc/coldseal")
BROKER = Broker(
    client_id="gw-1",
    mosquitto=Mosquitto(
        certificate=FOLDER / "broker.pem", key=FOLDER / "broker.key", client_ca=FOLDER / "root.pem"
    ),
)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """Give the policy of the access cells."""
    registry = read_registry(access.write_registry(tmp_path / "registry.toml"))
    return Policy(access.SITE, (), registry, is_strict=True)


def sections(text: str) -> dict[str, list[str]]:
    """Give the lines of an access list by user."""
    found: dict[str, list[str]] = {}
    user = ""
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        if word == "user":
            user = rest
            found[user] = []
        elif word == "topic":
            found[user].append(rest)
    return found


def test_each_device_may_write_whole_topics_and_nobody_a_wildcard(policy: Policy) -> None:
    """The list says what the registry says, and no more."""
    found = sections(render_files(BROKER, policy)[ACCESS])
    assert set(found) == {"gw-1", *access.POLICY}
    for device, word in access.POLICY.items():
        written = {line.removeprefix("write ") for line in found[device] if line.startswith("write ")}
        heard = {line.removeprefix("read ") for line in found[device] if line.startswith("read ")}
        assert written == word.publish
        assert heard == set(word.hear)
    every = [line for lines in found.values() for line in lines]
    assert all(line.startswith(("read ", "write ")) for line in every)
    assert not [line for line in every if line.startswith("write ") and set(line) & set("+#")]


def test_the_gateway_reads_readings_and_writes_what_the_scheme_gives_it(policy: Policy) -> None:
    """Receipts only where they are asked for; a command without a name cannot be listed."""
    plain = sections(render_files(BROKER, policy)[ACCESS])["gw-1"]
    assert plain == [
        "read coldseal/v1/lab/+/reading/+",
        "read $SYS/broker/version",
        "read $SYS/broker/publish/messages/dropped",
        "write coldseal/v1/lab/gauge/cmd/blink",
        "write coldseal/v1/lab/gauge/config",
        "write coldseal/v1/lab/gauge-1/cmd/blink",
        "write coldseal/v1/lab/gauge-1/config",
    ]
    with_receipts = render_files(structs.replace(BROKER, receipts=True), policy)[ACCESS]
    assert set(sections(with_receipts)["gw-1"]) - set(plain) == {"write coldseal/v1/lab/display/receipt"}


def test_the_weaker_promise_stands_at_the_head_of_the_file(policy: Policy) -> None:
    """Whoever opens it reads that first."""
    text = render_files(BROKER, policy)[CONFIGURATION]
    head = text.partition("\nuser ")[0]
    assert "THE WEAKER PROMISE" in head
    assert all(line.startswith("#") or not line for line in head.splitlines())


def test_settings_become_lines(policy: Policy) -> None:
    """Limits, persistence and files, as they are set."""
    table = structs.replace(
        BROKER.mosquitto, crl=Path("/etc/coldseal/crl.pem"), autosave_changes=7, memory_mb=64, max_queued=9
    )
    broker = structs.replace(BROKER, mosquitto=table, pid_file=Path("/run/m.pid"), receive_maximum=5)
    lines = render_files(broker, policy)[CONFIGURATION].splitlines()
    for line in (
        "allow_anonymous false",
        "tls_version tlsv1.3",
        "require_certificate true",
        "use_identity_as_username true",
        "use_username_as_clientid true",
        "crlfile /etc/coldseal/crl.pem",
        "autosave_on_changes true",
        "autosave_interval 7",
        "memory_limit 67108864",
        "max_queued_messages 9",
        "max_inflight_messages 20",
        "persistent_client_expiration 30d",
        "pid_file /run/m.pid",
        "listener 8883 127.0.0.1",
    ):
        assert line in lines
    assert sum(line.startswith("listener") for line in lines) == 1


@pytest.mark.parametrize("name", ["certificate", "client_ca", "key"])
def test_a_file_that_is_not_named_is_asked_for(policy: Policy, name: str) -> None:
    """There is no default for a key."""
    table = structs.replace(BROKER.mosquitto, **{name: None})
    with pytest.raises(OperatorError, match=rf"broker\.mosquitto\.{name} is missing"):
        render_files(structs.replace(BROKER, mosquitto=table), policy)


@pytest.mark.parametrize("path", ["/etc/a\nb.pem", "/etc/a.pem "])
def test_what_would_leave_its_line_is_refused(policy: Policy, path: str) -> None:
    """A line feed in a path would be a setting of its own."""
    table = structs.replace(BROKER.mosquitto, key=Path(path))
    with pytest.raises(OperatorError, match="cannot stand in a file of Mosquitto"):
        render_files(structs.replace(BROKER, mosquitto=table), policy)


def test_a_granted_topic_cannot_smuggle_a_line_in(tmp_path: Path) -> None:
    """The grant's text is the operator's own, and still it may not say more than it seems to."""
    registry = read_registry(access.write_registry(tmp_path / "registry.toml"))
    grant = Grant("gauge", subscribe=("news\ntopic write x",))
    policy = Policy(access.SITE, (grant,), registry, is_strict=True)
    with pytest.raises(OperatorError, match="gauge: 'news"):
        render_files(BROKER, policy)


def test_a_registry_that_does_not_name_every_device_is_refused(tmp_path: Path) -> None:
    """Neither without a registry, nor where strangers have a branch of their own."""
    registry = read_registry(access.write_registry(tmp_path / "registry.toml"))
    for policy in (Policy("lab"), Policy("lab", (), registry)):
        with pytest.raises(OperatorError, match=r"topics\.strict = true"):
            render_files(BROKER, policy)


def test_a_device_with_the_gateways_name_is_refused(policy: Policy) -> None:
    """The broker knows names alone: it would be given the gateway's rights."""
    with pytest.raises(OperatorError, match="this gateway's own name"):
        render_files(structs.replace(BROKER, client_id="gauge"), policy)


def test_the_gateway_is_called_as_its_certificate_says(tmp_path: Path) -> None:
    """Unless the configuration says otherwise; without either, there is no name."""
    site = BrokerSite(tmp_path)
    assert client_id_of(site.config().broker) == "gw-1"
    assert client_id_of(site.config("broker.client_id=other").broker) == "other"
    with pytest.raises(OperatorError, match=r"broker\.certificate is missing"):
        client_id_of(Broker())


def test_files_of_somebody_else_are_not_overwritten(policy: Policy, tmp_path: Path) -> None:
    """Debian's own file stands where ours is to go."""
    files = render_files(BROKER, policy)
    theirs = tmp_path / CONFIGURATION
    theirs.write_text("include_dir /etc/mosquitto/conf.d\n")
    with pytest.raises(OperatorError, match="was not written by this command"):
        write_files(files, tmp_path)
    assert theirs.read_text().startswith("include_dir")
    theirs.unlink()
    assert {path.name for path in write_files(files, tmp_path)} == set(files)
    assert differing(files, tmp_path) == []
    assert (tmp_path / ACCESS).stat().st_mode & 0o777 == 0o644


def test_a_folder_that_refuses_is_named(policy: Policy, tmp_path: Path) -> None:
    """A file stands where the folder should."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="file"):
        write_files(render_files(BROKER, policy), tmp_path / "file")


def test_the_units_are_sound(tmp_path: Path) -> None:
    """As systemd itself judges them; what reloads and what restarts the broker is told apart."""
    site = BrokerSite(tmp_path)
    config = site.config()
    files = render_files(config.broker, open_policy(config))
    units = {name: text for name, text in files.items() if name.startswith("coldseal-")}
    for name, text in units.items():
        (tmp_path / name).write_text(text)
    reload, restart = units["coldseal-mosquitto-reload.path"], units["coldseal-mosquitto-restart.path"]
    assert [str(path) in reload for path in (site.broker, site.crl, site.files / ACCESS)] == [True] * 3
    assert [str(path) in restart for path in (site.trust, site.files / CONFIGURATION)] == [True] * 2
    assert str(site.trust) not in reload
    paths = [str(tmp_path / name) for name in sorted(units)]
    done = subprocess.run(["systemd-analyze", "verify", *paths], capture_output=True, text=True, check=False)
    assert not [line for line in done.stderr.splitlines() if "coldseal-mosquitto" in line], done.stderr
