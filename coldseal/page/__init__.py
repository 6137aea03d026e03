"""The verifier as one page: an inspector opens it in a browser, offline, and drops a bundle on it.

Promise: one self-contained file whose policy allows its own script and style by their hashes, and nothing
else: no network, no other code. It is put together from the sources beside this file, readable as they are.
It verifies by itself; nothing of Python's verdict is in it.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from functools import cache
from pathlib import Path
from typing import Final

SOURCES: Final = (
    *("bytes.js", "canonical.js", "zip.js", "ed25519.js", "keys.js", "note.js", "entry.js", "tree.js"),
    *("history.js", "link.js", "bundle.js", "coldchain.js", "readings.js", "counter.js", "verify.js"),
    *("curve.js", "view.js"),
)
"""The parts of the script, in the order in which they build on each other."""

_FOLDER: Final = Path(__file__).parent
_BUNDLE: Final = b"{{bundle}}"


def page(bundle: bytes | None = None) -> bytes:
    """Give the page.

    Args:
        bundle: an evidence bundle for the page to carry and check as soon as it is opened.
    """
    return _assembled().replace(_BUNDLE, b64encode(bundle or b""), 1)


def source(name: str) -> str:
    """Give the text of one of the files that the page is made of."""
    return (_FOLDER / name).read_text(encoding="utf-8")


@cache
def _assembled() -> bytes:
    """Put the page together, but for the bundle."""
    script = "\n" + "\n".join(source(name) for name in SOURCES)
    style = "\n" + source("style.css")
    parts = {"style": style, "script": script, "policy": _policy(script, style)}
    text = source("page.html")
    for name, part in parts.items():
        text = text.replace(f"{{{{{name}}}}}", part, 1)
    return text.encode()


def _policy(script: str, style: str) -> str:
    """Write the Content Security Policy: this script, this style, and nothing else."""
    rules = {
        "default-src": "'none'",
        "script-src": _hash(script),
        "style-src": _hash(style),
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    """Name a text by its hash, as a policy does."""
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
