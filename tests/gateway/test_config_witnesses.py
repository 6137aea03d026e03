"""Further witnesses: refused when they could not be asked, or could never make a quorum."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.gateway.config import GatewayConfig, load_gateway
from coldseal.gateway.tables.outward import FurtherWitness

UPLINK = """
[gateway]
origin = "example.com/site-7/gw-0001"
site = "site-7"
[mqtt]
listen = ""
plain_listen = "127.0.0.1:0"
passwords = "passwords"
[uplink]
url = "https://service:8443"
certificate = "c.pem"
key = "k.pem"
ca = "r.pem"
witness = "service+1"
"""


def witness(number: int, **changes: str) -> str:
    """Write the table of one witness."""
    settings = {"url": f"https://w{number}:8443/v1/witness", "key": f"witness{number}+1"} | changes
    lines = (f'{name} = "{value}"\n' for name, value in settings.items())
    return f"[[uplink.witnesses]]\n{''.join(lines)}"


def load(folder: Path, *parts: str) -> GatewayConfig:
    """Write and load a configuration."""
    path = folder / "gateway.toml"
    path.write_text(UPLINK + "".join(parts), encoding="utf-8")
    return load_gateway(path)


def test_without_further_witnesses_the_service_alone_is_the_quorum(tmp_path: Path) -> None:
    """And a day without a cosignature is too long."""
    config = load(tmp_path)
    assert config.uplink.witnesses == ()
    assert (config.witness.quorum, config.witness.overdue_after_s) == (1, 86_400)


def test_further_witnesses_are_read_with_paths_below_the_file(tmp_path: Path) -> None:
    """Each with its address and key; what it leaves open is that of the uplink."""
    config = load(
        tmp_path, witness(1), witness(2, ca="w2.pem", certificate="c2.pem", certificate_key="k2.pem")
    )
    first, second = config.uplink.witnesses
    assert first == FurtherWitness(url="https://w1:8443/v1/witness", key="witness1+1")
    assert (second.ca, second.certificate) == (tmp_path / "w2.pem", tmp_path / "c2.pem")


def test_a_witness_without_tls_is_reached_on_loopback_only(tmp_path: Path) -> None:
    """As a program beside the gateway."""
    config = load(tmp_path, witness(1, url="http://127.0.0.1:8000"), witness(2, url="http://[::1]:8000"))
    assert len(config.uplink.witnesses) == 2


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ((witness(1, url="http://w1:8443"),), "'http://w1:8443', expected https://"),
        ((witness(1, url="http://127.0.0.1.example.com:1"),), "expected https://"),
        ((witness(1, certificate="c.pem"),), "certificate or certificate_key alone"),
        ((witness(1, certificate_key="k.pem"),), "certificate or certificate_key alone"),
        ((witness(1, key="service+2"),), "two witnesses have one name"),
        ((witness(1), witness(1)), "two witnesses have one name"),
        (tuple(witness(number) for number in range(9)), "at most 8"),
        ((witness(1), "[witness]\nquorum = 3\n"), "witness.quorum is 3, but there are 2 witnesses"),
        (("[witness]\ninterval_s = 61\n",), "witness.interval_s is 61"),
        ((witness(1, kay="x"),), "'key'"),
    ],
)
def test_what_could_not_work_is_refused_by_name(tmp_path: Path, parts: tuple[str, ...], named: str) -> None:
    """At the start, not when a witness is needed."""
    with pytest.raises(OperatorError) as caught:
        load(tmp_path, *parts)
    assert named in str(caught.value)


def test_further_witnesses_need_a_service(tmp_path: Path) -> None:
    """The process that asks them is the uplink."""
    path = tmp_path / "gateway.toml"
    path.write_text(UPLINK + witness(1), encoding="utf-8")
    with pytest.raises(OperatorError) as caught:
        load_gateway(path, ["uplink.url="])
    assert "uplink.witnesses has 1 tables" in str(caught.value)


def test_a_quorum_matters_only_where_there_is_an_uplink(tmp_path: Path) -> None:
    """Without one nothing is cosigned at all."""
    path = tmp_path / "gateway.toml"
    path.write_text(UPLINK + "[witness]\nquorum = 2\n", encoding="utf-8")
    assert load_gateway(path, ["uplink.url="]).witness.quorum == 2
