"""Transport keys that live in a TPM: P-256, made in the chip and bound to it, wrapped in a file.

Promise: the private key never leaves the chip; opening one asks nothing of the chip, which is needed for a
signature alone. Such a key signs whatever hash it is given, as TLS wants it, so a chip's word on itself must
never be by one: a key for signing checkpoints or quotes is refused here, and one of these is refused there.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_der_public_key
from typing_extensions import override

from coldseal.errors import OperatorError
from coldseal.signing.private_files import write_private_file
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, storage_key, tss
from coldseal.signing.tpm.keys import der_signature, load, read_wrapped

if TYPE_CHECKING:
    from typing import Self

    from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
    from cryptography.hazmat.primitives.hashes import HashAlgorithm
    from cryptography.utils import Buffer

    from coldseal.signing.uris import TpmUri

ATTRIBUTES: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign|noda"
_KIND: Final = "ecc256:null:null"
_ANOTHER_CHIP: Final = 0x9F
"""TPM_RC_INTEGRITY: another chip wrapped it, or the file was changed."""


class TransportKey(ec.EllipticCurvePrivateKey):
    """A transport key of a chip; certificate requests take it like a key in memory.

    Attributes:
        spki: the public key, SubjectPublicKeyInfo in DER.
    """

    def __init__(self, uri: TpmUri, spki: bytes) -> None:
        """Note where it is; nothing is asked of the chip."""
        self._uri = uri
        self.spki = spki

    def sign_digest(self, digest: bytes) -> bytes:
        """Sign a SHA-256 hash: ECDSA, DER.

        Raises:
            UnavailableError: the chip is away, or its slots are taken.
            OperatorError: the chip refuses: it is another one, or the key asks for another value.
        """
        scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.ECDSA)
        scheme.details.any.hashAlg = tss.TPM2_ALG.SHA256
        ticket = tss.TPMT_TK_HASHCHECK(tag=tss.TPM2_ST.HASHCHECK, hierarchy=tss.TPM2_RH.NULL)
        try:
            with open_tpm(self._uri.tcti) as tpm:
                return der_signature(tpm.esys.sign(load(tpm, self._uri), digest, scheme, ticket))
        except TpmRefusedError as error:
            if error.code != _ANOTHER_CHIP:
                raise
            what = f"this TPM did not wrap the transport key {self._uri.place}, or the file was changed"
            raise OperatorError(what, "Enrol again: coldseal identity enrol … --tpm") from error

    @override
    def sign(self, data: Buffer, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """Sign bytes with ECDSA and SHA-256; raises as `sign_digest`.

        Raises:
            UnsupportedAlgorithm: another one is asked for.
        """
        algorithm: Prehashed | HashAlgorithm = signature_algorithm.algorithm
        if not isinstance(algorithm, SHA256):
            raise UnsupportedAlgorithm("a transport key in a TPM signs with ECDSA and SHA-256 alone")
        return self.sign_digest(hashlib.sha256(data).digest())

    @override
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """Give the public key."""
        return cast("ec.EllipticCurvePublicKey", load_der_public_key(self.spki))

    @property
    @override
    def curve(self) -> ec.EllipticCurve:
        """The curve."""
        return ec.SECP256R1()

    @property
    @override
    def key_size(self) -> int:
        """Its bits."""
        return self.curve.key_size

    @override
    def exchange(self, *_of: object) -> NoReturn:
        """Refuse: the key signs alone."""
        self._refuse()

    @override
    def private_numbers(self) -> NoReturn:
        """Refuse: nobody has them."""
        self._refuse()

    @override
    def private_bytes(self, *_how: object) -> NoReturn:
        """Refuse: nobody has them."""
        self._refuse()

    @override
    def __copy__(self) -> Self:
        """Give itself: it changes never."""
        return self

    @override
    def __deepcopy__(self, _memo: dict[Any, Any]) -> Self:
        """Give itself."""
        return self

    def _refuse(self) -> NoReturn:
        """Say why it cannot be had."""
        raise UnsupportedAlgorithm("the private key is in the TPM, for signing alone")


def open_transport_key(uri: TpmUri) -> TransportKey:
    """Open a transport key; nothing is asked of the chip.

    Raises:
        OperatorError: the file cannot be read, or is of no such key.
    """
    public = read_wrapped(uri.file).public
    area = public.publicArea
    is_ours = area.type == tss.TPM2_ALG.ECC and area.parameters.eccDetail.curveID == tss.TPM2_ECC.NIST_P256
    if not is_ours or area.objectAttributes != tss.TPMA_OBJECT.parse(ATTRIBUTES):
        what = f"{uri.file} holds no transport key of a TPM: P-256, made in the chip and bound to it"
        raise OperatorError(what, "Make one: coldseal identity key make tpm:key=FILE --transport")
    return TransportKey(uri, bytes(public.to_der()))


def make_transport_key(uri: TpmUri) -> TransportKey:
    """Make a transport key in a chip, wrapped in a new file of mode 0600, in the form of tpm2-openssl.

    Raises:
        UnavailableError: the chip is away.
        OperatorError: there is such a file already, or the chip refuses.
    """
    with open_tpm(uri.tcti) as tpm:
        template = tss.TPM2B_PUBLIC.parse(_KIND, objectAttributes=ATTRIBUTES)
        asked = tss.TPM2B_SENSITIVE_CREATE(tss.TPMS_SENSITIVE_CREATE(userAuth=uri.secret))
        private, public, *_ = tpm.esys.create(storage_key(tpm), asked, template)
    write_private_file(uri.file, tss.tsskey.TSSPrivKey(private, public, not uri.secret).to_pem())
    return open_transport_key(uri)
