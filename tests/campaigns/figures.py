"""What a campaign counted, for whoever runs it: written to the terminal, `pytest -s` shows it."""

from __future__ import annotations

import sys


def say(line: str) -> None:
    """Give one line of figures."""
    sys.stdout.write(f"{line}\n")
