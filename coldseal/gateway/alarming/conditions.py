"""What should not be so in a gateway, where an alarm helps: room, certificates, time, witnesses, rogues.

Each look gives all of it; what is not in the next one is over. Reads what other parts know, and judges
nothing anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coldseal.core.coldchain.alarms import Condition
from coldseal.core.coldchain.profile import Tier
from coldseal.core.coldchain.register import FOREVER
from coldseal.core.log.succession import first_origin
from coldseal.core.topics import NOT_AUTHORISED, WILL
from coldseal.gateway.clock import render_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from coldseal.core.coldchain.register import Register
    from coldseal.core.conduct import Blocked
    from coldseal.gateway.config import GatewayConfig

    Certificates = Mapping[str, Mapping[str, object]]
    """Of each certificate: `days` left and `alarm`, as the status shows them."""

TIERS: Final[Mapping[object, Tier]] = {
    "warning": Tier.WARNING,
    "critical": Tier.EXCURSION,
    "expired": Tier.CRITICAL,
}
"""How heavy it is that a certificate ends."""

GRAVE: Final = frozenset({NOT_AUTHORISED, WILL})
"""Why a device was cut off, where another may have its key: a person must look, even when it is over."""

CLOCK_PATIENCE_MS: Final = 900_000
"""A clock that is doubtful for so long is an alarm: behind a start it is for some minutes."""


class Worries(NamedTuple):
    """What the watch over a gateway knows, at a moment.

    Attributes:
        days_left: the days until its store is full; None: not known.
        certificates: how each stands.
        unsigned: why the uplink's key does not sign; empty while it does.
        unwitnessed_s: how long the oldest entry has waited for the quorum, where that is too long; else 0.
        disputes: the witnesses, and the service, that hold another history to be this log's, each with why.
    """

    days_left: float | None
    certificates: Certificates
    unsigned: str
    unwitnessed_s: float
    disputes: tuple[tuple[str, str], ...] = ()


class Conditions:
    """Looks.

    Args:
        config: the gateway's configuration.
        is_full: whether the store is full.
        worries: what the watch over the gateway knows, at a moment.
        doubts: the flags that readings get because of the clock.
        register: what is in force.
        out: the devices that are kept out.
        hardware: what is wrong with which part of the chip or token, but for the uplink's key.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        is_full: Callable[[], bool],
        worries: Callable[[int], Worries],
        doubts: Callable[[], tuple[str, ...]],
        register: Callable[[], Register],
        out: Callable[[], Iterable[Blocked]],
        hardware: Callable[[], Mapping[str, str]],
    ) -> None:
        """Take the parts."""
        self._name = first_origin(config.gateway.origin).rpartition("/")[2]
        self._budget, self._maintenance_ms = config.budget, round(config.alarms.maintenance_s * 1000)
        self._doubted_ms = FOREVER
        self._is_full, self._worries = is_full, worries
        self._doubts, self._register = doubts, register
        self._out, self._hardware = out, hardware

    def look(self, now_ms: int) -> list[Condition]:
        """Give all that should not be so now."""
        worries = self._worries(now_ms)
        return [*self._of_gateway(worries, now_ms), *self._of_edge(worries), *self._of_sensors(now_ms)]

    def _of_gateway(self, worries: Worries, now_ms: int) -> Iterator[Condition]:
        """Look at the gateway itself."""
        days = worries.days_left
        if self._is_full():
            yield self._own("storage", Tier.CRITICAL, "the store is full: readings are not acknowledged")
        elif days is not None and days <= self._budget.warn_days:
            tier = Tier.EXCURSION if days <= self._budget.critical_days else Tier.WARNING
            yield self._own("storage", tier, f"the store is full in {days:.1f} days at the present rate")
        for name, row in worries.certificates.items():
            weight = TIERS.get(row.get("alarm"))
            if weight is not None:
                text = f"the {name} certificate has {row.get('days')} days left"
                yield self._own("certificate", weight, text, name)
        if worries.unwitnessed_s:
            text = f"for {worries.unwitnessed_s / 3600:.1f} hours no quorum has cosigned what was sealed"
            yield self._own("witness", Tier.EXCURSION, text)
        for name, fault in worries.disputes:
            text = f"{self._name}: {name} disputes this log ({fault}): what it signed is kept"
            yield Condition(f"witness/{name}", "witness", Tier.CRITICAL, text, "", self._name, "witness")
        if self._doubts():
            self._doubted_ms = min(self._doubted_ms, now_ms)
            if now_ms - self._doubted_ms >= CLOCK_PATIENCE_MS:
                yield self._own("clock", Tier.WARNING, "time may be off by too much: readings are flagged")
        else:
            self._doubted_ms = FOREVER

    def _of_edge(self, worries: Worries) -> Iterator[Condition]:
        """Look who is kept out, and at the chip."""
        for each in self._out():
            weight = Tier.CRITICAL if each.reason in GRAVE else Tier.WARNING
            text = f"device {each.device} was cut off ({each.reason}) and is kept out: who holds its key?"
            yield self._own("device", weight, text, each.device)
        unsigned = {"transport-key": worries.unsigned} if worries.unsigned else {}
        for name, fault in {**self._hardware(), **unsigned}.items():
            yield self._own("hardware", Tier.EXCURSION, f"{name}: {fault}", name)

    def _own(self, kind: str, tier: Tier, text: str, name: str = "") -> Condition:
        """Write down what concerns the gateway."""
        about = f"{kind}/{name}" if name else kind
        return Condition(about, kind, tier, f"{self._name}: {text}", "", self._name, name or kind)

    def _of_sensors(self, now_ms: int) -> Iterator[Condition]:
        """Look for calibrations that are overdue, and for maintenance that somebody has forgotten."""
        register = self._register()
        for (device, sensor), watched in register.sensors.items():
            plan, where = register.plan(device, sensor, now_ms), f"{device}/{sensor}"
            names = (plan.asset, device, sensor)
            overdue = [each for each in plan.calibrations if each.due_ms <= now_ms]
            if overdue:
                text = f"{where}: calibration {overdue[0].id} was due {render_time(overdue[0].due_ms)[:10]}"
                yield Condition(f"calibration/{where}", "calibration", Tier.WARNING, text, *names)
            began_ms = max((at for at, _ in watched.maintenance if at <= now_ms), default=now_ms)
            if plan.maintenance and self._maintenance_ms and now_ms - began_ms >= self._maintenance_ms:
                text = f"{where}: in maintenance since {render_time(began_ms)}: {plan.maintenance}"
                yield Condition(f"maintenance/{where}", "maintenance", Tier.WARNING, text, *names)
