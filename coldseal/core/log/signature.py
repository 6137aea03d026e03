"""ECDSA signatures over P-256 in their one form: strict DER with the lower ``s``.

Whoever holds (r, s) can make (r, n - s) without the key, so only the lower one counts
(malleability). Looks at bytes alone: neither signs nor verifies.
"""

from __future__ import annotations

import re

from coldseal.errors import InputError

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_HALF = _ORDER // 2
_SEQUENCE, _INTEGER = 0x30, 0x02  # tags of DER
_SHORTEST = 8
is_plain = re.compile(
    rb"\x30(?:\x44\x02\x20[\x01-\x7f]|\x45\x02\x21\x00[\x80-\xfe]).{31}\x02\x20[\x01-\x7e].{31}", re.DOTALL
).fullmatch
"""Whether a signature is one of the many whose first bytes show that it is `is_low_s`; no says nothing."""


def is_low_s(der: bytes) -> bool:
    """Whether the signature has the lower of its two possible ``s``.

    Raises:
        InputError: not the strict DER of two integers from 1 to the order of P-256 less one.
    """
    return is_plain(der) is not None or _parse(der)[1] <= _HALF


def low_s(der: bytes) -> bytes:
    """Give the signature with the lower ``s``, which is as valid as the other one.

    Raises:
        InputError: not strict DER, as for `is_low_s`.
    """
    if is_plain(der) is not None:
        return der
    r, s = _parse(der)
    return der if s <= _HALF else _encode(r, _ORDER - s)


def _parse(der: bytes) -> tuple[int, int]:
    """Give (r, s); strict, because only what encodes back to the same bytes is accepted."""
    if len(der) >= _SHORTEST:
        r_end = 4 + der[3]
        r, s = int.from_bytes(der[4:r_end]), int.from_bytes(der[r_end + 2 :])
        if 0 < r < _ORDER and 0 < s < _ORDER and _encode(r, s) == der:
            return r, s
    raise InputError("signature", "DER", der.hex(), "strict DER of r and s within the order of P-256")


def _encode(r: int, s: int) -> bytes:
    """Give the DER of two positive integers below 2^256 (X.690, 8.3)."""
    r_bytes, s_bytes = r.to_bytes(r.bit_length() // 8 + 1), s.to_bytes(s.bit_length() // 8 + 1)
    r_size, s_size = len(r_bytes), len(s_bytes)
    head = bytes((_SEQUENCE, r_size + s_size + 4, _INTEGER, r_size))
    return b"%b%b%c%c%b" % (head, r_bytes, _INTEGER, s_size, s_bytes)
