"""A TPM's structures are read in one strict way, as an independent tool made them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from coldseal.core.attestation.structures import (
    Algorithm,
    Attribute,
    NvInfo,
    QuoteInfo,
    Selection,
    name_of,
    parse_attest,
    parse_public,
    parse_signature,
)
from coldseal.errors import InputError

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "attestation.json").read_bytes()
)
ECC, RSA = VECTORS["ecc"], VECTORS["rsa"]


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_quote_is_read_as_the_tool_asked_for_it(kind: str) -> None:
    """Nonce, bank, PCRs and clock."""
    attest = parse_attest(bytes.fromhex(VECTORS[kind]["attest"]))

    assert attest.extra.hex() == VECTORS["nonce"]
    assert isinstance(attest.attested, QuoteInfo)
    assert attest.attested.selections == (Selection(Algorithm.SHA256, tuple(VECTORS["pcrs"])),)
    assert attest.clock.clock > 0
    assert attest.clock.is_safe


def test_an_nv_certification_is_read_as_the_tool_asked_for_it() -> None:
    """A counter that was raised once has at least 1."""
    attest = parse_attest(bytes.fromhex(VECTORS["nv"]["attest"]))

    assert attest.extra.hex() == VECTORS["nv"]["extra"]
    assert isinstance(attest.attested, NvInfo)
    assert attest.attested.offset == 0
    assert int.from_bytes(attest.attested.content) >= 1


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_public_area_has_the_name_that_the_chip_gave_it(kind: str) -> None:
    """The name is a hash over all that was read."""
    key = parse_public(bytes.fromhex(VECTORS[kind]["key"]))

    assert key.name.hex() == VECTORS[kind]["name"]
    assert isinstance(key.key, ec.EllipticCurvePublicKey if kind == "ecc" else rsa.RSAPublicKey)
    assert Attribute.RESTRICTED | Attribute.SIGN | Attribute.FIXED_TPM in key.attributes
    assert key.symmetric_bits == 0


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_an_endorsement_key_keeps_secrets_and_signs_nothing(kind: str) -> None:
    """Restricted decryption under AES-128 with a policy, as the standard template says."""
    key = parse_public(bytes.fromhex(VECTORS[kind]["endorsement"]))

    assert Attribute.RESTRICTED | Attribute.DECRYPT in key.attributes
    assert Attribute.SIGN not in key.attributes
    assert (key.symmetric_bits, len(key.policy)) == (128, 32)
    assert key.scheme.algorithm is Algorithm.NULL


def test_names_are_by_the_hash_of_the_key() -> None:
    """Number first, hash behind it."""
    assert name_of(Algorithm.SHA384, b"").hex().startswith("000c38b060a751ac96384cd9327eb1b1e36a21fdb711")


@pytest.mark.parametrize("field", ["attest", "key", "signature"])
@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_structure_that_is_cut_or_longer_is_refused(kind: str, field: str) -> None:
    """At every byte."""
    parse = {"attest": parse_attest, "key": parse_public, "signature": parse_signature}[field]
    whole = bytes.fromhex(VECTORS[kind][field])

    parse(whole)
    for end in range(len(whole)):
        with pytest.raises(InputError):
            parse(whole[:end])
    with pytest.raises(InputError):
        parse(whole + b"\0")


def _changed(content: str, at: int, new: str) -> bytes:
    """Write other bytes at a place."""
    whole = bytearray.fromhex(content)
    part = bytes.fromhex(new)
    whole[at : at + len(part)] = part
    return bytes(whole)


@pytest.mark.parametrize(
    ("at", "new", "field"),
    [
        (0, "ff544348", "magic"),
        (4, "8017", "type"),
        (6 + 2 + 34 + 2 + 16 + 16, "02", "clockInfo.safe"),
        (101 - 18, "00000000", "pcrSelect.count"),
        (101 - 18, "00000004", "pcrSelect.count"),
        (105 - 18, "0004", "pcrSelect.hash"),
        (105 - 18, "0010", "pcrSelect.hash"),
    ],
)
def test_a_quote_with_a_wrong_field_is_refused_by_its_name(at: int, new: str, field: str) -> None:
    """Before anybody looks at what it states."""
    assert ECC["attest"][2 * 85 : 2 * 91] == "00000001000b"[:12]
    at += 2 if at >= 80 else 0
    with pytest.raises(InputError) as caught:
        parse_attest(_changed(ECC["attest"], at, new))
    assert caught.value.field == field


def test_pcrs_beyond_the_platform_are_refused() -> None:
    """A selection of four bytes may hold 32 of them, and a platform has 24."""
    whole = bytes.fromhex(ECC["attest"])
    at = whole.index(bytes.fromhex("000b03")) + 2
    with pytest.raises(InputError, match="PCRs below 24"):
        parse_attest(whole[:at] + b"\x04\0\0\0\x01" + whole[at + 4 :])


@pytest.mark.parametrize(
    ("at", "new", "field"),
    [
        (0, "0006", "sigAlg"),
        (0, "ffff", "sigAlg"),
        (2, "0010", "hash"),
    ],
)
def test_a_signature_of_another_kind_is_refused(at: int, new: str, field: str) -> None:
    """Only ECDSA and RSA with SHA-2."""
    with pytest.raises(InputError) as caught:
        parse_signature(_changed(ECC["signature"], at, new))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("kind", "at", "new", "field"),
    [
        ("ecc", 2, "0006", "type"),
        ("ecc", 4, "0010", "nameAlg"),
        ("ecc", 6, "80000000", "objectAttributes"),
        ("ecc", 18, "0005", "curveID"),
        ("ecc", 20, "0017", "kdf"),
        ("ecc", 24, "00" * 32, "unique"),
        ("rsa", 18, "0400", "keyBits"),
        ("rsa", 20, "00000002", "exponent"),
        ("rsa", 26, "00", "keyBits"),
    ],
)
def test_a_key_with_a_wrong_field_is_refused_by_its_name(kind: str, at: int, new: str, field: str) -> None:
    """What was not foreseen is not guessed."""
    with pytest.raises(InputError) as caught:
        parse_public(_changed(VECTORS[kind]["key"], at, new))
    assert caught.value.field == field


@pytest.mark.parametrize(("at", "new"), [(44, "0016"), (46, "0040"), (48, "000b")])
def test_a_storage_key_with_another_cipher_is_refused(at: int, new: str) -> None:
    """AES in CFB mode of 128 or 256 bits, as the chip's own keys have it."""
    whole = ECC["endorsement"]
    assert whole[88:100] == "000600800043"
    with pytest.raises(InputError) as caught:
        parse_public(_changed(whole, at, new))
    assert caught.value.field == "symmetric"
