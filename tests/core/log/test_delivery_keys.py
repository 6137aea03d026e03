"""The service follows a log's keys: a change that proves itself holds from its place on, no other does."""

from __future__ import annotations

import pytest

from coldseal.core.log.checkpoint import CheckpointSignatureError, MissingSignatureError, UnknownKeyError
from coldseal.core.log.delivery.receiver import history_at
from coldseal.core.log.keys import record_roll_over
from coldseal.core.log.record import parse_entry
from tests.core.log.test_delivery_receiver import Holder
from tests.sealed import TIME, LogKeys, SealedLog, new_keys


@pytest.mark.parametrize("mode", ["record", "checkpoint"])
@pytest.mark.parametrize("use", ["record", "checkpoint"])
def test_batches_before_over_and_behind_a_change_are_taken(mode: str, use: str) -> None:
    """Each checkpoint by the keys that are active at its size; a repeated batch as well."""
    log = SealedLog(mode=mode)
    holder = Holder(log)
    first = log.grow(3).batch()
    holder.take(first)
    log.grow(1)
    log.roll_over(use)
    over = log.grow(2).batch(4)
    taken = holder.take(over)
    assert (taken.refuted, taken.settings) == ((), (log.entries[5],))
    holder.take(log.grow(2).batch(8))
    holder.take(over)
    holder.take(first)

    assert holder.head.settings == (log.entries[0], log.entries[5])
    history = history_at(log.admitted, holder.head.settings)
    assert history.at(6).kid == parse_entry(log.entries[-1]).kid
    assert len(history.all()) == 2


def test_a_batch_may_end_with_the_change_itself() -> None:
    """Its checkpoint is the first one of the new keys."""
    log = SealedLog()
    holder = Holder(log)
    log.roll_over("checkpoint")
    holder.take(log.batch())
    assert history_at(log.admitted, holder.head.settings).at(2).checkpoint[0].public == (
        log.keys.checkpoint.spki
    )


def test_retired_and_future_keys_sign_no_checkpoint() -> None:
    """Neither the old ones behind the change, nor the new ones before it."""
    log = SealedLog(keys=new_keys()).grow(1)
    old = log.keys
    holder = Holder(log)
    log.roll_over("checkpoint")
    log.keys = LogKeys(log.keys.record, old.checkpoint, old.interop)
    with pytest.raises(UnknownKeyError):
        holder.take(log.batch())
    early = SealedLog(keys=old)
    early.keys = new_keys()
    with pytest.raises(CheckpointSignatureError):
        Holder(log).take(early.batch())


def test_in_checkpoint_mode_the_new_record_key_stands_for_the_entries() -> None:
    """The line of the old one does not do any more."""
    log = SealedLog(mode="checkpoint", keys=new_keys())
    old = log.keys.record
    log.roll_over()
    log.keys = LogKeys(old, *log.keys[1:])
    with pytest.raises((MissingSignatureError, UnknownKeyError)):
        Holder(log).take(log.batch())


def test_a_change_that_proves_nothing_is_refuted_and_changes_nothing() -> None:
    """The entry stays stored, and what comes behind it is taken."""
    log = SealedLog(keys=new_keys())
    holder = Holder(log)
    data = record_roll_over(
        new_keys().record.spki, b"no proof", old=log.keys.record.kid, not_before=TIME, reason="theft"
    )
    log.seal_key(data)
    taken = holder.take(log.grow(2).batch())
    assert [(each.seq, each.reason) for each in taken.refuted] == [(1, "bad-key-change")]
    assert holder.head.settings == (log.entries[0],)
    assert len(history_at(log.admitted, holder.head.settings).all()) == 1


def test_bytes_that_only_look_like_a_setting_are_refuted_by_themselves() -> None:
    """An entry that cannot be read says nothing; one that mentions the words in its data is a reading."""
    log = SealedLog()
    holder = Holder(log)
    log.forge_entry(b'{"x":1,"kind":"key","y":2}')
    log.seal("reading", {"a": {"a": 1, "kind": "key", "z": 1}})
    taken = holder.take(log.batch())
    assert [(each.seq, each.reason) for each in taken.refuted] == [(1, "malformed")]
    assert taken.settings == (log.entries[0],)


def test_configuration_is_kept_with_the_settings() -> None:
    """It says what the log promises, such as its heartbeat."""
    log = SealedLog()
    log.seal("config", {"heartbeat": 60})
    holder = Holder(log)
    assert holder.take(log.batch()).settings == tuple(log.entries)
