"""Puts the parts of alarms together in a running gateway: where each of them learns what it asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from coldseal.core.coldchain.measured import moment_ms
from coldseal.core.topics import ROOT, Channel
from coldseal.gateway.alarming.conditions import Conditions, Worries
from coldseal.gateway.alarming.desk import Desk
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.writer import LOG_FOLDER

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coldseal.core.coldchain.alarm import Alarm
    from coldseal.core.coldchain.register import Register
    from coldseal.core.conduct import Blocked
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.pipeline import Pipeline
    from coldseal.gateway.sources.mqtt import MqttListener
    from coldseal.gateway.store.log import Log
    from coldseal.gateway.tally import Tally
    from coldseal.observe.metrics import GatewayMetrics


class Around(NamedTuple):
    """What alarms need of the program around them.

    Attributes:
        store_key: opens the log.
        listener: shows alarms to displays.
        tally: knows when each sensor was heard, and whether the store is full.
        worries: what the watch over the gateway knows, at a moment.
        hardware: what is wrong with which part of the chip or token, but for the uplink's key.
    """

    store_key: bytes
    listener: MqttListener
    tally: Tally
    worries: Callable[[int], Worries]
    hardware: Callable[[], Mapping[str, str]]


def open_desk(
    config: GatewayConfig,
    arguments: Sequence[str],
    around: Around,
    *,
    clock: Clock,
    metrics: GatewayMetrics,
    log: Log,
    pipeline: Pipeline,
    register: Callable[[], Register],
) -> Desk:
    """Put the parts together; nothing is read yet."""
    tally, broker, conduct = around.tally, around.listener.broker, around.listener.guard.conduct

    def out() -> Sequence[Blocked]:
        return () if conduct is None else conduct.blocked(clock.now().mono_ms)

    def is_heard(alarm: Alarm) -> bool:
        topic = f"{ROOT}/{config.gateway.site}/{alarm.device}/{Channel.READING}/{alarm.sensor}"
        return tally.last_heard.get(topic, 0) > alarm.since_ms

    conditions = Conditions(
        config,
        is_full=lambda: tally.is_full,
        worries=around.worries,
        doubts=lambda: clock.doubts,
        register=register,
        out=out,
        hardware=around.hardware,
    )
    return Desk(
        config,
        arguments,
        clock=clock,
        metrics=metrics,
        pipeline=pipeline,
        reader=lambda: LogReader(config.gateway.data / LOG_FOLDER, around.store_key),
        size=lambda: log.size,
        delay=lambda data: delay_of(register(), data),
        is_heard=is_heard,
        conditions=conditions.look,
        hurries=lambda: {each.device for each in out()},
        publisher=around.listener,
        left=lambda: [record.delivery.topic for record in broker.retained],
    )


def delay_of(register: Register, data: Mapping[str, Any]) -> int:
    """Give when people may be told of an excursion, UTC milliseconds: its begin, and the profile's delay."""
    began_ms = moment_ms(str(data["from"]))
    profile = register.plan(str(data["device"]), str(data["sensor"]), began_ms).profile
    for rule in () if profile is None else profile.quantities:
        if rule.quantity == data["quantity"]:
            delays = {"low": rule.alarm_delay_low_s, "high": rule.alarm_delay_high_s}
            return began_ms + 1000 * delays.get(str(data["direction"]), 0)  # none for a mean
    return began_ms
