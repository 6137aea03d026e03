"""Names are asked of the configured servers and of nobody else."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import dns.message
import dns.rcode
import dns.rrset
import pytest
from msgspec.structs import replace

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.tables.egress import Egress
from coldseal.gateway.uplink import names
from coldseal.gateway.uplink.names import LOOPBACK, names_of, system_names
from coldseal.identity.contexts import server_context
from coldseal.settings import Address
from tests.trial import Site

KNOWN = {("service.example.", "A"): "198.51.100.7", ("service.example.", "AAAA"): "2001:db8::7"}


@dataclass
class Server:
    """A name server on a free port of loopback, over UDP and TCP, or over TLS."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    is_truncating: bool = False

    @contextmanager
    def open(self, context: ssl.SSLContext | None = None) -> Iterator[Server]:
        """Answer until the block ends."""
        with (
            socket.create_server(("127.0.0.1", 0)) as listening,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain,
        ):
            self.port = listening.getsockname()[1]
            plain.bind(("127.0.0.1", self.port))
            threads = [
                threading.Thread(target=self._serve_streams, args=(listening, context)),
                threading.Thread(target=self._serve_datagrams, args=(plain,)),
            ]
            for thread in threads:
                thread.start()
            try:
                yield self
            finally:
                listening.shutdown(socket.SHUT_RDWR)
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
                    last.sendto(b"", ("127.0.0.1", self.port))
                for thread in threads:
                    thread.join()

    def _serve_datagrams(self, plain: socket.socket) -> None:
        """Answer over UDP until an empty one comes."""
        while found := plain.recvfrom(4096):
            question, sender = found
            if not question:
                return
            answer = self._answer(question)
            if self.is_truncating:
                cut = dns.message.make_response(dns.message.from_wire(question))
                cut.flags |= dns.flags.TC
                answer = cut.to_wire()
            plain.sendto(answer, sender)

    def _serve_streams(self, listening: socket.socket, context: ssl.SSLContext | None) -> None:
        """Answer over TCP, until the caller has enough."""
        with suppress(OSError):
            while True:
                caller, _ = listening.accept()
                with caller, suppress(ssl.SSLError, ConnectionError), ended(caller, context) as stream:
                    while size := int.from_bytes(stream.recv(2)):
                        answer = self._answer(stream.recv(size))
                        stream.sendall(len(answer).to_bytes(2) + answer)

    def _answer(self, wire: bytes) -> bytes:
        """Make the answer to a question."""
        question = dns.message.from_wire(wire)
        asked = question.question[0]
        kind = dns.rdatatype.to_text(asked.rdtype)
        self.asked.append(asked.name.to_text())
        answer = dns.message.make_response(question)
        if found := KNOWN.get((asked.name.to_text(), kind)):
            answer.answer.append(dns.rrset.from_text(asked.name, 60, "IN", kind, found))
        elif asked.name.to_text() != "service.example.":
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()


def ended(caller: socket.socket, context: ssl.SSLContext | None) -> socket.socket:
    """Shake hands, where TLS is spoken."""
    return caller if context is None else context.wrap_socket(caller, server_side=True)


def asking(server: Server, **more: object) -> Egress:
    """Give a configuration that asks this server."""
    return replace(Egress(resolver=(Address(f"127.0.0.1:{server.port}"),)), **more)


@pytest.mark.parametrize("is_truncating", [False, True], ids=["datagram", "stream"])
def test_both_families_are_asked_of_the_configured_server(is_truncating: bool) -> None:
    """Over UDP, and over TCP where an answer does not fit; the second time nobody is asked."""
    with Server(is_truncating=is_truncating).open() as server:
        ask = names_of(asking(server))
        assert set(ask("service.example")) == {"198.51.100.7", "2001:db8::7"}
        before = len(server.asked)
        assert set(ask("service.example")) == {"198.51.100.7", "2001:db8::7"}

    assert len(server.asked) == before
    assert set(server.asked) == {"service.example."}


def test_no_search_list_and_no_file_adds_to_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short name is asked as it is; this machine's own name is known without asking."""
    monkeypatch.setenv("LOCALDOMAIN", "thief.example")
    with Server().open() as server:
        ask = names_of(asking(server))
        with pytest.raises(UnavailableError, match="address of service"):
            ask("service")
        assert ask("localhost") == LOOPBACK

    assert set(server.asked) == {"service."}


def test_a_server_that_is_silent_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the system asked in its place."""
    monkeypatch.setattr(names, "ANSWER_S", 0.1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        ask = names_of(Egress(resolver=(Address(f"127.0.0.1:{silent.getsockname()[1]}"),)))
        with pytest.raises(UnavailableError):
            ask("service.example")


def test_servers_are_asked_over_tls_where_they_have_a_name(site: Site) -> None:
    """Of the CA that is named, and under that name only."""
    certificate = site.certificates["service"]
    context = server_context(certificate, certificate.with_suffix(".key"), None)
    other = site.folder / "other.pem"
    other.write_bytes(Site(make(site.folder / "other")).trust.read_bytes())
    with Server().open(context) as server:
        ask = names_of(asking(server, resolver_name="localhost", resolver_ca=site.trust))
        assert set(ask("service.example")) == {"198.51.100.7", "2001:db8::7"}
        for wrong in ({"resolver_name": "dns.example"}, {"resolver_ca": other}):
            settings = {"resolver_name": "localhost", "resolver_ca": site.trust} | wrong
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(names, "ANSWER_S", 0.5)
                with pytest.raises(UnavailableError):
                    names_of(asking(server, **settings))("service.example")


def make(folder: Path) -> Path:
    """Make a folder."""
    folder.mkdir()
    return folder


def test_the_library_is_needed_only_where_servers_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """And its absence is told with the cure."""
    monkeypatch.setitem(sys.modules, "dns", None)

    assert names_of(Egress()) is system_names
    with pytest.raises(OperatorError, match="pip install"):
        names_of(Egress(resolver=(Address("127.0.0.1:53"),)))


def test_the_system_is_asked_else() -> None:
    """And what it does not know is an outage."""
    assert "127.0.0.1" in system_names("localhost")
    assert system_names("127.0.0.1") == ["127.0.0.1"]
    with pytest.raises(UnavailableError, match="address of"):
        system_names("no such name")
