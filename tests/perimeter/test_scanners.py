"""Strangers' scanners find nothing on the listeners; strangers' clients get in with a good certificate."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from coldseal.identity.peer import Role
from tests.perimeter.grounds import Grounds, wait

RIGHT: dict[str, Role] = {"mqtt": "device", "api": "gateway"}
LONGEST_S = 60


def program(name: str) -> str:
    """Give a program of the system, or skip."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install sslscan gnutls-bin openssl")
    return found


def run(*command: str, sends: bytes = b"") -> bytes:
    """Run a program to its end, and give what it printed."""
    done = subprocess.run(command, input=sends, capture_output=True, timeout=LONGEST_S, check=False)
    return done.stdout + done.stderr


@pytest.mark.parametrize("listener", ["mqtt", "api", "est"])
def test_sslscan_finds_tls_1_3_and_nothing_else(quiet: Grounds, tmp_path: Path, listener: str) -> None:
    """No older protocol, no renegotiation, no weak suite, a certificate in order."""
    report = tmp_path / "report.xml"
    run(program("sslscan"), "--no-colour", f"--xml={report}", f"127.0.0.1:{quiet.ports[listener]}")

    (found,) = ET.parse(report).getroot()  # noqa: S314 # written by a program of our own choice

    spoken = [
        (each.get("type"), each.get("version"))
        for each in found.iter("protocol")
        if each.get("enabled") == "1"
    ]
    assert spoken == [("tls", "1.3")]
    assert all(each.get("supported") == "0" for each in found.iter("renegotiation"))
    assert all(each.get("vulnerable") == "0" for each in found.iter("heartbleed"))
    suites = {each.get("cipher") for each in found.iter("cipher")}
    assert suites == {"TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256"}
    assert {each.findtext("expired") for each in found.iter("certificate")} == {"false"}
    assert {each.findtext("self-signed") for each in found.iter("certificate")} == {"false"}


@pytest.mark.parametrize("client", ["openssl", "gnutls-cli"])
@pytest.mark.parametrize("listener", RIGHT)
def test_a_stranger_s_client_gets_in(quiet: Grounds, listener: str, client: str) -> None:
    """With a good certificate, checking ours by its own rules."""
    paper, port = quiet.papers.leaf(RIGHT[listener], "stranger"), quiet.ports[listener]
    key, trust = paper.with_suffix(".key"), quiet.papers.trust
    by_client = {
        "openssl": f"s_client -connect localhost:{port} -cert {paper} -key {key} -CAfile {trust}"
        f" -cert_chain {paper} -verify_return_error -verify_hostname localhost -ign_eof",
        "gnutls-cli": f"--x509certfile={paper} --x509keyfile={key} --x509cafile={trust} --port={port}"
        " localhost",
    }
    # CONNECT, and DISCONNECT behind it: whoever has been let in is also seen off.
    request = quiet.requests[listener] + (b"\xe0\x00" if listener == "mqtt" else b"")

    found = run(program(client), *by_client[client].split(), sends=request)

    assert b"TLSv1.3" in found or b"TLS1.3" in found, found
    assert not quiet.said(), quiet.said()
    wait(lambda: quiet.has_read(listener), "what it sent was not read")
