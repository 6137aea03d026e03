"""A counter in a TPM that only goes up: a disk that was put back knows a smaller number than its chip.

Promise: nobody lowers it; one that is removed and made again goes on above where it stood. What it shows is
certified by a key of the same chip together with a hash of the caller's. Its memory wears: raise it seldom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.errors import OperatorError
from coldseal.signing.tpm.door import TpmRefusedError, open_tpm, tss
from coldseal.signing.tpm.keys import der_signature, load

if TYPE_CHECKING:
    from coldseal.signing.tpm.door import Tpm
    from coldseal.signing.uris import TpmUri

VALUE_BYTES: Final = 8
_ATTRIBUTES: Final = "nt=1|authread|authwrite|ownerread|ownerwrite|no_da"  # TPM_NT_COUNTER
_NOTHING_THERE: Final = 0x8B
_NEVER_RAISED: Final = 0x14A
"""TPM_RC_HANDLE, TPM_RC_NV_UNINITIALIZED."""


class Certified(NamedTuple):
    """A counter's value as the chip states it.

    Attributes:
        attest: TPMS_ATTEST of the NV index, with the caller's hash.
        signature: by a key of the chip over that, DER.
    """

    attest: bytes
    signature: bytes


class TpmCounter:
    """A counter at an NV index, and the key that certifies it.

    Args:
        key: signs; of the same chip.
        index: of the counter.
    """

    def __init__(self, key: TpmUri, index: int) -> None:
        """Note where both are."""
        self._key, self._index = key, index

    def define(self) -> None:
        """Make the counter.

        Raises:
            UnavailableError: the chip is away.
            TpmRefusedError: something is there already, or there is no room.
        """
        public = tss.TPMS_NV_PUBLIC(
            nvIndex=self._index,
            nameAlg=tss.TPM2_ALG.SHA256,
            attributes=tss.TPMA_NV.parse(_ATTRIBUTES),
            dataSize=VALUE_BYTES,
        )
        with open_tpm(self._key.tcti) as tpm:
            tpm.esys.nv_define_space(b"", tss.TPM2B_NV_PUBLIC(public), tss.ESYS_TR.OWNER)

    def read(self) -> int | None:
        """Give the value; 0 if it was never raised, None if there is no counter.

        Raises:
            UnavailableError: the chip is away.
            OperatorError: something else stands at the index.
        """
        try:
            with open_tpm(self._key.tcti) as tpm:
                handle = tpm.persistent(self._index)
                if tpm.esys.nv_read_public(handle)[0].nvPublic.dataSize != VALUE_BYTES:
                    raise OperatorError(f"NV index {self._index:#x} holds no counter", "Take another index")
                return _value(tpm, handle)
        except TpmRefusedError as error:
            if error.code == _NOTHING_THERE:
                return None
            if error.code == _NEVER_RAISED:
                return 0
            raise

    def increment(self) -> int:
        """Raise it by one, and give the value; the first time, it begins above all that ever were.

        Raises:
            UnavailableError: the chip is away.
            TpmRefusedError: there is no counter.
        """
        with open_tpm(self._key.tcti) as tpm:
            handle = tpm.persistent(self._index)
            tpm.esys.nv_increment(handle, handle)
            return _value(tpm, handle)

    def certify(self, qualifying: bytes) -> Certified:
        """Have the chip state the value, together with a hash of the caller's.

        Raises:
            UnavailableError: the chip is away.
            TpmRefusedError: there is no such counter or key.
        """
        with open_tpm(self._key.tcti) as tpm:
            handle = tpm.persistent(self._index)
            scheme = tss.TPMT_SIG_SCHEME(scheme=tss.TPM2_ALG.NULL)
            attest, signature = tpm.esys.nv_certify(
                load(tpm, self._key), handle, qualifying, scheme, VALUE_BYTES, auth_handle=handle
            )
            return Certified(bytes(attest), der_signature(signature))


def _value(tpm: Tpm, handle: object) -> int:
    """Read the value in a conversation."""
    return int.from_bytes(bytes(tpm.esys.nv_read(handle, VALUE_BYTES, auth_handle=handle)))
