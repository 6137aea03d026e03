"""A real software TPM makes attestation keys and quotes that hold, and says so where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from coldseal.core.attestation.quotes import (
    ENDORSEMENT,
    AttestationError,
    Expected,
    Quoted,
    qualified,
    verify_attestation_key,
    verify_quote,
)
from coldseal.core.attestation.structures import Public, parse_public
from coldseal.errors import OperatorError, UnavailableError
from coldseal.identity.credential import make_credential
from coldseal.signing.tpm import attesting
from coldseal.signing.tpm.attesting import TpmAttestor
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, tss
from tests.signing.machines import HANDLE
from tests.signing.software_tpm import SoftwareTpm, software_tpm

RSA_CERTIFICATE, ECC_CERTIFICATE, RSA_KEY, ECC_KEY = 0x01C00002, 0x01C0000A, 0x81010001, 0x81010002


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoftwareTpm]:
    """Give a chip as its maker delivers it."""
    with software_tpm(tmp_path_factory.mktemp("chip")) as chip:
        yield chip


@pytest.fixture
def own_chip(tmp_path: Path) -> Iterator[SoftwareTpm]:
    """Give a chip that the test may spoil."""
    with software_tpm(tmp_path) as chip:
        yield chip


def _tool(chip: SoftwareTpm, folder: Path, *command: str) -> None:
    """Run a program of tpm2-tools on a chip."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]}: apt-get install tpm2-tools")
    settings = {**os.environ, "TPM2TOOLS_TCTI": chip.tcti}
    subprocess.run(command, env=settings, cwd=folder, check=True, capture_output=True)


def _key_of(attestor: TpmAttestor) -> Public:
    """Give its attestation key."""
    return parse_public(attestor.key())


def test_the_attestation_key_is_good_and_made_once(chip: SoftwareTpm) -> None:
    """Restricted and fixed to the chip; the second time it is found."""
    attestor = TpmAttestor(chip.tcti, HANDLE)
    key = attestor.key()

    verify_attestation_key(parse_public(key))
    assert attestor.key() == key


def test_a_quote_holds_and_tells_restarts_as_they_are(chip: SoftwareTpm) -> None:
    """It stands under the endorsement hierarchy, where counts are not veiled."""
    attestor = TpmAttestor(chip.tcti, HANDLE)
    key = _key_of(attestor)
    chip.extend(16, bytes(32))
    expected = Expected(key, frozenset([qualified(ENDORSEMENT, key)]), b"asked", frozenset({0, 4}), None)
    before = verify_quote(Quoted(*attestor.quote(b"asked", (4, 0, 0)), b""), expected)
    chip.restart()
    after = verify_quote(Quoted(*attestor.quote(b"asked", (4, 0)), b""), expected)

    assert set(after.values) == {0, 4}
    assert after.clock.reset_count == before.clock.reset_count + 1
    chip.extend(16, bytes(32))
    with pytest.raises(AttestationError, match="log-mismatch"):
        verify_quote(Quoted(*attestor.quote(b"asked", (0, 4, 16)), b""), expected)


def test_many_pcrs_are_quoted_at_once(chip: SoftwareTpm) -> None:
    """More than a chip reads in one answer."""
    attestor = TpmAttestor(chip.tcti, HANDLE)
    attestor.key()
    quote = attestor.quote(b"asked", range(16))

    assert len(quote.values) == 16


def test_the_endorsement_certificate_is_for_the_endorsement_key(chip: SoftwareTpm) -> None:
    """As its maker left both."""
    endorsement = TpmAttestor(chip.tcti, HANDLE).endorsement()
    certificate = x509.load_der_x509_certificate(endorsement.certificate)

    assert certificate.public_key() == parse_public(endorsement.public).key


def test_a_secret_is_opened_by_the_chip_that_has_the_key(chip: SoftwareTpm) -> None:
    """And not for a key of another name."""
    attestor = TpmAttestor(chip.tcti, HANDLE)
    endorsement = parse_public(attestor.endorsement().public)
    good = make_credential(endorsement, _key_of(attestor).name, b"secret")
    other = make_credential(endorsement, bytes(34), b"secret")

    assert attestor.activate(*good) == b"secret"
    with pytest.raises(TpmRefusedError, match="integrity"):
        attestor.activate(*other)


@pytest.mark.parametrize("kind", ["ecc", "rsa"])
def test_the_tools_open_what_the_service_locks(chip: SoftwareTpm, tmp_path: Path, kind: str) -> None:
    """tpm2_activatecredential, with endorsement keys of each kind."""
    _tool(chip, tmp_path, "tpm2_createek", "-G", kind, "-c", "ek", "-u", "ek.pub")
    attestor = TpmAttestor(chip.tcti, HANDLE)
    credential = make_credential(
        parse_public((tmp_path / "ek.pub").read_bytes()), _key_of(attestor).name, b"!"
    )
    head = bytes.fromhex("badcc0de00000001")  # as tpm2_makecredential writes its files
    (tmp_path / "locked").write_bytes(head + credential.blob + credential.secret)
    for each in ("-t", "-s"):
        _tool(chip, tmp_path, "tpm2_flushcontext", each)
    _tool(chip, tmp_path, "tpm2_startauthsession", "--policy-session", "-S", "session")
    _tool(chip, tmp_path, "tpm2_policysecret", "-S", "session", "-c", "e")
    command = ["tpm2_activatecredential", "-c", hex(HANDLE), "-C", "ek", "-i", "locked", "-o", "opened"]
    _tool(chip, tmp_path, *command, "-P", "session:session")

    assert (tmp_path / "opened").read_bytes() == b"!"


def test_the_chip_opens_what_the_tools_lock(chip: SoftwareTpm, tmp_path: Path) -> None:
    """tpm2_makecredential, which knows nothing of us."""
    attestor = TpmAttestor(chip.tcti, HANDLE)
    (tmp_path / "ek.pub").write_bytes(attestor.endorsement().public)
    (tmp_path / "secret").write_bytes(b"locked by the tools")
    name = _key_of(attestor).name.hex()
    command = (
        "tpm2_makecredential",
        "-T",
        "none",
        "-u",
        "ek.pub",
        "-s",
        "secret",
        "-n",
        name,
        "-o",
        "locked",
    )
    _tool(chip, tmp_path, *command)
    content = (tmp_path / "locked").read_bytes()[8:]
    end = 2 + int.from_bytes(content[:2])

    assert attestor.activate(content[:end], content[end:]) == b"locked by the tools"


def test_a_handle_that_holds_no_keys_is_refused(chip: SoftwareTpm) -> None:
    """What the chip says is passed on."""
    with pytest.raises((TpmRefusedError, UnavailableError)):
        TpmAttestor(chip.tcti, 0x90000000).key()


def test_without_an_attestation_key_there_is_no_quote(chip: SoftwareTpm) -> None:
    """It is said how to make one."""
    with pytest.raises(OperatorError, match=r"no attestation key at 0x81010aff.*coldseal gateway attest"):
        TpmAttestor(chip.tcti, 0x81010AFF).quote(b"asked", (0,))


def test_a_key_that_signs_nothing_cannot_quote(chip: SoftwareTpm) -> None:
    """What the chip refuses is passed on."""
    with pytest.raises(TpmRefusedError):
        TpmAttestor(chip.tcti, RSA_KEY).quote(b"asked", (0,))


@pytest.mark.parametrize("what", ["key", "endorsement"])
def test_a_chip_that_is_away_is_unavailable(own_chip: SoftwareTpm, what: str) -> None:
    """For whatever it is asked."""
    own_chip.stop()
    with pytest.raises(UnavailableError, match="TPM"):
        getattr(TpmAttestor(own_chip.tcti, HANDLE), what)()


def test_pcrs_that_do_not_stand_still_are_told(chip: SoftwareTpm, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were extended between their reading and the quote, time and again."""
    read = attesting._values

    def extended(tpm: Any, pcrs: Any) -> dict[int, bytes]:  # noqa: ANN401 # the driver has no types
        values = read(tpm, pcrs)
        value = tss.TPMT_HA(hashAlg=tss.TPM2_ALG.SHA256, digest=tss.TPMU_HA(sha256=bytes(32)))
        tpm.esys.pcr_extend(tss.ESYS_TR(16), tss.TPML_DIGEST_VALUES([value]))
        return values

    attestor = TpmAttestor(chip.tcti, HANDLE)
    attestor.key()
    monkeypatch.setattr(attesting, "_values", extended)
    with pytest.raises(UnavailableError, match="stand still"):
        attestor.quote(b"asked", (16,))


def test_endorsement_keys_that_nobody_kept_are_made_again(own_chip: SoftwareTpm) -> None:
    """By the standard template: the same key; also where something else stands at its handle."""
    attestor = TpmAttestor(own_chip.tcti, HANDLE)
    before = attestor.endorsement()
    _evict(own_chip, RSA_KEY)
    assert attestor.endorsement() == before

    _keep_another(own_chip, RSA_KEY)
    assert attestor.endorsement() == before


def test_an_endorsement_key_on_a_curve_serves_too(own_chip: SoftwareTpm) -> None:
    """Where the maker has put no certificate for RSA."""
    attestor = TpmAttestor(own_chip.tcti, HANDLE)
    certificate = attestor.endorsement().certificate
    with open_tpm(own_chip.tcti) as tpm:
        old = tpm.persistent(RSA_CERTIFICATE)
        tpm.esys.nv_undefine_space(old, auth_handle=tss.ESYS_TR.PLATFORM)
        public = tss.TPM2B_NV_PUBLIC(
            nvPublic=tss.TPMS_NV_PUBLIC(
                nvIndex=ECC_CERTIFICATE,
                nameAlg=tss.TPM2_ALG.SHA256,
                attributes=tss.TPMA_NV.parse("ownerwrite|ownerread|authread|authwrite|no_da"),
                dataSize=len(certificate) + 9,
            )
        )
        index = tpm.esys.nv_define_space(b"", public)
        for at in range(0, len(certificate), 512):
            tpm.esys.nv_write(index, certificate[at : at + 512], at, auth_handle=tss.ESYS_TR.OWNER)
        tpm.esys.nv_write(index, b"\xff" * 9, len(certificate), auth_handle=tss.ESYS_TR.OWNER)

    endorsement = attestor.endorsement()
    assert endorsement.certificate == certificate
    locked = make_credential(parse_public(endorsement.public), parse_public(attestor.key()).name, b"secret")
    assert attestor.activate(*locked) == b"secret"


def test_a_chip_without_a_certificate_is_refused(own_chip: SoftwareTpm) -> None:
    """Nobody would know whose it is."""
    with open_tpm(own_chip.tcti) as tpm:
        index = tpm.persistent(RSA_CERTIFICATE)
        tpm.esys.nv_undefine_space(index, auth_handle=tss.ESYS_TR.PLATFORM)
    with pytest.raises(OperatorError, match="no endorsement certificate"):
        TpmAttestor(own_chip.tcti, HANDLE).endorsement()


def test_a_short_certificate_is_left_as_it_is() -> None:
    """Only room behind a usual one is cut."""
    assert attesting._first_value(b"\x30\x01x") == b"\x30\x01x"
    assert attesting._first_value(b"\x30\x82\x00\x01x\xff\xff") == b"\x30\x82\x00\x01x"


def _evict(chip: SoftwareTpm, handle: int) -> None:
    """Take a persistent object away."""
    with open_tpm(chip.tcti) as tpm:
        tpm.esys.evict_control(tss.ESYS_TR.OWNER, tpm.persistent(handle), handle)


def _keep_another(chip: SoftwareTpm, handle: int) -> None:
    """Put another key at a handle."""
    with open_tpm(chip.tcti) as tpm:
        made, *_ = tpm.esys.create_primary(tss.TPM2B_SENSITIVE_CREATE(), "ecc256")
        tpm.esys.evict_control(tss.ESYS_TR.OWNER, tpm.keep(made), handle)
