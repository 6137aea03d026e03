"""Claims about packed tiles: whatever goes in comes out, byte for byte, and what is wrong is said."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log.record import frame
from coldseal.gateway.store.database import StoreDamagedError
from coldseal.gateway.store.packed import is_packed, pack, unpack
from tests.gateway.store.logs import new_chain, seal

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRIES = st.binary(min_size=1, max_size=80) | st.sampled_from(
    (b'{"body":{"prev":""}}', b'{"data":{"prev":""},"prev":""}', b"\0\0", b"(\xb5/\xfd")
)


def chained(count: int) -> list[bytes]:
    """Seal a few readings."""
    return seal(new_chain(), count)


@given(st.lists(ENTRIES, min_size=1, max_size=20))
def test_any_entries_come_back_as_they_were(entries: Sequence[bytes]) -> None:
    """Also such as name no entry before, have an empty `prev` of their own, or look packed."""
    frames = frame(entries)
    assert unpack(pack(frames)) == frames
    assert unpack(frames) == frames


@given(st.lists(ENTRIES, min_size=1, max_size=5), st.integers(2, 9))
def test_entries_that_follow_each_other_come_back_too(others: Sequence[bytes], count: int) -> None:
    """With foreign ones amid them."""
    entries = [*chained(count), *others, *chained(count)]
    assert unpack(pack(frame(entries))) == frame(entries)


def test_the_hash_of_the_entry_before_takes_no_room() -> None:
    """A reader works it out; the first one of a tile stays, so that a tile stands alone."""
    entries = chained(256)
    packed, plain = pack(frame(entries)), zstandard.compress(frame(entries))
    assert len(packed) < len(plain) - 255 * 30
    assert unpack(pack(frame(entries[7:]))) == frame(entries[7:])


def test_a_packed_tile_is_known_by_its_beginning() -> None:
    """Frames never begin so: no entry is empty."""
    entries = chained(2)
    assert is_packed(pack(frame(entries)))
    assert not is_packed(frame(entries))
    assert not is_packed(frame([bytes(40)]))


@pytest.mark.parametrize(
    ("blob", "why"),
    [
        (b"\0\0\2" + zstandard.compress(frame([b"x"])), "a way 02 that is not known"),
        (b"\0\0\1" + zstandard.compress(b"\0\5x"), "a whole entry"),
        (b"\0\0\1rubbish", "content size"),
        (b"\0\0\0" + zstandard.compress(frame([b"x"]))[:-1], "decompress"),
        (b"\0\0", "content size"),
        (b"\0\0\0" + zstandard.compress(bytes(20_000_000)), "longer than a tile"),
    ],
)
def test_what_is_no_tile_is_damage(blob: bytes, why: str) -> None:
    """It is never passed on, and never blown up to any size."""
    with pytest.raises(StoreDamagedError, match=f"packed tile .*{why}"):
        unpack(blob)


def test_the_form_is_fixed() -> None:
    """What was packed years ago is read: these bytes are never to change."""
    packed = bytes.fromhex("000001") + zstandard.compress(frame([b"one", b'{"prev":""}']))
    before = hashlib.sha256(b"\0one").hexdigest().encode()
    assert unpack(packed) == frame([b"one", b'{"prev":"%b"}' % before])
