"""How readings are judged at the edge."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct


class ColdChain(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How readings are judged at the edge."""

    dew_point: bool = True
    """Readings with temperature and relative humidity get the dew point added, marked as derived."""

    calibration_warning_days: Annotated[int, Meta(ge=0, le=366)] = 30
    """A calibration that ends within so many days is shown as due soon."""
