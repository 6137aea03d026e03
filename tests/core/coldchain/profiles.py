"""Profiles for tests: read from TOML text as a file is, with exact numbers."""

from __future__ import annotations

import tomllib
from decimal import Decimal

from coldseal.core.coldchain.profile import ProductProfile, parse_profile

VACCINE = """
name = "vaccine-a"
version = 1
interval = "5 min"
silence = "20 min"
guard_band = false

[quantities.temperature]
unit = "Cel"
low = 2
high = 8
hysteresis = 0.5
recover_after = 2

[[quantities.temperature.limits]]
direction = "high"
at = 8
tier = "excursion"
single = "1 h"
cumulative = "2 h"

[quantities.temperature.mkt]
limit = 8
window = "24 h"
"""


def profile(text: str = VACCINE, *changes: tuple[str, str]) -> ProductProfile:
    """Read a profile, with some of its text changed."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return parse_profile(tomllib.loads(text, parse_float=Decimal), where="profile.toml")
