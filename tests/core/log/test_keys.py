"""A log's keys change only by their own word: signed by the old key, proven by the new one, at this place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from coldseal.core.log.canonical import encode_base64
from coldseal.core.log.evidence import Case, Policy, Report, Verdict, examine, judge
from coldseal.core.log.keys import (
    CHECKPOINT,
    MAX_REASON,
    RECORD,
    KeyChangeError,
    KeyHistory,
    Keys,
    Revocation,
    key_message,
    record_roll_over,
    revocation,
)
from coldseal.core.log.keys import history_of as followed
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import Chain, frame, parse_entry
from coldseal.errors import InputError
from tests.sealed import (
    ORIGIN,
    TIME,
    LogKeys,
    SealedLog,
    checkpoint_keys,
    cosigned,
    ids_of,
    new_keys,
    witness_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

NEW, OTHER = new_keys(), new_keys()


def history_of(log: SealedLog) -> KeyHistory:
    """Follow a log's keys from its admission on."""
    keys = Keys(log.admitted.record_key, tuple(log.admitted.checkpoint_keys))
    history = KeyHistory(ORIGIN, keys)
    for raw in log.entries:
        if (entry := parse_entry(raw)).kind == "key":
            history.apply(entry)
    return history


def verify(log: SealedLog, *sizes: int, times: Mapping[int, int] | None = None) -> Report:
    """Verify a whole log with the receipts of some sizes."""
    policy = Policy(
        ORIGIN,
        log.admitted.record_key,
        tuple(log.admitted.checkpoint_keys),
        (witness_key(),),
        mode=log.mode,
    )
    notes = [cosigned(log.notes[size], t=(times or {}).get(size, 1_800_000_000)) for size in sizes]
    settings = [raw for raw in log.entries if parse_entry(raw).kind in {"genesis", "key"}]
    layout = Layout(log.size, ((0, log.size),), ())
    case = Case(policy, layout, notes=notes, settings=settings)
    return judge(case, [examine(case.rules, 0, frame(log.entries))])


def faults(report: Report) -> list[tuple[str, int]]:
    """Name what is wrong."""
    return [(fault.verdict.value, fault.seq) for fault in report.faults]


@pytest.mark.parametrize("mode", ["record", "checkpoint"])
def test_keys_that_changed_in_order_verify_and_each_signs_its_own_part(mode: str) -> None:
    """Record key, then checkpoint keys, then the record key again; checkpoints on both sides."""
    log = SealedLog(mode=mode).grow(2)
    log.checkpoint()
    for use in (RECORD, CHECKPOINT, RECORD):
        log.roll_over(use)
        log.checkpoint()
        log.grow(2)
        log.checkpoint()
    report = verify(log, *log.notes)
    assert faults(report) == []
    assert report.kinds["key"] == 3

    history = history_of(log)
    assert [start for start, _ in history.record_keys] == [0, 4, 10]
    assert history.at(3).kid == parse_entry(log.entries[3]).kid
    assert history.at(4).kid == parse_entry(log.entries[4]).kid != history.at(3).kid
    assert [len(keys.checkpoint) for keys in history.all()] == [2, 2, 2, 2]
    assert history.at(6).checkpoint != history.at(7).checkpoint
    assert history.span(RECORD, history.at(4).kid) == (4, 10)
    assert history.span(RECORD, history.at(10).kid) == (10, None)
    assert history.span(CHECKPOINT, history.at(7).checkpoint_id) == (7, None)
    assert history.span(RECORD, "0" * 16) is None
    copy = history.copy()
    assert (copy.record_keys, copy.all()) == (history.record_keys, history.all())


def test_old_entries_sealed_anew_with_a_newer_key_are_refused() -> None:
    """And new ones with an older key: the key must be the one that is active at the entry's place."""
    log = SealedLog(keys=new_keys()).grow(3)
    first = log.keys
    forged = log.copy()
    forged.keys = LogKeys(NEW.record, first.checkpoint, first.interop)
    forged.chain.kid = NEW.record.kid
    forged.grow(1)
    forged.checkpoint()
    assert faults(verify(forged, 5)) == [("wrong-key", 4)]

    log.roll_over(keys=NEW)
    log.keys, log.chain.kid = first, first.record.kid
    log.grow(2)
    log.checkpoint()
    assert faults(verify(log, 7))[:2] == [("wrong-key", 5), ("wrong-key", 6)]


def test_a_checkpoint_of_a_key_that_is_not_active_at_its_size_is_unknown() -> None:
    """Whoever holds retired checkpoint keys cannot fix the log's state with them."""
    log = SealedLog(keys=new_keys()).grow(2)
    first = log.keys
    log.roll_over(CHECKPOINT)
    log.keys = LogKeys(log.keys.record, first.checkpoint, first.interop)
    log.grow(1)
    log.checkpoint()
    assert faults(verify(log, 5)) == [("unknown-key", 4), ("not-witnessed", 0)]


def spoil(changes: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Change fields of a key entry's data; None takes one away."""

    def change(data: dict[str, Any]) -> dict[str, Any]:
        made = data | changes
        return {name: value for name, value in made.items() if value is not None}

    return change


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"proof": encode_base64(OTHER.record.sign(b"something else"))}, "does not prove itself"),
        ({"proof": "AAAA"}, "does not prove itself"),
        ({"proof": 7}, "does not prove itself"),
        ({"proof": None}, "fields"),
        ({"more": 1}, "fields"),
        ({"use": "transport"}, "fields"),
        ({"use": 3}, "fields"),
        ({"action": "swap"}, "fields"),
        ({"old": "0" * 16}, "old is '0000000000000000', the active key is"),
        ({"key": encode_base64(b"no key")}, "P-256"),
        ({"key": "***"}, "base64"),
        ({"not_before": "tomorrow"}, "not_before is not a time"),
        ({"not_before": 3}, "not_before is not a time"),
        ({"reason": ""}, "reason"),
        ({"reason": "x" * (MAX_REASON + 1)}, "reason"),
    ],
)
def test_a_change_of_the_record_key_that_does_not_prove_itself_changes_nothing(
    changes: dict[str, Any], why: str
) -> None:
    """The verdict names the entry, and what the unproven key signs is signed by the wrong one."""
    log = SealedLog().grow(1)
    old = log.keys.record.kid
    proof = NEW.record.sign(key_message(ORIGIN, log.size, old, NEW.record.kid))
    data = record_roll_over(NEW.record.spki, proof, old=old, not_before=TIME, reason="due")
    log.seal_key(spoil(changes)(dict(data)))
    with pytest.raises(KeyChangeError, match=why) as caught:
        history_of(log)
    assert (caught.value.seq, caught.value.verdict) == (2, "bad-key-change")
    log.keys, log.chain.kid = LogKeys(NEW.record, log.keys.checkpoint, log.keys.interop), NEW.record.kid
    log.grow(1)
    log.checkpoint()
    assert faults(verify(log, 4)) == [("wrong-key", 3), ("bad-key-change", 2)]


def test_a_proof_holds_for_one_place_of_one_log_only() -> None:
    """It cannot be moved to another seq, nor used for another predecessor."""
    for seq, old in ((9, None), (2, "f" * 16)):
        log = SealedLog().grow(1)
        kid = log.keys.record.kid
        proof = NEW.record.sign(key_message(ORIGIN, seq, old or kid, NEW.record.kid))
        log.seal_key(record_roll_over(NEW.record.spki, proof, old=kid, not_before=TIME, reason="due"))
        with pytest.raises(KeyChangeError, match="does not prove itself"):
            history_of(log)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"keys": ["no key", "no key"]}, "verifier key"),
        ({"keys": "no list"}, "list of texts"),
        ({"keys": [1, 2]}, "list of texts"),
        ({"keys": [key.encode() for key in reversed(checkpoint_keys(NEW, ORIGIN))]}, "one of P-256"),
        (
            {"keys": [key.encode() for key in checkpoint_keys(NEW, "other.example/log")]},
            "not those of this log",
        ),
        ({"proofs": []}, "not those of this log"),
        ({"proofs": [encode_base64(bytes(64))] * 2}, "does not prove itself"),
        ({"old": ["00000000", "00000000"]}, "the active keys are"),
    ],
)
def test_a_change_of_the_checkpoint_keys_that_does_not_prove_itself_changes_nothing(
    changes: dict[str, Any], why: str
) -> None:
    """Both keys must be of this log, of the right kinds, and must sign."""
    log = SealedLog()
    changed = log.copy()
    good = changed.roll_over(CHECKPOINT, keys=NEW)
    log.seal_key(spoil(changes)(dict(parse_entry(good).data)))
    with pytest.raises(KeyChangeError, match=why):
        history_of(log)
    assert history_of(changed).at(2).checkpoint == checkpoint_keys(NEW, ORIGIN)


@pytest.mark.parametrize("is_signed", [False, True])
def test_a_key_entry_must_be_signed_by_the_active_record_key_also_in_checkpoint_mode(is_signed: bool) -> None:
    """Nobody else may speak for the log."""
    log = SealedLog(mode="checkpoint")
    copy = log.copy()
    copy.roll_over(keys=NEW)
    if is_signed:
        log.keys = LogKeys(OTHER.record, *log.keys[1:])
        log.seal_key(dict(parse_entry(copy.entries[1]).data))
    else:
        log.seal("key", dict(parse_entry(copy.entries[1]).data))
    with pytest.raises(KeyChangeError, match="the active record key did not sign it"):
        history_of(log)


def test_what_a_revoked_key_signed_is_to_be_reviewed_from_the_last_receipt_before_on() -> None:
    """Good below the last cosigned checkpoint before the compromise; also when the key was changed since."""
    log = SealedLog(keys=new_keys()).grow(9)
    lost = log.keys.record.kid
    for _ in range(2):
        log.checkpoint()
        log.grow(5)
    log.roll_over()
    log.seal_key(revocation(RECORD, lost, since="2026-11-22T06:00:00.000Z", reason="laptop lost"))
    log.grow(3)
    log.checkpoint()
    assert history_of(log).revocations == [Revocation(21, RECORD, lost, "2026-11-22T06:00:00.000Z")]
    since = 1_795_327_200
    for times, expected in (
        ({10: since - 60, 15: since + 60, 25: since + 900}, [("revoked-key", 10)]),
        ({10: since - 60, 15: since, 25: since + 900}, [("revoked-key", 15)]),
        ({10: since + 1, 15: since + 60, 25: since + 900}, [("revoked-key", 0)]),
        ({10: since - 9, 15: since - 8, 25: since - 7}, []),
    ):
        assert faults(verify(log, 10, 15, 25, times=times)) == expected


def test_a_revoked_checkpoint_key_puts_what_it_fixed_under_review() -> None:
    """Likewise, from its first checkpoint without a receipt in time."""
    log = SealedLog(keys=new_keys()).grow(3)
    before = ids_of(checkpoint_keys(log.keys, ORIGIN))
    log.checkpoint()
    log.roll_over(CHECKPOINT)
    log.seal_key(revocation(CHECKPOINT, before, since="2026-11-22T06:00:00.000Z", reason="chip stolen"))
    log.checkpoint()
    assert faults(verify(log, 4, 6, times={4: 1_795_327_300, 6: 1_795_327_400})) == [("revoked-key", 0)]
    assert faults(verify(log, 4, 6, times={4: 1_795_327_100, 6: 1_795_327_400})) == [("revoked-key", 4)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (revocation(RECORD, "0" * 16, since=TIME, reason="x"), "never a record key"),
        (revocation(RECORD, "0" * 16, since="now", reason="x"), "since is not a time"),
        (revocation(CHECKPOINT, "0" * 8, since=TIME, reason="x"), "never a checkpoint key"),
        ({**revocation(RECORD, "", since=TIME, reason="x"), "key": 3}, "never a record key"),
    ],
)
def test_a_revocation_must_name_a_key_of_the_log(data: Mapping[str, Any], why: str) -> None:
    """One that it has, or had."""
    log = SealedLog()
    log.seal_key(data)
    with pytest.raises(KeyChangeError, match=why):
        history_of(log)
    log.checkpoint()
    assert faults(verify(log, 2)) == [("bad-key-change", 1)]
    assert Verdict.BAD_KEY_CHANGE.value == "bad-key-change"


def test_a_log_of_one_s_own_is_followed_by_its_settings() -> None:
    """Other settings than keys are passed over; without a genesis there is nothing to follow."""
    log = SealedLog()
    log.seal("config", {"heartbeat": 60})
    log.roll_over()
    assert followed(ORIGIN, log.entries).at(3).kid == log.keys.record.kid
    with pytest.raises(InputError, match="the log's first entry"):
        followed(ORIGIN, log.entries[1:])
    odd = SealedLog()
    odd.chain = Chain(ORIGIN, odd.keys.record.kid)
    key = checkpoint_keys(odd.keys, ORIGIN)[0].encode()
    odd.entries = []
    odd.seal("genesis", {"checkpoint_keys": [key, key], "record_key": "", "mode": "record"})
    with pytest.raises(InputError, match="P-256 and Ed25519"):
        followed(ORIGIN, odd.entries)


def test_a_setting_that_cannot_be_read_says_nothing() -> None:
    """It is faulted where it stands."""
    log = SealedLog()
    log.checkpoint()
    policy = Policy(ORIGIN, log.admitted.record_key, log.admitted.checkpoint_keys, (witness_key(),))
    case = Case(
        policy,
        Layout(1, ((0, 1),), ()),
        notes=[cosigned(log.notes[1])],
        settings=[b"no entry", *log.entries],
    )
    assert faults(judge(case, [examine(case.rules, 0, frame(log.entries))])) == []
