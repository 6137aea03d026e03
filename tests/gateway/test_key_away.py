"""A checkpoint key that is away for a while: what journal and standby do, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from coldseal.core.log.canonical import Value
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.custody import AwayKey
from coldseal.gateway.rollover import RollOver
from coldseal.gateway.standby import Standby
from coldseal.gateway.store.sealing import Keys
from coldseal.gateway.store.space import Limits
from coldseal.gateway.tables.keeping import Keys as Uris
from coldseal.settings import Reference
from coldseal.signing.keys import EcdsaSigner, generate_record_key, write_private_key
from tests.gateway.parts import KEYS, Hands, Parts, faults_of, open_parts
from tests.gateway.test_rollover import genesis

LIMITS = Limits(limit_mb=64, reserve_mb=1, segment_entries=8)


class Drawer:
    """Holds the checkpoint key, and can be taken away: as a token is."""

    def __init__(self) -> None:
        """Be there."""
        self.spki, self.is_away = KEYS.checkpoint.spki, False

    def sign(self, data: bytes) -> bytes:
        """Sign, if it is there."""
        if self.is_away:
            raise OperatorError("the drawer is empty", "Put the token in")
        return KEYS.checkpoint.sign(data)


def held(parts: Parts) -> Drawer:
    """Put the checkpoint key into a drawer."""
    drawer = Drawer()
    parts.journal._sealer.change(Keys(KEYS.record, EcdsaSigner(drawer), KEYS.interop))
    return drawer


async def append(parts: Parts, hands: Hands, count: int = 1) -> None:
    """Seal entries of the log's own, a group for each."""
    for _ in range(count):
        await parts.journal.append([parts.journal.draft("heartbeat", b"{}", hands.clock().now())], bytes)


async def test_entries_go_on_without_checkpoints_and_no_segment_ends(tmp_path: Path) -> None:
    """Also the group in which the key was missed first, where a segment was to end with it."""
    hands = Hands()
    async with open_parts(tmp_path / "log", hands, limits=LIMITS) as parts:
        drawer = held(parts)
        await parts.journal.append([genesis(parts, hands)], bytes)
        await append(parts, hands, 6)
        fixed = parts.log.checkpoint_size
        drawer.is_away = True
        await append(parts, hands, 12)
        assert "the drawer is empty" in parts.journal.key_fault
        assert (parts.log.checkpoint_size, parts.log.segment_first) == (fixed, 0)
        with pytest.raises(UnavailableError):
            await parts.journal.probe()
        drawer.is_away = False
        await parts.journal.probe()
        assert parts.journal.key_fault == ""
        await append(parts, hands)
        assert parts.log.segment_first > fixed
        await append(parts, hands, 3)
        assert parts.log.checkpoint_size == parts.log.size
        assert faults_of(parts) in ([], ["tail-not-anchored"])


async def test_groups_that_were_handed_over_meanwhile_are_written(tmp_path: Path) -> None:
    """The first one misses the key, those behind it do not ask again."""
    hands = Hands()
    async with open_parts(tmp_path / "log", hands, checkpoint_entries=1) as parts:
        drawer = held(parts)
        drawer.is_away = True
        handed = [
            parts.journal.hand_over(
                [parts.journal.draft("heartbeat", b"{}", hands.clock().now())], bytes, is_fixed=True
            )
            for _ in range(3)
        ]
        for each in handed:
            await parts.journal.commit(each)
        assert parts.log.size == 3
        assert parts.log.checkpoint_size == 0


async def test_a_change_to_a_key_that_is_away_changes_nothing(tmp_path: Path) -> None:
    """The entry would name a key that nobody has."""
    hands = Hands()
    away = AwayKey("tpm:0x81008001?tcti=swtpm:host=127.0.0.1,port=9", EcdsaSigner(generate_record_key()).spki)
    async with open_parts(tmp_path / "log", hands) as parts:
        await append(parts, hands)

        def data(_seq: int) -> Mapping[str, Value]:
            return {}

        with pytest.raises(UnavailableError):
            await parts.journal.change_keys(data, Keys(KEYS.record, EcdsaSigner(away), KEYS.interop), bytes)
        parts.journal.renew()
        await append(parts, hands)
        assert parts.log.checkpoint_size == parts.log.size
        assert not parts.journal.key_fault


async def test_a_log_of_checkpoints_alone_acknowledges_nothing_without_the_key(tmp_path: Path) -> None:
    """There the checkpoint is what signs the entries; such a configuration is refused."""
    hands = Hands()
    async with open_parts(tmp_path / "log", hands, mode="checkpoint") as parts:
        drawer = held(parts)
        drawer.is_away = True
        with pytest.raises(UnavailableError):
            await append(parts, hands)
        assert parts.log.size == 0
        drawer.is_away = False
        await append(parts, hands)
        assert parts.log.size == 1


async def test_a_record_key_that_is_away_seals_nothing(tmp_path: Path) -> None:
    """Nobody is acknowledged; once it is back, it goes on."""
    hands = Hands()
    async with open_parts(tmp_path / "log", hands) as parts:
        await append(parts, hands)
        drawer = Drawer()
        drawer.is_away = True
        parts.journal._sealer.change(Keys(EcdsaSigner(drawer), KEYS.checkpoint, KEYS.interop))
        with pytest.raises(UnavailableError, match="drawer"):
            await append(parts, hands)
        assert parts.log.size == 1


async def test_a_chip_is_spared_between_two_checkpoints(tmp_path: Path) -> None:
    """By number they are due at each entry; the chip is asked again after the pause."""
    hands = Hands()
    async with open_parts(tmp_path / "log", hands, checkpoint_entries=1) as parts:
        held(parts)
        parts.journal._pause_ms = 5_000
        sizes = []
        for _ in range(6):
            hands.mono_ms += 2_000
            hands.wall_ms += 2_000
            draft = parts.journal.draft("heartbeat", b"{}", hands.clock().now())
            await parts.journal.commit(parts.journal.hand_over([draft], bytes))
            sizes.append(parts.log.checkpoint_size)
        assert sizes == [0, 0, 3, 3, 3, 6]


async def test_a_stand_in_that_cannot_be_made_is_said_once_and_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until then entries go on without checkpoints; afterwards the log verifies with both keys."""
    hands = Hands()
    for name, key in (("record", KEYS.record), ("interop", KEYS.interop)):
        write_private_key(tmp_path / f"{name}.pem", key._key)  # type: ignore[arg-type] # software keys
    uris = Uris(
        record=Reference("file:record.pem"),
        checkpoint=Reference("tpm:0x81008001?tcti=swtpm:host=127.0.0.1,port=9"),
        interop=Reference("file:interop.pem"),
    )
    async with open_parts(tmp_path / "log", hands) as parts:
        await parts.journal.append([genesis(parts, hands)], bytes)
        drawer = held(parts)
        change = RollOver(
            uris,
            tmp_path,
            keys=Keys(KEYS.record, EcdsaSigner(drawer), KEYS.interop),
            log=parts.log,
            journal=parts.journal,
            clock=hands.clock(),
            alone=lambda step: step(bytes),
            stand_ins=(tmp_path / "gone" / "fallback.pem",),
        )
        clock, metrics = hands.clock(), parts.metrics
        standby = Standby(change, parts.journal, clock=clock, metrics=metrics, patience_s=5, is_wanted=True)
        await standby.look()
        assert standby.status() == "hardware"
        drawer.is_away = True
        await append(parts, hands)
        await standby.look()
        hands.mono_ms += 6_000
        await standby.look()
        await standby.look()
        assert standby.status().startswith("away")
        assert not parts.entries("key")
        (tmp_path / "gone").mkdir()
        await standby.look()
        assert standby.is_stand_in
        await append(parts, hands, 2)
        assert len(parts.entries("key")) == 1
        assert faults_of(parts) in ([], ["tail-not-anchored"])
    said = capsys.readouterr().err
    assert said.count("hardware.stuck") == 1
    assert said.count("hardware.key-away") == 1
    assert said.count("hardware.key-replaced") == 1
