"""The gateway's configuration: safe by default, refused when it could not work or would be open."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.tables.intake import Grant

LEAST = """
[gateway]
origin = "example.com/site-7/gw-0001"
site = "site-7"
[mqtt]
certificate = "gw.pem"
key = "gw.key"
client_ca = "ca.pem"
"""


def load(folder: Path, text: str = LEAST, *overrides: str) -> GatewayConfig:
    """Write and load a configuration."""
    path = folder / "gateway.toml"
    path.write_text(text, encoding="utf-8")
    return load_gateway(path, overrides)


def refuse(folder: Path, *overrides: str, text: str = LEAST) -> str:
    """Load a configuration that must be refused, and give the message."""
    with pytest.raises(OperatorError) as caught:
        load(folder, text, *overrides)
    return str(caught.value)


def test_the_least_configuration_listens_on_loopback_with_tls_only(tmp_path: Path) -> None:
    """Nothing is open that was not opened."""
    config = load(tmp_path)
    assert config.mqtt.listen == "127.0.0.1:8883"
    assert config.mqtt.plain_listen is None
    assert config.http.listen is not None
    assert config.http.listen.is_loopback
    assert config.grants == ()
    assert config.uplink.url == ""
    assert config.mqtt.certificate == tmp_path / "gw.pem"
    assert config.store.key == f"file:{tmp_path}/store.key"
    assert config.gateway.signature == "record"


def test_grants_are_read_as_they_stand(tmp_path: Path) -> None:
    """Deny by default: a grant gives only what it names."""
    config = load(tmp_path, LEAST + '[[grants]]\ndevice = "display-1"\nsubscribe = ["a/+/b"]\n')
    assert config.grants == (Grant(device="display-1", subscribe=("a/+/b",)),)


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        (["mqtt.plain_listen=0.0.0.0:1883", "mqtt.passwords=p"], ["mqtt.plain_listen", "without TLS"]),
        (["http.listen=0.0.0.0:9464"], ["http.listen", "without TLS"]),
        (["mqtt.listen="], ["mqtt has no listener"]),
        (["mqtt.certificate="], ["mqtt.certificate is missing"]),
        (["mqtt.key="], ["mqtt.key is missing"]),
        (["mqtt.client_ca="], ["neither client certificates nor passwords"]),
        (["mqtt.plain_listen=127.0.0.1:1883"], ["neither client certificates nor passwords"]),
        (["uplink.url=http://service:8443"], ["uplink.url is 'http://service:8443'", "https://"]),
        (["uplink.url=https://service:8443"], ["uplink.certificate is missing"]),
        (["store.reserve_mb=512", "store.limit_mb=512"], ["store.reserve_mb is 512", "less than"]),
        (["budget.critical_days=9"], ["budget.critical_days is 9", "at most warn_days"]),
        (["gateway.signature=none"], ["gateway.signature", "'none'"]),
        (["gateway.origin=/x"], ["gateway.origin is '/x'"]),
        (["gateway.origin=a//b"], ["gateway.origin is 'a//b'"]),
        (["gateway.site=a/b"], ["gateway.site is 'a/b'"]),
        (["mqtt.max_conections=1"], ["mqtt.max_conections", "'max_connections'"]),
        (["mqtt.receive_maximum=0"], ["mqtt.receive_maximum is 0", ">= 1"]),
        (["timestamp.url=tsa.example"], ["timestamp.url is 'tsa.example'", "http://"]),
        (["timestamp.url=http://tsa.example"], ["timestamp.ca is missing"]),
        (["timestamp.url=http://tsa.example", "timestamp.ca=root.pem"], ["uplink.url is not"]),
        (["uplink.timeout_s=0"], ["uplink.timeout_s is 0", "> 0"]),
    ],
)
def test_what_is_open_contradictory_or_wrong_is_refused_by_name(
    tmp_path: Path, overrides: list[str], names: list[str]
) -> None:
    """File, key, value and what was expected."""
    message = refuse(tmp_path, *overrides)
    for name in [str(tmp_path / "gateway.toml"), *names]:
        assert name in message


@pytest.mark.parametrize("missing", ["certificate", "key", "ca", "witness"])
def test_an_uplink_set_half_way_names_what_is_missing(tmp_path: Path, missing: str) -> None:
    """Each of the four parts is needed."""
    settings = {"certificate": "c", "key": "k", "ca": "r", "witness": "w"}
    del settings[missing]
    overrides = [f"uplink.{name}={value}" for name, value in settings.items()]
    message = refuse(tmp_path, "uplink.url=https://service:8443", *overrides)
    assert f"uplink.{missing} is missing" in message


def test_a_whole_uplink_is_taken(tmp_path: Path) -> None:
    """With the service's address and witness."""
    config = load(
        tmp_path,
        LEAST,
        "uplink.url=https://service:8443",
        "uplink.certificate=c.pem",
        "uplink.key=k.pem",
        "uplink.ca=r.pem",
        "uplink.witness=w+00000000+AA",
    )
    assert config.uplink.ca == tmp_path / "r.pem"


def test_passwords_alone_suffice_for_both_listeners(tmp_path: Path) -> None:
    """A site without certificates for its devices."""
    overrides = ("mqtt.client_ca=", "mqtt.passwords=passwords", "mqtt.plain_listen=127.0.0.1:1883")
    config = load(tmp_path, LEAST, *overrides)
    assert config.mqtt.passwords == tmp_path / "passwords"


def test_http_and_the_tls_listener_can_be_switched_off(tmp_path: Path) -> None:
    """A plain listener on loopback needs no certificate."""
    overrides = ("mqtt.listen=", "mqtt.plain_listen=127.0.0.1:0", "mqtt.passwords=p", "http.listen=")
    config = load(tmp_path, LEAST, *overrides)
    assert config.mqtt.listen is None
    assert config.http.listen is None
