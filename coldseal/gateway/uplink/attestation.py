"""Attests this gateway to its service: when the uplink starts, and again and again while it runs.

Promises that neither readings nor their delivery wait for it, that a failure is said once and tried again,
and that how the service takes it is written down. Judges nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coldseal.core.attestation.messages import (
    MEDIA_TYPE,
    Standing,
    encode_enrolment,
    encode_quoted,
    encode_token,
    parse_challenge,
    parse_standing,
    parse_token,
)
from coldseal.core.attestation.quotes import AttestationError
from coldseal.core.log import canonical
from coldseal.core.log.delivery.wire import Unavailable
from coldseal.errors import ColdsealError, UnavailableError
from coldseal.gateway.attesting import Told, open_machine, read_told, write_told
from coldseal.gateway.uplink.https import ServiceWay
from coldseal.identity.contexts import client_context
from coldseal.identity.files import replace_private_file
from coldseal.identity.peer import read_peer
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.gateway.attesting import Machine
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.egress import Guard
    from coldseal.gateway.uplink.http import Context

PATH: Final = "/v1/attestation/"
RECOVERY: Final = "/v1/recovery/"
NOT_BOUND: Final = "not-bound"
TOKEN_S: Final = 900
"""A token of the service counts so long."""
_HOUR_S: Final = 3_600
_OK: Final = 200
_REFUSED: Final = 422

_log = Log("uplink.attestation")


class AttestationWay(ServiceWay):
    """The way of attestation; used as ``async with AttestationWay(...)``."""

    async def recover(self, machine: Machine, gateway: str) -> str:
        """Prove the chip without a certificate, and get a one-time enrolment token; raises as `attest`."""
        path = f"{RECOVERY}{gateway}/"
        nonce = parse_token(await self._say("nonce", canonical.encode({}), path), "nonce")
        quoted = await asyncio.to_thread(machine.quoted, gateway, nonce, "recovery")
        return parse_token(await self._say("quote", encode_quoted(quoted), path), "token").decode()

    async def attest(self, machine: Machine, gateway: str) -> Standing:
        """Send a quote, and bind the chip before where the service does not know it.

        Args:
            machine: what speaks for the machine.
            gateway: name in the gateway's certificate.

        Raises:
            UnavailableError: the chip is away, or the service does not answer.
            AttestationError: the service says that it does not hold.
            OperatorError: the chip refuses, or the event log cannot be read.
            InputError: the service's answer is malformed.
        """
        try:
            return await self._quote(machine, gateway)
        except AttestationError as fault:
            if fault.verdict != NOT_BOUND:
                raise
        await self.bind(machine)
        return await self._quote(machine, gateway)

    async def bind(self, machine: Machine) -> None:
        """Show the chip, and prove that the attestation key is in it; raises as `attest`."""
        shown = await asyncio.to_thread(machine.enrolment)
        challenge = parse_challenge(await self._say("enrol", encode_enrolment(shown)))
        opened = await asyncio.to_thread(machine.activate, challenge)
        await self._say("activate", encode_token("secret", opened))

    async def _quote(self, machine: Machine, gateway: str) -> Standing:
        """Ask for a nonce, and answer it."""
        nonce = parse_token(await self._say("nonce", canonical.encode({})), "nonce")
        quoted = await asyncio.to_thread(machine.quoted, gateway, nonce)
        return parse_standing(await self._say("quote", encode_quoted(quoted)))

    async def _say(self, what: str, body: bytes, path: str = PATH) -> bytes:
        """Post one message and read what comes back."""
        reply = await self.ask(path + what, MEDIA_TYPE, body, asyncio.Event())
        if isinstance(reply, Unavailable):
            raise UnavailableError("the service", reply.cause)
        if reply.status == _OK:
            return reply.body
        if reply.status != _REFUSED:
            raise UnavailableError("the service", f"it answered {what} by {reply.status}")
        refusal = canonical.parse(reply.body, where="refusal")
        raise AttestationError(str(refusal.get("error")), str(refusal.get("detail")))


async def attest_once(
    config: GatewayConfig,
    context: Context,
    *,
    now_ms: Callable[[], int],
    guard: Guard | None = None,
) -> Told | None:
    """Attest now; None where this gateway does not attest.

    Args:
        config: the gateway's configuration, with an uplink.
        context: gives the TLS context of the uplink.
        now_ms: wall time, Unix milliseconds.
        guard: the list of ways out.

    Raises:
        ColdsealError: as `AttestationWay.attest`, or what it says cannot be written down.
    """
    machine = await asyncio.to_thread(open_machine, config)
    if machine is None or config.uplink.certificate is None:
        return None
    gateway, uplink = read_peer(config.uplink.certificate).name, config.uplink
    async with AttestationWay(uplink.url, context, timeout_s=uplink.timeout_s, guard=guard) as way:
        standing = await way.attest(machine, gateway)
    told = Told(**standing._asdict(), t=now_ms() // 1000)
    await asyncio.to_thread(write_told, config.gateway.data, told)
    return told


async def recover_once(
    config: GatewayConfig, *, now_ms: Callable[[], int], guard: Guard | None = None
) -> bool:
    """Get a one-time enrolment token by the chip, if the uplink's certificate has ended; whether one came.

    It goes where ``enrolment.token`` says, from where the renewal takes it. One that is there is left for as
    long as it may count.

    Raises:
        ColdsealError: the chip or the service is away, or it says that it does not hold.
    """
    enrolment, uplink, now_s = config.enrolment, config.uplink, now_ms() / 1000
    ca, token = enrolment.ca or uplink.ca, enrolment.token
    if uplink.certificate is None or ca is None or token is None or not token.startswith("file:"):
        return False
    peer, file = read_peer(uplink.certificate), Path(token.removeprefix("file:"))
    if not enrolment.url or peer.not_after.timestamp() > now_s or _is_fresh(file, now_s):
        return False
    machine = await asyncio.to_thread(open_machine, config)
    if machine is None:
        return False
    context = client_context(None, None, ca)
    async with AttestationWay(enrolment.url, context, timeout_s=enrolment.timeout_s, guard=guard) as way:
        found = await way.recover(machine, peer.name)
    await asyncio.to_thread(replace_private_file, file, found.encode())
    _log.emit(events.TOKEN_RECOVERED, file=str(file))
    return True


def _is_fresh(file: Path, now_s: float) -> bool:
    """Whether a token was written so lately that it may still count."""
    try:
        return now_s - file.stat().st_mtime < TOKEN_S
    except OSError:
        return False


async def keep_attested(
    config: GatewayConfig,
    context: Context,
    *,
    now_ms: Callable[[], int],
    chance: Callable[[], float],
    guard: Guard | None = None,
) -> None:
    """Attest again and again, until cancelled; ends at once where this gateway does not attest."""
    data, is_lost = config.gateway.data, False
    while config.attestation.key is not None:
        before = await asyncio.to_thread(read_told, data)
        try:
            told = await attest_once(config, context, now_ms=now_ms, guard=guard)
        except ColdsealError as error:
            if not is_lost:
                _log.emit(events.ATTESTATION_FAILED, cause=str(error))
            is_lost = True
            with suppress(ColdsealError):  # what stands in its way was just said
                await recover_once(config, now_ms=now_ms, guard=guard)
            await asyncio.sleep(config.attestation.retry_s * chance())
            continue
        if is_lost:
            _log.emit(events.ATTESTATION_BACK)
        is_lost = False
        if told is not None and (before is None or _gist(before) != _gist(told)):
            _log.emit(
                events.ATTESTATION_TOLD,
                verdict=told.verdict,
                reference=told.reference,
                changes=list(told.changes),
            )
        await asyncio.sleep(config.attestation.interval_h * _HOUR_S)


def _gist(told: Told) -> tuple[str, str, tuple[str, ...]]:
    """Give what counts of it."""
    return told.verdict, told.reference, told.changes
