"""What each driver is given and what it answers: a folder, and one line of JSON.

The folder has the C2SP tlog-tiles layout; ``question.json`` says what is to be checked in it. Exit status 0
where all of it holds, 1 where a check refused; anything else is no answer.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Callable

WIDTH = 256
HASH_SIZE = 32


class Checkpoint(TypedDict):
    """A signed checkpoint and the keys of the log that must have signed it."""

    size: int
    file: str
    keys: list[str]


class Inclusion(TypedDict):
    """Our proof that an entry is in the log; hashes in base64."""

    index: int
    size: int
    proof: list[str]


class Consistency(TypedDict):
    """Our proof that the log only grew; hashes in base64."""

    old: int
    new: int
    proof: list[str]


class Question(TypedDict):
    """What is to be checked."""

    origin: str
    witness: str
    checkpoints: list[Checkpoint]
    inclusion: list[Inclusion]
    consistency: list[Consistency]


class RefusedError(Exception):
    """A check did not hold."""

    def __init__(self, check: str, detail: object) -> None:
        """Keep which check, and why."""
        self.check = check
        super().__init__(str(detail))


class Folder:
    """The files of a log."""

    def __init__(self, path: Path) -> None:
        """Read the question."""
        self.path = path
        self.question: Question = json.loads((path / "question.json").read_text())

    def note(self, checkpoint: Checkpoint) -> str:
        """Give a signed checkpoint."""
        return (self.path / checkpoint["file"]).read_text()

    def bundle(self, index: int, size: int) -> list[bytes]:
        """Give the entries of a bundle, in the log of that size."""
        data, entries, at = self._read("entries", index, size), [], 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            entries.append(data[at + 2 : end])
            at = end
        return entries

    def entry(self, index: int, size: int) -> bytes:
        """Give an entry, in the log of that size."""
        entries = self.bundle(index // WIDTH, size)
        if len(entries) <= index % WIDTH:
            raise RefusedError("inclusion", f"entry {index} is not there")
        return entries[index % WIDTH]

    def leaves(self, index: int, size: int) -> list[bytes]:
        """Give the hashes of a tile of leaf hashes, in the log of that size."""
        data = self._read("0", index, size)
        return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]

    def _read(self, level: str, index: int, size: int) -> bytes:
        """Read a tile, or the full one that took the place of a partial one."""
        path = self.path / "tile" / level / f"{index:03}"
        partial = path.with_name(f"{path.name}.p") / str(size - index * WIDTH)
        return (partial if partial.exists() else path).read_bytes()


def answer(check: Callable[[Folder, Counter[str]], None]) -> None:
    """Run a check over the folder that is named on the command line; print what came of it, and end."""
    checked: Counter[str] = Counter()
    refused = None
    try:
        check(Folder(Path(sys.argv[1])), checked)
    except RefusedError as error:
        refused = {"check": error.check, "detail": str(error)}
    json.dump({"checked": checked, "refused": refused}, sys.stdout)
    sys.exit(refused is not None)
