"""The gate of the control channel: a request passes if its user's roles allow it, and is on record first.

Promise: what changes something has an `access` entry on disk, with who, what and why, before it is done; what
is refused has one too, a flood of them one that counts. Where a second person is needed, nothing is done
before that person has approved. Knows of each request only which action it is.
"""

from __future__ import annotations

from asyncio import ensure_future, sleep, to_thread
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coldseal.core.access import TABLE, Action, ApprovalError, Approvals
from coldseal.core.floods import Floods
from coldseal.core.log import canonical
from coldseal.errors import ColdsealError, OperatorError, UnavailableError
from coldseal.gateway.persons import Asked, Directory, Person, access_data
from coldseal.observe import events
from coldseal.observe.logs import Log

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from coldseal.core.access import Pending
    from coldseal.gateway.clock import Clock
    from coldseal.gateway.config import GatewayConfig
    from coldseal.gateway.control import Answer, Call, Caller, Handler
    from coldseal.gateway.tables.administration import Administration as Settings

    Seal = Callable[[str, bytes], Awaitable[bytes]]
    """Seals an entry of a kind by itself, with a checkpoint over it."""

ACTIONS: Final[Mapping[str, Action]] = {
    "status": Action.LOOK,
    "pending": Action.LOOK,
    "checkpoint": Action.CHECKPOINT,
    "renew": Action.RENEW,
    "exercise": Action.DRILL,
    "exercise-end": Action.DRILL,
    "prune": Action.PRUNE,
    "roll-over": Action.ROLL_OVER,
    "revoke": Action.REVOKE,
    "unblock": Action.UNBLOCK,
    "excursions": Action.LOOK,
    "replay": Action.REPLAY,
    "route": Action.ROUTE,
    "alarms": Action.LOOK,
}
"""What each request is; `record` is what its kind is."""

RECORDS: Final[Mapping[str, Action]] = {
    "config": Action.HOLD,
    "correction": Action.CORRECT,
    "drill": Action.DRILL,
    "export": Action.EXPORT,
    "import": Action.IMPORT,
}
"""What putting an entry of each kind on record is."""

CHANGES: Final[Mapping[str, Action]] = {
    "ack": Action.ACKNOWLEDGE,
    "calibration": Action.CALIBRATE,
    "disposition": Action.DISPOSE,
    "export": Action.CUSTODY,
    "import": Action.CUSTODY,
    "profile": Action.PROFILE,
}
"""What a request `coldchain` for an entry of each kind is; for `config`, what the entry says decides."""

CONFIGURED: Final[Mapping[str, Action]] = {
    "assign": Action.ASSIGN,
    "maintenance": Action.MAINTAIN,
    "release": Action.ASSIGN,
}
"""The same for a `config` entry, by its one member beside ``who`` and ``why``."""

TOGETHER: Final = frozenset({Action.ASSIGN, Action.CALIBRATE})
"""What may be asked for several times in one request."""

SECOND: Final = frozenset({"approve", "withdraw"})
"""Requests about requests: who may, follows from what was asked."""

LOOK_S: Final = 1.0
"""Pause between looks at what waits."""

REFUSED_PER_MINUTE: Final = 30
"""Refusals of one user that get an entry each; more are counted together."""

_log = Log("gateway.administration")


class _Held(NamedTuple):
    """A request that waits for a second person."""

    asked: Asked
    person: Person
    call: Call


def action_of(name: str, request: Mapping[str, Any]) -> Action:
    """Say what a request is.

    Raises:
        OperatorError: it is none that anybody may make.
    """
    kind = request.get("kind")
    if name == "coldchain":
        return (
            changes_action(kind, request["several"])
            if "several" in request
            else change_action(kind, request.get("data"))
        )
    if name == "record" and (not isinstance(kind, str) or kind not in RECORDS):
        raise OperatorError(f"{kind!r} cannot be put on record so", f"One of these can: {', '.join(RECORDS)}")
    found = RECORDS[str(kind)] if name == "record" else ACTIONS.get(name)
    if found is None:
        raise OperatorError(f"nobody may ask for {name!r} so", "See: coldseal gateway access")
    return found


def change_action(kind: object, data: object) -> Action:
    """Say what putting such an entry on record by the request `coldchain` is.

    Raises:
        OperatorError: it is nothing that anybody may ask for.
    """
    if kind == "config" and isinstance(data, Mapping):
        found = [action for name, action in CONFIGURED.items() if name in data]
        if len(found) == 1:
            return found[0]
        raise OperatorError("the config says nothing of sensors", f"Give one of: {', '.join(CONFIGURED)}")
    if not isinstance(kind, str) or kind not in CHANGES or not isinstance(data, Mapping):
        known = ", ".join((*CHANGES, "config"))
        raise OperatorError(f"{kind!r} cannot be changed so", f"One of these can: {known}")
    return CHANGES[kind]


def changes_action(kind: object, several: object) -> Action:
    """Say what putting several such entries on record at once is: one and the same action.

    Raises:
        OperatorError: they are more than one action, or none, or nothing that anybody may ask for.
    """
    found = {change_action(kind, each) for each in several} if isinstance(several, list) else set()
    if len(found) != 1 or found.isdisjoint(TOGETHER):
        known = ", ".join(sorted(TOGETHER))
        raise OperatorError("these cannot be asked for at once", f"Ask for several of one of these: {known}")
    return found.pop()


def reason_of(request: Mapping[str, Any]) -> str:
    """Give the reason that a request states, wherever it does."""
    data = request.get("data")
    inner = data if isinstance(data, dict) else {}
    found = (request.get("reason"), request.get("why"), inner.get("why"), inner.get("reason"))
    return next((each for each in found if isinstance(each, str) and each.strip()), "")


def place_of_control(config: GatewayConfig) -> Path:
    """Give where a command asks the running gateway: its further socket, if there is one, or its own."""
    return config.administration.socket or config.gateway.data


def further_socket(config: GatewayConfig) -> tuple[Path, str] | None:
    """Give the socket for other users, and the group that may open it; None without one."""
    settings = config.administration
    return None if settings.socket is None else (settings.socket, settings.socket_group)


class Administration:
    """The gate.

    Args:
        settings: who may what.
        clock: gives the moment.
        seal: seals one entry, with a checkpoint over it.
    """

    def __init__(self, settings: Settings, clock: Clock, seal: Seal) -> None:
        """Begin with nothing that waits."""
        self._directory, self._clock, self._seal = Directory(settings), clock, seal
        self._two_person = frozenset(map(Action, settings.two_person))
        self._approvals = Approvals(life_ms=round(settings.approval_s * 1000))
        self._floods = Floods(REFUSED_PER_MINUTE)
        self._held: dict[int, _Held] = {}
        self._running: set[Task[None]] = set()

    def hears(self, _caller: Caller) -> bool:
        """Everybody who could open the socket is heard, if only to be refused."""
        return True

    def pass_on(self, caller: Caller, call: Call) -> None:
        """Find out who asks and what; then pass it, refuse it, or let it wait."""

        async def run() -> None:
            try:
                person = await to_thread(self._directory.person, caller.uid, caller.gid, caller.pid)
                await self._decide(person, call)
            except OperatorError as error:
                call.answer({"ok": False, "error": error.what, "hint": error.hint})
            except ColdsealError as error:
                hint = "Try again" if isinstance(error, UnavailableError) else ""
                call.answer({"ok": False, "error": str(error), "hint": hint})

        task = ensure_future(run())
        self._running.add(task)  # a task that nobody keeps may be collected before it ends
        task.add_done_callback(self._running.discard)

    async def _decide(self, person: Person, call: Call) -> None:
        """Let one request pass, or not."""
        if call.name in SECOND:
            await self._settle(person, call)
            return
        action, why = action_of(call.name, call.request), reason_of(call.request)
        asked = Asked(action, why, {"do": call.name, **call.request})
        if not person.may(action):
            await self._refuse(person, asked)
        if TABLE[action].is_change:
            if not why:
                raise OperatorError(f"{action} was asked for without a reason", "Say why: --why or --reason")
            if action in self._two_person and not person.is_own:
                await self._wait(_Held(asked, person, call))
                return
            await self._record(person, asked, "allowed")
        call.pass_on()

    async def _refuse(self, person: Person, asked: Asked) -> None:
        """Put a refusal on record, alone or counted, and refuse.

        Raises:
            OperatorError: always.
        """
        roles = ", ".join(sorted(person.roles)) or "none"
        if self._floods.admits(person.user, asked.action.value, now_ms=self._clock.now().mono_ms):
            _log.emit(events.ADMINISTRATION_REFUSED, user=person.user, action=asked.action.value, roles=roles)
            await self._record(person, asked, "refused")
        needed = ", ".join(sorted(TABLE[asked.action].roles))
        what = f"{person.user} may not {asked.action} (roles: {roles}), and that is on record"
        raise OperatorError(what, f"It takes one of: {needed}; see administration.assigned in gateway.toml")

    async def _wait(self, held: _Held) -> None:
        """Let a request wait for a second person."""
        asked, person, call = held
        pending = self._approvals.ask(asked.action, person.user, asked.why, now_ms=self._clock.now().mono_ms)
        self._held[pending.number] = held
        await self._record(person, asked, "pending", number=pending.number)
        _log.emit(events.APPROVAL_AWAITED, user=person.user, action=asked.action.value, number=pending.number)
        call.answer({"pending": pending.number, "action": asked.action.value})

    async def _settle(self, person: Person, call: Call) -> None:
        """Let a second person approve what waits, or whoever asked withdraw it."""
        number, now_ms = call.request.get("number"), self._clock.now().mono_ms
        is_withdrawn = call.name == "withdraw"
        if not isinstance(number, int) or isinstance(number, bool):
            raise OperatorError(f"{number!r} is no number of a request", "Give the number that was shown")
        held = self._held.get(number)
        try:
            if is_withdrawn:
                self._approvals.withdraw(number, person.user, now_ms=now_ms)
            else:
                self._approvals.approve(number, person.user, person.roles, now_ms=now_ms)
        except ApprovalError:
            if held is not None:
                await self._record(person, held.asked, "refused", by=held.person.user, number=number)
            raise
        held = self._held.pop(number)
        outcome = "withdrawn" if is_withdrawn else "approved"
        await self._record(person, held.asked, outcome, by=held.person.user, number=number)
        if is_withdrawn:
            call.answer({"withdrawn": number})
        else:
            held.call._replace(answer=call.answer).pass_on()

    async def _record(self, person: Person, asked: Asked, outcome: str, **more: canonical.Value) -> None:
        """Put it on record."""
        await self._seal("access", access_data(person, asked, outcome, **more))

    def waiting(self) -> list[dict[str, object]]:
        """Say what waits for a second person."""
        return [_shown(each) for each in self._approvals.waiting(self._clock.now().mono_ms)]

    def handlers(self) -> Mapping[str, Handler]:
        """Give what answers `pending`; `approve` and `withdraw` are answered here, before any handler."""

        def show(_request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
            answer({"waiting": self.waiting()})

        return {"pending": show, "approve": show, "withdraw": show}

    async def watch(self) -> None:
        """Look once a second what has lapsed, or was only counted."""
        while True:
            await sleep(LOOK_S)
            with suppress(
                UnavailableError
            ):  # no room on the disk: what was counted before is lost to the record
                await self.lapse()

    async def lapse(self) -> None:
        """Put on record what nobody has approved in time, and what was only counted."""
        for each in self._approvals.lapse(self._clock.now().mono_ms):
            held = self._held.pop(each.number)
            await self._record(held.person, held.asked, "lapsed", number=each.number)
        for user, count, _ in self._floods.take_counted():
            data: dict[str, canonical.Value] = {"count": count, "outcome": "refused", "user": user}
            await self._seal("access", canonical.encode(data))


def _shown(pending: Pending) -> dict[str, object]:
    """Say what waits, for a person."""
    return {
        "number": pending.number,
        "action": pending.action.value,
        "user": pending.user,
        "why": pending.why,
    }
