"""The HTTPS sink speaks only to its endpoint, only over TLS 1.3, says who it is, and reads every answer."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from coldseal.core.routing import epcis
from coldseal.errors import OperatorError
from coldseal.gateway.clock import Clock
from coldseal.gateway.egress import Guard, Rule
from coldseal.gateway.endpoints import endpoint_of
from coldseal.gateway.routing.form import Form
from coldseal.gateway.routing.http import MAX_DETAIL, HttpSink, shorten
from coldseal.gateway.routing.sink import Away, Parcel, Refused, Verdict
from coldseal.gateway.routing.sinks import open_sink
from coldseal.gateway.uplink.names import guard_for, system_names
from coldseal.identity.authority import create_authority
from coldseal.identity.contexts import server_context
from tests.gateway.routing.rig import Endpoint, Grounds
from tests.sealed import ORIGIN
from tests.trial import now

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PARCEL = Parcel(7, f"{ORIGIN}:7:{'ab' * 32}", "2026-11-22T05:23:48.123Z", b'{"seq":7}')


@asynccontextmanager
async def sink_of(
    grounds: Grounds, url: str, more: str = "", guard: Guard | None = None
) -> AsyncIterator[HttpSink]:
    """Open the sink of a route to an address, as the process does."""
    grounds.route("erp", url, more)
    (route,) = grounds.config().routes
    made = open_sink(
        route, Form(route, "site-7"), origin=ORIGIN, guard=guard or guard_for(url), clock=Clock()
    )
    assert isinstance(made, HttpSink)
    try:
        yield made
    finally:
        await made.close()


async def send(grounds: Grounds, endpoint: Endpoint, more: str = "") -> Verdict:
    """Send one parcel."""
    async with sink_of(grounds, endpoint.url, more) as sink:
        return await sink.send((PARCEL,))


async def test_what_is_posted_says_what_it_is_and_by_which_key_it_is_known(grounds: Grounds) -> None:
    """And nothing of the machine or the library."""
    async with grounds.endpoint() as endpoint:
        assert await send(grounds, endpoint) == Verdict(1)
    (found,) = endpoint.posted
    assert found.body == PARCEL.body
    assert found.headers["Idempotency-Key"] == f'"{PARCEL.key}"'
    assert found.headers["Content-Type"] == "application/json"
    assert found.headers["User-Agent"] == "coldseal"
    assert "Authorization" not in found.headers


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (200, None),
        (202, None),
        (204, None),
        (301, Away("address", "status 301: no")),
        (400, Refused("400", "no")),
        (401, Away("denied", "status 401: no")),
        (403, Away("denied", "status 403: no")),
        (404, Away("address", "status 404: no")),
        (408, Away("busy", "status 408: no")),
        (409, Refused("409", "no")),
        (413, Refused("413", "no")),
        (415, Away("address", "status 415: no")),
        (422, Refused("422", "no")),
        (425, Away("busy", "status 425: no")),
        (429, Away("busy", "status 429: no")),
        (451, Refused("451", "no")),
        (500, Away("fault", "status 500: no")),
        (503, Away("busy", "status 503: no")),
    ],
)
def test_each_answer_is_about_the_entry_or_about_the_way(
    grounds: Grounds, status: int, fault: Away | Refused | None
) -> None:
    """Only what is about the entry may put it aside."""
    grounds.route("erp", "https://localhost:1/in")
    (route,) = grounds.config().routes
    sink = HttpSink(
        route, Form(route, "lab"), context=ssl.create_default_context, token=None, guard=guard_for(route.url)
    )
    assert sink._judge(status, b"no", "", 1) == Verdict(int(fault is None), fault)


@pytest.mark.parametrize(("wait", "after_s"), [("7", 7), ("Wed, 21 Oct 2026", 0), ("9" * 5000, 0), ("-1", 0)])
async def test_the_sink_can_ask_for_a_pause(grounds: Grounds, wait: str, after_s: int) -> None:
    """In seconds; what is none is passed over."""
    async with grounds.endpoint() as endpoint:
        endpoint.answer, endpoint.more = lambda _body: 503, {"Retry-After": wait}
        verdict = await send(grounds, endpoint)
    assert isinstance(verdict.fault, Away)
    assert verdict.fault.after_s == after_s


async def test_the_token_is_sent_and_read_anew_when_it_was_not_accepted(grounds: Grounds) -> None:
    """Somebody may have changed it; it never stands in a verdict."""
    token = grounds.site.folder / "erp.token"
    token.write_text("first-of-all\n")
    token.chmod(0o600)
    async with (
        grounds.endpoint() as endpoint,
        sink_of(grounds, endpoint.url, 'token = "file:erp.token"') as sink,
    ):
        assert (await sink.send((PARCEL,))).taken == 1
        token.write_text("second")
        assert (await sink.send((PARCEL,))).taken == 1
        endpoint.answer = lambda _body: 401
        verdict = await sink.send((PARCEL,))
        assert "first-of-all" not in str(verdict)
        await sink.send((PARCEL,))
        token.unlink()
        verdict = await sink.send((PARCEL,))
        assert isinstance(verdict.fault, Away)
        assert verdict.fault.cause == "settings"
    said = [each.headers["Authorization"] for each in endpoint.posted]
    assert said == ["Bearer first-of-all", "Bearer first-of-all", "Bearer first-of-all", "Bearer second"]


@pytest.mark.parametrize("content", [b"", b"one\ntwo", b"\xff\xfe"], ids=["empty", "two-lines", "binary"])
async def test_what_is_no_token_is_said_at_the_start(grounds: Grounds, content: bytes) -> None:
    """And not shown."""
    token = grounds.site.folder / "erp.token"
    token.write_bytes(content)
    token.chmod(0o600)
    with pytest.raises(OperatorError):
        async with sink_of(grounds, "https://localhost:1/in", 'token = "file:erp.token"'):
            pass


async def test_a_certificate_is_shown_where_one_is_named(grounds: Grounds) -> None:
    """The sink asks for it."""
    certificate = grounds.site.certificates["gateway"]
    more = f'certificate = "{certificate}"\nkey = "{certificate.with_suffix(".key")}"'
    service = grounds.site.certificates["service"]
    strict = server_context(service, service.with_suffix(".key"), grounds.site.trust)
    endpoint = Endpoint(strict)
    await endpoint.start()
    try:
        async with sink_of(grounds, endpoint.url, more) as sink:
            assert (await sink.send((PARCEL,))).taken == 1
    finally:
        await endpoint.stop()
    assert len(endpoint.posted) == 1


async def test_a_sink_of_another_ca_gets_nothing(grounds: Grounds) -> None:
    """It is somebody else."""
    other = create_authority(grounds.site.folder / "other", now=now())
    certificate = other.issue("service", "service-1", now=now())
    endpoint = Endpoint(server_context(certificate, certificate.with_suffix(".key"), None))
    await endpoint.start()
    try:
        verdict = await send(grounds, endpoint)
    finally:
        await endpoint.stop()
    assert isinstance(verdict.fault, Away)
    assert "CERTIFICATE_VERIFY_FAILED" in verdict.fault.detail
    assert not endpoint.posted


async def test_a_sink_that_speaks_only_tls_1_2_gets_nothing(grounds: Grounds) -> None:
    """There is no way down."""
    context = grounds.server()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    endpoint = Endpoint(context)
    await endpoint.start()
    try:
        verdict = await send(grounds, endpoint)
    finally:
        await endpoint.stop()
    assert isinstance(verdict.fault, Away)
    assert not endpoint.posted


async def test_a_key_that_is_not_pinned_gets_nothing(grounds: Grounds) -> None:
    """The list of ways out holds for routes as it does for the uplink."""
    async with grounds.endpoint() as endpoint:
        pinned = Guard((Rule(endpoint_of(endpoint.url), pins=("A" * 43 + "=",)),), system_names)
        async with sink_of(grounds, endpoint.url, guard=pinned) as sink:
            verdict = await sink.send((PARCEL,))
    assert isinstance(verdict.fault, Away)
    assert "pin" in verdict.fault.detail
    assert not endpoint.posted


async def test_an_endpoint_that_is_not_listed_is_not_connected_to(grounds: Grounds) -> None:
    """Not even looked up."""
    elsewhere = guard_for("https://localhost:1")
    async with (
        grounds.endpoint() as endpoint,
        sink_of(grounds, endpoint.url, guard=elsewhere) as sink,
    ):
        verdict = await sink.send((PARCEL,))
    assert isinstance(verdict.fault, Away)
    assert "not in egress.allow" in verdict.fault.detail
    assert not endpoint.posted


async def test_a_peer_that_says_nothing_times_out(grounds: Grounds) -> None:
    """Neither in the handshake nor behind the request."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"https://localhost:{silent.getsockname()[1]}/in"
        grounds.route("erp", url)
        (route,) = grounds.config().routes
        route = type(route)(name="erp", sink="https-json", url=url, ca=route.ca, timeout_s=0.1)
        sink = open_sink(route, Form(route, "lab"), origin=ORIGIN, guard=guard_for(url), clock=Clock())
        verdict = await sink.send((PARCEL,))
        await sink.close()
    assert isinstance(verdict.fault, Away)
    assert verdict.fault.cause == "timeout"


async def test_an_answer_without_end_is_not_read_to_its_end(grounds: Grounds) -> None:
    """It is asked again later."""
    async with grounds.endpoint() as endpoint:
        endpoint.text = "x" * 100_000
        verdict = await send(grounds, endpoint)
    assert isinstance(verdict.fault, Away)
    assert verdict.fault.cause == "answer"


async def test_no_proxy_of_the_environment_is_used(grounds: Grounds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration alone says where to."""
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with grounds.endpoint() as endpoint:
        assert (await send(grounds, endpoint)).taken == 1


def test_an_answer_is_kept_as_one_short_line() -> None:
    """Whatever is in it."""
    assert shorten(b"  no\r\n\tsuch\x00asset \xff ") == "no such asset \N{REPLACEMENT CHARACTER}"
    assert len(shorten(b"ab " * 10_000)) <= MAX_DETAIL


async def test_a_ca_that_cannot_be_read_is_said_at_the_start(grounds: Grounds) -> None:
    """With the key of the setting."""
    grounds.site.trust.unlink()
    with pytest.raises(OperatorError, match=r"routes\.erp\.ca"):
        async with sink_of(grounds, "https://localhost:1/in"):
            await asyncio.sleep(0)


JOB = '{{"captureID":"1","running":{running},"success":{success},"errors":[{{"title":"no such device"}}]}}'


@pytest.mark.parametrize(
    ("told", "verdict", "asked"),
    [
        ([JOB.format(running="false", success="true")], Verdict(1), 1),
        (
            [JOB.format(running="true", success="true"), JOB.format(running="false", success="true")],
            Verdict(1),
            2,
        ),
        (
            [JOB.format(running="true", success="false"), JOB.format(running="false", success="false")],
            Verdict(0, Refused("capture", '[{"title":"no such device"}]')),
            2,
        ),
        (["nothing of the kind"], Verdict(1), 1),
    ],
    ids=["good", "good after a while", "failed", "unknown"],
)
async def test_a_capture_job_is_asked_after(
    grounds: Grounds, told: list[str], verdict: Verdict, asked: int
) -> None:
    """A repository says with 202 that it will look: what it refuses then is refused."""
    async with grounds.endpoint() as endpoint:
        answers = iter(told)

        def answer(body: bytes) -> int:
            endpoint.text = "" if body else next(answers)
            return 202 if body else 200

        endpoint.answer, endpoint.more = answer, {"Location": "/capture/1"}
        grounds.route("erp", endpoint.url, sink="epcis")
        (route,) = grounds.config().routes
        sink = open_sink(route, Form(route, "lab"), origin=ORIGIN, guard=guard_for(route.url), clock=Clock())
        assert await sink.send((PARCEL,)) == verdict
        await sink.close()
    assert [each.path for each in endpoint.posted] == ["/in", *["/capture/1"] * asked]
    assert {each.headers["GS1-EPCIS-Version"] for each in endpoint.posted} == {epcis.VERSION}


@pytest.mark.parametrize(
    ("sink", "job"),
    [("epcis", "https://localhost:1/capture/1"), ("epcis", ""), ("https-json", "/capture/1")],
    ids=["another endpoint", "no job", "another form"],
)
async def test_no_job_is_looked_for_elsewhere(grounds: Grounds, sink: str, job: str) -> None:
    """Nor where there is none."""
    async with grounds.endpoint() as endpoint:
        endpoint.answer, endpoint.more = lambda _body: 202, {"Location": job} if job else {}
        grounds.route("erp", endpoint.url, sink=sink)
        (route,) = grounds.config().routes
        made = open_sink(route, Form(route, "lab"), origin=ORIGIN, guard=guard_for(route.url), clock=Clock())
        assert await made.send((PARCEL,)) == Verdict(1)
        await made.close()
    assert len(endpoint.posted) == 1


async def test_a_job_that_does_not_end_was_taken_with_its_202(grounds: Grounds) -> None:
    """To post it once more would make a second one of it."""
    async with grounds.endpoint() as endpoint:
        endpoint.answer, endpoint.more = lambda body: 202 if body else 200, {"Location": "/capture/1"}
        endpoint.text = JOB.format(running="true", success="false")
        grounds.route("erp", endpoint.url, sink="epcis")
        (given,) = grounds.config().routes
        route = replace(given, timeout_s=0.2)
        sink = open_sink(route, Form(route, "lab"), origin=ORIGIN, guard=guard_for(route.url), clock=Clock())
        assert await sink.send((PARCEL,)) == Verdict(1)
        await sink.close()
    assert len(endpoint.posted) > 1
