"""How the gateway's certificates stand: what is left of each, what their renewal does, alarms, and a request.

An alarm is said once when it begins and once for each step that it grows worse; a file that is being replaced
leaves what was read last. Renews nothing: the uplink's process does, and writes down what came of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coldseal.core.renewal import Alarm, Life
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.uplink.renewals import CAUSES, KEPT, Standing, read_standings
from coldseal.identity.pair import read_life
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Answer, Handler
    from coldseal.gateway.uplink.companion import Companion
    from coldseal.observe.metrics import GatewayMetrics

_DAY_S: Final = 86_400
_ORDER: Final = tuple(Alarm)
_log = Log("gateway.enrolling")


class Certificates:
    """All certificates that a gateway shows to others.

    Args:
        config: the gateway's configuration.
        metrics: where it is shown.
    """

    def __init__(self, config: GatewayConfig, metrics: GatewayMetrics) -> None:
        """Name them; nothing is read yet."""
        self._metrics = metrics
        named = {
            "listener": config.mqtt.certificate,
            "uplink": config.uplink.certificate,
            "broker": config.broker.certificate,
            "mosquitto": config.broker.mosquitto.certificate if config.broker.pid_file is not None else None,
        }
        self._named = {name: path for name, path in named.items() if path is not None}
        order = sorted(
            self._named, key=lambda name: name != "uplink"
        )  # files that serve twice are renewed once
        self._first = {name: next(n for n in order if self._named[n] == self._named[name]) for name in order}
        self._lives: dict[str, Life] = {}
        self._alarms: dict[str, Alarm] = {}
        self._kept = config.gateway.data / KEPT
        self._seen: object = None
        self._standings: Mapping[str, Standing] = {}
        self._url = config.enrolment.url

    def refresh(self, now_ms: int) -> None:
        """Look at the files, set the gauges, and say what has become worse."""
        now_s = now_ms / 1000
        for name, path in self._named.items():
            try:
                self._lives[name] = read_life(path)
            except OperatorError:
                continue
            life = self._lives[name]
            self._metrics.certificate_expiry_seconds.labels(name).set(life.ends_s - now_s)
            self._watch(name, life, now_s)
        self._read_standings()

    def status(self, now_ms: int) -> Mapping[str, Mapping[str, object]]:
        """Say of each what is left, how near its end is, and how its renewal stands."""
        now_s = now_ms / 1000
        found: dict[str, Mapping[str, object]] = {}
        for name, life in self._lives.items():
            row: dict[str, object] = {
                "days": round((life.ends_s - now_s) / _DAY_S, 1),
                "alarm": life.alarm(now_s).value,
            }
            standing = self._standings.get(self._first[name])
            if standing is not None and self._url:
                row |= {
                    "phase": standing.phase.value,
                    "renewals": standing.renewals,
                    "renewed_s": round(now_s - standing.renewed_s) if standing.renewed_s else None,
                    "next_s": round(standing.next_s - now_s),
                    "failures": standing.failures,
                    "fault": standing.fault,
                }
            found[name] = row
        return found

    def _watch(self, name: str, life: Life, now_s: float) -> None:
        """Say once what is worse than at the last look."""
        before, alarm = self._alarms.get(name, Alarm.NONE), life.alarm(now_s)
        self._alarms[name] = alarm
        self._metrics.certificate_alarm.labels(name).set(_ORDER.index(alarm))
        if _ORDER.index(alarm) <= _ORDER.index(before):
            return
        days = round(life.left_s(now_s) / _DAY_S, 1)
        if alarm is Alarm.EXPIRED:
            _log.emit(events.CERTIFICATE_EXPIRED, certificate=name)
        elif alarm is Alarm.CRITICAL:
            _log.emit(events.CERTIFICATE_CRITICAL, certificate=name, days=days)
        else:
            _log.emit(events.CERTIFICATE_EXPIRES, certificate=name, days=days)

    def _read_standings(self) -> None:
        """Read what the uplink's process has written down since, and count what failed meanwhile."""
        try:
            status = self._kept.stat()
        except OSError:
            return
        seen = (status.st_ino, status.st_mtime_ns)
        if seen == self._seen:
            return
        is_first, self._seen = self._seen is None, seen
        before, self._standings = self._standings, read_standings(self._kept)
        for name, standing in self._standings.items():
            if standing.renewed_s:
                self._metrics.certificate_renewed_at.labels(name).set(standing.renewed_s)
            if is_first:  # what failed before this start was counted then
                continue
            old = before.get(name, Standing()).failed
            for cause in CAUSES:
                new = standing.failed.get(cause, 0) - old.get(cause, 0)
                self._metrics.certificate_renewal_failures.labels(cause).inc(max(0, new))


def renew_handler(url: str, uplink: Companion | None) -> Handler:
    """Make what answers the request `renew`: all certificates are asked for now; the answer comes at once.

    Args:
        url: the enrolment server; empty where there is none.
        uplink: the uplink's process, which asks.
    """

    def handle(_request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
        if not url:
            raise OperatorError("enrolment.url is empty", "Set it: who should be asked for certificates?")
        if uplink is None or not uplink.renew():
            raise UnavailableError("the uplink's process", "it is being started again")
        answer({"asked": url})

    return handle
