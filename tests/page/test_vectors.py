"""The page's own parts, held against the same vectors as the Python ones, and against RFC 8032."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from coldseal.core.log.canonical import encode_base64
from tests.core.log.example_log import KEYS
from tests.page.chromium import Tab
from tests.page.inspector import load_parts

VECTORS = Path(__file__).parents[1] / "vectors"
RFC_8032 = json.loads(Path(__file__).with_name("ed25519.json").read_text(encoding="utf-8"))["verified"]
ORDER = 2**252 + 27742317777372353535851937790883648493


def _load(name: str) -> dict[str, Any]:
    """Read a file of vectors."""
    return cast("dict[str, Any]", json.loads((VECTORS / name).read_text(encoding="utf-8")))


async def _answers(tab: Tab, function: str, inputs: list[str]) -> list[object]:
    """Call a function in the page for each input, base64 of its bytes; a refusal answers "refused"."""
    listed = ",".join(f'"{encode_base64(data.encode("latin-1")) if data else ""}"' for data in inputs)
    script = f"""
    (async () => {{
      const answers = [];
      for (const input of [{listed}]) {{
        try {{
          answers.push(await ({function})(fromCharacters(atob(input))));
        }} catch (error) {{
          const name = error instanceof UnknownKey ? "unknown-key" : "refused";
          answers.push(error instanceof Refusal ? name : `${{error}}`);
        }}
      }}
      return JSON.stringify(answers);
    }})()
    """
    return cast("list[object]", json.loads(cast("str", await tab.run(script))))


def _bytes(text: str) -> str:
    """Give a text's UTF-8, one character for each byte."""
    return text.encode().decode("latin-1")


def _varied(base: str, vector: dict[str, Any]) -> str:
    """Make the variation of a vector."""
    if "append" in vector:
        return _bytes(base + "".join(vector["append"] % number for number in range(vector["times"])))
    old, new = vector["replace"]
    made = base.replace(old, new, 1)
    letter = "x" if base.startswith("{") else "A"
    return _bytes(made.replace("%s", letter * (vector.get("fill", 0) - len(made.encode()) + 2)))


async def test_canonical_json_is_accepted_and_nothing_else(tab: Tab, verifier: Path) -> None:
    """As `tests/vectors/canonical.json` says."""
    vectors = _load("canonical.json")
    await load_parts(tab, verifier)
    refused = [
        _bytes(vector["text"]) if "text" in vector else bytes.fromhex(vector["hex"]).decode("latin-1")
        for vector in vectors["refused"]
    ]
    parse = "(bytes) => canonicalText(parseCanonical(bytes, 'vector'), 'vector', 1)"
    assert await _answers(tab, parse, refused) == ["refused"] * len(refused)
    accepted = [vector["canonical"] for vector in vectors["accepted"]]
    assert await _answers(tab, parse, [_bytes(text) for text in accepted]) == accepted


async def test_entries_are_read_as_strictly_as_elsewhere(tab: Tab, verifier: Path) -> None:
    """As `tests/vectors/entries.json` says."""
    vectors = _load("entries.json")
    await load_parts(tab, verifier)
    parse = "(bytes) => parseEntry(bytes).seq >= 0"
    refused = [_varied(vectors["base"], vector) for vector in vectors["refused"]]
    assert await _answers(tab, parse, refused) == ["refused"] * len(refused)
    accepted = [_varied(vectors["base"], vector) for vector in vectors["accepted"]]
    assert await _answers(tab, parse, accepted) == [True] * len(accepted)


async def test_checkpoints_are_opened_and_refused_as_elsewhere(tab: Tab, verifier: Path) -> None:
    """As `tests/vectors/notes.json` says: those of public logs, and every attack on the format."""
    vectors = _load("notes.json")
    await load_parts(tab, verifier)
    keys = ",".join(f'"{key.encode()}"' for key in KEYS)
    await tab.run(f"globalThis.listed = [{keys}]; 0")
    open_all = """
    async (bytes) => {
      const known = await Promise.all(listed.map(parseVkey));
      await openCheckpoint(readCheckpoint(bytes), { known, needed: known });
      return true;
    }
    """
    assert await _answers(tab, open_all, [_bytes(vectors["base"])]) == [True]
    refused = [_varied(vectors["base"], vector) for vector in vectors["refused"]]
    assert await _answers(tab, open_all, refused) == ["refused"] * len(refused)
    untrusted = [_varied(vectors["base"], vector) for vector in vectors["untrusted"]]
    expected = [
        "unknown-key" if vector["verdict"] == "unknown-key" else "refused" for vector in vectors["untrusted"]
    ]
    assert await _answers(tab, open_all, untrusted) == expected
    for vector in vectors["opened"]:
        await tab.run(f"globalThis.listed = {list(vector['keys'])}; 0")
        assert await _answers(tab, open_all, [_bytes(vector["note"])]) == [True]


async def test_verifier_keys_are_read_as_strictly_as_elsewhere(tab: Tab, verifier: Path) -> None:
    """As `tests/vectors/notes.json` says."""
    vectors = _load("notes.json")
    await load_parts(tab, verifier)
    parse = "async (bytes) => (await parseVkey(fromUtf8(bytes, 'key'))).id"
    accepted = [_bytes(vector["vkey"]) for vector in vectors["keys"]]
    assert await _answers(tab, parse, accepted) == [vector["id"] for vector in vectors["keys"]]
    refused = [_bytes(vector["vkey"]) for vector in vectors["refused_keys"]]
    assert await _answers(tab, parse, refused) == ["refused"] * len(refused)


async def test_the_own_ed25519_agrees_with_rfc_8032(tab: Tab, verifier: Path) -> None:
    """Its vectors verify; each is refused with one bit changed, and with a signature beyond the order."""
    await load_parts(tab, verifier)
    verify = """
    (bytes) => {
      const [key, message, signature] = fromUtf8(bytes, "vector").split("|").map(fromHex);
      return ed25519.verify(key, signature, message);
    }
    """
    good = [f"{key}|{message}|{signature}" for key, message, signature in RFC_8032]
    assert await _answers(tab, verify, good) == [True] * len(good)
    false = []
    for key, message, signature in RFC_8032:
        scalar = int.from_bytes(bytes.fromhex(signature[64:]), "little") + ORDER
        false += [
            f"{key}|{message}00|{signature}",
            f"{key}|{message}|{signature[:-2]}{int(signature[-2:], 16) ^ 1:02x}",
            f"{key}|{message}|{int(signature[:2], 16) ^ 1:02x}{signature[2:]}",
            f"{int(key[:2], 16) ^ 1:02x}{key[2:]}|{message}|{signature}",
            f"{key}|{message}|{signature[:64]}{scalar.to_bytes(32, 'little').hex()}",
            f"{key}|{message}|{signature[:-2]}",
            f"{'ff' * 32}|{message}|{signature}",
        ]
    assert await _answers(tab, verify, false) == [False] * len(false)
