"""Which entries go to which enterprise endpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from coldseal.core.coldchain.profile import Tier
from coldseal.gateway.tables.values import Name, Urgent
from coldseal.settings import Count, Reference, Seconds

Title = Annotated[str, Meta(min_length=1, max_length=200)]


class RouteRule(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an entry must be to go; one without what is asked for, such as a tier, does not."""

    kinds: tuple[Urgent, ...] = ()
    """Kinds of entries; `[]`: any."""
    sites: tuple[Name, ...] = ()
    """Sites of gateways, for a file that several gateways share; `[]`: any."""
    devices: tuple[Name, ...] = ()
    """Devices; `[]`: any."""
    sensors: tuple[Name, ...] = ()
    """Sensors, by their names below the device; `[]`: any."""
    assets: tuple[Title, ...] = ()
    """What the sensors watch: fridges, pallets, vehicles, lots; `[]`: any."""
    profiles: tuple[Title, ...] = ()
    """Product profiles that hold there; `[]`: any."""
    tiers: tuple[Tier, ...] = ()
    """How grave an excursion or alarm is; `[]`: any."""


class Route(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One sink and the rules that say what goes there; a table `[[routes]]`."""

    name: Name
    """Its name, by which position and quarantine are kept: under another name, it is another route."""
    sink: Literal["https-json", "cloudevents", "mqtt", "epcis"]
    """The form, and so the protocol: `https-json` is the entry's signed bytes as text with their signature;
    `cloudevents` CloudEvents 1.0; `mqtt` messages of another broker; `epcis` GS1 EPCIS 2.0 events."""
    url: str
    """Where to: the whole `https://` address that is posted to, or `mqtts://host:port`."""
    certificate: Path | None = None
    """Certificate chain that is shown, PEM; empty: none."""
    key: Path | None = None
    """Its transport key, PEM, mode 0600."""
    ca: Path | None = None
    """CA certificates that the sink must descend from, PEM; empty: those of the system (HTTPS only)."""
    token: Reference | None = None
    """Where the bearer token of the sink is kept, such as `file:erp.token`; empty: none is sent."""
    rules: tuple[RouteRule, ...] = ()
    """An entry goes if one of these rules fits it, each a table `[[routes.rules]]`; `[]`: all goes that the
    form can say."""
    begin: Literal["now", "begin"] = field(default="now", name="from")
    """Where a new route begins: with what is sealed from `now` on, or at the `begin` of the log."""
    after: Literal["commit", "receipt"] = "commit"
    """An entry goes once it is on disk, or once the service has given its `receipt` for it."""
    batch: Annotated[int, Meta(ge=1, le=1_000)] = 1
    """Entries in one request; 1: each goes by itself, not in a list. `mqtt` has so many under way at once."""
    timeout_s: Seconds = 30
    """Time for one request and its answer."""
    retry_initial_s: Seconds = 1
    """Longest first wait after a failure; it doubles each time, and the wait is drawn at random below it."""
    retry_max_s: Seconds = 300
    """Longest wait after a failure."""
    quarantine_max: Count = 1_000
    """Refused entries that are put aside at most; then the route stands still until a person decides."""
    topic: Annotated[str, Meta(max_length=1_000)] = "coldseal/{site}/{kind}"
    """Topic of `mqtt`; `{site}`, `{kind}`, `{device}`, `{sensor}` and `{asset}` stand for the entry's."""
    payload: Literal["article", "cloudevents"] = "article"
    """Form of a payload of `mqtt`: that of `https-json`, or a CloudEvent."""
    client_id: Annotated[str, Meta(max_length=128)] = ""
    """Name at the broker of `mqtt`; empty: `coldseal-`, and a hash of origin and route."""
    ids: dict[str, str] = field(default_factory=dict)
    """GS1 Digital Link address of each asset for `epcis`, a table `[routes.ids]`, such as
    `fridge-3 = "https://id.gs1.org/8004/9521234FRIDGE3"`; one without is only named by its own name."""
    location: str = ""
    """Address of the place for `epcis`, as `https://id.gs1.org/414/…`; empty: `https://` and the origin."""
