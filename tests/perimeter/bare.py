"""A listener that is nothing but the TLS library under our context: it passes on what the library has to say.

The programs' event loop closes on a fatal error without sending the alert that the library has ready. This
one sends it, so that a test sees whether it is the right one.
"""

from __future__ import annotations

import socket
import ssl
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from coldseal.identity.contexts import server_context
from tests.perimeter.papers import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.perimeter.papers import Papers


class Bare:
    """It answers whatever it can read with the same bytes, one caller after the other.

    Attributes:
        port: where it listens.
    """

    def __init__(self, context: ssl.SSLContext) -> None:
        """Listen."""
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    @contextmanager
    def running(self) -> Iterator[Bare]:
        """Serve until the block ends."""
        self._thread.start()
        try:
            yield self
        finally:
            self._socket.shutdown(socket.SHUT_RDWR)
            self._thread.join(DEADLINE_S)
            self._socket.close()

    def _serve(self) -> None:
        """Take callers in until the socket is closed."""
        with suppress(OSError):
            while True:
                plain, _ = self._socket.accept()
                plain.settimeout(DEADLINE_S)
                with plain:
                    self._answer(plain)

    def _answer(self, plain: socket.socket) -> None:
        """Serve one caller; behind the end, read on, so that the system does not throw the alert away."""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        secured = self._context.wrap_bio(incoming, outgoing, server_side=True)
        is_shaken = False
        with suppress(OSError):
            while True:
                try:
                    if not is_shaken:
                        secured.do_handshake()
                        is_shaken = True
                    data = secured.read(65_536)
                    if not data:
                        secured.unwrap()
                        break
                    secured.write(data)
                except ssl.SSLWantReadError:
                    plain.sendall(outgoing.read())
                    got = plain.recv(65_536)
                    if not got:
                        return
                    incoming.write(got)
                except ssl.SSLError:
                    break
            plain.sendall(outgoing.read())
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65_536):
                pass


@contextmanager
def opened(papers: Papers) -> Iterator[Bare]:
    """Run one with the gateway's certificate and settings."""
    paper = papers.issue("gateway", "gw-bare")
    context = server_context(paper, paper.with_suffix(".key"), papers.trust)
    with Bare(context).running() as bare:
        yield bare
