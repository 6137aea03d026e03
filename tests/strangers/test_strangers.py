"""Claim: implementations that nobody here wrote find our log good, and refuse it when it is tampered with."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldseal.core.log.keys import KeyHistory, Keys
from coldseal.core.log.record import parse_entry
from tests.strangers import tampering
from tests.strangers.conftest import STRANGERS, ask
from tests.strangers.long_log import RESTARTS, ROLL_OVERS, SIZE, Publication, kinds
from tests.strangers.tampering import Tampering, tampered

WITH_SIGNATURES = {"go sumdb", "aics-tlog", "sigstore"}
WITH_PROOFS = {"go sumdb", "aics-tlog", "sigstore", "tamperlog"}
WITH_CONSISTENCY = {"go sumdb", "aics-tlog", "pymerkle", "tamperlog"}
ALL = WITH_PROOFS | {"pymerkle"}

HOLDS = {"checkpoints": 11, "inclusion": 26, "consistency": 13}
LEFT_OUT = {"sigstore": {"consistency"}, "tamperlog": {"checkpoints"}}
"""What a stranger cannot check: sigstore knows no consistency proof, tamperlog no checkpoint."""

REFUSED: dict[Tampering, tuple[set[str], set[str]]] = {
    tampering.flip_an_entry: (ALL, {"inclusion", "root"}),
    tampering.swap_two_hashes: (ALL, {"inclusion", "root"}),
    tampering.cut_the_tree: (ALL, {"inclusion", "root"}),
    tampering.lie_about_the_root: (ALL, {"inclusion", "root"}),
    tampering.show_another_history: (WITH_CONSISTENCY, {"consistency", "root"}),
    tampering.sign_with_other_keys: (WITH_SIGNATURES, {"checkpoint"}),
    tampering.sign_with_older_keys: (WITH_SIGNATURES, {"checkpoint"}),
    tampering.forge_signatures: (WITH_SIGNATURES, {"checkpoint"}),
}
"""What is done to the log, who must refuse it, and by which check."""


def test_the_log_is_long_and_had_a_life(published: Publication) -> None:
    """More than 10,000 entries, restarts, and changes of both kinds of keys that our own rules accept."""
    counted = kinds(published.log)
    assert published.log.size == SIZE > 10_000
    assert counted["boot"] == counted["shutdown"] == len(RESTARTS)
    assert counted["key"] == len(ROLL_OVERS)
    admitted = published.log.admitted
    history = KeyHistory(admitted.origin, Keys(admitted.record_key, admitted.checkpoint_keys))
    for entry in map(parse_entry, published.log.entries):
        assert entry.kid == history.at(entry.seq).kid
        if entry.kind == "key":
            history.apply(entry)
    assert {size: history.at(size).checkpoint for size in published.keys} == published.keys


@pytest.mark.parametrize("stranger", STRANGERS)
def test_a_stranger_finds_the_log_good(stranger: str, published: Publication) -> None:
    """All checkpoints, proofs of entries from the first to the last, and that it only grew."""
    found = ask(stranger, published.folder)
    assert found.refused is None
    expected = {check: n for check, n in HOLDS.items() if check not in LEFT_OUT.get(stranger, ())}
    assert found.checked.items() >= expected.items()


@pytest.mark.parametrize(
    ("how", "stranger"),
    [(how, stranger) for how, (strangers, _) in REFUSED.items() for stranger in sorted(strangers)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_stranger_refuses_a_tampered_log(
    how: Tampering, stranger: str, published: Publication, tmp_path: Path
) -> None:
    """By the check that is meant to find it, not by stumbling."""
    found = ask(stranger, tampered(published, tmp_path / "tampered", how))
    assert found.refused is not None
    assert found.refused["check"] in REFUSED[how][1], found.refused


@pytest.mark.parametrize("how", [how for how, (strangers, _) in REFUSED.items() if strangers != ALL])
def test_whoever_cannot_see_a_tampering_says_the_log_is_good(
    how: Tampering, published: Publication, tmp_path: Path
) -> None:
    """So a refusal elsewhere is about what was done, and not about the copy."""
    folder = tampered(published, tmp_path / "tampered", how)
    for stranger in ALL - REFUSED[how][0]:
        assert ask(stranger, folder).refused is None, stranger
