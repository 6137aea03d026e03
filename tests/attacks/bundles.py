"""Attacks that an inspector's verifier catches, in a bundle, with nothing but public keys of his own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

from coldseal.core.log import canonical
from coldseal.core.log.canonical import Value, encode_base64
from coldseal.core.log.checkpoint import Note
from coldseal.core.log.evidence import Policy
from coldseal.core.log.merkle import leaf_hash
from coldseal.core.log.pace import DRIFT_MS, millis
from coldseal.core.log.record import MAX_ENTRY, Chain, parse_entry, parse_frames
from coldseal.evidence.verification import Question, verify_bundle
from tests.attacks.attack import Attack, Caught, Play, Stage, Where, Who
from tests.page.builder import ORIGIN, WITNESSES, Files, Story, honest, new_record, with_lines
from tests.page.cases import CASES, LATE, Mutate, signed

HOW = {
    "high-S twin on a checkpoint": "The twin signature on a checkpoint, made without the key.",
    "clock one hour ahead": "The wall clock jumps forward, and no entry says so.",
    "clock one hour back": "The wall clock jumps back, and no entry says so.",
}
"""How the cases are made whose functions do not say it, or only beside another one."""

CREEP_MS = 200
"""A step that is too small to be one by itself."""


def offline(
    mutate: Mutate, *, quorum: int = 2, start: Callable[[], Story] = honest, is_begun_anew: bool = False
) -> Play:
    """Tamper with an honest log's bundle and verify it with the honest log's keys.

    Args:
        mutate: tampers.
        quorum: witnesses that the inspector insists on.
        start: gives the honest log.
        is_begun_anew: the case begins a log of its own, and that one's keys are trusted.
    """

    async def play(stage: Stage) -> Caught:
        story = start()
        trusted = replace(trust(story), quorum=quorum)
        made_at = mutate(story)
        trusted = replace(trust(story), quorum=quorum) if is_begun_anew else trusted
        path = stage.folder / "false.coldseal"
        path.write_bytes(story.bundle())
        faults = verify_bundle(path, Question(policy=trusted)).report.faults
        return Caught(faults[0].verdict.value, faults[0].seq, made_at) if faults else Caught("")

    return play


def trust(story: Story) -> Policy:
    """Give the keys that an inspector was given beforehand."""
    named = zip(WITNESSES, story.witnesses, strict=True)
    witnesses = tuple(signer.verifier_key(name, cosigner=True) for name, signer in named)
    return Policy(
        ORIGIN, story.first_record.spki, story.first_checkpoint.verifiers, witnesses, story.quorum, story.mode
    )


def rewind(story: Story, size: int) -> None:
    """Go back to an earlier end of the log, with the keys and the clock as they were there."""
    chain = Chain(ORIGIN, parse_entry(story.entries[size]).kid)
    for raw in story.entries[:size]:
        chain.tree.append(leaf_hash(raw))
    chain.head = leaf_hash(story.entries[size - 1]).hex()
    last = parse_entry(story.entries[size - 1])
    assert isinstance(last.tq["mono"], int)
    story.chain = chain
    story.now_ms, story.mono_ms = millis(last.t), last.tq["mono"]
    story.boot = int(str(last.tq["boot"]), 16)
    del story.entries[size:], story.sealed[size:]


def rewrite(story: Story, value: str = "5.00") -> None:
    """Seal everything from `LATE` on anew with the real keys, to the same length, each reading in range."""
    size = len(story.entries)
    rewind(story, LATE)
    while len(story.entries) < size:
        story.read("ramp", value)


def size_of(note: bytes) -> int:
    """Give the size that a checkpoint states."""
    return int(note.split(b"\n")[1])


def rewritten_beside_receipts(story: Story) -> int:
    """All software keys write a new history; the witnesses' cosignatures over the old one are left in."""
    rewrite(story)
    story.note(cosigners=0)
    return min(size for size, _ in story.anchors if size > LATE) - 1


def rewritten_without_receipts(story: Story) -> int:
    """The same, and what the witnesses signed is left out from there on."""
    rewrite(story)
    story.notes = [note for note in story.notes if size_of(note) <= LATE]
    story.note(cosigners=0)
    return max(size for size, _ in story.anchors if size <= LATE)


def rewritten_from_the_start(story: Story) -> int:
    """The whole log anew with the real keys; no witness has seen any of it."""
    rewind(story, 1)
    story.record, story.checkpoint = story.first_record, story.first_checkpoint
    for _ in range(60):
        story.read("ramp", "5.00")
    story.notes = []
    story.note(cosigners=0)
    return 0


def cut_with_checkpoints(story: Story) -> int:
    """The entries behind the last anchor are gone; the log's own checkpoint over them was left in."""
    size = len(story.entries)
    story.read("ramp", "5.00")
    story.note(cosigners=0)
    del story.entries[size:]
    story.size = size
    return size


def forked_to_two(story: Story) -> int:
    """Two histories of one length; each witness cosigned one of them, and both checkpoints are here."""
    other = fork(story)
    story.notes[-1] = with_lines(story.notes[-1], without(3))
    story.notes.append(with_lines(other.notes[-1], without(2)))
    return len(story.entries) - 1


def one_of_two_histories(story: Story) -> int:
    """One of the two, alone: its witness is one too few."""
    other = fork(story)
    story.entries, story.sealed, story.chain = other.entries, other.sealed, other.chain
    story.notes = [note for note in story.notes if size_of(note) <= LATE]
    story.notes.append(with_lines(other.notes[-1], without(2)))
    return max(size for size, _ in story.anchors if size <= LATE)


def fork(story: Story) -> Story:
    """Give another history of the same length, cosigned."""
    other = story.copy()
    rewrite(other)
    other.now_ms = story.now_ms
    other.note()
    return other


def without(place: int) -> Callable[[Note], Note]:
    """Leave one line of a note out."""
    return lambda note: replace(note, signatures=note.signatures[:place] + note.signatures[place + 1 :])


def unsigned_segment(story: Story) -> int:
    """The entry that closes a segment carries no signature."""
    probe = story.copy()
    last = probe.chain.size
    probe.seal("segment", {"first": 0, "last": last, "reason": "entries"})
    seq = story.forge(b'{"body":%b}' % parse_entry(probe.entries[-1]).body)
    story.note()
    return seq


def unsigned_closing(story: Story) -> int:
    """The checkpoint that closes a segment lacks the log's own signatures; witnesses have signed it."""
    last = story.chain.size
    story.seal("segment", {"first": 0, "last": last, "reason": "entries"})
    story.notes.append(with_lines(story.note(), lambda note: replace(note, signatures=note.signatures[2:])))
    del story.notes[-2]
    return last


def unsigned_groups() -> Story:
    """Give a log whose entries carry no signatures because the record key signs each checkpoint."""
    story = Story(mode="checkpoint").grow(40)
    story.note()
    return story


def without_record_key(story: Story) -> int:
    """The checkpoint over a closed segment lacks the record key's line, which stands for the entries."""
    last = story.chain.size
    story.seal("segment", {"first": 0, "last": last, "reason": "day"})
    story.mode = "record"
    story.note()
    story.mode = "checkpoint"
    return last


def drifting(story: Story) -> int:
    """The clock runs 2 % fast, each step too small to be one, until it is two minutes ahead."""
    found = None
    while found is None:
        first = len(story.entries)
        for _ in range(32):
            story.offset_ms += CREEP_MS
            story.read("ramp", "5.00")
        story.note()
        limit = story.anchors[-1][1] * 1000 + DRIFT_MS
        times = ((seq, millis(parse_entry(story.entries[seq]).t)) for seq in range(first, len(story.entries)))
        found = next((seq for seq, t_ms in times if t_ms > limit), None)
    return found


def too_long(story: Story) -> int:
    """An entry of one byte more than a frame can say: in its frame, the length wraps to 0."""
    raw = longest(story, MAX_ENTRY + 1)
    seq = story.forge(raw)
    story.note()
    story.entries.pop()
    story.size = len(story.sealed)

    def append(files: Files) -> None:
        tile = max(name for name in files if name.startswith("tile/entries/"))
        width = len(parse_frames(files[tile])) + 1
        name = f"{tile.partition('.p/')[0]}.p/{width}"
        files[name] = files.pop(tile) + (len(raw) & 0xFFFF).to_bytes(2) + raw
        manifest = canonical.parse(files.pop("manifest.json"), where="manifest.json")
        names: list[Value] = [*sorted(name for name in files if name.startswith("tile/"))]
        sums: dict[str, Value] = {name: hashlib.sha256(found).hexdigest() for name, found in files.items()}
        files["manifest.json"] = canonical.encode({**manifest, "entries": names, "files": sums})

    story.damage.append(append)
    return seq


def longest(story: Story, length: int) -> bytes:
    """Have the real key sign an entry of so many bytes."""
    probe, raw, pad = story.copy(), b"", length // 2
    probe.seal("correction", {"why": "MARK"})
    body = parse_entry(probe.entries[-1]).body
    while len(raw) != length:  # a signature may be a byte shorter than the last one
        pad += length - len(raw) if raw else 0
        raw = signed(body.replace(b"MARK", b"x" * pad), story.record.sign)
    return raw


def second_genesis(story: Story) -> int:
    """The real key seals a second genesis entry, with other keys, in the midst of the log."""
    data = parse_entry(story.entries[0]).data
    seq = story.seal("genesis", {**data, "record_key": encode_base64(new_record().spki)})
    story.note()
    return seq


def pruned_under_another_root(story: Story) -> int:
    """A `prune` entry has a receipt, but names another root than what was pruned has."""
    return CASES["pruned under another root"].mutate(story)


def made_anew(story: Story) -> int:
    """A log that the forger made from the first entry on, with keys of his own and witnesses to match."""
    forged = Story().grow(60)
    forged.note()
    for name in ("sealed", "entries", "notes", "first_record", "first_checkpoint", "witnesses"):
        setattr(story, name, getattr(forged, name))
    return 0


def of_case(line: str, who: Who, name: str) -> Attack:
    """Take over a case that the page in the bundle must refuse too."""
    case = CASES[name]
    words = (
        HOW.get(name) or case.mutate.__doc__ or (f"The real key signs an entry in which there is: {name}.")
    )
    how = " ".join(words.split())
    return Attack(line, who, how, Where.VERIFIER, case.verdict, offline(case.mutate))


def of(line: str, who: Who, verdict: str, mutate: Mutate, play: Play | None = None) -> Attack:
    """Take a case that is made here."""
    how = " ".join((mutate.__doc__ or "").split())
    return Attack(line, who, how, Where.VERIFIER, verdict, play or offline(mutate))


ATTACKS: dict[str, Attack] = {
    "flipped bit in a bundle": of_case("flip an entry", Who.FORGER, "flipped byte"),
    "changed value in a bundle": of_case("flip an entry", Who.FORGER, "changed value, canonical again"),
    "inserted entry": of_case("insert an entry", Who.KEYS, "inserted entry"),
    "deleted entry": of_case("delete an entry", Who.FORGER, "deleted entry"),
    "swapped entries": of_case("swap entries", Who.FORGER, "swapped entries"),
    "duplicated entry": of_case("duplicate an entry", Who.FORGER, "doubled entry"),
    "tail cut before the last anchor": of_case(
        "cut the tail before the last anchor", Who.FORGER, "cut tail, checkpoints left"
    ),
    "tail cut after the last anchor, its checkpoint left": of(
        "cut the tail after the last anchor", Who.FORGER, "gap", cut_with_checkpoints
    ),
    "history rewritten beside the cosignatures": of(
        "rewrite with all software keys", Who.KEYS, "root-mismatch", rewritten_beside_receipts
    ),
    "history rewritten, cosignatures left out": of(
        "rewrite with all software keys", Who.KEYS, "tail-not-anchored", rewritten_without_receipts
    ),
    "history rewritten from the start": of(
        "rewrite with all software keys", Who.KEYS, "not-witnessed", rewritten_from_the_start
    ),
    "two histories shown together": of(
        "fork two histories to two witnesses",
        Who.KEYS,
        "root-mismatch",
        forked_to_two,
        offline(forked_to_two, quorum=1),
    ),
    "one of two histories, where both witnesses are needed": of(
        "fork two histories to two witnesses", Who.KEYS, "tail-not-anchored", one_of_two_histories
    ),
    "old entry sealed anew with a newer key": of_case(
        "old entries signed with a newer key", Who.SOME, "old entry with the new key"
    ),
    "new entry sealed with an older key": of_case(
        "new entries signed with an older key", Who.SOME, "new entry with the old key"
    ),
    "new record key without proof": of_case("", Who.SOME, "key change without proof"),
    "checkpoint with keys rolled over": of_case("", Who.SOME, "checkpoint with the old keys"),
    "stolen record key, revoked": of_case("", Who.SOME, "revoked record key"),
    "stolen checkpoint keys, revoked": of_case("", Who.SOME, "revoked checkpoint keys"),
    "segment entry without signature": of("unsigned segment", Who.SOME, "unsigned", unsigned_segment),
    "segment's checkpoint without signatures": of(
        "unsigned segment", Who.FORGER, "bad-checkpoint", unsigned_closing
    ),
    "segment of unsigned entries without the record key": of(
        "unsigned segment",
        Who.SOME,
        "bad-checkpoint",
        without_record_key,
        offline(without_record_key, start=unsigned_groups),
    ),
    "silence": of_case("empty interval without heartbeat", Who.KEYS, "silence"),
    "clock put back by an hour": of_case("clock one hour back", Who.CLOCK, "clock one hour back"),
    "clock put forward by an hour": of_case("clock one hour ahead", Who.CLOCK, "clock one hour ahead"),
    "clock put forward by an hour, with a word": of_case(
        "clock one hour ahead", Who.CLOCK, "clock later than the cosignature"
    ),
    "clock put forward by an hour, beside a witness": of_case(
        "clock one hour ahead", Who.CLOCK, "clock that only one witness agrees with"
    ),
    "machine started anew without a word": of_case("", Who.CLOCK, "started anew without a word"),
    "clock that drifts ahead": of("slow drift", Who.CLOCK, "clock-drift", drifting),
    "extension line": of_case("checkpoint with an extension line", Who.KEYS, "extension line"),
    "bad base64": of_case("checkpoint with bad base64", Who.FORGER, "stray bits in base64"),
    "leading zero": of_case("checkpoint with a leading zero", Who.KEYS, "leading zero"),
    "17 signatures": of_case("checkpoint with 17 signatures", Who.FORGER, "17 signatures"),
    "unknown key under the log's name": of_case(
        "unknown key under a known name", Who.FORGER, "unknown key under a known name"
    ),
    "unknown key under a witness's name": of_case(
        "unknown key under a known name", Who.FORGER, "unknown key under a witness's name"
    ),
    "checkpoint signed by one key": of_case("", Who.SOME, "checkpoint signed by one key only"),
    "high-S twin of an entry's signature": of_case("high-S twin", Who.FORGER, "high-S twin"),
    "high-S twin of a checkpoint's signature": of_case(
        "high-S twin", Who.FORGER, "high-S twin on a checkpoint"
    ),
    "duplicate JSON key": of_case("duplicate JSON key", Who.KEYS, "duplicate JSON key"),
    "integer that others round": of_case("2^53+1", Who.KEYS, "2^53+1"),
    "lone surrogate": of_case("lone surrogate", Who.KEYS, "lone surrogate"),
    "NaN": of_case("NaN", Who.KEYS, "NaN"),
    "entry too long for its frame": of("entry of 65,536 bytes", Who.KEYS, "malformed", too_long),
    "pruned without receipt": of_case(
        "pruned range without archive receipt", Who.KEYS, "pruned without receipt"
    ),
    "pruned under another root": of("", Who.KEYS, "pruned-unproven", pruned_under_another_root),
    "changed cell": of_case("exported CSV with one cell changed", Who.FORGER, "CSV cell changed"),
    "dropped row": of_case("exported CSV with one cell changed", Who.FORGER, "CSV row dropped"),
    "bundle damaged on its way": of_case("", Who.NETWORK, "manifest's sum is wrong"),
    "entry of another log": of_case("", Who.FORGER, "entry of another log"),
    "log made anew with the forger's keys": of("", Who.FORGER, "wrong-key", made_anew),
    "entry linked to another one": of_case("", Who.KEYS, "broken chain"),
    "second genesis entry": of("", Who.KEYS, "genesis-mismatch", second_genesis),
    "log that cites another one": of(
        "",
        Who.KEYS,
        "broken-link",
        CASES["continues another log"].mutate,
        offline(CASES["continues another log"].mutate, is_begun_anew=True),
    ),
    "tail without a receipt": of_case("", Who.KEYS, "tail not anchored"),
    "file that the manifest does not name": of_case("", Who.FORGER, "extra file"),
    "file of a name that no bundle has": of_case("", Who.FORGER, "file of a name that no bundle has"),
    "too few witnesses": of_case("", Who.WITNESS, "missing witness"),
    "false timestamp": of_case("", Who.FORGER, "false timestamp"),
    "old disk image under a chip that counts": of_case("", Who.THIEF, "counter repeats"),
}
