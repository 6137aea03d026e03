"""Secrets that a TPM gives out only while the machine has booted what it was sealed for.

Promise: a sealed secret opens in its own chip alone, with the PCRs of one of its branches, and crosses the
bus encrypted. A planned update is sealed for beforehand, as a second branch. Reads and writes no file.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coldseal.core.log import canonical
from coldseal.errors import OperatorError
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, storage_key, tss

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coldseal.signing.tpm.door import Tpm

PCRS: Final = (0, 2, 4, 7)
"""Firmware, its options, the boot loader, and the state of secure boot."""

MAX_SECRET: Final = 128
"""Bytes that a TPM seals at most (MAX_SYM_DATA)."""

FORM: Final = "coldseal sealed secret v1"
_ATTRIBUTES: Final = "fixedtpm|fixedparent|noda"
_CHANGED: Final = {0x84, 0x9D, 0x128}
"""TPM_RC_VALUE (of PolicyOR), TPM_RC_POLICY_FAIL, TPM_RC_PCR_CHANGED."""
_FOREIGN: Final = {0x9F}
"""TPM_RC_INTEGRITY: the blob was wrapped by another chip, or changed."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """A sealed secret, as its file holds it.

    Attributes:
        branches: for each state of the machine in which it opens: PCR → value of its SHA-256 bank, hex.
        public: the object's public area, marshalled.
        private: its private area, wrapped by the chip.
    """

    branches: tuple[Mapping[int, str], ...]
    public: bytes
    private: bytes


def seal(tcti: str, secret: bytes, branches: Iterable[Mapping[int, str]]) -> Sealed:
    """Seal a secret.

    Args:
        tcti: the way to the chip.
        secret: 1 to 128 bytes.
        branches: as in `Sealed`; one or two.

    Raises:
        OperatorError: the secret is too long for a chip, or the chip refuses.
        UnavailableError: the chip is away.
    """
    if not 0 < len(secret) <= MAX_SECRET:
        what = f"the secret has {len(secret)} bytes, a TPM seals 1 to {MAX_SECRET}"
        raise OperatorError(what, "Seal a key or a passphrase, not a whole key file")
    kept = tuple({pcr: each[pcr] for pcr in sorted(each)} for each in branches)
    template = tss.TPM2B_PUBLIC.parse("keyedhash", objectAttributes=_ATTRIBUTES, authPolicy=policy_of(kept))
    sensitive = tss.TPM2B_SENSITIVE_CREATE(tss.TPMS_SENSITIVE_CREATE(data=tss.TPM2B_SENSITIVE_DATA(secret)))
    with open_tpm(tcti) as tpm:
        parent = storage_key(tpm)
        session = _session(tpm, parent, tss.TPM2_SE.HMAC, tss.TPMA_SESSION.DECRYPT)
        private, public, *_ = tpm.esys.create(parent, sensitive, template, session1=session)
    return Sealed(kept, bytes(public.marshal()), bytes(private.marshal()))


def unseal(tcti: str, sealed: Sealed) -> bytes:
    """Open a sealed secret.

    Raises:
        OperatorError: the machine booted something else, the chip is another one, or the blob was changed.
        UnavailableError: the chip is away.
    """
    try:
        with open_tpm(tcti) as tpm:
            parent = storage_key(tpm)
            found = tpm.esys.load(
                parent,
                tss.TPM2B_PRIVATE.unmarshal(sealed.private)[0],
                tss.TPM2B_PUBLIC.unmarshal(sealed.public)[0],
            )
            session = _session(tpm, parent, tss.TPM2_SE.POLICY, tss.TPMA_SESSION.ENCRYPT)
            _satisfy(tpm, session, sealed)
            return bytes(tpm.esys.unseal(tpm.keep(found), session1=session))
    except TpmRefusedError as error:
        if error.code in _CHANGED:
            changed = ", ".join(str(pcr) for pcr in _differing(tcti, sealed))
            what = f"the TPM gives the secret not out: PCR {changed} is not as it was sealed for"
            raise OperatorError(what, RECOVERY) from error
        if error.code in _FOREIGN:
            raise OperatorError(
                "this TPM did not seal the secret, or the file was changed", RECOVERY
            ) from error
        raise


RECOVERY: Final = (
    "Find out what was changed in firmware or boot loader; if it was meant, seal the escrowed copy anew: "
    "coldseal identity key seal COPY (how-to: hardware-keys)"
)


def read_pcrs(tcti: str, pcrs: Iterable[int]) -> dict[int, str]:
    """Read the PCRs of the SHA-256 bank, hex.

    Raises:
        OperatorError: the chip has no such bank, or a PCR is none.
        UnavailableError: the chip is away.
    """
    found: dict[int, str] = {}
    with open_tpm(tcti) as tpm:
        for pcr in sorted(set(pcrs)):
            _, _, values = tpm.esys.pcr_read(_selection([pcr]))
            if not len(values):
                raise OperatorError(f"the TPM has no PCR {pcr} in a SHA-256 bank", "Switch that bank on")
            found[pcr] = bytes(values[0]).hex()
    return found


def policy_of(branches: tuple[Mapping[int, str], ...]) -> bytes:
    """Compute the policy of branches as the chip does (TPM 2.0 part 3, PolicyPCR and PolicyOR)."""
    digests = [_branch_digest(each) for each in branches]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256(bytes(32) + tss.TPM2_CC.PolicyOR.to_bytes(4) + b"".join(digests)).digest()


def encode_sealed(sealed: Sealed) -> bytes:
    """Write a sealed secret as the text of its file."""
    branches: list[canonical.Value] = [
        {str(pcr): value for pcr, value in each.items()} for each in sealed.branches
    ]
    document: dict[str, canonical.Value] = {
        "form": FORM,
        "pcrs": branches,
        "private": canonical.encode_base64(sealed.private),
        "public": canonical.encode_base64(sealed.public),
    }
    return canonical.encode(document) + b"\n"


def parse_sealed(content: bytes, *, where: str) -> Sealed:
    """Read the text of a sealed secret's file.

    Raises:
        OperatorError: it is none.
    """
    try:
        document = json.loads(content)
        is_ours = document["form"] == FORM
        branches = tuple(
            {int(pcr): bytes.fromhex(value).hex() for pcr, value in each.items()} for each in document["pcrs"]
        )
        parts = [base64.b64decode(document[name], validate=True) for name in ("public", "private")]
    except (ValueError, KeyError, TypeError, AttributeError):
        is_ours, branches, parts = False, (), [b"", b""]
    if not is_ours or not branches:
        hint = "Give a file made by `coldseal identity key seal`"
        raise OperatorError(f"{where} holds no sealed secret", hint)
    return Sealed(branches, *parts)


def _satisfy(tpm: Tpm, session: object, sealed: Sealed) -> None:
    """Show the chip that the machine is in one of the states: the first that fits, else the first."""
    pcrs = sorted({pcr for each in sealed.branches for pcr in each})
    now = {pcr: bytes(tpm.esys.pcr_read(_selection([pcr]))[2][0]).hex() for pcr in pcrs}
    fitting = [each for each in sealed.branches if all(now[pcr] == value for pcr, value in each.items())]
    chosen = (fitting or sealed.branches)[0]
    tpm.esys.policy_pcr(session, b"", _selection(chosen))
    if len(sealed.branches) > 1:
        tpm.esys.policy_or(session, tss.TPML_DIGEST([_branch_digest(each) for each in sealed.branches]))


def _differing(tcti: str, sealed: Sealed) -> list[int]:
    """Name the PCRs that differ from the first branch."""
    wanted = sealed.branches[0]
    now = read_pcrs(tcti, wanted)
    return [pcr for pcr, value in wanted.items() if now[pcr] != value]


def _branch_digest(values: Mapping[int, str]) -> bytes:
    """Compute the policy of one state."""
    digest = hashlib.sha256(b"".join(bytes.fromhex(values[pcr]) for pcr in sorted(values))).digest()
    code, selection = tss.TPM2_CC.PolicyPCR.to_bytes(4), bytes(_selection(values).marshal())
    return hashlib.sha256(bytes(32) + code + selection + digest).digest()


def _selection(pcrs: Iterable[int]) -> Any:  # noqa: ANN401 # the driver has no types
    """Name PCRs of the SHA-256 bank as the driver does."""
    return tss.TPML_PCR_SELECTION.parse("sha256:" + ",".join(str(pcr) for pcr in sorted(pcrs)))


def _session(tpm: Tpm, parent: object, kind: object, way: object) -> object:
    """Begin a session whose first parameter is encrypted on the bus, salted with the storage key."""
    symmetric = tss.TPMT_SYM_DEF.parse("aes128cfb")
    session: object = tpm.esys.start_auth_session(
        parent, tss.ESYS_TR.NONE, kind, symmetric, tss.TPM2_ALG.SHA256
    )
    tpm.keep(session)
    tpm.esys.trsess_set_attributes(session, tss.TPMA_SESSION.CONTINUESESSION | way)
    return session
