"""What a TPM 2.0 proves about itself and its machine: an attestation key of its own, quotes by it.

Promise: the attestation key is made in the chip, restricted, and never leaves it; it stands under the
endorsement hierarchy, so that the chip tells its restarts as they are. Verifies nothing: the service does.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coldseal.errors import OperatorError, UnavailableError
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, tss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coldseal.signing.tpm.door import Tpm

BANK: Final = "sha256"
_ATTRIBUTES: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda"
_KIND: Final = "ecc256:ecdsa-sha256:null"
_NOTHING_THERE: Final = 0x8B
_TRIES: Final = 3
"""A PCR may be extended between its reading and the quote."""
_AT_ONCE: Final = 512
"""Bytes that are read of an NV index in one command."""
_SEQUENCE: Final = 0x30

_EK_POLICY: Final = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")
"""PolicySecret(endorsement), of the standard templates L-1 and L-2 (TCG EK Credential Profile, B.3)."""
_EK_ATTRIBUTES: Final = "fixedtpm|fixedparent|sensitivedataorigin|adminwithpolicy|restricted|decrypt"


class _Standard(NamedTuple):
    """An endorsement key that chips are made with: its certificate's NV index, its handle, its template."""

    certificate: int
    handle: int
    kind: str


_STANDARDS: Final = (
    _Standard(0x01C00002, 0x81010001, "rsa2048:aes128cfb"),
    _Standard(0x01C0000A, 0x81010002, "ecc256:aes128cfb"),
)


class Endorsement(NamedTuple):
    """What a chip's maker says of it.

    Attributes:
        certificate: X.509, DER.
        public: TPM2B_PUBLIC of the endorsement key.
    """

    certificate: bytes
    public: bytes


class Quote(NamedTuple):
    """What the chip has signed.

    Attributes:
        attest: TPMS_ATTEST.
        signature: TPMT_SIGNATURE.
        values: value of each PCR that was quoted.
    """

    attest: bytes
    signature: bytes
    values: Mapping[int, bytes]


class TpmAttestor:
    """One chip with its attestation key.

    Args:
        tcti: the way to it, as the TSS names it.
        handle: persistent handle of the attestation key.
    """

    def __init__(self, tcti: str, handle: int) -> None:
        """Note where it is; nothing is asked yet."""
        self._tcti, self._handle = tcti, handle

    def endorsement(self) -> Endorsement:
        """Read the endorsement certificate, and make sure of the key that it is for.

        Raises:
            UnavailableError: the chip is away.
            OperatorError: its maker has put no certificate into it.
        """
        with open_tpm(self._tcti) as tpm:
            standard = _standard(tpm)
            return Endorsement(_certificate(tpm, standard), _marshalled(_endorsement_key(tpm, standard)[1]))

    def key(self) -> bytes:
        """Give the attestation key's TPM2B_PUBLIC; it is made where none stands at the handle yet.

        Raises:
            UnavailableError: the chip is away.
            TpmRefusedError: it does not make one.
        """
        with open_tpm(self._tcti) as tpm:
            found = _kept(tpm, self._handle) or self._make(tpm)
            return _marshalled(tpm.esys.read_public(found)[0])

    def activate(self, credential: bytes, secret: bytes) -> bytes:
        """Open what only this chip can open, if the attestation key is in it.

        Args:
            credential: TPM2B_ID_OBJECT.
            secret: TPM2B_ENCRYPTED_SECRET.

        Raises:
            UnavailableError: the chip is away.
            TpmRefusedError: it was not made for this chip, or for another key.
        """
        with open_tpm(self._tcti) as tpm:
            endorsement, _ = _endorsement_key(tpm, _standard(tpm))
            key = tpm.persistent(self._handle)
            session = tpm.keep(_endorsement_session(tpm))
            blob, _ = tss.TPM2B_ID_OBJECT.unmarshal(credential)
            sealed, _ = tss.TPM2B_ENCRYPTED_SECRET.unmarshal(secret)
            opened = tpm.esys.activate_credential(
                key, endorsement, blob, sealed, session1=tss.ESYS_TR.PASSWORD, session2=session
            )
            return bytes(opened)

    def quote(self, question: bytes, pcrs: Sequence[int]) -> Quote:
        """Have the chip state its PCRs.

        Args:
            question: what is signed with them.
            pcrs: which ones, of the SHA-256 bank.

        Raises:
            UnavailableError: the chip is away, or its PCRs did not stand still.
            OperatorError: there is no attestation key, or no such PCR.
        """
        selection = f"{BANK}:{','.join(str(pcr) for pcr in sorted(set(pcrs)))}"
        try:
            with open_tpm(self._tcti) as tpm:
                key = tpm.persistent(self._handle)
                for _ in range(_TRIES):
                    values = _values(tpm, pcrs)
                    quoted, signature = tpm.esys.quote(
                        key,
                        selection,
                        tss.TPM2B_DATA(question),
                        tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL),
                    )
                    attest = bytes(quoted)
                    if attest.endswith(_digest(values)):
                        return Quote(attest, bytes(signature.marshal()), values)
        except TpmRefusedError as error:
            if error.code != _NOTHING_THERE:
                raise
            hint = "Run: coldseal gateway attest CONFIG"
            raise OperatorError(f"the TPM holds no attestation key at {self._handle:#x}", hint) from error
        raise UnavailableError("a quote", "the PCRs did not stand still")

    def _make(self, tpm: Tpm) -> object:
        """Make the attestation key: a primary one of the endorsement hierarchy, kept at the handle."""
        template = tss.TPM2B_PUBLIC.parse(_KIND, objectAttributes=_ATTRIBUTES)
        made, *_ = tpm.esys.create_primary(
            tss.TPM2B_SENSITIVE_CREATE(), template, primary_handle=tss.ESYS_TR.ENDORSEMENT
        )
        kept: object = tpm.esys.evict_control(tss.ESYS_TR.OWNER, tpm.keep(made), self._handle)
        return kept


def _kept(tpm: Tpm, handle: int) -> object | None:
    """Give what stands at a persistent handle or an NV index; None if nothing does."""
    try:
        return tpm.persistent(handle)
    except tss.TSS2_Exception as error:
        if error.error != _NOTHING_THERE:
            raise
        return None


def _standard(tpm: Tpm) -> _Standard:
    """Find which endorsement certificate the chip has."""
    for standard in _STANDARDS:
        if _kept(tpm, standard.certificate) is not None:
            return standard
    raise OperatorError(
        "the TPM has no endorsement certificate of its maker",
        "Its maker must have put one at 0x1c00002 (RSA) or 0x1c0000a (ECC): without it nobody knows the chip",
    )


def _certificate(tpm: Tpm, standard: _Standard) -> bytes:
    """Read the endorsement certificate; room behind it is cut off."""
    index = tpm.persistent(standard.certificate)
    size = int(tpm.esys.nv_read_public(index)[0].nvPublic.dataSize)
    found = b""
    while len(found) < size:
        part = min(_AT_ONCE, size - len(found))
        found += bytes(tpm.esys.nv_read(index, part, len(found), auth_handle=tss.ESYS_TR.OWNER))
    return _first_value(found)


def _first_value(der: bytes) -> bytes:
    """Cut what stands behind a certificate of the usual length."""
    if der[:2] == bytes([_SEQUENCE, 0x82]):
        return der[: 4 + int.from_bytes(der[2:4])]
    return der


def _endorsement_key(tpm: Tpm, standard: _Standard) -> tuple[object, Any]:
    """Give the endorsement key: where its maker or an owner keeps it, else made by the standard template."""
    wanted = _endorsement_template(standard)
    kept = _kept(tpm, standard.handle)
    if kept is not None:
        public = tpm.esys.read_public(kept)[0]
        if (
            public.publicArea.type == wanted.publicArea.type
            and bytes(public.publicArea.authPolicy) == _EK_POLICY
        ):
            return kept, public
    made, public, *_ = tpm.esys.create_primary(
        tss.TPM2B_SENSITIVE_CREATE(), wanted, primary_handle=tss.ESYS_TR.ENDORSEMENT
    )
    return tpm.keep(made), public


def _endorsement_template(standard: _Standard) -> Any:  # noqa: ANN401 # the driver has no types
    """Give the standard template L-1 or L-2, with its unique field of zeros."""
    template = tss.TPM2B_PUBLIC.parse(standard.kind, objectAttributes=_EK_ATTRIBUTES, authPolicy=_EK_POLICY)
    unique = template.publicArea.unique
    if standard.kind.startswith("rsa"):
        unique.rsa = tss.TPM2B_PUBLIC_KEY_RSA(bytes(256))
    else:
        unique.ecc.x = tss.TPM2B_ECC_PARAMETER(bytes(32))
        unique.ecc.y = tss.TPM2B_ECC_PARAMETER(bytes(32))
    return template


def _endorsement_session(tpm: Tpm) -> object:
    """Open the session that an endorsement key asks for."""
    session = tpm.esys.start_auth_session(
        tss.ESYS_TR.NONE,
        tss.ESYS_TR.NONE,
        tss.TPM2_SE.POLICY,
        tss.TPMT_SYM_DEF(algorithm=tss.TPM2_ALG.NULL),
        tss.TPM2_ALG.SHA256,
    )
    tpm.esys.policy_secret(tss.ESYS_TR.ENDORSEMENT, session, b"", b"", b"", 0)
    return session


def _values(tpm: Tpm, pcrs: Sequence[int]) -> dict[int, bytes]:
    """Read PCRs, one by one: a chip gives eight at most in one answer."""
    values = {}
    for pcr in sorted(set(pcrs)):
        _, _, digests = tpm.esys.pcr_read(f"{BANK}:{pcr}")
        values[pcr] = bytes(digests[0])
    return values


def _digest(values: Mapping[int, bytes]) -> bytes:
    """Give the hash over PCR values that stands at the end of a quote."""
    return hashlib.sha256(b"".join(values[pcr] for pcr in sorted(values))).digest()


def _marshalled(public: Any) -> bytes:  # noqa: ANN401 # the driver has no types
    """Write a TPM2B_PUBLIC as the chip does."""
    return bytes(public.marshal())
