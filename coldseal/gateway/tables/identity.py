"""Who this gateway is."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from msgspec import Struct

from coldseal.gateway.tables.values import Name, Origin
from coldseal.settings import Reference


class Gateway(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who this gateway is."""

    origin: Origin
    """Origin of its log, such as `example.com/site-7/gw-0001`; never used again for another log."""
    site: Name
    """Site level of the topics."""
    data: Path = Path("data")
    """Folder of the log and the sessions."""
    signature: Literal["record", "checkpoint"] = "record"
    """`record`: a signature for each entry; `checkpoint`: one for each commit, for high rates."""
    after: Reference | None = None
    """Last receipt of the log that a new one continues, `file:…`; read when the log begins; empty: none."""
