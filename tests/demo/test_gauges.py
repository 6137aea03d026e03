"""The board's figures are those of the metrics page, or none at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web

from coldseal.demo import gauges
from coldseal.demo.gauges import BACKLOG_ENTRIES, PUBLISHED_ENTRIES, parse_metrics, read_gauges, whole
from coldseal.observe.metrics import GatewayMetrics, ServiceMetrics

PAGE = f"""# HELP {BACKLOG_ENTRIES} entries without a receipt
# TYPE {BACKLOG_ENTRIES} gauge
{BACKLOG_ENTRIES} 12.0
dropped_total{{reason="expired"}} 1.0
dropped_total{{reason="a b"}} 2.0

{PUBLISHED_ENTRIES} 1e+06
"""


@asynccontextmanager
async def page(text: str, status: int = 200) -> AsyncIterator[str]:
    """Serve one metrics page; yields the address before ``/metrics``."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    application = web.Application()
    application.router.add_get("/metrics", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


def test_every_figure_of_the_board_is_in_the_catalogue() -> None:
    """A metric that is renamed is renamed here too."""
    declared = {
        metric.name for program in (GatewayMetrics(), ServiceMetrics()) for metric in program.catalogue
    }
    used = {value for name, value in vars(gauges).items() if name.isupper() and isinstance(value, str)}
    assert len(used) == 5
    assert used <= declared


def test_values_with_labels_are_added_up() -> None:
    """The board shows how many were dropped, not why."""
    found = parse_metrics(PAGE)
    assert found == {BACKLOG_ENTRIES: 12.0, "dropped_total": 3.0, PUBLISHED_ENTRIES: 1_000_000.0}


async def test_a_programs_figures_are_read_from_its_page() -> None:
    """What the page does not have is not known, which is not zero."""
    async with page(PAGE) as url, aiohttp.ClientSession() as http:
        found = await read_gauges(http, url)
    assert whole(found, BACKLOG_ENTRIES) == 12
    assert whole(found, PUBLISHED_ENTRIES) == 1_000_000
    assert whole(found, gauges.RECEIPT_AGE) is None


async def test_a_program_that_is_down_says_nothing() -> None:
    """Nobody listens, or the page answers with an error."""
    async with aiohttp.ClientSession() as http:
        async with page(PAGE, status=503) as url:
            assert await read_gauges(http, url) == {}
        assert await read_gauges(http, url) == {}
