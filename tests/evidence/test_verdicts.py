"""Every verdict can be reached from a file, names its first bad entry, and ends with exit code 1."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from coldseal.cli.main import run
from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import NoteSignature, add_signature
from coldseal.core.log.delivery.receiver import AdmittedLog
from coldseal.core.log.evidence import CHECKS, Verdict
from coldseal.core.log.keys import revocation
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.record import frame, key_id, parse_frames
from coldseal.evidence.verification import Question, verify_bundle
from coldseal.service.admission import encode_log_file
from tests.core.log.test_evidence import COSIGNED, ORIGIN, make_note, sign, signers, spki
from tests.evidence.parts import Story, make_bundle, rewrite, seal_log

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ENTRIES = "tile/entries/000.p/10"


def edited(path: Path, edit: Callable[[list[bytes]], list[bytes] | None]) -> Path:
    """Write a bundle of ten entries, change its entries, and mend the sums, as whoever holds it can."""

    def change(files: dict[str, bytes]) -> None:
        entries = parse_frames(files[ENTRIES])
        files[ENTRIES] = frame(edit(entries) or entries)

    return rewrite(make_bundle(path, seal_log(10)), change, is_mended=True)


def told(path: Path, story: Story, *, covered: int = 0) -> Path:
    """Write a bundle of a log that is wrong by itself."""
    notes = [make_note(story.entries)]
    if covered:
        notes = [make_note(story.entries[:covered]), make_note(story.entries, is_cosigned=False)]
    return make_bundle(path, story.entries, notes)


def damaged(path: Path) -> Path:
    """Change a file and leave its sum as it was."""
    return rewrite(
        make_bundle(path, seal_log(10)), lambda files: files.update({ENTRIES: files[ENTRIES][:-1] + b"?"})
    )


def malformed(path: Path) -> Path:
    """Put bytes that are no entry in its place."""
    return edited(path, lambda entries: [*entries[:4], b'{"no":"entry"}', *entries[5:]])


def malformed_key(path: Path) -> Path:
    """Put bytes in its place that say they change a key."""
    return edited(path, lambda entries: [*entries[:4], b'{"kind":"key"}', *entries[5:]])


def cut_within(path: Path) -> Path:
    """Cut the last frame."""
    return rewrite(
        make_bundle(path, seal_log(10)),
        lambda files: files.update({ENTRIES: files[ENTRIES][:-5]}),
        is_mended=True,
    )


def unsigned(path: Path) -> Path:
    """Seal an entry without a signature where each has one."""
    return told(path, Story().tell(signer=None).tell())


def wrong_key(path: Path) -> Path:
    """Seal an entry with a key that nobody changed to."""
    story, other = Story(), ec.generate_private_key(ec.SECP256R1())
    story.chain.kid = key_id(spki(other))
    return told(path, story.tell(signer=lambda data: sign(other, data)))


def bad_signature(path: Path) -> Path:
    """Change a value."""
    return edited(path, lambda entries: [raw.replace(b'"4.5"', b'"9.5"') for raw in entries])


def gap(path: Path) -> Path:
    """Take an entry out."""
    return edited(path, lambda entries: [*entries[:6], *entries[7:]])


def inserted(path: Path) -> Path:
    """Put an entry in."""
    return edited(path, lambda entries: [*entries, entries[-1]])


def foreign(path: Path) -> Path:
    """Go on under another name."""
    story = Story()
    story.chain.log = "other.example/log"
    return told(path, story.tell())


def no_genesis(path: Path) -> Path:
    """Leave out how the log began."""
    entries = seal_log(10)
    return make_bundle(path, entries, runs=[(1, 10)])


def broken_chain(path: Path) -> Path:
    """Seal an entry that names another one before it."""
    story = Story(4)
    story.chain.head = leaf_hash(b"another").hex()
    return told(path, story.tell())


def root_mismatch(path: Path) -> Path:
    """Write the history anew with all software keys; only the witness has seen the old one."""
    old = seal_log(10)
    story = Story(9).tell()
    return make_bundle(path, story.entries, [make_note(old)])


def bad_checkpoint(path: Path) -> Path:
    """Sign a checkpoint with one key only."""
    entries = seal_log(10)
    return make_bundle(path, entries, [make_note(entries[:8], is_damaged=True), make_note(entries)])


def unknown_key(path: Path) -> Path:
    """Put a line of the log's name and an unknown key under a checkpoint."""
    entries = seal_log(10)
    odd = add_signature(make_note(entries[:8]), NoteSignature(ORIGIN, b"abcd", b"x" * 64))
    return make_bundle(path, entries, [odd, make_note(entries)])


def not_witnessed(path: Path) -> Path:
    """Show what no witness has seen."""
    entries = seal_log(10)
    return make_bundle(path, entries, [make_note(entries, is_cosigned=False)])


def bad_key_change(path: Path) -> Path:
    """Change the key without a proof that the new one is there."""
    return told(path, Story().tell("key", {"action": "roll-over", "use": "record"}))


def revoked(path: Path) -> Path:
    """Revoke the key that signed all of it."""
    data = revocation(
        "record", key_id(spki(signers().record)), since="2026-01-01T00:00:00.000Z", reason="stolen"
    )
    return told(path, Story().tell("key", dict(data)))


def clock_step(path: Path) -> Path:
    """Set the clock forward without saying so."""
    return told(path, Story().tell(wall_ms=3_600_000))


def clock_drift(path: Path) -> Path:
    """Seal with a clock that is ahead of the witness's."""
    ahead = COSIGNED * 1000
    story = Story().tell("clock", {"step": ahead}, wall_ms=ahead)
    return told(path, story)


def silence(path: Path) -> Path:
    """Be silent for longer than the heartbeat that was promised."""
    return told(path, Story().tell(wall_ms=4_000_000, mono_ms=4_000_000))


def pruned(path: Path) -> Path:
    """Prune without a receipt for the archive."""
    return told(path, Story().tell("prune", {"archive": {}, "first": 0, "last": 1}))


def csv_mismatch(path: Path) -> Path:
    """Change a cell of the table."""
    return rewrite(
        make_bundle(path, seal_log(10)),
        lambda files: files.update({"readings.csv": files["readings.csv"].replace(b"4.7", b"4.8")}),
        is_mended=True,
    )


def csv_header(path: Path) -> Path:
    """Name a column otherwise."""
    return rewrite(
        make_bundle(path, seal_log(10)),
        lambda files: files.update({"readings.csv": b"place" + files["readings.csv"]}),
        is_mended=True,
    )


def csv_longer(path: Path) -> Path:
    """Add a row."""
    return rewrite(
        make_bundle(path, seal_log(10)),
        lambda files: files.update({"readings.csv": files["readings.csv"] + b"10,now,d,s,t,4.0,Cel,\n"}),
        is_mended=True,
    )


def tail(path: Path) -> Path:
    """Show entries behind the last receipt."""
    return told(path, Story(6), covered=4)


CASES: list[tuple[Callable[[Path], Path], Verdict, int]] = [
    (damaged, Verdict.DAMAGED, 0),
    (malformed, Verdict.MALFORMED, 4),
    (malformed_key, Verdict.MALFORMED, 4),
    (cut_within, Verdict.MALFORMED, 9),
    (unsigned, Verdict.UNSIGNED, 3),
    (wrong_key, Verdict.WRONG_KEY, 3),
    (bad_signature, Verdict.BAD_SIGNATURE, 5),
    (gap, Verdict.GAP, 6),
    (inserted, Verdict.GAP, 10),
    (foreign, Verdict.FOREIGN, 3),
    (no_genesis, Verdict.GENESIS, 0),
    (broken_chain, Verdict.BROKEN_CHAIN, 4),
    (root_mismatch, Verdict.ROOT_MISMATCH, 9),
    (bad_checkpoint, Verdict.BAD_CHECKPOINT, 7),
    (unknown_key, Verdict.UNKNOWN_KEY, 7),
    (not_witnessed, Verdict.UNWITNESSED, 0),
    (bad_key_change, Verdict.BAD_KEY_CHANGE, 3),
    (revoked, Verdict.REVOKED, 0),
    (clock_step, Verdict.CLOCK_STEP, 3),
    (clock_drift, Verdict.CLOCK_DRIFT, 3),
    (silence, Verdict.SILENCE, 3),
    (pruned, Verdict.PRUNED, 3),
    (csv_mismatch, Verdict.CSV, 7),
    (csv_header, Verdict.CSV, 0),
    (csv_longer, Verdict.CSV, 9),
    (tail, Verdict.TAIL, 4),
]


@pytest.mark.parametrize(("make", "verdict", "seq"), CASES, ids=[case[0].__name__ for case in CASES])
def test_each_fault_has_its_verdict_and_its_place(
    make: Callable[[Path], Path],
    verdict: Verdict,
    seq: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The most fundamental one leads, and the check that found it is the one that is shown to fail."""
    path = make(tmp_path / "bad.coldseal")
    assert run(["evidence", "verify", str(path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert (found["faults"][0]["verdict"], found["faults"][0]["seq"]) == (verdict.value, seq), found["faults"]
    assert found["good"] is False
    assert run(["evidence", "verify", str(path)]) == 1
    shown = capsys.readouterr().out
    (check,) = (name for name, verdicts in CHECKS.items() if verdict in verdicts)
    assert f"FAIL  {check}" in shown
    assert f"NOT GOOD: {verdict.value}, first at entry {seq}" in shown


def test_every_verdict_is_among_the_cases() -> None:
    """But those of timestamps, links and counters: these need an authority, a second log, a chip."""
    elsewhere = {Verdict.TIMESTAMP, Verdict.LINK, Verdict.COUNTER}
    assert {verdict for _, verdict, _ in CASES} == set(Verdict) - elsewhere


@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_bad_entry_is_the_same_however_many_processes_look(tmp_path: Path, workers: int) -> None:
    """Here in the second of two tiles, with the table behind it wrong as well."""
    entries = seal_log(2100)
    note = make_note(entries)
    entries[401] = entries[401].replace(b'"4.1"', b'"9.1"')
    path = make_bundle(tmp_path / "x.coldseal", entries, [note])
    answer = verify_bundle(path, Question(workers=workers))
    found = [(fault.verdict, fault.seq) for fault in answer.report.faults]
    assert found == [
        (Verdict.BAD_SIGNATURE, 401),
        (Verdict.BROKEN_CHAIN, 402),
        (Verdict.ROOT_MISMATCH, 2099),
        (Verdict.UNWITNESSED, 0),
    ]


def test_what_is_not_looked_at_is_not_found_and_the_report_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``--checkpoints-only``; the chain still shows that something was changed."""
    path = bad_signature(tmp_path / "bad.coldseal")
    assert run(["evidence", "verify", str(path), "--checkpoints-only"]) == 1
    shown = capsys.readouterr().out
    assert "NOT GOOD: broken-chain, first at entry 6" in shown
    assert "--    every entry signed by the key active at its place" in shown
    assert "signatures of entries and the table were not looked at" in shown
    path = csv_mismatch(tmp_path / "csv.coldseal")
    assert run(["evidence", "verify", str(path), "--checkpoints-only", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["checked"] == "checkpoints"


def test_no_field_of_the_table_is_too_long_for_a_verdict(tmp_path: Path) -> None:
    """Also in its form of before; a difference in the first of two tiles is found all the same."""
    story = Story(260).tell(data={"q": [{"c": "1", "n": ["\x7f" * 60_000]}], "sensor": "s"})

    def shorten(files: dict[str, bytes]) -> None:
        rows = files["readings.csv"].splitlines()
        files["readings.csv"] = b"".join(row.rsplit(b",", 2)[0] + b"\n" for row in rows)

    path = rewrite(make_bundle(tmp_path / "x.coldseal", story.entries), shorten, is_mended=True)
    assert verify_bundle(path, Question()).report.is_good
    rewrite(path, lambda files: files.update({"readings.csv": files["readings.csv"].replace(b"4.7", b"4.8")}),
            is_mended=True)  # fmt: skip
    (fault,) = verify_bundle(path, Question()).report.faults
    assert (fault.verdict, fault.seq) == (Verdict.CSV, 7)


def test_in_checkpoint_mode_the_note_signs_for_the_entries(tmp_path: Path) -> None:
    """The record key's line stands for a signature of each entry."""
    entries = seal_log(10, mode="checkpoint")
    policy = replace(signers().policy, mode="checkpoint")
    path = make_bundle(tmp_path / "x.coldseal", entries, [make_note(entries, has_record=True)], policy=policy)
    assert verify_bundle(path, Question()).report.is_good


def test_an_admission_file_says_that_a_log_is_in_checkpoint_mode(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a policy it fits then; without the mode, each entry would have to be signed."""
    entries = seal_log(10, mode="checkpoint")
    policy = replace(signers().policy, mode="checkpoint")
    path = make_bundle(tmp_path / "x.coldseal", entries, [make_note(entries, has_record=True)], policy=policy)
    log = AdmittedLog(ORIGIN, "gw-0001", policy.record_key, policy.checkpoint_keys)
    admission = tmp_path / "admission.json"
    command = ["evidence", "verify", str(path), "--policy", str(admission)]
    command += ["--witness", policy.witnesses[0].encode()]
    admission.write_bytes(encode_log_file(log, mode="checkpoint"))
    assert run(command) == 0
    admission.write_bytes(encode_log_file(log))
    assert run(command) == 1
    assert "NOT GOOD: unsigned" in capsys.readouterr().out


def test_control_characters_of_a_stranger_do_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A detail may quote what somebody else wrote."""

    def change(files: dict[str, bytes]) -> None:
        manifest = canonical.parse(files["manifest.json"], where="test")
        manifest["mode"] = "\x1b[2J"
        files["manifest.json"] = canonical.encode(manifest)

    path = rewrite(make_bundle(tmp_path / "x.coldseal", seal_log(3)), change)
    assert run(["evidence", "verify", str(path)]) == 1
    assert "\x1b" not in capsys.readouterr().out
