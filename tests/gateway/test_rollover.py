"""A log's keys change while readings come in: nothing is lost, and every place has its key."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coldseal.core.log.canonical import Value, encode, encode_base64
from coldseal.core.log.keys import history_of
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.message import Outcome
from coldseal.gateway.rollover import RollOver, settle_keys
from coldseal.gateway.store.beside import SealingProcess
from coldseal.gateway.store.drafts import Draft
from coldseal.gateway.store.sealing import Keys
from coldseal.gateway.store.space import Limits
from coldseal.gateway.tables.keeping import Keys as Uris
from coldseal.settings import Reference
from coldseal.signing.keys import open_ecdsa, open_ed25519, write_private_key
from tests.gateway.parts import KEYS, Answers, Hands, Parts, faults_of, open_parts, payload
from tests.sealed import key_of
from tests.waiting import until

if TYPE_CHECKING:
    from coldseal.gateway.store.log import Group

URIS = Uris(
    record=Reference("file:record.pem"),
    checkpoint=Reference("file:checkpoint.pem"),
    interop=Reference("file:interop.pem"),
)
LIMITS = Limits(limit_mb=64, reserve_mb=1, segment_entries=3000)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with the key files that the log begins with."""
    write_private_key(tmp_path / "record.pem", key_of(KEYS.record))
    write_private_key(tmp_path / "checkpoint.pem", key_of(KEYS.checkpoint))
    write_private_key(tmp_path / "interop.pem", key_of(KEYS.interop))
    return tmp_path


def files(folder: Path) -> list[str]:
    """Name the key files that there are."""
    return sorted(path.name for path in folder.glob("*.pem*"))


def keys_on_disk(folder: Path) -> Keys:
    """Open the files as a start would."""
    return Keys(
        open_ecdsa(URIS.record, base=folder),
        open_ecdsa(URIS.checkpoint, base=folder),
        open_ed25519(URIS.interop, base=folder),
    )


def roll_over_of(parts: Parts, folder: Path, hands: Hands) -> RollOver:
    """Put the part together as the gateway does."""
    return RollOver(
        URIS,
        folder,
        keys=keys_on_disk(folder),
        log=parts.log,
        journal=parts.journal,
        clock=hands.clock(),
        alone=parts.pipeline.alone,
    )


@pytest.mark.parametrize("mode", ["record", "checkpoint"])
async def test_keys_change_under_load_and_everything_verifies(folder: Path, mode: str) -> None:
    """Record and checkpoint keys, with groups under way, the process beside, and a segment that ends."""
    hands, answers = Hands(), Answers()
    beside = SealingProcess(URIS.record, folder, is_each_signed=mode == "record")
    try:
        async with open_parts(folder / "log", hands, mode=mode, beside=beside, limits=LIMITS) as parts:
            running = asyncio.create_task(parts.pipeline.run())
            beside.wake()
            await until(lambda: beside.is_ready)
            change = roll_over_of(parts, folder, hands)
            changed = []
            for turn, use in enumerate(("record", "checkpoint", "record", "record")):
                for number in range(turn * 1000, turn * 1000 + 1000):
                    parts.pipeline.submit(answers.to("x", payload(number), hands=hands))
                changed.append(await change.change(use, "due"))
            await answers.reach(4000)
            parts.pipeline.stop()
            await running

            assert [entry.src["seq"] for entry in parts.entries("reading")] == list(range(4000))
            assert faults_of(parts, mode) in ([], ["tail-not-anchored"])
            keys = parts.entries("key")
            assert [entry.seq for entry in keys] == [each.seq for each in changed]
            assert [entry.sig is not None for entry in keys] == [True] * 4
            assert parts.log.reader.settings() == [entry.raw for entry in parts.entries("key")]
            assert parts.log.chain.kid == changed[-1].new == keys_on_disk(folder).record.kid
            assert len({entry.kid for entry in parts.entries()}) == 4
            assert len(parts.entries("segment")) == 1
            assert beside.restarts == 0
    finally:
        beside.close()
    assert {outcome for _, outcome in answers.outcomes} == {Outcome.SEALED}
    assert files(folder) == ["checkpoint.pem", "interop.pem", "record.pem"]


async def test_a_change_that_cannot_be_written_leaves_the_old_key_in_use(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log goes on, and the prepared file is dropped at the next start."""
    hands = Hands()
    async with open_parts(folder / "log", hands) as parts:
        change, now = roll_over_of(parts, folder, hands), hands.clock().now()
        draft = parts.journal.draft("heartbeat", b"{}", now)
        await parts.journal.append([draft], bytes)

        async def fail(group: Group, *, is_own: bool = False) -> None:
            raise UnavailableError("the log", f"planted for {len(group.entries)}, {is_own=}")

        monkeypatch.setattr(parts.log, "commit", fail)
        with pytest.raises(UnavailableError, match="planted"):
            await change.change("record", "due")
        monkeypatch.undo()
        await parts.journal.append([draft], bytes)
        assert {entry.kid for entry in parts.entries()} == {KEYS.record.kid}
        assert "record.pem.next" in files(folder)
        settle_keys(URIS, folder, parts.log)
        assert "record.pem.next" not in files(folder)
        assert keys_on_disk(folder).record.kid == KEYS.record.kid


@pytest.mark.parametrize("use", ["record", "checkpoint"])
async def test_a_crash_between_the_entry_and_the_files_is_finished_at_the_next_start(
    folder: Path, monkeypatch: pytest.MonkeyPatch, use: str
) -> None:
    """The log says which keys are active."""
    hands = Hands()
    async with open_parts(folder / "log", hands) as parts:
        await parts.journal.append([parts.journal.draft("heartbeat", b"{}", hands.clock().now())], bytes)

        def die(_self: object) -> None:
            raise OperatorError("planted", "")

        monkeypatch.setattr("coldseal.signing.rotation.KeyFile.adopt", die)
        with pytest.raises(OperatorError, match="planted"):
            await roll_over_of(parts, folder, hands).change(use, "due")
        monkeypatch.undo()
    async with open_parts(folder / "log", hands) as parts:
        settle_keys(URIS, folder, parts.log)
        keys = keys_on_disk(folder)
        (entry,) = parts.entries("key")
        if use == "record":
            assert keys.record.kid == parts.log.chain.kid != KEYS.record.kid
        else:
            origin = parts.log.chain.log
            named = [keys.checkpoint.vkey(origin), keys.interop.vkey(origin)]
            assert entry.data["keys"] == named
        assert files(folder) == ["checkpoint.pem", "interop.pem", "record.pem"]


def genesis(parts: Parts, hands: Hands) -> Draft:
    """Give what a log begins with."""
    origin = parts.log.chain.log
    data: dict[str, Value] = {
        "checkpoint_keys": [KEYS.checkpoint.vkey(origin), KEYS.interop.vkey(origin)],
        "mode": "record",
        "record_key": encode_base64(KEYS.record.spki),
    }
    return parts.journal.draft("genesis", encode(data), hands.clock().now())


async def test_only_a_retired_key_of_the_log_can_be_revoked(folder: Path) -> None:
    """And only with a time and a reason that can be read."""
    hands = Hands()
    async with open_parts(folder / "log", hands) as parts:
        change = roll_over_of(parts, folder, hands)
        old = KEYS.record.kid
        since = "2026-11-22T06:00:00.000Z"
        await parts.journal.append([genesis(parts, hands)], bytes)
        for arguments, why in (
            (("record", "0" * 16, since, "lost"), "never a record key"),
            (("record", old, since, "lost"), "still in use"),
            (("record", old, "yesterday", "lost"), "is not a time"),
            (("record", old, "2062-11-22T06:00:00.000Z", "lost"), "lies ahead: it is 2027-01-15T08:0"),
            (("transport", old, since, "lost"), "no use of a key"),
            (("record", old, since, ""), "the reason is missing"),
        ):
            with pytest.raises(OperatorError, match=why):
                await change.revoke(*arguments)
        with pytest.raises(OperatorError, match="no use of a key"):
            await change.change("transport", "due")
        await change.change("record", "laptop lost")
        seq = await change.revoke("record", old, since, "laptop lost")
        (revoked,) = history_of(parts.log.chain.log, parts.log.reader.settings()).revocations
        assert (revoked.seq, revoked.key, revoked.since) == (seq, old, since)
