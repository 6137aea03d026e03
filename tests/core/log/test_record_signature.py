"""Signatures of entries: one form each, and OpenSSL alone can check them."""

import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from hypothesis import example, given
from hypothesis import strategies as st

from coldseal.core.log.record import parse_entry
from coldseal.core.log.signature import is_low_s, low_s
from coldseal.errors import InputError
from tests.core.log.example_log import FOLDER

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
ENTRIES = (FOLDER / "entries.jsonl").read_bytes().splitlines()
KEY = ec.derive_private_key(7, ec.SECP256R1())

numbers = (
    st.integers(1, ORDER - 1)
    | st.integers(0, 255).map(lambda bits: min(1 << bits, ORDER - 1))
    | st.integers(0, 255).map(lambda bits: max(1, (1 << bits) - 1))
    | st.integers(-3, 3).map(lambda off: ORDER // 2 + off)
    | st.integers(1, 3).map(lambda off: ORDER - off)
)


def _openssl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run OpenSSL's command line."""
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


@given(r=numbers, s=numbers)
@example(r=1, s=1)
@example(r=ORDER - 1, s=ORDER // 2)
@example(r=ORDER - 1, s=ORDER // 2 + 1)
def test_the_low_twin_is_found_without_the_key(r: int, s: int) -> None:
    """Of both valid signatures the one with the lower s is given, in the DER of another library."""
    low, high = min(s, ORDER - s), max(s, ORDER - s)
    assert low_s(encode_dss_signature(r, s)) == encode_dss_signature(r, low)
    assert is_low_s(encode_dss_signature(r, low))
    assert not is_low_s(encode_dss_signature(r, high))


@given(body=st.binary())
def test_the_low_twin_is_as_valid_as_the_other(body: bytes) -> None:
    """Turning the signature over does not invalidate it."""
    signature = KEY.sign(body, ec.ECDSA(hashes.SHA256()))
    r, s = decode_dss_signature(signature)
    for twin in (encode_dss_signature(r, s), encode_dss_signature(r, ORDER - s)):
        KEY.public_key().verify(low_s(twin), body, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(("r", "s"), [(0, 1), (1, 0), (ORDER, 1), (1, ORDER), (1, 2**256), (2**300, 1)])
def test_numbers_outside_of_the_order_are_no_signature(r: int, s: int) -> None:
    """Zero and anything from the order upwards can never verify."""
    with pytest.raises(InputError, match="signature: DER"):
        is_low_s(encode_dss_signature(r, s))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "3000",
        "30060201010201",
        "3006020101020101ff",
        "3007020101020101",
        "300602010102010100",
        "308106020101020101",
        "3106020101020101",
        "3006030101020101",
        "3006020101030101",
        "300702020001020101",
        "300702010102020001",
        "3006020181020101",
        "3006020101020181",
        "3006020100020101",
        "3006020101020100",
        "3004020002000000",
        "30060201ff0201ff",
        "300602ff01020101",
        "3080020101020101",
    ],
)
def test_anything_but_strict_der_is_refused(text: str) -> None:
    """Long lengths, padded or negative integers, wrong tags, bytes behind: one signature, one form."""
    with pytest.raises(InputError, match="signature: DER") as caught:
        low_s(bytes.fromhex(text))
    assert caught.value.value == text


@given(r=numbers, s=numbers, at=st.integers(0), put=st.integers(0, 255))
def test_a_changed_signature_is_refused_or_another_one(r: int, s: int, at: int, put: int) -> None:
    """Whatever is accepted is the one encoding of its two numbers."""
    der = bytearray(encode_dss_signature(r, s))
    der[at % len(der)] = put
    try:
        is_low_s(bytes(der))
    except InputError:
        return
    assert encode_dss_signature(*decode_dss_signature(bytes(der))) == bytes(der)


@given(data=st.binary(max_size=80))
def test_arbitrary_bytes_are_a_signature_or_refused(data: bytes) -> None:
    """Nothing but InputError ever comes out."""
    try:
        assert is_low_s(low_s(data))
    except InputError:
        return


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_openssl_alone_verifies_an_exported_entry(number: int, tmp_path: Path) -> None:
    """Cut the body out of the bytes, decode the signature: no canonicaliser, none of our code."""
    raw = ENTRIES[number]
    body, _, rest = raw.removeprefix(b'{"body":').rpartition(b',"sig":"')
    (tmp_path / "body").write_bytes(body)
    (tmp_path / "sig.b64").write_bytes(rest.removesuffix(b'"}') + b"\n")
    assert (
        _openssl("base64", "-d", "-A", "-in", tmp_path / "sig.b64", "-out", tmp_path / "sig").returncode == 0
    )
    key = tmp_path / "key.pem"
    _openssl("pkey", "-pubin", "-inform", "DER", "-in", FOLDER / "record.spki", "-out", key)
    verify = ("dgst", "-sha256", "-verify", key, "-signature", tmp_path / "sig", tmp_path / "body")
    assert _openssl(*verify).stdout == "Verified OK\n"
    assert (tmp_path / "body").read_bytes() == parse_entry(raw).body
    (tmp_path / "body").write_bytes(body.replace(b'"v":1}', b'"v":2}'))
    assert _openssl(*verify).returncode == 1
