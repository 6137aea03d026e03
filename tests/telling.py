"""What a campaign tells whoever runs it: its seed, so that it can be played again, and its figures."""

from __future__ import annotations


def tell(text: str) -> None:
    """Print a line, at once: a long campaign shows where it is."""
    print(text, flush=True)  # noqa: T201 -- this is the place for it
