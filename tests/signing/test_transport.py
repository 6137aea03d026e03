"""Transport keys in a real software TPM: made there, bound to it, and good for nothing but signing."""

from __future__ import annotations

import copy
import hashlib
import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from coldseal.errors import OperatorError, UnavailableError
from coldseal.identity import est
from coldseal.signing.holders import make_held, make_transport, open_holder, open_transport
from coldseal.signing.private_files import write_private_file
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, storage_key, tss
from coldseal.signing.tpm.transport import ATTRIBUTES
from coldseal.signing.uris import WRAPPED, TpmUri, parse_transport
from tests.signing.software_tpm import SoftwareTpm, software_tpm

ECDSA = ec.ECDSA(hashes.SHA256())
DATA = b"what TLS has signed"


@pytest.fixture
def place(chip: SoftwareTpm, tmp_path: Path) -> TpmUri:
    """Make a key."""
    found = TpmUri(chip.tcti, None, tmp_path / "transport.tss")
    make_transport(found)
    return found


def test_it_signs_what_tls_and_requests_need(place: TpmUri) -> None:
    """Made once, opened again; the signature verifies with the public key in the file."""
    key = open_transport(place)
    key.public_key().verify(key.sign_digest(hashlib.sha256(DATA).digest()), DATA, ECDSA)
    key.public_key().verify(key.sign(DATA, ECDSA), DATA, ECDSA)
    request = est.make_request(key, "gateway", "gw-1")
    assert est.parse_request(est.encode_request(request)).public_key() == key.public_key()
    assert isinstance(request, x509.CertificateSigningRequest)
    assert (key.key_size, key.curve.name) == (256, "secp256r1")
    assert copy.copy(key) is copy.deepcopy(key) is key


def test_its_file_is_private_and_holds_no_key_that_others_could_use(place: TpmUri) -> None:
    """In the form that others call TSS2 PRIVATE KEY; it is never overwritten."""
    content = place.file.read_bytes()
    assert content.startswith(WRAPPED)
    assert stat.S_IMODE(place.file.stat().st_mode) == 0o600
    with pytest.raises(ValueError, match=r"."):
        load_pem_private_key(content, None)
    with pytest.raises(OperatorError, match="exists already"):
        make_transport(place)
    assert place.file.read_bytes() == content


def test_openssl_signs_with_the_same_file_by_its_own_provider(
    place: TpmUri, chip: SoftwareTpm, tmp_path: Path
) -> None:
    """Somebody else's reader of such files finds the same key, and has the chip sign."""
    if not any(Path("/usr/lib").glob("*/ossl-modules/tpm2.so")):
        pytest.skip("not run: no tpm2.so: apt-get install tpm2-openssl")
    key, (data, made) = open_transport(place), (tmp_path / "data", tmp_path / "made")
    data.write_bytes(DATA)
    providers = ("-provider", "tpm2", "-provider", "default")
    preferred = (*providers, "-propquery", "?provider=tpm2")
    for command in (
        ("pkey", *providers, "-in", place.file, "-pubout", "-outform", "DER", "-out", tmp_path / "public"),
        ("dgst", "-sha256", *preferred, "-sign", place.file, "-out", made, data),
    ):
        environment = {**os.environ, "TPM2OPENSSL_TCTI": chip.tcti}
        subprocess.run(("openssl", *command), env=environment, check=True, capture_output=True)
    assert (tmp_path / "public").read_bytes() == key.spki
    key.public_key().verify(made.read_bytes(), DATA, ECDSA)


def test_the_private_part_is_given_to_nobody(place: TpmUri) -> None:
    """No numbers, no bytes, no exchange, no other hash."""
    key = open_transport(place)
    for refused in (key.private_numbers, key.private_bytes, key.exchange):
        with pytest.raises(UnsupportedAlgorithm, match="in the TPM"):
            refused()
    with pytest.raises(UnsupportedAlgorithm, match="SHA-256 alone"):
        key.sign(DATA, ec.ECDSA(hashes.SHA384()))


def test_it_is_bound_to_its_chip_and_says_so(place: TpmUri, tmp_path: Path) -> None:
    """Another chip does not open what this one has wrapped; one that is off is away."""
    with software_tpm(tmp_path / "other") as other:
        elsewhere = open_transport(replace(place, tcti=other.tcti))
        with pytest.raises(OperatorError, match="this TPM did not wrap the transport key"):
            elsewhere.sign(DATA, ECDSA)
        other.stop()
        with pytest.raises(UnavailableError, match="the TPM at"):
            elsewhere.sign(DATA, ECDSA)
        with pytest.raises(UnavailableError, match="the TPM at"):
            make_transport(TpmUri(other.tcti, None, tmp_path / "none.tss"))


def test_a_key_for_checkpoints_is_none_for_tls_and_the_other_way_round(
    place: TpmUri, chip: SoftwareTpm, tmp_path: Path
) -> None:
    """One that signs any hash would sign a forged attestation; one that does not, no handshake."""
    make_held(f"tpm:key=checkpoint.tss?tcti={chip.tcti}", tmp_path)
    with pytest.raises(OperatorError, match="holds no transport key"):
        open_transport(TpmUri(chip.tcti, None, tmp_path / "checkpoint.tss"))
    with pytest.raises(OperatorError, match="not a restricted P-256 signing key"):
        open_holder(f"tpm:key={place.file}?tcti={chip.tcti}", tmp_path)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("rsa2048:null:null", ATTRIBUTES),
        ("ecc384:null:null", ATTRIBUTES),
        ("ecc256:null:null", ATTRIBUTES.replace("fixedtpm|fixedparent|", "")),
        ("ecc256:null:null", f"{ATTRIBUTES}|decrypt"),
    ],
    ids=["rsa", "p384", "movable", "decrypts"],
)
def test_a_key_of_another_kind_is_refused(
    chip: SoftwareTpm, tmp_path: Path, kind: str, attributes: str
) -> None:
    """It must be P-256 and bound to the chip."""
    with open_tpm(chip.tcti) as tpm:
        template = tss.TPM2B_PUBLIC.parse(kind, objectAttributes=attributes)
        private, public, *_ = tpm.esys.create(storage_key(tpm), tss.TPM2B_SENSITIVE_CREATE(), template)
    write_private_file(tmp_path / "k.tss", tss.tsskey.TSSPrivKey(private, public).to_pem())
    with pytest.raises(OperatorError, match="holds no transport key"):
        open_transport(TpmUri(chip.tcti, None, tmp_path / "k.tss"))


def test_a_key_may_ask_for_a_value(chip: SoftwareTpm, tmp_path: Path) -> None:
    """As checkpoint keys may; without it the chip refuses."""
    write_private_file(tmp_path / "auth", b"a value of its own")
    place = parse_transport(f"tpm:key={tmp_path}/k.tss?tcti={chip.tcti}&auth=file:{tmp_path}/auth")
    assert isinstance(place, TpmUri)
    key = make_transport(place)
    key.public_key().verify(key.sign(DATA, ECDSA), DATA, ECDSA)
    with pytest.raises(TpmRefusedError):
        open_transport(replace(place, auth="")).sign(DATA, ECDSA)


def test_what_others_left_in_the_chip_s_slots_makes_it_busy_not_broken(
    place: TpmUri, chip: SoftwareTpm
) -> None:
    """Without a resource manager slots may be taken: that is tried again, and ours are always given back."""
    key = open_transport(place)
    for _ in range(8):
        key.sign(DATA, ECDSA)
    with tss.ESAPI(chip.tcti) as esys:
        template = tss.TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256:null", objectAttributes=ATTRIBUTES)
        for _ in range(3):
            esys.create_primary(tss.TPM2B_SENSITIVE_CREATE(), template)
    with pytest.raises(UnavailableError, match="the TPM at"):
        key.sign(DATA, ECDSA)
    chip.restart()
    key.sign(DATA, ECDSA)


def test_a_place_is_a_file_or_a_wrapped_key(tmp_path: Path) -> None:
    """A persistent handle could not be renewed."""
    assert parse_transport(str(tmp_path / "gw.key")) == tmp_path / "gw.key"
    assert parse_transport("tpm:key=/k.tss?tcti=x") == TpmUri("x", None, Path("/k.tss"))
    with pytest.raises(OperatorError, match="persistent handle 0x81008001"):
        parse_transport("tpm:0x81008001")


def test_a_missing_driver_is_named_with_its_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of Python and of the system."""
    monkeypatch.setitem(sys.modules, "coldseal.signing.tpm.transport", None)
    for ask in (open_transport, make_transport):
        with pytest.raises(OperatorError, match="driver for tpm: keys") as caught:
            ask(TpmUri("x", None, tmp_path / "k.tss"))
        assert "coldseal[tpm]" in caught.value.hint
        assert "libtss2-dev" in caught.value.hint
