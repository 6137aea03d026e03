"""What a person decides about a log that was put back: restore it, or go on under the next origin.

Promise: nothing is deleted, and nothing that was sealed is lost to sight: the folder that was found goes into
quarantine, and what it held beyond the witnessed log is carried over as `import` entries. The decision itself
is an entry, with who and why. The log that goes on is in force whole or not at all.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from coldseal.core.access import Action
from coldseal.core.log import canonical
from coldseal.core.log.merkle import HASH_SIZE
from coldseal.core.log.record import parse_entry
from coldseal.core.log.tiles import WIDTH
from coldseal.core.redelivery import Redelivery
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.carrying import carried
from coldseal.gateway.clock import Clock, render_time
from coldseal.gateway.cloning import (
    GROUP_ENTRIES,
    Building,
    begin_draft,
    begin_next,
    opened,
    own_note,
    put_in_force,
)
from coldseal.gateway.copying import ServiceCopy
from coldseal.gateway.counting import accept
from coldseal.gateway.persons import Asked, Directory, access_data
from coldseal.gateway.recovery import is_sound
from coldseal.gateway.refusal import COUNTER, NAME, Refusal, read_refusal
from coldseal.gateway.replacing import QUARANTINE, in_order
from coldseal.gateway.store.disk import DISK
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.opening import lock_log
from coldseal.gateway.store.pruned import PrunedError
from coldseal.gateway.store.reader import HEAD_NAME, LogReader
from coldseal.gateway.uplink.contact import disagreement, own_keys
from coldseal.gateway.writer import LOG_FOLDER, REDELIVERY_WINDOW, Run
from coldseal.signing.private_files import make_private_folder, sync_directory
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from coldseal.gateway.config import GatewayConfig

CAUSE: Final = "rolled-back"
"""Cause of the `gap` entry that states a decision."""

WHY_CARRIED: Final = "sealed behind an older state that the log was put back to"

REMEMBERED: Final = 65_536
"""Entries before the end of a log that are looked at for what devices have sent lately."""

_HERE: Final = Path()


class Decided(msgspec.Struct, frozen=True):
    """What was done.

    Args:
        origin: of the log that goes on.
        common: entries that the log on disk had in common with the service's copy.
        fetched: entries that came from the service.
        carried: entries that were carried over.
        quarantine: where what was found is kept.
    """

    origin: str
    common: int
    fetched: int
    carried: int
    quarantine: Path


class Decision:
    """Carries a decision out, where no gateway writes the log.

    Args:
        config: the gateway's configuration.
        who: decides.
        why: in words.
        told: is told how many entries are done, of how many.

    Attributes:
        refusal: what is to be decided.
    """

    def __init__(self, config: GatewayConfig, who: str, why: str, told: Callable[[int, int], None]) -> None:
        """Take the facts; what an earlier command left ready is put in force.

        Raises:
            OperatorError: there is nothing to decide, the user of this process may not, which cannot be put
                on record while the gateway refuses, or a key cannot be read.
            UnavailableError: a folder cannot be moved.
        """
        self._config = config = in_order(config)
        self._who, self._why, self._told = who, why, told
        self._data, self._log = config.gateway.data, config.gateway.data / LOG_FOLDER
        self._key = read_symmetric_key(config.store.key, _HERE)
        found = read_refusal(self._data)
        if found is None:
            raise OperatorError(f"{self._data} has nothing to decide", "The gateway does not refuse: run it")
        self.refusal: Refusal = found
        self._person = Directory(config.administration).require(Action.RECOVER)

    async def restore(self) -> Decided:
        """Bring the log to where the service has it, under its own origin.

        Raises:
            OperatorError: the service has less than was proven, or a gateway writes the log.
            UnavailableError, TrustError: the service is away or lies, or the disk cannot be written.
        """
        origin, count = self.refusal.origin, 0
        with self._opened() as reader:
            if self._is_done(reader):
                return self._settle(self._newest())
            async with ServiceCopy(self._config, keys=own_keys(reader, origin)) as copy:
                size = await copy.size()
                if size < self.refusal.known:
                    what = f"the service has {size} entries, but {self.refusal.known} were witnessed"
                    raise OperatorError(what, "It was put back as well: restore it, or decide --successor")
                common = await shared(reader, copy)
                draft = begin_draft(self._data)
                await self._build(reader, copy, draft / LOG_FOLDER, common)
            gateway = msgspec.structs.replace(self._config.gateway, data=draft)
            async with Run.open(msgspec.structs.replace(self._config, gateway=gateway)) as run:
                drafts = [self._access("restore"), self._gap("restore", reader, common, size)]
                for raw in self._left(reader, common):
                    run.known.redelivery.replay(parse_entry(raw))
                    drafts.append(("import", carried(raw, self._who, WHY_CARRIED)))
                count = len(drafts) - 2
                for at in range(0, len(drafts), GROUP_ENTRIES):
                    now = run.clock.now()
                    await run.append(
                        [
                            run.journal.draft(kind, canonical.encode(data), now)
                            for kind, data in drafts[at : at + GROUP_ENTRIES]
                        ]
                    )
            folder = put_in_force(self._config)
        return self._settle(folder, common, size - common, count)

    async def successor(self) -> Decided:
        """Begin the log that continues this one behind what was witnessed of it.

        Raises:
            OperatorError: a gateway writes the log, or the receipt cannot be cited.
            UnavailableError, TrustError: the service is away or lies, or the disk cannot be written.
        """
        with self._opened() as reader:
            if self._is_done(reader):
                return self._settle(self._newest())
            async with ServiceCopy(self._config, keys=own_keys(reader, self.refusal.origin)) as copy:
                size, note = await copy.size(), await copy.checkpoint()
                common = await shared(reader, copy)
                known = await self._memory(reader, copy, common)
            if size < self.refusal.known:
                note = self.refusal.note.encode()
            known_size = max(size, self.refusal.known)
            records = [self._access("successor"), self._gap("successor", reader, common, known_size)]
            records += [
                ("import", carried(raw, self._who, WHY_CARRIED)) for raw in self._left(reader, common)
            ]
            folder = await begin_next(self._config, note, known, records)
        return self._settle(folder, common, 0, len(records) - 2)

    @contextmanager
    def _opened(self) -> Iterator[LogReader]:
        """Make sure that nobody writes the log, and open it for reading."""
        with ExitStack() as stack:
            stack.callback(os.close, lock_log(self._log, DISK))
            yield stack.enter_context(closing(LogReader(self._log, self._key)))

    def _is_done(self, reader: LogReader) -> bool:
        """Whether a decision was carried out before, and only its end is missing."""
        origin, found = self._config.gateway.origin, self.refusal
        if found.origin != origin:
            return True
        if found.source == COUNTER:  # the chip tells that entries are missing, not which
            return False
        note = found.note.encode()
        return disagreement(reader, origin, note, None, source=found.source, now_ms=found.found_ms) is None

    async def _build(self, reader: LogReader, copy: ServiceCopy, folder: Path, common: int) -> None:
        """Write the log as the service has it: from here what is the same, from there what is not."""
        size, note, origin = await copy.size(), await copy.checkpoint(), self.refusal.origin
        async with opened(self._config, folder, origin) as log:
            building = Building(log, Redelivery(REDELIVERY_WINDOW), lambda done: self._told(done, size))
            async for part in _entries(reader, copy, 0, common):
                await building.add(part)
            async for part in copy.stream(common, size):
                await building.add(part)
            await building.finish(own_note(note, origin))

    async def _memory(self, reader: LogReader, copy: ServiceCopy, common: int) -> Redelivery:
        """Learn what devices have sent lately: on both ways, the one that was seen here last."""
        known, size = Redelivery(REDELIVERY_WINDOW), await copy.size()
        async for part in _entries(reader, copy, max(0, common - REMEMBERED), common):
            for raw in part:
                known.replay(parse_entry(raw))
        async for part in copy.stream(max(common, size - REMEMBERED), size):
            for raw in part:
                known.replay(parse_entry(raw))
        for raw in self._left(reader, common):
            known.replay(parse_entry(raw))
        return known

    def _left(self, reader: LogReader, common: int) -> Iterator[bytes]:
        """Give what was sealed here and is not in the witnessed log."""
        return reader.read_from(common)

    def _access(self, choice: str) -> tuple[str, dict[str, canonical.Value]]:
        """Give what the log says of the user who decides."""
        asked = Asked(Action.RECOVER, self._why, {"choice": choice, "do": "decide", "who": self._who})
        said = canonical.parse(access_data(self._person, asked, "allowed"), where="access")
        return "access", said

    def _gap(
        self, choice: str, reader: LogReader, common: int, size: int
    ) -> tuple[str, dict[str, canonical.Value]]:
        """Give what the log says of the decision."""
        noticed = since = render_time(self.refusal.found_ms)
        if common:
            (last,) = reader.read(common - 1, max_entries=1)
            since = parse_entry(last).t
        return "gap", {
            "cause": CAUSE,
            "decision": choice,
            "first": common,
            "from": since,
            "last": max(common, size - 1),
            "noticed": noticed,
            "to": render_time(Clock().now().t_ms),
            "who": self._who,
            "why": self._why,
        }

    def _newest(self) -> Path:
        """Give the newest folder in quarantine."""
        return max((self._data / QUARANTINE).glob("[0-9][0-9][0-9][0-9]-*"), default=self._data / QUARANTINE)

    def _settle(self, folder: Path, common: int = 0, fetched: int = 0, carried_over: int = 0) -> Decided:
        """Let the gateway go on; its refusal stays with what it was about."""
        if self.refusal.source == COUNTER:
            accept(in_order(self._config), self._key)
        make_private_folder(folder)
        try:
            (self._data / NAME).rename(folder / NAME)
            sync_directory(folder)
            sync_directory(self._data)
        except OSError as error:
            raise UnavailableError(str(self._data / NAME), str(error.strerror)) from error
        origin = in_order(self._config).gateway.origin
        return Decided(origin, common, fetched, carried_over, folder)


async def admit_salvage(config: GatewayConfig, why: str) -> bytes:
    """Insist that the user of this process may recover a log; a refusal is on record where that is sound.

    Args:
        config: the gateway's configuration; no gateway may run.
        why: in words.

    Returns:
        What the `access` entry says.

    Raises:
        OperatorError: the user may not, or somebody writes the log.
        UnavailableError: the log cannot be read now.
    """
    config, asked = in_order(config), Asked(Action.RECOVER, why, {"do": "salvage"})
    try:
        person = Directory(config.administration).require(asked.action)
    except OperatorError:
        if (config.gateway.data / LOG_FOLDER / HEAD_NAME).exists() and await is_sound(config):
            async with Run.open(config, asked):  # which refuses as well, and says so in the log
                pass
        raise
    return access_data(person, asked, "allowed")


async def shared(reader: LogReader, copy: ServiceCopy) -> int:
    """Say how many entries two logs have in common: each names the one before, so the last one tells."""
    low, high = 0, min(reader.size(), await copy.size())
    while low < high:
        middle = (low + high + 1) // 2
        index, at = divmod(middle - 1, WIDTH)
        leaves = await copy.leaves(index)
        if leaves[at * HASH_SIZE : (at + 1) * HASH_SIZE] == reader.nodes(0, middle - 1):
            low = middle
        else:
            high = middle - 1
    return low


async def _entries(reader: LogReader, copy: ServiceCopy, first: int, end: int) -> AsyncIterator[list[bytes]]:
    """Give entries of the log on disk; those that are not here come from the service."""
    while first < end:
        try:
            part = reader.read(first, max_entries=min(GROUP_ENTRIES, end - first))
        except (PrunedError, LostError) as away:
            last = away.last if isinstance(away, LostError) else away.pruned.last
            behind = min(end, last + 1)
            async for found in copy.stream(first, behind):
                yield found
            first = behind
            continue
        yield part
        first += len(part)
