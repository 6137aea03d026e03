"""Who may do what to a gateway: one table of roles and actions. What it does not grant is denied.

The decision, the documentation and the tests are drawn from the table. Pure: who somebody is, the operating
system says, elsewhere; what an action does is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Role(StrEnum):
    """What a person is to a gateway."""

    VIEWER = "viewer"
    TECHNICIAN = "technician"
    QUALITY = "quality"
    ADMINISTRATOR = "administrator"


class Action(StrEnum):
    """What can be asked of a gateway."""

    LOOK = "look"
    CHECKPOINT = "checkpoint"
    RENEW = "renew"
    IMPORT = "import"
    DRILL = "drill"
    EXPORT = "export"
    CORRECT = "correct"
    HOLD = "hold"
    PRUNE = "prune"
    RECOVER = "recover"
    UNBLOCK = "unblock"
    ROLL_OVER = "roll-over"
    REVOKE = "revoke"
    PROFILE = "profile"
    ASSIGN = "assign"
    CALIBRATE = "calibrate"
    MAINTAIN = "maintain"
    ACKNOWLEDGE = "acknowledge"
    DISPOSE = "dispose"
    CUSTODY = "custody"
    REPLAY = "replay"
    ROUTE = "route"


_ALL: Final = frozenset(Role)
_V, _T, _Q, _A = Role.VIEWER, Role.TECHNICIAN, Role.QUALITY, Role.ADMINISTRATOR


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table.

    Attributes:
        roles: who may.
        meaning: what the action is, for people.
        is_change: it changes something: it is put on record with a reason.
    """

    roles: frozenset[Role]
    meaning: str
    is_change: bool = True


TABLE: Final[Mapping[Action, Rule]] = {
    Action.LOOK: Rule(_ALL, "ask how the gateway is", is_change=False),
    Action.CHECKPOINT: Rule(frozenset({_T, _Q, _A}), "fix the log's state by a checkpoint", is_change=False),
    Action.RENEW: Rule(frozenset({_T, _A}), "have certificates renewed now, not in time"),
    Action.IMPORT: Rule(frozenset({_T, _Q}), "put a file from elsewhere on record, such as a calibration"),
    Action.DRILL: Rule(frozenset({_T, _A}), "play a fault, and put on record what came of it"),
    Action.EXPORT: Rule(frozenset({_Q}), "put an export of evidence on record"),
    Action.CORRECT: Rule(frozenset({_Q}), "state what is right where an entry is not"),
    Action.HOLD: Rule(frozenset({_Q}), "keep entries from being pruned, or lift that"),
    Action.PRUNE: Rule(frozenset({_Q, _A}), "let archived segments go"),
    Action.RECOVER: Rule(frozenset({_A}), "decide about a damaged, lost or rolled-back log"),
    Action.UNBLOCK: Rule(frozenset({_T, _A}), "let a device in again that was cut off"),
    Action.ROLL_OVER: Rule(frozenset({_A}), "change a signing key of the log"),
    Action.REVOKE: Rule(frozenset({_A}), "put on record that a key was in wrong hands"),
    Action.PROFILE: Rule(frozenset({_Q}), "put a version of a product profile on record"),
    Action.ASSIGN: Rule(frozenset({_T, _Q}), "let a sensor watch an asset, or a profile hold for one"),
    Action.CALIBRATE: Rule(frozenset({_T, _Q}), "have readings corrected by a calibration"),
    Action.MAINTAIN: Rule(frozenset({_T, _Q}), "begin or end the maintenance of a sensor"),
    Action.ACKNOWLEDGE: Rule(frozenset({_T, _Q}), "acknowledge an alarm"),
    Action.DISPOSE: Rule(frozenset({_Q}), "decide about a product after an excursion"),
    Action.CUSTODY: Rule(frozenset({_T, _Q}), "hand over or take over what an asset has used up"),
    Action.REPLAY: Rule(frozenset({_T, _Q}), "take a rejected message in after all"),
    Action.ROUTE: Rule(frozenset({_T, _A}), "send again what a sink of a route refused, or give it up"),
}
"""Every action, and who may; the order is that of the documentation."""

DANGEROUS: Final = frozenset({Action.PRUNE, Action.ROLL_OVER, Action.REVOKE, Action.PROFILE})
"""What a second person can be asked to approve."""


def may(roles: Collection[Role], action: Action) -> bool:
    """Whether somebody with these roles may do this."""
    return not TABLE[action].roles.isdisjoint(roles)


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits for a second person.

    Attributes:
        number: by which it is approved.
        action: what it would do.
        user: who asked.
        why: the reason that was given.
        ends_ms: when it lapses, monotonic milliseconds.
    """

    number: int
    action: Action
    user: str
    why: str
    ends_ms: int


class ApprovalError(OperatorError):
    """A request cannot be approved by this person now."""


class Approvals:
    """Requests that wait for a second person; they do not outlive the program.

    Args:
        life_ms: how long one waits.
        most: how many may wait.
    """

    def __init__(self, *, life_ms: int, most: int = 16) -> None:
        """Begin with none."""
        self._life_ms, self._most = life_ms, most
        self._pending: dict[int, Pending] = {}
        self._last = 0

    def ask(self, action: Action, user: str, why: str, *, now_ms: int) -> Pending:
        """Let a request wait.

        Raises:
            ApprovalError: too many wait.
        """
        self.lapse(now_ms)
        if len(self._pending) >= self._most:
            raise ApprovalError(f"{self._most} requests wait for approval", "Approve or withdraw some")
        self._last += 1
        found = Pending(self._last, action, user, why, now_ms + self._life_ms)
        self._pending[found.number] = found
        return found

    def waiting(self, now_ms: int) -> list[Pending]:
        """Give those that wait, the oldest first."""
        return [each for each in self._pending.values() if each.ends_ms > now_ms]

    def approve(self, number: int, user: str, roles: Collection[Role], *, now_ms: int) -> Pending:
        """Let a second person approve a request; it waits no longer.

        Raises:
            ApprovalError: there is none, it has lapsed, or this person may not: whoever asked cannot approve.
        """
        found = self._find(number, now_ms)
        if found.user == user:
            raise ApprovalError(f"{user} asked for {number}", "Another person must approve it")
        if not may(roles, found.action):
            needed = ", ".join(sorted(TABLE[found.action].roles))
            raise ApprovalError(f"{user} may not approve {found.action}", f"It takes one of: {needed}")
        del self._pending[number]
        return found

    def withdraw(self, number: int, user: str, *, now_ms: int) -> Pending:
        """Let whoever asked take the request back.

        Raises:
            ApprovalError: there is none, or somebody else asked.
        """
        found = self._find(number, now_ms)
        if found.user != user:
            raise ApprovalError(f"{found.user} asked for {number}", "Only that person can withdraw it")
        del self._pending[number]
        return found

    def lapse(self, now_ms: int) -> list[Pending]:
        """Drop what has waited too long, and give it."""
        over = [each for each in self._pending.values() if each.ends_ms <= now_ms]
        for each in over:
            del self._pending[each.number]
        return over

    def _find(self, number: int, now_ms: int) -> Pending:
        """Give a request that waits."""
        found = self._pending.get(number)
        if found is None or found.ends_ms <= now_ms:
            known = ", ".join(str(each.number) for each in self.waiting(now_ms)) or "none"
            raise ApprovalError(f"no request {number} waits for approval", f"These wait: {known}")
        return found
