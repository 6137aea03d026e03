"""Redelivered messages are told from new ones, and what a start restores is what was known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.core.log import canonical
from coldseal.core.log.record import Chain, parse_entry
from coldseal.core.redelivery import Redelivery
from coldseal.errors import InputError

DIGEST = "+/23456789abcdefGHIJKLMNOPQRSTUVWXYZghijkl8="
TQ = b'{"boot":"0badcafe","err":3,"mono":1,"off":0,"s":"synchronised"}'
SOURCES: list[dict[str, canonical.Value]] = [
    {"dev": "a", "sha256": DIGEST, "seq": 5, "boot": "x"},
    {"dev": "b", "sha256": DIGEST, "pid": 7},
    {"dev": "c", "sha256": DIGEST},
    {},
]


def test_the_same_bytes_of_the_same_device_are_known_and_no_others() -> None:
    """Another device may send the same bytes."""
    found = Redelivery(4)
    found.take("a", Redelivery.key(DIGEST))
    assert found.is_known("a", Redelivery.key(DIGEST))
    assert not found.is_known("b", Redelivery.key(DIGEST))
    assert not found.is_known("a", Redelivery.key("A" * 43 + "="))


def test_without_a_device_sequence_the_packet_id_belongs_to_the_key() -> None:
    """Two equal payloads under two packet ids are two messages."""
    keys = {Redelivery.key(DIGEST, pid) for pid in (None, 1, 2)}
    assert len(keys) == 3


def test_only_the_window_is_remembered() -> None:
    """The oldest goes first; a message remembered twice takes one place."""
    found = Redelivery(2)
    for key in ("1", "2", "2", "3"):
        assert found.take("a", key) == (None, False)
    assert found.take("a", "3", may_be_known=True) is None
    assert [found.is_known("a", key) for key in "123"] == [False, True, True]


def test_what_could_not_be_sealed_is_forgotten_with_its_sequence() -> None:
    """Its redelivery is then new, and no step back."""
    found = Redelivery(2)
    found.forget("a", "1", None)
    assert found.latest("a") is None
    before = []
    for seq in (1, 2):
        taken = found.take("a", str(seq), ("x", seq))
        assert taken == (("x", 1) if seq > 1 else None, False)
        before.append(taken[0])
    found.forget("a", "other", None)
    for seq in (2, 1):
        found.forget("a", str(seq), before.pop())
        assert not found.is_known("a", str(seq))
        assert found.take("a", str(seq), ("x", seq)) == (("x", 1) if seq > 1 else None, False)
        found.forget("a", str(seq), None)
    found.take("a", "3", ("x", 1))
    found.forget("a", "3", ("x", 1))
    assert found.snapshot() == b"a\tx\t1"


def test_a_snapshot_leaves_out_what_is_not_sealed_yet() -> None:
    """After a crash its redelivery is new: acknowledging it as known would lose it."""
    found = Redelivery(8)
    unsealed = []
    for seq in range(1, 5):
        latest = found.latest("a")
        found.take("a", str(seq), ("x", seq))
        if seq > 2:
            unsealed.append(("a", str(seq), latest))
    found.take("b", "1")
    again = Redelivery.restore(found.snapshot(unsealed), window=8)
    assert [again.is_known("a", str(seq)) for seq in range(1, 5)] == [True, True, False, False]
    assert again.latest("a") == ("x", 2)
    assert again.is_known("b", "1")


def test_a_sequence_that_falls_back_is_noticed_within_one_run_of_the_device() -> None:
    """A new run may begin anywhere."""
    found = Redelivery(2)
    steps = [
        ("x", 5, False),
        ("x", 6, False),
        ("x", 6, True),
        ("x", 2, True),
        ("y", 1, False),
        ("y", 2, False),
    ]
    for boot, seq, is_back in steps:
        taken = found.take("a", "key", (boot, seq))
        assert taken is not None
        assert taken[1] is is_back


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["a", "b"]),
            st.integers(0, 20).map(str),
            st.none() | st.tuples(st.sampled_from(["", "r1"]), st.integers(0, 5)),
        )
    )
)
def test_a_snapshot_restores_all_that_is_known(steps: list[tuple[str, str, tuple[str, int] | None]]) -> None:
    """What is answered after a restart is what was answered before it."""
    found = Redelivery(8)
    for device, key, run in steps:
        found.take(device, key, run)
    again = Redelivery.restore(found.snapshot(), window=8)
    assert again.snapshot() == found.snapshot()
    for device in ("a", "b"):
        for key in map(str, range(21)):
            assert again.is_known(device, key) == found.is_known(device, key)
        assert again.take(device, "new", ("r1", 0)) == found.take(device, "new", ("r1", 0))


def test_the_entries_behind_a_snapshot_are_learnt_from() -> None:
    """Readings by their bytes, others by bytes and packet id; the log's own entries tell nothing."""
    found = Redelivery(8)
    chain = Chain("example.com/log", "0" * 16)
    for src in SOURCES:
        raw = chain.seal("reading", "2026-01-01T00:00:00.000Z", TQ, canonical.encode(src), b"{}", None)
        found.replay(parse_entry(raw))
    assert found.is_known("a", Redelivery.key(DIGEST))
    assert found.is_known("b", Redelivery.key(DIGEST, 7))
    assert found.latest("a") == ("x", 5)
    assert found.snapshot().count(b"\n") == 1


def test_a_key_within_another_is_not_that_key() -> None:
    """Keys with a packet id begin with those without; neither stands for the other, nor is taken with it."""
    short, long = Redelivery.key(DIGEST), Redelivery.key(DIGEST, 12)
    found = Redelivery(4)
    found.take("a", long)
    assert not any(found.is_known("a", key) for key in (short, Redelivery.key(DIGEST, 1), long[1:]))
    found.take("a", short)
    found.forget("a", short, None)
    assert found.is_known("a", long)
    assert not found.is_known("a", short)


def test_what_is_forgotten_makes_room_in_the_window() -> None:
    """The window counts what is remembered, not what ever came; order stays as it was."""
    found = Redelivery(3)
    for key in ("1", "2", "3"):
        found.take("a", key)
    found.forget("a", "2", None)
    found.take("a", "4")
    assert found.snapshot() == b"a\t-\t0\t1\t3\t4"
    found.take("a", "5")
    assert found.snapshot([("a", "4", None), ("a", "6", None)]) == b"a\t-\t0\t3\t5"
    assert found.snapshot() == b"a\t-\t0\t3\t4\t5"


@pytest.mark.parametrize("snapshot", [b"device", b"device\tboot\tx\tkey"])
def test_what_is_not_a_snapshot_is_refused(snapshot: bytes) -> None:
    """A damaged memory must not pass for an empty one."""
    with pytest.raises(InputError, match="sequence"):
        Redelivery.restore(snapshot, window=8)
