"""Signing keys that live in a TPM: P-256, restricted, bound to the chip, for signing alone.

Promise: the private key never leaves the chip, and what it signs was hashed by the chip: so nobody makes it
sign a statement that only the chip itself may make. A key of any other kind is refused when it is opened.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from coldseal.errors import OperatorError
from coldseal.signing.private_files import read_private_file, write_private_file
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, storage_key, tss

if TYPE_CHECKING:
    from pathlib import Path

    from coldseal.signing.tpm.door import Tpm
    from coldseal.signing.uris import TpmUri

ATTRIBUTES: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda"
_KIND: Final = "ecc256:ecdsa-sha256:null"
_ONE_COMMAND: Final = 1024
"""Most bytes that TPM2_Hash takes at once (MAX_DIGEST_BUFFER)."""
_WRONG_SECRET: Final = {0x8E, 0xA2}
"""TPM_RC_AUTH_FAIL, TPM_RC_BAD_AUTH."""
_PROBE: Final = b"coldseal: may this program use this key?"
_NOTHING_THERE: Final = 0x8B
_TAKEN: Final = 0x14C
"""TPM_RC_HANDLE, TPM_RC_NV_DEFINED."""


class TpmKey:
    """A key of a chip; `open_key` is the usual way here.

    Attributes:
        spki: the public key, SubjectPublicKeyInfo in DER.
    """

    def __init__(self, uri: TpmUri, spki: bytes) -> None:
        """Note where it is."""
        self._uri = uri
        self.spki = spki

    def sign(self, data: bytes) -> bytes:
        """Sign bytes: ECDSA with SHA-256, DER. The chip hashes them itself.

        Raises:
            UnavailableError: the chip is away.
            TpmRefusedError: the bytes look like a statement of the chip, or the key is gone.
        """
        with open_tpm(self._uri.tcti) as tpm:
            key = load(tpm, self._uri)
            digest, ticket = _hashed(tpm, data)
            scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL)
            return der_signature(tpm.esys.sign(key, digest, scheme, ticket))


def open_key(uri: TpmUri) -> TpmKey:
    """Open a key of a chip.

    Raises:
        UnavailableError: the chip is away.
        OperatorError: there is no such key, or it is not restricted, bound to the chip and made in it.
    """
    try:
        with open_tpm(uri.tcti) as tpm:
            public = tpm.esys.read_public(load(tpm, uri))[0]
    except TpmRefusedError as error:
        what = f"the TPM holds no key at {uri.place}" if error.code == _NOTHING_THERE else str(error.what)
        hint = "Make it: coldseal identity key make tpm:…; a wrapped key belongs to the chip that made it"
        raise OperatorError(what, hint) from error
    wanted, found = tss.TPMA_OBJECT.parse(ATTRIBUTES), public.publicArea.objectAttributes
    if found & wanted != wanted or found & tss.TPMA_OBJECT.DECRYPT or not _is_p256(public):
        what = f"the TPM's key at {uri.place} is not a restricted P-256 signing key of this chip"
        hint = "An unrestricted key would sign a forged attestation: make one by `coldseal identity key make`"
        raise OperatorError(what, hint)
    key = TpmKey(uri, bytes(public.to_der()))
    if uri.secret:
        _require_secret(key, uri)
    return key


def _require_secret(key: TpmKey, uri: TpmUri) -> None:
    """Have it sign once, so that a wrong value is told at the start, not at the first checkpoint.

    Raises:
        UnavailableError: the chip is away.
        OperatorError: the key asks for another value, or for none.
    """
    try:
        key.sign(_PROBE)
    except TpmRefusedError as error:
        if error.code not in _WRONG_SECRET:
            raise
        what = f"the TPM's key at {uri.place} does not take what {uri.auth} holds"
        hint = "Give the value that it was made with: `auth` in its URI, when it was made and now"
        raise OperatorError(what, hint) from error


def make_key(uri: TpmUri) -> TpmKey:
    """Make a key in a chip, at a persistent handle or wrapped in a file of mode 0600.

    Raises:
        UnavailableError: the chip is away.
        OperatorError: something is at that place already, or the chip refuses.
    """
    try:
        with open_tpm(uri.tcti) as tpm:
            parent = storage_key(tpm)
            template = tss.TPM2B_PUBLIC.parse(_KIND, objectAttributes=ATTRIBUTES)
            asked = tss.TPM2B_SENSITIVE_CREATE(tss.TPMS_SENSITIVE_CREATE(userAuth=uri.secret))
            private, public, *_ = tpm.esys.create(parent, asked, template)
            if uri.handle is None:
                write_private_file(uri.file, tss.tsskey.TSSPrivKey(private, public).to_pem())
            else:
                key = tpm.keep(tpm.esys.load(parent, private, public))
                tpm.esys.evict_control(tss.ESYS_TR.OWNER, key, uri.handle)
    except TpmRefusedError as error:
        if error.code != _TAKEN:
            raise
        what = f"the TPM holds something at {uri.place} already"
        raise OperatorError(what, "Take another handle: a key is never overwritten") from error
    return open_key(uri)


def load(tpm: Tpm, uri: TpmUri) -> object:
    """Give a key within a conversation."""
    if uri.handle is not None:
        found = tpm.persistent(uri.handle)
    else:
        wrapped = read_wrapped(uri.file)
        found = tpm.keep(tpm.esys.load(storage_key(tpm), wrapped.private, wrapped.public))
    if uri.secret:
        tpm.esys.tr_set_auth(found, uri.secret)
    return found


def der_signature(found: Any) -> bytes:  # noqa: ANN401 # the driver has no types
    """Give a chip's ECDSA signature in DER."""
    pair = found.signature.ecdsa
    return encode_dss_signature(
        int.from_bytes(bytes(pair.signatureR)), int.from_bytes(bytes(pair.signatureS))
    )


def read_wrapped(path: Path) -> Any:  # noqa: ANN401 # the driver has no types
    """Read a wrapped key's file, in the form of tpm2-openssl."""
    content = read_private_file(path)
    try:
        return tss.tsskey.TSSPrivKey.from_pem(content)
    except (ValueError, TypeError, tss.TSS2_Exception) as error:
        hint = "Give a file made by `coldseal identity key make tpm:key=FILE`"
        raise OperatorError(f"{path} holds no wrapped key of a TPM", hint) from error


def _hashed(tpm: Tpm, data: bytes) -> tuple[Any, Any]:
    """Have the chip hash bytes: it gives the hash, and a ticket that these are not its own words."""
    sha256, owner = tss.TPM2_ALG.SHA256, tss.ESYS_TR.OWNER
    if len(data) <= _ONE_COMMAND:
        digest, ticket = tpm.esys.hash(data, sha256, owner)
        return digest, ticket
    sequence = tpm.esys.hash_sequence_start(None, sha256)
    for at in range(0, len(data), _ONE_COMMAND):
        tpm.esys.sequence_update(sequence, data[at : at + _ONE_COMMAND])
    digest, ticket = tpm.esys.sequence_complete(sequence, b"", owner)
    return digest, ticket


def _is_p256(public: Any) -> bool:  # noqa: ANN401 # the driver has no types
    """Whether a public area is of P-256."""
    area = public.publicArea
    if area.type != tss.TPM2_ALG.ECC:
        return False
    return bool(area.parameters.eccDetail.curveID == tss.TPM2_ECC.NIST_P256)
