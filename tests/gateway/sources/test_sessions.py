"""The sessions on disk: written in groups, encrypted, read back the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.sources.sessions import FORMAT, SessionStore
from coldseal.gateway.store.database import open_database
from coldseal.mqtt.outbox import Delivery, Item, Phase
from coldseal.mqtt.packets import Properties, Subscription, Will
from coldseal.mqtt.session import Changes, Identity, RetainedRecord, SessionKey, SessionRecord
from coldseal.mqtt.subscriptions import Held
from tests.gateway.sources.rig import STORE_KEY

KEY = SessionKey("gauge", "gauge-1")

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
properties = st.builds(
    Properties,
    payload_format_indicator=st.none() | st.integers(0, 1),
    content_type=st.none() | texts,
    correlation_data=st.none() | st.binary(max_size=8),
    subscription_identifiers=st.lists(st.integers(1, 268_435_455), max_size=2).map(tuple),
    user=st.lists(st.tuples(texts, texts), max_size=2).map(tuple),
)
deliveries = st.builds(
    Delivery,
    texts,
    st.binary(max_size=16),
    st.integers(0, 2),
    st.booleans(),
    properties,
    st.none() | st.floats(0, 2e9),
)
held = st.builds(Held, st.builds(Subscription, texts, st.integers(0, 2)), st.none() | st.integers(1, 9))
records = st.builds(
    SessionRecord,
    st.builds(Identity, texts, texts),
    st.integers(1, 2**32 - 1),
    st.none() | st.floats(0, 2e9),
    st.lists(held, max_size=3).map(tuple),
    st.lists(st.integers(1, 65_535), max_size=3).map(tuple),
    st.none() | st.builds(Will, texts, st.binary(max_size=4), st.integers(0, 2), st.booleans(), properties),
    st.none() | st.floats(0, 2e9),
)
keys = st.builds(SessionKey, st.sampled_from(["a", "b"]), st.sampled_from(["x", "y", ""]))
groups = st.builds(
    Changes,
    st.just(1),
    st.dictionaries(keys, st.none() | records, max_size=3),
    st.dictionaries(
        st.tuples(keys, st.integers(0, 4)),
        st.none()
        | st.builds(Item, st.integers(0, 4), deliveries, st.sampled_from(Phase), st.integers(0, 65_535)),
        max_size=4,
    ),
    st.dictionaries(
        st.sampled_from(["t", "u"]), st.none() | st.builds(RetainedRecord, texts, deliveries), max_size=2
    ),
)


def _empty(**rows: object) -> Changes:
    """Make a group with some rows."""
    parts: dict[str, Any] = {"group": 1, "sessions": {}, "messages": {}, "retained": {}}
    return Changes(**(parts | rows))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(groups, max_size=4))
def test_what_was_written_is_read_back(tmp_path: Path, history: list[Changes]) -> None:
    """After any groups, in this process or the next, the rows are those that were written last."""
    path = tmp_path / "broker.db"
    for file in tmp_path.glob("broker.db*"):
        file.unlink()
    sessions: dict[SessionKey, SessionRecord | None] = {}
    items: dict[tuple[SessionKey, int], Item | None] = {}
    retained: dict[str, RetainedRecord | None] = {}
    for group in history:
        store = SessionStore.open(path, STORE_KEY)
        store.write(group)
        store.close()
        sessions |= group.sessions
        items |= group.messages
        retained |= group.retained
    store = SessionStore.open(path, STORE_KEY)
    kept = store.load()
    store.close()
    assert dict(kept.sessions) == {key: record for key, record in sessions.items() if record}
    found = sorted((key, repr(item)) for key, each in kept.items.items() for item in each)
    assert found == sorted((key, repr(item)) for (key, _), item in items.items() if item)
    assert sorted(map(repr, kept.retained)) == sorted(repr(record) for record in retained.values() if record)


def test_nothing_is_to_be_read_without_the_key(tmp_path: Path) -> None:
    """Neither in the file nor beside it; another key opens nothing."""
    store = SessionStore.open(tmp_path / "broker.db", STORE_KEY)
    secret = b"a command that nobody should see"
    store.write(_empty(messages={(KEY, 1): Item(1, Delivery("secret/topic", secret, 1))}))
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        assert secret not in content
        assert b"secret/topic" not in content
    store.close()
    with pytest.raises(OperatorError):
        SessionStore.open(tmp_path / "broker.db", bytes(32))


def test_a_later_format_is_not_touched(tmp_path: Path) -> None:
    """A file of a later version is left as it is, and named."""
    database = open_database(tmp_path / "broker.db", STORE_KEY)
    database.pragma("user_version", FORMAT + 1)
    database.close()
    with pytest.raises(OperatorError, match="format 2, expected 1"):
        SessionStore.open(tmp_path / "broker.db", STORE_KEY)


@pytest.mark.parametrize("table", ["sessions", "messages", "retained"])
def test_a_row_that_cannot_be_understood_is_named_with_its_cure(tmp_path: Path, table: str) -> None:
    """The gateway does not guess what a session was."""
    store = SessionStore.open(tmp_path / "broker.db", STORE_KEY)
    store.write(
        _empty(
            sessions={KEY: SessionRecord(Identity("gauge"), 60, None, (), ())},
            messages={(KEY, 1): Item(1, Delivery("a", b"", 1))},
            retained={"a": RetainedRecord("gauge", Delivery("a", b"", 1))},
        )
    )
    column = "item" if table == "messages" else "record"
    store._database.execute(f"UPDATE {table} SET {column} = x'c1'")  # noqa: S608 # names from above
    with pytest.raises(OperatorError, match="cannot be read") as caught:
        store.load()
    assert "no reading is lost" in caught.value.hint
    store.close()


def test_a_full_disk_is_told_and_the_group_may_be_written_again(tmp_path: Path) -> None:
    """Nothing of the group is there after the failure; all of it after the second attempt."""
    store = SessionStore.open(tmp_path / "broker.db", STORE_KEY)
    pages = store._database.pragma("page_count")
    store._database.pragma("max_page_count", pages)
    group = _empty(
        sessions={KEY: SessionRecord(Identity("gauge"), 60, None, (), ())},
        retained={f"t/{number}": RetainedRecord("g", Delivery("t", bytes(9_000), 1)) for number in range(9)},
    )
    with pytest.raises(UnavailableError):
        store.write(group)
    assert store.load().sessions == []
    store._database.pragma("max_page_count", 10_000)
    store.write(group)
    assert len(store.load().retained) == 9
    store.close()


def test_the_write_ahead_log_does_not_grow_for_ever(tmp_path: Path) -> None:
    """After some thousand rows it is copied into the file."""
    store = SessionStore.open(tmp_path / "broker.db", STORE_KEY)
    log = tmp_path / "broker.db-wal"
    sizes = []
    for _ in range(60):
        rows = {(KEY, number): Item(number, Delivery("t", bytes(100), 1)) for number in range(100)}
        store.write(_empty(messages=rows))
        store.tidy()
        sizes.append(log.stat().st_size)
    assert max(sizes[-20:]) == max(sizes)
    assert max(sizes) < 4_000_000
    assert len(store.load().items[KEY]) == 100
    store.close()
