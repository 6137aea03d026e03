"""Whatever is done to a log, its verification names the kind of fault and the first entry concerned."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import (
    Algorithm,
    Checkpoint,
    NoteSignature,
    VerifierKey,
    checkpoint_note,
    cosignature_message,
    encode_cosignature,
)
from coldseal.core.log.evidence import CHECKS, Case, Fault, Policy, Report, Verdict, examine, judge
from coldseal.core.log.layout import Layout
from coldseal.core.log.merkle import CompactRange, leaf_hash
from coldseal.core.log.record import Chain, frame, key_id
from coldseal.core.log.signature import low_s

ORIGIN = "coldseal.example/site-7/gw-0001"
WITNESS = "witness.example"
TQ = b'{"boot":"0badcafe","err":3,"mono":%d,"off":0,"s":"%b"}'
COSIGNED = 1_800_000_000


@dataclass(frozen=True)
class Signers:
    """Test keys of one log and its witness."""

    record: ec.EllipticCurvePrivateKey
    checkpoint: ec.EllipticCurvePrivateKey
    interop: ed25519.Ed25519PrivateKey
    witness: ed25519.Ed25519PrivateKey

    @property
    def policy(self) -> Policy:
        """What a verifier who knows these keys trusts."""
        return Policy(
            ORIGIN,
            spki(self.record),
            (
                VerifierKey(ORIGIN, Algorithm.ECDSA, spki(self.checkpoint)),
                VerifierKey(ORIGIN, Algorithm.ED25519, self.interop.public_key().public_bytes_raw()),
            ),
            (VerifierKey(WITNESS, Algorithm.COSIGNATURE, self.witness.public_key().public_bytes_raw()),),
        )


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    """Give the public key as DER."""
    return key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def sign(key: ec.EllipticCurvePrivateKey, data: bytes) -> bytes:
    """Sign with the lower s."""
    return low_s(key.sign(data, ec.ECDSA(hashes.SHA256())))


@cache
def signers() -> Signers:
    """Make the keys once."""
    return Signers(
        ec.generate_private_key(ec.SECP256R1()),
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        ed25519.Ed25519PrivateKey.generate(),
    )


def make_entries(
    count: int, *, mode: str = "record", origin: str = ORIGIN, state: bytes = b"synchronised"
) -> list[bytes]:
    """Seal a genesis and readings."""
    keys = signers()
    chain = Chain(origin, key_id(spki(keys.record)))
    genesis = canonical.encode(
        {
            "checkpoint_keys": [key.encode() for key in keys.policy.checkpoint_keys],
            "mode": mode,
            "record_key": canonical.encode_base64(spki(keys.record)),
        }
    )
    signer = (lambda data: sign(keys.record, data)) if mode == "record" else None
    entries = []
    for number in range(count):
        moment = f"2026-01-01T00:{number // 60:02d}:{number % 60:02d}.000Z"
        kind, src, data = ("reading", b'{"dev":"d"}', b'{"q":[]}') if number else ("genesis", b"", genesis)
        entries.append(chain.seal(kind, moment, TQ % (number * 1000, state), src, data, signer))
    return entries


def make_note(
    entries: list[bytes], *, is_cosigned: bool = True, has_record: bool = False, is_damaged: bool = False
) -> bytes:
    """Sign a checkpoint over entries, as the gateway and its witness do."""
    keys, tree = signers(), CompactRange()
    for entry in entries:
        tree.append(leaf_hash(entry))
    checkpoint = Checkpoint(ORIGIN, tree.size, tree.root())
    text = checkpoint.text()
    known = keys.policy.checkpoint_keys
    lines = [
        NoteSignature(ORIGIN, known[0].id, sign(keys.checkpoint, text if not is_damaged else b"other")),
        NoteSignature(ORIGIN, known[1].id, keys.interop.sign(text)),
    ]
    if has_record:
        record = VerifierKey(ORIGIN, Algorithm.ECDSA, spki(keys.record))
        lines.append(NoteSignature(ORIGIN, record.id, sign(keys.record, text)))
    if is_cosigned:
        signature = keys.witness.sign(cosignature_message(text, COSIGNED))
        lines.append(
            NoteSignature(WITNESS, keys.policy.witnesses[0].id, encode_cosignature(COSIGNED, signature))
        )
    return checkpoint_note(checkpoint, lines)


def run(
    entries: list[bytes],
    notes: list[bytes],
    *,
    policy: Policy | None = None,
    first: int = 0,
    before: tuple[bytes, ...] = (),
    step: int = 3,
) -> Report:
    """Verify entries in stretches of ``step``, with the hashes of what is before them."""
    trusted = signers().policy if policy is None else policy
    size = first + len(entries)
    case = Case(trusted, Layout(size, ((first, size),), before), notes=notes, settings=entries[:1])
    stretches = [
        examine(case.rules, first + at, frame(entries[at : at + step])) for at in range(0, len(entries), step)
    ]
    return judge(case, stretches)


def first_of(report: Report) -> tuple[Verdict, int]:
    """Name the leading fault."""
    return report.faults[0].verdict, report.faults[0].seq


def test_a_whole_and_witnessed_log_is_good() -> None:
    """Nothing is found, and the report says what was looked at."""
    entries = make_entries(8)
    report = run(entries, [make_note(entries), make_note(entries[:5])])
    assert report.is_good
    assert (report.first, report.size, report.anchored, report.anchored_at) == (0, 8, 8, COSIGNED)
    assert dict(report.kinds) == {"genesis": 1, "reading": 7}
    assert (report.earliest, report.latest) == ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:07.000Z")
    assert all(report.fault_of(check) is None for check in CHECKS)


@pytest.mark.parametrize("start", [1, 2, 5, 7])
def test_a_later_stretch_is_proven_by_the_range_before_it(start: int) -> None:
    """The roots cover the entries that are not there."""
    entries, prior = make_entries(8), CompactRange()
    prior.extend([leaf_hash(entry) for entry in entries[:start]])
    hashes, other = tuple(prior.hashes), (b"\1" * 32,) * start.bit_count()
    assert run(entries[start:], [make_note(entries)], first=start, before=hashes).is_good
    report = run(entries[start:], [make_note(entries)], first=start, before=other)
    found = {fault.verdict for fault in report.faults}
    assert Verdict.ROOT_MISMATCH in found
    assert (Verdict.BROKEN_CHAIN in found) == bool(start % 2), "the range shows the last leaf of an odd size"


def test_a_flipped_byte_is_a_bad_signature_at_its_entry_and_breaks_the_chain_behind() -> None:
    """The body still parses: only the proofs tell."""
    entries = make_entries(6)
    note = make_note(entries)
    entries[2] = entries[2].replace(b'"dev":"d"', b'"dev":"e"')
    report = run(entries, [note])
    assert first_of(report) == (Verdict.BAD_SIGNATURE, 2)
    found = {(fault.verdict, fault.seq) for fault in report.faults}
    assert {(Verdict.BROKEN_CHAIN, 3), (Verdict.ROOT_MISMATCH, 5)} <= found
    assert report.fault_of("hash chain unbroken") is not None


def test_bytes_that_are_no_entry_are_malformed_and_the_rest_is_still_examined() -> None:
    """One unreadable entry hides nothing behind it."""
    entries = make_entries(6)
    entries[1] = b'{"not":"an entry"}'
    report = run(entries, [make_note(entries)])
    assert first_of(report) == (Verdict.MALFORMED, 1)
    assert report.kinds["reading"] == 4


@pytest.mark.parametrize("step", [1, 3, 10])
def test_deleting_inserting_swapping_and_doubling_are_gaps_at_the_first_place_concerned(step: int) -> None:
    """Seq stands in the signed body."""
    entries = make_entries(7)
    note = make_note(entries)
    for changed, place in (
        ([*entries[:3], *entries[4:]], 3),
        ([*entries[:3], entries[1], *entries[3:]], 3),
        ([*entries[:3], entries[4], entries[3], *entries[5:]], 3),
        ([*entries[:3], entries[2], *entries[3:]], 3),
    ):
        report = run(changed, [note], step=step)
        assert first_of(report) == (Verdict.GAP, place)
        assert any(fault.verdict is Verdict.BROKEN_CHAIN for fault in report.faults)


def test_a_missing_stretch_is_a_gap() -> None:
    """Stretches must follow each other."""
    entries = make_entries(6)
    layout = Layout(6, ((0, 6),), ())
    case = Case(signers().policy, layout, notes=[make_note(entries)], settings=entries[:1])
    stretches = [examine(case.rules, 0, frame(entries[:2])), examine(case.rules, 4, frame(entries[4:]))]
    report = judge(case, stretches)
    assert first_of(report) == (Verdict.GAP, 2)


def test_a_tail_cut_before_the_last_anchor_is_a_gap() -> None:
    """The cosigned checkpoint covers more than is there."""
    entries = make_entries(6)
    report = run(entries[:4], [make_note(entries)])
    assert report.faults[0] == Fault(
        Verdict.GAP, 4, "a signed checkpoint covers 6 entries, the evidence ends at 4"
    )


def test_a_tail_behind_the_last_anchor_has_its_own_verdict() -> None:
    """Signed, but a key holder could still rewrite it."""
    entries = make_entries(6)
    report = run(entries, [make_note(entries[:4]), make_note(entries, is_cosigned=False)])
    assert first_of(report) == (Verdict.TAIL, 4)
    assert (report.anchored, len(report.faults)) == (4, 1)


def test_without_enough_cosignatures_nothing_is_witnessed() -> None:
    """The quorum is the verifier's."""
    entries = make_entries(3)
    assert first_of(run(entries, [make_note(entries, is_cosigned=False)])) == (Verdict.UNWITNESSED, 0)
    strict = replace(signers().policy, quorum=2)
    assert first_of(run(entries, [make_note(entries)], policy=strict)) == (Verdict.UNWITNESSED, 0)
    assert first_of(run(entries, [])) == (Verdict.UNWITNESSED, 0)


def test_an_entry_of_another_key_or_without_signature_is_refuted() -> None:
    """The record key is the policy's, not the one an entry names."""
    entries = make_entries(3)
    stranger = replace(signers().policy, record_key=spki(ec.generate_private_key(ec.SECP256R1())))
    assert first_of(run(entries, [make_note(entries)], policy=stranger)) == (Verdict.WRONG_KEY, 0)
    bare = make_entries(3, mode="checkpoint")
    report = run(bare, [make_note(bare)])
    assert first_of(report) == (Verdict.UNSIGNED, 0)
    assert report.fault_of("sequence without gap, from the right log") == Fault(
        Verdict.GENESIS, 0, "its mode is checkpoint, not what is trusted"
    )


def test_in_checkpoint_mode_the_record_key_must_sign_the_checkpoint() -> None:
    """It stands for the entries' own signatures."""
    bare = make_entries(3, mode="checkpoint")
    policy = replace(signers().policy, mode="checkpoint")
    assert run(bare, [make_note(bare, has_record=True)], policy=policy).is_good
    assert first_of(run(bare, [make_note(bare)], policy=policy)) == (Verdict.BAD_CHECKPOINT, 2)


def test_a_log_that_does_not_begin_with_its_genesis_is_told() -> None:
    """Readings cannot come first."""
    entries, keys = make_entries(2), signers()
    chain = Chain(ORIGIN, key_id(spki(keys.record)))
    entries = [
        chain.seal(
            "reading",
            "2026-01-01T00:00:00.000Z",
            TQ % (1, b"holdover"),
            b"",
            b"{}",
            lambda d: sign(keys.record, d),
        )
    ]
    assert first_of(run(entries, [make_note(entries)])) == (Verdict.GENESIS, 0)


def test_checkpoints_with_a_bad_signature_or_of_another_log_are_told() -> None:
    """They are not counted for anything else."""
    entries = make_entries(3)
    good = make_note(entries)
    assert first_of(run(entries, [good, make_note(entries, is_damaged=True)])) == (Verdict.BAD_CHECKPOINT, 2)
    assert first_of(run(entries, [good, b"no note"])) == (Verdict.BAD_CHECKPOINT, 0)
    elsewhere = replace(signers().policy, origin="other.example/log")
    found = {fault.verdict for fault in run(entries, [good], policy=elsewhere).faults}
    assert {Verdict.FOREIGN, Verdict.UNWITNESSED} <= found


def test_two_roots_of_one_size_are_a_fork_and_a_checkpoint_met_twice_is_not() -> None:
    """The better cosigned copy of one checkpoint counts."""
    entries = make_entries(4)
    twin = make_entries(4)
    assert run(
        entries,
        [make_note(entries, is_cosigned=False), make_note(entries), make_note(entries, is_cosigned=False)],
    ).is_good
    report = run(entries, [make_note(entries), make_note(twin)])
    assert first_of(report) == (Verdict.ROOT_MISMATCH, 3)
    assert "fork" in report.faults[0].detail


def test_entries_of_an_unsynchronised_clock_are_counted_but_no_fault() -> None:
    """A flag, never a refusal."""
    entries = make_entries(4, state=b"unsynchronised")
    report = run(entries, [make_note(entries)])
    assert report.is_good
    assert report.unsynchronised == 4


def test_the_signature_of_the_body_slice_is_what_openssl_would_check() -> None:
    """The example in the bundle's instructions holds: body and signature are literal slices."""
    (entry,) = make_entries(1)
    body, tail = entry.removeprefix(b'{"body":').split(b',"sig":"')
    signature = base64.b64decode(tail.removesuffix(b'"}'))
    signers().record.public_key().verify(signature, body, ec.ECDSA(hashes.SHA256()))
