"""Over real TLS: who may speak, what is bounded, and every fault has its answer."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import Checkpoint, open_checkpoint, parse_note
from coldseal.core.log.delivery.wire import (
    BATCH_TYPE,
    Answer,
    Gap,
    Receipt,
    Refused,
    Stale,
    Unavailable,
    encode_batch,
    parse_answer,
)
from coldseal.core.log.record import frame
from coldseal.errors import OperatorError
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import client_context
from coldseal.identity.peer import Role
from coldseal.service import server as module
from coldseal.service.app import Service
from coldseal.settings import Address
from tests.sealed import GATEWAY, ORIGIN, SealedLog
from tests.trial import Site, now, url
from tests.waiting import until

HEADERS = {"Content-Type": BATCH_TYPE}


@pytest.fixture
async def service(site: Site) -> AsyncIterator[Service]:
    """Give a running service that admits the usual log."""
    site.admit(SealedLog())
    async with site.running() as service:
        yield service


async def post(
    site: Site, service: Service, body: bytes, role: Role = "gateway", **headers: str
) -> tuple[int, Answer]:
    """Send a body and read the answer as the uplink does."""
    named = HEADERS | {name.replace("_", "-"): value for name, value in headers.items()}
    async with (
        site.caller(role) as caller,
        caller.post(url(service, "/v1/entries"), data=body, headers=named) as response,
    ):
        return response.status, parse_answer(response.status, await response.read())


async def get(
    site: Site, service: Service, path: str, role: Role = "gateway"
) -> tuple[int, dict[str, canonical.Value]]:
    """Ask for a page."""
    async with site.caller(role) as caller, caller.get(url(service, path)) as response:
        return response.status, canonical.parse(await response.read(), where="answer")


def raw_connection(
    service: Service, context: ssl.SSLContext
) -> asyncio.Future[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Open a TLS connection by hand."""
    host, _, port = service.address.rpartition(":")
    return asyncio.ensure_future(
        asyncio.open_connection(host, int(port), ssl=context, server_hostname="localhost")
    )


async def test_a_batch_gets_a_receipt_over_https(site: Site, service: Service) -> None:
    """Mutual TLS, one POST, the witness's cosignature back."""
    log = SealedLog().grow(5)

    status, answer = await post(site, service, log.body())

    assert status == 200
    assert isinstance(answer, Receipt)
    checkpoint, _ = open_checkpoint(answer.note, [site.witness])
    assert checkpoint.size == 6


async def test_corrections_are_409_with_the_size(site: Site, service: Service) -> None:
    """Stale and gap."""
    log = SealedLog().grow(3)
    early = log.body()
    await post(site, service, log.grow(3).body())

    assert await post(site, service, early) == (409, Stale(7))
    assert await post(site, service, log.grow(5).body(9)) == (409, Gap(7))


async def test_a_failed_proof_is_422_with_its_verdict(site: Site, service: Service) -> None:
    """Fork, broken chain, wrong root: each by its own name."""
    log = SealedLog().grow(3)
    batch = log.batch()
    wrong_root = encode_batch(log.sign(Checkpoint(ORIGIN, 4, bytes(32))), 0, batch.frames)
    swapped = encode_batch(batch.note, 0, frame([batch.entries[0], *reversed(batch.entries[1:])]))
    forked = log.copy().grow(1, text="probe-2").body()

    found = [await post(site, service, body) for body in (wrong_root, swapped, log.grow(2).body(), forked)]

    assert [status for status, _ in found] == [422, 422, 200, 422]
    verdicts = [answer.verdict for _, answer in found if isinstance(answer, Refused)]
    assert verdicts == ["root-mismatch", "broken-chain", "fork"]


async def test_a_bad_checkpoint_signature_is_403_and_refused_for_good(site: Site, service: Service) -> None:
    """It is a failed proof."""
    log = SealedLog()
    batch = log.batch()
    note = parse_note(batch.note)
    half = replace(note, signatures=note.signatures[1:]).encode()

    status, answer = await post(site, service, encode_batch(half, 0, batch.frames))

    assert status == 403
    assert isinstance(answer, Refused)


@pytest.mark.parametrize("role", ["device", "operator"])
async def test_another_role_is_403_and_may_try_later(site: Site, service: Service, role: Role) -> None:
    """An operator may still put it right."""
    status, answer = await post(site, service, SealedLog().body(), role)

    assert status == 403
    assert isinstance(answer, Unavailable)
    assert "not-admitted" in answer.cause


async def test_a_malformed_batch_is_400(site: Site, service: Service) -> None:
    """With the field that is wrong."""
    status, answer = await post(site, service, b"\xff\xff")

    assert status == 400
    assert isinstance(answer, Unavailable)


async def test_a_full_ledger_is_503_and_the_same_batch_is_right_later(site: Site, service: Service) -> None:
    """Nothing is lost by it: the gateway keeps its entries."""
    service._ledger._store._limit = 1
    status, answer = await post(site, service, SealedLog().body())

    assert status == 503
    assert isinstance(answer, Unavailable)
    service._ledger._store._limit = 2**30
    assert (await post(site, service, SealedLog().body()))[0] == 200


async def test_another_media_type_is_415(site: Site, service: Service) -> None:
    """A batch says what it is."""
    status, _ = await post(site, service, b"{}", Content_Type="application/json")

    assert status == 415


async def test_a_body_beyond_the_limit_is_413_before_it_is_read(site: Site) -> None:
    """The announced length is enough to refuse it."""
    site.admit(SealedLog())
    async with site.running("service.max_batch_bytes=131072") as service:
        reader, writer = await raw_connection(service, site.context())
        writer.write(
            b"POST /v1/entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\n"
            b"Content-Length: 131073\r\n\r\n" % BATCH_TYPE.encode()
        )

        answer = await reader.read()

        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"connection: close" in answer.lower()
        writer.close()


@pytest.mark.parametrize("length", ["", "Content-Length: ten\r\n", "Transfer-Encoding: chunked\r\n"])
async def test_a_body_without_a_length_is_refused(site: Site, service: Service, length: str) -> None:
    """Nothing is read whose size is unknown."""
    reader, writer = await raw_connection(service, site.context())
    writer.write(
        f"POST /v1/entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: {BATCH_TYPE}\r\n{length}\r\n".encode()
    )

    answer = await reader.read()

    assert answer.startswith((b"HTTP/1.1 411 ", b"HTTP/1.1 400 "))
    writer.close()


async def test_a_body_that_comes_too_slowly_is_408(site: Site) -> None:
    """The caller is told, and its connection ends."""
    site.admit(SealedLog())
    async with site.running("service.request_timeout_s=0.2") as service:
        reader, writer = await raw_connection(service, site.context())
        writer.write(
            b"POST /v1/entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\n"
            b"Content-Length: 100\r\n\r\nx" % BATCH_TYPE.encode()
        )

        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_connection_cut_in_the_middle_of_a_batch_stores_nothing(site: Site, service: Service) -> None:
    """And the same batch is right afterwards."""
    log = SealedLog().grow(50)
    body = log.body()
    _, writer = await raw_connection(service, site.context())
    writer.write(
        b"POST /v1/entries HTTP/1.1\r\nHost: localhost\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        % (BATCH_TYPE.encode(), len(body))
    )
    writer.write(body[: len(body) // 2])
    await writer.drain()
    writer.transport.abort()

    status, answer = await post(site, service, body)

    assert status == 200
    assert isinstance(answer, Receipt)
    async with site.ledger() as ledger:
        assert ledger.entries(ORIGIN, 0, 999) == log.entries


async def is_turned_away(service: Service, context: ssl.SSLContext) -> bool:
    """Say whether a request gets no answer at all."""
    try:
        reader, writer = await raw_connection(service, context)
    except (ssl.SSLError, ConnectionError):
        return True
    writer.write(b"GET /v1/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return await is_cut(reader, writer)


async def is_cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Say whether a connection ends without a word."""
    try:
        return not await reader.read()
    except (ssl.SSLError, ConnectionError):
        return True
    finally:
        writer.close()


async def test_only_tls_1_3_with_a_certificate_of_the_ca_gets_in(site: Site, service: Service) -> None:
    """No certificate, another CA's, an older protocol, or none: nobody gets an answer."""
    other = create_authority(site.folder / "other", now=now())
    foreign = other.issue("gateway", GATEWAY, now=now())
    stranger = client_context(foreign, foreign.with_suffix(".key"), site.trust)
    anonymous = ssl.create_default_context(cafile=site.trust)
    old = site.context()
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2

    for context in (stranger, anonymous, old):
        assert await is_turned_away(service, context)
    host, _, port = service.address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"HTTP" not in await reader.read()
    writer.close()


async def test_a_caller_that_sends_nothing_is_cut(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A half-open connection costs a socket for some seconds only."""
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.1)
    reader, writer = await raw_connection(service, site.context())

    assert await is_cut(reader, writer)


async def test_a_head_that_never_ends_is_cut(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line now and then does not keep it open."""
    monkeypatch.setattr(module, "HEAD_TIMEOUT_S", 0.1)
    reader, writer = await raw_connection(service, site.context())
    writer.write(b"GET /v1/log HTTP/1.1\r\nX: 1\r\n")

    assert await is_cut(reader, writer)


async def test_an_endless_head_is_cut_at_its_limit(site: Site, service: Service) -> None:
    """However fast it comes, no more of it is kept."""
    reader, writer = await raw_connection(service, site.context())
    writer.write(b"GET /v1/log HTTP/1.1\r\n")
    for number in range(50):
        writer.write(b"X%d: %b\r\n" % (number, b"x" * 900))

    assert await is_cut(reader, writer)


async def test_connections_beyond_the_limit_are_put_off(site: Site) -> None:
    """503, not a crash; and once there is room, the next one is served."""
    site.admit(SealedLog())
    async with site.running("service.max_connections=2") as service:
        one, two, three = [await raw_connection(service, site.context()) for _ in range(3)]

        assert (await _post_by(three, SealedLog().body()))[0] == b"503"

        await until(lambda: service._server.open_connections == 2)
        assert (await _post_by(two, SealedLog().body()))[0] == b"200"
        one[1].close()


async def _post_by(
    connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], body: bytes
) -> tuple[bytes, bytes]:
    """Send a batch over an open connection; give status and the rest."""
    reader, writer = connection
    writer.write(
        b"POST /v1/entries HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (BATCH_TYPE.encode(), len(body), body)
    )
    head, _, rest = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return head.split()[1], rest


async def test_a_gateway_sees_how_far_its_own_log_is(site: Site, service: Service) -> None:
    """Size, verified size, and the newest receipt."""
    log = SealedLog().grow(5)
    _, answer = await post(site, service, log.body())
    assert isinstance(answer, Receipt)

    status, found = await get(site, service, "/v1/log")

    assert status == 200
    assert (found["origin"], found["size"], found["checkpoint"]) == (ORIGIN, 6, answer.note.decode())
    assert found["refuted"] == []
    assert (await get(site, service, f"/v1/log?origin={ORIGIN}"))[1]["size"] == 6


async def test_a_log_that_is_empty_yet_shows_no_checkpoint(site: Site, service: Service) -> None:
    """Admitted, but nothing came."""
    status, found = await get(site, service, "/v1/log")

    assert (status, found["size"], found["checkpoint"]) == (200, 0, None)


async def test_a_gateway_sees_no_log_of_another(site: Site, service: Service) -> None:
    """Nor may others ask as if they were one."""
    assert (await get(site, service, "/v1/log?origin=other"))[0] == 403
    assert (await get(site, service, "/v1/log", "operator"))[0] == 403


async def test_an_operator_sees_all_logs_with_their_evidence(site: Site, service: Service) -> None:
    """And nobody else does."""
    log = SealedLog().grow(3)
    copied = log.copy()
    await post(site, service, log.grow(1).body())
    await post(site, service, copied.grow(1, text="probe-2").body())

    status, found = await get(site, service, "/v1/logs", "operator")

    assert status == 200
    assert isinstance(found["logs"], list)
    (shown,) = found["logs"]
    assert isinstance(shown, dict)
    assert (shown["origin"], shown["gateway"], shown["size"]) == (ORIGIN, GATEWAY, 5)
    assert isinstance(shown["evidence"], list)
    assert [each["verdict"] for each in shown["evidence"] if isinstance(each, dict)] == ["fork"]
    for role in ("gateway", "device"):
        assert (await get(site, service, "/v1/logs", role))[0] == 403


async def test_the_description_names_every_route_and_answer(site: Site, service: Service) -> None:
    """OpenAPI, served where it applies."""
    async with site.caller() as caller, caller.get(url(service, "/v1/openapi.json")) as response:
        found = msgspec.json.decode(await response.read())

    app = service._server.config.app
    assert isinstance(app, Starlette)
    routes = {route.path.replace(":path}", "}") for route in app.routes if isinstance(route, Route)}
    assert set(found["paths"]) == routes
    assert {"200", "400", "403", "409", "422", "503"} < set(
        found["paths"]["/v1/entries"]["post"]["responses"]
    )


async def test_an_unknown_path_is_404(site: Site, service: Service) -> None:
    """Without a hint of what there is."""
    async with site.caller() as caller, caller.get(url(service, "/v1/other")) as response:
        assert response.status == 404


async def test_a_renewed_certificate_is_used_without_a_restart(site: Site, service: Service) -> None:
    """New connections see it; the service looks each second."""
    path = site.certificates["service"]
    before = ssl.PEM_cert_to_DER_cert(first_pem(path))
    site.authority.renew(path, now=now())
    after = ssl.PEM_cert_to_DER_cert(first_pem(path))
    assert before != after

    service._certificate.refresh()

    _, writer = await raw_connection(service, site.context())
    assert writer.get_extra_info("ssl_object").getpeercert(binary_form=True) == after
    writer.close()
    assert service._certificate.seconds_left() > 0


async def test_a_wrong_certificate_leaves_the_one_in_use(site: Site, service: Service) -> None:
    """Half a renewal does not cut anybody off."""
    path = site.certificates["service"]
    good = path.read_bytes()
    path.write_text("nonsense")

    service._certificate.refresh()
    service._certificate.refresh()

    _, writer = await raw_connection(service, site.context())
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    assert shown == ssl.PEM_cert_to_DER_cert(first_pem_of(good.decode()))
    writer.close()


def first_pem(path: Path) -> str:
    """Read the leaf of a chain."""
    return first_pem_of(path.read_text())


def first_pem_of(text: str) -> str:
    """Cut the leaf out of a chain."""
    return text[: text.index("-----END CERTIFICATE-----") + 26]


async def test_an_address_that_is_taken_is_an_operator_s_matter(service: Service) -> None:
    """The error names it."""
    other = module.ApiServer(Starlette(), service._certificate.context, max_connections=1)

    with pytest.raises(OperatorError, match="cannot be listened on"):
        other.bind(Address(service.address))


def test_an_ipv6_address_is_bound_with_its_brackets(site: Site) -> None:
    """As it must be written in a URL."""
    certificate = module.Certificate(site.config().tls)
    server = module.ApiServer(Starlette(), certificate.context, max_connections=1)

    bound = server.bind(Address("[::1]:0"))

    assert bound.startswith("[::1]:")
    assert server._socket is not None
    server._socket.close()


def test_a_certificate_that_cannot_be_read_stops_the_start(site: Site) -> None:
    """Half a configuration serves nobody."""
    tls = site.config().tls
    site.certificates["service"].write_text("nonsense")

    with pytest.raises(OperatorError, match="service-1"):
        module.Certificate(tls)


async def test_a_server_without_a_socket_or_connections_can_be_cancelled(site: Site) -> None:
    """Before it has begun to listen."""
    server = module.ApiServer(Starlette(), module.Certificate(site.config().tls).context, max_connections=1)
    server.config.host, server.config.port = "127.0.0.1", 0
    serving = asyncio.ensure_future(server.serve_bound())
    serving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not server.started
