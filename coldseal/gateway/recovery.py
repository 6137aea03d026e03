"""Brings a damaged log up again: saves what proves itself, fills holes from the service, states what is lost.

Promise: no file of the old log is deleted or changed, it lies in quarantine; the log that goes on is there
whole or not at all, also when the program dies in between; and what happened is its own signed word. Whether
a store is damaged is not decided here, nor whether one was put back from an old copy.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.log.canonical import encode
from coldseal.core.log.checkpoint import parse_checkpoint_text, parse_note
from coldseal.core.log.keys import Keys
from coldseal.core.log.record import Chain, parse_entry
from coldseal.core.log.succession import next_origin
from coldseal.errors import ColdsealError, TrustError, UnavailableError
from coldseal.gateway.carrying import Plan, carry, gap_data
from coldseal.gateway.clock import Clock, render_time
from coldseal.gateway.continued import RECEIPT, write_continued
from coldseal.gateway.projection import sealed_lately
from coldseal.gateway.records import place_of
from coldseal.gateway.replacing import DAMAGED, QUARANTINE, in_order, make_ready, put_in_place, take_back
from coldseal.gateway.scrubbing import scrub
from coldseal.gateway.store.database import StoreDamagedError, WrongKeyError
from coldseal.gateway.store.disk import DISK
from coldseal.gateway.store.lost import name_gap
from coldseal.gateway.store.opening import DAY, SETTINGS, SNAPSHOT, lock_log
from coldseal.gateway.store.pages import Pages
from coldseal.gateway.store.reader import LogReader
from coldseal.gateway.store.rebuilding import Rebuilding
from coldseal.gateway.store.salvage import Found, Range, missing
from coldseal.gateway.store.segments import State, segment_path
from coldseal.gateway.survey import Outcome, Part, Survey
from coldseal.gateway.uplink.receipts import Receipts
from coldseal.gateway.writer import LOG_FOLDER, REDELIVERY_WINDOW, Run, open_log
from coldseal.observe import events
from coldseal.observe.logs import Log
from coldseal.signing.keys import open_ecdsa
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from coldseal.core.redelivery import Redelivery
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.store.log import Log as EntryLog

_DRAFT: Final = "recovering"
_FOUND: Final = "recovering.db"
_HERE: Final = Path()  # paths in a configuration are absolute once it is loaded
_DAY_MS: Final = 86_400_000
_log = Log("gateway.recovery")


async def recover(
    config: GatewayConfig,
    *,
    is_dry: bool = False,
    tell: Callable[[str], None] = lambda _line: None,
    access: bytes = b"",
) -> Plan:
    """Save what there is of a log, and put one in its place that goes on.

    Args:
        config: the gateway's configuration; no gateway may run.
        is_dry: only say what would be done.
        tell: is told what is under way, in words.
        access: what the `access` entry says of whoever asked for it; empty for what a start does by itself.

    Raises:
        OperatorError: somebody writes the log, or a key is not the log's.
        UnavailableError: something cannot be written now.
        StoreDamagedError: what was saved contradicts what the log itself had signed.
    """
    config = in_order(config)
    data, clock = config.gateway.data, Clock()
    key = read_symmetric_key(config.store.key, _HERE)
    with ExitStack() as stack:
        stack.callback(os.close, lock_log(data / LOG_FOLDER, DISK))
        found = stack.enter_context(Found(data / _FOUND, key, config.gateway.origin))
        survey = _survey(config, key, found)
        receipt, published = _receipt(data, key)
        survey.look(tell)
        survey.known = max(survey.known, published)
        service, note = await _fill(config, survey, tell) if config.uplink.url else (None, b"")
        published = max(published, service or 0)
        if service is not None and note:
            receipt = note
        has_uplink = bool(config.uplink.url)
        outcome = survey.outcome(published, has_uplink=has_uplink)
        place = _next_quarantine(data, clock)
        plan = _plan(survey, outcome, service, published, place, has_uplink=has_uplink)
        if is_dry:
            return plan
        tell(f"the log goes on as {plan.origin}: {outcome.value}")
        gap = await _build(config, survey, plan, receipt, clock, access=access)
        put_in_place(data, plan.quarantine)
    return msgspec.structs.replace(plan, gap=gap)


async def open_sound(config: GatewayConfig, store_key: bytes, now_ms: int) -> tuple[GatewayConfig, EntryLog]:
    """Open the log for a gateway that starts, recovering it first if it is damaged.

    Args:
        config: the gateway's configuration.
        store_key: the store key.
        now_ms: UTC now, in milliseconds since 1970.

    Returns:
        The configuration that is in force, and the log.

    Raises:
        ColdsealError: as `open_log`, `repair` and `recover`.
    """
    config = in_order(config)
    if config.recovery.automatic and (known := _known_damage(config)) is not None:
        try:
            config = await repair(config, known)
        except ColdsealError as error:  # the end of the log is sound: it goes on, as it did until now
            _log.emit(events.STORE_DAMAGED, error=str(error))
            take_back(config.gateway.data)
    try:
        return config, open_log(config, store_key, now_ms)
    except (StoreDamagedError, WrongKeyError) as error:
        config = await repair(config, error)
    return config, open_log(config, store_key, now_ms)


async def is_sound(config: GatewayConfig) -> bool:
    """Whether there is nothing to recover: neither a start nor a whole reading finds damage, or a hole.

    Raises:
        OperatorError: somebody writes the log, or a key is not the log's.
        UnavailableError: it cannot be read now.
    """
    config = in_order(config)
    key, folder = read_symmetric_key(config.store.key, _HERE), config.gateway.data / LOG_FOLDER
    try:
        log = open_log(config, key, Clock().now().t_ms)
        await log.close()
        for _ in scrub(folder, key):
            pass
        with closing(LogReader(folder, key)) as reader:
            is_whole = not any(map(reader.has_lost, [0, *reader.segment_ends()]))
    except (StoreDamagedError, WrongKeyError):
        return False
    return is_whole and _known_damage(config) is None


async def repair(config: GatewayConfig, error: ColdsealError) -> GatewayConfig:
    """Recover a log that a start found damaged; gives the configuration that is in force then.

    Args:
        config: the gateway's configuration.
        error: what the start found.

    Raises:
        ColdsealError: the error itself, where a person must decide: this is switched off, or the key is
            another one; else as `recover`.
    """
    if not config.recovery.automatic or (isinstance(error, WrongKeyError) and not _is_key_right(config)):
        raise error
    _log.emit(events.STORE_DAMAGED, error=str(error))
    plan = await recover(config)
    _log.emit(
        events.STORE_RECOVERED,
        outcome=plan.outcome.value,
        origin=plan.origin,
        size=plan.size,
        lost=sum(last - first + 1 for first, last in plan.lost),
        filled=sum(last - first + 1 for first, last in plan.filled),
        carried=plan.carried,
        gap=plan.gap,
        quarantine=plan.quarantine,
    )
    return in_order(config)


def _is_key_right(config: GatewayConfig) -> bool:
    """Whether some page of the log holds under the configured key."""
    key, folder = read_symmetric_key(config.store.key, _HERE), config.gateway.data / LOG_FOLDER
    for path in folder.glob("*.db"):
        with Pages(path, key) as pages:
            if pages.is_ours:
                return True
    return False


def _known_damage(config: GatewayConfig) -> StoreDamagedError | None:
    """Give the damage that was found while the log was read again, if there is some."""
    path = config.gateway.data / DAMAGED
    if not path.exists():
        return None
    seq = path.read_text()
    return StoreDamagedError(
        "the log", "reading it again found damage", int(seq) if seq.isdecimal() else None
    )


def note_damage(config: GatewayConfig, seq: int | None) -> None:
    """Let the next start know that the log is damaged."""
    (config.gateway.data / DAMAGED).write_text("" if seq is None else str(seq))


def _survey(config: GatewayConfig, key: bytes, found: Found) -> Survey:
    """Begin to look at a log."""
    record, gateway = open_ecdsa(config.keys.record, base=_HERE), config.gateway
    configured = Keys(record.spki, ())  # checkpoints are not judged: their key may be in a chip that is away
    return Survey(gateway.data / LOG_FOLDER, key, gateway.origin, found, configured, gateway.signature)


def _receipt(data: Path, key: bytes) -> tuple[bytes, int]:
    """Give the newest receipt, and how many entries it covers."""
    with suppress(ColdsealError):
        receipts = Receipts(data, key, readonly=True)
        try:
            newest = receipts.newest()
        finally:
            receipts.close()
        if newest is not None:
            return newest.note, newest.size
    return b"", 0


async def _fill(
    config: GatewayConfig, survey: Survey, tell: Callable[[str], None]
) -> tuple[int | None, bytes]:
    """Put what the service has into the holes; gives how many entries it has, and its newest receipt."""
    from coldseal.gateway.copying import NoCopyError, ServiceCopy  # noqa: PLC0415 -- an HTTP client, for this alone

    try:
        async with ServiceCopy(config) as copy:
            size, note = await copy.size(), await copy.checkpoint()
            survey.known = max(survey.known, size)
            for hole in survey.holes:
                end = min(hole.end, size)
                if hole.first < end:
                    tell(f"asking the service for entries {hole.first} to {end - 1}")
                    async for part in copy.stream(hole.first, end):
                        survey.found.add(part)
    except NoCopyError:
        return 0, b""
    except (UnavailableError, TrustError) as error:
        tell(f"the service gives nothing: {error}")
        return None, b""
    holes = survey.holes
    survey.link()
    left = survey.holes
    survey.filled = [
        part for hole in holes for part in missing(left, hole.first, hole.end) if part.first < part.end
    ]
    return size, note


def _plan(
    survey: Survey,
    outcome: Outcome,
    service: int | None,
    published: int,
    quarantine: str,
    *,
    has_uplink: bool,
) -> Plan:
    """Say what will be done."""
    is_next = outcome is Outcome.SUCCESSOR
    carried = sum(1 for _ in survey.entries_from(published, is_all=has_uplink)) if is_next else 0
    return Plan(
        outcome=outcome,
        origin=next_origin(survey.origin) if is_next else survey.origin,
        size=survey.size,
        known=max(survey.known, survey.size),
        unreadable=_pairs(survey.unreadable),
        filled=_pairs(survey.filled),
        lost=_pairs(survey.holes),
        carried=carried,
        service=service,
        published=published,
        quarantine=quarantine,
    )


def _next_quarantine(data: Path, clock: Clock) -> str:
    """Name the folder for the old files."""
    numbers = [int(path.name[:4]) for path in (data / QUARANTINE).glob("[0-9][0-9][0-9][0-9]-*")]
    stamp = render_time(clock.now().t_ms).replace(":", "").partition(".")[0]
    return f"{max(numbers, default=0) + 1:04d}-{stamp}Z"


async def _build(
    config: GatewayConfig, survey: Survey, plan: Plan, receipt: bytes, clock: Clock, *, access: bytes
) -> int:
    """Make the log that goes on, beside the old one, and seal what happened; gives the seq of the gap."""
    draft = config.gateway.data / _DRAFT
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    gateway = msgspec.structs.replace(config.gateway, data=draft)
    if plan.outcome is Outcome.SUCCESSOR:
        cited = _cited(config, survey, receipt)
        write_continued(draft, plan.origin, cited)
        after = f"file:{draft / RECEIPT}" if cited else None
        gateway = msgspec.structs.replace(gateway, origin=plan.origin, after=after)
        new = msgspec.structs.replace(config, gateway=gateway)
        gap = await carry(new, survey, plan, _known(config, survey), clock, access=access)
    else:
        _rebuild(config, draft / LOG_FOLDER, survey, clock)
        new = msgspec.structs.replace(config, gateway=gateway)
        async with Run.open(new) as run:
            data = gap_data(survey.origin, plan, clock)
            said = [("access", access)] if access else []
            said.append(("gap", encode(data)))
            *_, raw = await run.append([run.journal.draft(*each, clock.now()) for each in said])
        gap = place_of(raw).seq
        for part in survey.parts:
            if missing(survey.runs, part.first, part.end) and part.end > part.first:
                name_gap(segment_path(draft / LOG_FOLDER, part.first), survey.key, gap)
    make_ready(draft, config.gateway.data, plan.quarantine)
    return gap


def _rebuild(config: GatewayConfig, folder: Path, survey: Survey, clock: Clock) -> None:
    """Write the same log again, with what was saved, and a fresh segment to go on in."""
    found = survey.found
    new = Rebuilding(folder, survey.key, survey.head)
    holed: list[Part] = []
    for part in survey.parts:
        if part.is_sound:
            new.take_sound(part.path, part.first, part.end)
        elif part.end > part.first:
            holes = missing(survey.runs, part.first, part.end)
            holed += [part] if holes else []
            notes = found.notes(part.first, part.end)
            new.write(part.first, found.entries(part.first, part.end), holes, notes, {})
    chain = _chain(survey, new)
    for part in holed:
        new.keep_tree(part.first, chain, found.tiles(part.first, part.end))
    states = {
        DAY: State(survey.size, str(clock.now().t_ms // _DAY_MS).encode()),
        SNAPSHOT: survey.snapshot() or State(survey.size, _known(config, survey).snapshot()),
        SETTINGS: State(survey.size, survey.settings()),
    }
    new.finish(chain, states)


def _chain(survey: Survey, new: Rebuilding) -> Chain:
    """Give the chain behind the last entry: worked out from all of them, or gone on with over a hole."""
    chain = survey.chain()
    if new.tree is None:
        if chain is None:  # the outcome would be another one
            raise UnavailableError("the log", "its end is not known")
        return chain
    made = Chain(survey.origin, survey.configured.kid if chain is None else chain.kid)
    made.tree = new.tree
    if new.last is not None:
        made.head = new.last.hex()
    return made


def _known(config: GatewayConfig, survey: Survey) -> Redelivery:
    """Remember the messages that were sealed lately, as far as they can be read."""
    window = max(REDELIVERY_WINDOW, 2 * config.mqtt.receive_maximum)
    state = survey.found.state(SNAPSHOT, survey.size)
    known = sealed_lately(None if state is None else state.value, window=window)
    for _, raw in survey.found.entries(0 if state is None else state.size, survey.size):
        known.replay(parse_entry(raw))
    return known


def _cited(config: GatewayConfig, survey: Survey, receipt: bytes) -> bytes:
    """Give what the next log cites: the last receipt; without any witness, the newest own checkpoint."""
    if receipt and parse_checkpoint_text(parse_note(receipt).text).origin == survey.origin:
        return receipt
    return b"" if config.uplink.witness else survey.newest_note()


def _pairs(ranges: list[Range]) -> list[tuple[int, int]]:
    """Give ranges as first and last seq."""
    return [(each.first, each.end - 1) for each in ranges]
