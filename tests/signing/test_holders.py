"""One contract for all that may hold a key: a file, a token, a chip. All are real."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import load_der_public_key
from pkcs11 import lib

from coldseal.core.log.checkpoint import Checkpoint, checkpoint_note, open_checkpoint, parse_vkey
from coldseal.core.log.record import Chain, key_id, parse_entry
from coldseal.core.log.signature import is_low_s
from coldseal.errors import OperatorError, UnavailableError
from coldseal.signing.holders import is_held, make_held, open_holder
from coldseal.signing.keys import (
    EcdsaSigner,
    Ed25519Signer,
    generate_interop_key,
    generate_record_key,
    open_ecdsa,
    open_ed25519,
    write_private_key,
)
from coldseal.signing.uris import ED25519
from tests.signing.software_hsm import PIN, SoftwareToken
from tests.signing.software_tpm import SoftwareTpm

NAME = "coldseal.example/site-7/gw-0001"
NOTE = Checkpoint(NAME, 7, bytes(range(32)))
TQ = b'{"boot":"00000000","err":1,"mono":1,"off":0,"s":"synchronised"}'
ECDSA = ec.ECDSA(hashes.SHA256())

Make = Callable[[], str]
"""Makes a new P-256 key, and gives its URI."""


@pytest.fixture(params=["file", "pkcs11", "tpm", "tpm-wrapped"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Give what makes keys in one of the holders."""
    numbers = iter(range(100))

    def in_file() -> str:
        path = tmp_path / f"{next(numbers)}.pem"
        write_private_key(path, generate_record_key())
        return f"file:{path}"

    def held(uri: str) -> str:
        make_held(uri, tmp_path)
        return uri

    if request.param == "file":
        return in_file
    if request.param == "pkcs11":
        token: SoftwareToken = request.getfixturevalue("token")
        return lambda: held(token.new_uri())
    chip: SoftwareTpm = request.getfixturevalue("chip")
    if request.param == "tpm":
        return lambda: held(f"tpm:{chip.new_handle():#x}?tcti={chip.tcti}")
    return lambda: held(f"tpm:key={next(numbers)}.tss?tcti={chip.tcti}")


def _make_in_file(uri: str, base: Path) -> None:
    """Make a key in a file."""
    write_private_key(base / uri.removeprefix("file:"), generate_record_key())


@pytest.fixture
def signer(make: Make, tmp_path: Path) -> EcdsaSigner:
    """Give a signer of a new key."""
    return open_ecdsa(make(), base=tmp_path)


@pytest.mark.parametrize("size", [0, 1, 180, 1_024, 1_025, 70_000])
def test_what_it_signs_verifies_and_is_low_s(signer: EcdsaSigner, size: int) -> None:
    """Whatever the length; a chip takes 1,024 bytes at once. Another text does not verify."""
    data = bytes(index % 251 for index in range(size))
    public = load_der_public_key(signer.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    signatures = [signer.sign(data) for _ in range(4)]
    assert all(is_low_s(each) for each in signatures)
    for each in signatures:
        public.verify(each, data, ECDSA)
    with pytest.raises(InvalidSignature):
        public.verify(signatures[0], data + b"!", ECDSA)


def test_openssl_alone_verifies_it(signer: EcdsaSigner, tmp_path: Path) -> None:
    """An auditor needs neither our code nor the holder."""
    (tmp_path / "body").write_bytes(b"the signed bytes")
    (tmp_path / "sig").write_bytes(signer.sign(b"the signed bytes"))
    (tmp_path / "pub.der").write_bytes(signer.spki)
    command = "openssl dgst -sha256 -keyform DER -verify pub.der -signature sig body"
    run = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout == "Verified OK\n", run.stderr


def test_it_signs_checkpoints_and_entries(signer: EcdsaSigner) -> None:
    """In both uses the public key that it shows is the one that verifies."""
    line = signer.note_signature(NAME, NOTE.text())
    found, _ = open_checkpoint(checkpoint_note(NOTE, [line]), [parse_vkey(signer.vkey(NAME))])
    assert found == NOTE
    raw = Chain(NAME, signer.kid).seal("boot", "2026-01-01T00:00:00.000Z", TQ, b"", b"{}", signer.sign)
    entry = parse_entry(raw)
    public = load_der_public_key(signer.spki)
    assert entry.sig is not None
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(entry.sig, entry.body, ECDSA)
    assert entry.kid == signer.kid == key_id(signer.spki)


def test_opened_again_it_is_the_same_key_and_another_one_is_not(make: Make, tmp_path: Path) -> None:
    """Also from another process, which gets nothing but the URI."""
    first, second = make(), make()
    found = open_ecdsa(first, base=tmp_path)
    assert open_ecdsa(first, base=tmp_path).spki == found.spki
    assert open_ecdsa(second, base=tmp_path).spki != found.spki
    script = (
        "import sys; from pathlib import Path; from coldseal.signing.keys import open_ecdsa;"
        "print(open_ecdsa(sys.argv[1], base=Path(sys.argv[2])).kid)"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, first, tmp_path], check=True, capture_output=True, text=True
    )
    assert run.stdout.strip() == found.kid


def test_threads_may_sign_with_one_signer(signer: EcdsaSigner) -> None:
    """A slow holder is asked beside the intake's loop."""
    public = load_der_public_key(signer.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    found: list[tuple[bytes, bytes]] = []

    def sign(number: int) -> None:
        data = bytes([number]) * 40
        found.append((data, signer.sign(data)))

    threads = [threading.Thread(target=sign, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(threads)
    for data, signature in found:
        public.verify(signature, data, ECDSA)


def test_it_shows_no_private_key(make: Make, tmp_path: Path) -> None:
    """A signer says whether a chip or token holds its key, and nothing else of it."""
    uri = make()
    signer = open_ecdsa(uri, base=tmp_path)
    assert signer.is_held == is_held(uri) == (not uri.startswith("file:"))
    assert [name for name in vars(signer) if not name.startswith("_")] == ["spki", "kid"]


def test_a_key_is_never_overwritten(make: Make, tmp_path: Path) -> None:
    """The one that is there stays, wherever it is."""
    uri = make()
    kid = open_ecdsa(uri, base=tmp_path).kid
    again = make_held if is_held(uri) else _make_in_file
    with pytest.raises(OperatorError, match="already"):
        again(uri, tmp_path)
    assert open_ecdsa(uri, base=tmp_path).kid == kid


def test_a_token_signs_with_ed25519_too(token: SoftwareToken, tmp_path: Path) -> None:
    """As the log's second checkpoint key, or as a witness; the two kinds are not mixed up."""
    uri = token.new_uri()
    make_held(uri, tmp_path, kind=ED25519)
    signer = open_ed25519(uri, base=tmp_path)
    assert signer.is_held
    assert not Ed25519Signer(generate_interop_key()).is_held
    ed25519.Ed25519PublicKey.from_public_bytes(signer.public).verify(signer.sign(b"text"), b"text")
    line = signer.note_signature(NAME, NOTE.text())
    open_checkpoint(checkpoint_note(NOTE, [line]), [parse_vkey(signer.vkey(NAME))])
    with pytest.raises(OperatorError, match="not a P-256 key"):
        open_ecdsa(uri, base=tmp_path)
    other = token.new_uri()
    make_held(other, tmp_path)
    with pytest.raises(OperatorError, match="not an Ed25519 key"):
        open_ed25519(other, base=tmp_path)


def test_a_chip_has_no_ed25519(tmp_path: Path) -> None:
    """Said before anything is made."""
    with pytest.raises(OperatorError, match="no TPM has Ed25519 keys"):
        make_held("tpm:0x81008001", tmp_path, kind=ED25519)


@pytest.mark.parametrize(
    ("uri", "module", "extra"),
    [
        ("tpm:0x81008001", "coldseal.signing.tpm.keys", "tpm"),
        ("pkcs11:object=o?module-path=m&pin-source=env:X", "coldseal.signing.pkcs11", "pkcs11"),
    ],
)
def test_a_missing_driver_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, module: str, extra: str
) -> None:
    """Without the extra, everything else runs as ever."""
    monkeypatch.setitem(sys.modules, module, None)
    for act in (open_holder, make_held):
        with pytest.raises(OperatorError, match=rf"pip install 'coldseal\[{extra}\]'"):
            act(uri, tmp_path)


def test_a_holder_that_is_away_is_said_to_be(token: SoftwareToken, tmp_path: Path) -> None:
    """A try later may help: neither the configuration nor the key is wrong."""
    for uri in ("tpm:0x81008001?tcti=swtpm:host=127.0.0.1,port=9", token.uri("o", label="another")):
        with pytest.raises(UnavailableError):
            open_ecdsa(uri, base=tmp_path)


def test_the_drivers_are_not_loaded_without_need() -> None:
    """A gateway with keys in files loads neither."""
    script = (
        "import sys, coldseal.gateway.app, coldseal.signing.keys;"
        "sys.exit(bool({'tpm2_pytss', 'pkcs11'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_token_s_key_is_found_by_what_names_it(token: SoftwareToken, tmp_path: Path) -> None:
    """By id, by the token's serial number, or by label alone; a name that is not there says so."""
    name = token.new_uri().partition("object=")[2].partition("?")[0]
    made = make_held(f"pkcs11:token=coldseal;object={name};id=%0A%0B?{token.options}", tmp_path)
    serial = str(lib(str(token.module)).get_token(token_label="coldseal").serial, "ascii")
    for named in (f"serial={serial};object={name}", f"object={name};id=%0A%0B", "token=coldseal;id=%0A%0B"):
        assert open_holder(f"pkcs11:{named}?{token.options}", tmp_path).spki == made.spki
    with pytest.raises(OperatorError, match="NoSuchKey"):
        open_holder(token.uri("nobody"), tmp_path)
    with pytest.raises(OperatorError, match="a new key needs a name"):
        make_held(f"pkcs11:token=coldseal;id=%01?{token.options}", tmp_path)


def test_a_token_s_key_of_another_curve_is_refused(token: SoftwareToken, tmp_path: Path) -> None:
    """The log's keys are P-256 and Ed25519."""
    tool = [
        "pkcs11-tool",
        "--module",
        str(token.module),
        "--token-label",
        "coldseal",
        "--login",
        "--pin",
        PIN,
    ]
    command = [*tool, "--keypairgen", "--key-type", "EC:secp384r1", "--label", "p384"]
    subprocess.run(command, check=True, capture_output=True)
    lib(str(token.module)).reinitialize()
    with pytest.raises(OperatorError, match="neither P-256 nor Ed25519"):
        open_holder(token.uri("p384"), tmp_path)


def test_a_session_that_was_lost_is_opened_anew(token: SoftwareToken, tmp_path: Path) -> None:
    """The first try after the loss says that the token is away; the next one signs."""
    uri = token.new_uri()
    make_held(uri, tmp_path)
    signer = open_ecdsa(uri, base=tmp_path)
    assert signer.sign(b"text")
    lib(str(token.module)).reinitialize()
    with pytest.raises(UnavailableError):
        signer.sign(b"text")
    assert signer.sign(b"text")
