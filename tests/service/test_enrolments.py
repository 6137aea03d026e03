"""Rights to be enrolled: a token once and for one key, few guesses, a queue with an end, growing pauses."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldseal.errors import InputError, OperatorError
from coldseal.identity.est import Asked
from coldseal.service import enrolments as module
from coldseal.service.config import load_service
from coldseal.service.enrolments import EnrolmentError, Enrolments, Grant, WaitingError, WrongTokenError
from coldseal.service.pace import CALLERS, FREE_GUESSES, LONGEST_S, Pace, PutOffError
from coldseal.service.storage import enrolments as storage
from coldseal.service.storage.enrolments import EnrolmentStore, Happened, Waiting
from tests.trial import Site

T = 1_800_000_000
KEY = bytes(range(32))
ONE, OTHER = b"1" * 32, b"2" * 32


@pytest.fixture
def enrolments(tmp_path: Path) -> Iterator[Enrolments]:
    """Give open enrolments."""
    opened = Enrolments.open(tmp_path / "data", KEY)
    yield opened
    opened.close()


def make(enrolments: Enrolments, **more: int) -> str:
    """Make a token for a device."""
    return enrolments.make_token("device", "d-1", now=T, life_s=more.get("life_s", 60))


def line(what: str = "issued") -> Happened:
    """Make a line of the history."""
    return Happened(T, what, "token", "device", "d-1", "0a")


def waiting(number: int, *, t: int = T, factory: str = "CN=one") -> Waiting:
    """Make a request for the queue."""
    return Waiting(f"id-{number}", "gateway", f"gw-{number}", ("x.example",), ONE, factory, "::1", t)


def test_a_token_grants_exactly_what_it_was_made_for(enrolments: Enrolments) -> None:
    """Role, name, hosts; and it says who made it."""
    text = enrolments.make_token("gateway", "gw-1", ("gw.example",), now=T, life_s=60, maker="qa")
    grant = enrolments.by_token("gw-1", text, ONE, now=T)
    assert (grant.role, grant.name, grant.hosts) == ("gateway", "gw-1", ("gw.example",))
    assert (grant.way, grant.who) == ("token", "qa")
    assert len({make(enrolments) for _ in range(20)}) == 20


def test_a_token_is_not_on_disk(enrolments: Enrolments, tmp_path: Path) -> None:
    """Nor its hash: the file is encrypted."""
    text = make(enrolments)
    for path in (tmp_path / "data").iterdir():
        content = path.read_bytes()
        assert text.encode() not in content
        assert module._digest(text) not in content
    with pytest.raises(OperatorError):
        EnrolmentStore(tmp_path / "data" / module.FILE, bytes(32))


def test_tokens_are_for_acceptable_names_only(enrolments: Enrolments) -> None:
    """Those that a certificate could carry."""
    with pytest.raises(InputError):
        enrolments.make_token("device", "a/b", now=T, life_s=60)
    with pytest.raises(InputError):
        enrolments.make_token("device", "d-1", ("x.example",), now=T, life_s=60)


@pytest.mark.parametrize(
    ("name", "reason"), [("d-1", "wrong-token"), ("d-2", "wrong-token"), ("", "wrong-token")]
)
def test_a_wrong_token_or_name_does_not_count(enrolments: Enrolments, name: str, reason: str) -> None:
    """Neither of them says which was wrong."""
    text = make(enrolments)
    with pytest.raises(WrongTokenError) as caught:
        enrolments.by_token(name, text if name != "d-1" else "x" + text, ONE, now=T)
    assert caught.value.reason == reason


def test_a_token_ends(enrolments: Enrolments) -> None:
    """At its time; and is forgotten when the next one is made."""
    text = make(enrolments)
    assert enrolments.by_token("d-1", text, ONE, now=T + 59).name == "d-1"
    with pytest.raises(WrongTokenError, match="expired-token"):
        enrolments.by_token("d-1", text, ONE, now=T + 60)
    assert [each.name for each in enrolments.tokens(now=T)] == ["d-1"]
    assert enrolments.tokens(now=T + 60) == []
    enrolments.make_token("device", "d-2", now=T + 61, life_s=60)
    with pytest.raises(WrongTokenError, match="wrong-token"):
        enrolments.by_token("d-1", text, ONE, now=T + 61)


def test_guessing_ends_a_token(enrolments: Enrolments, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many wrong ones under its name, also the right one counts no more."""
    monkeypatch.setattr(module, "MAX_GUESSES", 3)
    text = make(enrolments)
    for number in range(3):
        with pytest.raises(WrongTokenError):
            enrolments.by_token("d-1", f"guess {number}", ONE, now=T)
    with pytest.raises(WrongTokenError, match="guessed-token"):
        enrolments.by_token("d-1", text, ONE, now=T)


def test_tokens_have_a_limit(enrolments: Enrolments, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that makes them for ever is stopped."""
    monkeypatch.setattr(module, "MAX_TOKENS", 2)
    make(enrolments)
    make(enrolments)
    with pytest.raises(OperatorError, match="2 tokens"):
        make(enrolments)


def test_of_two_requests_at_one_time_one_spends_the_token(enrolments: Enrolments) -> None:
    """Both found it unspent; only one may give anything away."""
    text = make(enrolments)
    grants = [enrolments.by_token("d-1", text, spki, now=T) for spki in (ONE, OTHER)]

    def spend(number: int) -> bool:
        """Spend it; says whether that worked."""
        try:
            enrolments.note_issued(grants[number], (ONE, OTHER)[number], b"leaf", line())
        except WrongTokenError:
            return False
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(spend, range(2))) == [False, True]
    assert len([each for each in enrolments.history() if each.what == "issued"]) == 1


def test_a_spent_right_gives_its_own_key_the_same_again(enrolments: Enrolments) -> None:
    """An answer can get lost; another key gets nothing."""
    text = make(enrolments)
    grant = enrolments.by_token("d-1", text, ONE, now=T)
    assert enrolments.issued(grant, ONE) is None
    enrolments.note_issued(grant, ONE, b"leaf", line())
    assert enrolments.issued(enrolments.by_token("d-1", text, ONE, now=T), ONE) == b"leaf"
    with pytest.raises(WrongTokenError, match="spent-token"):
        enrolments.by_token("d-1", text, OTHER, now=T)
    assert enrolments.issued(grant, OTHER) is None
    assert enrolments.tokens(now=T) == []


def test_a_grant_is_not_widened_by_what_is_asked() -> None:
    """Fewer hosts are fine, further ones are not."""
    grant = Grant("gateway", "gw-1", ("a.example", "b.example"), "token", "qa")
    grant.require(Asked(None, "gw-1", ("a.example",)))
    for asked in (
        Asked("gateway", "gw-1", ("c.example",)),
        Asked("device", "gw-1", ()),
        Asked(None, "x", ()),
    ):
        with pytest.raises(EnrolmentError):
            grant.require(asked)


def test_the_queue_is_bounded(enrolments: Enrolments, monkeypatch: pytest.MonkeyPatch) -> None:
    """In all, and for each factory certificate."""
    monkeypatch.setattr(module, "MAX_WAITING", 4)
    for number in range(4):
        with pytest.raises(WaitingError):
            enrolments.by_approval(waiting(number, factory=f"CN={number}"))
    with pytest.raises(EnrolmentError, match="4 requests wait"):
        enrolments.by_approval(waiting(9, factory="CN=9"))
    with pytest.raises(WaitingError):
        enrolments.by_approval(waiting(0, factory="CN=0"))
    assert len(enrolments.waiting()) == 4


def test_a_request_leaves_the_queue_after_a_week(enrolments: Enrolments) -> None:
    """Decided or not; then it is asked anew."""
    with pytest.raises(WaitingError):
        enrolments.by_approval(waiting(1))
    enrolments.decide("id-1", is_approved=True, who="qa", reason="known", now=T)
    assert enrolments.by_approval(waiting(1)).way == "approval"
    with pytest.raises(WaitingError):
        enrolments.by_approval(waiting(1, t=T + module.KEPT_S))


def test_refusals_do_not_fill_the_disk(enrolments: Enrolments, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest make room; what was issued stays."""
    monkeypatch.setattr(storage, "MAX_REFUSALS", 5)
    enrolments.note(line())
    for _ in range(20):
        enrolments.note(line("refused"))
    found = [each.what for each in enrolments.history()]
    assert (found.count("refused"), found.count("issued")) == (5, 1)


def test_a_step_that_fails_leaves_nothing(enrolments: Enrolments) -> None:
    """Half a step is none."""
    grant = Grant("device", "d-1", (), "token", "qa", b"unknown")
    with pytest.raises(WrongTokenError):
        enrolments.note_issued(grant, ONE, b"leaf", line())
    assert enrolments.history() == []


@given(st.lists(st.floats(min_value=0, max_value=30), min_size=1, max_size=200))
def test_nobody_asks_more_often_than_the_pace(gaps: list[float]) -> None:
    """In every stretch of time: at most so many, and so many at once."""
    pace, now_s, taken, waits = Pace(10), 0.0, list[float](), list[float]()
    for gap in gaps:
        now_s += gap
        try:
            pace.require("x", now_s)
            taken.append(now_s)
        except PutOffError as fault:
            waits.append(fault.wait_s)
    assert all(0 < each <= 6 for each in waits)
    for first in taken:
        assert sum(first <= each <= first + 60 for each in taken) <= 21


def test_pauses_grow_and_end() -> None:
    """The first guesses are free; a right secret forgets them; others are not held up."""
    pace = Pace(1_000_000)
    pauses = [pace.guessed("x", 0.0) for _ in range(20)]
    assert pauses[: FREE_GUESSES - 1] == [0.0] * (FREE_GUESSES - 1)
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_S
    with pytest.raises(PutOffError):
        pace.require("x", 1.0)
    pace.require("y", 1.0)
    pace.require("x", LONGEST_S + 1)
    pace.proved("x")
    pace.proved("nobody")
    assert pace.guessed("x", LONGEST_S + 1) == 0.0


def test_callers_that_come_and_go_cost_no_memory() -> None:
    """So many are remembered, whoever calls."""
    pace = Pace(10)
    for number in range(CALLERS + 100):
        pace.require(str(number), 0.0)
    assert len(pace._callers) == CALLERS


@pytest.mark.parametrize(
    "overrides",
    [
        ("est.listen=127.0.0.1:0",),
        ("est.approval=true",),
        ("est.factory_map=map.toml",),
        ("est.roles=['king']",),
    ],
    ids=["no-ca", "no-factory", "no-factory-ca", "role"],
)
def test_contradictions_in_the_configuration_are_refused(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    """With the key's name."""
    site = Site(tmp_path)
    site.config()
    with pytest.raises(OperatorError, match=r"est\."):
        load_service(site.service / "service.toml", overrides)
