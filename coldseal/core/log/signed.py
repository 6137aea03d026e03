"""What the checks of an entry's signature and place need of the entry, read as strictly as the entry itself.

`parse_signed` accepts exactly what `record.parse_entry` accepts. One expression knows the usual entry, whose
contents are laid out as a reading's are, and may say yes faster; whatever else there is, and every refusal,
comes from `parse_entry`. `parse_usual` gives more parts of the usual entry, and none of another one. Verifies
nothing.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from typing import NamedTuple, TypeAlias

from coldseal.core.log.record import MAX_ENTRY, parse_entry
from coldseal.core.log.signature import is_low_s, is_plain
from coldseal.errors import InputError

_TEXT = rb'"[ !#-\[\]-~]*+"'  # visible ASCII that JSON writes in one way only
_COUNT = rb"(?:0|[1-9][0-9]{0,14})"
_WHOLE = rb"(?:0|-?[1-9][0-9]{0,14})"  # one digit less than the largest integer has
_DAY = (  # that exists; of the 29th of February, the calendar must judge
    rb"(?!0000)[0-9]{4}-(?:(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])"
    rb"|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)"
)
_TIME = _DAY + rb"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{3}Z"
_QUANTITY = rb'\{(?:"c":%b,)?+(?:"d":%b,)?+(?:"i":%b,)?+(?:"iu":%b,)?+"n":%b(?:,"t":%b)?+,"u":%b,"v":%b\}' % (
    (_TEXT,) * 8
)
_DATA = rb'\{(?:"flags":\[%b(?:,%b)*+\],)?+"q":\[%b(?:,%b)*+\],"sensor":%b\}' % (
    *(_TEXT, _TEXT),
    *(_QUANTITY, _QUANTITY, _TEXT),
)
_SRC = (
    rb'\{(?:"boot":%b,)?+"dev":%b(?:,"fp":%b)?+(?:,"pid":%b)?+(?:,"schema":%b)?+(?:,"seq":%b)?+,"sha256":%b(?:,"t":%b)?+\}'
    % (
        *(_TEXT, _TEXT, _TEXT),
        *(_WHOLE, _TEXT, _WHOLE),
        *(_TEXT, _TEXT),
    )
)
_TQ = (
    rb'\{"boot":"[0-9a-f]{8}","err":%b,"mono":%b,"off":%b,'
    rb'"s":"(?:synchronised|holdover|unsynchronised)"\}' % (_COUNT, _COUNT, _WHOLE)
)
_SIG = rb"[A-Za-z0-9+/]{93}(?:[AQgw]=|[A-Za-z0-9+/][AEIMQUYcgkosw048])="  # 70 or 71 bytes, no stray bits
_USUAL = re.compile(
    rb'\{"body":(\{"data":%b,"kid":"([0-9a-f]{16})","kind":"[a-z][a-z0-9-]{0,31}",'
    rb'"log":"[!#-*,-\[\]-~]{1,255}","prev":"[0-9a-f]{64}","seq":%b,"src":%b,"t":"%b","tq":%b,"v":1\})'
    rb'(?:,"sig":"(%b)")?+\}' % (_DATA, _COUNT, _SRC, _TIME, _TQ, _SIG)
)


_BODY_AT = len('{"body":')
_STATE, _BEHIND_STATE = 5, len('"},"v":1}')  # the group in the last piece
_HEAD, _MIDDLE, _TAIL = (  # the same once more in three pieces, for whoever needs its parts
    re.compile(pattern.decode())
    for pattern in (
        rb'\{"body":\{"data":\{(?:"flags":(\[%b(?:,%b)*+\]),)?+"q":(\[%b(?:,%b)*+\]),"sensor":(%b)\},'
        % (_TEXT, _TEXT, _QUANTITY, _QUANTITY, _TEXT),
        rb'"kid":"([0-9a-f]{16})","kind":"([a-z][a-z0-9-]{0,31})","log":"([!#-*,-\[\]-~]{1,255})",'
        rb'"prev":"([0-9a-f]{64})","seq":(%b),"src":' % _COUNT,
        rb'\{(?:"boot":%b,)?+"dev":(%b)(?:,"fp":%b)?+(?:,"pid":%b)?+(?:,"schema":%b)?+(?:,"seq":%b)?+,"sha256":%b(?:,"t":%b)?+\},'
        rb'"t":"(%b)","tq":\{"boot":"([0-9a-f]{8})","err":%b,"mono":(%b),"off":%b,'
        rb'"s":"(synchronised|holdover|unsynchronised)"\},"v":1\}(?:,"sig":"(%b)")?+\}'
        % (
            *(_TEXT, _TEXT, _TEXT, _WHOLE, _TEXT, _WHOLE, _TEXT, _TEXT),
            *(_TIME, _COUNT, _COUNT, _WHOLE, _SIG),
        ),
    )
)


class Usual(NamedTuple):
    """The parts of an entry whose contents are laid out as a reading's are, of whatever kind it is.

    Attributes:
        body: what is signed.
        flags: JSON of the list; None if there is none.
        q: JSON of the list of quantities.
        sensor: JSON of the text.
        kid: as in `Entry`, and so are ``kind``, ``log``, ``prev``, ``seq`` and ``t``.
        dev: JSON of the device's name.
        boot: of ``tq``.
        mono: of ``tq``.
        state: of the clock: ``s`` of ``tq``.
        sig: the signature, None if there is none.
    """

    body: bytes
    flags: str | None
    q: str
    sensor: str
    kid: str
    kind: str
    log: str
    prev: str
    seq: int
    dev: str
    t: str
    boot: str
    mono: int
    state: str
    sig: bytes | None


class Signed(NamedTuple):
    """The signed ``body`` of an entry, and what it is signed with; ``sig`` is None if it is not."""

    kid: str
    sig: bytes | None
    body: bytes


Expected: TypeAlias = tuple["re.Match[str]", str, str, str, str, str, bytes | None, bytes]
"""What is not known beforehand of an entry that is as expected: its quantities (`quantities_of` reads them),
then as in `Usual`: ``dev``, ``t``, ``boot``, ``mono`` (as text), ``state``, ``sig``, ``body``."""


def parse_usual(raw: bytes) -> Usual | None:
    """Read an entry that is laid out as a reading is; its signature is not verified.

    Returns:
        None for anything else, be it an entry or not: `parse_entry` judges it.
    """
    text = raw.decode() if len(raw) <= MAX_ENTRY and raw.isascii() else ""
    head = _HEAD.match(text)
    middle = head and _MIDDLE.match(text, head.end())
    found = middle and parse_expected(raw, middle[0])
    if not middle or found is None:
        return None
    quantities, dev, t, boot, mono, state, sig, body = found
    kid, kind, log, prev, seq = middle.groups()
    parts = (*quantities.groups(), kid, kind, log, prev, int(seq), dev)
    return Usual._make((body, *parts, t, boot, int(mono), state, sig))


def expect(kid: str, log: str) -> str:
    """Give what stands in a reading between its data and the hash of the entry before, for `parse_expected`.

    Returns:
        Nothing, where no reading that is laid out as usual has such a key id or log.
    """
    begin = f'"kid":"{kid}","kind":"reading","log":"{log}","prev":"'
    return begin if _MIDDLE.fullmatch(f'{begin}{"0" * 64}","seq":0,"src":') else ""


def parse_expected(raw: bytes, middle: str) -> Expected | None:
    """Read an entry that is laid out as a reading is, of which the greater part of the place is known.

    Args:
        raw: the entry.
        middle: what `expect` gave, the hash of the entry before, and ``","seq":N,"src":``.

    Returns:
        None for anything else, be it an entry or not: `parse_usual` and `parse_entry` judge it.
    """
    if len(raw) > MAX_ENTRY or not raw.isascii():
        return None
    text = raw.decode()
    head = _HEAD.match(text)
    if head is None or not text.startswith(middle, head.end()):
        return None
    tail = _TAIL.fullmatch(text, head.end() + len(middle))
    if tail is None:
        return None
    dev, t, boot, mono, state, base64 = tail.groups()
    body = raw[_BODY_AT : tail.end(_STATE) + _BEHIND_STATE]
    if base64 is None:
        return head, dev, t, boot, mono, state, None, body
    sig = a2b_base64(base64)
    return (head, dev, t, boot, mono, state, sig, body) if is_plain(sig) or _is_low_s(sig) else None


def parse_signed(raw: bytes) -> Signed:
    """Read an entry strictly; its signature is not verified.

    Raises:
        InputError: as `parse_entry`.
    """
    found = _USUAL.fullmatch(raw) if len(raw) <= MAX_ENTRY else None
    if found is not None:
        body, kid, text = found.groups()
        if text is None:
            return Signed(kid.decode(), None, body)
        if is_low_s(sig := a2b_base64(text)):
            return Signed(kid.decode(), sig, body)
    entry = parse_entry(raw)
    return Signed(entry.kid, entry.sig, entry.body)


def _is_low_s(signature: bytes) -> bool:
    """Whether it is strict DER with the lower ``s``; no is no refusal yet."""
    try:
        return is_low_s(signature)
    except InputError:
        return False
