"""A transport key in a real software TPM at the command line: made, certified by a CA, or enrolled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from coldseal.cli.main import run
from coldseal.gateway.uplink.keeping import read_leaf
from coldseal.identity import est
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context
from coldseal.identity.peer import read_peer
from coldseal.signing.holders import open_transport
from coldseal.signing.uris import TpmUri
from tests.gateway.uplink.registry import Registry
from tests.signing.software_tpm import SoftwareTpm, software_tpm
from tests.trial import now

GATEWAY: tuple[Literal["gateway"], str] = ("gateway", "gw-1")


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """Give a TPM."""
    with software_tpm(tmp_path_factory.mktemp("chip")) as made:
        yield made


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """Give a folder with a CA."""
    return create_authority(tmp_path / "ca", now=now()).folder


@pytest.fixture
def made(chip: SoftwareTpm, tmp_path: Path) -> TpmUri:
    """Make a transport key by the command."""
    place = TpmUri(chip.tcti, None, tmp_path / "gw.tss")
    assert (
        run(["identity", "key", "make", f"tpm:key={place.file}", "--transport", f"--tcti={chip.tcti}"]) == 0
    )
    return place


def request(place: TpmUri, output: Path, *more: str) -> list[str]:
    """Give the command that asks for a certificate."""
    key = f"tpm:key={place.file}?tcti={place.tcti}"
    return ["identity", "key", "request", key, str(output), "--role", "gateway", "--name", "gw-1", *more]


def sign(ca: Path, file: Path, *more: str) -> list[str]:
    """Give the command that issues one."""
    return ["identity", "ca", "sign", str(ca), str(file), *more]


def test_a_request_of_the_chip_is_certified_by_the_ca(
    made: TpmUri, ca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The certificate is the key's; both can be shown to a service."""
    csr = tmp_path / "gw.csr"
    capsys.readouterr()
    assert run(request(made, csr, "--hosts", "gw.example", "--json")) == 0
    assert json.loads(capsys.readouterr().out) == {"request": str(csr), "role": "gateway", "name": "gw-1"}
    assert x509.load_pem_x509_csr(csr.read_bytes()).is_signature_valid
    assert run(sign(ca, csr, *GATEWAY, "--hosts", "gw.example", "--days", "2", "--json")) == 0
    certificate = Path(json.loads(capsys.readouterr().out)["certificate"])
    assert certificate == ca / "gateway" / "gw-1.pem"
    assert read_leaf(certificate).public_key() == open_transport(made).public_key()
    client_context(certificate, made, ca / "root.pem")
    assert run(sign(ca, csr, *GATEWAY, "--hosts", "gw.example")) == 2
    assert "exists already" in capsys.readouterr().err
    assert run(sign(ca, csr, *GATEWAY, "--hosts", "gw.example", f"--output={tmp_path}/gw.pem")) == 0
    assert read_peer(tmp_path / "gw.pem").name == "gw-1"


def test_nothing_is_issued_but_what_was_said(
    made: TpmUri, ca: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another role, name or host; what is no request, or was not signed by its key."""
    csr = tmp_path / "gw.csr"
    assert run(request(made, csr, "--hosts", "gw.example")) == 0
    for asked in (GATEWAY, ("device", "gw-1"), ("gateway", "gw-2")):
        assert run(sign(ca, csr, *asked)) == 2
        assert "asks for gateway gw-1 gw.example" in capsys.readouterr().err
    content = bytearray(est.make_request(open_transport(made), "gateway", "gw-1").public_bytes(Encoding.DER))
    content[-1] ^= 1
    forged = x509.load_der_x509_csr(bytes(content)).public_bytes(Encoding.PEM)
    for text, why in ((forged, "signature"), (b"none", "cannot be read as a request")):
        csr.write_bytes(text)
        assert run(sign(ca, csr, *GATEWAY)) != 0
        assert why in capsys.readouterr().err
    assert not (ca / "gateway").exists()


def test_what_is_no_transport_key_is_refused(
    made: TpmUri, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file, a handle, a role that is none; a key is never overwritten."""
    for uri, why in (("gw.key", "no transport key in a TPM"), ("tpm:0x81008001", "persistent handle")):
        assert run(["identity", "key", "make", uri, "--transport"]) == 2
        assert why in capsys.readouterr().err
    again = ["identity", "key", "make", f"tpm:key={made.file}", "--transport", f"--tcti={made.tcti}"]
    assert run(again) == 2
    assert "exists already" in capsys.readouterr().err
    wrong = [each if each != "gateway" else "freezer" for each in request(made, tmp_path / "no.csr")]
    assert run(wrong) == 2
    assert "'freezer' is no role" in capsys.readouterr().err


async def test_a_gateway_enrols_and_renews_with_keys_of_its_chip(
    chip: SoftwareTpm, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By EST; each renewal makes a new key there."""
    registry, folder = Registry(tmp_path / "registry"), tmp_path / "gateway"
    whose = ("--role", "gateway", "--name", "gw-1", "--ca", str(registry.trust), "--tcti", chip.tcti)
    place = TpmUri(chip.tcti, None, folder / "gateway" / "gw-1.key")
    try:
        async with registry.running():
            token = f"file:{registry.token(*GATEWAY)}"
            enrol = ["identity", "enrol", registry.url, str(folder), *whose, "--token", token, "--tpm"]
            assert await asyncio.to_thread(run, enrol) == 0
            first = open_transport(place).public_key()
            assert read_leaf(folder / "gateway" / "gw-1.pem").public_key() == first
            renew = ["identity", "renew-now", str(folder), "--url", registry.url, "--tcti", chip.tcti]
            capsys.readouterr()
            assert await asyncio.to_thread(run, renew) == 0
            assert capsys.readouterr().out == "gateway/gw-1: renewed\n"
    finally:
        registry.enrolments.close()
    assert (
        read_leaf(folder / "gateway" / "gw-1.pem").public_key() == open_transport(place).public_key() != first
    )
