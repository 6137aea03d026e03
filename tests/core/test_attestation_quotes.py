"""A quote holds only as the bound chip made it, for this question, over these PCRs, and not from earlier."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from coldseal.core.attestation.quotes import (
    CLOCK_LOSS_MS,
    ENDORSEMENT,
    AttestationError,
    Expected,
    Quoted,
    qualified,
    question,
    verify_attestation_key,
    verify_clock,
    verify_quote,
    verify_signature,
)
from coldseal.core.attestation.structures import (
    Algorithm,
    Attribute,
    ClockInfo,
    Public,
    Scheme,
    Signature,
    parse_public,
    parse_signature,
)
from coldseal.errors import InputError
from tests.core.event_log import BLOB, Told, write_log
from tests.core.test_attestation_structures import VECTORS

TOLD = (Told(0, BLOB, b"", b"firmware"), Told(4, BLOB, b"", b"kernel"))
"""What the tool measured before it quoted."""


def _key(kind: str) -> Public:
    """Give the attestation key of a vector."""
    return parse_public(bytes.fromhex(VECTORS[kind]["key"]))


def _quoted(kind: str, **changes: Any) -> Quoted:  # noqa: ANN401 # fields of several types
    """Give a vector as a machine would send it."""
    vector = VECTORS[kind]
    values = {int(pcr): bytes.fromhex(value) for pcr, value in vector["values"].items()}
    quoted = Quoted(
        bytes.fromhex(vector["attest"]), bytes.fromhex(vector["signature"]), values, write_log(TOLD)
    )
    return quoted._replace(**changes)


def _expected(kind: str, **changes: Any) -> Expected:  # noqa: ANN401 # fields of several types
    """Give what the vector holds against: its key is a child of the endorsement key."""
    key, above = _key(kind), parse_public(bytes.fromhex(VECTORS[kind]["endorsement"]))
    signers = frozenset([qualified(qualified(ENDORSEMENT, above), key)])
    nonce = bytes.fromhex(VECTORS["nonce"])
    return Expected(key, signers, nonce, frozenset({0, 4, 7}), None)._replace(**changes)


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_a_quote_of_another_tool_holds(kind: str) -> None:
    """With the event log that makes its PCRs."""
    verified = verify_quote(_quoted(kind), _expected(kind))

    assert verified.values[1] == bytes(32)
    assert verified.log.events[1].pcr == 4
    assert verified.clock.clock > 0
    assert verified.firmware > 0


def test_every_single_flipped_bit_is_refused() -> None:
    """Of the statement and of its signature, one after the other."""
    quoted, expected = _quoted("ecc"), _expected("ecc")
    tries = 0
    for field in ("attest", "signature"):
        whole: bytes = getattr(quoted, field)
        for bit in range(8 * len(whole)):
            flipped = bytearray(whole)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises((AttestationError, InputError)):
                verify_quote(_quoted("ecc", **{field: bytes(flipped)}), expected)
            tries += 1
    assert tries == 8 * (129 + 72)


@pytest.mark.parametrize(
    ("changes", "against", "verdict"),
    [
        pytest.param({}, {"key": _key("rsa")}, "bad-signature", id="another kind of key"),
        pytest.param({}, {"signers": frozenset()}, "wrong-signer", id="key of another place"),
        pytest.param({}, {"question": b"another"}, "wrong-nonce", id="another question"),
        pytest.param({}, {"pcrs": frozenset({0, 14})}, "wrong-pcrs", id="a needed PCR is missing"),
        pytest.param({"values": {0: bytes(32)}}, {}, "wrong-pcrs", id="values of other PCRs"),
        pytest.param(
            {"values": dict.fromkeys(VECTORS["pcrs"], bytes(32))}, {}, "wrong-values", id="values made up"
        ),
        pytest.param({"log": b""}, {}, "log-mismatch", id="no log"),
        pytest.param({"log": write_log(TOLD[:1])}, {}, "log-mismatch", id="an event cut off"),
        pytest.param({"log": write_log(TOLD[::-1] + TOLD[:1])}, {}, "log-mismatch", id="an event doubled"),
        pytest.param(
            {}, {"last": ClockInfo(2**50, 1, 0, is_safe=True)}, "clock-back", id="the clock stood later"
        ),
    ],
)
def test_what_does_not_hold_is_refused_with_its_own_reason(
    changes: dict[str, Any], against: dict[str, Any], verdict: str
) -> None:
    """So that whoever looks knows where to look."""
    with pytest.raises(AttestationError) as caught:
        verify_quote(_quoted("ecc", **changes), _expected("ecc", **against))
    assert caught.value.verdict == verdict


def test_a_quote_by_another_chip_is_refused() -> None:
    """The same statement, signed by a key that is not bound."""
    stranger, attest = ec.generate_private_key(ec.SECP256R1()), bytes.fromhex(VECTORS["ecc"]["attest"])

    with pytest.raises(AttestationError, match="bad-signature"):
        verify_quote(_quoted("ecc", signature=_signed(stranger, attest)), _expected("ecc"))


def test_a_certified_counter_is_no_quote() -> None:
    """Though the same key signed it."""
    vector = VECTORS["nv"]
    quoted = _quoted(
        "ecc", attest=bytes.fromhex(vector["attest"]), signature=bytes.fromhex(vector["signature"])
    )
    with pytest.raises(AttestationError) as caught:
        verify_quote(quoted, _expected("ecc", question=bytes.fromhex(vector["extra"])))
    assert caught.value.verdict == "not-a-quote"


@pytest.mark.parametrize(
    ("selection", "pcrs"),
    [
        pytest.param("00000002000b039f0000000b03000000", frozenset({0}), id="two banks"),
        pytest.param("00000001000b03000000", frozenset(), id="no PCR at all"),
    ],
)
def test_only_one_bank_with_pcrs_is_taken(selection: str, pcrs: frozenset[int]) -> None:
    """A statement over anything else says nothing about the boot."""
    key, made = _own_key()
    whole = bytes.fromhex(VECTORS["ecc"]["attest"])
    at = whole.index(bytes.fromhex("00000001000b03"))
    attest = whole[:at] + bytes.fromhex(selection) + whole[at + 10 :]

    with pytest.raises(AttestationError) as caught:
        verify_quote(
            _quoted("ecc", attest=attest, signature=_signed(key, attest)),
            _expected("ecc", key=made, pcrs=pcrs),
        )
    assert caught.value.verdict == "wrong-pcrs"


def test_a_question_is_of_one_gateway_and_one_nonce() -> None:
    """Neither can be taken for another."""
    asked = {question(gateway, nonce) for gateway in ("gw-1", "gw-2") for nonce in (b"a", b"b")}
    asked |= {question("gw-1", b"a", "recovery")}

    assert len(asked) == 5
    assert question("gw-1", b"a") == hashlib.sha256(b"coldseal attestation v1\0session\0gw-1\0a").digest()


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_the_tools_attestation_keys_are_good(kind: str) -> None:
    """Restricted, made in the chip, fixed to it."""
    verify_attestation_key(_key(kind))


def test_a_key_that_signs_what_others_made_up_is_refused() -> None:
    """An unrestricted key of the same chip signs a forged statement."""
    with pytest.raises(AttestationError, match=r"bad-attestation-key.*RESTRICTED"):
        verify_attestation_key(parse_public(bytes.fromhex(VECTORS["unrestricted"])))


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_an_endorsement_key_is_no_attestation_key(kind: str) -> None:
    """It decrypts."""
    with pytest.raises(AttestationError, match="bad-attestation-key"):
        verify_attestation_key(parse_public(bytes.fromhex(VECTORS[kind]["endorsement"])))


@pytest.mark.parametrize(
    "lacking",
    [Attribute.FIXED_TPM, Attribute.FIXED_PARENT, Attribute.SENSITIVE_DATA_ORIGIN, Attribute.SIGN],
    ids=lambda each: str(each.name),
)
def test_a_key_that_could_leave_its_chip_is_refused(lacking: Attribute) -> None:
    """Each of the marks is needed."""
    key = _key("ecc")
    with pytest.raises(AttestationError, match="bad-attestation-key"):
        verify_attestation_key(key._replace(attributes=key.attributes & ~lacking))


@pytest.mark.parametrize(
    "scheme",
    [
        Scheme(Algorithm.NULL, Algorithm.NULL),
        Scheme(Algorithm.ECDSA, Algorithm.NULL),
        Scheme(Algorithm.RSASSA, Algorithm.SHA256),
    ],
    ids=lambda each: f"{each[0].name}-{each[1].name}",
)
def test_a_key_that_signs_in_any_way_is_refused(scheme: Scheme) -> None:
    """Its way of signing is fixed when it is made."""
    with pytest.raises(AttestationError, match="bad-attestation-key"):
        verify_attestation_key(_key("ecc")._replace(scheme=scheme))


def test_a_pss_signature_holds_too() -> None:
    """Some chips sign so."""
    own = rsa.generate_private_key(65_537, 2048)
    key = _key("rsa")._replace(key=own.public_key(), scheme=Scheme(Algorithm.RSAPSS, Algorithm.SHA256))
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    signature = Signature(*key.scheme, (own.sign(b"said", pss, hashes.SHA256()),))

    verify_signature(key, b"said", signature)
    with pytest.raises(AttestationError, match="bad-signature"):
        verify_signature(key, b"said otherwise", signature)


def test_a_signature_with_longer_numbers_is_refused() -> None:
    """They have one width."""
    signature = parse_signature(bytes.fromhex(VECTORS["ecc"]["signature"]))
    longer = signature._replace(numbers=(b"\0" + signature.numbers[0], signature.numbers[1]))

    with pytest.raises(AttestationError, match="longer than 32 bytes"):
        verify_signature(_key("ecc"), bytes.fromhex(VECTORS["ecc"]["attest"]), longer)


LAST = ClockInfo(10_000_000, 5, 2, is_safe=True)


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param(LAST, id="the same"),
        pytest.param(LAST._replace(clock=10_000_001), id="later"),
        pytest.param(ClockInfo(10_000_001, 5, 3, is_safe=True), id="woken up"),
        pytest.param(ClockInfo(10_000_000, 6, 0, is_safe=True), id="started anew"),
        pytest.param(ClockInfo(10_000_000 - CLOCK_LOSS_MS, 6, 0, is_safe=False), id="after a power cut"),
    ],
)
def test_a_chips_time_that_went_on_is_taken(clock: ClockInfo) -> None:
    """A power cut may cost what was not written down yet."""
    verify_clock(clock, LAST)


@pytest.mark.parametrize(
    "clock",
    [
        pytest.param(LAST._replace(clock=9_999_999), id="earlier"),
        pytest.param(ClockInfo(11_000_000, 4, 9, is_safe=True), id="fewer starts"),
        pytest.param(ClockInfo(11_000_000, 5, 1, is_safe=True), id="fewer wakings"),
        pytest.param(ClockInfo(9_999_999, 6, 0, is_safe=True), id="earlier after an orderly start"),
        pytest.param(ClockInfo(9_999_999 - CLOCK_LOSS_MS, 6, 0, is_safe=False), id="more than a cut costs"),
        pytest.param(LAST._replace(clock=9_999_999, is_safe=False), id="unsafe without a start"),
    ],
)
def test_a_chips_time_that_went_back_is_refused(clock: ClockInfo) -> None:
    """It was cleared, or its state was put back."""
    with pytest.raises(AttestationError, match="clock-back"):
        verify_clock(clock, LAST)


def test_thousands_of_quotes_are_verified_in_a_second() -> None:
    """At least five hundred here, whatever else the machine does."""
    quoted, expected = _quoted("ecc"), _expected("ecc")
    began = time.process_time()
    for _ in range(200):
        verify_quote(quoted, expected)
    assert 200 / (time.process_time() - began) > 500


def _own_key() -> tuple[ec.EllipticCurvePrivateKey, Public]:
    """Make a key outside of any chip that claims to be the vector's."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key, _key("ecc")._replace(key=key.public_key())


def _signed(key: ec.EllipticCurvePrivateKey, content: bytes) -> bytes:
    """Sign as a chip lays it out."""
    r, s = decode_dss_signature(key.sign(content, ec.ECDSA(hashes.SHA256())))
    return bytes.fromhex("0018000b") + b"".join(b"\0\x20" + each.to_bytes(32) for each in (r, s))
