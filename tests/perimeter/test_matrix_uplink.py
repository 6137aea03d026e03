"""The uplink as a client: every wrong server is refused under its own cause, and gets no byte of it."""

from __future__ import annotations

import asyncio
import io
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.delivery.wire import Receipt, Unavailable
from coldseal.errors import UnavailableError
from coldseal.gateway.egress import Guard, Rule
from coldseal.gateway.endpoints import Endpoint
from coldseal.gateway.uplink.contact import ask_note
from coldseal.gateway.uplink.https import Channel
from coldseal.gateway.uplink.names import system_names
from coldseal.gateway.uplink.renewal import Renewal
from tests.gateway.uplink.test_faults import port_of
from tests.perimeter.papers import Papers
from tests.perimeter.wrong_servers import CASES, Case, Server
from tests.sealed import ORIGIN, SealedLog
from tests.trial import Site, now

if TYPE_CHECKING:
    pass


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """Give two CAs, a list that is in force, and one that has ended."""
    made = Papers(tmp_path_factory.mktemp("papers"))
    bad = made.issue("service", "revoked-service")
    ended = made.authority.revoke([bad], now=made.now - timedelta(days=40))
    (made.folder / "ended.pem").write_bytes(ended.read_bytes())
    listed = made.authority.revoke([bad], now=made.now - timedelta(minutes=1))
    (made.folder / "crl.pem").write_bytes(listed.read_bytes())
    return made


def shown(papers: Papers, crl: str) -> Renewal:
    """Give what the gateway shows, and whom it trusts."""
    paper = papers.leaf("gateway", "gw-1")
    now_ms = round(papers.now.timestamp() * 1000)
    listed = papers.folder / crl if crl else None
    return Renewal(paper, paper.with_suffix(".key"), papers.trust, now_ms=lambda: now_ms, crl=listed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_wrong_server_gets_no_byte_and_is_named(
    case: Case, papers: Papers, lines: io.StringIO
) -> None:
    """By the client of batches, twice, and by the first word at a start; said once."""
    context = shown(papers, case.crl).context
    with Server(case, papers).running() as server:
        rule = Rule(Endpoint("localhost", server.port), addresses=("127.0.0.1",), **case.rule(papers))  # type: ignore[arg-type] # by name
        guard, url = Guard((rule,), system_names), f"https://localhost:{server.port}"
        async with Channel(url, context, timeout_s=5, guard=guard) as way:
            for _ in range(2):
                assert isinstance(await way.post(b"a batch", asyncio.Event()), Unavailable)
        with pytest.raises(UnavailableError):
            await asyncio.to_thread(ask_note, url, ORIGIN, context(), timeout_s=5, guard=guard)
    said = [json.loads(line) for line in lines.getvalue().splitlines()]
    causes = [each["cause"] for each in said if each["event"] == "egress.refused"]
    assert causes == [case.cause], said
    assert server.calls >= 3
    assert not server.got


async def test_the_right_server_is_spoken_to_with_a_list_in_force(tmp_path: Path) -> None:
    """So the matrix refuses the wrong ones, not everybody; a list that then names the server is taken in."""
    site, log = Site(tmp_path), SealedLog()
    site.admit(log)
    crl = tmp_path / "crl.pem"
    crl.write_bytes(
        site.authority.revoke([site.certificates["gateway"]], now=now() - timedelta(minutes=2)).read_bytes()
    )
    paper = site.certificates["gateway"]
    renewal = Renewal(paper, paper.with_suffix(".key"), site.trust, now_ms=lambda: 0, crl=crl)
    async with site.running() as service:
        url = f"https://localhost:{port_of(service.address)}"
        async with Channel(url, renewal.context, timeout_s=5) as way:
            assert isinstance(await way.post(log.body(), asyncio.Event()), Receipt)
        both = [site.certificates["gateway"], site.certificates["service"]]
        crl.write_bytes(site.authority.revoke(both, now=now() - timedelta(minutes=1)).read_bytes())
        async with Channel(url, renewal.context, timeout_s=5) as way:
            answer = await way.post(log.body(), asyncio.Event())
    assert isinstance(answer, Unavailable)
    assert "revoked" in answer.cause


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_page_has_a_row_for_each_case(case: Case) -> None:
    """What is written is what is tested."""
    page = (Path(__file__).parents[2] / "docs" / "specs" / "egress.md").read_text()

    assert f"| {case.name} | `{case.cause}` |" in page
