"""Claims about the gate: the table decides, what is done is on record before, by two persons where asked."""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from coldseal.core.access import TABLE, Action, Role
from coldseal.core.log import canonical
from coldseal.errors import OperatorError, UnavailableError
from coldseal.gateway.administration import (
    ACTIONS,
    CHANGES,
    CONFIGURED,
    RECORDS,
    REFUSED_PER_MINUTE,
    SECOND,
    Administration,
    action_of,
    reason_of,
)
from coldseal.gateway.clock import Clock
from coldseal.gateway.control import AwaitsApprovalError, Call, Caller, ControlServer, ask, ask_running
from coldseal.gateway.persons import ITSELF, Asked, Directory, Person, access_data, name_of
from coldseal.gateway.tables.administration import Administration as Settings
from tests.gateway.users import (
    ADMINISTRATOR,
    QUALITY,
    STRANGER,
    TECHNICIAN,
    VIEWER,
    as_user,
    needs_root,
    open_folder,
)
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from coldseal.gateway.control import Answer

USERS = {
    VIEWER: Role.VIEWER,
    TECHNICIAN: Role.TECHNICIAN,
    QUALITY: Role.QUALITY,
    ADMINISTRATOR: Role.ADMINISTRATOR,
    STRANGER: None,
}
ASSIGNED = [{"user": str(uid), "roles": [role]} for uid, role in USERS.items() if role is not None]
REQUESTS: list[tuple[Action, dict[str, Any]]] = [
    *((action, {"do": name}) for name, action in ACTIONS.items()),
    *((action, {"do": "record", "kind": kind, "data": {"why": "x"}}) for kind, action in RECORDS.items()),
    *((action, {"do": "coldchain", "kind": kind, "data": {"why": "x"}}) for kind, action in CHANGES.items()),
    *(
        (action, {"do": "coldchain", "kind": "config", "data": {name: {}, "why": "x"}})
        for name, action in CONFIGURED.items()
    ),
]


class Post:
    """A control channel with a gate, what was put on record, and what was done.

    Attributes:
        place: the further socket.
        said: the `access` entries, in order.
        done: names of the requests that reached their handler.
    """

    def __init__(self, folder: Path, **settings: object) -> None:
        """Put it together; time stands still until a test moves it."""
        self.place, self.data = folder / "control.sock", folder / "data"
        self.data.mkdir(mode=0o700)
        self.said: list[Mapping[str, Any]] = []
        self.done: list[str] = []
        self.is_full = False
        self.now_ms = 1_000_000
        clock = Clock(boot_ns=lambda: self.now_ms * 1_000_000)
        table = msgspec.convert({"assigned": ASSIGNED, **settings}, Settings)
        self.gate = Administration(table, clock, self._seal)
        names = {*ACTIONS, "record", "coldchain"} - {"pending"}
        handlers = {**{name: self._handler(name) for name in names}, **self.gate.handlers()}
        self.server = ControlServer(self.data, handlers, self.gate, (self.place, ""))

    async def _seal(self, kind: str, data: bytes) -> bytes:
        """Put an entry on record."""
        if self.is_full:
            raise UnavailableError("the log", "the disk is full")
        assert kind == "access"
        self.said.append(canonical.parse(data, where="entry"))
        return data

    def _handler(self, name: str) -> Callable[[Mapping[str, Any], Callable[[Answer], None]], None]:
        """Make what does a request."""

        def handle(request: Mapping[str, Any], answer: Callable[[Answer], None]) -> None:
            if request.get("fails"):
                raise OperatorError("it fails", "Mend it")
            self.done.append(name)
            answer({"did": name})

        return handle

    async def ask(self, uid: int, **request: object) -> Mapping[str, Any]:
        """Ask as a user."""
        return await asyncio.to_thread(lambda: as_user(uid, lambda: ask_running(self.place, request)))


@asynccontextmanager
async def post(tmp_path: Path, **settings: object) -> AsyncIterator[Post]:
    """Let a control channel listen where every user can reach it."""
    needs_root()
    del tmp_path  # its parents are closed to others
    folder = open_folder()
    found = Post(folder, **settings)
    await found.server.start()
    try:
        yield found
    finally:
        await found.server.stop()
        shutil.rmtree(folder)


def test_every_request_is_an_action() -> None:
    """What is none, nobody may."""
    assert {action for action, _ in REQUESTS} == set(Action) - {Action.RECOVER}
    with pytest.raises(OperatorError, match="nobody may ask"):
        action_of("other", {})
    with pytest.raises(OperatorError, match="cannot be put on record"):
        action_of("record", {"kind": ["import"]})
    for kind, data in (("reading", {}), (["ack"], {}), ("ack", 1)):
        with pytest.raises(OperatorError, match="cannot be changed so"):
            action_of("coldchain", {"kind": kind, "data": data})
    for names in (["hold"], ["assign", "release"]):
        with pytest.raises(OperatorError, match="says nothing of sensors"):
            action_of("coldchain", {"kind": "config", "data": dict.fromkeys(names, "x")})


async def test_each_user_may_what_the_table_says_and_nothing_else(tmp_path: Path) -> None:
    """Role by request, over the real socket; refusals are on record, changes before they are done."""
    async with post(tmp_path) as here:
        for uid, role in USERS.items():
            for action, request in REQUESTS:
                here.said.clear()
                here.done.clear()
                allowed = role is not None and role in TABLE[action].roles
                if allowed:
                    assert await here.ask(uid, **request, reason="x")
                    assert here.done == [request["do"]] or request["do"] == "pending"
                else:
                    with pytest.raises(OperatorError, match=f"{uid} may not {action}"):
                        await here.ask(uid, **request, reason="x")
                    assert here.done == []
                outcomes = [each["outcome"] for each in here.said]
                expected = ["allowed"] if TABLE[action].is_change else []
                assert outcomes == (expected if allowed else ["refused"])


async def test_an_entry_says_who_what_and_why(tmp_path: Path) -> None:
    """By the kernel's word; the request stands there as it was made."""
    async with post(tmp_path) as here:
        await here.ask(QUALITY, do="record", kind="correction", data={"seq": 7, "reason": "typo", "v": 4.5})
    assert here.said == [
        {
            "action": "correct",
            "asked": {"do": "record", "kind": "correction", "data": '{"seq":7,"reason":"typo","v":4.5}'},
            "outcome": "allowed",
            "roles": ["quality"],
            "uid": QUALITY,
            "user": str(QUALITY),
            "why": "typo",
        }
    ]


async def test_a_change_without_a_reason_is_not_made(tmp_path: Path) -> None:
    """Whitespace is none."""
    async with post(tmp_path) as here:
        with pytest.raises(OperatorError, match="without a reason"):
            await here.ask(ADMINISTRATOR, do="roll-over", reason="  ")
        assert (here.done, here.said) == ([], [])


async def test_what_cannot_be_put_on_record_is_not_done(tmp_path: Path) -> None:
    """There is no room on the disk."""
    async with post(tmp_path) as here:
        here.is_full = True
        with pytest.raises(OperatorError, match="disk is full"):
            await here.ask(ADMINISTRATOR, do="roll-over", reason="old")
        assert here.done == []


async def test_a_handler_that_refuses_is_heard(tmp_path: Path) -> None:
    """With its hint; that somebody asked stays on record."""
    async with post(tmp_path) as here:
        with pytest.raises(OperatorError, match="it fails"):
            await here.ask(ADMINISTRATOR, do="roll-over", reason="old", fails=True)
        assert [each["outcome"] for each in here.said] == ["allowed"]


async def test_a_flood_of_refusals_is_counted(tmp_path: Path) -> None:
    """The log cannot be filled by asking; what was only counted is one entry."""
    async with post(tmp_path) as here:
        for _ in range(REFUSED_PER_MINUTE + 12):
            with pytest.raises(OperatorError, match="may not"):
                await here.ask(STRANGER, do="status")
        assert len(here.said) == REFUSED_PER_MINUTE
        await here.gate.lapse()
        assert here.said[-1] == {"count": 12, "outcome": "refused", "user": str(STRANGER)}


async def test_a_second_person_is_needed_where_that_is_asked_for(tmp_path: Path) -> None:
    """Nothing is done before; not by oneself, not by whoever may not; once, and with both names."""
    async with post(tmp_path, two_person=["prune"]) as here:
        with pytest.raises(AwaitsApprovalError) as caught:
            await here.ask(QUALITY, do="prune", data={"why": "full"})
        number = caught.value.number
        assert here.done == []
        waiting = (await here.ask(VIEWER, do="pending"))["waiting"]
        assert waiting == [{"number": number, "action": "prune", "user": str(QUALITY), "why": "full"}]
        for uid, said in (
            (QUALITY, "Another person"),
            (TECHNICIAN, "may not approve"),
            (STRANGER, "may not"),
        ):
            with pytest.raises(OperatorError, match=said):
                await here.ask(uid, do="approve", number=number)
        assert here.done == []
        assert await here.ask(ADMINISTRATOR, do="approve", number=number) == {"ok": True, "did": "prune"}
        assert here.done == ["prune"]
        with pytest.raises(OperatorError, match="no request"):
            await here.ask(ADMINISTRATOR, do="approve", number=number)
    assert [(each["outcome"], each["user"], each.get("by")) for each in here.said] == [
        ("pending", str(QUALITY), None),
        *(("refused", str(uid), str(QUALITY)) for uid in (QUALITY, TECHNICIAN, STRANGER)),
        ("approved", str(ADMINISTRATOR), str(QUALITY)),
    ]


async def test_of_two_who_approve_at_once_one_does(tmp_path: Path) -> None:
    """A request is done once."""
    async with post(tmp_path, two_person=["prune"]) as here:
        with pytest.raises(AwaitsApprovalError):
            await here.ask(QUALITY, do="prune", data={"why": "full"})
        both = [here.ask(ADMINISTRATOR, do="approve", number=1) for _ in range(2)]
        answers = await asyncio.gather(*both, return_exceptions=True)
        assert sorted(isinstance(each, OperatorError) for each in answers) == [False, True]
        assert here.done == ["prune"]


async def test_a_request_can_be_withdrawn_and_lapses(tmp_path: Path) -> None:
    """Both are on record, and neither is done."""
    async with post(tmp_path, two_person=["revoke"], approval_s=60) as here:
        for _ in range(2):
            with pytest.raises(AwaitsApprovalError):
                await here.ask(ADMINISTRATOR, do="revoke", reason="lost")
        with pytest.raises(OperatorError, match="Only that person"):
            await here.ask(QUALITY, do="withdraw", number=1)
        assert await here.ask(ADMINISTRATOR, do="withdraw", number=1) == {"ok": True, "withdrawn": 1}
        here.now_ms += 60_000
        watching = asyncio.ensure_future(here.gate.watch())
        await until(lambda: here.said[-1]["outcome"] == "lapsed")
        watching.cancel()
        with pytest.raises(OperatorError, match="These wait: none"):
            await here.ask(QUALITY, do="approve", number=2)
        with pytest.raises(OperatorError, match="no number"):
            await here.ask(QUALITY, do="approve", number="2")
        assert here.done == []


async def test_a_socket_for_a_group_is_closed_to_others(tmp_path: Path) -> None:
    """The own one is for the gateway's user alone, as ever."""
    server = ControlServer(tmp_path, {}, None, (tmp_path / "group.sock", "root"))
    await server.start()
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("control.sock", "group.sock")]
    await server.stop()
    assert modes == [0o600, 0o660]
    assert os.listdir(tmp_path) == []  # noqa: PTH208 -- names, within a loop
    with pytest.raises(OperatorError, match="cannot be made"):
        await ControlServer(tmp_path, {}, None, (tmp_path / "x.sock", "no such group")).start()


async def test_without_assignments_only_the_gateway_s_own_user_may(tmp_path: Path) -> None:
    """And root, with all roles; the gateway's own processes always may, as itself."""
    directory = Directory(Settings())
    mine = directory.myself()
    assert mine.roles == frozenset(Role)
    assert directory.person(STRANGER, STRANGER, 1).roles == frozenset()
    own = await asyncio.create_subprocess_exec("sleep", "30")
    found = Directory(msgspec.convert({"assigned": ASSIGNED}, Settings)).person(os.geteuid(), 0, own.pid)
    own.kill()
    await own.wait()
    assert (found.user, found.roles, found.is_own) == (ITSELF, frozenset(Role), True)
    assert directory.person(os.geteuid(), 0, own.pid).user == name_of(os.geteuid())
    async with post(tmp_path, assigned=[], two_person=["prune"]) as here:
        assert await asyncio.to_thread(ask, here.data, {"do": "status"}) == {"ok": True, "did": "status"}
        asked: list[Answer] = []
        here.gate._directory.person = lambda *_: found  # type: ignore[method-assign] # what a child of ours would be
        handler = here._handler("prune")
        call = Call("prune", {"why": "window"}, handler, asked.append)
        here.gate.pass_on(Caller(1, 0, 0), call)
        await until(lambda: bool(asked))
        assert asked == [{"did": "prune"}]


def test_roles_come_from_users_and_groups() -> None:
    """Of both, all that are assigned."""
    group = {"group": "root", "roles": ["technician"]}
    settings = msgspec.convert({"assigned": [group, {"user": "root", "roles": ["viewer"]}]}, Settings)
    directory = Directory(settings)
    assert directory.named("root").roles == {Role.TECHNICIAN, Role.VIEWER}
    assert directory.person(STRANGER, STRANGER, os.getpid()).roles == frozenset()
    with pytest.raises(OperatorError, match="no user 'nobody at all'"):
        directory.named("nobody at all")


def test_whoever_logged_in_is_named_too() -> None:
    """Where the kernel knows it: a session of sudo."""
    person = Person("root", 0, frozenset(Role), login="eva")
    said = canonical.parse(
        access_data(person, Asked(Action.HOLD, "x", {"k": "y" * 9_000}), "allowed"), where="e"
    )
    assert said["login"] == "eva"
    assert len(str(said["asked"])) < 2_100


def test_a_reason_is_found_where_a_request_states_it() -> None:
    """In itself, or in what it puts on record."""
    assert reason_of({"reason": "a"}) == reason_of({"why": "a"}) == reason_of({"data": {"why": "a"}}) == "a"
    assert reason_of({"data": {"reason": "b"}, "why": ""}) == "b"
    assert reason_of({"data": 7}) == ""
    assert {"approve", "withdraw"} == SECOND
