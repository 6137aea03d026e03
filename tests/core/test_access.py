"""Claims about roles: the table decides, nothing else; and no one is a second person to themselves."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from coldseal.core.access import DANGEROUS, TABLE, Action, ApprovalError, Approvals, Role, may

EXPECTED = {
    Action.LOOK: "vtqa",
    Action.CHECKPOINT: "tqa",
    Action.RENEW: "ta",
    Action.IMPORT: "tq",
    Action.DRILL: "ta",
    Action.EXPORT: "q",
    Action.CORRECT: "q",
    Action.HOLD: "q",
    Action.PRUNE: "qa",
    Action.RECOVER: "a",
    Action.UNBLOCK: "ta",
    Action.ROLL_OVER: "a",
    Action.REVOKE: "a",
    Action.PROFILE: "q",
    Action.ASSIGN: "tq",
    Action.CALIBRATE: "tq",
    Action.MAINTAIN: "tq",
    Action.ACKNOWLEDGE: "tq",
    Action.DISPOSE: "q",
    Action.CUSTODY: "tq",
    Action.REPLAY: "tq",
    Action.ROUTE: "ta",
}
"""Written by hand, by the first letters of the roles: the table must not change unnoticed."""

SETS = [roles for count in range(len(Role) + 1) for roles in combinations(Role, count)]


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("roles", SETS, ids=lambda roles: "+".join(roles) or "nobody")
def test_every_set_of_roles_may_what_one_of_them_may(roles: tuple[Role, ...], action: Action) -> None:
    """All cells; no role at all may nothing."""
    assert may(roles, action) == any(role[0] in EXPECTED[action] for role in roles)


def test_every_action_has_a_row_and_a_meaning() -> None:
    """The table is complete; what is dangerous changes something."""
    assert set(TABLE) == set(Action)
    assert all(rule.meaning and rule.roles for rule in TABLE.values())
    assert all(TABLE[action].is_change for action in DANGEROUS)


@pytest.mark.parametrize("action", Action)
def test_the_page_has_the_row_of_each_action(action: Action) -> None:
    """What is written is what is decided, and in the table's order; what changes nothing is named."""
    page = (Path(__file__).parents[2] / "docs" / "specs" / "access.md").read_text()
    roles = TABLE[action].roles
    said = "all" if roles == set(Role) else ", ".join(role for role in Role if role in roles)
    assert f"\n| `{action}` | {said} | `" in page or f"\n| `{action}` | {said} | before" in page
    rows = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert rows[: len(TABLE)] == [*TABLE]
    assert {each for each in TABLE if not TABLE[each].is_change} == {Action.LOOK, Action.CHECKPOINT}


def test_a_second_person_approves() -> None:
    """Once; then nothing waits."""
    approvals = Approvals(life_ms=1_000)
    asked = approvals.ask(Action.PRUNE, "ann", "full", now_ms=5)
    assert approvals.waiting(6) == [asked]
    assert approvals.approve(asked.number, "bob", {Role.QUALITY}, now_ms=1_004) == asked
    with pytest.raises(ApprovalError, match="no request 1"):
        approvals.approve(asked.number, "bob", {Role.QUALITY}, now_ms=1_004)


def test_nobody_approves_their_own_request_or_beyond_their_role() -> None:
    """It goes on waiting."""
    approvals = Approvals(life_ms=1_000)
    asked = approvals.ask(Action.ROLL_OVER, "ann", "old", now_ms=0)
    with pytest.raises(ApprovalError, match="ann asked"):
        approvals.approve(asked.number, "ann", set(Role), now_ms=1)
    with pytest.raises(ApprovalError, match="may not approve"):
        approvals.approve(asked.number, "bob", {Role.QUALITY}, now_ms=1)
    assert approvals.waiting(1) == [asked]


def test_a_request_lapses() -> None:
    """It cannot be approved at its end, and is given once to whoever records that."""
    approvals = Approvals(life_ms=1_000)
    asked = approvals.ask(Action.REVOKE, "ann", "lost", now_ms=0)
    with pytest.raises(ApprovalError, match="These wait: none"):
        approvals.approve(asked.number, "bob", {Role.ADMINISTRATOR}, now_ms=1_000)
    assert approvals.lapse(1_000) == [asked]
    assert approvals.lapse(1_000) == []


def test_only_whoever_asked_withdraws() -> None:
    """And then it is gone."""
    approvals = Approvals(life_ms=1_000)
    asked = approvals.ask(Action.REVOKE, "ann", "lost", now_ms=0)
    with pytest.raises(ApprovalError, match="Only that person"):
        approvals.withdraw(asked.number, "bob", now_ms=1)
    assert approvals.withdraw(asked.number, "ann", now_ms=1) == asked
    assert approvals.waiting(1) == []


def test_few_may_wait() -> None:
    """What has lapsed makes room."""
    approvals = Approvals(life_ms=10, most=2)
    for _ in range(2):
        approvals.ask(Action.REVOKE, "ann", "lost", now_ms=0)
    with pytest.raises(ApprovalError, match="2 requests wait"):
        approvals.ask(Action.REVOKE, "ann", "lost", now_ms=9)
    assert approvals.ask(Action.REVOKE, "ann", "lost", now_ms=10).number == 3
