"""A gateway's inner parts with a fridge that is judged, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coldseal.core.coldchain.profile import canonical_form, parse_profile
from coldseal.gateway.changing import Changing
from tests.gateway.parts import payload

if TYPE_CHECKING:
    from asyncio import Future

    from tests.gateway.parts import Answers, Hands, Parts

WHO = {"who": "ann", "why": "as the product's file says"}
DOCUMENT: dict[str, Any] = {
    "name": "vaccine",
    "version": 1,
    "interval": "60 s",
    "silence": "5 min",
    "quantities": {
        "temperature": {
            "unit": "Cel",
            "low": 2,
            "high": 8,
            "hysteresis": 0.5,
            "recover_after": 2,
            "limits": [
                {
                    "direction": "high",
                    "at": 8,
                    "tier": "excursion",
                    "single": "5 min",
                    "cumulative": "30 min",
                },
                {"direction": "high", "at": 15, "tier": "critical", "single": "0 s"},
            ],
            "mkt": {"limit": 8, "window": "24 h"},
        }
    },
}
"""A profile with one tier of time and one at once."""


def profile_data(**changes: object) -> dict[str, Any]:
    """Give what the entry of a version of the profile says."""
    profile = parse_profile({**DOCUMENT, **changes}, where="test")
    return {"profile": canonical_form(profile), "sha256": profile.sha256, **WHO}


def sensor_data(sensor: str = "door", asset: str = "fridge-1", device: str = "dev-1") -> dict[str, Any]:
    """Give what the entry says that lets a sensor watch an asset."""
    return {"assign": {"asset": asset, "asset_kind": "fridge", "device": device, "sensor": sensor}, **WHO}


def holding_data(asset: str = "fridge-1", version: int = 1) -> dict[str, Any]:
    """Give what the entry says that lets the profile hold for an asset."""
    return {"assign": {"asset": asset, "profile": "vaccine", "version": version}, **WHO}


def changing_of(parts: Parts, hands: Hands) -> Changing:
    """Give what makes such entries."""
    return Changing(parts.projection.evaluator, parts.journal, parts.pipeline, hands.clock())


def assign_all(changing: Changing, *sensors: str) -> list[Future[list[bytes]]]:
    """Have the profile hold for the fridge that these sensors watch."""
    return [
        changing.enter("profile", profile_data()),
        *(changing.enter("config", sensor_data(sensor)) for sensor in sensors or ("door",)),
        changing.enter("config", holding_data()),
    ]


def send(parts: Parts, hands: Hands, answers: Answers, seq: int, value: str, **changes: object) -> None:
    """Let a minute pass, and the device send a reading."""
    hands.pass_ms(60_000)
    parts.pipeline.submit(answers.to(f"{seq}", payload(seq, value), hands=hands, **changes))
