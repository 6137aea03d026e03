"""What a bundle says of itself to whoever opens it without knowing anything of it."""

from __future__ import annotations

from typing import Final

_TEXT: Final = """\
This file holds cold-chain records: {held} entries of the log

    {origin}

and all that is needed to check that they are what was sealed, when it was sealed, and that nothing was
changed, moved, added or taken out since. The log had {size} entries when this was proven.

The readings are in readings.csv; any table program opens it. It is for convenience: the evidence is the
entries, and the checks below compare the table with them.

HOW TO CHECK IT
{page}
With coldseal (a bare installation is enough, no network is needed):

    coldseal evidence verify FILE

Either way, compare the keys that the verdict names with keys that you were given some other way. Whoever
makes a false bundle puts false keys into it. The witnesses' keys matter most: ask the witness.

By hand, for one entry, with openssl alone:
  1. Unpack this ZIP. The files that manifest.json lists under "entries" hold the entries, each behind its
     length, two bytes, big-endian.
  2. An entry is JSON: {{"body":{{...}},"sig":"..."}}. Cut the bytes of the body, from the first {{ behind
     "body": to its closing }}, into body.json, and the base64-decoded signature into sig.der.
  3. openssl dgst -sha256 -verify keys/record.pem -signature sig.der body.json
     (If the log changed its key, later entries need the key that the "key" entry before them names.)
"prev" in each body is SHA-256 over a zero byte and the whole entry before it. The checkpoints are C2SP signed
notes over the RFC 6962 Merkle root of all entries of the log; the file "proof" has the hashes that stand for
the entries that are not in this file. Timestamps, where there are any, are RFC 3161 answers over the text of
the checkpoint whose size is in their name: openssl ts -verify checks them.

WHAT A VERDICT CANNOT SAY
  - Whether a sensor measured rightly, or was where it should have been.
  - What else the log holds, where this file holds only a selection of it.
"""

_PAGE: Final = """
With a browser, and nothing else: unpack verify.html from this file, open it, and drop this file on it. The
page needs no network and sends nothing anywhere.
"""


def instructions(origin: str, held: int, size: int, *, has_page: bool) -> str:
    """Write the instructions.

    Args:
        origin: the log's name.
        held: entries in the bundle.
        size: entries in the log that they are proven to be in.
        has_page: whether the bundle has the page that verifies it.
    """
    return _TEXT.format(origin=origin, held=held, size=size, page=_PAGE if has_page else "")
