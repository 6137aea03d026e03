"""What the checks of an entry's signature and place need of the entry, read as strictly as the entry itself.

`parse_signed` accepts exactly what `record.parse_entry` accepts. One expression knows the usual entry, whose
contents are laid out as a reading's are, and may say yes faster; whatever else there is, and every refusal,
comes from `parse_entry`. `parse_parts` and `parse_usual` give more parts of usual entries, and none of other
ones; the first leaves three of them to whoever takes them. Verifies nothing.
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from typing import TYPE_CHECKING, NamedTuple

from coldseal.core.log.record import MAX_ENTRY, parse_entry
from coldseal.core.log.signature import is_low_s, is_plain
from coldseal.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LETTERS = rb"[ !#-\[\]-~]*+"  # visible ASCII that JSON writes in one way only
_TEXT = rb'"%b"' % _LETTERS
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
_SIG = (  # 69 to 71 bytes, no stray bits
    rb"[A-Za-z0-9+/]{92}(?:[A-Za-z0-9+/](?:[AQgw]=|[A-Za-z0-9+/][AEIMQUYcgkosw048])=)?+"
)
_USUAL = re.compile(
    rb'\{"body":(\{"data":%b,"kid":"([0-9a-f]{16})","kind":"[a-z][a-z0-9-]{0,31}",'
    rb'"log":"[!#-*,-\[\]-~]{1,255}","prev":"[0-9a-f]{64}","seq":%b,"src":%b,"t":"%b","tq":%b,"v":1\})'
    rb'(?:,"sig":"(%b)")?+\}' % (_DATA, _COUNT, _SRC, _TIME, _TQ, _SIG)
)
_LOOSE_SIG = (  # the same but for the alphabet, which decoding minds
    rb'[^"]{91}[^"=](?:[^"=](?:[AQgw]=|[^"=][AEIMQUYcgkosw048])=)?+'
)
_USUALS = re.compile(  # the same once more, for whoever needs its parts, with a line for each entry
    (
        rb'(?:\{"body":\{"data":\{(?:"flags":(\[%b(?:,%b)*+\]),)?+"q":(\[%b(?:,%b)*+\]),"sensor":"(%b)"\},'
        rb'("kid":"[0-9a-f]{16}","kind":"[a-z][a-z0-9-]{0,31}","log":"[!#-*,-\[\]-~]{1,255}"),'
        rb'"prev":"([^"]{64})","seq":(%b),"src":'
        rb'\{(?:"boot":%b,)?+"dev":"(%b)"(?:,"fp":%b)?+(?:,"pid":%b)?+(?:,"schema":%b)?+(?:,"seq":%b)?+,'
        rb'"sha256":%b(?:,"t":%b)?+\},"t":"(%b)","tq":\{"boot":"([0-9a-f]{8})","err":%b,"mono":(%b),"off":%b,'
        rb'"s":"(synchronised|holdover|unsynchronised)"\},"v":1\}(?:,"sig":"(%b)")?+\}|[^\n]*+)\n'
        % (
            *(_TEXT, _TEXT, _QUANTITY, _QUANTITY, _LETTERS, _COUNT),
            *(_TEXT, _LETTERS, _TEXT, _WHOLE, _TEXT, _WHOLE, _TEXT, _TEXT),
            *(rb'[^"]{24}', _COUNT, _COUNT, _WHOLE, _LOOSE_SIG),
        )
    ).decode()
)
_BODY_AT, _BEHIND_BODY = len('{"body":'), len(',"sig":""}')


class Parts(NamedTuple):
    """The parts of an entry that is laid out as a reading is, as text; all empty for another one.

    Of ``prev``, ``t`` and ``sig`` only the lengths are known: they may not be what `Entry` demands.

    Attributes:
        flags: JSON of the list; empty if there is none.
        q: JSON of the list of quantities.
        sensor: the text.
        signer: its ``kid``, ``kind`` and ``log``, as `signer_of` gives them.
        prev: as in `Entry`.
        seq: as in `Entry`.
        dev: the device's name.
        t: as in `Entry`.
        boot: of ``tq``.
        mono: of ``tq``.
        state: of the clock: ``s`` of ``tq``.
        sig: base64 of the signature, which may be none; empty if there is none.
    """

    flags: str
    q: str
    sensor: str
    signer: str
    prev: str
    seq: str
    dev: str
    t: str
    boot: str
    mono: str
    state: str
    sig: str


_NO_PARTS = ("",) * len(Parts._fields)


class Usual(NamedTuple):
    """The parts of an entry whose contents are laid out as a reading's are, of whatever kind it is.

    Attributes:
        body: what is signed.
        flags: JSON of the list; empty if there is none.
        q: JSON of the list of quantities.
        sensor: the text.
        kid: as in `Entry`, and so are ``kind``, ``log``, ``prev``, ``seq`` and ``t``.
        dev: the device's name.
        boot: of ``tq``.
        mono: of ``tq``.
        state: of the clock: ``s`` of ``tq``.
        sig: the signature, None if there is none.
    """

    body: bytes
    flags: str
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


def parse_parts(entries: Sequence[bytes]) -> list[tuple[str, ...]]:
    """Read many entries at once; what ``prev``, ``t`` and ``sig`` hold is not looked at.

    Returns:
        For each what `Parts` can be made of.
    """
    if max(map(len, entries), default=0) <= MAX_ENTRY and b"\n" not in b"".join(entries):
        found = _USUALS.findall(b"\n".join((*entries, b"")).decode("latin-1"))
        if len(found) == len(entries):  # no text of an entry goes on in the one behind it
            return found
    return [_NO_PARTS] * len(entries)


def signatures_of(entries: Iterable[bytes], texts: Iterable[str]) -> list[tuple[bytes, bytes]] | None:
    """Give signatures, each with the body that it is over.

    Args:
        entries: that are laid out as a reading is.
        texts: ``sig`` of their parts; those that have none are passed over.

    Returns:
        None if one is not strict DER with the lower ``s``, in the one way that base64 writes it.
    """
    try:
        found = [
            (a2b_base64(text, strict_mode=True), raw[_BODY_AT : -len(text) - _BEHIND_BODY])
            for raw, text in zip(entries, texts, strict=True)
            if text
        ]
    except ValueError:  # a letter that base64 does not have
        return None
    odd = [sig for sig, _ in found if is_plain(sig) is None]
    return found if all(map(_is_low_s, odd)) else None


def signer_of(kid: str, log: str) -> str:
    """Give ``signer`` as the parts of a reading have it."""
    return f'"kid":"{kid}","kind":"reading","log":"{log}"'


def parse_usual(raw: bytes) -> Usual | None:
    """Read an entry that is laid out as a reading is; its signature is not verified.

    Returns:
        None for anything else, be it an entry or not: `parse_entry` judges it.
    """
    found = Parts._make(parse_parts((raw,))[0])
    signatures = signatures_of((raw,), (found.sig,))
    if not found.seq or signatures is None or _USUAL.fullmatch(raw) is None:
        return None
    sig, body = signatures[0] if signatures else (None, raw[_BODY_AT:-1])
    kid, kind, log = found.signer.split('"')[3::4]
    return Usual(
        body,
        *(found.flags, found.q, found.sensor, kid, kind, log, found.prev),
        *(int(found.seq), found.dev, found.t, found.boot, int(found.mono), found.state, sig),
    )


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
