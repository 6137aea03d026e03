"""The project as its own tests see it: where it is, what is tracked, what the documents say."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

_FENCE = re.compile(
    r"(?:<!-- (?P<mark>[a-z]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block: its language, its text, and the mark in the comment above it."""

    language: str
    mark: str
    text: str


def tracked() -> list[Path]:
    """Return every file that is, or is about to be, under version control."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def documents() -> list[Path]:
    """Return every document that a person reads."""
    return sorted(path for path in tracked() if path.suffix == ".md")


def blocks(document: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a document in order."""
    for match in _FENCE.finditer(document.read_text(encoding="utf-8")):
        yield Block(match["language"], match["mark"] or "", match["text"])
