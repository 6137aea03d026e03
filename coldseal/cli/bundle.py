"""The evidence bundle as a file: a ZIP with entries, checkpoints, keys, sums and plain instructions.

Entries stand in the C2SP tile layout (``tile/entries/NNN``, 256 to a file), uncompressed, so that other
tools read them too; every file's SHA-256 stands in ``manifest.json``. Judges nothing.
"""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NoReturn

from coldseal.core.log import canonical
from coldseal.core.log.checkpoint import VerifierKey, parse_vkey
from coldseal.core.log.evidence import Policy
from coldseal.core.log.merkle import CompactRange
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

FORMAT: Final = 1
ENTRIES_PER_FILE: Final = 256
"""Width of a tile (C2SP tlog-tiles)."""

MAX_MANIFEST: Final = 64 * 1024 * 1024
MAX_FILE: Final = ENTRIES_PER_FILE * (2 + 65_535)

_INSTRUCTIONS: Final = """\
This file holds cold-chain records of the log

    {origin}

entries {first} to {last}, and all that is needed to check them.

With coldseal (a bare installation is enough):

    coldseal evidence verify FILE

Without it, by hand, for one entry:
  1. Unpack this ZIP. tile/entries/000 holds entries 0 to 255; each entry stands behind its length,
     two bytes, big-endian.
  2. An entry is JSON: {{"body":{{...}},"sig":"..."}}. Cut the bytes of the body, from the first {{ behind
     "body": to its closing }}, into body.json, and the base64-decoded signature into sig.der.
  3. openssl dgst -sha256 -verify record-key.pem -signature sig.der body.json
"prev" in each body is SHA-256 over a zero byte and the whole entry before it, so nothing can be taken out or
put in between. The checkpoints are C2SP signed notes over the RFC 6962 Merkle root of all entries.
"""


@dataclass(frozen=True, slots=True)
class Bundle:
    """An open bundle.

    Attributes:
        path: the file.
        policy: the keys that the bundle itself names; trust them only as far as its bearer.
        first: seq of its first entry, a multiple of :data:`ENTRIES_PER_FILE`.
        size: tree size behind its last entry.
        prior: compact range over the entries before ``first``.
        files: names of the entry files in order.
        notes: signed checkpoints.
    """

    path: Path
    policy: Policy
    first: int
    size: int
    prior: CompactRange
    files: tuple[str, ...]
    notes: tuple[bytes, ...]


def write_bundle(
    path: Path,
    policy: Policy,
    prior: CompactRange,
    size: int,
    *,
    runs: Iterable[bytes],
    notes: Sequence[bytes],
) -> None:
    """Write a bundle.

    Args:
        path: the new file; must not exist.
        policy: the log's name and keys.
        prior: compact range over what comes before.
        size: tree size behind the last entry.
        runs: framed entries, 256 to a run but for the last.
        notes: signed checkpoints.

    Raises:
        FileExistsError: the file is there already; evidence is never overwritten.
    """
    sums: dict[str, canonical.Value] = {}

    with path.open("xb") as file, zipfile.ZipFile(file, "w") as archive:

        def put(name: str, data: bytes) -> None:
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
            sums[name] = hashlib.sha256(data).hexdigest()

        for index, run in enumerate(runs, prior.size // ENTRIES_PER_FILE):
            put(_entry_file(index, size), run)
        for number, note in enumerate(notes):
            put(f"checkpoints/{number:06d}", note)
        put("record-key.pem", _pem(policy.record_key))
        instructions = _INSTRUCTIONS.format(origin=policy.origin, first=prior.size, last=size - 1)
        put("READ-ME.txt", instructions.encode())
        manifest: dict[str, canonical.Value] = {
            "checkpoint_keys": [key.encode() for key in policy.checkpoint_keys],
            "files": sums,
            "first": prior.size,
            "format": FORMAT,
            "mode": policy.mode,
            "origin": policy.origin,
            "prior": [found.hex() for found in prior.hashes],
            "quorum": policy.quorum,
            "record_key": canonical.encode_base64(policy.record_key),
            "size": size,
            "witnesses": [key.encode() for key in policy.witnesses],
        }
        archive.writestr(zipfile.ZipInfo("manifest.json", (1980, 1, 1, 0, 0, 0)), canonical.encode(manifest))


def open_bundle(path: Path) -> Bundle:
    """Open a bundle and check every file in it against the manifest's sums.

    Raises:
        InputError: not a bundle, a file is missing, added or does not have its sum.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = canonical.parse(_read(archive, "manifest.json", MAX_MANIFEST), where="manifest.json")
            notes = tuple(_check_files(archive, manifest))
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        raise InputError(str(path), "file", str(error), "an evidence bundle") from error
    if manifest.get("format") != FORMAT:
        raise InputError(str(path), "format", manifest.get("format"), str(FORMAT))
    first, size = _whole(manifest, "first"), _whole(manifest, "size")
    if first % ENTRIES_PER_FILE or not first < size:
        _refuse("first", first)
    start, end = first // ENTRIES_PER_FILE, -(-size // ENTRIES_PER_FILE)
    return Bundle(
        path,
        parse_policy(manifest, where=str(path)),
        first,
        size,
        CompactRange.from_hashes(first, _hashes(manifest, "prior")),
        tuple(_entry_file(index, size) for index in range(start, end)),
        notes,
    )


def read_entries(path: Path, name: str) -> bytes:
    """Read one entry file of a bundle: framed entries."""
    return _read(_archive(path), name, MAX_FILE)


@lru_cache(maxsize=1)
def _archive(path: Path) -> zipfile.ZipFile:
    """Keep the bundle at hand open: its directory is long, and read anew at each opening."""
    return zipfile.ZipFile(path)


def parse_policy(found: Mapping[str, canonical.Value], *, where: str) -> Policy:
    """Read origin, keys, witnesses, quorum and mode from a manifest or a policy file.

    Raises:
        InputError: a field is missing or malformed.
    """
    origin, record, quorum, mode = (
        found.get("origin"),
        found.get("record_key"),
        found.get("quorum", 1),
        found.get("mode", "record"),
    )
    if not isinstance(origin, str):
        raise InputError(where, "origin", origin, "a log's name")
    if not isinstance(record, str):
        raise InputError(where, "record_key", record, "base64 of a SubjectPublicKeyInfo")
    if not isinstance(quorum, int) or isinstance(quorum, bool) or quorum < 1:
        raise InputError(where, "quorum", quorum, "a number from 1")
    if mode not in {"record", "checkpoint"} or not isinstance(mode, str):
        raise InputError(where, "mode", mode, "record or checkpoint")
    return Policy(
        origin,
        canonical.parse_base64(record, where=where, field="record_key"),
        _keys(found, "checkpoint_keys"),
        _keys(found, "witnesses") if "witnesses" in found else (),
        quorum,
        mode,
    )


def _keys(found: Mapping[str, canonical.Value], field: str) -> tuple[VerifierKey, ...]:
    """Read a list of verifier keys."""
    return tuple(parse_vkey(text) for text in _texts(found, field))


def _texts(found: Mapping[str, canonical.Value], field: str) -> list[str]:
    """Read a list of strings."""
    texts = found.get(field)
    if not isinstance(texts, list):
        raise InputError("manifest.json", field, texts, "a list of strings")
    return [text if isinstance(text, str) else _refuse(field, text) for text in texts]


def _hashes(found: Mapping[str, canonical.Value], field: str) -> list[bytes]:
    """Read a list of hashes in hex."""
    try:
        return [bytes.fromhex(text) for text in _texts(found, field)]
    except ValueError:
        _refuse(field, found[field])


def _whole(found: Mapping[str, canonical.Value], field: str) -> int:
    """Read a whole number."""
    number = found.get(field)
    if not isinstance(number, int) or isinstance(number, bool) or number < 0:
        _refuse(field, number)
    return number


def _refuse(field: str, value: object) -> NoReturn:
    """Refuse a field of the manifest."""
    raise InputError("manifest.json", field, value, "what the format has there")


def _check_files(archive: zipfile.ZipFile, manifest: Mapping[str, canonical.Value]) -> Iterator[bytes]:
    """Hold every file against its sum; yields the checkpoint notes."""
    sums = manifest.get("files")
    if not isinstance(sums, dict):
        raise InputError("manifest.json", "files", sums, "an object of names and SHA-256 sums")
    there = [name for name in archive.namelist() if name != "manifest.json"]
    if sorted(there) != sorted(sums):
        odd = sorted(set(there) ^ set(sums)) or sorted(name for name in there if there.count(name) > 1)
        raise InputError("bundle", "files", odd[:5], "exactly the files that the manifest names, once each")
    for name in there:
        data = _read(archive, name, MAX_FILE)
        if hashlib.sha256(data).hexdigest() != sums[name]:
            raise InputError("bundle", name, "changed", f"SHA-256 {sums[name]}")
        if name.startswith("checkpoints/"):
            yield data


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Read one file of the archive, never more than ``limit`` bytes of it."""
    try:
        with archive.open(name) as file:
            data = file.read(limit + 1)
    except KeyError as error:
        raise InputError("bundle", "file", name, "to be there") from error
    if len(data) > limit:
        raise InputError("bundle", name, f"more than {limit} bytes", "a smaller file")
    return data


def _entry_file(index: int, size: int) -> str:
    """Name an entry file as C2SP tlog-tiles does: ``x`` folders for thousands, ``.p/W`` for a partial one."""
    digits = [f"{index % 1000:03d}"]
    rest = index // 1000
    while rest:
        digits.insert(0, f"x{rest % 1000:03d}")
        rest //= 1000
    width = min(ENTRIES_PER_FILE, size - index * ENTRIES_PER_FILE)
    partial = "" if width == ENTRIES_PER_FILE else f".p/{width}"
    return f"tile/entries/{'/'.join(digits)}{partial}"


def _pem(spki: bytes) -> bytes:
    """Wrap a public key for openssl."""
    text = canonical.encode_base64(spki)
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join(["-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""]).encode()
