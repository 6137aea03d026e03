"""Whatever an enrolment server says becomes one of three answers, and nothing that does not fit is taken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec import structs

from coldseal.gateway.uplink.est import EstWay, Holder, Issued, Nothing, PutOff
from coldseal.identity import est
from coldseal.identity.authority import Authority, create_authority, open_authority
from coldseal.identity.contexts import client_context, server_context
from coldseal.identity.peer import Role
from tests.trial import now

HOLDER = Holder("gateway", "gw-1")


@dataclass
class Canned:
    """What a server says, by path.

    Attributes:
        cacerts: status and body of that.
        enrolled: of simpleenroll.
        more: further header lines.
        is_silent: it says nothing at all.
        then: what it says of its CAs once it has enrolled somebody.
    """

    cacerts: tuple[int, bytes]
    enrolled: tuple[int, bytes] = (200, b"")
    more: bytes = b""
    is_silent: bool = False
    then: tuple[int, bytes] | None = None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests until the other side leaves."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                if self.is_silent:
                    await reader.read()
                is_asked = est.CACERTS.encode() in head
                status, body = self.cacerts if is_asked else self.enrolled
                self.cacerts = self.cacerts if is_asked else self.then or self.cacerts
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n" % (status, len(body)))
                writer.write(self.more + b"\r\n" + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make a CA with a service, which gives one name to several roles."""
    made = create_authority(tmp_path_factory.mktemp("hostile"), now=now())
    made.config = structs.replace(made.config, ca=structs.replace(made.config.ca, one_role=False))
    made.issue("service", "localhost", now=now())
    return made


@asynccontextmanager
async def serving(authority: Authority, canned: Canned) -> AsyncIterator[str]:
    """Run such a server."""
    path = authority.folder / "service" / "localhost.pem"
    context = server_context(path, path.with_suffix(".key"), None)
    server = await asyncio.start_server(canned.handle, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def asked(
    authority: Authority, canned: Canned, key: ec.EllipticCurvePrivateKey, *, timeout_s: float = 10
) -> Issued | PutOff | Nothing:
    """Ask such a server for a certificate."""
    trust = client_context(None, None, authority.folder / "root.pem")
    async with serving(authority, canned) as url, EstWay(url, trust, timeout_s=timeout_s) as way:
        return await way.enrol(HOLDER, key, token=b"t", now=now())


def shown(authority: Authority) -> tuple[int, bytes]:
    """Give the right answer to cacerts."""
    return 200, est.encode_certificates(authority.published())


def certified(
    authority: Authority,
    key: ec.EllipticCurvePrivateKey,
    role: Role = "gateway",
    name: str = "gw-1",
    age: timedelta = timedelta(),
) -> tuple[int, bytes]:
    """Give an answer with one certificate."""
    leaf: x509.Certificate = authority.certify(key.public_key(), role, name, now=now() + age)
    return 200, est.encode_certificates([leaf])


Make = Callable[[Authority, ec.EllipticCurvePrivateKey], tuple[int, bytes]]


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        (lambda ca, _key: certified(ca, ec.generate_private_key(ec.SECP256R1())), "bad"),
        (lambda ca, key: certified(ca, key, "device"), "bad"),
        (lambda ca, key: certified(ca, key, "gateway", "gw-2"), "bad"),
        (lambda ca, key: certified(ca, key, age=timedelta(days=-30)), "bad"),
        (lambda ca, key: certified(ca, key, age=timedelta(days=1)), "bad"),
        (lambda _ca, _key: (200, b"rubbish"), "bad"),
        (lambda _ca, _key: (200, b"x" * (est.MAX_CERTIFICATES + 1)), "bad"),
        (lambda _ca, _key: (401, b"the token\ndoes not count"), "refused"),
        (lambda _ca, _key: (302, b""), "refused"),
        (lambda _ca, _key: (503, b""), "busy"),
        (lambda _ca, _key: (429, b""), "busy"),
    ],
    ids=[
        *("another key", "another role", "another name", "ended", "not yet", "rubbish", "too long"),
        *("no right", "elsewhere", "away", "too often"),
    ],
)
async def test_what_does_not_fit_is_not_taken(authority: Authority, make: Make, cause: str) -> None:
    """Each with its cause."""
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await asked(authority, Canned(shown(authority), make(authority, key)), key)
    assert isinstance(answer, Nothing)
    assert answer.cause == cause
    assert "\n" not in answer.why


async def test_a_chain_to_nowhere_is_not_taken(authority: Authority, tmp_path: Path) -> None:
    """The server shows other CAs than the one that signed."""
    other = create_authority(tmp_path / "other", now=now())
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await asked(authority, Canned(shown(other), certified(authority, key)), key)
    assert isinstance(answer, Nothing)
    assert (answer.cause, "does not descend" in answer.why) == ("bad", True)


@pytest.mark.parametrize(("header", "wait_s"), [(b"Retry-After: 7\r\n", 7), (b"Retry-After: soon\r\n", 60)])
async def test_a_request_is_put_off(authority: Authority, header: bytes, wait_s: float) -> None:
    """For as long as it says, or a minute."""
    key = ec.generate_private_key(ec.SECP256R1())
    canned = Canned(shown(authority), (202, b""), header)
    assert await asked(authority, canned, key) == PutOff(wait_s)


async def test_a_server_that_shows_no_cas_or_says_nothing_gives_nothing(authority: Authority) -> None:
    """Neither certificate nor lists; every wait has an end."""
    key = ec.generate_private_key(ec.SECP256R1())
    for canned, cause in (
        (Canned((404, b"")), "refused"),
        (Canned((200, b"rubbish")), "bad"),
        (Canned(shown(authority), is_silent=True), "timeout"),
    ):
        answer = await asked(authority, canned, key, timeout_s=0.5)
        assert isinstance(answer, Nothing)
        assert answer.cause == cause
        trust = client_context(None, None, authority.folder / "root.pem")
        async with serving(authority, canned) as url, EstWay(url, trust, timeout_s=0.5) as way:
            lists = await way.lists()
        assert isinstance(lists, Nothing)
        assert lists.cause == cause


async def test_a_roll_over_between_two_answers_costs_nothing(authority: Authority, tmp_path: Path) -> None:
    """The CAs are asked for once more."""
    other = create_authority(tmp_path / "other", now=now())
    key = ec.generate_private_key(ec.SECP256R1())
    canned = Canned(shown(other), certified(authority, key), then=shown(authority))
    assert isinstance(await asked(authority, canned, key), Issued)


async def test_a_good_answer_is_taken(authority: Authority) -> None:
    """The same server, when all fits: leaf first, then its CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    answer = await asked(authority, Canned(shown(authority), certified(authority, key)), key)
    assert isinstance(answer, Issued)
    assert answer.chain[0].public_key() == key.public_key()
    assert list(answer.chain[1:]) == [open_authority(authority.folder).issuer.certificate]
