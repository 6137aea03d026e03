"""Opens a gateway's log for its one writer, and says how a run of it begins: the gateway's, or a command's.

Promise: whoever writes begins with `genesis` or `boot`; a run before it that did not end in order leaves a
`gap`, and the heartbeat interval that holds from here on is on record. Holds nothing open by itself.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from coldseal import __version__
from coldseal.core.access import Action
from coldseal.core.log import canonical
from coldseal.core.log.record import Chain, parse_entry
from coldseal.errors import InputError, OperatorError, UnavailableError
from coldseal.gateway.clock import render_time
from coldseal.gateway.configured import FIELD, changes, settings_in_force, settings_on_record
from coldseal.gateway.custody import open_checkpoint_key
from coldseal.gateway.persons import Directory, access_data
from coldseal.gateway.projection import Projection, sealed_lately
from coldseal.gateway.refusal import require_unrefused
from coldseal.gateway.rollover import settle_keys
from coldseal.gateway.schemas import hashes_of
from coldseal.gateway.store.journal import Journal
from coldseal.gateway.store.log import Log
from coldseal.gateway.store.lost import LostError
from coldseal.gateway.store.pruned import complete
from coldseal.gateway.store.reader import HEAD_NAME
from coldseal.gateway.store.sealing import Keys, Sealer
from coldseal.gateway.store.space import Limits
from coldseal.gateway.succession import cite, require_same_predecessor
from coldseal.gateway.timekeeping import open_clock
from coldseal.signing.keys import open_ecdsa, open_ed25519
from coldseal.signing.secrets import read_symmetric_key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coldseal.core.log.record import Entry
    from coldseal.core.redelivery import Redelivery
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.persons import Asked
    from coldseal.gateway.store.drafts import Draft
    from coldseal.gateway.store.sealing import Beside

LOG_FOLDER: Final = "log"
"""Folder of the log below the data folder."""

READY: Final = "recovered"
"""Folder below the data folder with a log that is to take this one's place; nobody writes here then."""

REDELIVERY_WINDOW: Final = 128
"""Least number of messages remembered for each device."""

SOFTWARE: Final = f"coldseal {__version__}"

_HERE: Final = Path()  # paths in a configuration are absolute once it is loaded


def open_keys(
    config: GatewayConfig, log: Log | None = None, *, before: bytes = b"", is_leaving: bool = False
) -> Keys:
    """Open the three signing keys; which checkpoint key, `open_checkpoint_key` says."""
    keys = config.keys
    return Keys(
        open_ecdsa(keys.record, base=_HERE),
        open_checkpoint_key(config, log, before=before, is_leaving=is_leaving),
        open_ed25519(keys.interop, base=_HERE),
    )


def open_log(config: GatewayConfig, store_key: bytes, now_ms: int) -> Log:
    """Open the log of a configuration, or begin it; a prune that a crash interrupted is finished.

    Raises:
        OperatorError: another log is about to take its place; else as `Log.open`.
        UnavailableError, TrustError: as `Log.open`.
    """
    if (config.gateway.data / READY).exists():
        hint = "Start the gateway: it finishes that first"
        raise OperatorError(f"a recovery in {config.gateway.data} is not finished", hint)
    store = config.store
    limits = Limits(
        limit_mb=store.limit_mb, reserve_mb=store.reserve_mb, segment_entries=store.segment_entries
    )
    new = Chain(config.gateway.origin, open_ecdsa(config.keys.record, base=_HERE).kid)
    folder = config.gateway.data / LOG_FOLDER
    log = Log.open(folder, store_key, limits, new=new, now_ms=now_ms)
    complete(log.reader, folder, store_key)
    return log


def require_same(config: GatewayConfig, log: Log) -> None:
    """Refuse to go on with a log under another record key, sealing mode or predecessor than it began with.

    Raises:
        OperatorError: the configuration was changed in a way that needs a new log.
    """
    settle_keys(config.keys, _HERE, log)
    kid = open_ecdsa(config.keys.record, base=_HERE).kid
    if log.chain.kid != kid:
        raise OperatorError(
            f"keys.record is the key {kid}, but the log was sealed with {log.chain.kid}",
            "Name the log's own record key, or begin a new log under a new gateway.origin",
        )
    if not log.size:
        cite(config)
    for raw in _first_entry(log):
        genesis = parse_entry(raw)
        require_same_predecessor(config, genesis)
        mode = genesis.data.get("mode")
        if mode != config.gateway.signature:
            raise OperatorError(
                f"gateway.signature is {config.gateway.signature!r}, but the log began with {mode!r}",
                "Set it back, or begin a new log under a new gateway.origin",
            )


def _first_entry(log: Log) -> list[bytes]:
    """Give the genesis entry, once there is one; what is kept of it, where damage has taken it."""
    try:
        return log.reader.read(0, max_entries=1)
    except LostError:
        return log.reader.settings()[:1]


def make_journal(config: GatewayConfig, log: Log, keys: Keys, clock: Clock, beside: Beside | None) -> Journal:
    """Put together what seals a log and commits it."""
    return Journal(
        log,
        Sealer(keys, is_each_signed=config.gateway.signature == "record", beside=beside),
        clock,
        checkpoint_entries=config.checkpoint.entries,
        checkpoint_seconds=config.checkpoint.seconds,
        pause_s=config.hardware.pause_s,
    )


def known_messages(config: GatewayConfig, log: Log) -> Redelivery:
    """Restore what was sealed lately: the newest snapshot, and the entries behind it."""
    known = sealed_lately(log.snapshot, window=_window(config))
    for raw in log.replay:
        known.replay(parse_entry(raw))
    return known


def projection_of(config: GatewayConfig, log: Log) -> Projection:
    """Restore all that follows from the log: what was sealed lately, and how far judging is."""
    found = Projection.restore(log.reader, log.snapshot, window=_window(config))
    found.evaluator.with_dew_point = config.coldchain.dew_point
    return found


def _window(config: GatewayConfig) -> int:
    """Give the number of messages that are remembered for each device."""
    ahead = config.broker.receive_maximum if config.broker.address is not None else 0
    return max(REDELIVERY_WINDOW, 2 * config.mqtt.receive_maximum, 2 * ahead)


class Run:
    """A run of a command that writes to the log where no gateway runs: from `boot` to `shutdown`.

    Attributes:
        log: open for writing.
        journal: seals and commits.
        known: what follows from the entries: what was sealed lately, and how far judging is.
        keys: those in use at the start.
        clock: gives the moment.
    """

    def __init__(
        self, config: GatewayConfig, log: Log, clock: Clock, *, before: bytes = b"", is_leaving: bool = False
    ) -> None:
        """Put the parts together; `open` is the usual way here, `open_checkpoint_key` explains the rest."""
        self.log, self.clock = log, clock
        self.keys = open_keys(config, log, before=before, is_leaving=is_leaving)
        self.journal = make_journal(config, log, self.keys, clock, None)
        self.known = projection_of(config, log)
        self._config = config

    @classmethod
    @asynccontextmanager
    async def open(cls, config: GatewayConfig, asked: Asked | None = None) -> AsyncIterator[Self]:
        """Open the log of a configuration, which must be there, and close it in order.

        Args:
            config: the gateway's configuration.
            asked: what the user of this process wants to do here: that is put on record first, and refused
                where the user's roles do not allow it; None for what the gateway does by itself.

        Raises:
            OperatorError: a gateway writes it, there is none yet, keys and mode are not the log's, or the
                user may not.
            RolledBackError: the gateway refuses to go on with this log.
            UnavailableError, TrustError: it cannot be opened or written.
        """
        require_unrefused(config.gateway.data)
        clock, store_key = open_clock(config.time), read_symmetric_key(config.store.key, _HERE)
        if not (config.gateway.data / LOG_FOLDER / HEAD_NAME).exists():
            raise OperatorError(f"{config.gateway.data} holds no log yet", "Run the gateway once")
        log = open_log(config, store_key, clock.now().t_ms)
        try:
            require_same(config, log)
            is_leaving = asked is not None and asked.action is Action.ROLL_OVER
            run = cls(config, log, clock, is_leaving=is_leaving)
            await run.append(start_drafts(config, log, run.keys, run.journal, clock))
            try:
                if asked is not None:
                    await run.admit(asked)
                yield run
            except (OperatorError, InputError):  # refused: the run ends in order all the same
                with suppress(UnavailableError):
                    await run.end()
                raise
            await run.end()
        finally:
            await log.close()

    async def admit(self, asked: Asked) -> None:
        """Put on record who does what here, or that it was refused.

        Raises:
            OperatorError: the user of this process may not.
        """
        person, settings = Directory(self._config.administration).myself(), self._config.administration
        is_alone = asked.action in settings.two_person
        outcome = "allowed" if person.may(asked.action) and not is_alone else "refused"
        draft = self.journal.draft("access", access_data(person, asked, outcome), self.clock.now())
        await self.append([draft])
        if is_alone:
            hint = "Start the gateway, and ask it: it lets the request wait for the second person"
            raise OperatorError(f"{asked.action} takes two persons", hint)
        if outcome == "refused":
            hint = "It takes a role that may: see administration.assigned in gateway.toml"
            raise OperatorError(f"{person.user} may not {asked.action}, and that is on record", hint)

    async def end(self) -> None:
        """Put on record that the run ends in order."""
        data: dict[str, canonical.Value] = {"reason": "the command that wrote here has ended"}
        await self.append([self.journal.draft("shutdown", canonical.encode(data), self.clock.now())])

    async def append(self, drafts: list[Draft]) -> list[bytes]:
        """Put entries on disk, and give them."""
        return await self.journal.append(drafts, self.known.snapshot)


def start_drafts(config: GatewayConfig, log: Log, keys: Keys, journal: Journal, clock: Clock) -> list[Draft]:
    """Give the entries that a run begins with."""
    now = clock.now()
    person = Directory(config.administration).myself()
    in_force = {**settings_in_force(config), **hashes_of(config)}
    if log.size == 0:
        genesis = _genesis(config, keys)
        first, *more = [*changes({}, in_force, person)] or [{FIELD: {}}]
        drafts = [journal.draft("genesis", canonical.encode({**genesis, FIELD: first[FIELD]}), now)]
        return drafts + [journal.draft("config", canonical.encode(each), now) for each in more]
    boot: dict[str, canonical.Value] = {"last": log.chain.head, "software": SOFTWARE}
    drafts = [journal.draft("boot", canonical.encode(boot), now)]
    last, is_in_order = _ending(log)
    if not is_in_order:
        t = render_time(now.t_ms)
        gap: dict[str, canonical.Value] = {"cause": "stopped", "from": last.t, "noticed": t, "to": t}
        drafts.append(journal.draft("gap", canonical.encode(gap), now))
    promise = _promise(config)
    if _promised(log) != promise["heartbeat"]:
        drafts.append(journal.draft("config", canonical.encode(promise), now))
    for each in changes(settings_on_record(log.reader), in_force, person):
        drafts.append(journal.draft("config", canonical.encode(each), now))
    return drafts


def _genesis(config: GatewayConfig, keys: Keys) -> dict[str, canonical.Value]:
    """Give what the first entry says."""
    origin = config.gateway.origin
    lines = (keys.checkpoint.verifier_key(origin), keys.interop.verifier_key(origin))
    return {
        **cite(config),
        "checkpoint_keys": [line.encode() for line in lines],
        **_promise(config),
        "mode": config.gateway.signature,
        "record_key": canonical.encode_base64(keys.record.spki),
        "site": config.gateway.site,
        "software": SOFTWARE,
    }


def _ending(log: Log) -> tuple[Entry, bool]:
    """Give the log's last entry, and whether the run that sealed it ended in order."""
    last = ending = _read_entry(log, log.size - 1)
    if last.kind == "segment":  # it may end with the run's last entry
        ending = _read_entry(log, last.seq - 1)
    return last, ending.kind == "shutdown"


def _read_entry(log: Log, seq: int) -> Entry:
    """Read one entry."""
    (raw,) = log.reader.read(seq, max_entries=1)
    return parse_entry(raw)


def _promise(config: GatewayConfig) -> dict[str, canonical.Value]:
    """Give the heartbeat interval that is promised, in whole seconds."""
    return {"heartbeat": math.ceil(config.checkpoint.heartbeat_seconds)}


def _promised(log: Log) -> canonical.Value:
    """Give the interval on record: what the genesis says, or the newest entry that changed it."""
    said = [parse_entry(raw).data.get("heartbeat") for raw in log.reader.settings()]
    return next((each for each in reversed(said) if each is not None), None)
