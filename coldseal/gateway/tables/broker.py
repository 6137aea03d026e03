"""An external MQTT broker that readings are taken from, instead of or beside the own listener."""

from __future__ import annotations

from msgspec import Struct


class Broker(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An external MQTT broker that readings are taken from, instead of or beside the own listener."""
