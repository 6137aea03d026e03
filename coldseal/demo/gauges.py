"""What the two programs say about themselves, read from their metrics pages.

A program that is down, or does not answer at once, has no figures: the answer is ``None``, never a guess
or an old value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import aiohttp

LOG_ENTRIES: Final = "coldseal_gateway_log_entries"
BACKLOG_ENTRIES: Final = "coldseal_gateway_backlog_entries"
PUBLISHED_ENTRIES: Final = "coldseal_gateway_published_entries"
RECEIPT_AGE: Final = "coldseal_gateway_receipt_age_seconds"
VERIFY_BACKLOG: Final = "coldseal_service_verify_backlog_entries"

Gauges = Mapping[str, float]
"""A program's figures by name; values with labels are added up, since the board shows no causes."""

_OK: Final = 200


async def read_gauges(http: aiohttp.ClientSession, url: str) -> Gauges:
    """Read a program's metrics page; nothing where it does not answer."""
    try:
        async with http.get(f"{url}/metrics") as response:
            return parse_metrics(await response.text()) if response.status == _OK else {}
    except (aiohttp.ClientError, TimeoutError):
        return {}


def parse_metrics(page: str) -> Gauges:
    """Read a page in the Prometheus text format."""
    found: dict[str, float] = {}
    for line in page.splitlines():
        if line and not line.startswith("#"):
            head, _, value = line.rpartition(" ")
            name = head.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


def whole(gauges: Gauges, name: str) -> int | None:
    """Give a figure that counts things."""
    value = gauges.get(name)
    return None if value is None else int(value)
