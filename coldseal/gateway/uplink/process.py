"""The uplink as a process of its own: ``python -m coldseal.gateway.uplink.process END CONFIG [key=value …]``.

Started, and started again, by `companion`; it ends when its standard input does. A line there says that
the log has grown; ``resume`` that a held delivery may go on; ``renew`` that every certificate is wanted anew.
It only reads the log, and asks at END, a socket's descriptor, for the key of each file.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import Coroutine, Sequence
from contextlib import closing
from typing import BinaryIO, Final

from coldseal.core.log.delivery.notices import Finder
from coldseal.core.log.delivery.sender import RetryPolicy, Terms
from coldseal.errors import InputError, OperatorError
from coldseal.gateway.config import GatewayConfig
from coldseal.gateway.egress import KEPT, Guard
from coldseal.gateway.handing import Handed
from coldseal.gateway.processes import run_beside
from coldseal.gateway.store.file_keys import StoreKey
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.uplink.contact import Contact, ask_note, open_key
from coldseal.gateway.uplink.https import Channel, NoticeChannel
from coldseal.gateway.uplink.names import guard_of
from coldseal.gateway.uplink.notices import Announcer
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.uplink.renewal import Renewal
from coldseal.gateway.uplink.runner import Bell, Uplink
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.uris import parse_transport

LOG_FOLDER: Final = "log"
"""The log's folder below the gateway's data folder."""
RESUME: Final = b"resume"
RENEW: Final = b"renew"
"""Line on standard input that has every certificate renewed at once."""

_log = Log("uplink.process")


def main(arguments: Sequence[str]) -> int:
    """Deliver until standard input ends; 2 stands for a wrong configuration, 3 for another fault."""
    end, *rest = arguments or ("",)

    async def serve(config: GatewayConfig) -> None:
        """Do it with the keys that the gateway gives out."""
        with closing(Handed.of(end)) as key:
            await run(config, sys.stdin.buffer, key)

    return run_beside(
        rest,
        serve,
        part="uplink",
        log=_log,
        failed=events.UPLINK_FAILED,
    )


async def run(config: GatewayConfig, told: BinaryIO, key: StoreKey) -> None:
    """Deliver until ``told`` ends; ``key`` opens what is read and written.

    Raises:
        OperatorError: the configuration names something that is missing or wrong.
        UnavailableError: receipts cannot be stored.
        ExceptionGroup: of one TrustError: the log is damaged.
    """
    uplink = config.uplink
    if uplink.certificate is None or uplink.key is None or uplink.ca is None:
        raise OperatorError("uplink is not configured", "Set uplink.url, certificate, key, ca and witness")
    retry = RetryPolicy(uplink.retry_initial_s, uplink.retry_max_s)
    terms = Terms(open_key("uplink.witness", uplink.witness), uplink.batch_entries, retry)
    finder = _open_finder(uplink.urgent)
    transport = parse_transport(uplink.key)
    renewal = Renewal(uplink.certificate, transport, uplink.ca, now_ms=_now_ms, crl=uplink.crl)
    data = config.gateway.data
    guard = guard_of(config, kept=data / KEPT)
    quorum = config.witness.quorum
    asked = ["+".join(each.key.split("+", 2)[:2]) for each in uplink.witnesses]
    with (
        closing(LogReader(data / LOG_FOLDER, key)) as reader,
        closing(Receipts(data, key, quorum=quorum, witnesses=asked)) as receipts,
    ):
        async with (
            Channel(uplink.url, renewal.context, timeout_s=uplink.timeout_s, guard=guard) as channel,
            NoticeChannel(
                uplink.url, renewal.context, timeout_s=uplink.timeout_s, guard=guard
            ) as side_channel,
        ):
            bell, side_bell, *bells = (Bell() for _ in range(2 + len(uplink.witnesses)))
            contact = _open_contact(config, channel, renewal, guard, key)
            runner = Uplink(
                reader,
                receipts,
                contact.post,
                terms,
                bell=bell,
                chance=_chance,
                now_ms=_now_ms,
            )
            _log.emit(events.UPLINK_STARTED, url=uplink.url, published=runner.delivery.published)
            telling = Announcer(
                runner, reader, side_channel.post, terms, finder, bell=side_bell, chance=_chance
            ).run()
            wanted = asyncio.Event()
            beside = [telling, *_configured(config, renewal, wanted, guard=guard, key=key)]
            if uplink.witnesses:
                from coldseal.gateway.uplink.witnesses import ask_witnesses  # noqa: PLC0415 -- as in _configured

                beside += ask_witnesses(
                    config, runner, reader, receipts, bells, chance=_chance, now_ms=_now_ms, guard=guard
                )
            await _deliver(runner, [bell, side_bell, *bells], told, wanted, *beside)


def _configured(
    config: GatewayConfig, renewal: Renewal, wanted: asyncio.Event, *, guard: Guard, key: StoreKey
) -> list[Coroutine[None, None, None]]:
    """Give what goes on beside the delivery; what is not configured is not loaded either, to save memory."""
    data = config.gateway.data
    found: list[Coroutine[None, None, None]] = []
    if config.timestamp.url:
        from coldseal.gateway.uplink.timestamps import stamp_segments  # noqa: PLC0415 -- only where configured

        found.append(stamp_segments(config.timestamp, data, data / LOG_FOLDER, key, guard=guard))
    if config.enrolment.url:
        from coldseal.gateway.uplink.enrolment import keep_renewed  # noqa: PLC0415 -- only where configured

        found.append(
            keep_renewed(config, wanted, guard=guard, chance=_chance, now_s=lambda: _now_ms() / 1000)
        )
    if config.attestation.key is not None:
        from coldseal.gateway.uplink.attestation import keep_attested  # noqa: PLC0415 -- only where configured

        found.append(keep_attested(config, renewal.context, now_ms=_now_ms, chance=_chance, guard=guard))
    return found


def _open_contact(
    config: GatewayConfig, channel: Channel, renewal: Renewal, guard: Guard, key: StoreKey
) -> Contact:
    """Put together what compares the logs before anything is sent."""
    uplink, origin, data = config.uplink, config.gateway.origin, config.gateway.data
    return Contact(
        channel.post,
        lambda: ask_note(uplink.url, origin, renewal.context(), timeout_s=uplink.timeout_s, guard=guard),
        lambda: LogReader(data / LOG_FOLDER, key),
        origin=origin,
        witness=open_key("uplink.witness", uplink.witness),
        data=data,
        now_ms=_now_ms,
    )


def _open_finder(urgent: Sequence[str]) -> Finder:
    """Take the kinds that are urgent.

    Raises:
        OperatorError: there is no such kind.
    """
    try:
        return Finder(urgent)
    except InputError as error:
        raise OperatorError(
            f"uplink.urgent: {error}", "Name kinds as docs/specs/records.md has them"
        ) from error


def _chance() -> float:
    """Give a number in [0, 1) that nobody can foretell."""
    return random.SystemRandom().random()


def _now_ms() -> int:
    """Give wall time, Unix milliseconds."""
    return time.time_ns() // 10**6


async def _deliver(
    uplink: Uplink,
    bells: Sequence[Bell],
    told: BinaryIO,
    wanted: asyncio.Event,
    *beside: Coroutine[None, None, None],
) -> None:
    """Deliver, do what goes on beside it, and ring the bells for each line, until there are no more."""
    lines = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), told
    )
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each) for each in (uplink.run(), *beside)]
            await asyncio.sleep(0)  # each takes its first step: a wrong setting is told in any case
            while line := await lines.readline():
                if line.strip() == RENEW:
                    wanted.set()
                    continue
                for bell in bells:
                    if line.strip() == RESUME:
                        bell.nudge()
                    else:
                        bell.grow()
            for each in running:
                each.cancel()
    finally:
        transport.close()
        await uplink.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
