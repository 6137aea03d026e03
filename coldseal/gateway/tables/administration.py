"""Who may administer this gateway, by operating-system user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from coldseal.core.access import Role
from coldseal.settings import Seconds


class Assigned(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Roles of one user, or of all users of one group."""

    user: str = ""
    """An operating-system user, by name."""
    group: str = ""
    """An operating-system group, by name."""
    roles: Annotated[tuple[Role, ...], Meta(min_length=1)]
    """Any of `viewer`, `technician`, `quality`, `administrator`; see `coldseal gateway access`."""


class Administration(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who may administer this gateway, by operating-system user; nobody else may anything.

    Without assignments the gateway's own user and root have all roles. With them, both have only what is
    assigned to them.
    """

    assigned: tuple[Assigned, ...] = ()
    """Who has which roles; each is a table `[[administration.assigned]]`."""
    socket: Path | None = None
    """A further control socket, for other users, such as `/run/coldseal/control.sock`, in a folder that is
    there."""
    socket_group: str = ""
    """The group whose members may open that socket; empty: all users may, and get what their roles allow."""
    two_person: tuple[Literal["prune", "roll-over", "revoke", "profile"], ...] = ()
    """Actions that a second person must approve."""
    approval_s: Seconds = 3_600
    """How long a request waits for the second person."""
