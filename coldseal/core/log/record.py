"""Entries: what coldseal keeps as evidence, as bytes that are never serialised again.

`Chain.seal` makes the next entry of a log, `parse_entry` accepts exactly what `seal` makes
and what a later version may add as a new kind. Neither verifies a signature nor judges what
a kind's ``src`` and ``data`` mean.
"""

from __future__ import annotations

import re
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from coldseal.core.log.canonical import MAX_INTEGER, Value, encode_base64, parse, parse_base64
from coldseal.core.log.checkpoint import ORIGIN, ORIGIN_EXPECTED
from coldseal.core.log.merkle import EMPTY_ROOT, CompactRange, leaf_hash
from coldseal.core.log.signature import is_low_s, low_s
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

VERSION = 1
MAX_ENTRY = 65_535
"""Bytes of an entry: its length is a uint16 in an entry bundle (C2SP tlog-tiles)."""

KINDS = frozenset(
    {"genesis", "reading", "rejected", "gap", "excursion", "alarm", "ack", "disposition", "profile"}
    | {"calibration", "config", "key", "clock", "boot", "shutdown", "heartbeat", "segment", "prune"}
    | {"export", "access", "esig", "correction", "import", "drill"}
)
CLOCK_STATES = frozenset({"synchronised", "holdover", "unsynchronised"})

_GENESIS_PREV = EMPTY_ROOT.hex()
_HEX_64 = re.compile(r"[0-9a-f]{64}")
_KID = re.compile(r"[0-9a-f]{16}")
_TIME = re.compile(
    r"[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
    r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
)
_TIME_EXPECTED = "RFC 3339 in UTC with milliseconds and Z"
_BOOT = re.compile(r"[0-9a-f]{8}")
_BODY_FIELDS = ["data", "kid", "kind", "log", "prev", "seq", "src", "t", "tq", "v"]
_TQ_FIELDS = ["boot", "err", "mono", "off", "s"]
_BODY_AT = len('{"body":')
_AFTER_BODY = len(',"sig":""}')

_TEXTS: dict[str, tuple[re.Pattern[str], str]] = {  # in the order of the fields
    "kid": (_KID, "16 hex digits"),
    "kind": (re.compile(r"[a-z][a-z0-9-]{0,31}"), "lower-case letters, digits and hyphens"),
    "log": (ORIGIN, ORIGIN_EXPECTED),
    "prev": (_HEX_64, "64 hex digits"),
    "t": (_TIME, _TIME_EXPECTED),
}
_ALL_TEXTS = re.compile("\n".join(f"(?:{pattern.pattern})" for pattern, _ in _TEXTS.values()))


class Entry(NamedTuple):
    """One parsed entry; ``body`` is the signed slice of ``raw``, and ``sig`` is None if unsigned."""

    v: int
    log: str
    seq: int
    prev: str
    kid: str
    kind: str
    t: str
    tq: Mapping[str, Value]
    src: Mapping[str, Value]
    data: Mapping[str, Value]
    sig: bytes | None
    body: bytes
    raw: bytes

    @property
    def leaf_hash(self) -> bytes:
        """The RFC 6962 leaf hash, which identifies the entry."""
        return leaf_hash(self.raw)

    @property
    def is_known_kind(self) -> bool:
        """Whether this version knows the kind; an unknown one is kept and flagged."""
        return self.kind in KINDS


class Chain:
    """The growing end of one log: everything that the next entry depends on.

    Mutable: `seal` moves it forward, and leaves it as it was when it raises.
    """

    __slots__ = ("head", "kid", "log", "tree")

    def __init__(self, log: str, kid: str) -> None:
        """Start an empty log.

        Args:
            log: the origin, as in its checkpoints.
            kid: id of the record key, see `key_id`.

        Raises:
            InputError: one of them is malformed.
        """
        if ORIGIN.fullmatch(log) is None:
            raise InputError("chain", "log", log, ORIGIN_EXPECTED)
        if _KID.fullmatch(kid) is None:
            raise InputError("chain", "kid", kid, "16 hex digits")
        self.log = log
        self.kid = kid
        self.head = _GENESIS_PREV
        self.tree = CompactRange()

    @property
    def size(self) -> int:
        """The number of entries so far, and the seq of the next one."""
        return self.tree.size

    def seal(  # noqa: PLR0917 # the fields of an entry, one by one: this is the hot path
        self, kind: str, t: str, tq: bytes, src: bytes, data: bytes, sign: Callable[[bytes], bytes] | None
    ) -> bytes:
        """Make the next entry and move the chain on to it.

        Args:
            kind: one of `KINDS`.
            t: UTC time, RFC 3339 with milliseconds and ``Z``.
            tq: canonical object: how far ``t`` may be trusted.
            src: canonical object, or ``b""`` for an empty one.
            data: canonical object, as ``kind`` defines it.
            sign: gives the DER ECDSA signature over the body; None makes an unsigned entry.

        Returns:
            The entry's bytes, to be stored and sent as they are.

        Raises:
            InputError: an unknown kind, a malformed time, an entry beyond `MAX_ENTRY`, or a
                signature that is not strict DER.
        """
        if kind not in KINDS:
            raise InputError("entry", "kind", kind, "one of the kinds of this version")
        if not is_time(t):
            raise InputError("entry", "t", t, _TIME_EXPECTED)
        body = body_bytes(
            log=self.log,
            seq=self.tree.size,
            prev=self.head,
            kid=self.kid,
            kind=kind,
            t=t,
            tq=tq,
            src=src,
            data=data,
        )
        if sign is None:
            entry = b'{"body":%b}' % body
        else:
            entry = b'{"body":%b,"sig":"%b"}' % (body, encode_base64(low_s(sign(body))).encode())
        if len(entry) > MAX_ENTRY:
            raise InputError("entry", "length", len(entry), f"at most {MAX_ENTRY} bytes")
        leaf = sha256(b"\x00" + entry).digest()
        self.head = leaf.hex()
        self.tree.append(leaf)
        return entry

    def state(self) -> dict[str, Value]:
        """Give everything that `from_state` needs, as plain JSON."""
        return {
            "log": self.log,
            "kid": self.kid,
            "size": self.size,
            "head": self.head,
            "hashes": [found.hex() for found in self.tree.hashes],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, object]) -> Chain:
        """Continue where `state` was taken.

        Raises:
            InputError: a field is missing, malformed or contradicts another one.
        """
        log, kid, size, head, hashes = (state.get(name) for name in ("log", "kid", "size", "head", "hashes"))
        if not isinstance(log, str) or not isinstance(kid, str):
            raise InputError("chain state", "log, kid", (log, kid), "two strings")
        if not isinstance(size, int) or isinstance(size, bool):
            raise InputError("chain state", "size", size, "an integer")
        if not isinstance(hashes, list) or not all(
            isinstance(h, str) and _HEX_64.fullmatch(h) for h in hashes
        ):
            raise InputError("chain state", "hashes", hashes, "a list of hashes in hex")
        if not isinstance(head, str) or _HEX_64.fullmatch(head) is None:
            raise InputError("chain state", "head", head, "a hash in hex")
        made = cls(log, kid)
        made.tree = CompactRange.from_hashes(size, [bytes.fromhex(h) for h in hashes])
        known = _GENESIS_PREV if size == 0 else hashes[-1] if size % 2 else head
        if head != known:  # the last hash of an odd size is that of the last leaf
            raise InputError("chain state", "head", head, known)
        made.head = head
        return made

    def copy(self) -> Chain:
        """Give an independent chain at the same place."""
        made = Chain(self.log, self.kid)
        made.head = self.head
        made.tree = self.tree.copy()
        return made


def body_bytes(  # the fields of a body, one by one: this is the hot path
    *, log: str, seq: int, prev: str, kid: str, kind: str, t: str, tq: bytes, src: bytes, data: bytes
) -> bytes:
    """Give the canonical body, the bytes that are signed, by joining its parts.

    ``tq``, ``src`` and ``data`` are canonical objects, the strings need no escaping in JSON
    (`Chain` sees to that); neither is checked here. An empty ``src`` stands for ``{}``.
    """
    middle = f',"kid":"{kid}","kind":"{kind}","log":"{log}","prev":"{prev}","seq":{seq},"src":'
    time = f',"t":"{t}","tq":'
    return b"".join((b'{"data":', data, middle.encode(), src or b"{}", time.encode(), tq, b',"v":1}'))


def key_id(spki: bytes) -> str:
    """Give the ``kid`` of a record key from its DER SubjectPublicKeyInfo."""
    return sha256(spki).hexdigest()[:16]


def parse_entry(raw: bytes) -> Entry:
    """Read an entry strictly; its signature is not verified.

    Raises:
        InputError: too long, not canonical, a field missing, unknown or malformed, or a
            signature that is not strict DER with low ``s``.
    """
    if len(raw) > MAX_ENTRY:
        raise InputError("entry", "length", len(raw), f"at most {MAX_ENTRY} bytes")
    document = parse(raw, where="entry")
    body, sig = document.get("body"), document.get("sig")
    if not isinstance(body, dict) or list(body) != _BODY_FIELDS:
        raise InputError("entry", "body", body, f"an object of {', '.join(_BODY_FIELDS)}")
    if len(document) != 1 + ("sig" in document):
        raise InputError("entry", "fields", list(document), "body and sig")
    if "sig" not in document:
        return _entry(body, None, raw[_BODY_AT:-1], raw)
    if not isinstance(sig, str):
        raise InputError("entry", "sig", sig, "a string")
    signature = parse_base64(sig, where="entry", field="sig")
    if not is_low_s(signature):
        raise InputError("entry", "sig", sig, "the signature with the lower s")
    return _entry(body, signature, raw[_BODY_AT : -len(sig) - _AFTER_BODY], raw)


def _entry(body: Mapping[str, Value], sig: bytes | None, signed: bytes, raw: bytes) -> Entry:
    """Check the fields of a body, which are the right ones and in order."""
    data, kid, kind, log, prev, seq, src, t, tq, v = body.values()
    if type(v) is not int or v != VERSION:
        raise InputError("entry", "v", v, f"{VERSION}")
    if type(seq) is not int or seq < 0:
        raise InputError("entry", "seq", seq, f"an integer from 0 to {MAX_INTEGER}")
    if not isinstance(tq, dict) or not _is_time_quality(tq):
        raise InputError(
            "entry", "tq", tq, "boot (8 hex digits), err, mono, off (integers, ms) and s (clock status)"
        )
    if not isinstance(src, dict):
        raise InputError("entry", "src", src, "an object")
    if not isinstance(data, dict):
        raise InputError("entry", "data", data, "an object")
    if (
        (isinstance(kid, str) and isinstance(kind, str) and isinstance(log, str))
        and (isinstance(prev, str) and isinstance(t, str))
        and _ALL_TEXTS.fullmatch(f"{kid}\n{kind}\n{log}\n{prev}\n{t}") is not None
        and _exists(t)
    ):
        return Entry(v, log, seq, prev, kid, kind, t, tq, src, data, sig, signed, raw)
    raise _text_fault(body)


def _text_fault(body: Mapping[str, Value]) -> InputError:
    """Say which of the fields of `_TEXTS` is wrong."""
    for name, (pattern, expected) in _TEXTS.items():
        value = body[name]
        if not isinstance(value, str) or pattern.fullmatch(value) is None:
            return InputError("entry", name, value, expected)
    return InputError("entry", "t", body["t"], "a day that exists")


@lru_cache(maxsize=1024)  # thousands of entries share a millisecond
def is_time(text: str) -> bool:
    """Whether ``text`` is a time that exists, in the one form entries use."""
    return _TIME.fullmatch(text) is not None and _exists(text)


def _exists(time: str) -> bool:
    """Whether the calendar has the day of a well-formed time."""
    try:
        datetime.fromisoformat(time)
    except ValueError:
        return False
    return True


def _is_time_quality(tq: Mapping[str, Value]) -> bool:
    """Whether ``tq`` has exactly its five fields, each well-formed."""
    if list(tq) != _TQ_FIELDS:
        return False
    boot, err, mono, off, state = tq.values()
    return (
        type(boot) is str
        and _BOOT.fullmatch(boot) is not None
        and type(err) is int
        and err >= 0
        and type(mono) is int
        and mono >= 0
        and type(off) is int
        and type(state) is str
        and state in CLOCK_STATES
    )


def frame(entries: Iterable[bytes]) -> bytes:
    """Frame entries as in an entry bundle: each behind its length as big-endian uint16.

    Raises:
        InputError: an entry is empty or beyond `MAX_ENTRY`.
    """
    parts: list[bytes] = []
    for entry in entries:
        if not 0 < len(entry) <= MAX_ENTRY:
            raise InputError("bundle", "length", len(entry), f"1 to {MAX_ENTRY} bytes")
        parts.append(len(entry).to_bytes(2))
        parts.append(entry)
    return b"".join(parts)


def parse_frames(bundle: bytes) -> list[bytes]:
    """Take a bundle apart into its entries, which are not looked into.

    Raises:
        InputError: an empty entry, or a bundle that ends inside one.
    """
    entries: list[bytes] = []
    add = entries.append
    at, end = 0, len(bundle)
    while at < end - 1:
        start = at + 2
        at = start + (bundle[at] << 8 | bundle[at + 1])
        add(bundle[start:at])
    if at != end or not all(entries):
        raise _frame_fault(bundle)
    return entries


def _frame_fault(bundle: bytes) -> InputError:
    """Say which entry of a bundle is empty or cut."""
    at, number, end = 0, 0, len(bundle)
    while (length := int.from_bytes(bundle[at : at + 2])) and at + 2 + length <= end:
        at, number = at + 2 + length, number + 1
    return InputError("bundle", f"entry {number}", f"{length} bytes at {at} of {end}", "a whole entry")
