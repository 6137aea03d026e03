"""What a TPM does for us, with a real one in software: restricted keys, sealed secrets, a counter."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from coldseal.core.attestation.structures import GENERATED, NvInfo, parse_attest
from coldseal.errors import OperatorError, UnavailableError
from coldseal.signing.holders import make_held, open_counter
from coldseal.signing.keys import generate_record_key, open_ecdsa, write_private_key
from coldseal.signing.private_files import write_private_file
from coldseal.signing.secrets import read_secret, read_symmetric_key
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, storage_key, tss
from coldseal.signing.tpm.keys import der_signature, open_key
from coldseal.signing.tpm.sealing import (
    MAX_SECRET,
    PCRS,
    encode_sealed,
    parse_sealed,
    policy_of,
    read_pcrs,
    seal,
    unseal,
)
from coldseal.signing.uris import TpmUri, parse_tpm
from tests.signing.software_tpm import SoftwareTpm, software_tpm

UNRESTRICTED = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda"
ECDSA = ec.ECDSA(hashes.SHA256())
SECRET = b"5a" * 32
UPDATE = b"\x11" * 32


@pytest.fixture(autouse=True)
def _reset(chip: SoftwareTpm) -> None:
    """Begin with the PCRs of a fresh boot."""
    chip.restart()


def make_other(chip: SoftwareTpm, kind: str, attributes: str) -> TpmUri:
    """Put a key of another kind into the chip, as somebody else would."""
    handle = chip.new_handle()
    with open_tpm(chip.tcti) as tpm:
        template = tss.TPM2B_PUBLIC.parse(kind, objectAttributes=attributes)
        key = tpm.keep(tpm.esys.create_primary(tss.TPM2B_SENSITIVE_CREATE(), template)[0])
        tpm.esys.evict_control(tss.ESYS_TR.OWNER, key, handle)
    return TpmUri(chip.tcti, handle, Path())


def forged_attestation() -> bytes:
    """Write a statement that only a chip may make: that a counter stands at 7."""
    body = GENERATED.to_bytes(4) + bytes.fromhex("8014") + bytes(2) + bytes(2) + bytes(17) + bytes(8)
    content = b"\x00\x02NX" + bytes(2) + b"\x00\x08" + (7).to_bytes(8)
    assert parse_attest(body + content).attested == NvInfo(b"NX", 0, (7).to_bytes(8))
    return body + content


def test_an_unrestricted_key_signs_a_forged_attestation_and_ours_refuses(chip: SoftwareTpm) -> None:
    """The forgery verifies like a true one: so such a key is refused when it is opened."""
    forged = forged_attestation()
    unrestricted = make_other(chip, "ecc256:ecdsa-sha256", UNRESTRICTED)
    with open_tpm(chip.tcti) as tpm:
        key = tpm.persistent(unrestricted.handle or 0)
        scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL)
        ticket = tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL)
        made = tpm.esys.sign(key, hashlib.sha256(forged).digest(), scheme, ticket)
        public = load_der_public_key(bytes(tpm.esys.read_public(key)[0].to_der()))
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(der_signature(made), forged, ECDSA)
    with pytest.raises(OperatorError, match="not a restricted P-256 signing key"):
        open_key(unrestricted)
    ours = parse_tpm(f"tpm:{chip.new_handle():#x}?tcti={chip.tcti}", Path())
    make_held(f"tpm:{ours.handle:#x}?tcti={chip.tcti}", Path())
    for text in (forged, forged + bytes(2_000)):
        with pytest.raises(TpmRefusedError, match="ticket"):
            open_key(ours).sign(text)
        with pytest.raises(UnavailableError, match="refused"):
            open_ecdsa(f"tpm:{ours.handle:#x}?tcti={chip.tcti}", base=Path()).sign(text)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("rsa2048:rsassa-sha256:null", f"{UNRESTRICTED}|restricted"),
        ("ecc384:ecdsa-sha384:null", f"{UNRESTRICTED}|restricted"),
        ("ecc256:aes128cfb", UNRESTRICTED.replace("|sign", "|restricted|decrypt")),
    ],
    ids=["rsa", "p384", "storage"],
)
def test_a_key_of_another_kind_is_refused(chip: SoftwareTpm, kind: str, attributes: str) -> None:
    """The log's keys are P-256, restricted, for signing alone."""
    with pytest.raises(OperatorError, match="not a restricted P-256 signing key"):
        open_key(make_other(chip, kind, attributes))


def test_a_key_that_is_not_there_is_named(chip: SoftwareTpm, tmp_path: Path) -> None:
    """Nothing at a handle; a file that is none; a wrapped key of another chip."""
    with pytest.raises(OperatorError, match="holds no key at 0x8100ffff"):
        open_key(TpmUri(chip.tcti, 0x8100FFFF, Path()))
    write_private_file(tmp_path / "none.tss", b"-----BEGIN TSS2 PRIVATE KEY-----\nAAAA\n")
    with pytest.raises(OperatorError, match="holds no wrapped key"):
        open_key(TpmUri(chip.tcti, None, tmp_path / "none.tss"))
    with software_tpm(tmp_path / "other") as other:
        make_held(f"tpm:key={tmp_path}/k.tss?tcti={other.tcti}", tmp_path)
    with pytest.raises(OperatorError, match="belongs to the chip that made it"):
        open_key(TpmUri(chip.tcti, None, tmp_path / "k.tss"))


@pytest.mark.parametrize("kind", ["persistent", "wrapped"])
def test_a_key_with_a_value_of_its_own_signs_for_nobody_else(
    chip: SoftwareTpm, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reaches the chip, but not the file: refused, at the start where a wrong value is given."""
    write_private_file(tmp_path / "auth", b"correct horse battery staple\n")
    write_private_file(tmp_path / "other", b"another value")
    monkeypatch.setenv("COLDSEAL_TEST_AUTH", "correct horse battery staple")
    place = f"tpm:{chip.new_handle():#x}" if kind == "persistent" else "tpm:key=k.tss"
    made = make_held(f"{place}?auth=file:auth&tcti={chip.tcti}", tmp_path)
    assert b"horse" not in repr(made.__dict__).encode()

    for reference in ("file:auth", "env:COLDSEAL_TEST_AUTH"):
        key = open_ecdsa(f"{place}?tcti={chip.tcti}&auth={reference}", base=tmp_path)
        public = load_der_public_key(key.spki)
        assert isinstance(public, ec.EllipticCurvePublicKey)
        public.verify(key.sign(b"text"), b"text", ECDSA)
    with pytest.raises(OperatorError, match="does not take what file:other holds"):
        open_ecdsa(f"{place}?auth=file:other&tcti={chip.tcti}", base=tmp_path)
    without = parse_tpm(f"{place}?tcti={chip.tcti}", tmp_path)
    with pytest.raises(TpmRefusedError):
        open_key(without).sign(b"text")


def test_a_value_for_a_key_that_asks_for_none_is_told(chip: SoftwareTpm, tmp_path: Path) -> None:
    """So nobody believes that the key is guarded."""
    place = f"tpm:{chip.new_handle():#x}"
    make_held(f"{place}?tcti={chip.tcti}", tmp_path)
    write_private_file(tmp_path / "auth", b"value")
    with pytest.raises(OperatorError, match="does not take"):
        open_ecdsa(f"{place}?tcti={chip.tcti}&auth=file:auth", base=tmp_path)


def test_a_value_that_no_chip_takes_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    """The value itself is not shown."""
    write_private_file(tmp_path / "auth", b"x" * 33)
    with pytest.raises(OperatorError, match="has 33 bytes") as caught:
        make_held("tpm:0x81008001?auth=file:auth&tcti=nowhere", tmp_path)
    assert "xxx" not in str(caught.value)


def test_another_refusal_at_the_start_is_said_as_what_it_is(
    chip: SoftwareTpm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every no of the chip is about the value."""
    write_private_file(tmp_path / "auth", b"value")
    monkeypatch.setattr("coldseal.signing.tpm.keys._PROBE", forged_attestation())
    with pytest.raises(TpmRefusedError, match="ticket"):
        make_held(f"tpm:{chip.new_handle():#x}?tcti={chip.tcti}&auth=file:auth", tmp_path)


def test_a_value_counts_for_the_counter_too(chip: SoftwareTpm, tmp_path: Path) -> None:
    """The same key certifies it."""
    write_private_file(tmp_path / "auth", b"a value of the key")
    uri = f"tpm:{chip.new_handle():#x}?tcti={chip.tcti}&auth=file:auth"
    made = make_held(uri, tmp_path)
    counter = open_counter(uri, tmp_path, f"{0x01800000 + chip.new_handle() - 0x81008000:#x}")
    counter.define()
    value = counter.increment()
    stated = counter.certify(bytes(32))
    public = load_der_public_key(made.spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(stated.signature, stated.attest, ECDSA)
    assert isinstance(attested := parse_attest(stated.attest).attested, NvInfo)
    assert int.from_bytes(attested.content) == value


def test_a_chip_that_refuses_to_make_a_key_says_so(chip: SoftwareTpm) -> None:
    """A handle of the platform's range is not the owner's to give."""
    with pytest.raises(TpmRefusedError):
        make_held(f"tpm:0x81ffffff?tcti={chip.tcti}", Path())


def test_a_wrapped_key_is_one_of_tpm2_openssl_too(chip: SoftwareTpm, tmp_path: Path) -> None:
    """The same form and the same storage key: OpenSSL's ASN.1 reader shows its object identifier."""
    make_held(f"tpm:key=k.tss?tcti={chip.tcti}", tmp_path)
    shown = subprocess.run(
        ["openssl", "asn1parse", "-in", "k.tss"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "2.23.133.10.1.3" in shown.stdout
    with open_tpm(chip.tcti) as tpm:
        name = bytes(tpm.esys.tr_get_name(storage_key(tpm)))
        whole = tss.TPM2B_PUBLIC(publicArea=tss.tsskey._parent_ecc_template)
        again = tpm.keep(tpm.esys.create_primary(tss.TPM2B_SENSITIVE_CREATE(), whole)[0])
        assert bytes(tpm.esys.tr_get_name(again)) == name


def test_a_secret_opens_in_the_state_that_it_was_sealed_for(chip: SoftwareTpm, tmp_path: Path) -> None:
    """Also after a restart; not once a PCR is another, and then the message says which, and what to do."""
    now = read_pcrs(chip.tcti, PCRS)
    write_private_file(tmp_path / "s", encode_sealed(seal(chip.tcti, SECRET, [now])))
    reference = f"tpm:seal=s?tcti={chip.tcti}"
    assert read_symmetric_key(reference, tmp_path) == bytes.fromhex(SECRET.decode())
    chip.restart()
    assert read_secret(reference, tmp_path) == SECRET
    chip.extend(4, UPDATE)
    with pytest.raises(OperatorError, match=r"PCR 4 is not as it was sealed for.*escrowed copy"):
        read_secret(reference, tmp_path)
    chip.restart()
    assert read_secret(reference, tmp_path) == SECRET
    chip.stop()
    with pytest.raises(UnavailableError):
        read_secret(reference, tmp_path)
    chip.start()


def test_a_planned_update_is_sealed_for_beforehand(chip: SoftwareTpm) -> None:
    """Both states open it, a third does not."""
    now = read_pcrs(chip.tcti, PCRS)
    coming = {**now, 4: hashlib.sha256(bytes(32) + UPDATE).hexdigest()}
    sealed = parse_sealed(encode_sealed(seal(chip.tcti, SECRET, [now, coming])), where="here")
    assert unseal(chip.tcti, sealed) == SECRET
    chip.extend(4, UPDATE)
    assert unseal(chip.tcti, sealed) == SECRET
    chip.extend(4, UPDATE)
    with pytest.raises(OperatorError, match="PCR 4"):
        unseal(chip.tcti, sealed)


def test_the_policy_is_the_chip_s_own(chip: SoftwareTpm) -> None:
    """A trial session computes the same digest."""
    now = read_pcrs(chip.tcti, (0, 7))
    with open_tpm(chip.tcti) as tpm:
        null = tss.TPMT_SYM_DEF(algorithm=tss.TPM2_ALG.NULL)
        none = tss.ESYS_TR.NONE
        trial = tpm.keep(
            tpm.esys.start_auth_session(none, none, tss.TPM2_SE.TRIAL, null, tss.TPM2_ALG.SHA256)
        )
        tpm.esys.policy_pcr(trial, b"", tss.TPML_PCR_SELECTION.parse("sha256:0,7"))
        assert bytes(tpm.esys.policy_get_digest(trial)) == policy_of((now,))


def test_a_sealed_secret_of_another_chip_or_a_changed_one_does_not_open(
    chip: SoftwareTpm, tmp_path: Path
) -> None:
    """The file alone is worth nothing."""
    sealed = seal(chip.tcti, SECRET, [read_pcrs(chip.tcti, PCRS)])
    with software_tpm(tmp_path / "other") as other, pytest.raises(OperatorError, match="did not seal"):
        unseal(other.tcti, sealed)
    flipped = sealed.private[:-1] + bytes((sealed.private[-1] ^ 1,))
    with pytest.raises(OperatorError, match="did not seal"):
        unseal(chip.tcti, type(sealed)(sealed.branches, sealed.public, flipped))
    short = type(sealed)(sealed.branches, sealed.public[:2] + bytes(4), sealed.private)
    with pytest.raises(OperatorError):
        unseal(chip.tcti, short)


@pytest.mark.parametrize("secret", [b"", bytes(MAX_SECRET + 1)], ids=["empty", "long"])
def test_a_secret_that_no_chip_seals_is_refused(chip: SoftwareTpm, secret: bytes) -> None:
    """A key file does not fit; its passphrase does."""
    with pytest.raises(OperatorError, match="a TPM seals 1 to 128"):
        seal(chip.tcti, secret, [read_pcrs(chip.tcti, PCRS)])


@pytest.mark.parametrize(
    "content", [b"{}", b"x", b"[]", b'{"form":"other"}', b'{"form":"coldseal sealed secret v1","pcrs":3}']
)
def test_a_file_that_holds_no_sealed_secret_is_named(content: bytes) -> None:
    """Whatever is in it."""
    with pytest.raises(OperatorError, match="here holds no sealed secret"):
        parse_sealed(content, where="here")


def test_a_pcr_that_is_none_is_named(chip: SoftwareTpm) -> None:
    """A chip for a PC has 24."""
    with pytest.raises(OperatorError, match=r"no PCR 25|refused"):
        read_pcrs(chip.tcti, [25])


def test_a_secret_by_the_chip_guards_a_key_file(chip: SoftwareTpm, tmp_path: Path) -> None:
    """The record key stays in software: its passphrase is what the chip gives out."""
    key = generate_record_key()
    write_private_key(tmp_path / "record.pem", key, passphrase=SECRET)
    content = encode_sealed(seal(chip.tcti, SECRET, [read_pcrs(chip.tcti, PCRS)]))
    write_private_file(tmp_path / "pass", content)
    uri = f"file:record.pem?passphrase=tpm:seal=pass?tcti={chip.tcti}"
    assert open_ecdsa(uri, base=tmp_path).sign(b"text")
    chip.extend(0, UPDATE)
    with pytest.raises(OperatorError, match="PCR 0"):
        open_ecdsa(uri, base=tmp_path)


def test_without_the_driver_a_sealed_secret_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for the counter."""
    write_private_file(tmp_path / "s", b"{}")
    monkeypatch.setitem(sys.modules, "coldseal.signing.tpm.sealing", None)
    monkeypatch.setitem(sys.modules, "coldseal.signing.tpm.counter", None)
    with pytest.raises(OperatorError, match=r"coldseal\[tpm\]"):
        read_secret("tpm:seal=s", tmp_path)
    with pytest.raises(OperatorError, match=r"coldseal\[tpm\]"):
        open_counter("tpm:0x81008001", tmp_path, "0x01800010")


def test_a_counter_only_goes_up_and_is_certified(chip: SoftwareTpm) -> None:
    """Removed and made again it goes on above; the statement is the chip's, over our hash."""
    uri = f"tpm:{chip.new_handle():#x}?tcti={chip.tcti}"
    make_held(uri, Path())
    index = 0x01800000 + chip.new_handle() - 0x81008000
    counter = open_counter(uri, Path(), f"{index:#x}")
    assert counter.read() is None
    counter.define()
    with pytest.raises(TpmRefusedError):
        counter.define()
    assert counter.read() == 0
    first = counter.increment()
    assert counter.increment() == first + 1 == counter.read()
    stated = counter.certify(hashlib.sha256(b"checkpoint").digest())
    found = parse_attest(stated.attest)
    assert isinstance(found.attested, NvInfo)
    assert int.from_bytes(found.attested.content) == first + 1
    assert found.extra == hashlib.sha256(b"checkpoint").digest()
    public = load_der_public_key(open_ecdsa(uri, base=Path()).spki)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    public.verify(stated.signature, stated.attest, ECDSA)
    with pytest.raises(InvalidSignature):
        public.verify(stated.signature, stated.attest[:-1] + b"\xff", ECDSA)
    with open_tpm(chip.tcti) as tpm:
        tpm.esys.nv_undefine_space(tpm.persistent(index), tss.ESYS_TR.OWNER)
    counter.define()
    assert counter.increment() == first + 2


def test_an_index_of_another_kind_is_no_counter(chip: SoftwareTpm) -> None:
    """The certificate of the endorsement key stands at the first; the second is another owner's."""
    with pytest.raises(OperatorError, match="holds no counter"):
        open_counter(f"tpm:0x81008001?tcti={chip.tcti}", Path(), "0x01c00002").read()
    index = 0x01800000 + chip.new_handle() - 0x81008000
    public = tss.TPMS_NV_PUBLIC(
        nvIndex=index,
        nameAlg=tss.TPM2_ALG.SHA256,
        attributes=tss.TPMA_NV.parse("nt=1|ownerread|ownerwrite|no_da"),
        dataSize=8,
    )
    with open_tpm(chip.tcti) as tpm:
        made = tpm.esys.nv_define_space(b"", tss.TPM2B_NV_PUBLIC(public), tss.ESYS_TR.OWNER)
        tpm.esys.nv_increment(made, tss.ESYS_TR.OWNER)
    with pytest.raises(TpmRefusedError):
        open_counter(f"tpm:0x81008001?tcti={chip.tcti}", Path(), f"{index:#x}").read()


def test_a_conversation_leaves_nothing_in_the_chip(chip: SoftwareTpm, tmp_path: Path) -> None:
    """Its three slots are free again after any number of them, also where one fails."""
    make_held(f"tpm:key=k.tss?tcti={chip.tcti}", tmp_path)
    signer = open_ecdsa(f"tpm:key=k.tss?tcti={chip.tcti}", base=tmp_path)
    for _ in range(5):
        signer.sign(b"text")
        with pytest.raises(UnavailableError):
            signer.sign(forged_attestation())
    with open_tpm(chip.tcti) as tpm:
        _, found = tpm.esys.get_capability(tss.TPM2_CAP.HANDLES, 0x80000000, 8)
        assert found.data.handles.count == 0


def test_a_chip_that_dies_within_a_conversation_is_away(chip: SoftwareTpm) -> None:
    """What it had loaded is lost with it."""

    def lose() -> None:
        with open_tpm(chip.tcti) as tpm:
            storage_key(tpm)
            chip.stop()
            tpm.esys.get_random(8)

    with pytest.raises(UnavailableError):
        lose()
    chip.start()
