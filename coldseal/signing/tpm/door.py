"""The one door to a TPM 2.0: a short conversation with the chip, closed again before anybody waits for it.

Promise: what is loaded in a conversation is flushed at its end, and every fault of the driver leaves as one
of our roots: the chip is away, or it refused. Nothing stays open in between, so that a chip which went and
came back needs no care. Between processes a resource manager shares its slots: the kernel's, as by default.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from coldseal.errors import OperatorError, UnavailableError

os.environ.setdefault("TSS2_LOG", "all+NONE")  # its library writes to stderr what comes as an error anyway

import tpm2_pytss.tsskey  # reads TSS2_LOG once it is loaded

if TYPE_CHECKING:
    from collections.abc import Iterator

Handle = TypeVar("Handle")

_one_at_a_time = threading.RLock()  # a chip has few slots, and does one thing at a time

tss: Final[Any] = tpm2_pytss
"""The driver: whoever speaks with the chip takes its types and constants from here."""

_STORAGE: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|decrypt|noda"
_LAYER: Final = 0xFF0000
_AWAY_LAYERS: Final = {0x0A0000, 0x0C0000}
"""The way to the chip (TCTI), and its resource manager."""
_AWAY: Final = {
    0x100,  # TPM_RC_INITIALIZE: it was not started
    0x101,  # TPM_RC_FAILURE: its self-test failed
    0x902,  # TPM_RC_OBJECT_MEMORY: its slots are taken by others
    0x903,  # TPM_RC_SESSION_MEMORY
    0x904,  # TPM_RC_MEMORY
    0x908,  # TPM_RC_YIELDED
    0x90A,  # TPM_RC_TESTING
    0x920,  # TPM_RC_NV_RATE: it spares its memory
    0x921,  # TPM_RC_LOCKOUT: too many wrong tries
    0x922,  # TPM_RC_RETRY
    0x923,  # TPM_RC_NV_UNAVAILABLE
}


class TpmRefusedError(OperatorError):
    """The chip answered, and refused: a policy does not hold, a key or index is not there or another.

    Args:
        code: the response code, as TPM 2.0 part 2 numbers it.
        cause: the same in the driver's words.
    """

    def __init__(self, code: int, cause: str) -> None:
        """Keep the code: the caller knows what it means for what was asked."""
        self.code = code
        super().__init__(
            f"the TPM refused ({cause})", "Look at the key, the index or the PCRs that it was asked for"
        )


class Tpm:
    """One conversation with a chip; `open_tpm` gives it.

    Attributes:
        esys: the driver's own context, for all commands of the chip.
    """

    def __init__(self, esys: Any, loaded: ExitStack) -> None:  # noqa: ANN401 # the driver has no types
        """Take the driver's context."""
        self.esys = esys
        self._loaded = loaded

    def keep(self, handle: Handle) -> Handle:
        """Note a transient object or a session: it is flushed when the conversation ends."""
        self._loaded.callback(self._flush, handle)
        return handle

    def persistent(self, handle: int) -> object:
        """Give what stands at a persistent handle or an NV index.

        Within the conversation a fault is the driver's own error, `tss.TSS2_Exception`, as everywhere.
        """
        found: object = self.esys.tr_from_tpmpublic(handle)
        return found

    def _flush(self, handle: object) -> None:
        """Free a slot; a chip that is away has lost it anyway."""
        with suppress(tss.TSS2_Exception):
            self.esys.flush_context(handle)


@contextmanager
def open_tpm(tcti: str) -> Iterator[Tpm]:
    """Speak with a chip.

    Args:
        tcti: the way there, as the TSS names it: ``device:/dev/tpmrm0``, ``swtpm:host=127.0.0.1,port=2321``.

    Raises:
        UnavailableError: it cannot be reached, or cannot serve now.
        TpmRefusedError: it refused what it was asked in the conversation.
    """
    try:
        with _one_at_a_time, tss.ESAPI(tcti) as esys, ExitStack() as loaded:
            yield Tpm(esys, loaded)
    except tss.TSS2_Exception as error:
        raise _root_of(error, tcti) from error


def storage_key(tpm: Tpm) -> object:
    """Give the chip's storage key, below which our keys and secrets are wrapped; it is made anew each time.

    The same template as tpm2-openssl and others use, so that a chip gives the same key to all.
    """
    empty, template = tss.TPM2B_SENSITIVE_CREATE(), tss.TPM2B_PUBLIC.parse("ecc256:aes128cfb", _STORAGE)
    made: object = tpm.esys.create_primary(empty, template)[0]
    return tpm.keep(made)


def _root_of(error: Any, tcti: str) -> UnavailableError | TpmRefusedError:  # noqa: ANN401 # the driver has no types
    """Say whose fault a driver's error is."""
    code = int(error.rc)
    if code & _LAYER in _AWAY_LAYERS or code in _AWAY:
        return UnavailableError(f"the TPM at {tcti}", str(error))
    return TpmRefusedError(int(error.error), str(error))
