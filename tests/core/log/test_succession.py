"""A log that was lost goes on under the next origin; a link that is not proven is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.canonical import Value, encode_base64
from coldseal.core.log.checkpoint import Checkpoint, add_signature, checkpoint_note
from coldseal.core.log.evidence import Case, Policy, Report, Verdict, examine, judge
from coldseal.core.log.keys import KeyHistory, Keys
from coldseal.core.log.layout import Layout
from coldseal.core.log.record import frame, parse_entry
from coldseal.core.log.succession import (
    MAX_CITED_NOTE,
    After,
    BrokenLinkError,
    after_of,
    first_origin,
    follow,
    link_of,
    next_origin,
    parse_after,
    verify_link,
    witnessed,
)
from coldseal.errors import InputError
from coldseal.signing.keys import Ed25519Signer, generate_interop_key
from tests.sealed import COSIGNED, ORIGIN, SealedLog, checkpoint_keys, cosigned, new_keys, witness_key

SECOND = f"{ORIGIN}/2"


def receipt(log: SealedLog) -> bytes:
    """Give a receipt over everything so far."""
    return cosigned(log.checkpoint())


def successor(log: SealedLog, *, origin: str = "", after: Value = None) -> SealedLog:
    """Begin the log that continues another one, with keys of its own."""
    cited = after_of(receipt(log)).data() if after is None else after
    return SealedLog(origin=origin or next_origin(log.origin), keys=new_keys(), after=cited)


def history_of(log: SealedLog) -> KeyHistory:
    """Give a log's keys, as far as it was told."""
    admitted = log.admitted
    history = KeyHistory(log.origin, Keys(admitted.record_key, admitted.checkpoint_keys))
    for raw in log.entries:
        if (entry := parse_entry(raw)).kind == "key":
            history.apply(entry)
    return history


def verify(log: SealedLog, after: After, *, origin: str = SECOND, quorum: int = 1) -> int:
    """Hold a citation against the keys of the log before."""
    return verify_link(origin, after, history_of(log), (witness_key(),), quorum=quorum, mode=log.mode)


def examined(log: SealedLog, *notes: bytes) -> tuple[Report, KeyHistory, Policy]:
    """Verify a whole log."""
    admitted = log.admitted
    policy = Policy(
        log.origin, admitted.record_key, admitted.checkpoint_keys, (witness_key(),), mode=log.mode
    )
    settings = [raw for raw in log.entries if parse_entry(raw).kind in {"genesis", "key"}]
    case = Case(policy, Layout(log.size, ((0, log.size),), ()), notes=notes, settings=settings)
    return judge(case, [examine(case.rules, 0, frame(log.entries))]), case.history, policy


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("example.com/s/gw-0001", "example.com/s/gw-0001/2"),
        ("example.com/s/gw-0001/2", "example.com/s/gw-0001/3"),
        ("a/9", "a/10"),
        ("a/199", "a/200"),
        ("a/1", "a/1/2"),
        ("a/02", "a/02/2"),
        ("2", "2/2"),
        ("a/1234567890", "a/1234567890/2"),
    ],
)
def test_the_next_origin_counts_on(origin: str, expected: str) -> None:
    """From 2; what is no such number is a name."""
    assert next_origin(origin) == expected


@given(st.from_regex(r"[a-z]{1,8}(/[a-z0-9]{1,8}){0,3}", fullmatch=True), st.integers(1, 20))
def test_no_origin_comes_back(origin: str, count: int) -> None:
    """However long a chain is; its first name is found from each of the later ones."""
    chain = [next_origin(origin)]
    for _ in range(count):
        chain.append(next_origin(chain[-1]))
    assert len({origin, *chain}) == count + 2
    assert {first_origin(each) for each in chain} == {first_origin(origin)}


def test_a_first_origin_is_its_own() -> None:
    """And the later ones name it."""
    assert first_origin(ORIGIN) == ORIGIN == first_origin(SECOND)


@pytest.mark.parametrize("origin", ["", "a b", "x" * 255])
def test_what_is_no_origin_has_no_next(origin: str) -> None:
    """Nor has one that would become too long."""
    with pytest.raises(InputError, match="origin"):
        next_origin(origin)


def test_a_citation_says_what_its_note_says_and_is_read_back() -> None:
    """The whole note is in it."""
    log = SealedLog().grow(4)
    note = receipt(log)
    after = after_of(note)
    assert after.cited == Checkpoint(ORIGIN, 5, log.chain.tree.root())
    assert after.data() == {
        "note": note.decode(),
        "origin": ORIGIN,
        "root": encode_base64(after.cited.root),
        "size": 5,
    }
    assert parse_after(after.data()) == after


def test_what_cannot_be_cited_is_refused() -> None:
    """No note, an empty log, or more than a genesis entry should carry."""
    log = SealedLog()
    empty = log.sign(Checkpoint(ORIGIN, 0, bytes(32)))
    with pytest.raises(InputError, match="form"):
        after_of(b"text")
    with pytest.raises(InputError, match="at least one entry"):
        after_of(empty)
    lines = (
        log.checkpoint() + "".join(f"— w{n} {encode_base64(bytes([n]) * 1200)}\n" for n in range(12)).encode()
    )
    assert len(lines) > MAX_CITED_NOTE
    with pytest.raises(InputError, match=f"at most {MAX_CITED_NOTE}"):
        after_of(lines)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"origin": None}, "texts"),
        ({"note": 1}, "texts"),
        ({"root": []}, "texts"),
        ({"note": "text"}, "form"),
        ({"size": "5"}, "after size"),
        ({"size": True}, "after size"),
        ({"size": 4}, "what its note says"),
        ({"size": -1}, "size"),
        ({"origin": "other"}, "what its note says"),
        ({"root": encode_base64(bytes(32))}, "what its note says"),
        ({"root": "AA"}, "root"),
        ({"more": 1}, "an object of note, origin, root, size"),
    ],
)
def test_a_citation_that_contradicts_itself_is_refused(changes: dict[str, Value], named: str) -> None:
    """Each field, by itself."""
    data = after_of(receipt(SealedLog().grow(4))).data()
    with pytest.raises(InputError, match=named):
        parse_after({**data, **changes})


@pytest.mark.parametrize("value", [None, [], "note", {}])
def test_a_citation_of_another_shape_is_refused(value: Value) -> None:
    """It is an object of four members."""
    with pytest.raises(InputError, match="an object of note, origin, root, size"):
        parse_after(value)


def test_a_link_holds_under_the_keys_and_witnesses_of_the_log_before() -> None:
    """And says when it was cosigned."""
    log = SealedLog().grow(3)
    assert verify(log, after_of(receipt(log))) == COSIGNED


def test_a_link_needs_the_keys_that_were_active_at_its_size() -> None:
    """Behind a change of keys the old ones sign no more, and before it the new ones do not yet."""
    log = SealedLog().grow(3)
    early = receipt(log)
    log.roll_over("checkpoint")
    late = receipt(log.grow(1))
    assert verify(log, after_of(early)) == verify(log, after_of(late)) == COSIGNED
    old = checkpoint_note(
        Checkpoint(ORIGIN, log.size, log.chain.tree.root()),
        [
            log.first_keys.checkpoint.note_signature(ORIGIN, after_of(late).cited.text()),
            log.first_keys.interop.note_signature(ORIGIN, after_of(late).cited.text()),
        ],
    )
    with pytest.raises(BrokenLinkError, match="the key is not"):
        verify(log, after_of(cosigned(old)))


def test_in_mode_checkpoint_the_record_key_must_have_signed_too() -> None:
    """As everywhere in that mode."""
    log = SealedLog(mode="checkpoint").grow(3)
    assert verify(log, after_of(receipt(log))) == COSIGNED
    log.mode = "record"
    note = receipt(log)
    log.mode = "checkpoint"
    with pytest.raises(BrokenLinkError, match="a required key has not signed"):
        verify(log, after_of(note))


def test_only_the_direct_successor_may_cite() -> None:
    """Neither a stranger, nor a later one that leaves one out."""
    after = after_of(receipt(log := SealedLog().grow(3)))
    for origin in (ORIGIN, f"{ORIGIN}/3", "example.com/other/2"):
        with pytest.raises(BrokenLinkError, match=f"goes on as {SECOND}"):
            verify(log, after, origin=origin)


def test_a_name_without_a_next_one_is_continued_by_nobody() -> None:
    """It is as long as an origin may be."""
    log = SealedLog(origin="x" * 255).grow(1)
    with pytest.raises(BrokenLinkError, match="1 to 255"):
        verify(log, after_of(receipt(log)))


def test_the_keys_of_another_log_prove_nothing() -> None:
    """Whoever verifies has mixed something up."""
    log, other = SealedLog().grow(3), SealedLog(origin="other")
    with pytest.raises(BrokenLinkError, match="these are the keys of other"):
        verify(other, after_of(receipt(log)))


def test_a_note_without_the_cosignature_is_no_link() -> None:
    """Nobody knows that the log before was at that size."""
    log = SealedLog().grow(3)
    with pytest.raises(BrokenLinkError, match="0 of 1 known witnesses"):
        verify(log, after_of(log.checkpoint()))


def test_a_false_cosignature_is_no_link() -> None:
    """Under the name of the witness, over other bytes or by another key."""
    log = SealedLog().grow(3)
    stranger = Ed25519Signer(generate_interop_key())
    with pytest.raises(BrokenLinkError, match="the key is not"):
        verify(log, after_of(cosigned(log.checkpoint(), signer=stranger)))
    early = cosigned(log.sign(Checkpoint(ORIGIN, 3, bytes(32))))
    line = early[early.rindex("— witness".encode()) :]
    with pytest.raises(BrokenLinkError, match="does not hold"):
        verify(log, after_of(log.checkpoint() + line))


def test_a_note_that_the_log_did_not_sign_is_no_link() -> None:
    """Here it was altered behind the cosignature."""
    log, thief = SealedLog().grow(3), SealedLog(keys=new_keys()).grow(2)
    with pytest.raises(BrokenLinkError, match="does not hold"):
        verify(log, after_of(receipt(thief)))


def test_a_quorum_is_reached_when_its_last_witness_has_signed() -> None:
    """Two of them, and one is too few."""
    log = SealedLog().grow(3)
    second = Ed25519Signer(generate_interop_key())
    other = second.verifier_key("carrier", cosigner=True)
    note = receipt(log)
    text = note[: note.rindex(b"\n\n") + 1]
    both = after_of(add_signature(note, second.cosign("carrier", text, COSIGNED + 90)))
    keys = (other, witness_key())
    assert witnessed(both, keys) == [COSIGNED, COSIGNED + 90]
    history = history_of(log)
    assert verify_link(SECOND, both, history, keys, quorum=2, mode="record") == COSIGNED + 90
    assert verify_link(SECOND, both, history, keys, quorum=0, mode="record") == COSIGNED
    with pytest.raises(BrokenLinkError, match="1 of 2 known witnesses"):
        verify_link(SECOND, after_of(note), history, keys, quorum=2, mode="record")


def test_a_genesis_entry_without_a_citation_continues_nothing() -> None:
    """As most do."""
    assert link_of(parse_entry(SealedLog().entries[0])) is None


def test_a_genesis_entry_names_what_it_continues() -> None:
    """Or is refused, whatever is wrong with it."""
    log = SealedLog().grow(2)
    after = after_of(receipt(log))
    assert link_of(parse_entry(successor(log).entries[0])) == after
    with pytest.raises(BrokenLinkError, match="an object of"):
        link_of(parse_entry(successor(log, after={}).entries[0]))
    with pytest.raises(BrokenLinkError, match=f"goes on as {SECOND}"):
        link_of(parse_entry(successor(log, origin="example.com/x/2").entries[0]))


def test_evidence_of_the_log_before_proves_the_link() -> None:
    """The report on the later one says what it cites."""
    old = SealedLog().grow(6)
    new = successor(old).grow(3)
    report, _, _ = examined(new, receipt(new))
    assert (report.faults, report.after) == ((), after_of(receipt(old)))
    assert report.after is not None
    assert follow(new.origin, report.after, *examined(old, receipt(old))) == COSIGNED


def test_what_the_log_before_has_behind_the_citation_does_not_break_it() -> None:
    """Its readings that nobody had cosigned are named by its own verdict."""
    old = SealedLog().grow(6)
    note = receipt(old)
    new = successor(old)
    found = examined(old.grow(2), note)
    assert [fault.verdict for fault in found[0].faults] == [Verdict.TAIL]
    assert follow(new.origin, after_of(note), *found) == COSIGNED


def test_a_log_before_that_is_not_good_proves_no_link() -> None:
    """An entry of it was changed."""
    old = SealedLog().grow(6)
    note = receipt(old)
    old.entries[3] = old.entries[3].replace(b"4.71", b"4.17")
    with pytest.raises(BrokenLinkError, match="not good: bad-signature at entry 3"):
        follow(SECOND, after_of(note), *examined(old, note))


def test_a_log_before_that_ends_earlier_proves_no_link() -> None:
    """Its bundle was cut."""
    old = SealedLog().grow(6)
    early = receipt(old)
    new = successor(old.grow(1))
    after = link_of(parse_entry(new.entries[0]))
    assert after is not None
    old.entries.pop()
    with pytest.raises(BrokenLinkError, match="of size 7, proves no root at size 8"):
        follow(SECOND, after, *examined(old, early))


def test_a_fork_of_the_log_before_proves_no_link() -> None:
    """The same keys sealed another history, and the witness was made to sign both."""
    old = SealedLog().grow(3)
    copied = old.copy().grow(1, text="probe-2")
    after = after_of(receipt(old.grow(1)))
    with pytest.raises(BrokenLinkError, match="another root: a fork"):
        follow(SECOND, after, *examined(copied, receipt(copied)))


@pytest.mark.parametrize("after", [{}, {"note": "", "origin": ORIGIN, "root": "", "size": 1}])
def test_a_malformed_citation_is_a_verdict_of_its_own(after: Value) -> None:
    """Also where nobody has the log before."""
    log = successor(SealedLog().grow(1), after=after).grow(2)
    report, _, _ = examined(log, receipt(log))
    assert [(fault.verdict, fault.seq) for fault in report.faults] == [(Verdict.LINK, 0)]
    assert report.after is None


def test_an_origin_that_does_not_follow_is_a_verdict_of_its_own() -> None:
    """The genesis entry is signed, and still wrong."""
    old = SealedLog().grow(1)
    log = successor(old, origin=f"{ORIGIN}/3").grow(2)
    report, _, _ = examined(log, receipt(log))
    (fault,) = report.faults
    assert fault.verdict is Verdict.LINK
    assert fault.detail == f"it cites {ORIGIN}, which goes on as {SECOND}"


def test_a_chain_of_three_is_followed_link_by_link() -> None:
    """Each cites the one directly before."""
    logs = [SealedLog().grow(2)]
    for _ in range(2):
        logs.append(successor(logs[-1]).grow(2))
    assert [log.origin for log in logs] == [ORIGIN, SECOND, f"{ORIGIN}/3"]
    for old, new in pairwise(logs):
        report, _, _ = examined(new, receipt(new))
        assert report.after is not None
        assert follow(new.origin, report.after, *examined(old, receipt(old))) == COSIGNED
    report, _, _ = examined(logs[2], receipt(logs[2]))
    assert report.after is not None
    with pytest.raises(BrokenLinkError, match="these are the keys of"):
        follow(logs[2].origin, report.after, *examined(logs[0], receipt(logs[0])))


def test_keys_of_both_logs_are_not_the_same() -> None:
    """A new gateway makes its own; the link rests on the old ones."""
    old = SealedLog().grow(1)
    new = successor(old)
    assert checkpoint_keys(new.keys, new.origin) != checkpoint_keys(old.keys, old.origin)
