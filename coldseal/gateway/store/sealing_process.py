"""The process that seals large groups: ``python -m coldseal.gateway.store.sealing_process KEY FOLDER``.

`beside` starts it and starts it again. It keeps nothing but the chain of the group before, and ends when its
standard input does: the intake has stopped, or died.
"""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log.record import Chain
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.allocation import keep_little
from coldseal.gateway.store.drafts import Answer, Task, seal_drafts
from coldseal.observe import events
from coldseal.observe.logs import Log, configure
from coldseal.signing.keys import open_ecdsa

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import BinaryIO

LENGTH_BYTES: Final = 4
"""Bytes of a message's length, before it."""

UNSIGNED: Final = "unsigned"
USAGE: Final = 2

_log = Log("gateway.sealing")


def pack(message: bytes) -> bytes:
    """Put a message behind its length."""
    return len(message).to_bytes(LENGTH_BYTES) + message


def serve(stream: BinaryIO, out: BinaryIO, sign: Callable[[bytes], bytes], *, is_each_signed: bool) -> None:
    """Say by an empty message that it is ready; then seal group after group until the other end is closed."""
    out.write(pack(b""))
    out.flush()
    decoder = msgspec.msgpack.Decoder(Task)
    chain: Chain | None = None
    while head := stream.read(LENGTH_BYTES):
        body = stream.read(length := int.from_bytes(head))
        if len(body) < length:  # the intake died on the way
            return
        task = decoder.decode(body)
        if task.chain is not None:
            chain = Chain.from_state(task.chain)
        if chain is None:
            raise RuntimeError("the first task must bring a chain")
        entries = seal_drafts(chain, task.drafts, sign, is_each_signed=is_each_signed)
        out.write(pack(msgspec.msgpack.encode(Answer({**chain.state()}, entries))))
        out.flush()


def main(arguments: Sequence[str]) -> int:
    """Serve on standard input and output; the arguments are the key, its base folder and the mode.

    Ends with 2 if the key cannot be used.
    """
    configure()
    keep_little()
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal's ^C reaches all; the intake decides when to stop
    uri, base, *mode = arguments
    try:
        signer = open_ecdsa(uri, base=Path(base))
    except (OperatorError, UnavailableError) as error:
        _log.emit(events.SEALING_FAILED, error=str(error))
        return USAGE
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, sys.stdout.buffer, signer.sign, is_each_signed=mode != [UNSIGNED])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
