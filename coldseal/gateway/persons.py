"""Who is at the controls: an operating-system user, as the kernel names it, and the roles assigned to it.

Nothing that somebody says about themselves is believed. What an action does, or whether it is carried out, is
no matter here; the entry that puts it on record is.
"""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from coldseal.core.access import Action, Role, may
from coldseal.core.log import canonical
from coldseal.errors import OperatorError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coldseal.gateway.tables.administration import Administration

SHOWN: Final = 2_000
"""Characters of one field of a request that stand on record; a longer one is cut."""

ITSELF: Final = "(gateway)"
"""The user of what the gateway does by itself; no system has one of that name."""

_ROOT: Final = 0
_NO_LOGIN: Final = 2**32 - 1  # the kernel's word for a process that nobody logged in for


class Person(NamedTuple):
    """An operating-system user.

    Attributes:
        user: the name, or the number where the system knows no name.
        uid: the number.
        roles: what is assigned.
        login: who logged in for the session, where the kernel knows that and it is somebody else (sudo).
        is_own: it is the gateway itself: a process that it started, for what the configuration asks for.
    """

    user: str
    uid: int
    roles: frozenset[Role]
    login: str = ""
    is_own: bool = False

    def may(self, action: Action) -> bool:
        """Whether this person may do something."""
        return may(self.roles, action)


class Asked(NamedTuple):
    """What somebody asks for, at the command line or the control channel."""

    action: Action
    why: str
    fields: Mapping[str, object]


class Directory:
    """Finds a user's roles.

    Args:
        settings: who has which roles.
    """

    def __init__(self, settings: Administration) -> None:
        """Keep the assignments; users are looked up when they come."""
        self._assigned = settings.assigned

    def person(self, uid: int, gid: int, pid: int) -> Person:
        """Say who a process belongs to; asks the system, which may take a moment."""
        if uid == os.geteuid() and _parent(pid) == os.getpid():
            return Person(ITSELF, uid, frozenset(Role), is_own=True)
        user = name_of(uid)
        return Person(user, uid, self._roles(user, uid, gid), _login(pid, uid))

    def myself(self) -> Person:
        """Say who this process belongs to."""
        return self.person(os.getuid(), os.getgid(), os.getpid())

    def require(self, action: Action) -> Person:
        """Say who this process belongs to, and insist that the user may do something.

        Raises:
            OperatorError: the user may not.
        """
        person = self.myself()
        if not person.may(action):
            hint = "It takes a role that may: see administration.assigned in gateway.toml"
            raise OperatorError(f"{person.user} may not {action}", hint)
        return person

    def named(self, user: str) -> Person:
        """Say who a user is, by name.

        Raises:
            OperatorError: the system knows no such user.
        """
        try:
            found = pwd.getpwnam(user)
        except KeyError as error:
            raise OperatorError(f"this system has no user {user!r}", "Name one of its users") from error
        return Person(user, found.pw_uid, self._roles(user, found.pw_uid, found.pw_gid))

    def _roles(self, user: str, uid: int, gid: int) -> frozenset[Role]:
        """Give the roles of a user; without any assignment the gateway's own and root have all."""
        if not self._assigned:
            return frozenset(Role) if uid in {os.geteuid(), _ROOT} else frozenset()
        groups = _groups(user, gid)
        return frozenset(
            role
            for each in self._assigned
            if (each.user and each.user == user) or (each.group and each.group in groups)
            for role in each.roles
        )


def name_of(uid: int) -> str:
    """Give a user's name; the number where there is none."""
    with suppress(KeyError):
        return pwd.getpwuid(uid).pw_name
    return str(uid)


def access_data(person: Person, asked: Asked, outcome: str, **more: canonical.Value) -> bytes:
    """Write what an `access` entry says.

    Args:
        person: who.
        asked: what, and why.
        outcome: ``allowed``, ``refused``, ``pending``, ``approved``, ``withdrawn`` or ``lapsed``.
        more: further facts.
    """
    data: dict[str, canonical.Value] = {
        "action": asked.action.value,
        "asked": {name: _text(value) for name, value in asked.fields.items()},
        "outcome": outcome,
        "roles": [*sorted(role.value for role in person.roles)],
        "uid": person.uid,
        "user": person.user,
        "why": asked.why,
        **more,
    }
    if person.login:
        data["login"] = person.login
    return canonical.encode(data)


def _text(value: object) -> str:
    """Write a field of a request for the record."""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _groups(user: str, gid: int) -> frozenset[str]:
    """Name the groups that a user is in."""
    return frozenset(_group_names(os.getgrouplist(user, gid)))


def _group_names(numbers: Iterable[int]) -> Iterable[str]:
    """Name groups; one without a name is left out."""
    for number in numbers:
        with suppress(KeyError):
            yield grp.getgrgid(number).gr_name


def _parent(pid: int) -> int:
    """Give the process that started another one; 0 if that has ended."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])
    return 0


def _login(pid: int, uid: int) -> str:
    """Name who logged in for a process, where that is known and not the user that it belongs to."""
    with suppress(OSError, ValueError):
        login = int(Path(f"/proc/{pid}/loginuid").read_text(encoding="ascii"))
        if login not in {_NO_LOGIN, uid}:
            return name_of(login)
    return ""
