"""The service's configuration: mutual TLS always, plain pages on loopback only."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.errors import OperatorError
from coldseal.service.config import ServiceConfig, load_service

LEAST = """
[service]
name = "witness.example.com"
[tls]
certificate = "service.pem"
key = "service.key"
client_ca = "root.pem"
"""


def load(folder: Path, *overrides: str) -> ServiceConfig:
    """Write and load a configuration."""
    path = folder / "service.toml"
    path.write_text(LEAST, encoding="utf-8")
    return load_service(path, overrides)


def test_the_least_configuration_is_loopback_with_its_keys_beside_it(tmp_path: Path) -> None:
    """Paths are relative to the file."""
    config = load(tmp_path)
    assert config.service.listen.is_loopback
    assert config.service.data == tmp_path / "data"
    assert config.tls.client_ca == tmp_path / "root.pem"
    assert config.witness.key == f"file:{tmp_path}/witness.pem"


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("http.listen=10.0.0.1:9465", ["http.listen", "without TLS"]),
        ("tls.certificat=x", ["tls.certificat", "'certificate'"]),
        ("service.name=a b", ["service.name is 'a b'"]),
        ("service.max_batch_bytes=1", ["service.max_batch_bytes is 1"]),
        ("verify.workers=-1", ["verify.workers is -1"]),
    ],
)
def test_what_is_open_or_wrong_is_refused_by_name(tmp_path: Path, override: str, names: list[str]) -> None:
    """File, key, value and what was expected."""
    with pytest.raises(OperatorError) as caught:
        load(tmp_path, override)
    for name in [str(tmp_path / "service.toml"), *names]:
        assert name in str(caught.value)
